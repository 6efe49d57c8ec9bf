//! Counts and shapes, which configuration fields decide.

use super::{check_trace, distinct, nano, outline, param, shape};
use crate::common::{bits, prints_as, random};
use kernelscope::zoo::{Network, registry};
use std::f64::consts::PI;

#[test]
fn published_counts_are_computed() {
    assert!(prints_as(28.58, 28.6) && prints_as(28.58, 28.5) && prints_as(88.6, 89.0) && !prints_as(28.49, 28.6));
    let mut compared = 0;
    for entry in registry().iter().filter(|e| e.published.remark.is_empty()) {
        let network = outline(entry.name, &[]);
        let params = network.params().count() as f64 / 1e6;
        let gmacs = network.trace(224, 224).unwrap().macs() as f64 / 1e9;
        for (what, computed, published) in
            [("M parameters", params, entry.published.params_m), ("GMACs", gmacs, entry.published.gmacs)]
        {
            let Some(published) = published else { continue };
            assert!(prints_as(computed, published), "{}: {computed} {what}, published {published}", entry.name);
            compared += 1;
        }
    }
    assert!(compared >= 14, "only {compared} published values were compared");
}

#[test]
fn counts_of_the_ablations() {
    let millions = |network: &Network| format!("{:.2}", network.params().count() as f64 / 1e6);
    let large = outline("convnext-t", &["kernel=31", "stem=depthwise-2d", "stem_kernel=31"]);
    assert_eq!(millions(&large), "34.76");
    let falling = outline("convnext-t", &["kernel=31,31,15,7"]);
    let gmacs = falling.trace(224, 224).unwrap().macs() as f64 / 1e9;
    assert_eq!((millions(&falling).as_str(), format!("{gmacs:.2}").as_str()), ("29.99", "5.81"));
    let limited = outline("convnext-t-2dpp", &["kernel2=31,31,27,15"]);
    assert!(prints_as(limited.params().count() as f64 / 1e6, 29.2), "{}", limited.params().count());
    assert!(prints_as(outline("convnext-t-2dpp", &[]).params().count() as f64 / 1e6, 29.4));
}

#[test]
fn directions_and_rotation_decide_the_angles() {
    let theta = |overrides: &[&str], layer: &str| param(&nano("nano-1d", overrides, 0), &format!("{layer}.theta"));
    for (setting, directions) in [("directions=8", 8), ("directions=4", 4), ("directions=channels", 32)] {
        let angles = theta(&[setting], "stages.0.0.dwconv");
        assert_eq!((angles.len(), distinct(&angles)), (32, directions), "{setting}");
        for (c, angle) in angles.iter().enumerate() {
            // Channels take turns in equal blocks: 32 is a multiple of every D here.
            let expected = PI * (c / (32 / directions)) as f64 / directions as f64;
            assert!((angle - expected).abs() < 1e-6, "{setting}: channel {c} at {angle}");
        }
    }
    assert_eq!(theta(&[], "stages.0.0.dwconv"), theta(&["directions=8"], "stages.0.0.dwconv"));
    let (even, odd) = (theta(&[], "stages.2.0.dwconv"), theta(&[], "stages.2.1.dwconv"));
    for (a, b) in even.iter().zip(&odd) {
        assert!((a + 0.5 * PI - b).abs() < 1e-6 || (a - 0.5 * PI - b).abs() < 1e-6, "{a} {b}");
        assert!((0.0..PI).contains(b));
    }
    let flat = ["layerwise_rotation=false"];
    assert_eq!(theta(&flat, "stages.2.1.dwconv"), even);
    assert_eq!(theta(&flat, "stages.2.0.dwconv"), even);
}

#[test]
fn kernels_and_stems_decide_the_shapes() {
    let network = outline("convnext-t-1d", &["kernel=31,31,27,15", "stem_channels=32", "stem_kernel=9"]);
    for (stage, taps) in [31, 31, 27, 15].into_iter().enumerate() {
        let dim = 96 << stage;
        assert_eq!(shape(&network, &format!("stages.{stage}.0.dwconv.weight")), [dim, 1, 1, taps]);
    }
    assert_eq!(shape(&network, "downsample_layers.0.pw1.weight"), [32, 3]);
    assert_eq!(shape(&network, "downsample_layers.0.dw2.weight"), [32, 1, 1, 9]);
    let stem = |stem: &str| outline("convnext-t-1d", &[&format!("stem={stem}")]);
    assert_eq!(shape(&stem("patch"), "downsample_layers.0.0.weight"), [96, 3, 4, 4]);
    assert_eq!(shape(&stem("depthwise-1d"), "downsample_layers.0.dw1.weight"), [64, 1, 1, 31]);
    assert_eq!(shape(&stem("depthwise-2d"), "downsample_layers.0.dw1.weight"), [64, 1, 31, 31]);
    let line = stem("oriented-1d");
    assert_eq!(shape(&line, "downsample_layers.0.0.weight").iter().product::<usize>(), 1440);
    assert_eq!(shape(&line, "downsample_layers.0.0.theta"), [96]);
    for name in ["patch", "depthwise-1d", "depthwise-2d", "oriented-1d"] {
        check_trace(&nano("nano-1d", &[&format!("stem={name}")], 0), 64, 96);
    }
}

#[test]
fn sizes_are_strict_unless_said_otherwise() {
    let error = nano("nano-1d", &[], 0).forward(&random("images", &[1, 3, 65, 97])).unwrap_err().to_string();
    assert!(error.contains("65x97"), "{error}");
    assert!(nano("nano-1d", &[], 0).trace(65, 97).is_err());
    let network = nano("nano-1d", &["arbitrary_size=true"], 0);
    let trace = check_trace(&network, 65, 97);
    let stem = trace.layers.iter().find(|l| l.path == "downsample_layers.0.dw2").unwrap().output;
    assert_eq!((stem.height, stem.width), (17, 25));
    // Where the strict mode accepts a size, both agree.
    let x = random("images", &[1, 3, 64, 96]);
    let strict = nano("nano-1d", &[], 0).forward(&x).unwrap();
    assert_eq!(bits(&network.forward(&x).unwrap()), bits(&strict));
}
