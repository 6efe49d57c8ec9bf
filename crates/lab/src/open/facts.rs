//! What a set of weights tells without running the network.

use super::{Fault, Subject, noted};
use crate::plot::TapPattern;
use crate::report::oriented_taps;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use kernelscope::analysis::cost::{CostReport, costs};
use kernelscope::analysis::kernels::kernel_layers;
use kernelscope::analysis::orientation::{Bins, orientations};
use kernelscope::analysis::report::{KernelLayer, KernelShape, LayerOrientation, SparsityReport};
use kernelscope::analysis::sparsity::{kept_shifts, sparsity, stage_of};
use kernelscope::analysis::tree::LayerTree;
use kernelscope::ops::shiftwise::Cross;
use kernelscope::zoo::{Merge, shiftwise::ShiftWiseConfig};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bins over 180 degrees.
pub const BINS: usize = 16;

/// Layers, costs and kernels of a subject.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Costs per layer at the size of training.
    pub costs: Option<CostReport>,
    /// The layers as a tree.
    pub tree: Option<LayerTree>,
    /// Depthwise kernels.
    pub kernels: Vec<KernelLayer>,
    /// Their orientations, in the same order.
    pub orientations: Vec<LayerOrientation>,
    /// Channels per bin of orientation, in the same order.
    pub bins: Vec<Bins>,
    /// The same over all layers.
    pub pooled: Bins,
    /// The tap patterns of every oriented layer, with the mean weights of the channels that share one.
    pub taps: Vec<(String, Vec<TapPattern>)>,
    /// What cannot be shown.
    pub faults: Vec<Fault>,
}

impl Default for Facts {
    /// Nothing known.
    fn default() -> Self {
        Facts {
            costs: None,
            tree: None,
            kernels: Vec::new(),
            orientations: Vec::new(),
            bins: Vec::new(),
            pooled: Bins::new(&[], BINS),
            taps: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl Facts {
    /// Computes costs, kernels and orientations.
    pub fn new(subject: &Subject) -> Self {
        let mut faults = Vec::new();
        let size = subject.data.as_ref().map_or(subject.transform.size, |data| data.size);
        let computed = subject.network.as_ref().map(|network| costs(network, size, size));
        let costs = computed.and_then(|costs| noted(&mut faults, "costs", costs));
        let kernels = noted(&mut faults, "kernels", kernel_layers(&subject.tensors)).unwrap_or_default();
        let tree = costs.as_ref().map(LayerTree::new);
        let orientations: Vec<LayerOrientation> = kernels.iter().map(orientations).collect();
        let bins = orientations.iter().map(|layer| Bins::new(&layer.channels, BINS)).collect();
        let channels: Vec<_> = orientations.iter().flat_map(|layer| layer.channels.iter().copied()).collect();
        let pooled = Bins::new(&channels, BINS);
        let taps = oriented_taps(&kernels).map(|taps| taps.layers).unwrap_or_default();
        Facts { tree, costs, kernels, orientations, bins, pooled, taps, faults }
    }
}

/// What is pruned in a subject, with the kept shifts where it is a shift-wise network.
///
/// # Errors
/// As [`sparsity`] and [`kept_shifts`].
pub fn sparsity_of(subject: &Subject) -> Result<SparsityReport> {
    let size = subject.data.as_ref().map_or(subject.transform.size, |data| data.size);
    // Without a trace there are densities still.
    let trace = subject.network.as_ref().and_then(|network| network.trace(size, size).ok());
    let mut report = sparsity(&subject.name, &subject.tensors, subject.masks.as_ref(), trace.as_ref())?;
    if let Some(config) =
        subject.network.as_ref().and_then(|network| network.spec().config.downcast_ref::<ShiftWiseConfig>())
    {
        report.shifts = kept_shifts(&report.groups, config)?;
    }
    Ok(report)
}

/// The kernels of the network's form for inference, in which parallel kernels and their norms are one. The cross-shaped
/// kernels of shift-wise networks come first, on squares that hold them, zero where the cross has no tap.
///
/// # Errors
/// If the network is not known or has no such form.
pub fn merged_kernels(subject: &Subject) -> Result<Vec<KernelLayer>> {
    let network = subject.network.as_ref();
    let network = network.ok_or_else(|| Error::argument("network", "not known", "weights of a known network"))?;
    let Some(config) = network.spec().config.downcast_ref::<ShiftWiseConfig>() else {
        return kernel_layers(&network.merged(Merge::Kernels)?.params().tensors());
    };
    let tensors = network.merged(Merge::Norms)?.params().tensors();
    let mut layers = Vec::new();
    for (name, weight) in &tensors {
        let (Some(path), Some(stage)) = (name.strip_suffix(".cross.weight"), stage_of(name)) else { continue };
        layers.push(cross_kernel(path, weight, &Cross::new(&config.window(stage)?)?)?);
    }
    layers.extend(kernel_layers(&tensors)?);
    Ok(layers)
}

/// Cross-shaped kernels (C, T) on the square that holds all taps.
fn cross_kernel(path: &str, weight: &Tensor, cross: &Cross) -> Result<KernelLayer> {
    let reach = cross.taps().iter().map(|tap| tap.dh.abs().max(tap.dw.abs())).max().unwrap_or(0);
    let side = (2 * reach + 1) as usize;
    let (channels, taps) = weight.dims2()?;
    let values: Vec<f32> = weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let mut weights = vec![0.0; channels * side * side];
    for (plane, values) in weights.chunks_exact_mut(side * side).zip(values.chunks_exact(taps.max(1))) {
        for (tap, value) in cross.taps().iter().zip(values) {
            if let Some(pixel) = plane.get_mut((tap.dh + reach) as usize * side + (tap.dw + reach) as usize) {
                *pixel = *value;
            }
        }
    }
    let shape = KernelShape::Dense { height: side, width: side };
    Ok(KernelLayer { path: path.to_string(), channels, shape, weights })
}

/// The SHA-256 hash of a file, in hexadecimal digits as `sha256sum` prints it. `stop` is asked between blocks.
///
/// # Errors
/// If the file cannot be read, or `stop` said so.
pub fn sha256(path: &Path, stop: &dyn Fn() -> bool) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        if stop() {
            return Err(Error::interrupted());
        }
        match file.read(&mut block).map_err(Error::io("read", path))? {
            0 => break,
            count => hash.update(block.get(..count).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
