use super::vector::MAX_LANES;
use super::{LanesEngine, STREAM_BYTES, Supported};
use crate::Result;
use crate::ops::fill::{Filled, Unfilled, try_results};
use crate::ops::taps::bundle::Bundle;
use crate::ops::taps::output::UnfilledPlanes;
use crate::ops::taps::{Geometry, Tap, TapTable};
use std::sync::Arc;

/// Runs `f` on memory for `len` values that starts at a cache line, or one value behind it.
fn placed(len: usize, aligned: bool, f: &dyn for<'a> Fn(Unfilled<'a, f32>) -> Result<Filled<'a>>) -> Result<Vec<f32>> {
    let mut skipped = 0;
    let values = try_results(len + 2 * MAX_LANES, |all| {
        skipped = all.addr().next_multiple_of(64).abs_diff(all.addr()) / size_of::<f32>() + usize::from(!aligned);
        let (before, others) = all.split_at(skipped);
        let (values, after) = others.split_at(len);
        Ok(before.fill(f32::NAN).1 + f(values)? + after.fill(f32::NAN).1)
    })?;
    Ok(values[skipped..][..len].to_vec())
}

/// Results are written past the caches where planes are aligned to vectors, which 57x55 ones are not.
#[test]
fn streamed_results_are_the_same() -> Result<()> {
    let offsets: Vec<Tap> = (-2..=2).map(|t| Tap { dh: -t, dw: 2 * t }).collect();
    for (height, width) in [(56, 56), (57, 55)] {
        let pixels = height * width;
        let channels = STREAM_BYTES / 4 / pixels + 3;
        let table = Arc::new(TapTable::shared(channels, &offsets)?);
        let geometry = Geometry { input: (height, width), output: (height, width), stride: (1, 1) };
        let bundle = vec![Bundle { taps: offsets.clone(), channels: (0..channels).collect() }];
        let value = |i: usize, period: usize| (i % period) as f32 / period as f32 - 0.5;
        let x: Vec<f32> = (0..channels * pixels).map(|i| value(i, 1009)).collect();
        let weights: Vec<f32> = (0..channels * offsets.len()).map(|i| value(i, 31)).collect();
        let bias: Vec<f32> = (0..channels).map(|i| value(i, 17)).collect();
        let none = vec![false; channels];
        for set in Supported::all() {
            let lanes = LanesEngine::new(set, table.clone(), geometry, bundle.clone());
            let run = |aligned: bool, backward: bool| {
                placed(x.len(), aligned, &|y| {
                    let [y, _] = UnfilledPlanes::divide(y, pixels, &none);
                    if backward {
                        lanes.gradients([&x, &x], (&weights, false), Some(y), None::<fn(usize, &[f32], f32)>)
                    } else {
                        lanes.forward(&x, (&weights, false), &bias, y)
                    }
                })
            };
            for (sign, bias) in [(1, &bias), (-1, &vec![0.0; channels])] {
                let (streamed, plain) = (run(true, sign < 0)?, run(false, sign < 0)?);
                assert!(streamed.iter().zip(&plain).all(|(a, b)| a.to_bits() == b.to_bits()), "{set}");
                for channel in (0..channels).step_by(101).chain([channels - 1]) {
                    for pixel in 0..pixels {
                        let mut sum = f64::from(bias[channel]);
                        for (k, tap) in offsets.iter().enumerate() {
                            let row = (pixel / width) as i64 + i64::from(sign * tap.dh);
                            let col = (pixel % width) as i64 + i64::from(sign * tap.dw);
                            if (0..height as i64).contains(&row) && (0..width as i64).contains(&col) {
                                let from = channel * pixels + row as usize * width + col as usize;
                                sum += f64::from(weights[channel * offsets.len() + k]) * f64::from(x[from]);
                            }
                        }
                        let y = f64::from(streamed[channel * pixels + pixel]);
                        assert!((y - sum).abs() < 1e-6, "{set}: channel {channel}, pixel {pixel}: {y} for {sum}");
                    }
                }
            }
        }
    }
    Ok(())
}
