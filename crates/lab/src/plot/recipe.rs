//! What made a figure, inside its file; and the values that it shows, as a table.

use std::path::Path;

use super::output::{self, svg};
use super::{
    CostBars, DensityBars, ErfDifference, ErfFigure, Figure, GroupMaps, KeptGroupHistograms, KernelGrid, LossCurves,
    MaskCurves, OrientationHistogram, OrientedTaps, PolarOrientation, ShapeBiasFigure, ShiftMaps, TapShares,
};
use crate::{Error, Result};
use kernelscope::analysis::orientation::Bins;
use kernelscope::files::write_atomically;

/// What made a figure: names and values, for example the checkpoint's hash and the transfer of a heat map.
///
/// A PNG file holds them as text chunks, an SVG file as its `metadata` element, and a CSV file as lines that begin with
/// `# `.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    /// Names and values, in the order in which they are written.
    pub entries: Vec<(String, String)>,
}

impl Recipe {
    /// Adds an entry; line breaks and other control characters become spaces.
    pub fn push(&mut self, name: &str, value: impl std::fmt::Display) {
        let clean = |text: &str| text.replace(|c: char| c.is_control(), " ");
        self.entries.push((clean(name), clean(&value.to_string())));
    }

    /// One line `# name: value` per entry.
    pub fn comments(&self) -> String {
        self.entries.iter().map(|(name, value)| format!("# {name}: {value}\n")).collect()
    }

    /// The `metadata` element of an SVG document.
    fn element(&self) -> String {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let lines: String = self.entries.iter().map(|(n, v)| format!("{}: {}\n", escaped(n), escaped(v))).collect();
        format!("<metadata>\n{lines}</metadata>\n")
    }
}

/// The values that a figure shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Rows; shorter ones end with empty cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    fn new(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        Table { header: header.iter().map(|name| name.to_string()).collect(), rows: rows.into_iter().collect() }
    }

    /// The table as CSV, after the recipe.
    ///
    /// # Errors
    /// If it cannot be written to memory.
    pub fn csv(&self, recipe: &Recipe) -> Result<Vec<u8>> {
        let fault = |e: &dyn std::fmt::Display| Error::Plot(format!("cannot write the table: {e}"));
        let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(recipe.comments().into_bytes());
        for row in std::iter::once(&self.header).chain(&self.rows) {
            writer.write_record(row).map_err(|e| fault(&e))?;
        }
        writer.into_inner().map_err(|e| fault(&e))
    }
}

/// A figure whose values can be written as a table.
pub trait Tabular {
    /// The values.
    fn table(&self) -> Table;
}

/// Writes a figure or its values to one file, by its ending: `.svg`, `.png` or `.csv`, each with the recipe.
///
/// ```
/// use kernelscope_lab::plot::{CostBars, Recipe, export};
/// # let folder = tempfile::tempdir().map_err(kernelscope::Error::io("create", "folder"))?;
/// let bars = CostBars { rows: vec![("nano-1d".into(), 1.5)], unit: "million".into(), title: "Multiply-adds".into() };
/// let mut recipe = Recipe::default();
/// recipe.push("model", "nano-1d");
/// let path = folder.path().join("macs.csv");
/// export(&bars, &path, &recipe)?;
/// let text = std::fs::read_to_string(&path).map_err(kernelscope::Error::io("read", &path))?;
/// assert_eq!(text, "# model: nano-1d\nname,million\nnano-1d,1.5\n");
/// # Ok::<(), kernelscope::Error>(())
/// ```
///
/// # Errors
/// If the ending is another one, the figure's values do not fit together, or the file cannot be written.
pub fn export(figure: &(impl Figure + Tabular), path: &Path, recipe: &Recipe) -> Result<()> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let bytes = match ending.as_str() {
        "svg" => {
            let text = svg(figure)?;
            let (open, rest) = text.split_once('\n').unwrap_or(("", &text));
            format!("{open}\n{}{rest}", recipe.element()).into_bytes()
        }
        "png" => output::png_with(figure, recipe)?,
        "csv" => figure.table().csv(recipe)?,
        _ => return Err(Error::argument("file name", path.display(), "a name that ends in .png, .svg, or .csv")),
    };
    write_atomically(path, |file| file.write_all(&bytes))
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

impl Tabular for CostBars {
    fn table(&self) -> Table {
        Table::new(&["name", &self.unit], self.rows.iter().map(|(name, value)| vec![name.clone(), value.to_string()]))
    }
}

impl Tabular for ErfFigure {
    /// One line per row of each map: its values A from left to right.
    fn table(&self) -> Table {
        let lines = self.maps.iter().flat_map(|(map, _)| {
            map.contribution.chunks(map.width.max(1)).enumerate().map(|(y, values)| {
                let mut row = vec![map.model.clone(), y.to_string()];
                row.extend(values.iter().map(f32::to_string));
                row
            })
        });
        let widest = self.maps.iter().map(|(map, _)| map.width).max().unwrap_or(0);
        let mut table = Table::new(&["network", "row"], lines);
        table.header.extend((0..widest).map(|x| format!("column {x}")));
        table
    }
}

impl Tabular for ErfDifference {
    /// One line per row: the differences from left to right; none for maps of different sizes, which are not drawn.
    fn table(&self) -> Table {
        let (values, width) = (self.values().unwrap_or_default(), self.maps[0].width.max(1));
        let lines = values.chunks(width).enumerate().map(|(y, values)| {
            let numbers = values.iter().map(f64::to_string);
            std::iter::once(y.to_string()).chain(numbers).collect()
        });
        let mut table = Table::new(&["row"], lines);
        table.header.extend((0..width).map(|x| format!("column {x}")));
        table
    }
}

impl Tabular for KernelGrid {
    /// One line per channel: its weights in their order.
    fn table(&self) -> Table {
        let lines = self.kernels.iter().map(|(channel, _)| {
            let mut row = vec![self.layer.path.clone(), channel.to_string()];
            row.extend(self.layer.channel(*channel).iter().map(f32::to_string));
            row
        });
        let mut table = Table::new(&["layer", "channel"], lines);
        table.header.extend((0..self.layer.taps()).map(|tap| format!("weight {tap}")));
        table
    }
}

impl Tabular for OrientedTaps {
    fn table(&self) -> Table {
        let lines = self.layers.iter().flat_map(|(path, patterns)| {
            patterns.iter().flat_map(move |pattern| {
                let weight = |tap: usize| pattern.weights.as_ref().and_then(|weights| weights.get(tap));
                pattern.taps.iter().enumerate().map(move |(tap, (dh, dw))| {
                    let angle = pattern.angle_degrees.to_string();
                    vec![path.clone(), angle, tap.to_string(), dh.to_string(), dw.to_string(), optional(weight(tap))]
                })
            })
        });
        Table::new(&["layer", "angle_degrees", "tap", "dh", "dw", "mean_weight"], lines)
    }
}

impl Tabular for PolarOrientation {
    fn table(&self) -> Table {
        let lines = self.channels.iter().enumerate().map(|(index, c)| {
            let numbers = [c.anisotropy.to_string(), c.energy.to_string()];
            let mut row = vec![index.to_string(), optional(c.built), optional(c.dominant)];
            row.extend(numbers);
            row
        });
        Table::new(&["channel", "built_degrees", "dominant_degrees", "anisotropy", "energy"], lines)
    }
}

impl Tabular for OrientationHistogram {
    /// One line per bin of each layer: its middle, the learned weight in it, and the channels built for it.
    fn table(&self) -> Table {
        let lines = self.layers.iter().flat_map(|layer| {
            let bins = Bins::new(&layer.channels, self.bins);
            let width = 180.0 / self.bins.max(1) as f64;
            let pairs: Vec<_> = bins.learned.into_iter().zip(bins.built).enumerate().collect();
            pairs.into_iter().map(move |(index, (learned, built))| {
                let numbers = [index as f64 * width, learned, built].map(|number| number.to_string());
                [vec![layer.path.clone()], numbers.to_vec()].concat()
            })
        });
        Table::new(&["layer", "middle_degrees", "learned", "built"], lines)
    }
}

impl Tabular for ShapeBiasFigure {
    fn table(&self) -> Table {
        let lines = self.reports.iter().flat_map(|report| {
            let row = |name: &str, n: usize, shape: usize, texture: usize, bias: Option<f64>| {
                let counts = [n, shape, texture].map(|count| count.to_string());
                [vec![report.model.clone(), name.to_string()], counts.to_vec(), vec![optional(bias)]].concat()
            };
            let sum =
                |f: fn(&kernelscope::analysis::report::CategoryBias) -> usize| report.categories.iter().map(f).sum();
            let (shape, texture) = (sum(|c| c.shape_decisions), sum(|c| c.texture_decisions));
            let all = row("all", report.conflicts, shape, texture, report.shape_bias);
            let each = report
                .categories
                .iter()
                .map(move |c| row(&c.category, c.conflicts, c.shape_decisions, c.texture_decisions, c.shape_bias));
            each.chain(std::iter::once(all)).collect::<Vec<_>>()
        });
        Table::new(&["network", "category", "conflicts", "shape", "texture", "shape_bias"], lines)
    }
}

impl Tabular for LossCurves {
    fn table(&self) -> Table {
        let lines = self.runs.iter().flat_map(|run| {
            run.points.iter().map(|p| {
                let (val_loss, val_accuracy) = (optional(p.val_loss), optional(p.val_accuracy));
                vec![run.label.clone(), p.epoch.to_string(), p.train_loss.to_string(), val_loss, val_accuracy]
            })
        });
        Table::new(&["run", "epoch", "train_loss", "val_loss", "val_accuracy"], lines)
    }
}

impl Tabular for DensityBars {
    fn table(&self) -> Table {
        let lines = self.report.layers.iter().map(|layer| {
            let merged = self.report.merged.iter().find(|m| m.paths.len() > 1 && m.paths.contains(&layer.name));
            let counts = [layer.kept, layer.units].map(|count| count.to_string());
            let densities = vec![layer.density.to_string(), optional(merged.map(|m| m.density))];
            [vec![layer.name.clone(), optional(layer.stage)], counts.to_vec(), densities].concat()
        });
        Table::new(&["layer", "stage", "kept", "units", "density", "density_of_the_sum"], lines)
    }
}

impl Tabular for KeptGroupHistograms {
    fn table(&self) -> Table {
        let lines = self.histograms.iter().flat_map(|h| {
            let row = |(kept, n): (usize, &u64)| {
                vec![optional(h.stage), h.groups.to_string(), kept.to_string(), n.to_string()]
            };
            h.channels.iter().enumerate().map(row).collect::<Vec<_>>()
        });
        Table::new(&["stage", "groups", "kept", "channels"], lines)
    }
}

impl Tabular for GroupMaps {
    fn table(&self) -> Table {
        let lines = self.layers.iter().flat_map(|layer| {
            layer.kept.iter().enumerate().map(|(index, paths)| {
                let groups = layer.groups.max(1);
                let numbers = [index / groups, index % groups, usize::from(*paths), layer.paths];
                [vec![layer.path.clone()], numbers.map(|n| n.to_string()).to_vec()].concat()
            })
        });
        Table::new(&["layer", "channel", "group", "kept_by", "paths"], lines)
    }
}

impl Tabular for ShiftMaps {
    fn table(&self) -> Table {
        let lines = self.layers.iter().flat_map(|layer| {
            layer.kept.iter().enumerate().map(|(index, kept)| {
                let shifts = layer.offsets.len().max(1);
                let offset = layer.offsets.get(index % shifts).map(i32::to_string);
                let numbers = [usize::from(*kept), layer.shuffles].map(|n| n.to_string());
                let place = vec![layer.path.clone(), layer.direction.along().to_string(), (index / shifts).to_string()];
                [place, vec![optional(offset)], numbers.to_vec()].concat()
            })
        });
        Table::new(&["layer", "direction", "channel", "shift_pixels", "kept_in", "shuffles"], lines)
    }
}

impl Tabular for TapShares {
    fn table(&self) -> Table {
        let lines = self.layers.iter().flat_map(|layer| {
            layer.share.iter().enumerate().map(|(index, share)| {
                let (row, column) = (index / layer.width.max(1), index % layer.width.max(1));
                vec![layer.path.clone(), row.to_string(), column.to_string(), optional(*share)]
            })
        });
        Table::new(&["layer", "row", "column", "share"], lines)
    }
}

impl Tabular for MaskCurves {
    fn table(&self) -> Table {
        let lines = self.curves.iter().flat_map(|curve| {
            curve.points.iter().map(|p| {
                let (merged, explored) = (optional(p.merged_density), optional(p.explored));
                vec![curve.label.clone(), p.step.to_string(), p.density.to_string(), merged, explored]
            })
        });
        Table::new(&["curve", "step", "density", "merged_density", "explored"], lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::analysis::report::{ErfMap, HistoryPoint, RunHistory};

    fn recipe() -> Recipe {
        let mut recipe = Recipe::default();
        recipe.push("model", "nano <1d> & more\nlines");
        recipe.push("date", "2026-01-02");
        recipe
    }

    #[test]
    fn every_file_holds_the_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let point = HistoryPoint { epoch: 1.0, train_loss: 2.0, val_loss: None, val_accuracy: Some(0.5) };
        let figure = LossCurves { runs: vec![RunHistory { label: "a".into(), points: vec![point] }] };
        let read = |name: &str| {
            let path = folder.path().join(name);
            export(&figure, &path, &recipe()).unwrap();
            std::fs::read(path).unwrap()
        };
        let csv = String::from_utf8(read("a.csv")).unwrap();
        assert_eq!(
            csv,
            "# model: nano <1d> & more lines\n# date: 2026-01-02\nrun,epoch,train_loss,val_loss,val_accuracy\na,1,2,,0.5\n"
        );
        let svg = String::from_utf8(read("a.SVG")).unwrap();
        assert!(svg.contains("<metadata>\nmodel: nano &lt;1d&gt; &amp; more lines\ndate: 2026-01-02\n</metadata>"));
        let png = png::Decoder::new(std::io::Cursor::new(read("a.png"))).read_info().unwrap();
        let texts: Vec<_> = png.info().utf8_text.iter().map(|t| (t.keyword.clone(), t.get_text().unwrap())).collect();
        assert_eq!(texts, recipe().entries);
        let message = export(&figure, &folder.path().join("a.pdf"), &recipe()).unwrap_err().to_string();
        assert!(message.contains("a.pdf") && message.contains(".png, .svg, or .csv"), "{message}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_map_becomes_a_line_per_row() {
        let map = ErfMap {
            model: "m".into(),
            stage: 0,
            position: (0, 0),
            height: 2,
            width: 2,
            images: 1,
            contribution: vec![0.0, 0.5, 1.0, 2.0],
        };
        let table = ErfFigure::new(vec![(map, Vec::new())], super::super::ErfScale::Log).table();
        assert_eq!(table.header, ["network", "row", "column 0", "column 1"]);
        assert_eq!(table.rows, [["m", "0", "0", "0.5"], ["m", "1", "1", "2"]]);
    }
}
