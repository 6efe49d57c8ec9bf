//! What a grid's base, axes and variants make together.

use super::grid::{Entry, Grid};
use super::settings::Settings;
use crate::{Error, Result};
use std::collections::BTreeSet;

/// More runs are refused: they are a mistake.
const MOST_JOBS: usize = 10_000;
/// Longest name of a run in bytes, for file systems.
const LONGEST_NAME: usize = 120;

/// One thing that is trained with every seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its name.
    pub label: String,
    /// The same for file names.
    pub slug: String,
    /// Its settings.
    pub settings: Settings,
    /// Index of its value on every axis.
    pub places: Vec<usize>,
    /// Index among the variants that are written out; 0 if there are none.
    pub entry: usize,
    /// What the paper has for it.
    pub published: Option<f64>,
}

impl Grid {
    /// Names of the settings that differ between variants: the axes' first.
    pub fn varied(&self) -> Vec<&str> {
        let axes = self.axes.iter().map(|axis| axis.key.as_str());
        let mut names = Vec::new();
        for name in axes.chain(self.entries.iter().flat_map(|entry| entry.settings.names())) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// All variants: those written out, the last axis changing fastest. Without axes and variants, the base alone.
    ///
    /// # Errors
    /// If two have the same label or the same file name, or there are too many.
    pub fn variants(&self) -> Result<Vec<Variant>> {
        let base = Entry { label: String::new(), published: None, settings: Settings::default() };
        let entries = if self.entries.is_empty() { std::slice::from_ref(&base) } else { &self.entries };
        let sizes = self.axes.iter().map(|axis| axis.values.len()).chain([entries.len(), self.seeds.len()]);
        let count = sizes.fold(1usize, |product, size| product.saturating_mul(size));
        if count > MOST_JOBS {
            return Err(Error::argument("grid", format!("{count} runs"), format!("at most {MOST_JOBS}")));
        }
        let mut variants = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let mut places = vec![0; self.axes.len()];
            loop {
                variants.push(self.variant(index, entry, &places));
                // As an odometer counts.
                let turning = (0..places.len()).rev().find(|&a| places[a] + 1 < self.axes[a].values.len());
                let Some(turning) = turning else { break };
                places[turning] += 1;
                places[turning + 1..].fill(0);
            }
        }
        check_names(&variants)?;
        Ok(variants)
    }

    fn variant(&self, index: usize, entry: &Entry, places: &[usize]) -> Variant {
        let mut settings = self.base.clone();
        settings.extend(&entry.settings);
        let mut parts: Vec<String> = Vec::new();
        if !entry.label.is_empty() {
            parts.push(entry.label.clone());
        }
        for (axis, &place) in self.axes.iter().zip(places) {
            if let Some(value) = axis.values.get(place) {
                settings.set(&axis.key, value.clone());
            }
            parts.push(format!("{} {}", axis.name(), axis.value_label(place)));
        }
        let label = if parts.is_empty() { self.name.clone() } else { parts.join(", ") };
        let (slug, places) = (slug(&label), places.to_vec());
        Variant { label, slug, settings, places, entry: index, published: entry.published }
    }
}

/// Refuses variants that could not be told apart.
fn check_names(variants: &[Variant]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for Variant { label, slug, .. } in variants {
        if label.chars().any(char::is_control) {
            let given = label.escape_debug();
            return Err(Error::argument("label of a variant", format!("\"{given}\""), "no control characters"));
        }
        if slug.is_empty() || slug.len() > LONGEST_NAME {
            let allowed = format!("1 to {LONGEST_NAME} letters, digits, and separators");
            return Err(Error::argument("label of a variant", format!("\"{label}\""), allowed));
        }
        if !seen.insert(slug) {
            let allowed = "labels that differ in their letters and digits";
            return Err(Error::argument("label of a variant", format!("\"{label}\" twice"), allowed));
        }
    }
    Ok(())
}

/// A label for file names: lower-case letters and digits, `+` and `.`, with `-` for everything else.
fn slug(label: &str) -> String {
    let mut slug = String::new();
    for c in label.chars() {
        match c {
            c if c.is_ascii_alphanumeric() || c == '+' => slug.push(c.to_ascii_lowercase()),
            // A dot inside a number stays.
            '.' if slug.ends_with(|c: char| c.is_ascii_digit()) => slug.push('.'),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_end_matches(['-', '.']).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::Value;

    fn grid(rest: &str) -> Grid {
        Grid::from_toml(&format!("name = \"g\"\nseeds = [0, 1]\n[base]\nmodel = \"nano-1d\"\n{rest}")).unwrap()
    }

    fn labels(rest: &str) -> Vec<String> {
        grid(rest).variants().unwrap().into_iter().map(|v| v.label).collect()
    }

    #[test]
    fn variants_are_the_product_of_all_axes() {
        let axes = "[[axis]]\nkey = \"set.kernel\"\nname = \"K\"\nvalues = [7, [15, 15, 7, 7]]\n\
                    [[axis]]\nkey = \"set.directions\"\nname = \"D\"\nvalues = [4, \"channels\"]\n";
        assert_eq!(labels(axes), ["K 7, D 4", "K 7, D channels", "K 15-15-7-7, D 4", "K 15-15-7-7, D channels"]);
        let entries = "[[variant]]\nlabel = \"a\"\n[[variant]]\nlabel = \"b\"\ntrain.epochs = 3\n";
        assert_eq!(labels(&format!("{axes}{entries}")).len(), 8);
        assert_eq!(labels(entries), ["a", "b"]);
        assert_eq!(labels(""), ["g"]);
    }

    #[test]
    fn later_settings_replace_earlier_ones_of_the_same_field() {
        let text = "set.kernel = 9\ntrain.epochs = 2\n[[variant]]\nlabel = \"v\"\nset.kernel = 5\n\
                    [[axis]]\nkey = \"train.epochs\"\nvalues = [3]\n";
        let variant = &grid(text).variants().unwrap()[0];
        assert_eq!(variant.settings.get("set.kernel"), Some(&Value::Integer(5)));
        assert_eq!(variant.settings.run_config(7).unwrap().train.epochs, 3);
        assert_eq!(variant.settings.run_config(7).unwrap().train.seed, 7);
    }

    #[test]
    fn names_of_runs_are_plain() {
        assert_eq!(slug("Stem: 1-D (7x7), K 15"), "stem-1-d-7x7-k-15");
        assert_eq!(slug("1D++, lr 0.004"), "1d++-lr-0.004");
        assert_eq!(slug("..."), "");
    }
}
