//! Every engine on small planes against the definition of a tap table, without candle: little enough for an interpreter
//! that checks every access to memory.

use super::cpu::{CpuPlan, Gradients};
use super::{Geometry, InstructionSet, Tap, TapTable};
use crate::Result;
use crate::ops::storage::Element;
use half::{bf16, f16};
use std::sync::Arc;

struct Case {
    images: usize,
    /// The taps of every channel, as many for each.
    channels: Vec<Vec<Tap>>,
    geometry: Geometry,
    residual: bool,
}

/// Numbers between -1/2 and 1/2.
fn values<T: Element>(len: usize, seed: usize) -> Vec<T> {
    (0..len).map(|i| T::from_f64(((i + seed) * 7919 % 1009) as f64 / 1009.0 - 0.5)).collect()
}

fn in_f64<T: Element>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&value| candle_core::WithDType::to_f64(value)).collect()
}

impl Case {
    fn same(images: usize, channels: Vec<Vec<Tap>>, size: (usize, usize)) -> Self {
        Case { images, channels, geometry: Geometry { input: size, output: size, stride: (1, 1) }, residual: false }
    }

    fn weights(&self) -> usize {
        self.channels[0].len()
    }

    /// The output, and the gradients of input, weights and bias.
    fn expected(&self, [x, w, b, dy]: [&[f64]; 4]) -> [Vec<f64>; 4] {
        let Geometry { input: (height, width), output: (rows, cols), stride } = self.geometry;
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; b.len()]);
        for (out, (y, &dy)) in y.iter_mut().zip(dy).enumerate() {
            let (plane, p, q) = (out / (rows * cols), out / cols % rows, out % cols);
            let channel = plane % self.channels.len();
            *y = b[channel];
            db[channel] += dy;
            for (k, tap) in self.channels[channel].iter().enumerate() {
                let row = (p * stride.0).checked_add_signed(tap.dh as isize).filter(|&row| row < height);
                let col = (q * stride.1).checked_add_signed(tap.dw as isize).filter(|&col| col < width);
                let (Some(row), Some(col)) = (row, col) else { continue };
                let (from, weight) = ((plane * height + row) * width + col, channel * self.weights() + k);
                *y += w[weight] * x[from];
                dx[from] += w[weight] * dy;
                dw[weight] += x[from] * dy;
            }
            if self.residual {
                *y += x[out];
                dx[out] += dy;
            }
        }
        [y, dx, dw, db]
    }

    fn check<T: Element>(&self, set: InstructionSet, tolerance: f64) -> Result<()> {
        let Geometry { input, output, .. } = self.geometry;
        let planes = self.images * self.channels.len();
        let x: Vec<T> = values(planes * input.0 * input.1, 1);
        let dy: Vec<T> = values(planes * output.0 * output.1, 2);
        let (w, b): (Vec<T>, Vec<T>) =
            (values(self.channels.len() * self.weights(), 3), values(self.channels.len(), 4));
        let expected = self.expected([&in_f64(&x), &in_f64(&w), &in_f64(&b), &in_f64(&dy)]);
        let plan = CpuPlan::with_instructions(Arc::new(TapTable::from_offsets(&self.channels)?), self.geometry, set)?;
        let y = plan.forward(&x, &w, &b, self.residual)?;
        let Gradients { input, weight, bias } = plan.gradients([&x, &w, &dy], self.residual, [true; 3])?;
        let computed = [Some(y), input, weight, bias].map(|values| in_f64(&values.unwrap_or_default()));
        for ((name, expected), computed) in ["y", "dx", "dw", "db"].iter().zip(&expected).zip(&computed) {
            assert_eq!(computed.len(), expected.len(), "{name}");
            for (i, (computed, expected)) in computed.iter().zip(expected).enumerate() {
                let what = format!("{name}[{i}] on {set} for {:?}", self.geometry);
                assert!((computed - expected).abs() < tolerance, "{what} is {computed}, not {expected}");
            }
        }
        Ok(())
    }

    fn check_all(&self) -> Result<()> {
        InstructionSet::available().into_iter().try_for_each(|set| self.check::<f32>(set, 1e-5))?;
        self.check::<f64>(InstructionSet::best(), 1e-12)
    }
}

fn rectangle(rows: i32, cols: i32) -> Vec<Tap> {
    (0..rows * cols).map(|i| Tap { dh: i / cols - rows / 2, dw: i % cols - cols / 2 }).collect()
}

fn line(dh: i32, dw: i32) -> Vec<Tap> {
    (-4..=4).map(|t| Tap { dh: dh * t / 2, dw: dw * t / 2 }).collect()
}

/// Nine taps in places that hardly any other channel has.
fn scattered(channel: i32) -> Vec<Tap> {
    let place = |i: i32| (channel * 7919 + i * 104_729) % (19 * 13);
    (0..9).map(|i| Tap { dh: place(i) / 13 - 9, dw: place(i) % 13 - 6 }).collect()
}

#[test]
fn channels_that_share_taps() -> Result<()> {
    Case::same(2, vec![rectangle(3, 3); 9], (5, 7)).check_all()?;
    let lines = (0..12).map(|channel| line(channel % 3 - 1, 2)).collect();
    Case { residual: true, ..Case::same(1, lines, (6, 17)) }.check_all()
}

#[test]
fn strides_and_sizes_of_any_kind() -> Result<()> {
    for (output, stride) in [((3, 4), (2, 2)), ((2, 7), (3, 1)), ((5, 3), (1, 3)), ((9, 10), (1, 1)), ((2, 2), (1, 1))]
    {
        let geometry = Geometry { input: (5, 7), output, stride };
        Case { geometry, ..Case::same(1, vec![rectangle(3, 5); 3], (5, 7)) }.check_all()?;
    }
    Ok(())
}

#[test]
fn channels_with_taps_of_their_own() -> Result<()> {
    for (images, size) in [(1, (20, 6)), (3, (9, 11)), (9, (5, 3))] {
        Case::same(images, (0..4).map(scattered).collect(), size).check_all()?;
    }
    // Some share blocks and some do not, with taps that read nothing.
    let far = vec![Tap { dh: 100, dw: 0 }; 9];
    let channels = (0..10).map(|c| if c < 6 { line(2, 1) } else { scattered(c) }).chain([far]).collect();
    Case::same(1, channels, (12, 9)).check_all()
}

/// Half precision is rounded once.
#[test]
fn half_precision() -> Result<()> {
    let case = Case::same(1, (0..9).map(|c| if c < 8 { rectangle(3, 3) } else { scattered(c) }).collect(), (4, 9));
    let plan = CpuPlan::new(Arc::new(TapTable::from_offsets(&case.channels)?), case.geometry)?;
    let (x, w, b): (Vec<f32>, Vec<f32>, Vec<f32>) = (values(9 * 36, 1), values(81, 2), values(9, 3));
    let x = x.into_iter().map(f16::from_f32).collect::<Vec<_>>();
    let exact = in_f64(&plan.forward(&x.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), &w, &b, false)?);
    let y = plan.forward_half(&x, &w, &b, false)?;
    assert!(y.iter().zip(&exact).all(|(y, exact)| (y.to_f64() - exact).abs() < 1e-3));
    let x = x.into_iter().map(|x| bf16::from_f32(x.to_f32())).collect::<Vec<_>>();
    let exact = in_f64(&plan.forward(&x.iter().map(|x| x.to_f32()).collect::<Vec<_>>(), &w, &b, false)?);
    let y = plan.forward_half(&x, &w, &b, false)?;
    assert!(y.iter().zip(&exact).all(|(y, exact)| (y.to_f64() - exact).abs() < 8e-3));
    Ok(())
}

/// Lengths that do not fit, and sizes beyond all reason, are errors.
#[test]
fn wrong_sizes_are_refused() -> Result<()> {
    let table = Arc::new(TapTable::shared(3, &rectangle(3, 3))?);
    let geometry = Geometry { input: (4, 5), output: (4, 5), stride: (1, 1) };
    let plan = CpuPlan::new(table.clone(), geometry)?;
    let (x, w, b) = (vec![0f32; 120], vec![0f32; 27], vec![0f32; 3]);
    let refused = |name: &str, result: Result<Vec<f32>>| {
        assert!(result.is_err_and(|error| error.to_string().starts_with(name)), "{name}");
    };
    refused("input", plan.forward(&x[1..], &w, &b, false));
    refused("input", plan.forward(&[], &w, &b, false));
    refused("weight", plan.forward(&x, &w[1..], &b, false));
    refused("bias", plan.forward(&x, &w, &b[1..], false));
    let gradients = |x: &[f32], w: &[f32], dy: &[f32]| {
        plan.gradients([x, w, dy], false, [true; 3]).map(|gradients| gradients.input.unwrap_or_default())
    };
    refused("input", gradients(&x[1..], &w, &x));
    refused("weight", gradients(&x, &w[1..], &x));
    refused("gradient", gradients(&x, &w, &x[1..]));
    refused("gradient", gradients(&x, &w, &x[60..]));
    let changed: [fn(&mut Geometry); 6] = [
        |g| g.input.0 = 0,
        |g| g.output.1 = 0,
        |g| g.stride.0 = 0,
        |g| g.stride.1 = (1 << 32) + 1,
        |g| g.input.1 = 1 << 31,
        |g| g.output.0 = usize::MAX,
    ];
    for change in changed {
        let mut wrong = geometry;
        change(&mut wrong);
        assert!(CpuPlan::new(table.clone(), wrong).is_err(), "{wrong:?}");
    }
    Ok(())
}
