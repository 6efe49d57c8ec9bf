//! Arguments in the text of a Python program, as far as configurations need them. Nothing is run.

/// The arguments of the first `name=dict(...)`, without the parentheses.
pub(super) fn call<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = argument_anywhere(text, name)?;
    let inner = value.trim_start().strip_prefix("dict(")?;
    inner.get(..end_of(inner, |c, depth| c == ')' && depth == 0)?)
}

/// The value of the argument `name` in a list of arguments, not of one inside another's value.
pub(super) fn argument<'a>(arguments: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = arguments;
    loop {
        let end = end_of(rest, |c, depth| c == ',' && depth == 0).unwrap_or(rest.len());
        let (one, others) = rest.split_at(end);
        if let Some((key, value)) = one.split_once('=')
            && key.trim() == name
        {
            return Some(value.trim());
        }
        rest = others.strip_prefix(',')?;
    }
}

/// The text after the first `name=`, wherever it stands, where that is a name of its own.
fn argument_anywhere<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.match_indices(name).find_map(|(at, _)| {
        let before = text[..at].chars().next_back();
        let value = text[at + name.len()..].trim_start().strip_prefix('=')?;
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_').then_some(value)
    })
}

/// Where the first character is that ends something, by what it is and how many parentheses are open. Those in texts do
/// not count.
fn end_of(text: &str, ends: impl Fn(char, usize) -> bool) -> Option<usize> {
    let (mut depth, mut quote) = (0usize, None);
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if ends(c, depth) => return Some(at),
            None => match c {
                '\'' | '"' => quote = Some(c),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            },
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_at_their_own_level() {
        let text = "my_backbone = 3\nmodel = dict(\n    backbone=dict(\n        type='Res,(Net',\n        \
                    norm_cfg=dict(type='BN', eps=0.001),\n        strides=(1, 2, 2, 2),\n        style=\"caffe\"),\n    \
                    head=dict(style='other'))";
        let backbone = call(text, "backbone").unwrap();
        assert_eq!(argument(backbone, "style"), Some("\"caffe\""));
        assert_eq!(argument(backbone, "type"), Some("'Res,(Net'"));
        assert_eq!(argument(backbone, "strides"), Some("(1, 2, 2, 2)"));
        assert_eq!(argument(backbone, "eps"), None, "of an inner call");
        assert_eq!(argument(call(backbone, "norm_cfg").unwrap(), "eps"), Some("0.001"));
    }

    #[test]
    fn damaged_text_holds_nothing() {
        for text in ["", "backbone", "backbone=", "backbone=dict(", "backbone=dict(style='caffe'", "é backbone = 'é'"]
        {
            assert_eq!(call(text, "backbone"), None, "{text}");
        }
        assert_eq!(argument("style", "style"), None);
        assert_eq!(argument("a=1,,style=2", "style"), Some("2"));
    }
}
