//! Fields of a configuration from values of TOML, with errors that tell a field that does not exist from a value that
//! does not fit. The errors of `toml` say it in text alone.

use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::fmt;
use toml::{Table, Value};

/// Why values do not make a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Misfit {
    /// A field that does not exist, with those that do.
    Unknown(Vec<String>),
    /// A value that does not fit, in one line.
    Value(String),
}

/// The configuration that a table describes.
pub(super) fn read<T: DeserializeOwned>(table: Table) -> Result<T, Misfit> {
    T::deserialize(Reader(Value::Table(table)))
}

impl std::error::Error for Misfit {}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Unknown(known) => write!(f, "an unknown field, allowed: {}", known.join(", ")),
            Misfit::Value(message) => f.write_str(message),
        }
    }
}

impl Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Misfit::Value(message.to_string().replace('\n', " "))
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Misfit::Unknown(known.iter().map(|&name| name.to_string()).collect())
    }
}

/// A value that serde reads from.
struct Reader(Value);

impl IntoDeserializer<'_, Misfit> for Reader {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The entries of a table, for serde.
fn entries(table: Table) -> MapDeserializer<'static, impl Iterator<Item = (String, Reader)>, Misfit> {
    MapDeserializer::new(table.into_iter().map(|(name, value)| (name, Reader(value))))
}

impl<'de> Deserializer<'de> for Reader {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::String(text) => visitor.visit_string(text),
            Value::Integer(number) => visitor.visit_i64(number),
            Value::Float(number) => visitor.visit_f64(number),
            Value::Boolean(flag) => visitor.visit_bool(flag),
            Value::Datetime(_) => Err(Misfit::custom("no setting is a date")),
            Value::Array(values) => {
                let mut values = SeqDeserializer::new(values.into_iter().map(Reader));
                let read = visitor.visit_seq(&mut values)?;
                values.end().map(|()| read)
            }
            Value::Table(table) => {
                let mut entries = entries(table);
                let read = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| read)
            }
        }
    }

    /// TOML cannot say that nothing is there.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::String(name) => visitor.visit_enum(IntoDeserializer::<Misfit>::into_deserializer(name)),
            Value::Table(table) => visitor.visit_enum(MapAccessDeserializer::new(entries(table))),
            other => Err(Misfit::custom(format!("got {other}, allowed: the name of a choice"))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{DataConfig, RunConfig};
    use crate::train::sparse::SparseConfig;
    use kernelscope::zoo::ModelSpec;

    fn config() -> RunConfig {
        let model = ModelSpec::named("nano-replk").unwrap();
        let data = DataConfig::parse("folder:photos", 64, 1, &model.preprocessing()).unwrap();
        let mut config = RunConfig { train: Default::default(), data, model };
        config.train.sparse = Some(SparseConfig::default());
        config.train.weights = Some("weights.safetensors".into());
        config
    }

    #[test]
    fn a_configuration_is_read_as_toml_reads_it() {
        assert_eq!(read::<RunConfig>(Table::try_from(config()).unwrap()), Ok(config()));
    }

    #[test]
    fn a_field_that_does_not_exist_is_told_from_a_value_that_does_not_fit() {
        let with = |text: &str| {
            let mut table = Table::try_from(config()).unwrap();
            let Some(Value::Table(train)) = table.get_mut("train") else { panic!("no settings of training") };
            train.extend(text.parse::<Table>().unwrap());
            read::<RunConfig>(table).unwrap_err()
        };
        let Misfit::Unknown(known) = with("epoch = 3") else { panic!("the field exists") };
        assert!(known.iter().any(|name| name == "epochs"), "{known:?}");
        for (text, part) in [
            ("epochs = \"unknown field\"", "unknown field"),
            ("epochs = -1", "usize"),
            ("epochs = 2020-01-01", "date"),
            ("weights = 3", "path string"),
            ("sparse = { type = 3 }", "3"),
            ("sparse = { type = \"medium\" }", "unknown variant `medium`"),
        ] {
            let Misfit::Value(message) = with(text) else { panic!("{text}: a field that does not exist") };
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
