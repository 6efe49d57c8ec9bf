//! The shift-wise operator (Li et al., *Shift-ConvNets: Small Convolutional Kernel with Large Kernel Effects*, 2024;
//! the released code's `ShifthWiseConv2dImplicit` is normative): large kernels as sums of shifted small ones.
//!
//! Every channel c is convolved with k small kernels of n x n pixels. Their results are shifted by multiples of n along
//! rows and added up in the order `H[g][c]`, and along columns in the order `V[g][c]`, G times over, so that together they
//! cover M pixels; a third branch takes one of them, `I[g][c]`, as it is:
//!
//! ```text
//! n odd, k = ceil(M / n), mid = M div 2, off_s = mid - s*n - p for s = 0..k-1, e = p - n div 2
//! z[ck+j]  = x[c] * W[ck+j], with p zeros on all sides: (H + 2e) x (W + 2e) pixels
//! h[c,y,x] = sum_g sum_s z[ck + H[g][c][s], y + e, x - off_s]                       (z = 0 outside)
//! v[c,y,x] = sum_g sum_s z[ck + V[g][c][s], y - off_s, x + e]
//! i[c,y,x] = sum_g       z[ck + I[g][c], y + e, x + e]
//! ```
//!
//! With p = n-1 ([`Padding::Full`]) nothing is lost at the border, and the branches are depthwise convolutions: h with
//! an n x kn kernel whose columns `sn..(s+1)n` are `sum_g W[ck + H[g][c][s]]`, with `mid` zeros on the left and
//! `kn-1-mid` on the right; v with a kn x n kernel likewise; i with the n x n kernel `sum_g W[ck + I[g][c]]`. That is
//! how they are computed: the kernels are gathered from W, which autograd follows, and z is never made. With p = n div 2
//! ([`Padding::Half`]) small kernels whose center is outside the image are lost, so z is made and shifted.

mod add_shift;
mod cross;
mod group_shift;
pub mod reference;
mod tables;

pub use add_shift::{AddShift, Shifts};
pub use cross::Cross;
pub use group_shift::GroupShift;
pub use tables::{ChannelSplit, IndexTables, SEED};

use super::depthwise2d::{Depthwise2d, MAX_SIDE, Options};
use super::dims4;
use super::taplist::{TapList, rectangle};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

/// Zeros around the image before the small convolutions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// `n - 1` on every side: no window is lost at the border.
    Full,
    /// `n div 2`: windows whose center is outside are lost. The paper calls this p2-SW.
    Half,
}

/// Sizes of the kernels of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    length: usize,
    small: usize,
    padding: Padding,
}

impl Window {
    /// Sizes that the operator accepts.
    ///
    /// # Errors
    /// If M or n is even, 0 or above 63, or n is larger than M.
    pub fn new(length: usize, small: usize, padding: Padding) -> Result<Self> {
        for (name, value, most) in [("kernel", length, MAX_SIDE), ("small_kernel", small, length)] {
            if value.is_multiple_of(2) || value > most {
                return Err(Error::argument(name, value, format!("an odd number from 1 to {most}")));
            }
        }
        Ok(Window { length, small, padding })
    }

    /// Length M that the small kernels cover together.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Side n of a small kernel.
    pub fn small(&self) -> usize {
        self.small
    }

    /// Small kernels per channel, k.
    pub fn groups(&self) -> usize {
        self.length.div_ceil(self.small)
    }

    /// Zeros on each side of the image, p.
    pub fn zeros(&self) -> usize {
        match self.padding {
            Padding::Full => self.small - 1,
            Padding::Half => self.small / 2,
        }
    }

    /// By how many pixels z is larger than the image on each side, e.
    pub fn margin(&self) -> usize {
        self.zeros() - self.small / 2
    }

    /// The shift of the small kernel at place s.
    pub fn offset(&self, s: usize) -> i32 {
        (self.length / 2) as i32 - (s * self.small) as i32 - self.zeros() as i32
    }

    /// Multiply-adds of one path of small convolutions, as the papers count: k kernels per channel at every pixel of z.
    pub fn macs(&self, channels: usize, (height, width): (usize, usize)) -> u64 {
        let pixels = (height + 2 * self.margin()) as u64 * (width + 2 * self.margin()) as u64;
        (channels * self.groups() * self.small * self.small) as u64 * pixels
    }

    /// Length of the kernels of h and v, `k n`: M or a little more.
    fn covered(&self) -> usize {
        self.groups() * self.small
    }

    /// The taps of h, v and i as depthwise convolutions.
    pub fn rectangles(&self) -> [Vec<crate::ops::taps::Tap>; 3] {
        let (n, long) = (self.small, self.covered());
        let (middle, half) = (self.length / 2, n / 2);
        [rectangle((n, long), (half, middle)), rectangle((long, n), (middle, half)), rectangle((n, n), (half, half))]
    }
}

/// The operator for one layer.
#[derive(Debug, Clone)]
pub struct ShiftWise {
    window: Window,
    tables: IndexTables,
    path: Path,
}

/// How the branches are computed.
#[derive(Debug, Clone)]
enum Path {
    /// As depthwise convolutions.
    Kernels(Box<Kernels>),
    /// By shifting the results of the small convolutions.
    Shifts(Box<AddShift>),
}

#[derive(Debug, Clone)]
struct Kernels {
    /// h, v and i.
    convs: [TapList; 3],
    /// For each, the small kernels at the places of all channels, shuffle by shuffle.
    places: [Tensor; 3],
}

impl ShiftWise {
    /// The operator for `channels` channels that are convolved and `reps` (G) shuffles.
    ///
    /// # Errors
    /// If the index tables cannot be made.
    pub fn new(channels: usize, window: Window, reps: usize) -> Result<Self> {
        let tables = IndexTables::new(channels, window.groups(), reps)?;
        let path = match window.padding {
            Padding::Full => Path::Kernels(Box::new(Kernels::new(window, &tables)?)),
            Padding::Half => Path::Shifts(Box::new(AddShift::new(channels, Shifts::new(&window, &tables))?)),
        };
        Ok(ShiftWise { window, tables, path })
    }

    /// Sizes of the kernels.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// The index tables.
    pub fn tables(&self) -> &IndexTables {
        &self.tables
    }

    /// h, v and i of `x` (N, C, H, W) with `weight` (k C, 1, n, n), which may be the sum of several paths' weights:
    /// everything is linear in it. Differentiable in both, in f32 and f64.
    ///
    /// # Errors
    /// If shapes or dtypes do not fit.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use kernelscope::ops::shiftwise::{Padding, ShiftWise, Window};
    /// let op = ShiftWise::new(4, Window::new(13, 5, Padding::Full)?, 2)?;
    /// let x = Tensor::ones((1, 4, 7, 9), DType::F32, &Device::Cpu)?;
    /// let w = Tensor::ones((3 * 4, 1, 5, 5), DType::F32, &Device::Cpu)?;
    /// let [h, v, i] = op.forward(&x, &w)?;
    /// assert_eq!((h.dims(), v.dims(), i.dims()), (x.dims(), x.dims(), x.dims()));
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn forward(&self, x: &Tensor, weight: &Tensor) -> Result<[Tensor; 3]> {
        let (_, channels, height, width) = dims4("input", x)?;
        if channels != self.tables.channels() {
            let allowed = format!("[N, {}, H, W]", self.tables.channels());
            return Err(Error::argument("input", format!("shape {:?}", x.dims()), allowed));
        }
        self.check(weight)?;
        match &self.path {
            Path::Kernels(path) => {
                let kernels = self.gather(path, weight)?;
                let apply = |i: usize| {
                    let kernel = kernels[i].reshape((channels, ()))?;
                    path.convs[i].forward(x, &kernel, None)
                };
                Ok([apply(0)?, apply(1)?, apply(2)?])
            }
            Path::Shifts(shifts) => shifts.forward(&small_convolutions(x, weight, &self.window)?, (height, width)),
        }
    }

    /// The kernels of h (C, 1, n, kn), v (C, 1, kn, n) and i (C, 1, n, n), from `weight` (k C, 1, n, n).
    ///
    /// # Errors
    /// With [`Padding::Half`], where there are none, or if the shape does not fit.
    pub fn kernels(&self, weight: &Tensor) -> Result<[Tensor; 3]> {
        self.check(weight)?;
        match &self.path {
            Path::Kernels(path) => self.gather(path, weight),
            Path::Shifts(_) => Err(half_padding()),
        }
    }

    fn gather(&self, path: &Kernels, weight: &Tensor) -> Result<[Tensor; 3]> {
        let (channels, groups, reps) = (self.tables.channels(), self.tables.groups(), self.tables.reps());
        let n = self.window.small;
        let small = weight.reshape((channels * groups, n * n))?;
        // (G, C, places, n, n), added up over G.
        let gather = |places: &Tensor, count: usize| -> Result<Tensor> {
            let all = small.index_select(&places.to_device(weight.device())?, 0)?;
            let all = all.reshape((reps, channels, count, n, n))?;
            Ok(if reps == 1 { all.squeeze(0)? } else { all.sum(0)? })
        };
        let [h, v, i] = &path.places;
        let rows = gather(h, groups)?.permute((0, 2, 1, 3))?.contiguous()?;
        Ok([
            rows.reshape((channels, 1, n, groups * n))?,
            gather(v, groups)?.reshape((channels, 1, groups * n, n))?,
            gather(i, 1)?.reshape((channels, 1, n, n))?,
        ])
    }

    fn check(&self, weight: &Tensor) -> Result<()> {
        let n = self.window.small;
        let expected = [self.tables.channels() * self.tables.groups(), 1, n, n];
        if weight.dims() == expected {
            return Ok(());
        }
        Err(Error::argument("weight", format!("shape {:?}", weight.dims()), format!("{expected:?}")))
    }
}

impl Kernels {
    fn new(window: Window, tables: &IndexTables) -> Result<Self> {
        let channels = tables.channels();
        let rows = || (0..tables.reps()).flat_map(|g| (0..channels).map(move |c| (g, c)));
        let kernel = |c: usize, j: u32| (c * tables.groups()) as u32 + j;
        let places = |of: &dyn Fn(usize, usize) -> Vec<u32>| {
            let all: Vec<u32> = rows().flat_map(|(g, c)| of(g, c).into_iter().map(move |j| kernel(c, j))).collect();
            let count = all.len();
            Tensor::from_vec(all, count, &Device::Cpu)
        };
        let [h, v, i] = window.rectangles();
        let conv = |taps: &[_]| TapList::shared(channels, taps);
        Ok(Kernels {
            convs: [conv(&h)?, conv(&v)?, conv(&i)?],
            places: [
                places(&|g, c| tables.horizontal(g, c).to_vec())?,
                places(&|g, c| tables.vertical(g, c).to_vec())?,
                places(&|g, c| vec![tables.identity(g, c)])?,
            ],
        })
    }
}

/// z: every channel of `x` (N, C, H, W) with its k kernels of `weight` (k C, 1, n, n), channel c by c and kernel by
/// kernel: (N, k C, H + 2e, W + 2e). Differentiable in both.
///
/// # Errors
/// If shapes or dtypes do not fit.
pub fn small_convolutions(x: &Tensor, weight: &Tensor, window: &Window) -> Result<Tensor> {
    let (n, channels, height, width) = dims4("input", x)?;
    let (groups, zeros) = (window.groups(), window.zeros());
    let repeated = x.unsqueeze(2)?.expand((n, channels, groups, height, width))?.contiguous()?;
    let repeated = repeated.reshape((n, channels * groups, height, width))?;
    let options = Options { padding: (zeros, zeros), ..Options::same(window.small, window.small) };
    Depthwise2d::new(channels * groups, options)?.forward(&repeated, weight, None)
}

fn half_padding() -> Error {
    let allowed = "padding = full, for which the branches are convolutions";
    Error::argument("padding", "half, which drops windows at the border", allowed)
}
