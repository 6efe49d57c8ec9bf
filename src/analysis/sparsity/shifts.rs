//! Which shifts of shift-wise layers are left: where in the large kernels small ones still stand.
//!
//! ```text
//! offset(s)   = s n + n div 2 - M div 2                          pixels, s = 0..k-1
//! kept_h[c,s] = number of g with a path that keeps small kernel H[g][c][s] of channel c; kept_v likewise with V
//! ```
//!
//! A small kernel stands in both large kernels of its channel, G times in each, so pruning it takes away 2 G shifts.

use crate::analysis::report::{Direction, KeptGroups, KeptShifts};
use crate::ops::shiftwise::IndexTables;
use crate::zoo::shiftwise::ShiftWiseConfig;
use crate::{Error, Result};

/// The kept shifts of layers whose kept groups are known (`groups` of a
/// [`SparsityReport`](crate::analysis::report::SparsityReport)), along both axes.
///
/// # Errors
/// If the layers are not of this network.
///
/// ```
/// use kernelscope::{analysis::sparsity::{kept_shifts, sparsity}, nn::BuildOptions};
/// use kernelscope::zoo::{ModelSpec, Network, shiftwise::ShiftWiseConfig};
/// let network = Network::build(ModelSpec::named("nano-sw")?, BuildOptions::frozen())?;
/// let config: &ShiftWiseConfig = network.spec().config.downcast_ref().expect("a network of this family");
/// let report = sparsity("nano-sw", &network.params().tensors(), None, None)?;
/// let shifts = kept_shifts(&report.groups, config)?;
/// // Kernels of 15 pixels from 5 small ones, of which none is pruned; 2 shuffles.
/// assert_eq!(shifts[0].offsets, [-6, -3, 0, 3, 6]);
/// assert!(shifts[0].kept.iter().all(|&kept| kept == 2));
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn kept_shifts(groups: &[KeptGroups], config: &ShiftWiseConfig) -> Result<Vec<KeptShifts>> {
    let mut found = Vec::with_capacity(2 * groups.len());
    for layer in groups {
        let stage = layer
            .stage
            .filter(|stage| *stage < 4)
            .ok_or_else(|| Error::argument("layer", &layer.path, "one of the four stages of a shift-wise network"))?;
        let window = config.window(stage)?;
        if layer.groups != window.groups() || layer.kept.len() != layer.channels * layer.groups {
            let given = format!("{} groups in {} channels", layer.groups, layer.channels);
            return Err(Error::argument(&layer.path, given, format!("{} groups per channel", window.groups())));
        }
        let tables = IndexTables::new(layer.channels, layer.groups, config.reps)?;
        let offset = |s: usize| (s * window.small() + window.small() / 2) as i32 - (window.length() / 2) as i32;
        for direction in [Direction::Horizontal, Direction::Vertical] {
            let row = |g: usize, c: usize| match direction {
                Direction::Horizontal => tables.horizontal(g, c),
                Direction::Vertical => tables.vertical(g, c),
            };
            let mut kept = vec![0u16; layer.kept.len()];
            for ((c, kept), paths) in kept.chunks_mut(layer.groups).enumerate().zip(layer.kept.chunks(layer.groups)) {
                for g in 0..config.reps {
                    for (kept, &kernel) in kept.iter_mut().zip(row(g, c)) {
                        *kept += u16::from(paths.get(kernel as usize).is_some_and(|&paths| paths > 0));
                    }
                }
            }
            found.push(KeptShifts {
                path: layer.path.clone(),
                stage: layer.stage,
                direction,
                shuffles: config.reps,
                channels: layer.channels,
                offsets: (0..layer.groups).map(offset).collect(),
                kept,
            });
        }
    }
    Ok(found)
}
