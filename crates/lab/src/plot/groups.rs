//! Shift-wise layers: which of their small kernels are kept, and which shifts of these.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel};
use super::colormap::{Colormap, Rgb};
use super::legend::{Key, Legend};
use super::pen::{Align, Pen, Type};
use super::raster::Raster;
use super::{Figure, check, fonts, theme};
use crate::Result;
use kernelscope::analysis::report::{KeptGroups, KeptShifts};

/// Least and largest height of a row, and the height that few rows share, in figure pixels.
const ROWS: (f64, f64) = (9.0, 22.0);
const FEW_ROWS: f64 = 60.0;
/// Space between a map's name and the map.
const BELOW_NAME: f64 = 7.0;
/// Most layers in a figure.
const MOST_LAYERS: usize = 64;
/// Most rows of a map: groups or shifts of a channel.
const MOST_ROWS: usize = 256;
/// Width that the rows' numbers take.
const NUMBERS: f64 = 44.0;
/// Most counts in the legend.
const MOST_KEYS: u16 = 5;

/// Which groups of shift-wise layers are kept, one map per layer: channels from left to right, groups from top to
/// bottom, colored by the number of paths that keep them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMaps {
    /// Title.
    pub title: String,
    /// One to 64 layers.
    pub layers: Vec<KeptGroups>,
}

/// Which shifts of shift-wise layers are kept, one map per layer and direction: channels from left to right, shifts
/// from top to bottom by their pixels, colored by the number of shuffles in which a kept small kernel stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShiftMaps {
    /// Title.
    pub title: String,
    /// One to 64 layers and directions.
    pub layers: Vec<KeptShifts>,
}

/// Counts by channel and row, as one picture.
struct Map<'a> {
    name: String,
    /// Name of each row; those of some are written.
    rows: Vec<String>,
    /// Row by row of each channel, channel by channel.
    counts: &'a [u16],
    /// The largest count there can be.
    most: usize,
}

/// Maps below each other.
struct Maps<'a> {
    title: &'a str,
    /// What is counted, for the legend: "path".
    by: &'static str,
    maps: Vec<Map<'a>>,
}

/// Color of a count out of `most`.
fn color(count: u16, most: usize) -> Rgb {
    if count == 0 {
        return theme::NO_TAP;
    }
    let share = f64::from(count) / most.max(1) as f64;
    Colormap::Viridis.at(0.85 - 0.75 * share)
}

impl<'a> Map<'a> {
    fn of_groups(layer: &'a KeptGroups) -> Self {
        let (channels, groups, share) = (layer.channels, layer.groups, percent(&layer.kept));
        Map {
            name: format!("{}: {channels} channels × {groups} groups, {share:.1} % kept", layer.path),
            rows: (0..groups).map(|group| group.to_string()).collect(),
            counts: &layer.kept,
            most: layer.paths,
        }
    }

    fn of_shifts(layer: &'a KeptShifts) -> Self {
        let (channels, shifts, share) = (layer.channels, layer.offsets.len(), percent(&layer.kept));
        let along = layer.direction.along();
        Map {
            name: format!("{}, {along}: {channels} channels × {shifts} shifts, {share:.1} % kept", layer.path),
            rows: layer.offsets.iter().map(|offset| offset.to_string().replace('-', "−")).collect(),
            counts: &layer.kept,
            most: layer.shuffles,
        }
    }

    fn height(&self) -> f64 {
        let rows = self.rows.len().max(1) as f64;
        rows * (FEW_ROWS / rows).clamp(ROWS.0, ROWS.1)
    }

    fn block(&self) -> f64 {
        theme::LINE + BELOW_NAME + self.height() + theme::LINE + 14.0
    }

    /// Draws the map with its name, from `top` on.
    fn draw<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, top: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let name = fonts::shorten(&self.name, theme::EM, theme::WIDTH - 2.0 * theme::MARGIN);
        pen.text(&name, (theme::MARGIN, top + theme::LINE / 2.0), Type::label(Align::Left))?;
        let rows = self.rows.len();
        let channels = self.counts.len() / rows.max(1);
        let pixel = |index: usize| {
            let (row, channel) = (index / channels, index % channels);
            color(self.counts.get(channel * rows + row).copied().unwrap_or(0), self.most)
        };
        let raster = Raster::new(channels, rows, (0..self.counts.len()).map(pixel))?;
        let mut y = Axis::counts(rows as f64, 4, "");
        y.ticks.retain(|(value, _)| *value < rows as f64);
        for (value, text) in &mut y.ticks {
            text.clone_from(self.rows.get(*value as usize).unwrap_or(&String::new()));
            // Rows count downwards, and a name stands beside the middle of its row.
            *value += 0.5;
        }
        (y.low, y.high) = (rows as f64, 0.0);
        let mut x = Axis::linear(0.0, channels as f64, 10, "");
        x.ticks.retain(|(value, _)| value.fract() == 0.0);
        let top = top + theme::LINE + BELOW_NAME;
        let upper_left = (theme::MARGIN + NUMBERS, top);
        let lower_right = (theme::WIDTH - theme::MARGIN - 12.0, top + self.height());
        let panel = Panel { x, y, upper_left, lower_right };
        pen.image(&raster, panel.upper_left, panel.lower_right)?;
        panel.draw_axes(pen)
    }
}

impl Maps<'_> {
    fn legend(&self) -> Legend {
        let largest = self.maps.iter().map(|map| map.most).max().unwrap_or(1);
        let most = u16::try_from(largest).unwrap_or(u16::MAX);
        let mut counts: Vec<u16> = (0..=most.min(MOST_KEYS)).collect();
        if most > MOST_KEYS {
            counts.push(most);
        }
        let name = |count: u16| match (count, most) {
            (0, _) => "pruned".to_owned(),
            (_, 1) => "kept".to_owned(),
            (1, _) => format!("kept by 1 {}", self.by),
            _ => format!("kept by {count} {}s", self.by),
        };
        let entries = counts.into_iter().map(|count| (Key::Patch(color(count, largest)), name(count)));
        Legend::new(entries, theme::WIDTH - 2.0 * theme::MARGIN)
    }

    fn size(&self) -> (u32, u32) {
        let blocks: f64 = self.maps.iter().map(Map::block).sum();
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 8.0 + blocks)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let title = fonts::shorten(self.title, theme::TITLE_EM, theme::WIDTH - 2.0 * theme::MARGIN - 10.0);
        pen.text(&title, (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let legend = self.legend();
        let mut y = theme::MARGIN + theme::TITLE_HEIGHT;
        legend.draw(pen, (theme::MARGIN, y))?;
        y += legend.height + 8.0;
        for map in &self.maps {
            map.draw(pen, y)?;
            y += map.block();
        }
        Ok(())
    }
}

/// Share of the counts that are not 0, in percent.
fn percent(counts: &[u16]) -> f64 {
    100.0 * counts.iter().filter(|&&count| count > 0).count() as f64 / counts.len().max(1) as f64
}

impl GroupMaps {
    fn maps(&self) -> Maps<'_> {
        // Values are checked when the figure is painted; its size is asked for before.
        let layers = self.layers.iter().filter(|layer| layer.groups <= MOST_ROWS);
        Maps { title: &self.title, by: "path", maps: layers.map(Map::of_groups).collect() }
    }

    fn check(&self) -> Result<()> {
        check::not_empty("GroupMaps.layers", &self.layers)?;
        check::count("GroupMaps.layers.len()", self.layers.len(), 1, MOST_LAYERS)?;
        for layer in &self.layers {
            check::count("KeptGroups.groups", layer.groups, 1, MOST_ROWS)?;
            check::count("KeptGroups.channels", layer.channels, 1, 1 << 16)?;
            check::length("KeptGroups.kept", layer.kept.len(), layer.channels * layer.groups)?;
        }
        Ok(())
    }
}

impl Figure for GroupMaps {
    fn size(&self) -> (u32, u32) {
        self.maps().size()
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        self.maps().paint(pen)
    }
}

impl ShiftMaps {
    fn maps(&self) -> Maps<'_> {
        let layers = self.layers.iter().filter(|layer| layer.offsets.len() <= MOST_ROWS);
        Maps { title: &self.title, by: "shuffle", maps: layers.map(Map::of_shifts).collect() }
    }

    fn check(&self) -> Result<()> {
        check::not_empty("ShiftMaps.layers", &self.layers)?;
        check::count("ShiftMaps.layers.len()", self.layers.len(), 1, MOST_LAYERS)?;
        for layer in &self.layers {
            check::count("KeptShifts.offsets.len()", layer.offsets.len(), 1, MOST_ROWS)?;
            check::count("KeptShifts.channels", layer.channels, 1, 1 << 16)?;
            check::length("KeptShifts.kept", layer.kept.len(), layer.channels * layer.offsets.len())?;
        }
        Ok(())
    }
}

impl Figure for ShiftMaps {
    fn size(&self) -> (u32, u32) {
        self.maps().size()
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        self.maps().paint(pen)
    }
}
