//! SLaK: counts, results and checkpoints of every form, and that the small one learns.

use crate::common::{bits, filled, losses_of_training, max_abs_diff, outline, prints_as, random, spec, values};
use candle_core::{DType, Device, Tensor};
use kernelscope::nn::{BuildOptions, Kind, Mode, Pass};
use kernelscope::weights::{Checkpoint, TensorMap};
use kernelscope::zoo::{Merge, ModelSpec, Network, entry, registry, slak};
use std::collections::BTreeMap;

const MERGED: &str = "merged=true";
const CROSS: &str = "merge_form=cross";

/// A size at which every form runs in a moment.
const SMALL: [&str; 4] = ["depths=1,1,2,1", "dims=16,24,32,40", "classes=10", "layer_scale=0.5"];

fn config(network: &Network) -> slak::SlakConfig {
    let config: &slak::SlakConfig = network.spec().config.downcast_ref().unwrap();
    config.clone()
}

/// The network merged into the form that `merge_form` names.
fn merged_as(network: &Network, form: &str) -> Network {
    let mut spec = network.spec().clone();
    spec.config.set("merge_form", form).unwrap();
    let (config, tensors) = spec.config.merge(&network.params().tensors(), Merge::Kernels).unwrap();
    let dtype = network.params().iter().next().unwrap().1.var.dtype();
    let weights = Some((tensors, "merged".into()));
    Network::build(ModelSpec { config, ..spec }, BuildOptions { dtype, weights, ..BuildOptions::frozen() }).unwrap()
}

fn slaks() -> Vec<&'static str> {
    let is_slak = |name: &&str| spec(name, &[]).config.family() == "slak";
    let names: Vec<_> = registry().iter().map(|e| e.name).filter(is_slak).collect();
    assert_eq!(names, ["slak-t", "slak-s", "slak-b", "convnext-t-31", "nano-slak"]);
    names
}

fn load(name: &str, tensors: TensorMap) -> kernelscope::Result<Network> {
    let checkpoint = Checkpoint { tensors, source: "memory.pth".into(), ..Checkpoint::default() };
    Network::from_checkpoint::<&str>(Some(name), checkpoint, &[], BuildOptions::frozen())
}

#[test]
fn counts_of_every_slak_in_every_form() {
    let form = |name: &str, overrides: &[&str]| {
        let network = outline(name, overrides);
        (network.params().count(), network.trace(224, 224).unwrap().macs())
    };
    let millions = |macs: u64| (macs as f64 / 1e6).round() as u64;
    // Dense parameters and millions of multiply-adds at 224 pixels.
    for (name, params, macs) in
        [("slak-t", 50_703_838, 8_705), ("slak-s", 91_131_820, 16_604), ("slak-b", 157_950_792, 28_509)]
    {
        let dense = form(name, &[]);
        assert_eq!((dense.0, millions(dense.1)), (params, macs), "{name}");
        let published = entry(name).unwrap().published;
        let sparse = [(dense.0 as f64 / 1e6, published.params_m), (dense.1 as f64 / 1e9, published.gmacs)];
        for (dense, published) in sparse {
            let share = published.unwrap() / dense;
            assert!((0.57..0.61).contains(&share), "{name}: {share} of {dense}");
        }
    }
    let (rectangles, cross) = (form("slak-t", &[MERGED]), form("slak-t", &[MERGED, CROSS]));
    assert_eq!((rectangles.0, cross.0), (50_445_718, 60_577_702));
    assert!(rectangles.1 < form("slak-t", &[]).1 && cross.1 > form("slak-t", &[]).1);
    let (train, merged) = (form("convnext-t-31", &[]), form("convnext-t-31", &[MERGED]));
    assert_eq!((train.0, merged.0), (32_120_008, 31_934_536));
    assert_eq!((millions(train.1), millions(merged.1)), (6_165, 6_111));
    let published = entry("convnext-t-31").unwrap().published;
    assert!(prints_as(merged.0 as f64 / 1e6, published.params_m.unwrap()));
    assert!(prints_as(merged.1 as f64 / 1e9, published.gmacs.unwrap()));
    // As the official code is called for a plain ConvNeXt-T.
    let plain = form("convnext-t-31", &["kernel=7", "small_kernel=100"]);
    assert_eq!((plain.0, millions(plain.1)), (28_595_752, 4_456));
    assert_eq!(plain, form("convnext-t-31", &["kernel=7", "small_kernel=none"]));
    assert!(form("nano-slak", &[]).0 < 500_000);
}

#[test]
fn a_small_convolution_stands_where_its_kernel_is_smaller() {
    let stages = |name: &str, overrides: &[&str]| {
        let network = outline(name, overrides);
        let has = |stage: usize| network.params().get(&format!("stages.{stage}.0.large_kernel.small_conv.conv.weight"));
        [0, 1, 2, 3].map(|stage| has(stage).map(|p| p.var.dims()[2]))
    };
    let five = Some(5);
    assert_eq!(stages("slak-t", &["depths=1"]), [five; 4]);
    assert_eq!(stages("slak-t", &["depths=1", "kernel=9,7,7,5"]), [five, five, five, None]);
    assert_eq!(stages("convnext-t-31", &["kernel=9,7,5,3"]), [five, five, None, None]);
    assert_eq!(stages("convnext-t-31", &["kernel=7", "small_kernel=100"]), [None; 4]);
}

#[test]
fn all_forms_of_a_slak_compute_the_same() {
    let x = random("images", &[2, 3, 64, 64]);
    let variants: Vec<(&str, &[&str])> = slaks().into_iter().map(|name| (name, &[][..])).collect();
    // Squares beside rectangles in some stages alone, and no small kernel at all.
    let more: [(&str, &[&str]); 3] = [
        ("slak-t", &["kernel=9,7,5,3", "small_kernel=3"]),
        ("convnext-t-31", &["kernel=9,7,5,3"]),
        ("convnext-t-31", &["kernel=7", "small_kernel=100"]),
    ];
    for (name, overrides) in variants.into_iter().chain(more) {
        let spec = spec(name, &[&SMALL[..], overrides].concat());
        // In double precision, in which only rounding to 16 digits is left, and in single precision.
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            let network = filled(spec.clone(), dtype);
            let x = x.to_dtype(dtype).unwrap();
            let run = |network: &Network| {
                let (features, logits) = network.forward_pass(&x, &mut Pass::new(Mode::Eval)).unwrap();
                features.stages.iter().chain([&logits]).map(values).collect::<Vec<_>>()
            };
            let expected = run(&network);
            assert!(expected[4].iter().any(|v| v.abs() > 0.1), "{name}: nothing to compare");
            for form in ["rectangles", "cross"] {
                let merged = merged_as(&network, form);
                for (stage, (ours, reference)) in run(&merged).iter().zip(&expected).enumerate() {
                    let largest = reference.iter().fold(0f64, |max, v| max.max(v.abs()));
                    let off = max_abs_diff(ours, reference);
                    assert!(off < tolerance * largest, "{name} {overrides:?}, {form}, {dtype:?}, {stage}: {off:e}");
                }
                assert!(merged.spec().config.is_merged());
                assert_eq!(merged.params().iter().next().unwrap().1.var.dtype(), dtype);
                let norms = merged.params().iter().filter(|(name, _)| name.contains(".bn.")).count();
                assert_eq!(norms, 0, "{name}, {form}");
            }
            let config = network.merged(Merge::Kernels).unwrap().spec().config.clone();
            assert_eq!(config, network.spec().config.for_inference());
        }
    }
}

#[test]
fn a_merged_undivided_slak_is_a_convnext() {
    // The same network by other names, whose values are compared with the reference for themselves.
    let network = filled(spec("convnext-t-31", &[&SMALL[..], &["kernel=9", "small_kernel=3"]].concat()), DType::F32);
    let merged = network.merged(Merge::Kernels).unwrap();
    let renamed = |(name, value): (String, Tensor)| (name.replace("large_kernel.lkb_reparam", "dwconv"), value);
    let tensors: TensorMap = merged.params().tensors().into_iter().map(renamed).collect();
    let spec = spec("convnext-t", &[&SMALL[..], &["kernel=9"]].concat());
    let options = BuildOptions { weights: Some((tensors, "renamed".into())), ..BuildOptions::frozen() };
    let convnext = Network::build(spec, options).unwrap();
    let x = random("images", &[2, 3, 64, 96]);
    let (ours, theirs) = (values(&merged.forward(&x).unwrap()), values(&convnext.forward(&x).unwrap()));
    assert!(max_abs_diff(&ours, &theirs) < 1e-6, "off by {:e}", max_abs_diff(&ours, &theirs));
}

#[test]
fn a_cross_loads_into_an_undivided_slak() {
    let network = filled(spec("nano-slak", &[]), DType::F32);
    let cross = merged_as(&network, "cross");
    let weight = &cross.params().get("stages.0.0.large_kernel.lkb_reparam.weight").unwrap().var;
    let kernel = values(&weight.get(3).unwrap());
    for (index, value) in kernel.into_iter().enumerate() {
        let (row, col) = (index / 15, index % 15);
        let inside = (6..9).contains(&row) || (6..9).contains(&col);
        assert_eq!(value != 0.0, inside, "row {row}, column {col}");
    }
    let config = slak::SlakConfig { decompose: false, merged: true, small_kernel: None, ..slak::SlakConfig::nano() };
    let spec = ModelSpec { name: "nano-slak".into(), config: config.into() };
    let weights = Some((cross.params().tensors(), "cross".into()));
    let whole = Network::build(spec, BuildOptions { weights, ..BuildOptions::frozen() }).unwrap();
    let x = random("images", &[1, 3, 48, 48]);
    assert_eq!(bits(&whole.forward(&x).unwrap()), bits(&cross.forward(&x).unwrap()));
}

#[test]
fn merging_a_slak_takes_the_statistics_of_evaluation() {
    let network = Network::build(spec("nano-slak", &[]), BuildOptions::default()).unwrap();
    let x = random("images", &[4, 3, 32, 32]);
    let merged = |network: &Network| values(&network.merged(Merge::Kernels).unwrap().forward(&x).unwrap());
    let before = merged(&network);
    network.forward_t(&x, Mode::Train { seed: 0 }).unwrap();
    let (eval, after) = (values(&network.forward(&x).unwrap()), merged(&network));
    assert!(max_abs_diff(&after, &eval) < 1e-5, "off by {:e}", max_abs_diff(&after, &eval));
    assert!(max_abs_diff(&after, &before) > 1e-4, "the batch left no trace in the statistics");
}

#[test]
fn only_what_can_be_merged_is_merged_in_a_slak() {
    let network = filled(spec("nano-slak", &[]), DType::F32);
    let fails = |network: &Network, how| network.merged(how).err().unwrap().to_string();
    for form in ["rectangles", "cross"] {
        let error = fails(&merged_as(&network, form), Merge::Kernels);
        assert!(error.contains("already merged") && error.contains("training form"), "{error}");
    }
    let error = fails(&network, Merge::Norms);
    assert!(error.contains("layer norms") && error.contains("only the kernels can be merged"), "{error}");
    let mut tensors = network.params().tensors();
    for name in ["stages.2.1.large_kernel.LoRA2.bn.running_var", "stages.0.0.large_kernel.small_conv.conv.weight"] {
        tensors.shift_remove(name).unwrap();
        let error = slak::merge(&config(&network), &tensors).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn checkpoints_of_every_slak_form_are_recognized() {
    let x = random("images", &[1, 3, 48, 48]);
    for (name, overrides, form) in [
        ("nano-slak", &["kernel=9,11,13,5", "small_kernel=3", "classes=5"][..], None),
        ("nano-slak", &["kernel=9,7,7,5", "small_kernel=5", "width=1.3"], None),
        ("nano-slak", &["decompose=false", "kernel=9,7,5,3", "small_kernel=5", "width=0.5"], None),
        ("nano-slak", &["decompose=false", "small_kernel=none"], None),
        ("nano-slak", &["kernel=15,13,11,9", "small_kernel=5", "classes=3"], Some("rectangles")),
        ("nano-slak", &["kernel=15,13,11,9", "small_kernel=5", "width=1.25"], Some("cross")),
        ("nano-slak", &["decompose=false", "kernel=15,13,11,9"], Some("cross")),
        ("convnext-t-31", &["kernel=9,7,5,3", "depths=1", "dims=9,12,14,17"], None),
    ] {
        let trained = filled(spec(name, overrides), DType::F32);
        let network = form.map_or(trained, |form| merged_as(&filled(spec(name, overrides), DType::F32), form));
        let load = |tensors| {
            let checkpoint = Checkpoint { tensors, source: "memory.pth".into(), ..Checkpoint::default() };
            let depths: &[&str] = if name == "convnext-t-31" { &["depths=1"] } else { &[] };
            Network::from_checkpoint(Some(name), checkpoint, depths, BuildOptions::frozen())
        };
        let back = load(network.params().tensors()).unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
        assert_eq!(bits(&back.forward(&x).unwrap()), bits(&network.forward(&x).unwrap()), "{overrides:?}");
        let (found, made) = (config(&back), config(&network));
        assert_eq!((found.kernel, found.merged, found.classes), (made.kernel, made.merged, made.classes));
        assert!(made.merged || (found.decompose, found.small_kernel) == (made.decompose, made.small_kernel));
        if overrides.iter().any(|setting| setting.starts_with("width")) {
            assert_eq!((found.width, found.dims), (made.width, made.dims), "{overrides:?}");
        }
        // One name less is an error that names it; only counters of batch norms may be missing.
        let needed = |name: &&String| name.contains("large_kernel") && !name.ends_with("num_batches_tracked");
        for lost in network.params().tensors().keys().filter(needed) {
            let mut less = network.params().tensors();
            less.shift_remove(lost).unwrap();
            let error = load(less).err().unwrap_or_else(|| panic!("{overrides:?}: loads without {lost}")).to_string();
            assert!(error.contains(lost) || error.contains("unexpected"), "{lost}: {error}");
        }
    }
    // Shapes that no network has are an error, not a panic.
    for shape in [&[][..], &[0, 0, 0, 0], &[8]] {
        let mut tensors = filled(spec("nano-slak", &[]), DType::F32).params().tensors();
        for name in ["stages.0.0.large_kernel.LoRA1.conv.weight", "stages.1.0.norm.weight", "head.weight"] {
            tensors.insert(name.into(), Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap());
        }
        let error = load("nano-slak", tensors).err().expect("wrong shapes").to_string();
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_slak_starts_as_published() {
    let network = Network::build(
        spec("slak-t", &["depths=1", "dims=16,24,32,40", "classes=50", "head_scale=0.5"]),
        BuildOptions::frozen(),
    );
    for (name, p) in network.unwrap().params().iter() {
        let own = values(p.var.as_tensor());
        let all = |value: f64| own.iter().all(|v| (v - value).abs() < 1e-9);
        match p.kind {
            Kind::Gamma => assert!(all(1e-6), "{name}"),
            Kind::Bias => assert!(all(0.0), "{name}"),
            Kind::NormWeight => assert!(all(1.0), "{name}"),
            Kind::Weight => {
                let spread = (own.iter().map(|v| v * v).sum::<f64>() / own.len() as f64).sqrt();
                let named = if name == "head.weight" { 0.01 } else { 0.02 };
                let tolerance = 4.0 / (2.0 * own.len() as f64).sqrt();
                assert!((spread / named - 1.0).abs() < tolerance, "{name} has {spread}");
            }
            _ => {}
        }
    }
    assert_eq!(spec("slak-t", &[]).preprocessing(), spec("convnext-t", &[]).preprocessing());
    let norm = |name: &str| outline(name, &[]).params().get("norm.running_var").is_some();
    assert_eq!(slaks().into_iter().filter(|name| norm(name)).collect::<Vec<_>>(), ["nano-slak"], "batch norm");
    for (name, rate) in [("slak-t", 0.1), ("slak-s", 0.4), ("slak-b", 0.5)] {
        let config: slak::SlakConfig = spec(name, &[]).config.downcast_ref().cloned().unwrap();
        assert_eq!(config.drop_path, rate, "{name}");
    }
}

#[test]
fn paths_of_slak_blocks_drop_at_random() {
    let x = random("images", &[8, 3, 32, 32]);
    let network = Network::build(spec("nano-slak", &["drop_path=0.9"]), BuildOptions::default()).unwrap();
    let mut seen = BTreeMap::new();
    let mut watch = |name: &str, value: &Tensor| {
        seen.insert(name.to_string(), value.clone());
    };
    network.forward_pass(&x, &mut Pass::watched(Mode::Train { seed: 3 }, &mut watch)).unwrap();
    // Samples whose path is dropped pass a block unchanged. The first block drops none, the last nearly all.
    let dropped = |before: &str, after: &str| {
        let same = |i: usize| values(&seen[before].get(i).unwrap()) == values(&seen[after].get(i).unwrap());
        (0..8).filter(|&i| same(i)).count()
    };
    assert_eq!(dropped("downsample_layers.0", "stages.0.0"), 0);
    assert!(dropped("downsample_layers.3", "stages.3.0") > 4);
}

#[test]
fn a_slak_configuration_survives_files() {
    for name in slaks() {
        for overrides in [&[][..], &["width=1.25", "small_kernel=3"], &[MERGED, CROSS, "small_kernel=none"]] {
            let spec = spec(name, overrides);
            let json = serde_json::to_value(&spec).unwrap();
            assert_eq!(json["config"]["family"], "slak");
            assert_eq!(serde_json::from_value::<ModelSpec>(json).unwrap(), spec);
            assert_eq!(toml::from_str::<ModelSpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        }
    }
}

#[test]
fn nano_slak_learns() {
    let losses = losses_of_training("nano-slak", 3e-3);
    assert!(losses[0] < 3.5 && losses[19] < 0.3 * losses[0], "{losses:?}");
}
