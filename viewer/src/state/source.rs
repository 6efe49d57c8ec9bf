//! What to open.

use kernelscope::zoo::registry;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A path, and the network to use for a file that does not name its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
// Saved settings hold it as a pair.
#[serde(from = "(PathBuf, Option<String>)", into = "(PathBuf, Option<String>)")]
pub struct Source {
    /// A folder or a file.
    pub path: PathBuf,
    /// Name of the network.
    pub model: Option<String>,
}

impl Source {
    /// A path with the name of its network.
    pub fn named(path: impl Into<PathBuf>, model: &str) -> Self {
        Source { path: path.into(), model: Some(model.to_string()) }
    }

    /// Reads `PATH` or `NETWORK=PATH`. The text before `=` counts as a network only if it is registered and no file has
    /// the whole text as its name.
    pub fn parse(text: &str) -> Self {
        let named = text.split_once('=').filter(|(model, _)| registry().iter().any(|known| known.name == *model));
        match named {
            Some((model, path)) if !Path::new(text).exists() => Source::named(path, model),
            _ => Source::from(PathBuf::from(text)),
        }
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Source { path, model: None }
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Source::from(path.to_path_buf())
    }
}

impl From<(PathBuf, Option<String>)> for Source {
    fn from((path, model): (PathBuf, Option<String>)) -> Self {
        Source { path, model }
    }
}

impl From<Source> for (PathBuf, Option<String>) {
    fn from(source: Source) -> Self {
        (source.path, source.model)
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.model {
            Some(model) => write!(f, "{} as {model}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registered_name_in_front_of_a_path_names_its_network() {
        assert_eq!(Source::parse("nano-1d=a.pth"), Source::named("a.pth", "nano-1d"));
        assert_eq!(Source::parse("other=a.pth"), Source::from(PathBuf::from("other=a.pth")));
        assert_eq!(Source::parse("a.pth"), Source::from(PathBuf::from("a.pth")));
    }

    #[test]
    fn settings_hold_a_pair() {
        let text = serde_json::to_string(&Source::named("a.pth", "nano-1d")).unwrap();
        assert_eq!(text, r#"["a.pth","nano-1d"]"#);
        assert_eq!(serde_json::from_str::<Source>(r#"["a.pth",null]"#).unwrap(), Source::from(PathBuf::from("a.pth")));
    }
}
