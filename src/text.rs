//! Text from files in messages: on one line, and not too long.

/// Text from a file made safe for a one-line message: control characters are written as escapes.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// A name from a file, on one line and cut to a readable length.
pub(crate) fn short_name(name: &str) -> String {
    const LONGEST: usize = 120;
    if name.chars().nth(LONGEST).is_none() {
        return one_line(name);
    }
    let start: String = name.chars().take(LONGEST).collect();
    format!("{}...", one_line(&start))
}
