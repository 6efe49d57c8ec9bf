//! Notebook files (nbformat 4), changed as little as possible: everything that is not an output stays as it was.

use crate::errors::Failure;
use crate::frames::{Bundle, Frame};
use crate::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// A notebook.
#[derive(Debug, Clone, PartialEq)]
pub struct Notebook {
    content: Value,
}

impl Notebook {
    /// Reads a file.
    ///
    /// # Errors
    /// If it is not a notebook of version 4.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let bad = |why: String| Error::Other(format!("{} is not a notebook: {why}", path.display()));
        let content: Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if content["nbformat"] != 4 || !content["cells"].is_array() {
            return Err(bad("it must have nbformat 4 and a list of cells".into()));
        }
        Ok(Notebook { content })
    }

    /// Writes the file, beside its name first.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        // Jupyter's own form, so that a version control system shows the lines that changed.
        let mut text = Vec::new();
        let form = serde_json::ser::PrettyFormatter::with_indent(b" ");
        let mut writer = serde_json::Serializer::with_formatter(&mut text, form);
        self.content.serialize(&mut writer).map_err(|e| Error::Other(e.to_string()))?;
        text.push(b'\n');
        let beside = path.with_extension(format!("ipynb.{}.tmp", std::process::id()));
        std::fs::write(&beside, text).map_err(Error::io("write", &beside))?;
        std::fs::rename(&beside, path).map_err(Error::io("write", path))
    }

    /// The places of the code cells that are not empty, and their code.
    pub fn code_cells(&self) -> Vec<(usize, String)> {
        let cells = self.content["cells"].as_array().map(Vec::as_slice).unwrap_or_default();
        let code = |cell: &Value| (cell["cell_type"] == "code").then(|| joined(&cell["source"]));
        let cells = cells.iter().enumerate().filter_map(|(i, cell)| Some((i, code(cell)?)));
        cells.filter(|(_, code)| !code.trim().is_empty()).collect()
    }

    /// Whether a failure of the cell is meant: its tag is `raises-exception`, as Jupyter's tools have it.
    pub fn may_fail(&self, cell: usize) -> bool {
        let tags = self.content["cells"][cell]["metadata"]["tags"].as_array();
        tags.is_some_and(|tags| tags.iter().any(|tag| tag == "raises-exception"))
    }

    /// Removes all outputs.
    pub fn clear(&mut self) {
        for cell in self.content["cells"].as_array_mut().into_iter().flatten() {
            if cell["cell_type"] == "code" {
                cell["outputs"] = json!([]);
                cell["execution_count"] = Value::Null;
            }
        }
    }

    /// Sets what a cell has shown.
    pub fn set_outputs(&mut self, cell: usize, count: usize, outputs: &Outputs) {
        let outputs: Vec<Value> = outputs.list.iter().map(|output| output.to_json(count)).collect();
        self.content["cells"][cell]["outputs"] = Value::Array(outputs);
        self.content["cells"][cell]["execution_count"] = count.into();
    }
}

/// A text that may be stored as a list of lines.
fn joined(value: &Value) -> String {
    match value {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    }
}

/// The lines of a text, as notebooks store them.
fn lines(text: &str) -> Value {
    text.split_inclusive('\n').collect()
}

/// What a cell shows, as it is built up frame by frame.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outputs {
    list: Vec<Output>,
    clear_before_next: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Output {
    Stream { name: String, text: String },
    Display { data: Bundle, id: Option<String> },
    Result(Bundle),
    Error(Failure),
}

impl Outputs {
    /// Applies a frame as a Jupyter client does. Says whether it changed something that has an identity elsewhere: an
    /// update for which this cell has no display.
    pub fn apply(&mut self, frame: Frame) -> Option<(String, Bundle)> {
        if std::mem::take(&mut self.clear_before_next) && !matches!(frame, Frame::Display { update: true, .. }) {
            self.list.clear();
        }
        match frame {
            Frame::Stream { name, text } => match self.list.last_mut() {
                Some(Output::Stream { name: last, text: before }) if *last == name => overwrite(before, &text),
                _ => {
                    let mut new = String::new();
                    overwrite(&mut new, &text);
                    self.list.push(Output::Stream { name, text: new });
                }
            },
            Frame::Display { data, id: Some(id), update: true } => {
                if !self.update(&id, &data) {
                    return Some((id, data));
                }
            }
            Frame::Display { data, id, .. } => self.list.push(Output::Display { data, id }),
            Frame::Result { data } => self.list.push(Output::Result(data)),
            Frame::Clear { wait: true } => self.clear_before_next = true,
            Frame::Clear { wait: false } => self.list.clear(),
            Frame::Panic { .. } | Frame::Failed { .. } | Frame::Complete => {}
        }
        None
    }

    /// Replaces what is shown under a name; says whether there is any.
    pub fn update(&mut self, name: &str, new: &Bundle) -> bool {
        let mut found = false;
        for output in &mut self.list {
            if let Output::Display { data, id: Some(id) } = output
                && id == name
            {
                data.clone_from(new);
                found = true;
            }
        }
        found
    }

    /// Adds the cell's error.
    pub fn fail(&mut self, failure: Failure) {
        self.list.push(Output::Error(failure));
    }
}

/// Appends to a text as a terminal does: a carriage return goes back to the beginning of the line.
fn overwrite(before: &mut String, text: &str) {
    for piece in text.split_inclusive(['\r', '\n']) {
        let returned = before.ends_with('\r');
        if returned {
            before.pop();
            if piece != "\n" {
                let line = before.rfind('\n').map_or(0, |end| end + 1);
                before.truncate(line);
            }
        }
        before.push_str(piece);
    }
}

impl Output {
    fn to_json(&self, count: usize) -> Value {
        match self {
            Output::Stream { name, text } => json!({ "name": name, "output_type": "stream", "text": lines(text) }),
            Output::Display { data, .. } => {
                json!({ "data": stored(data), "metadata": {}, "output_type": "display_data" })
            }
            Output::Result(data) => json!({
                "data": stored(data), "execution_count": count, "metadata": {}, "output_type": "execute_result"
            }),
            Output::Error(Failure { name, value, traceback }) => {
                json!({ "ename": name, "evalue": value, "output_type": "error", "traceback": traceback })
            }
        }
    }
}

/// Texts as lists of lines; base64 as it is.
fn stored(data: &Bundle) -> Value {
    let stored = data.iter().map(|(mime, value)| match value {
        Value::String(text) if mime.starts_with("text/") || mime.ends_with("+xml") => (mime.clone(), lines(text)),
        other => (mime.clone(), other.clone()),
    });
    Value::Object(stored.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(text: &str, id: &str, update: bool) -> Frame {
        let data = Bundle::from_iter([("text/plain".to_string(), text.into())]);
        Frame::Display { data, id: Some(id.into()), update }
    }

    fn texts(outputs: &Outputs) -> Vec<String> {
        let text = |output: &Output| match output {
            Output::Stream { text, .. } => text.clone(),
            Output::Display { data, .. } | Output::Result(data) => data["text/plain"].as_str().unwrap().to_string(),
            Output::Error(failure) => failure.text(),
        };
        outputs.list.iter().map(text).collect()
    }

    #[test]
    fn updates_replace_and_clearing_waits_for_the_next_output() {
        let mut outputs = Outputs::default();
        outputs.apply(display("1", "a", false));
        outputs.apply(Frame::stream("stdout", "x\n"));
        assert_eq!(outputs.apply(display("2", "a", true)), None);
        assert_eq!(texts(&outputs), ["2", "x\n"]);
        assert!(outputs.apply(display("3", "elsewhere", true)).is_some());
        outputs.apply(Frame::Clear { wait: true });
        assert_eq!(texts(&outputs).len(), 2);
        outputs.apply(Frame::stream("stdout", "y\n"));
        assert_eq!(texts(&outputs), ["y\n"]);
    }

    #[test]
    fn streams_are_joined_and_lines_overwritten() {
        let mut outputs = Outputs::default();
        for text in ["10 %\r", "20 %\r", "100 %\n", "done\r", "\n"] {
            outputs.apply(Frame::stream("stdout", text));
        }
        assert_eq!(texts(&outputs), ["100 %\ndone\n"]);
    }

    #[test]
    fn a_file_keeps_what_is_not_an_output() {
        let path = std::env::temp_dir().join(format!("kernelscope-prelude-{}.ipynb", std::process::id()));
        let cell = json!({ "cell_type": "code", "id": "a", "metadata": { "x": 1 }, "source": ["let a = 1;\n", "a"],
            "outputs": [{}], "execution_count": 9 });
        let text = json!({ "cells": [{ "cell_type": "markdown", "id": "m", "metadata": {}, "source": "# T" }, cell],
            "metadata": { "kernelspec": { "name": "kernelscope" } }, "nbformat": 4, "nbformat_minor": 5 });
        std::fs::write(&path, text.to_string()).unwrap();
        let mut notebook = Notebook::read(&path).unwrap();
        assert_eq!(notebook.code_cells(), [(1, "let a = 1;\na".to_string())]);
        notebook.clear();
        let mut outputs = Outputs::default();
        outputs.apply(Frame::stream("stdout", "one\ntwo\n"));
        notebook.set_outputs(1, 1, &outputs);
        notebook.write(&path).unwrap();
        let read = Notebook::read(&path).unwrap();
        assert_eq!(read.content["cells"][1]["outputs"][0]["text"], json!(["one\n", "two\n"]));
        assert_eq!(read.content["cells"][1]["metadata"]["x"], 1);
        assert_eq!(read.content["metadata"], text["metadata"]);
        std::fs::remove_file(&path).unwrap();
    }
}
