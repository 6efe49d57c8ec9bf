//! Configurations as data: one value per stage, directions, and overrides by name.

use crate::nn::BatchNorm;
use crate::ops::depthwise2d::MAX_SIDE;
use crate::ops::oriented1d::MAX_TAPS;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Most channels of a layer before expansion, and most directions.
pub(super) const MAX_CHANNELS: usize = 1 << 16;
/// Most blocks of a stage.
pub(super) const MAX_BLOCKS: usize = 1000;
/// Most classes.
pub(super) const MAX_CLASSES: usize = 1_000_000;
/// Largest side of a patch.
pub(super) const MAX_PATCH: usize = 1024;
/// Largest initial layer scale and factor on initial weights.
const MAX_SCALE: f64 = 1e6;

/// Refuses a number of things outside `1..=most`.
pub(super) fn check_count(name: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) { Ok(()) } else { Err(Error::argument(name, value, format!("1 to {most}"))) }
}

/// Refuses kernels that are too long, and even ones: they have no center, so that a block could not add its output to
/// its input.
pub(super) fn check_kernel(name: &str, size: usize, oriented: bool) -> Result<()> {
    let most = if oriented { MAX_TAPS } else { MAX_SIDE };
    if size <= most && !size.is_multiple_of(2) {
        return Ok(());
    }
    Err(Error::argument(name, size, format!("an odd number from 1 to {most}")))
}

/// Refuses a factor on initial values that is negative, huge or not a number.
pub(super) fn check_scale(name: &str, value: f64) -> Result<()> {
    if (0.0..=MAX_SCALE).contains(&value) {
        return Ok(());
    }
    Err(Error::argument(name, value, format!("0 to {MAX_SCALE}")))
}

/// Refuses a rate at which nothing could be left, or that is not a number.
pub(super) fn check_rate(name: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::argument(name, value, "at least 0 and below 1"))
}

/// What batch norms add to the variance, if a configuration does not say.
pub(super) fn norm_eps() -> f64 {
    BatchNorm::EPS
}

/// Refuses a number that batch norms cannot add to the variance.
pub(super) fn check_eps(value: f64) -> Result<()> {
    if value > 0.0 && value <= 1.0 {
        return Ok(());
    }
    Err(Error::argument("norm_eps", value, "above 0, up to 1"))
}

/// `channels * ratio`, rounded down; 0 for what is no number.
pub(super) fn scaled(channels: usize, ratio: f64) -> usize {
    (channels as f64 * ratio) as usize
}

/// A number or the word "none", since TOML cannot say that nothing is there.
pub(super) mod number_or_none {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Option<usize>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.serialize_u64(*value as u64),
            None => serializer.serialize_str("none"),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number or \"none\"")]
        enum Form {
            Number(usize),
            Word(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Number(value) => Ok(Some(value)),
            Form::Word(word) if word == "none" => Ok(None),
            Form::Word(word) => Err(serde::de::Error::custom(format!("got \"{word}\", allowed: a number or \"none\""))),
        }
    }
}

/// A value for each of four stages. Reads from a list of four or from one value for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PerStage(pub [usize; 4]);

impl PerStage {
    /// The same value in every stage.
    pub const fn all(value: usize) -> Self {
        PerStage([value; 4])
    }

    /// The value of a stage counted from 0.
    pub fn stage(&self, stage: usize) -> usize {
        self.0[stage.min(3)]
    }
}

impl<'de> Deserialize<'de> for PerStage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number, or a list of four numbers (one per stage)")]
        enum Form {
            One(usize),
            Four([usize; 4]),
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::One(value) => PerStage::all(value),
            Form::Four(values) => PerStage(values),
        })
    }
}

/// Number of directions D of an oriented layer: a number, or as many as the layer has channels (D = C).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Directions {
    /// D equally spaced angles.
    Count(usize),
    /// Every channel has its own angle.
    Channels,
}

impl Directions {
    /// The number for a layer of `channels` channels.
    pub fn of(self, channels: usize) -> usize {
        match self {
            Directions::Count(count) => count,
            Directions::Channels => channels,
        }
    }
}

impl fmt::Display for Directions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Directions::Count(count) => write!(f, "{count}"),
            Directions::Channels => f.write_str("channels"),
        }
    }
}

/// Reads and writes a type that is either a number or one keyword.
macro_rules! number_or_keyword {
    ($type:ident, $number:ident, $word:ident, $keyword:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                match self {
                    $type::$number(value) => serializer.serialize_u64(*value as u64),
                    $type::$word => serializer.serialize_str($keyword),
                }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged, expecting = "a number or a keyword")]
                enum Form {
                    Number(usize),
                    Word(String),
                }
                match Form::deserialize(deserializer)? {
                    Form::Number(value) => Ok($type::$number(value)),
                    Form::Word(word) if word == $keyword => Ok($type::$word),
                    Form::Word(word) => {
                        Err(serde::de::Error::custom(format!("got \"{word}\", allowed: a number or \"{}\"", $keyword)))
                    }
                }
            }
        }
    };
}

number_or_keyword!(Directions, Count, Channels, "channels");

/// Length of the oriented kernels that replace square ones: a number, or the side of the kernel replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelChoice {
    /// This many taps.
    Taps(usize),
    /// As many taps as the replaced kernel's side.
    Replaced,
}

impl KernelChoice {
    /// The number of taps in place of a kernel of side `side`.
    pub fn of(self, side: usize) -> usize {
        match self {
            KernelChoice::Taps(taps) => taps,
            KernelChoice::Replaced => side,
        }
    }
}

number_or_keyword!(KernelChoice, Taps, Replaced, "replaced");

/// Replaces one field of a serializable configuration, as `--set key=value` does. The value is read as TOML; a bare
/// comma-separated list is one too, and anything else is text.
///
/// # Errors
/// If the field does not exist (the message lists those that do) or the value does not fit.
///
/// ```
/// use kernelscope::zoo::{convnext::ConvNextConfig, set_field};
/// let mut config = ConvNextConfig::default();
/// set_field(&mut config, "kernel", "31,31,27,15")?;
/// assert_eq!(config.kernel.0, [31, 31, 27, 15]);
/// assert!(set_field(&mut config, "kernels", "7").is_err());
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn set_field<C: Serialize + for<'de> Deserialize<'de>>(config: &mut C, key: &str, value: &str) -> Result<()> {
    let as_table = |e: toml::ser::Error| Error::argument("config", e, "a serializable configuration");
    let mut table = toml::Table::try_from(&*config).map_err(as_table)?;
    if !table.contains_key(key) {
        let keys: Vec<_> = table.keys().map(String::as_str).collect();
        let known = keys.into_iter().map(String::from).collect();
        return Err(Error::Unknown { what: "field".into(), name: key.to_string(), known });
    }
    table.insert(key.to_string(), parse_value(value));
    *config = table
        .try_into()
        .map_err(|e: toml::de::Error| Error::argument(key, format!("\"{value}\""), e.message().to_string()))?;
    Ok(())
}

/// A value of a field as [`set_field`] reads it.
pub fn parse_value(text: &str) -> toml::Value {
    let parse = |text: &str| toml::from_str::<toml::Table>(&format!("v = {text}")).ok()?.remove("v");
    parse(text)
        .or_else(|| text.contains(',').then(|| parse(&format!("[{text}]"))).flatten())
        .unwrap_or_else(|| toml::Value::String(text.to_string()))
}
