//! The layers whose behavior differs between training and evaluation.

use super::nano;
use crate::common::{bits, max_abs_diff, random, values};
use candle_core::{Device, Tensor};
use kernelscope::nn::{BatchNorm, BuildOptions, Builder, DropPath, Mode};

/// Mean and biased variance of each channel of (N, C, H, W).
fn moments(x: &[f64], n: usize, channels: usize, plane: usize) -> Vec<(f64, f64)> {
    let of = |c: usize| (0..n).flat_map(move |i| x[(i * channels + c) * plane..][..plane].iter().copied());
    let count = (n * plane) as f64;
    (0..channels)
        .map(|c| {
            let mean = of(c).sum::<f64>() / count;
            (mean, of(c).map(|v| (v - mean).powi(2)).sum::<f64>() / count)
        })
        .collect()
}

#[test]
fn batch_norm_keeps_running_statistics() {
    let (n, channels, plane) = (3, 2, 20);
    let builder = Builder::new(BuildOptions::default());
    let layer = BatchNorm::new(&builder.root().child("bn"), channels).unwrap();
    let params = builder.finish().unwrap();
    let read = |name: &str| values(params.get(&format!("bn.{name}")).unwrap().var.as_tensor());
    params.get("bn.weight").unwrap().var.set(&Tensor::new(&[2f32, -1.0], &Device::Cpu).unwrap()).unwrap();
    params.get("bn.bias").unwrap().var.set(&Tensor::new(&[0.5f32, 3.0], &Device::Cpu).unwrap()).unwrap();
    let normalized = |x: &[f64], stats: &[(f64, f64)]| -> Vec<f64> {
        let (weight, bias) = ([2.0, -1.0], [0.5, 3.0]);
        let channel = |i: usize| i / plane % channels;
        x.iter()
            .enumerate()
            .map(|(i, v)| {
                let (c, (mean, var)) = (channel(i), stats[channel(i)]);
                weight[c] * (v - mean) / (var + 1e-5).sqrt() + bias[c]
            })
            .collect()
    };
    let (mut mean, mut var) = ([0.0; 2], [1.0; 2]);
    for step in 0..3 {
        let x = (random(&format!("batch {step}"), &[n, channels, 4, 5]) * 3.0).unwrap();
        let x = (x + f64::from(step)).unwrap();
        let stats = moments(&values(&x), n, channels, plane);
        let y = layer.forward(&x, Mode::Train { seed: 0 }).unwrap();
        assert!(max_abs_diff(&values(&y), &normalized(&values(&x), &stats)) < 1e-4, "step {step}");
        let count = (n * plane) as f64;
        for c in 0..channels {
            mean[c] = 0.9 * mean[c] + 0.1 * stats[c].0;
            var[c] = 0.9 * var[c] + 0.1 * stats[c].1 * count / (count - 1.0);
        }
        assert!(max_abs_diff(&read("running_mean"), &mean) < 1e-5, "step {step}");
        assert!(max_abs_diff(&read("running_var"), &var) < 1e-5, "step {step}");
        assert_eq!(read("num_batches_tracked"), [f64::from(step) + 1.0]);
    }
    let x = random("evaluation", &[n, channels, 4, 5]);
    let y = layer.forward(&x, Mode::Eval).unwrap();
    let stats = [(mean[0], var[0]), (mean[1], var[1])];
    assert!(max_abs_diff(&values(&y), &normalized(&values(&x), &stats)) < 1e-4);
    assert!(max_abs_diff(&read("running_mean"), &mean) < 1e-5, "evaluation changes nothing");
    let single = random("one", &[1, channels, 1, 1]);
    assert!(layer.forward(&single, Mode::Train { seed: 0 }).is_err(), "one value has no variance");
}

#[test]
fn paths_drop_at_their_rate() {
    let path = DropPath::new("stages.0.1", 0.2).unwrap();
    let factors = path.factors(20_000, Mode::Train { seed: 7 });
    assert!(factors.iter().all(|&f| f == 0.0 || f == 1.0 / 0.8), "{:?}", &factors[..5]);
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    assert!((mean - 1.0).abs() < 0.02, "mean factor {mean}");
    assert_eq!(factors, path.factors(20_000, Mode::Train { seed: 7 }));
    assert_ne!(factors, path.factors(20_000, Mode::Train { seed: 8 }), "every step has its own mask");
    let other = DropPath::new("stages.0.2", 0.2).unwrap();
    assert_ne!(factors, other.factors(20_000, Mode::Train { seed: 7 }), "every block has its own mask");
    assert_eq!(path.factors(3, Mode::Eval), [1.0; 3]);
    let rates = DropPath::linear_rates(0.4, 5);
    assert_eq!(rates[0], 0.0);
    assert!(max_abs_diff(&rates, &[0.0, 0.1, 0.2, 0.3, 0.4]) < 1e-12, "{rates:?}");
    assert_eq!(DropPath::new("first", rates[0]).unwrap().factors(100, Mode::Train { seed: 1 }), [1.0; 100]);
    assert!(DropPath::new("x", 1.0).is_err() && DropPath::new("x", -0.1).is_err());
    // In a network: training passes depend on their seed, evaluation and a rate of zero do not.
    let x = random("images", &[4, 3, 32, 32]);
    let logits = |rate: &str, seed| bits(&nano("nano-2d", &[rate], 0).forward_t(&x, Mode::Train { seed }).unwrap());
    assert_ne!(logits("drop_path=0.5", 1), logits("drop_path=0.5", 2));
    assert_eq!(logits("drop_path=0.5", 1), logits("drop_path=0.5", 1));
    assert_eq!(logits("drop_path=0", 1), logits("drop_path=0", 2));
}
