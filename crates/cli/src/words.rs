//! Errors in the words of the command. The libraries speak of arguments, files and folders; here, and nowhere else, these
//! become options and commands to type, as far as the command at hand has them.

use clap::{ArgMatches, Command};
use kernelscope::Error;
use std::path::Path;

/// Arguments of the libraries, and the options that set them.
const OPTIONS: [(&str, &str); 11] = [
    ("model", "--model"),
    ("override", "--set"),
    ("key", "--key"),
    ("data", "--data"),
    ("device", "--device"),
    ("ecosystem", "--to"),
    ("shard", "--shard"),
    ("table", "--table"),
    ("python", "--python"),
    ("peer", "--peer"),
    ("max_pixels", "--max-pixels"),
];

/// How errors are said in one command.
#[derive(Debug, Default)]
pub struct Words {
    /// The command, as it is typed after the program's name: `train`, `bench ops`.
    command: String,
    /// Its options, with their dashes.
    options: Vec<String>,
}

impl Words {
    /// Those of the command that was typed.
    pub fn typed(program: Command, matches: &ArgMatches) -> Self {
        let (mut path, mut at) = (Vec::new(), matches);
        while let Some((name, inner)) = at.subcommand() {
            path.push(name);
            at = inner;
        }
        Words::of(program, &path)
    }

    /// Those of a command of the program, named from the outermost to the innermost.
    fn of(mut program: Command, path: &[&str]) -> Self {
        // Gives each command the options that all have.
        program.build();
        let found = path.iter().try_fold(&program, |command, name| command.find_subcommand(name));
        let arguments = found.into_iter().flat_map(Command::get_arguments);
        let options = arguments.filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
        Words { command: path.join(" "), options: options.collect() }
    }

    /// An error, without line breaks.
    pub fn say(&self, error: &Error) -> String {
        let text = match error {
            Error::Argument { name, given, allowed } => {
                let said = Error::argument(self.name(name), given, allowed.as_str()).to_string();
                match name.as_str() {
                    "python" if self.has("--python") => {
                        let hint =
                            "install it with `python3 -m pip install torch`, or name another Python with --python";
                        format!("{said}: {hint}")
                    }
                    _ => said,
                }
            }
            Error::Unknown { what, name, known } if what == "field" && self.has("--set") => {
                format!("--set: unknown field \"{name}\", allowed: {}", known.join(", "))
            }
            Error::Unknown { what, name, known } => {
                Error::argument(self.name(what), name, known.join(", ")).to_string()
            }
            Error::UnknownNetwork { .. } if self.has("--model") => format!("{error}; name it with --model"),
            Error::Occupied { .. } => format!("{error}; {}", self.other_place()),
            Error::Interrupted { resumable, .. } => format!("interrupted; {}", self.how_to_go_on(resumable.as_deref())),
            other => other.to_string(),
        };
        let text = text.replace('\n', " ");
        OPTIONS
            .iter()
            .filter(|(_, option)| self.has(option))
            .fold(text, |text, (argument, option)| text.replace(&format!("the option `{argument}`"), option))
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    /// The option that sets an argument of a library, if the command has it, or else the argument itself.
    fn name<'a>(&self, argument: &'a str) -> &'a str {
        let option = OPTIONS.iter().find(|(name, _)| *name == argument).map(|(_, option)| *option);
        option.filter(|option| self.has(option)).unwrap_or(argument)
    }

    /// What to do where results would go to a place that holds something else.
    fn other_place(&self) -> String {
        let option = ["--out", "--output"].into_iter().find(|option| self.has(option));
        let other = option.map_or("choose another place".to_string(), |option| format!("choose another {option}"));
        match self.command.as_str() {
            "train" => format!("resume it with --resume, or {other}"),
            "ablate" => format!("restore the grid, remove what is there, or {other}"),
            _ => other,
        }
    }

    /// How work that was interrupted goes on.
    fn how_to_go_on(&self, resumable: Option<&Path>) -> String {
        match (resumable, self.command.as_str()) {
            (Some(run), "train") => format!("go on with: kernelscope train --resume {}", run.display()),
            (Some(_), _) => "run the same command again to resume".to_string(),
            (None, _) => "nothing was written".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// An error as a command says it.
    fn said(command: &[&str], error: Error) -> String {
        Words::of(crate::Cli::command(), command).say(&error)
    }

    fn unknown(what: &str) -> Error {
        Error::Unknown { what: what.into(), name: "x".into(), known: vec!["a".into(), "b".into()] }
    }

    #[test]
    fn arguments_become_the_options_that_set_them() {
        for (argument, option, command) in [
            ("model", "--model", &["train"][..]),
            ("override", "--set", &["erf"]),
            ("key", "--key", &["predict"]),
            ("data", "--data", &["eval"]),
            ("device", "--device", &["train"]),
            ("device", "--device", &["bench", "ops"]),
            ("ecosystem", "--to", &["convert"]),
            ("shard", "--shard", &["ablate"]),
            ("table", "--table", &["models"]),
            ("peer", "--peer", &["bench", "models"]),
            ("max_pixels", "--max-pixels", &["predict"]),
        ] {
            assert_eq!(said(command, Error::argument(argument, 1, "2")), format!("{option}: got 1, allowed: 2"));
            assert_eq!(said(command, unknown(argument)), format!("{option}: got x, allowed: a, b"));
        }
    }

    #[test]
    fn options_that_a_command_does_not_have_are_not_named() {
        let models = said(&["ablate"], unknown("model"));
        assert_eq!(models, "model: got x, allowed: a, b", "of a grid");
        assert_eq!(said(&["bench", "models"], unknown("model")), models);
        assert_eq!(said(&["shape-bias"], Error::argument("data", 1, "2")), "data: got 1, allowed: 2");
        assert_eq!(said(&["ablate"], unknown("field")), "field: got x, allowed: a, b");
        assert!(!said(&["ablate"], Error::unknown_network("a.pth")).contains("--"));
        let before_any = Words::default();
        assert_eq!(before_any.say(&Error::argument("device", 1, "2")), "device: got 1, allowed: 2");
    }

    #[test]
    fn fields_of_a_network_are_set_by_an_option() {
        assert_eq!(said(&["train"], unknown("field")), "--set: unknown field \"x\", allowed: a, b");
    }

    #[test]
    fn a_python_without_torch_is_an_error_with_a_way_out() {
        let message = said(&["bench", "ops"], Error::argument("python", "no PyTorch", "a Python 3 with PyTorch"));
        assert!(
            message.starts_with("--python: got no PyTorch, allowed: a Python 3 with PyTorch: install"),
            "{message}"
        );
        assert!(message.contains("pip install torch") && message.ends_with("--python"), "{message}");
    }

    #[test]
    fn a_network_that_is_not_known_can_be_named() {
        let message = said(&["eval"], Error::unknown_network("a.pth"));
        assert_eq!(message, "a.pth: does not say which network it is for; name it with --model");
    }

    #[test]
    fn options_in_the_middle_of_a_message_are_those_of_the_command() {
        let error = || Error::file("a.pth", "contains several sets; choose one with the option `key`");
        assert_eq!(said(&["merge"], error()), "a.pth: contains several sets; choose one with --key");
        assert_eq!(said(&["train"], error()), "a.pth: contains several sets; choose one with the option `key`");
    }

    #[test]
    fn a_place_that_holds_something_else_can_be_replaced_by_another() {
        let of = |command: &str| said(&[command], Error::occupied("place", "a run"));
        assert_eq!(of("train"), "place: already contains a run; resume it with --resume, or choose another --out");
        let ablate = "place: already contains a run; restore the grid, remove what is there, or choose another --out";
        assert_eq!(of("ablate"), ablate);
        assert_eq!(of("quickstart"), "place: already contains a run; choose another --out");
        assert_eq!(of("erf"), "place: already contains a run; choose another --output");
    }

    #[test]
    fn what_was_interrupted_goes_on() {
        let of = |command: &str| said(&[command], Error::interrupted_in("runs/a"));
        assert_eq!(of("train"), "interrupted; go on with: kernelscope train --resume runs/a");
        assert_eq!(of("quickstart"), "interrupted; run the same command again to resume");
        assert_eq!(of("ablate"), of("quickstart"));
        assert_eq!(said(&["erf"], Error::interrupted()), "interrupted; nothing was written");
    }

    #[test]
    fn other_errors_are_said_as_they_are_in_one_line() {
        assert_eq!(said(&["train"], Error::file("a", "is\nempty")), "a: is empty");
        let shape = Error::shape("images", &[1, 2], "(N, 3, H, W)");
        assert_eq!(said(&["predict"], shape), "images: got shape [1, 2], allowed: (N, 3, H, W)");
    }

    #[test]
    fn the_words_are_those_of_the_command_that_was_typed() {
        let matches = crate::Cli::command().get_matches_from(["kernelscope", "bench", "ops", "--list"]);
        let words = Words::typed(crate::Cli::command(), &matches);
        assert_eq!(words.command, "bench ops");
        assert!(words.has("--filter") && words.has("--device") && !words.has("--train"), "{words:?}");
    }
}
