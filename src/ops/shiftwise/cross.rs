//! The one kernel that h, v, i and the identity are together: a cross of a row and a column of small kernels.

use super::{Padding, Window, half_padding};
use crate::ops::taps::Tap;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;

/// Where the taps of the branches are in the cross.
///
/// The cross has the union of the branches' taps, `2 n kn - n^2` in all, ordered by rows and columns. So a layer whose
/// norms are folded is one depthwise convolution.
#[derive(Debug, Clone)]
pub struct Cross {
    taps: Vec<Tap>,
    /// For h, v and i, the place of each of their taps.
    places: [Vec<usize>; 3],
    center: usize,
}

impl Cross {
    /// The cross of a layer.
    ///
    /// # Errors
    /// With [`Padding::Half`], where the branches are no convolutions.
    ///
    /// ```
    /// use kernelscope::ops::shiftwise::{Cross, Padding, Window};
    /// // 11 groups of 5 columns: a row and a column of 5 x 55 pixels that meet in 5 x 5.
    /// let cross = Cross::new(&Window::new(51, 5, Padding::Full)?)?;
    /// assert_eq!(cross.taps().len(), 2 * 5 * 55 - 25);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn new(window: &Window) -> Result<Self> {
        if window.padding == Padding::Half {
            return Err(half_padding());
        }
        let branches = window.rectangles();
        let mut taps: Vec<Tap> = branches.iter().flatten().copied().collect();
        taps.sort_unstable();
        taps.dedup();
        let place: HashMap<Tap, usize> = taps.iter().copied().zip(0..).collect();
        // Every tap is in the union.
        let of = |tap: &Tap| place.get(tap).copied().unwrap_or_default();
        let places = branches.map(|branch| branch.iter().map(of).collect());
        let center = of(&Tap { dh: 0, dw: 0 });
        Ok(Cross { taps, places, center })
    }

    /// The taps, in the order of the weights.
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// Weights (C, T) in f64 of the sum of h, v, i and the identity, from their kernels (C, 1, rows, columns).
    ///
    /// # Errors
    /// If a kernel has another size.
    pub fn sum(&self, kernels: [&Tensor; 3]) -> Result<Tensor> {
        let channels = kernels[0].dim(0)?;
        let mut sum = vec![0.0; channels * self.taps.len()];
        for (kernel, places) in kernels.into_iter().zip(&self.places) {
            if kernel.dim(0)? != channels || kernel.elem_count() != channels * places.len() {
                let allowed = format!("{channels} channels of {} weights", places.len());
                return Err(Error::argument("kernel of a branch", format!("shape {:?}", kernel.dims()), allowed));
            }
            let values = kernel.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
            for (sum, values) in sum.chunks_exact_mut(self.taps.len()).zip(values.chunks_exact(places.len())) {
                for (&place, value) in places.iter().zip(values) {
                    sum[place] += value;
                }
            }
        }
        for sum in sum.chunks_exact_mut(self.taps.len()) {
            sum[self.center] += 1.0;
        }
        Ok(Tensor::from_vec(sum, (channels, self.taps.len()), &Device::Cpu)?)
    }
}
