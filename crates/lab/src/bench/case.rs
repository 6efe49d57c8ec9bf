//! A depthwise convolution to be measured.

use super::SEED;
use super::roofline::Work;
use crate::Result;
use candle_core::{Device, Tensor};
use kernelscope::ops::depthwise2d::{self, Depthwise2d};
use kernelscope::ops::oriented1d::{self, Oriented1d, channel_angles};
use kernelscope::ops::shiftwise::{Cross, Padding, ShiftWise, Window};
use kernelscope::ops::taplist::{PrunedTaps, kept_taps};
use kernelscope::ops::taps::{Geometry, Tap, TapConv, TapTable};
use kernelscope::rng;
use rand::seq::index::sample;
use std::fmt;
use std::sync::Arc;

/// Number of angles of the oriented kernels.
pub const ANGLES: usize = 8;

/// The kernel of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// An oriented kernel, all channels at one angle.
    Line {
        /// Number of taps K.
        taps: usize,
        /// The angle, in steps of `pi / 8`.
        angle: usize,
    },
    /// An oriented kernel, the channels split over the eight angles as in the networks.
    Lines {
        /// Number of taps K.
        taps: usize,
    },
    /// A rectangle.
    Dense {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A tap list: what random pruning leaves of a square.
    Pruned {
        /// Side of the square.
        side: usize,
        /// Share of the taps that is left, in percent.
        percent: usize,
        /// Whether every channel keeps taps of its own.
        per_channel: bool,
    },
    /// The merged kernel of a shift-wise layer, a cross of small kernels; see [`kernelscope::ops::shiftwise`].
    ShiftWise {
        /// Length M of the large kernels.
        length: usize,
        /// Side n of the small kernels.
        small: usize,
        /// Share of the small kernels that pruning has left, in percent.
        percent: usize,
    },
}

impl Kernel {
    /// Rows and columns of the dense kernel that PyTorch runs in its place: a row instead of a line at an angle, the
    /// whole square instead of a pruned one, a rectangle of nearly as many taps as a whole cross has.
    pub fn dense_shape(&self) -> (usize, usize) {
        match *self {
            Kernel::Line { taps, .. } | Kernel::Lines { taps } => (1, taps),
            Kernel::Dense { height, width } => (height, width),
            Kernel::Pruned { side, .. } => (side, side),
            Kernel::ShiftWise { length, small, .. } => (2 * small - 1, length),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kernel::Line { taps, angle } => write!(f, "1x{taps} {}deg", 180.0 * angle as f64 / ANGLES as f64),
            Kernel::Lines { taps } => write!(f, "1x{taps} eight angles"),
            Kernel::Dense { height, width } => write!(f, "{height}x{width}"),
            Kernel::Pruned { side, percent: 100, .. } => write!(f, "taps {side}x{side} all"),
            Kernel::Pruned { side, percent, per_channel } => {
                let pattern = if per_channel { "pattern per channel" } else { "one pattern" };
                write!(f, "taps {side}x{side} {percent}% {pattern}")
            }
            Kernel::ShiftWise { length, small, percent: 100 } => write!(f, "shiftwise {length}x{small} all"),
            Kernel::ShiftWise { length, small, percent } => write!(f, "shiftwise {length}x{small} {percent}%"),
        }
    }
}

/// One convolution: a kernel on images of a shape, with padding that keeps their size at stride 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The network whose shape this is, where it is one's.
    pub network: Option<&'static str>,
    /// Kernel.
    pub kernel: Kernel,
    /// Images N.
    pub images: usize,
    /// Channels C.
    pub channels: usize,
    /// Rows and columns of an image.
    pub side: usize,
    /// Stride in both directions.
    pub stride: usize,
}

impl fmt::Display for Case {
    /// The case's name, for example `slak-t 51x5 124x56x56` or `1x31 45deg 512x56x56 /2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(network) = self.network {
            write!(f, "{network} ")?;
        }
        write!(f, "{} {}x{s}x{s}", self.kernel, self.channels, s = self.side)?;
        if self.stride > 1 { write!(f, " /{}", self.stride) } else { Ok(()) }
    }
}

/// A convolution of input and weights.
type Apply = Box<dyn Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync>;

/// A case that is ready to run.
pub struct Prepared {
    /// What its forward pass must do.
    pub work: Work,
    /// Shape of the input.
    pub input: Vec<usize>,
    /// Shape of the weights.
    pub weights: Vec<usize>,
    /// The convolution.
    pub apply: Apply,
    /// Its taps, of which there may be fewer than weights are stored.
    pub table: Arc<TapTable>,
    /// Its sizes.
    pub geometry: Geometry,
}

impl Case {
    /// Builds the operator.
    ///
    /// # Errors
    /// If the operator refuses the sizes.
    pub fn prepare(&self) -> Result<Prepared> {
        let (c, side) = (self.channels, self.side);
        let (kh, kw) = self.kernel.dense_shape();
        match self.kernel {
            Kernel::Line { taps, angle } => {
                let theta = (std::f64::consts::PI * angle as f64 / ANGLES as f64) as f32;
                self.oriented(&vec![theta; c], taps)
            }
            Kernel::Lines { taps } => self.oriented(&channel_angles(c, ANGLES, 0.0)?, taps),
            Kernel::Dense { .. } => {
                let op = Depthwise2d::new(c, depthwise2d::Options::same(kh, kw).with_stride(self.stride))?;
                let geometry = op.geometry(side, side)?;
                let table = Arc::new(op.table().clone());
                let macs = table.useful_macs(&geometry);
                let apply: Apply = Box::new(move |x, w| op.forward(x, w, None));
                Ok(self.prepared(macs, table, geometry, vec![c, 1, kh, kw], apply))
            }
            Kernel::Pruned { side: kernel, percent, per_channel } => {
                let table = Arc::new(pruned(kernel, percent, c, per_channel)?);
                let output = side.div_ceil(self.stride);
                let stride = (self.stride, self.stride);
                let geometry = Geometry { input: (side, side), output: (output, output), stride };
                let (macs, taps) = (table.useful_macs(&geometry), table.weights_per_channel());
                let conv = TapConv::new(table.clone(), geometry, false)?;
                let apply: Apply = Box::new(move |x, w| conv.apply(x, w, None));
                Ok(self.prepared(macs, table, geometry, vec![c, taps], apply))
            }
            Kernel::ShiftWise { length, small, percent } => {
                self.shiftwise(Window::new(length, small, Padding::Full)?, percent)
            }
        }
    }

    /// The taps of the three branches that a shift-wise layer has before it is merged, as far as pruning has left them;
    /// none of other kernels.
    ///
    /// # Errors
    /// If the operator refuses the sizes.
    pub fn branches(&self) -> Result<Vec<TapTable>> {
        let Kernel::ShiftWise { length, small, percent } = self.kernel else { return Ok(Vec::new()) };
        let window = Window::new(length, small, Padding::Full)?;
        let kernels = self.small_kernels(window, percent)?;
        let table = |(taps, kernel): (Vec<Tap>, Tensor)| {
            TapTable::ragged(&kept_taps(&taps, &kernel.reshape((self.channels, taps.len()))?)?)
        };
        window.rectangles().into_iter().zip(kernels).map(table).collect()
    }

    /// Kernels of ones and zeros of the three branches. Of every channel's small kernels, as many are left as the share
    /// says, the others at random.
    fn small_kernels(&self, window: Window, percent: usize) -> Result<[Tensor; 3]> {
        let (groups, n) = (window.groups(), window.small());
        let left = (groups * percent / 100).max(1);
        let mut values = vec![0f32; self.channels * groups * n * n];
        for channel in 0..self.channels {
            for group in sample(&mut rng::stream(SEED, &[channel as u64]), groups, left) {
                values[(channel * groups + group) * n * n..][..n * n].fill(1.0);
            }
        }
        let weight = Tensor::from_vec(values, (self.channels * groups, 1, n, n), &Device::Cpu)?;
        ShiftWise::new(self.channels, window, 1)?.kernels(&weight)
    }

    fn shiftwise(&self, window: Window, percent: usize) -> Result<Prepared> {
        let ([h, v, i], side) = (self.small_kernels(window, percent)?, self.side);
        let cross = Cross::new(&window)?;
        let weight = cross.sum([&h, &v, &i])?;
        let geometry = Geometry { input: (side, side), output: (side, side), stride: (1, 1) };
        let macs = TapTable::ragged(&kept_taps(cross.taps(), &weight)?)?.useful_macs(&geometry);
        let op = PrunedTaps::new(cross.taps(), &weight)?;
        let table = Arc::new(op.table().clone());
        let apply: Apply = Box::new(move |x, w| op.forward(x, w, None));
        Ok(self.prepared(macs, table, geometry, weight.dims().to_vec(), apply))
    }

    fn oriented(&self, theta: &[f32], taps: usize) -> Result<Prepared> {
        let op = Oriented1d::new(theta, taps, oriented1d::Options { stride: self.stride, ..Default::default() })?;
        let geometry = op.geometry(self.side, self.side)?;
        let table = Arc::new(op.table().clone());
        let macs = table.useful_macs(&geometry);
        let apply: Apply = Box::new(move |x, w| op.forward(x, w, None));
        Ok(self.prepared(macs, table, geometry, vec![self.channels, 1, 1, taps], apply))
    }

    fn prepared(
        &self,
        macs_per_image: u64,
        table: Arc<TapTable>,
        geometry: Geometry,
        weights: Vec<usize>,
        apply: Apply,
    ) -> Prepared {
        let input = vec![self.images, self.channels, self.side, self.side];
        let output = self.images * self.channels * geometry.output.0 * geometry.output.1;
        let (values, parameters) = (input.iter().product(), weights.iter().product());
        let work = Work::forward(self.images as u64 * macs_per_image, values, parameters, output);
        Prepared { work, input, weights, apply, table, geometry }
    }
}

/// The taps that are left of a square after random pruning, the same number in every channel.
fn pruned(side: usize, percent: usize, channels: usize, per_channel: bool) -> Result<TapTable> {
    let (all, radius) = (side * side, (side / 2) as i32);
    let left = (all * percent / 100).max(1);
    let pattern = |channel: usize| -> Vec<Tap> {
        let mut indices = sample(&mut rng::stream(SEED, &[channel as u64]), all, left).into_vec();
        indices.sort_unstable();
        let tap = |i: usize| Tap { dh: (i / side) as i32 - radius, dw: (i % side) as i32 - radius };
        indices.into_iter().map(tap).collect()
    };
    if per_channel {
        TapTable::from_offsets(&(0..channels).map(pattern).collect::<Vec<_>>())
    } else {
        TapTable::shared(channels, &pattern(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases::{Override, cases};

    fn small(name: &str) -> Case {
        let cases = cases(Override { images: Some(2), channels: Some(16) });
        cases.into_iter().find(|c| c.to_string() == name).unwrap_or_else(|| panic!("no case named {name}"))
    }

    #[test]
    fn every_case_can_be_built() {
        for case in cases(Override { images: Some(1), channels: Some(8) }) {
            let prepared = case.prepare().unwrap_or_else(|e| panic!("{case}: {e}"));
            assert!(prepared.work.macs > 0, "{case}");
        }
    }

    #[test]
    fn work_counts_images_channels_and_taps_inside() {
        // A row of 7 taps on 14 columns: 14 * 7 - 2 * (1 + 2 + 3) reads per row of outputs.
        let row = small("1x7 0deg 16x14x14").prepare().unwrap();
        let reads = 2 * 16 * 14 * (14 * 7 - 12);
        assert_eq!(row.work, Work::forward(reads, 2 * 16 * 14 * 14, 16 * 7, 2 * 16 * 14 * 14));
        let halved = small("3x3 16x56x56 /2").prepare().unwrap();
        assert_eq!(halved.work.bytes, 4 * (2 * 16 * 56 * 56 + 16 * 9 + 2 * 16 * 28 * 28) as u64);
    }

    #[test]
    fn a_quarter_of_the_taps_is_about_a_quarter_of_the_work() {
        let [all, one, each] = ["all", "25% one pattern", "25% pattern per channel"]
            .map(|kind| small(&format!("taps 31x31 {kind} 16x56x56")).prepare().unwrap());
        assert_eq!((all.weights, one.weights.clone()), (vec![16, 961], vec![16, 240]));
        assert_eq!(each.weights, one.weights);
        for pruned in [&one, &each] {
            let share = pruned.work.macs as f64 / all.work.macs as f64;
            assert!((share - 0.25).abs() < 0.03, "{share}");
        }
        let table = pruned(31, 25, 16, true).unwrap();
        assert_eq!(table.groups().len(), 16, "every channel has its own pattern");
        assert_eq!(pruned(31, 25, 16, false).unwrap().groups().len(), 1);
    }

    #[test]
    fn a_pruned_cross_is_less_work() {
        let [all, third, tenth] =
            ["all", "30%", "10%"].map(|kept| small(&format!("shiftwise 51x5 {kept} 16x56x56")).prepare().unwrap());
        assert_eq!((&all.weights, &third.weights), (&vec![16, 525], &vec![16, 525]));
        // 3 of 11 small kernels, each at two places and one of them perhaps also in the middle; and the identity.
        let share = |pruned: &Prepared| pruned.work.macs as f64 / all.work.macs as f64;
        assert!((0.2..0.35).contains(&share(&third)), "{}", share(&third));
        assert!((0.05..0.15).contains(&share(&tenth)), "{}", share(&tenth));
    }

    #[test]
    fn branches_have_the_taps_of_the_cross() {
        let [all, third] = ["all", "30%"].map(|kept| small(&format!("shiftwise 51x5 {kept} 16x56x56")));
        let counts = |case: &Case| -> Vec<usize> {
            let tables = case.branches().unwrap();
            tables.iter().map(|table| table.groups().iter().map(|group| group.taps().len()).max().unwrap()).collect()
        };
        assert_eq!(counts(&all), [275, 275, 25]);
        // 3 of 11 small kernels.
        assert_eq!(counts(&third)[..2], [75, 75]);
        assert!(small("7x7 16x56x56").branches().unwrap().is_empty());
    }

    #[test]
    fn a_case_runs() {
        for name in [
            "1x7 eight angles 16x14x14",
            "7x7 16x56x56 /2",
            "taps 31x31 25% one pattern 16x56x56",
            "shiftwise 49x5 30% 16x28x28",
        ] {
            let case = small(name);
            let prepared = case.prepare().unwrap();
            let tensor = |shape: &[usize]| {
                let values = super::super::values("test", shape.iter().product());
                Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
            };
            let y = (prepared.apply)(&tensor(&prepared.input), &tensor(&prepared.weights)).unwrap();
            let side = case.side / case.stride;
            assert_eq!(y.dims(), [2, 16, side, side], "{name}");
        }
    }
}
