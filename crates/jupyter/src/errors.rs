//! Why a cell failed, as Jupyter shows it.

use evcxr::CompilationError;
use std::fmt::Write;

/// A failed cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Kind of error, for example `Error`, `Panic` or `error[E0308]`.
    pub name: String,
    /// The message.
    pub value: String,
    /// Everything to show, line by line, with terminal colors.
    pub traceback: Vec<String>,
}

const RED: &str = "\u{1b}[1;31m";
const BLUE: &str = "\u{1b}[34m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

impl Failure {
    /// A failure that is one message.
    pub fn new(name: &str, value: &str) -> Self {
        let mut lines = value.trim_end().lines();
        let first = format!("{RED}{name}:{PLAIN} {}", lines.next().unwrap_or_default());
        let traceback = std::iter::once(first).chain(lines.map(str::to_string)).collect();
        Failure { name: name.to_string(), value: value.trim_end().to_string(), traceback }
    }

    /// The error of a value that `?` returned, from its text.
    pub fn of_value(text: &str) -> Self {
        Failure::new("Error", if text.trim().is_empty() { "the cell returned an error" } else { text })
    }

    /// A panic.
    pub fn panic(message: &str, location: &str) -> Self {
        let mut failure = Failure::new("Panic", message);
        failure.traceback.push(format!("{BLUE}  -->{PLAIN} {location}"));
        failure
    }

    /// A cell that was asked to stop.
    pub fn interrupted() -> Self {
        Failure::new("Interrupted", "stopped on request; variables are kept")
    }

    /// A cell whose process was ended.
    pub fn killed() -> Self {
        Failure::new("Interrupted", "the process was ended; its variables are lost, but functions and types are kept")
    }

    /// What evcxr reports.
    pub fn of_evcxr(error: evcxr::Error, code: &str) -> Self {
        match error {
            evcxr::Error::CompilationErrors(errors) => Failure::of_compiler(&errors, code),
            evcxr::Error::TypeRedefinedVariablesLost(names) => {
                let message = format!("a type was redefined, so these variables are lost: {}", names.join(", "));
                Failure::new("Error", &message)
            }
            evcxr::Error::Message(text) => Failure::new("Error", &text),
            evcxr::Error::SubprocessTerminated(text) => Failure::new(
                "Crash",
                &format!("{}\nAll variables are lost; functions and types are kept.", text.trim()),
            ),
        }
    }

    fn of_compiler(errors: &[CompilationError], code: &str) -> Self {
        let lines: Vec<&str> = code.lines().collect();
        let mut traceback = Vec::new();
        for error in errors {
            traceback.extend(report(error, &lines));
        }
        let first = errors.first();
        let (name, value) = first.map_or(("error".into(), String::new()), |e| (heading(e), e.message()));
        Failure { name, value, traceback }
    }

    /// Everything in one text, without colors.
    pub fn text(&self) -> String {
        without_colors(&self.traceback.join("\n"))
    }
}

fn heading(error: &CompilationError) -> String {
    let level = if error.level().is_empty() { "error" } else { error.level() };
    error.code().map_or(level.to_string(), |code| format!("{level}[{code}]"))
}

/// One compiler error in the compiler's own form, with the cell's line numbers.
fn report(error: &CompilationError, code: &[&str]) -> Vec<String> {
    let mut out = vec![format!("{RED}{}{PLAIN}{BOLD}: {}{PLAIN}", heading(error), error.message())];
    let spans: Vec<_> = error.spanned_messages().iter().filter_map(|m| Some((m.span?, m))).collect();
    let width = spans.iter().map(|(span, _)| span.start_line.to_string().len()).max().unwrap_or(1);
    let gutter = |number: &str| format!("{BLUE}{number:>width$} |{PLAIN}");
    if let Some((span, _)) = spans.iter().find(|(_, m)| m.is_primary).or(spans.first()) {
        out.push(format!(
            "{BLUE}{:>width$}-->{PLAIN} cell, line {}, column {}",
            "", span.start_line, span.start_column
        ));
        out.push(gutter(""));
    }
    let mut last = 0;
    for (span, message) in spans {
        let Some(line) = code.get(span.start_line.wrapping_sub(1)) else { continue };
        if last != span.start_line {
            out.push(format!("{} {line}", gutter(&span.start_line.to_string())));
            last = span.start_line;
        }
        let end = if span.end_line == span.start_line { span.end_column } else { line.chars().count() + 1 };
        let (mark, color) = if message.is_primary { ("^", RED) } else { ("-", BLUE) };
        let marks = mark.repeat(end.saturating_sub(span.start_column).max(1));
        let indent = " ".repeat(span.start_column.saturating_sub(1));
        let label = message.label.strip_prefix("error: ").filter(|l| *l == error.message());
        let label = if label.is_some() { "" } else { &message.label };
        out.push(format!("{} {indent}{color}{marks} {label}{PLAIN}", gutter("")));
    }
    for help in error.help() {
        let mut text = String::new();
        let _ = write!(text, "{BLUE}{:>width$} ={PLAIN} help: {}", "", help.replace('\n', "\n   "));
        out.extend(text.lines().map(str::to_string));
    }
    if let Some(hint) = error.evcxr_extra_hint() {
        out.push(format!("{BLUE}{:>width$} ={PLAIN} note: {hint}", ""));
    }
    out
}

/// Text without terminal colors.
fn without_colors(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        rest = rest[at..].find('m').map_or("", |end| &rest[at + end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_no_colors() {
        let failure = Failure::panic("index out of bounds\nsecond line", "src/lib.rs:3:5");
        assert_eq!(failure.text(), "Panic: index out of bounds\nsecond line\n  --> src/lib.rs:3:5");
        assert_eq!(failure.value, "index out of bounds\nsecond line");
        assert_eq!(Failure::of_value(" \n").value, "the cell returned an error");
    }
}
