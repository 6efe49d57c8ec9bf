//! Reading of grids, and what is refused.

use super::grid::{Axis, Grid};
use crate::config::toml_fault;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::path::Path;

impl Grid {
    /// Reads a grid file.
    ///
    /// # Errors
    /// If it is missing, is not TOML, has an unknown field (the message lists the known ones) or describes nothing that
    /// can be trained.
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let grid: Grid = toml::from_str(&file).map_err(|e| toml_fault(path, &file, &e))?;
        grid.check().map_err(|e| Error::file(path, e))?;
        Ok(grid)
    }

    /// The same from text.
    ///
    /// # Errors
    /// As [`Grid::read`].
    pub fn from_toml(text: &str) -> Result<Self> {
        let grid: Grid =
            toml::from_str(text).map_err(|e| Error::argument("grid", "this text", e.to_string().replace('\n', " ")))?;
        grid.check()?;
        Ok(grid)
    }

    /// Finds out whether it describes something that can be trained.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(Error::argument("name", format!("\"{}\"", self.name), "letters, digits, -, and _"));
        }
        if self.seeds.is_empty() {
            return Err(Error::argument("seeds", "an empty list", "at least one seed"));
        }
        let most = i64::MAX as u64;
        if let Some(seed) = self.seeds.iter().find(|&&seed| seed > most) {
            return Err(Error::argument("seeds", seed, format!("at most {most}")));
        }
        if self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            return Err(Error::argument("seeds", format!("{:?}", self.seeds), "each seed once"));
        }
        self.axes.iter().try_for_each(Axis::check)?;
        self.check_axes()?;
        let variants = self.variants()?;
        self.questions()?;
        match &self.baseline {
            Some(label) if variants.iter().all(|variant| variant.label != *label) => {
                let labels: Vec<_> = variants.into_iter().map(|variant| variant.label).collect();
                Err(Error::argument("baseline", format!("\"{label}\""), labels.join("; ")))
            }
            _ => Ok(()),
        }
    }
}

impl Grid {
    /// Refuses an axis that sets what another axis or a variant sets: one would hide the other, and labels would tell
    /// what was not trained.
    fn check_axes(&self) -> Result<()> {
        let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
        let overlap = |a: &str, b: &str| within(a, b) || within(b, a);
        for (i, axis) in self.axes.iter().enumerate() {
            if let Some(other) = self.axes.iter().take(i).find(|other| overlap(&axis.key, &other.key)) {
                let allowed = format!("a setting that the axis {} does not set", other.key);
                return Err(Error::argument("axis", &axis.key, allowed));
            }
            for entry in &self.entries {
                if let Some(name) = entry.settings.names().find(|name| overlap(&axis.key, name)) {
                    let allowed = format!("settings that no axis sets: the axis {} would replace it", axis.key);
                    return Err(Error::argument(format!("variant \"{}\"", entry.label), name, allowed));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"g\"\nseeds = [0, 1]\n";

    fn grid(rest: &str) -> Result<Grid> {
        Grid::from_toml(&format!("{HEAD}[base]\nmodel = \"nano-1d\"\n{rest}"))
    }

    #[test]
    fn a_label_that_is_a_number_makes_an_axis_numeric() {
        let axis = |text: &str| grid(text).unwrap().axes[0].numbers();
        assert_eq!(axis("[[axis]]\nkey = \"set.kernel\"\nvalues = [7, 15]\n"), Some(vec![7.0, 15.0]));
        let named = "[[axis]]\nkey = \"set.kernel\"\nvalues = [7, [15, 15, 7, 7]]\n";
        assert_eq!(axis(named), None);
        assert_eq!(axis(&format!("{named}labels = [\"7\", \"15\"]\n")), Some(vec![7.0, 15.0]));
    }

    #[test]
    fn a_grid_that_describes_nothing_is_refused() {
        for (rest, parts) in [
            ("[[axis]]\nkey = \"set.kernel\"\nvalues = []\n", &["axis set.kernel: values", "at least one"][..]),
            ("[[axis]]\nkey = \"set.kernel\"\nvalues = [7]\nlabels = []\n", &["labels: got 0", "1, one for each"]),
            ("[[variant]]\nlabel = \"a b\"\n[[variant]]\nlabel = \"a-B\"\n", &["\"a-B\" twice"]),
            ("[[variant]]\nlabel = \"?\"\n", &["label of a variant", "\"?\""]),
            ("[[variant]]\nlabel = \"a\"\nkernel = 3\n", &["unknown field `kernel`", "`set`"]),
            ("kernel = 3\n", &["unknown field `kernel`", "`train`"]),
            (
                "[[axis]]\nkey = \"set.kernel\"\nvalues = [7]\n[[axis]]\nkey = \"set.kernel\"\nvalues = [9]\n",
                &["axis: got set.kernel", "the axis set.kernel does not set"],
            ),
            (
                "[[axis]]\nkey = \"train.sparse\"\nvalues = [{}]\n[[axis]]\nkey = \"train.sparse.sparsity\"\nvalues = [0.5]\n",
                &["axis: got train.sparse.sparsity", "the axis train.sparse does not set"],
            ),
            (
                "[[axis]]\nkey = \"set.kernel\"\nvalues = [7]\n[[variant]]\nlabel = \"a\"\nset.kernel = 5\n",
                &["variant \"a\": got set.kernel", "the axis set.kernel would replace it"],
            ),
            ("[[variant]]\nlabel = \"a\\nb\"\n", &["label of a variant", "control characters"]),
        ] {
            let message = grid(rest).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{rest}: {message}");
        }
        let head = |seeds: &str, more: &str| {
            let text = format!("name = \"g\"\nseeds = {seeds}\n{more}[base]\nmodel = \"nano-1d\"\n");
            Grid::from_toml(&text).unwrap_err().to_string()
        };
        assert!(head("[]", "").contains("seeds"));
        assert!(head("[1, 1]", "").contains("each seed once"));
        assert!(head("[1]", "baseline = \"none\"\n").contains("allowed: g"));
        assert!(head("[1]", "check = \"merged\"\n").contains("merge"));
    }
}
