//! Channels that are computed together, as one module decides and another computes.

use super::Tap;

/// Channels of some blocks, and what these compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bundle {
    /// The taps of all of the channels.
    pub taps: Vec<Tap>,
    pub channels: Vec<usize>,
}
