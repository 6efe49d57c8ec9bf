//! Text metrics of the embedded fonts.
//!
//! The rasterizer behind `plotters` forgets the left side bearing of every glyph and guesses where the baseline is. The
//! figures need exact widths to keep labels apart, so the few font tables that hold them are read here.

use std::sync::OnceLock;

use plotters::style::{FontDesc, FontFamily, FontStyle, register_font};

/// Name under which the text font is registered.
const TEXT: &str = "kernelscope-text";
/// Name of the font that fills in glyphs that the text font lacks.
const FALLBACK: &str = "kernelscope-fallback";
/// Advance assumed for a glyph when a font cannot be read, in em.
const GUESSED_ADVANCE: f64 = 0.6;

/// Where a glyph stands: everything in em, that is in multiples of the font size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glyph {
    /// Registered font that has the glyph.
    pub font: &'static str,
    /// Distance to the next glyph.
    pub advance: f64,
    /// Distance from the pen to the left edge of the ink.
    pub bearing: f64,
    /// The size that `plotters` must be given for an em of one pixel.
    pub size_per_em: f64,
}

/// The parts of a TrueType file that say how wide glyphs are.
struct Face {
    name: &'static str,
    data: &'static [u8],
    segments: usize,
    metrics: usize,
    metric_count: usize,
    units_per_em: f64,
    size_per_em: f64,
}

fn u16_at(data: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 2] = data.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(usize::from(u16::from_be_bytes(bytes)))
}

fn i16_at(data: &[u8], at: usize) -> Option<f64> {
    let bytes: [u8; 2] = data.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(f64::from(i16::from_be_bytes(bytes)))
}

fn u32_at(data: &[u8], at: usize) -> Option<usize> {
    let bytes: [u8; 4] = data.get(at..at.checked_add(4)?)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}

/// Offset of a table.
fn table(data: &[u8], tag: &[u8; 4]) -> Option<usize> {
    (0..u16_at(data, 4)?).map(|i| 12 + 16 * i).find(|&at| data.get(at..at + 4) == Some(tag)).and_then(|at| {
        // The record is tag, checksum, offset, length.
        u32_at(data, at + 8)
    })
}

impl Face {
    fn read(name: &'static str, data: &'static [u8]) -> Option<Self> {
        register_font(name, FontStyle::Normal, data).ok()?;
        let cmap = table(data, b"cmap")?;
        let segments = (0..u16_at(data, cmap + 2)?)
            .filter_map(|i| Some(cmap + u32_at(data, cmap + 4 + 8 * i + 4)?))
            .find(|&at| u16_at(data, at) == Some(4))?;
        let mut face = Self {
            name,
            data,
            segments,
            metrics: table(data, b"hmtx")?,
            metric_count: u16_at(data, table(data, b"hhea")? + 34)?,
            units_per_em: u16_at(data, table(data, b"head")? + 18)? as f64,
            size_per_em: 1.0,
        };
        // `plotters` sizes fonts by their line height, whose definition depends on the font; measuring it is safer.
        let size = 10_000.0;
        let font = FontDesc::new(FontFamily::Name(name), size, FontStyle::Normal);
        let width = f64::from(font.layout_box("M").ok()?.1.0);
        let advance = face.find('M')?.0;
        if width <= 0.0 || advance <= 0.0 {
            return None;
        }
        face.size_per_em = advance * size / width;
        Some(face)
    }

    /// Advance and left bearing of a character in em; `None` if the font lacks it.
    fn find(&self, character: char) -> Option<(f64, f64)> {
        let code = usize::from(u16::try_from(u32::from(character)).ok()?);
        let (data, start) = (self.data, self.segments);
        let doubled = u16_at(data, start + 6)?;
        let segment = (0..doubled).step_by(2).find(|&i| u16_at(data, start + 14 + i).is_some_and(|end| end >= code))?;
        let first = u16_at(data, start + 16 + doubled + segment)?;
        if first > code {
            return None;
        }
        let delta = u16_at(data, start + 16 + 2 * doubled + segment)?;
        let range_at = start + 16 + 3 * doubled + segment;
        let glyph = match u16_at(data, range_at)? {
            0 => (code + delta) % 65_536,
            offset => match u16_at(data, range_at + offset + 2 * (code - first))? {
                0 => 0,
                glyph => (glyph + delta) % 65_536,
            },
        };
        if glyph == 0 {
            return None;
        }
        let last = self.metric_count.checked_sub(1)?;
        let advance = u16_at(data, self.metrics + 4 * glyph.min(last))? as f64;
        let bearing = match glyph.checked_sub(self.metric_count) {
            None => i16_at(data, self.metrics + 4 * glyph + 2)?,
            Some(beyond) => i16_at(data, self.metrics + 4 * self.metric_count + 2 * beyond)?,
        };
        Some((advance / self.units_per_em, bearing / self.units_per_em))
    }
}

fn faces() -> &'static [Face] {
    static FACES: OnceLock<Vec<Face>> = OnceLock::new();
    FACES.get_or_init(|| {
        [(TEXT, epaint_default_fonts::UBUNTU_LIGHT), (FALLBACK, epaint_default_fonts::HACK_REGULAR)]
            .into_iter()
            .filter_map(|(name, data)| Face::read(name, data))
            .collect()
    })
}

/// The glyph of a character; one that no font has gets the replacement mark of the text font.
pub(super) fn glyph(character: char) -> Glyph {
    for face in faces() {
        if let Some((advance, bearing)) = face.find(character) {
            return Glyph { font: face.name, advance, bearing, size_per_em: face.size_per_em };
        }
    }
    Glyph { font: TEXT, advance: GUESSED_ADVANCE, bearing: 0.0, size_per_em: 1.12 }
}

/// Width of a line of text set with an em of `em` pixels, in pixels.
pub(super) fn measure(text: &str, em: f64) -> f64 {
    text.chars().map(|character| glyph(character).advance).sum::<f64>() * em
}

/// The text, with its middle replaced by an ellipsis if it is wider than `room` pixels. Both ends stay, because module
/// paths and model names differ there.
pub(super) fn shorten(text: &str, em: f64, room: f64) -> String {
    if measure(text, em) <= room {
        return text.to_owned();
    }
    let characters: Vec<char> = text.chars().collect();
    for kept in (0..characters.len()).rev() {
        let (head, tail) = (kept.div_ceil(2), kept / 2);
        let candidate: String =
            characters.iter().take(head).chain(&['…']).chain(characters.iter().skip(characters.len() - tail)).collect();
        if measure(&candidate, em) <= room {
            return candidate;
        }
    }
    String::new()
}

/// Breaks text at spaces that may be broken at into at most `lines` lines of `room` pixels; what does not fit is shortened.
pub(super) fn wrap(text: &str, em: f64, room: f64, lines: usize) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let breaks = |c: char| c.is_whitespace() && c != '\u{a0}';
    let mut words = text.split(breaks).filter(|word| !word.is_empty()).peekable();
    while let Some(word) = words.next() {
        let mut line = word.to_owned();
        let last = out.len() + 1 == lines;
        while let Some(next) = words.peek() {
            let longer = format!("{line} {next}");
            if !last && measure(&longer, em) > room {
                break;
            }
            line = longer;
            words.next();
        }
        out.push(shorten(&line, em, room));
        if last {
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fonts_are_read_and_cover_the_symbols_used() {
        assert_eq!(faces().len(), 2);
        for character in "Aa0°·−…%\u{a0}".chars() {
            assert_eq!(glyph(character).font, TEXT, "{character}");
        }
        assert!(glyph('W').advance > 1.5 * glyph('i').advance);
    }

    #[test]
    fn shortened_text_fits_and_keeps_both_ends() {
        let short = shorten("stages.2.blocks.17.dwconv", 16.0, 120.0);
        assert!(measure(&short, 16.0) <= 120.0);
        assert!(short.starts_with("sta") && short.ends_with("conv") && short.contains('…'), "{short}");
        assert_eq!(shorten("abc", 16.0, 120.0), "abc");
    }

    #[test]
    fn wrapping_keeps_to_the_lines() {
        let lines = wrap("shape cat, texture elephant, answered elephant with 93 %", 16.0, 120.0, 2);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().all(|line| measure(line, 16.0) <= 120.0), "{lines:?}");
        assert_eq!(wrap("star with 93\u{a0}%", 16.0, 80.0, 2), ["star with", "93\u{a0}%"]);
    }
}
