//! The look that all figures share. Lengths are in figure pixels.

use plotters::style::RGBAColor;

/// Width of the figures; type is chosen so that it stays above 13 px when a figure is shown 800 px wide.
pub(super) const WIDTH: f64 = 960.0;
/// Font size of labels.
pub(super) const EM: f64 = 16.5;
/// Font size of titles.
pub(super) const TITLE_EM: f64 = 20.0;
/// Height of a line of label text.
pub(super) const LINE: f64 = 22.0;
/// Free border around a figure.
pub(super) const MARGIN: f64 = 20.0;
/// Height kept for the title, its space below included.
pub(super) const TITLE_HEIGHT: f64 = 34.0;

/// Background.
pub(super) const PAPER: RGBAColor = RGBAColor(255, 255, 255, 1.0);
/// Text.
pub(super) const TEXT: RGBAColor = RGBAColor(38, 38, 38, 1.0);
/// Axis lines and frames.
pub(super) const AXIS: RGBAColor = RGBAColor(110, 110, 110, 1.0);
/// Grid lines.
pub(super) const GRID: RGBAColor = RGBAColor(226, 226, 226, 1.0);
/// Pixels of a kernel that carry no tap.
pub(super) const NO_TAP: [u8; 3] = [212, 212, 212];

/// Lays out a figure of the given height: width and height in pixels.
pub(super) fn size(height: f64) -> (u32, u32) {
    (WIDTH as u32, height.ceil().clamp(1.0, 1e6) as u32)
}
