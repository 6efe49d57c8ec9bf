//! Where the taps of oriented kernels lie on the pixel grid.

use std::collections::BTreeMap;

use plotters::prelude::DrawingBackend;

use super::axis::places_trimmed;
use super::colormap::{BAR_HEIGHT, ColorBar, Colormap, Rgb, color_bar, ink, signed};
use super::legend::{Key, Legend};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::raster::Raster;
use super::{Figure, check, fonts, theme};
use crate::Result;

/// Space between grids in figure pixels.
const GAP: f64 = 14.0;
/// Largest side of a grid in figure pixels.
const LARGEST_GRID: f64 = 170.0;
/// Taps lie at most this many pixels from the center.
const FARTHEST: i32 = 1024;
/// Colors of pixels that hold one tap, two taps, and three or more.
const COUNTS: [Rgb; 3] = [[86, 180, 233], [0, 90, 150], [0, 25, 60]];
/// Mark of the center pixel.
const CENTER: Rgb = [213, 94, 0];

/// The taps of the channels that share one angle.
#[derive(Debug, Clone, PartialEq)]
pub struct TapPattern {
    /// Angle in degrees.
    pub angle_degrees: f64,
    /// Offsets of the taps from the center in pixels: rows down, columns right. Some may coincide.
    pub taps: Vec<(i32, i32)>,
    /// Weights of the taps, in the same order, to color them by; coinciding taps add up.
    pub weights: Option<Vec<f32>>,
    /// How many channels have this angle.
    pub channels: usize,
}

/// One row of pixel grids per layer, one grid per angle.
#[derive(Debug, Clone, PartialEq)]
pub struct OrientedTaps {
    /// Module path and tap patterns of every layer.
    pub layers: Vec<(String, Vec<TapPattern>)>,
}

impl TapPattern {
    fn caption(&self) -> String {
        format!("{}° · {} ch", places_trimmed(self.angle_degrees, 1), self.channels)
    }

    fn reach(&self) -> i32 {
        self.taps.iter().map(|(dh, dw)| dh.saturating_abs().max(dw.saturating_abs())).max().unwrap_or(0)
    }

    /// Number of taps and sum of weights on every pixel that has a tap.
    fn pixels(&self) -> BTreeMap<(i32, i32), (usize, f64)> {
        let mut pixels = BTreeMap::new();
        for (index, &tap) in self.taps.iter().enumerate() {
            let weight = self.weights.as_ref().and_then(|weights| weights.get(index)).copied().unwrap_or(0.0);
            let (count, sum) = pixels.entry(tap).or_insert((0, 0.0));
            *count += 1;
            *sum += f64::from(weight);
        }
        pixels
    }

    fn check(&self) -> Result<()> {
        check::finite("TapPattern.angle_degrees", self.angle_degrees)?;
        check::not_empty("TapPattern.taps", &self.taps)?;
        check::range("TapPattern.taps", f64::from(self.reach()), 0.0, f64::from(FARTHEST))?;
        if let Some(weights) = &self.weights {
            check::length("TapPattern.weights", weights.len(), self.taps.len())?;
            weights.iter().try_for_each(|&weight| check::finite("TapPattern.weights", f64::from(weight)))?;
        }
        Ok(())
    }
}

impl OrientedTaps {
    fn patterns(&self) -> impl Iterator<Item = &TapPattern> {
        self.layers.iter().flat_map(|(_, patterns)| patterns)
    }

    /// Grids per row: as many as the widest layer has, as long as captions fit.
    fn columns(&self) -> usize {
        let room = theme::WIDTH - 2.0 * theme::MARGIN + GAP;
        let caption = self.patterns().map(|p| fonts::measure(&p.caption(), theme::EM)).fold(90.0, f64::max);
        let most = ((room / (caption + GAP)).floor() as usize).clamp(1, 8);
        self.layers.iter().map(|(_, patterns)| patterns.len()).max().unwrap_or(1).clamp(1, most)
    }

    fn cell(&self) -> f64 {
        let columns = self.columns() as f64;
        (theme::WIDTH - 2.0 * theme::MARGIN - GAP * (columns - 1.0)) / columns
    }

    fn side(&self) -> f64 {
        self.cell().min(LARGEST_GRID)
    }

    fn block_height(&self, patterns: usize) -> f64 {
        let rows = patterns.div_ceil(self.columns()) as f64;
        theme::LINE + 6.0 + rows * (self.side() + theme::LINE + 8.0) + 8.0
    }

    fn limit(&self) -> Option<f64> {
        let weighted = self.patterns().filter(|pattern| pattern.weights.is_some());
        let sums = weighted.flat_map(|pattern| pattern.pixels().into_values().map(|(_, sum)| sum.abs()));
        sums.reduce(f64::max).map(|limit| if limit > 0.0 { limit } else { 1.0 })
    }

    fn legend(&self) -> Legend {
        let mut entries = vec![(Key::Outline(CENTER), "center pixel".to_owned())];
        let plain = self.patterns().filter(|pattern| pattern.weights.is_none());
        let most = plain.flat_map(|pattern| pattern.pixels().into_values().map(|(count, _)| count)).max().unwrap_or(0);
        let names = ["one tap", "two taps", "three or more taps"];
        let counted = COUNTS.into_iter().zip(names).take(most);
        entries.extend(counted.map(|(color, name)| (Key::Patch(color), name.to_owned())));
        Legend::new(entries, theme::WIDTH - 2.0 * theme::MARGIN)
    }

    fn grid<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>, pattern: &TapPattern, at: Point, reach: i32) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let limit = self.limit().unwrap_or(1.0);
        let pixels = pattern.pixels();
        let size = 2 * reach + 1;
        let color = |tap: (i32, i32)| match pixels.get(&tap) {
            None => [255; 3],
            Some((_, sum)) if pattern.weights.is_some() => signed(*sum, limit),
            Some((count, _)) => COUNTS.get((*count).min(COUNTS.len()) - 1).copied().unwrap_or_default(),
        };
        let colors = (0..size * size).map(|i| color((i / size - reach, i % size - reach)));
        let side = self.side();
        let end = (at.0 + side, at.1 + side);
        pen.image(&Raster::new(size as usize, size as usize, colors)?, at, end)?;
        let pixel = side / f64::from(size);
        if pixel >= 5.0 {
            for i in 1..size {
                let offset = f64::from(i) * pixel;
                let thin = Stroke { color: theme::GRID, width: 0.6 };
                pen.line((at.0 + offset, at.1), (at.0 + offset, end.1), thin)?;
                pen.line((at.0, at.1 + offset), (end.0, at.1 + offset), thin)?;
            }
        }
        pen.frame(at, end, Stroke { color: theme::AXIS, width: 1.0 })?;
        let center = f64::from(reach) * pixel;
        let corner = (at.0 + center, at.1 + center);
        pen.frame(corner, (corner.0 + pixel, corner.1 + pixel), Stroke { color: ink(CENTER), width: 1.6 })
    }
}

impl Figure for OrientedTaps {
    fn size(&self) -> (u32, u32) {
        let blocks: f64 = self.layers.iter().map(|(_, patterns)| self.block_height(patterns.len())).sum();
        let bar = if self.limit().is_some() { BAR_HEIGHT + 10.0 } else { 0.0 };
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 10.0 + blocks + bar)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        check::not_empty("OrientedTaps.layers", &self.layers)?;
        for (_, patterns) in &self.layers {
            check::not_empty("OrientedTaps.layers.1", patterns)?;
            patterns.iter().try_for_each(TapPattern::check)?;
        }
        pen.text("Taps of oriented kernels", (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let mut y = theme::MARGIN + theme::TITLE_HEIGHT;
        let legend = self.legend();
        legend.draw(pen, (theme::MARGIN, y))?;
        y += legend.height + 10.0;
        let (columns, side) = (self.columns(), self.side());
        for (path, patterns) in &self.layers {
            let path = fonts::shorten(path, theme::EM, theme::WIDTH - 2.0 * theme::MARGIN - 10.0);
            pen.text(&path, (theme::MARGIN, y + theme::LINE / 2.0), Type::label(Align::Left).bold())?;
            let reach = patterns.iter().map(TapPattern::reach).max().unwrap_or(0);
            for (index, pattern) in patterns.iter().enumerate() {
                let x = theme::MARGIN + (index % columns) as f64 * (self.cell() + GAP);
                let row = (index / columns) as f64;
                let top = y + theme::LINE + 6.0 + row * (side + theme::LINE + 8.0);
                self.grid(pen, pattern, (x + (self.cell() - side) / 2.0, top), reach)?;
                let below = (x + self.cell() / 2.0, top + side + 3.0 + theme::LINE / 2.0);
                pen.text(&pattern.caption(), below, Type::label(Align::Middle))?;
            }
            y += self.block_height(patterns.len());
        }
        if let Some(limit) = self.limit() {
            let bar = ColorBar { map: Colormap::Diverging, low: -limit, high: limit, label: "weight".to_owned() };
            let width = 440.0;
            color_bar(pen, &bar, ((theme::WIDTH - width) / 2.0, y + 4.0), width)?;
        }
        Ok(())
    }
}
