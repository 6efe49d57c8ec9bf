//! Errors in the words of the command: the library names arguments of functions, the command its options.

use kernelscope::Error;

/// Arguments of the library and the options that set them.
const OPTIONS: [(&str, &str); 2] = [("model", "--model"), ("override", "--set")];

/// The option that sets an argument of the library, or the argument itself.
fn option(argument: &str) -> &str {
    OPTIONS.iter().find(|(name, _)| *name == argument).map_or(argument, |(_, option)| option)
}

/// An error as the command says it.
pub fn of(error: &Error) -> String {
    match error {
        Error::Argument { name, given, allowed } => Error::argument(option(name), given, allowed.as_str()).to_string(),
        Error::Unknown { what, name, known } => match what.as_str() {
            "field" => format!("--set: unknown field \"{name}\", allowed: {}", known.join(", ")),
            _ => Error::argument(option(what), name, known.join(", ")).to_string(),
        },
        other => other.to_string(),
    }
}
