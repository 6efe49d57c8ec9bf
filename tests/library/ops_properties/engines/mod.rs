//! The engines of tap tables on every instruction set of this machine, against the definition of a tap table in f64.

mod runs;
mod shapes;

use super::support::View;
use crate::common::{Arg, Outcome, differentiate, values};
use candle_core::DType;
use kernelscope::Result;
use kernelscope::ops::oriented1d::tap_offsets;
use kernelscope::ops::taps::cpu::Plan;
use kernelscope::ops::taps::{Geometry, InstructionSet, Tap, TapConv, TapTable};
use proptest::prelude::*;
use std::sync::Arc;

type Checked = std::result::Result<(), TestCaseError>;

#[derive(Clone)]
struct Case {
    images: usize,
    /// The taps of each group, and of how many channels.
    groups: Vec<(Vec<Tap>, usize)>,
    /// Whether channels take turns with their groups, instead of lying group by group.
    mixed: bool,
    geometry: Geometry,
    residual: bool,
    view: View,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Case { images, geometry, residual, view, mixed, .. } = self;
        write!(f, "{images} images, {geometry:?}, residual {residual}, {view:?}, mixed {mixed}")?;
        for (taps, channels) in &self.groups {
            let taps: Vec<_> = taps.iter().map(|tap| (tap.dh, tap.dw)).collect();
            write!(f, "\n  {channels} channels of {taps:?}")?;
        }
        Ok(())
    }
}

/// The taps of a rectangle of kernel `(rows, cols)`.
fn rectangle(kernel: (usize, usize), dilation: (i32, i32)) -> Vec<Tap> {
    let at = |index: usize, side: usize, dilation: i32| (index as i32 - (side / 2) as i32) * dilation;
    let offset =
        |i: usize| Tap { dh: at(i / kernel.1, kernel.0, dilation.0), dw: at(i % kernel.1, kernel.1, dilation.1) };
    (0..kernel.0 * kernel.1).map(offset).collect()
}

/// As many taps as the kernel has weights: the rectangle, dilated; the same number along a line; anywhere, several in
/// one pixel.
fn taps(kernel: (usize, usize)) -> impl Strategy<Value = Vec<Tap>> {
    let count = kernel.0 * kernel.1;
    let scattered = (1..=40i32).prop_flat_map(move |reach| {
        let tap = (-reach..=reach, -reach..=reach).prop_map(|(dh, dw)| Tap { dh, dw });
        prop::collection::vec(tap, count)
    });
    prop_oneof![
        ((1..=3i32), (1..=3i32)).prop_map(move |dilation| rectangle(kernel, dilation)),
        (-4f32..4.0).prop_map(move |theta| tap_offsets(theta, count)),
        scattered,
    ]
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let kernel = prop_oneof![
            4 => (1..=5usize, 1..=7usize),
            1 => (1..=63usize).prop_map(|k| (k, 1)),
            1 => (1..=63usize).prop_map(|k| (1, k)),
        ];
        let channels = prop_oneof![3 => 1..=4usize, 2 => 5..=20usize];
        let groups = kernel.prop_flat_map(move |kernel| prop::collection::vec((taps(kernel), channels.clone()), 1..=4));
        // Outputs as most layers have them, or with other paddings.
        let axis = |most: usize| {
            let outputs = prop_oneof![2 => Just(0), 1 => -3..=3isize];
            (1..=most, 1..=3usize, outputs).prop_map(|(size, stride, extra)| {
                (size, size.div_ceil(stride).saturating_add_signed(extra).max(1), stride)
            })
        };
        let flags = (any::<bool>(), any::<bool>(), any::<bool>());
        (1..=2usize, groups, axis(14), axis(60), flags, View::any())
            .prop_map(|(images, groups, v, h, (mixed, residual, same), view)| {
                let geometry = Geometry { input: (v.0, h.0), output: (v.1, h.1), stride: (v.2, h.2) };
                let case =
                    if same { Case::same(images, groups, geometry.input) } else { Case::new(images, groups, geometry) };
                case.varied(mixed, residual, view)
            })
            .boxed()
    }
}

/// A result and, for each value of it, the sum of the absolute values that it adds up and how many there are.
struct Expected {
    name: &'static str,
    values: Vec<f64>,
    magnitudes: Vec<f64>,
    terms: Vec<u32>,
}

impl Expected {
    fn new(name: &'static str, len: usize) -> Self {
        Expected { name, values: vec![0.0; len], magnitudes: vec![0.0; len], terms: vec![0; len] }
    }

    fn add(&mut self, index: usize, value: f64) {
        self.values[index] += value;
        self.magnitudes[index] += value.abs();
        self.terms[index] += 1;
    }

    /// What rounding may do to a sum of n terms in f32. Each of the n additions and products errs by half a unit of
    /// 2^-23 of a partial sum, which is at most the sum of the magnitudes; errors of both signs grow like a root. One
    /// product that is missing or wrong changes a sum by an n-th of its magnitudes, which is far more.
    fn allowed(&self, index: usize) -> f64 {
        self.magnitudes[index] * f64::from(f32::EPSILON) * (2.0 + f64::from(self.terms[index]).sqrt())
    }
}

impl Case {
    fn new(images: usize, groups: Vec<(Vec<Tap>, usize)>, geometry: Geometry) -> Self {
        Case { images, groups, mixed: false, geometry, residual: false, view: View::Contiguous }
    }

    /// A case at stride 1 whose outputs are as many as its inputs.
    fn same(images: usize, groups: Vec<(Vec<Tap>, usize)>, size: (usize, usize)) -> Self {
        Case::new(images, groups, Geometry { input: size, output: size, stride: (1, 1) })
    }

    /// With these properties. A residual needs a geometry that allows it, and gives every group a tap at its centre.
    fn varied(mut self, mixed: bool, residual: bool, view: View) -> Self {
        let Geometry { input, output, stride } = self.geometry;
        (self.mixed, self.view) = (mixed, view);
        self.residual = residual && stride == (1, 1) && input == output;
        let centre = Tap { dh: 0, dw: 0 };
        for (taps, _) in self.groups.iter_mut().filter(|(taps, _)| residual && !taps.contains(&centre)) {
            taps[0] = centre;
        }
        self
    }

    fn channels(&self) -> Vec<&Vec<Tap>> {
        let largest = self.groups.iter().map(|group| group.1).max().unwrap_or(0);
        if self.mixed {
            let turn = |turn: usize| self.groups.iter().filter(move |group| turn < group.1).map(|group| &group.0);
            (0..largest).flat_map(turn).collect()
        } else {
            self.groups.iter().flat_map(|(taps, channels)| std::iter::repeat_n(taps, *channels)).collect()
        }
    }

    fn table(&self) -> Result<TapTable> {
        TapTable::from_offsets(&self.channels().into_iter().cloned().collect::<Vec<_>>())
    }

    fn args(&self) -> [Arg; 3] {
        let (channels, Geometry { input, .. }) = (self.channels(), self.geometry);
        [
            Arg::fill("x", &[self.images, channels.len(), input.0, input.1], "input"),
            Arg::fill("weight", &[channels.len(), channels[0].len()], "input"),
            Arg::fill("bias", &[channels.len()], "input"),
        ]
    }

    fn cotangent(&self) -> Arg {
        let (rows, cols) = self.geometry.output;
        Arg::fill("cotangent", &[self.images, self.channels().len(), rows, cols], "input")
    }

    /// `y[p, q] = bias + sum_i w_i * x[S * (p, q) + tap_i]`, and the gradients of its inner product with dy.
    fn expected(&self, [x, w, b]: [&[f64]; 3], dy: &[f64]) -> [Expected; 4] {
        let Geometry { input: (height, width), output: (rows, cols), stride } = self.geometry;
        let mut y = Expected::new("y", dy.len());
        let mut dx = Expected::new("x", x.len());
        let mut dw = Expected::new("weight", w.len());
        let mut db = Expected::new("bias", b.len());
        let channels = self.channels();
        for plane in 0..self.images * channels.len() {
            let channel = plane % channels.len();
            let offsets = channels[channel];
            for (p, q) in (0..rows).flat_map(|p| (0..cols).map(move |q| (p, q))) {
                let out = (plane * rows + p) * cols + q;
                y.add(out, b[channel]);
                db.add(channel, dy[out]);
                for (k, tap) in offsets.iter().enumerate() {
                    let (i, j) = ((p * stride.0) as i64 + i64::from(tap.dh), (q * stride.1) as i64 + i64::from(tap.dw));
                    if (0..height as i64).contains(&i) && (0..width as i64).contains(&j) {
                        let from = (plane * height + i as usize) * width + j as usize;
                        let weight = channel * offsets.len() + k;
                        y.add(out, w[weight] * x[from]);
                        dx.add(from, w[weight] * dy[out]);
                        dw.add(weight, x[from] * dy[out]);
                    }
                }
                if self.residual {
                    y.add(out, x[out]);
                    dx.add(out, dy[out]);
                }
            }
        }
        [y, dx, dw, db]
    }

    fn conv(&self, set: InstructionSet) -> Result<TapConv> {
        TapConv::with_plan(
            Arc::new(Plan::with_instructions(Arc::new(self.table()?), self.geometry, set)?),
            self.residual,
        )
    }

    /// Forward pass and all gradients in f32, on every instruction set.
    fn check(&self) -> Checked {
        let (args, cotangent) = (self.args(), self.cotangent());
        let expected = self.expected([0, 1, 2].map(|i| &args[i].values[..]), &cotangent.values);
        for set in InstructionSet::available() {
            let conv = self.conv(set)?;
            let outcome = differentiate(DType::F32, &args, &cotangent, |args| {
                conv.apply(&self.view.of(&args[0])?, &args[1], Some(&args[2]))
            })?;
            follows(&outcome, &expected, set)?;
        }
        Ok(())
    }

    /// The forward pass in half precision: the exact result for the rounded arguments, rounded once more.
    fn check_half(&self) -> Checked {
        // Half a unit of the last of 11 and 8 bits; the smallest numbers of f16 are 2^-24 apart.
        for (dtype, unit, least) in [(DType::F16, 2f64.powi(-11), 2f64.powi(-25)), (DType::BF16, 2f64.powi(-8), 0.0)] {
            let args = self.args().into_iter().map(|arg| arg.tensor(dtype)).collect::<candle_core::Result<Vec<_>>>()?;
            let rounded: Vec<Vec<f64>> = args.iter().map(values).collect();
            let expected = self.expected([0, 1, 2].map(|i| &rounded[i][..]), &self.cotangent().values);
            for set in InstructionSet::available() {
                let y = self.conv(set)?.apply(&self.view.of(&args[0])?, &args[1], Some(&args[2]))?;
                prop_assert_eq!((y.dims(), y.dtype()), (&self.cotangent().shape[..], dtype));
                for (index, (y, e)) in values(&y).into_iter().zip(&expected[0].values).enumerate() {
                    let sum = expected[0].allowed(index);
                    let allowed = sum + unit * (e.abs() + sum) + least;
                    prop_assert!((y - e).abs() <= allowed, "{dtype:?} on {set}: y[{index}] is {y:e}, not {e:e}");
                }
            }
        }
        Ok(())
    }
}

/// Compares f32 results with what is expected, value by value.
fn follows(outcome: &Outcome, expected: &[Expected], set: InstructionSet) -> Checked {
    prop_assert_eq!(outcome.len(), expected.len());
    for ((name, actual), expected) in outcome.iter().zip(expected) {
        prop_assert_eq!((*name, actual.len()), (expected.name, expected.values.len()));
        for (index, (&a, &e)) in actual.iter().zip(&expected.values).enumerate() {
            let allowed = expected.allowed(index);
            prop_assert!((a - e).abs() <= allowed, "{name}[{index}] on {set} is {a:e}, not {e:e} to {allowed:e}");
        }
    }
    Ok(())
}
