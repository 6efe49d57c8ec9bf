//! The depthwise kernels of a network, found by the names and shapes of its parameters.

use super::report::{KernelLayer, KernelShape, PixelKernel};
use crate::Result;
use crate::ops::oriented1d::tap_offsets;
use crate::ops::taps::Tap;
use crate::weights::TensorMap;
use candle_core::{DType, Tensor};

/// All depthwise layers of a set of weights, in their order: those with angles are oriented, other (C, 1, kh, kw)
/// weights with more than one tap are dense.
///
/// # Errors
/// If a tensor cannot be read.
pub fn kernel_layers(tensors: &TensorMap) -> Result<Vec<KernelLayer>> {
    let mut layers = Vec::new();
    for (name, weight) in tensors {
        let Some(path) = name.strip_suffix(".weight") else { continue };
        let &[channels, 1, height, width] = weight.dims() else { continue };
        let shape = match tensors.get(&format!("{path}.theta")) {
            Some(theta) if theta.elem_count() == channels => {
                KernelShape::Oriented { taps: height * width, theta: values(theta)? }
            }
            _ if height * width > 1 => KernelShape::Dense { height, width },
            _ => continue,
        };
        layers.push(KernelLayer { path: path.to_string(), channels, shape, weights: values(weight)? });
    }
    Ok(layers)
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

impl KernelLayer {
    /// Weights per channel.
    pub fn taps(&self) -> usize {
        match self.shape {
            KernelShape::Oriented { taps, .. } => taps,
            KernelShape::Dense { height, width } => height * width,
        }
    }

    /// Offsets of one channel's taps from the center, in the order of its weights; none for a channel without an angle.
    pub fn offsets(&self, channel: usize) -> Vec<Tap> {
        match &self.shape {
            KernelShape::Oriented { taps, theta } => theta.get(channel).map_or(Vec::new(), |&t| tap_offsets(t, *taps)),
            KernelShape::Dense { height, width } => (0..height * width)
                .map(|i| Tap {
                    dh: (i / width) as i32 - (height / 2) as i32,
                    dw: (i % width) as i32 - (width / 2) as i32,
                })
                .collect(),
        }
    }

    /// One channel's weights; none for a channel that the layer does not have.
    pub fn channel(&self, channel: usize) -> &[f32] {
        let taps = self.taps();
        let start = channel.saturating_mul(taps);
        self.weights.get(start..start.saturating_add(taps)).unwrap_or_default()
    }

    /// One channel's kernel on the pixel grid; taps that meet in a pixel are added up. Oriented kernels get a square
    /// grid that holds every angle.
    pub fn pixels(&self, channel: usize) -> PixelKernel {
        let (height, width) = match self.shape {
            KernelShape::Oriented { taps, .. } => (taps | 1, taps | 1),
            KernelShape::Dense { height, width } => (height, width),
        };
        let mut kernel =
            PixelKernel { height, width, values: vec![0.0; height * width], tapped: vec![false; height * width] };
        for (tap, &weight) in self.offsets(channel).iter().zip(self.channel(channel)) {
            let (row, col) = (tap.dh + (height / 2) as i32, tap.dw + (width / 2) as i32);
            let index = row as usize * width + col as usize;
            kernel.values[index] += weight;
            kernel.tapped[index] = true;
        }
        kernel
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_are_not_there_are_empty() {
        let shape = KernelShape::Oriented { taps: 3, theta: vec![0.0] };
        let layer = KernelLayer { path: "l".into(), channels: 3, shape, weights: vec![1.0; 5] };
        assert_eq!((layer.channel(0).len(), layer.offsets(0).len()), (3, 3));
        for missing in [1, 2, usize::MAX] {
            assert_eq!((layer.channel(missing).len(), layer.offsets(missing).len()), (0, 0), "{missing}");
            assert!(layer.pixels(missing).tapped.iter().all(|tapped| !tapped));
        }
    }
}
