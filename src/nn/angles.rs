//! Which angles a file means whose angles went through half precision.
//!
//! An angle decides by truncation which pixels a tap reads, so that a rounding which no weight would notice moves taps:
//! pi/2 in half precision is a little less than pi/2, and all taps but one of a vertical filter read the row beside
//! theirs. Half precision is therefore undone, as far as a whole layer shows what it was. With `s` the stored angles of
//! a layer and `e` those of its configuration,
//!
//! | if | then |
//! |---|---|
//! | `s = e`, bit for bit | there is nothing to do |
//! | `s[c]` is `e[c]` rounded to half precision, in every channel | `e` |
//! | the same is true of angles for another number of directions, and layers agree on it | those, with a warning |
//! | `s` is in half precision, and of no such angles | `s`, with a warning |
//! | `s` is not in half precision | `s`: these are somebody's own |
//!
//! Half precision is f16 or bf16, also of values that became f32 again. The rule is about layers, not values: with many
//! directions, angles of neighboring channels round to the value that another angle rounds to, and exact angles happen
//! to be ones that f16 holds.

use crate::ops::oriented1d::{channel_angle, channel_angles, tap_offsets};
use crate::ops::taps::Tap;
use half::{bf16, f16};
use std::collections::BTreeSet;

/// Turns that layers are built with, as fractions of 180 degrees.
const TURNS: [f64; 2] = [0.0, 0.5];

/// A precision in which angles may have been stored.
#[derive(Debug, Clone, Copy)]
enum Precision {
    Single,
    F16,
    Bf16,
}

impl Precision {
    const HALF: [Precision; 2] = [Precision::F16, Precision::Bf16];

    fn round(self, angle: f32) -> f32 {
        match self {
            Precision::Single => angle,
            Precision::F16 => f16::from_f32(angle).to_f32(),
            Precision::Bf16 => bf16::from_f32(angle).to_f32(),
        }
    }
}

/// Whether `stored` are these angles after rounding to half precision.
pub(super) fn are_rounded(stored: &[f32], angles: &[f32]) -> bool {
    let rounded = |half: Precision| stored.iter().zip(angles).all(|(&stored, &angle)| stored == half.round(angle));
    stored.len() == angles.len() && Precision::HALF.into_iter().any(rounded)
}

/// Whether the angles have passed through half precision, as far as that shows: zeros alone say nothing.
pub(super) fn are_half(stored: &[f32]) -> bool {
    are_rounded(stored, stored) && stored.iter().any(|&angle| angle != 0.0)
}

/// Angles that a layer may have been built with.
struct Candidate {
    directions: usize,
    turn: f64,
}

/// The numbers of directions and turns whose angles, in some precision, are the stored ones.
fn candidates(stored: &[f32]) -> Vec<Candidate> {
    let channels = stored.len();
    let precisions = if are_half(stored) { &Precision::HALF[..] } else { &[Precision::Single] };
    let fits = |precision: &Precision, candidate: &Candidate| {
        // From the end, where the angles of different numbers of directions differ most: most are out at once.
        (0..channels).rev().all(|channel| {
            let angle = channel_angle(channel, channels, candidate.directions, candidate.turn);
            precision.round(angle) == stored[channel]
        })
    };
    let all = (1..=channels).flat_map(|directions| TURNS.map(|turn| Candidate { directions, turn }));
    all.filter(|candidate| precisions.iter().any(|precision| fits(precision, candidate))).collect()
}

/// The number of directions that all layers of a file can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    /// The same number.
    Count(usize),
    /// As many as each layer has channels.
    Channels,
}

impl Agreed {
    /// What the layers with these angles agree on. Layers whose angles are of no number of directions have no say.
    pub fn among(layers: &[Vec<f32>]) -> Option<Self> {
        let mut common: Option<BTreeSet<usize>> = None;
        let mut channels = true;
        for stored in layers {
            let counts: BTreeSet<usize> = candidates(stored).iter().map(|candidate| candidate.directions).collect();
            if counts.is_empty() {
                continue;
            }
            channels &= counts.contains(&stored.len());
            common = Some(common.map_or_else(|| counts.clone(), |common| &common & &counts));
        }
        let common = common?;
        common.first().map(|&count| Agreed::Count(count)).or(channels.then_some(Agreed::Channels))
    }
}

impl std::fmt::Display for Agreed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Agreed::Count(count) => write!(f, "directions={count}"),
            Agreed::Channels => f.write_str("directions=channels"),
        }
    }
}

/// Why rounded angles stay as they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// They are of no number of directions.
    NoSet,
    /// They are of several, with different taps.
    SeveralSets,
    /// They are of one, but other layers are of another.
    Disagreement,
}

/// What becomes of the stored angles of a layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Restored {
    /// They are right as they are.
    Stored,
    /// They are those of the configuration.
    Configured,
    /// They are these, of another number of directions or another turn, if the layers of the file agree on the number.
    Other(Vec<f32>),
    /// They stay, and may be wrong.
    Doubtful(Doubt),
}

impl Restored {
    /// What becomes of the `stored` angles of a layer with filters of `taps` taps, as far as this layer alone shows.
    pub fn of(stored: &[f32], configured: &[f32], taps: usize) -> Self {
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        if stored.len() == configured.len() && stored.iter().zip(configured).all(same) {
            return Restored::Stored;
        }
        if are_rounded(stored, configured) {
            return Restored::Configured;
        }
        if !are_half(stored) {
            return Restored::Stored;
        }
        let built = |found: Candidate| channel_angles(stored.len(), found.directions, found.turn).unwrap_or_default();
        let mut sets = candidates(stored).into_iter().map(built);
        let Some(first) = sets.next() else { return Restored::Doubtful(Doubt::NoSet) };
        let table = offsets(&first, taps);
        if sets.any(|other| offsets(&other, taps) != table) {
            return Restored::Doubtful(Doubt::SeveralSets);
        }
        Restored::Other(first)
    }
}

/// The taps of every channel.
fn offsets(angles: &[f32], taps: usize) -> Vec<Vec<Tap>> {
    angles.iter().map(|&angle| tap_offsets(angle, taps)).collect()
}

/// What is worth saying about the angles of a file.
#[derive(Debug, Default)]
pub(super) struct AngleNotes {
    agreed: Option<Agreed>,
    doubts: Vec<(String, Doubt)>,
}

impl AngleNotes {
    /// Notes what became of a layer's angles.
    pub fn note(&mut self, name: &str, restored: &Restored, agreed: Option<Agreed>) {
        match restored {
            Restored::Stored | Restored::Configured => {}
            Restored::Other(_) => self.agreed = agreed,
            Restored::Doubtful(doubt) => self.doubts.push((name.to_string(), *doubt)),
        }
    }

    /// One line for each thing to be said.
    pub fn lines(&self) -> Vec<String> {
        let taken = |agreed| format!("angles are stored in half precision; taken for those of {agreed}");
        let mut lines: Vec<String> = self.agreed.map(taken).into_iter().collect();
        for (doubt, what) in [
            (Doubt::NoSet, "of no registered set"),
            (Doubt::SeveralSets, "may be of several numbers of directions"),
            (Doubt::Disagreement, "not of the same number of directions as other layers"),
        ] {
            let of_doubt = self.doubts.iter().filter(|(_, other)| *other == doubt);
            let mut layers = of_doubt.map(|(name, _)| name.strip_suffix(".theta").unwrap_or(name));
            let Some(first) = layers.next() else { continue };
            let more = match layers.count() {
                0 => String::new(),
                count => format!(" (and of {count} more)"),
            };
            lines.push(format!(
                "theta of {first}{more} is in half precision and {what}: taps may be off; store theta in f32"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests;
