//! What learns, and what happens in training alone.

use super::{biases_before_norms, build, outline, small, snapshot, spec};
use crate::common::{bits, random, values};
use kernelscope::nn::{BuildOptions, Kind, Mode};
use kernelscope::zoo::registry;
use kernelscope_lab::train::AdamW;

#[test]
fn no_bias_stands_before_a_batch_norm() {
    for (stem, in_stem) in [("patch", 1), ("oriented-1d", 1), ("depthwise-1d", 3), ("depthwise-2d", 3)] {
        for (name, blocks) in [("nano-2d", 5), ("nano-1dpp", 5)] {
            let network = |norm: &str| outline(name, &[&format!("stem={stem}"), &format!("norm={norm}")]);
            // A batch norm would take it out again, and its gradient would be rounding errors alone.
            assert_eq!(biases_before_norms(&network("batch")), Vec::<&str>::new(), "{name} {stem}");
            assert_eq!(biases_before_norms(&network("layer")).len(), in_stem + blocks, "{name} {stem}");
        }
    }
}

#[test]
fn every_parameter_learns_and_angles_never_do() {
    let nanos = ["nano-2d", "nano-1d", "nano-1dpp"].map(|name| spec(name, &["norm=layer"]));
    let stems = ["stem=patch", "stem=oriented-1d"].map(|stem| spec("nano-1d", &[stem]));
    for spec in registry().iter().map(|e| small(e.name)).chain(nanos).chain(stems) {
        let network = build(spec.clone(), BuildOptions::default());
        let x = random("images", &[2, 3, 64, 64]);
        let logits = network.forward_t(&x, Mode::Train { seed: 1 }).unwrap();
        let cotangent = random("cotangent", logits.dims());
        let grads = (logits * cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        let mut angles = 0;
        for (name, p) in network.params().iter() {
            let gradient = grads.get(p.var.as_tensor());
            angles += usize::from(p.kind == Kind::Theta);
            let name = format!("{}: {name}", spec.name);
            if !p.kind.trainable() {
                assert!(gradient.is_none(), "{name} is not trained but has a gradient");
                continue;
            }
            let gradient = values(gradient.unwrap_or_else(|| panic!("{name} has no gradient")));
            assert_eq!(gradient.len(), p.var.elem_count(), "{name}");
            assert!(gradient.iter().all(|g| g.is_finite()), "{name} has a gradient that is not finite");
            let largest = gradient.iter().fold(0f64, |max, g| max.max(g.abs()));
            assert!(largest > 0.0, "{name}: no gradient but zeros");
        }
        assert_eq!(angles > 0, spec.name.contains("-1d") || spec.name.contains("pp"), "{}", spec.name);
        let before = snapshot(network.params());
        AdamW::new(network.params(), Default::default()).step(&grads, 0.01, 1.0).unwrap();
        let after = snapshot(network.params());
        for (name, p) in network.params().iter() {
            assert_eq!(before[name] != after[name], p.kind.trainable(), "{}: {name} after a step", spec.name);
        }
    }
}

#[test]
fn every_family_drops_paths_in_training_alone() {
    let x = random("images", &[4, 3, 64, 64]);
    let names = ["nano-1d", "nano-replk", "nano-slak", "nano-sw", "nano-mbv2", "resnet-50", "convmixer-768-32"];
    for name in names.into_iter().chain(["mobilenetv3-small"]) {
        let logits = |rate: &str, mode| {
            let spec = small(name).with_overrides(&[rate]).unwrap();
            bits(&build(spec, BuildOptions { seed: 2, ..BuildOptions::frozen() }).forward_t(&x, mode).unwrap())
        };
        let train = |seed| Mode::Train { seed };
        assert_ne!(logits("drop_path=0.5", train(1)), logits("drop_path=0.5", train(2)), "{name}");
        assert_eq!(logits("drop_path=0.5", train(1)), logits("drop_path=0.5", train(1)), "{name}");
        assert_ne!(logits("drop_path=0.5", train(1)), logits("drop_path=0", train(1)), "{name}");
        assert_eq!(logits("drop_path=0", train(1)), logits("drop_path=0", train(2)), "{name}");
        assert_eq!(logits("drop_path=0.5", Mode::Eval), logits("drop_path=0", Mode::Eval), "{name}");
    }
}
