//! A test on the sources of the libraries: their texts name no option and no command to type. Those are the command's
//! own words ([`crate::words`]), which a notebook or another program must not show.

use clap::CommandFactory;
use std::path::{Path, PathBuf};

/// Texts that are command lines on purpose, by the end of the file's path, each with its reason.
const ALLOWED: [(&str, &str); 3] = [
    ("lab/src/bench/results.rs", "kernelscope bench ops\n--peer torch"), // A table of times keeps what was typed for it.
    ("lab/src/bench/results.rs", "# command: kernelscope bench ops --peer torch"), // The same, in the table.
    ("prelude/src/viewer.rs", "kernelscope view {}"), // A cell cannot open a window where there is no desktop.
];

/// The string literals of a Rust source without its comments.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    let mut in_word = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = if rest.starts_with("//") {
            rest.split_once('\n').map_or("", |(_, rest)| rest)
        } else if rest.starts_with("/*") {
            rest.split_once("*/").map_or("", |(_, rest)| rest)
        } else if let Some((text, rest)) = raw(rest).filter(|_| !in_word) {
            found.push(text.to_string());
            rest
        } else if c == '"' {
            let (text, rest) = quoted(after);
            found.push(text);
            rest
        } else if c == '\'' {
            after_apostrophe(after)
        } else {
            after
        };
        in_word = c.is_alphanumeric() || c == '_';
    }
    found
}

/// A raw literal, if there is one, and what comes after it.
fn raw(source: &str) -> Option<(&str, &str)> {
    let body = source.strip_prefix('r')?;
    let text = body.trim_start_matches('#');
    let end = format!("\"{}", "#".repeat(body.len() - text.len()));
    text.strip_prefix('"')?.split_once(&end)
}

/// A literal as it reads, up to its closing quote, and what comes after it.
fn quoted(source: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = source.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (text, &source[at + 1..]),
            '\\' => match chars.next() {
                Some((at, '\n')) => {
                    let (more, rest) = quoted(source[at..].trim_start());
                    return (text + &more, rest);
                }
                Some((_, 'n')) => text.push('\n'),
                Some((_, other)) => text.push(other),
                None => {}
            },
            c => text.push(c),
        }
    }
    panic!("a literal without an end: {source}");
}

/// What comes after a character or the beginning of a lifetime.
fn after_apostrophe(source: &str) -> &str {
    let mut chars = source.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => source[2..].split_once('\'').map_or("", |(_, rest)| rest),
        (Some(c), Some('\'')) => &source[c.len_utf8() + 1..],
        _ => source,
    }
}

/// Whether a text names an option, such as `--model`, or a command of this program.
fn is_typed(text: &str, commands: &[String]) -> bool {
    let option = |(at, _): (usize, &str)| text[at + 2..].starts_with(|c: char| c.is_ascii_lowercase());
    let command = |(at, name): (usize, &str)| {
        let rest = &text[at + name.len()..];
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
        commands.contains(&word)
    };
    text.match_indices("--").any(option) || text.match_indices("kernelscope ").any(command)
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn the_libraries_name_no_option_and_no_command() {
    let program = crate::Cli::command();
    let commands: Vec<String> = program.get_subcommands().map(|command| command.get_name().to_string()).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in ["src", "crates/lab/src", "crates/prelude/src"] {
        let before = files.len();
        sources(&root.join(folder), &mut files);
        assert!(files.len() > before + 5, "{folder}");
    }
    let (mut wrong, mut met) = (Vec::new(), [false; ALLOWED.len()]);
    for path in files {
        let source = std::fs::read_to_string(&path).unwrap();
        for text in literals(&source).into_iter().filter(|text| is_typed(text, &commands)) {
            let allowed = ALLOWED.iter().position(|(file, start)| path.ends_with(file) && text.starts_with(start));
            match allowed {
                Some(index) => met[index] = true,
                None => wrong.push(format!("{}: {text:?}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(met, [true; ALLOWED.len()], "an exception that nothing needs");
}

#[test]
fn literals_are_found_and_comments_are_not() {
    let source = r##"
        //! "a comment"
        /* "another" */ fn f<'a>(c: char) -> &'a str {
            let quote = ['"', '\'', '\\', '\u{22}'];
            let raw = r#"raw "text""#; // "a third"
            let bytes = b"bytes"; let number = "one" ;
            "an \"escaped\" \
             text\n--of"
        }
    "##;
    assert_eq!(literals(source), ["raw \"text\"", "bytes", "one", "an \"escaped\" text\n--of"]);
}

#[test]
fn options_and_commands_are_told_from_other_texts() {
    let commands = ["train".to_string(), "shape-bias".to_string()];
    for text in ["name it with --model", "kernelscope train", "type `kernelscope shape-bias DIR`", "--peer"] {
        assert!(is_typed(text, &commands), "{text}");
    }
    for text in ["a -- b", "---", "kernelscope trains", "kernelscope-lab train", "train", "-u", "kernelscope shape"] {
        assert!(!is_typed(text, &commands), "{text}");
    }
}
