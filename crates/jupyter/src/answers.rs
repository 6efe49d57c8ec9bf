//! Answers that need no cell to run: what the kernel is, what could be written at the cursor.

use crate::errors::Failure;
use crate::session::Session;
use serde_json::{Value, json};

/// What the kernel is.
pub fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": "5.3",
        "implementation": "kernelscope",
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "rust",
            "version": "",
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
            "nbconvert_exporter": "rust",
        },
        "banner": "Rust with kernelscope and candle. `train(\"nano-1d\")?` trains a small network.",
        "debugger": false,
        "help_links": [],
    })
}

/// Whether a console should ask for more lines: while brackets are open.
pub fn completeness(code: &str) -> Value {
    let open = code.matches(['(', '[', '{']).count();
    let closed = code.matches([')', ']', '}']).count();
    if open > closed { json!({ "status": "incomplete", "indent": "    " }) } else { json!({ "status": "complete" }) }
}

/// What could be written at the cursor.
pub fn completions(session: &mut Result<Session, Failure>, code: &str, cursor: usize) -> Value {
    let found = session.as_mut().ok().and_then(|s| s.complete(code, byte_of(code, cursor)).ok()).unwrap_or_default();
    let (start, end) = match found.texts.is_empty() {
        true => (cursor, cursor),
        false => (character_of(code, found.range.0), character_of(code, found.range.1)),
    };
    let matches: Vec<&str> = found.texts.iter().map(|(text, _)| text.as_str()).collect();
    let kind = |(text, kind): &(String, &str)| json!({ "text": text, "type": kind, "start": start, "end": end });
    let kinds: Vec<Value> = found.texts.iter().map(kind).collect();
    json!({
        "status": "ok",
        "matches": matches,
        "cursor_start": start,
        "cursor_end": end,
        "metadata": { "_jupyter_types_experimental": kinds },
    })
}

/// Jupyter counts characters, evcxr bytes.
fn byte_of(code: &str, character: usize) -> usize {
    code.char_indices().nth(character).map_or(code.len(), |(byte, _)| byte)
}

fn character_of(code: &str, byte: usize) -> usize {
    code.char_indices().take_while(|(at, _)| *at < byte).count()
}

/// The path, such as `Tensor::zeros`, that the cursor is in or behind.
pub fn path_at(code: &str, cursor: usize) -> String {
    let characters: Vec<char> = code.chars().collect();
    let in_path = |c: &char| c.is_alphanumeric() || *c == '_' || *c == ':';
    let mut start = cursor.min(characters.len());
    // Behind an opening bracket the function is meant.
    while start > 0 && matches!(characters.get(start - 1), Some('(' | ' ')) {
        start -= 1;
    }
    let mut end = start;
    while start > 0 && characters.get(start - 1).is_some_and(in_path) {
        start -= 1;
    }
    while characters.get(end).is_some_and(|c| in_path(c) && *c != ':') {
        end += 1;
    }
    characters.get(start..end).unwrap_or_default().iter().collect::<String>().trim_matches(':').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_characters() {
        let code = "let µ = Tensor::ze";
        assert_eq!(byte_of(code, 5), 6);
        assert_eq!(character_of(code, 6), 5);
        assert_eq!((byte_of(code, 99), character_of(code, 99)), (code.len(), code.chars().count()));
    }

    #[test]
    fn a_path_is_found_around_the_cursor() {
        for (code, cursor, path) in [
            ("let x = Tensor::zeros((2, 3))", 16, "Tensor::zeros"),
            ("let x = Tensor::zeros((2, 3))", 22, "Tensor::zeros"),
            ("train(", 6, "train"),
            ("a + b", 1, "a"),
            ("", 0, ""),
        ] {
            assert_eq!(path_at(code, cursor), path, "{code} {cursor}");
        }
    }

    #[test]
    fn open_brackets_ask_for_more() {
        assert_eq!(completeness("for i in 0..3 {")["status"], "incomplete");
        assert_eq!(completeness("for i in 0..3 {}")["status"], "complete");
    }
}
