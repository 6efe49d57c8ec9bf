//! The layer that leaves out what is pruned, mistakes in tap lists, and the response norm.

use crate::common::{Arg, differentiate, max_abs_diff, random, values};
use candle_core::{DType, Device, Tensor};
use kernelscope::Result;
use kernelscope::nn::{BuildOptions, Builder, FeatureShape, TapListConv, Trace};
use kernelscope::ops::grn::grn;
use kernelscope::ops::taplist::{TapList, rectangle};
use kernelscope::ops::taps::Tap;
use kernelscope::weights::TensorMap;

#[test]
fn wrong_lists_and_weights_are_named() {
    let tap = Tap { dh: 0, dw: 1 };
    let error = |taps: &[Vec<Tap>]| TapList::new(taps).unwrap_err().to_string();
    assert!(error(&[]).contains("no taps") && error(&[vec![], vec![]]).contains("no taps"));
    assert!(error(&[vec![Tap { dh: -4097, dw: 0 }]]).contains("(-4097, 0)"));
    assert!(error(&[vec![Tap { dh: i32::MIN, dw: 0 }]]).contains("offset"));
    assert!(error(&[vec![tap; 127 * 127 + 1]]).contains("16129"));
    let op = TapList::new(&[vec![tap], vec![tap, tap]]).unwrap();
    let (x, w) = (random("x", &[1, 2, 3, 3]), random("w", &[2, 2]));
    assert!(op.forward(&x, &random("w", &[2, 1]), None).unwrap_err().to_string().contains("[2, 2]"));
    assert!(op.forward(&x.narrow(1, 0, 1).unwrap(), &w, None).unwrap_err().to_string().contains("input"));
    assert!(op.forward_sized(&x, &w, None, (0, 3)).unwrap_err().to_string().contains("output size"));
    assert!(op.forward(&x, &w, Some(&random("b", &[3]))).unwrap_err().to_string().contains("bias"));
}

/// A layer on a cross of taps with these weights; and its parameters.
fn layer(weight: &Tensor, taps: &[Tap]) -> (TapListConv, kernelscope::nn::Params) {
    let channels = weight.dims()[0];
    let bias = random("bias", &[channels]);
    let tensors = TensorMap::from_iter([("l.weight".to_string(), weight.clone()), ("l.bias".to_string(), bias)]);
    let builder = Builder::new(BuildOptions { weights: Some((tensors, "test".into())), ..BuildOptions::default() });
    let layer = TapListConv::pruned(&builder.root().child("l"), channels, taps, true).unwrap();
    (layer, builder.finish().unwrap())
}

#[test]
fn pruned_layers_compute_the_same_with_fewer_taps() {
    let taps = rectangle((7, 5), (3, 2));
    let (channels, count) = (20, taps.len());
    let x = random("x", &[2, channels, 9, 11]);
    let dense = random("weight", &[channels, count]);
    for share in [0.0, 0.1, 0.45, 0.8, 1.0] {
        let mask: Vec<f32> = crate::common::fill_u("mask", channels * count);
        let mask: Vec<f32> = mask.into_iter().map(|u| f32::from(u8::from(u < share))).collect();
        let kept = mask.iter().filter(|&&m| m == 1.0).count() as u64;
        let mask = Tensor::from_vec(mask, (channels, count), &Device::Cpu).unwrap();
        let weight = (&dense * &mask).unwrap();
        let (layer, params) = layer(&weight, &taps);
        assert_eq!(layer.taps(), kept, "{share}");
        let bias = params.get("l.bias").unwrap().var.as_tensor().clone();
        let expected = TapList::shared(channels, &taps).unwrap().forward(&x, &weight, Some(&bias)).unwrap();
        let y = layer.forward(&x).unwrap();
        assert!(max_abs_diff(&values(&y), &values(&expected)) < 1e-5, "{share}");
        // Weights that are left get their gradient; where others are left out, those get none.
        let grads = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        let gradient = grads.get(params.get("l.weight").unwrap().var.as_tensor()).unwrap();
        let of_kept = values(&(gradient * &mask).unwrap());
        assert!(share == 0.0 || of_kept.iter().any(|g| g.abs() > 1.0));
        if (0.01..0.5).contains(&share) {
            assert_eq!(values(gradient), of_kept, "{share}");
        }
        let mut trace = Trace::new(FeatureShape { channels, height: 9, width: 11 });
        layer.trace(&mut trace).unwrap();
        assert_eq!(trace.macs(), kept * 99, "{share}");
    }
}

#[test]
fn a_layer_with_lists_has_a_weight_per_tap() {
    let lists = [vec![Tap { dh: 0, dw: 0 }], vec![Tap { dh: 1, dw: -2 }, Tap { dh: 0, dw: 3 }]];
    let builder = Builder::new(BuildOptions::default());
    let layer = TapListConv::new(&builder.root().child("l"), &lists, true).unwrap();
    let params = builder.finish().unwrap();
    assert_eq!(params.get("l.weight").unwrap().var.dims(), [2, 2]);
    let x = random("x", &[1, 2, 4, 4]);
    let direct =
        TapList::new(&lists).unwrap().forward(&x, params.get("l.weight").unwrap().var.as_tensor(), None).unwrap();
    assert_eq!(values(&layer.forward(&x).unwrap()), values(&direct));
    assert_eq!(layer.taps(), 3);
}

/// The response norm in plain loops.
fn response_norm(x: &[f64], gamma: &[f64], beta: &[f64], (images, plane): (usize, usize)) -> Vec<f64> {
    let channels = gamma.len();
    let of = |n: usize, c: usize| &x[(n * channels + c) * plane..][..plane];
    let mut y = Vec::new();
    for n in 0..images {
        let norms: Vec<f64> = (0..channels).map(|c| of(n, c).iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
        let mean = norms.iter().sum::<f64>() / channels as f64;
        for c in 0..channels {
            y.extend(of(n, c).iter().map(|v| (gamma[c] * norms[c] / (mean + 1e-6) + 1.0) * v + beta[c]));
        }
    }
    y
}

#[test]
fn the_response_norm_follows_its_definition() -> Result<()> {
    let mut args = vec![
        Arg::fill("x", &[2, 3, 4, 5], "input"),
        Arg::fill("gamma", &[3], "input"),
        Arg::fill("beta", &[3], "input"),
    ];
    let cotangent = Arg::fill("cotangent", &[2, 3, 4, 5], "input");
    let loss = |args: &[Arg]| {
        let y = response_norm(&args[0].values, &args[1].values, &args[2].values, (2, 20));
        (y.iter().zip(&cotangent.values).map(|(y, c)| y * c).sum::<f64>(), y)
    };
    let run = |dtype, args: &[Arg]| differentiate(dtype, args, &cotangent, |t| grn(&t[0], &t[1], &t[2]));
    let (double, single) = (run(DType::F64, &args)?, run(DType::F32, &args)?);
    assert!(max_abs_diff(&double[0].1, &loss(&args).1) < 1e-12);
    for ((name, double), (_, single)) in double.iter().zip(&single) {
        assert!(max_abs_diff(double, single) < 1e-5, "{name}");
    }
    for (which, (name, gradient)) in double.iter().skip(1).enumerate() {
        for (i, derivative) in gradient.iter().enumerate() {
            let value = args[which].values[i];
            let mut at = |x: f64| {
                args[which].values[i] = x;
                loss(&args).0
            };
            let difference = (at(value + 1e-5) - at(value - 1e-5)) / 2e-5;
            at(value);
            assert!((derivative - difference).abs() < 1e-7, "{name}[{i}]: {derivative}, difference {difference}");
        }
        assert!(gradient.iter().any(|g| g.abs() > 1e-2), "{name}");
    }
    // A channel, and an image, without any response.
    for silent in [0..20, 0..60] {
        let mut args = args.clone();
        args[0].values[silent.clone()].fill(0.0);
        let outcome = run(DType::F32, &args)?;
        assert!(outcome.iter().all(|(_, values)| values.iter().all(|v| v.is_finite())), "{silent:?}");
    }
    assert!(grn(&random("x", &[1, 2, 3, 3]), &random("g", &[3]), &random("b", &[2])).is_err());
    Ok(())
}
