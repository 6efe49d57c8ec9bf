//! Receptive fields against finite differences.

use super::{frozen, network};
use crate::common::{fill_signed, max_abs_diff, random, values};
use candle_core::{DType, Device, Tensor, Var};
use kernelscope::analysis::erf::{Erf, Probe, THRESHOLDS, area_ratios, log_scaled};
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::zoo::Network;
use kernelscope::{Error, weights};
use kernelscope_lab::save;

/// `sum(relu(c))` at one position of one stage, in double precision.
fn probed(network: &Network, image: &[f64], side: usize, stage: usize, (p, q): (usize, usize)) -> f64 {
    let x = Tensor::from_slice(image, (1, 3, side, side), &Device::Cpu).unwrap();
    let features = network.forward_features(&x, &mut Pass::new(Mode::Eval)).unwrap();
    let column = features.stages[stage].narrow(2, p, 1).unwrap().narrow(3, q, 1).unwrap();
    values(&column).iter().map(|v| v.max(0.0)).sum()
}

#[test]
fn receptive_fields_are_gradients() {
    let side = 32;
    for (name, stage, position) in [("nano-1d", 1, Some((1, 2))), ("nano-2d", 2, None)] {
        let single = frozen(name, &[]);
        let double = network(name, &[], BuildOptions { dtype: DType::F64, ..BuildOptions::frozen() });
        let image = random("image", &[1, 3, side, side]);
        let contribution = Erf::new(&single, Probe { stage: Some(stage), position }).add(&image).unwrap();
        let strongest = f64::from(contribution.iter().copied().fold(0.0, f32::max));
        assert!(strongest > 0.0 && contribution.iter().all(|&c| c >= 0.0), "{name}");
        let x = values(&image);
        // The center of the map of stage 2, which has 2x2 positions, is (1, 1).
        let position = position.unwrap_or((1, 1));
        let step = 1e-5;
        for pixel in [0, 5 * side + 7, 9 * side + 20, 16 * side + 16, 17 * side + 18, 31 * side + 31] {
            let expected: f64 = (0..3)
                .map(|channel| {
                    let moved = |by: f64| {
                        let mut x = x.clone();
                        x[channel * side * side + pixel] += by;
                        probed(&double, &x, side, stage, position)
                    };
                    ((moved(step) - moved(-step)) / (2.0 * step)).max(0.0)
                })
                .sum();
            let off = (f64::from(contribution[pixel]) - expected).abs();
            assert!(off < 1e-3 * strongest, "{name}, pixel {pixel}: {} {expected}", contribution[pixel]);
        }
    }
}

#[test]
fn receptive_fields_of_all_pixels() {
    // The definition through the library's own gradients, and the mean over images.
    let network = frozen("nano-1d", &[]);
    let (a, b) = (random("a", &[1, 3, 64, 96]), random("b", &[1, 3, 64, 96]));
    let direct = |image: &Tensor| {
        let var = Var::from_tensor(image).unwrap();
        let features = network.forward_features(var.as_tensor(), &mut Pass::new(Mode::Eval)).unwrap();
        let last = features.last().unwrap();
        assert_eq!(last.dims()[2..], [2, 3]);
        let column = last.narrow(2, 1, 1).unwrap().narrow(3, 1, 1).unwrap();
        let gradient = column.relu().unwrap().sum_all().unwrap().backward().unwrap();
        let g = values(gradient.get(var.as_tensor()).unwrap());
        (0..64 * 96).map(|i| (0..3).map(|c| g[c * 64 * 96 + i].max(0.0)).sum()).collect::<Vec<f64>>()
    };
    let mut erf = Erf::new(&network, Probe::default());
    erf.add(&a).unwrap();
    erf.add(&b).unwrap();
    let map = erf.map().unwrap();
    assert_eq!((map.stage, map.position, map.height, map.width, map.images), (3, (1, 1), 64, 96, 2));
    assert_eq!(map.model, "nano-1d");
    let expected: Vec<f64> = direct(&a).iter().zip(direct(&b)).map(|(a, b)| 0.5 * (a + b)).collect();
    let found: Vec<f64> = map.contribution.iter().map(|&c| f64::from(c)).collect();
    let strongest = expected.iter().copied().fold(0.0, f64::max);
    assert!(max_abs_diff(&found, &expected) < 1e-5 * strongest);
    let scaled = log_scaled(&map);
    assert_eq!(scaled.iter().copied().fold(0.0, f64::max), 1.0);
    let sides: Vec<usize> = area_ratios(&map, &THRESHOLDS).iter().map(|r| r.side.unwrap_or(usize::MAX)).collect();
    assert!(sides.is_sorted(), "{sides:?}");
    let folder = tempfile::tempdir().unwrap();
    let stem = folder.path().join("erf");
    save::erf(&stem, &map, &area_ratios(&map, &THRESHOLDS)).unwrap();
    let saved = weights::load(&stem.with_extension("safetensors")).unwrap();
    assert_eq!(saved.tensors["contribution"].dims(), [64, 96]);
    assert_eq!(values(&saved.tensors["contribution"]), found);
    assert_eq!((saved.metadata["stage"].as_str(), saved.metadata["images"].as_str()), ("3", "2"));
}

#[test]
fn receptive_field_errors() {
    let network = frozen("nano-1d", &[]);
    let refused = |probe: Probe, image: &Tensor| Erf::new(&network, probe).add(image).unwrap_err().to_string();
    let image = random("image", &[1, 3, 32, 32]);
    let error = refused(Probe { stage: Some(4), position: None }, &image);
    assert!(error.contains("stage") && error.contains("0 to 3"), "{error}");
    let error = refused(Probe { stage: Some(1), position: Some((0, 4)) }, &image);
    assert!(error.contains("(0, 4)") && error.contains("4x4"), "{error}");
    assert!(refused(Probe::default(), &random("two", &[2, 3, 32, 32])).contains("(1, 3, H, W)"));
    let mut erf = Erf::new(&network, Probe::default());
    assert!(erf.map().unwrap_err().to_string().contains("at least one image"));
    erf.add(&image).unwrap();
    let before = erf.map().unwrap();
    let error = erf.add(&random("larger", &[1, 3, 64, 64])).unwrap_err().to_string();
    assert!(error.contains("64x64") && error.contains("32x32"), "{error}");
    for bad in [f32::NAN, f32::INFINITY] {
        let mut pixels = fill_signed("image", 3 * 32 * 32);
        pixels[16 * 32 + 16] = bad;
        let broken = Tensor::from_vec(pixels, (1, 3, 32, 32), &Device::Cpu).unwrap();
        let outcome = erf.add(&broken);
        assert!(matches!(outcome, Err(Error::NonFinite { .. })), "an image with a {bad} pixel is accepted");
    }
    assert_eq!(erf.map().unwrap(), before, "refused images leave no trace");
}
