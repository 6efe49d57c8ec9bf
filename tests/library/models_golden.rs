//! Networks against reference values: parameter lists, logits, intermediate points, gradients, merged forms, receptive
//! fields.
// A test stops at the first surprise; errors are printed so that they can be quoted.

use crate::common::{
    array, fill_kind, fill_signed, fill_u, golden, integer, integers as shape_of, max_abs_diff, max_rel_diff, numbers,
    text, values,
};
use candle_core::{DType, Device, Tensor};
use kernelscope::analysis::erf::{Erf, Probe, THRESHOLDS, area_ratios, log_scaled};
use kernelscope::nn::{BuildOptions, FoldedConv, Mode, Pass};
use kernelscope::ops::depthwise2d::{Depthwise2d, Options};
use kernelscope::weights::TensorMap;
use kernelscope::zoo::{Merge, ModelSpec, Network};
use serde_json::Value;
use std::collections::BTreeMap;

/// The network with every parameter filled by its name; angles keep their constructed values.
fn filled(name: &str, golden: &Value, options: BuildOptions) -> Network {
    filled_as(ModelSpec::named(name).unwrap(), golden, options)
}

fn filled_as(spec: ModelSpec, golden: &Value, options: BuildOptions) -> Network {
    let name = spec.name.as_str();
    let fresh = Network::build(spec.clone(), BuildOptions::shapes_only()).unwrap();
    let expected: BTreeMap<String, Vec<usize>> = golden["params"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["name"].as_str().unwrap().to_string(), shape_of(&p["shape"])))
        .collect();
    let ours: BTreeMap<String, Vec<usize>> =
        fresh.params().iter().map(|(n, p)| (n.to_string(), p.var.dims().to_vec())).collect();
    assert_eq!(ours, expected, "names and shapes of {name}");
    assert_eq!(fresh.params().count() as u64, golden["param_count"].as_u64().unwrap());
    let without_theta = golden.get("param_count_without_theta").unwrap_or(&golden["param_count"]).as_u64().unwrap();
    assert_eq!((fresh.params().count() - fresh.params().count_theta()) as u64, without_theta);
    // Drawing the values of a large network takes longer than all else, so it is done only where some are needed.
    let built = (fresh.params().count_theta() > 0)
        .then(|| Network::build(spec.clone(), BuildOptions::frozen()).unwrap().params().clone());
    let mut weights = TensorMap::new();
    for param in golden["params"].as_array().unwrap() {
        let (name, kind) = (param["name"].as_str().unwrap(), param["kind"].as_str().unwrap());
        let shape = shape_of(&param["shape"]);
        let tensor = match kind {
            "theta" => built.as_ref().unwrap().get(name).unwrap().var.as_detached_tensor(),
            _ => Tensor::from_vec(fill_kind(name, &shape, kind), &shape[..], &Device::Cpu).unwrap(),
        };
        weights.insert(name.to_string(), tensor);
    }
    Network::build(spec, BuildOptions { weights: Some((weights, "fill".into())), ..options }).unwrap()
}

fn input(shape: &[usize]) -> Tensor {
    Tensor::from_vec(fill_signed("input", shape.iter().product()), shape, &Device::Cpu).unwrap()
}

fn check_forward(name: &str, golden: &Value, tolerance: f64) {
    let network = filled(name, golden, BuildOptions::frozen());
    check_runs(name, &network, golden, tolerance);
    check_macs(&network, golden);
}

fn check_macs(network: &Network, golden: &Value) {
    let macs = network.trace(224, 224).unwrap().macs();
    let expected = golden.get("macs_at_224").unwrap_or(&golden["macs_224"]);
    assert_eq!(macs, expected["total"].as_u64().unwrap(), "multiply-adds of {}", network.spec().name);
}

/// Compares intermediate points and logits of all runs.
fn check_runs(name: &str, network: &Network, golden: &Value, tolerance: f64) {
    let mut worst_logit = 0f64;
    let mut worst_point = 0f64;
    for run in golden["runs"].as_array().unwrap() {
        let x = input(&shape_of(&run["input_shape"]));
        let points: BTreeMap<String, &Value> =
            run["points"].as_array().unwrap().iter().map(|p| (p["name"].as_str().unwrap().to_string(), p)).collect();
        let mut seen = Vec::new();
        let mut watch = |name: &str, value: &Tensor| {
            let Some(point) = points.get(name) else { return };
            assert_eq!(value.dims(), shape_of(&point["shape"]), "shape of {name}");
            let values = values(value);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
            let mut off =
                (mean - point["mean"].as_f64().unwrap()).abs().max((std - point["std"].as_f64().unwrap()).abs());
            for (ours, reference) in values.iter().zip(numbers(&point["first8"])) {
                off = off.max((ours - reference).abs());
            }
            assert!(off < 5e-5, "{name}: off by {off:e}");
            worst_point = worst_point.max(off);
            seen.push(name.to_string());
        };
        let (_, logits) = network.forward_pass(&x, &mut Pass::watched(Mode::Eval, &mut watch)).unwrap();
        assert_eq!(seen.len(), points.len(), "points reported: {seen:?}");
        let logits = values(&logits);
        let reference = numbers(&run["logits"]);
        assert_eq!(logits.len(), reference.len());
        for (ours, reference) in logits.iter().zip(reference) {
            worst_logit = worst_logit.max((ours - reference).abs());
        }
    }
    println!("{name}: logits off by at most {worst_logit:.2e}, points by {worst_point:.2e}");
    assert!(worst_logit < tolerance, "{name}: logits off by {worst_logit:e}");
}

/// Gradients of `sum(logits * cotangent)` on the first run's input.
fn check_gradients(name: &str, golden: &Value) {
    let network = filled(name, golden, BuildOptions::default());
    let run = &golden["runs"][0];
    let x = candle_core::Var::from_tensor(&input(&shape_of(&run["input_shape"]))).unwrap();
    let shape = shape_of(&run["logits_shape"]);
    let cotangent = fill_signed("cotangent", shape.iter().product());
    let cotangent = Tensor::from_vec(cotangent, &shape[..], &Device::Cpu).unwrap();
    let loss = (network.forward(x.as_tensor()).unwrap() * cotangent).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let mut worst = 0f64;
    let mut check = |name: &str, gradient: &Tensor, reference: &Value, first: &str| {
        let values = values(gradient);
        let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let expected = reference["l2"].as_f64().unwrap();
        let mut off = (norm - expected).abs() / expected;
        for (ours, reference) in values.iter().zip(numbers(&reference[first])) {
            off = off.max((ours - reference).abs() / expected);
        }
        // The sum cancels; it is compared on the scale of sqrt(count) * norm, its largest possible value.
        let scale = expected * (values.len() as f64).sqrt();
        off = off.max((values.iter().sum::<f64>() - reference["sum"].as_f64().unwrap()).abs() / scale);
        assert!(off < 2e-5, "gradient of {name}: off by {off:e} of its norm {expected}");
        worst = worst.max(off);
    };
    check("input", grads.get(x.as_tensor()).unwrap(), &golden["grads"]["input"], "first8");
    let references = golden["grads"]["params"].as_array().unwrap();
    assert_eq!(references.len(), network.params().trainable().count());
    for reference in references {
        let name = reference["name"].as_str().unwrap();
        let var = &network.params().get(name).unwrap().var;
        check(name, grads.get(var.as_tensor()).expect(name), reference, "first4");
    }
    println!("{name}: gradients off by at most {worst:.2e} of their norm");
}

macro_rules! convnext {
    ($test:ident, $file:literal, $model:literal) => {
        #[test]
        fn $test() {
            let golden = golden(concat!("oriented/", $file, ".json"));
            check_forward($model, &golden, 2e-5);
            check_gradients($model, &golden);
        }
    };
}

convnext!(convnext_t, "convnext_t", "convnext-t");
convnext!(convnext_t_1d, "convnext_t_1d", "convnext-t-1d");
convnext!(convnext_t_1dpp, "convnext_t_1dpp", "convnext-t-1dpp");
convnext!(convnext_t_2dpp, "convnext_t_2dpp", "convnext-t-2dpp");

#[test]
fn angles_in_half_precision_give_the_golden_logits() {
    let mut golden = golden("oriented/convnext_t_1d.json");
    // Small images tell: rounded angles change logits by 0.8.
    golden["runs"].as_array_mut().unwrap().truncate(1);
    let exact = filled("convnext-t-1d", &golden, BuildOptions::frozen());
    for half in [DType::F16, DType::BF16] {
        let mut tensors = exact.params().tensors();
        tensors
            .iter_mut()
            .filter(|(name, _)| name.ends_with(".theta"))
            .for_each(|(_, t)| *t = t.to_dtype(half).unwrap());
        let options = BuildOptions { weights: Some((tensors, "half".into())), ..BuildOptions::frozen() };
        let network = Network::build(exact.spec().clone(), options).unwrap();
        check_runs("convnext-t-1d", &network, &golden, 2e-5);
    }
}

#[test]
fn convmixer_768_32() {
    check_forward("convmixer-768-32", &golden("oriented/convmixer_768_32.json"), 2e-6);
}

#[test]
fn mobilenetv3_small() {
    check_forward("mobilenetv3-small", &golden("oriented/mobilenetv3_small_100.json"), 2e-6);
}

/// The merged form against the same values, and the form whose norms are folded too.
fn check_merged(network: &Network, golden: &Value) {
    let name = &network.spec().name;
    let reference = &golden["merged"];
    let reference = reference.get("structural_reparam").unwrap_or(&reference["reparam"]);
    let merged = network.merged(Merge::Kernels).unwrap();
    assert_eq!(merged.params().count(), integer(&reference["param_count"]), "{name}");
    for state in array(&reference["state"]) {
        let param = merged.params().get(text(&state["name"])).unwrap_or_else(|| panic!("{name}: no {state}"));
        assert_eq!(param.var.dims(), shape_of(&state["shape"]), "{name}: {state}");
    }
    check_macs(&merged, reference);
    check_runs(&format!("{name}, merged"), &merged, golden, 2e-5);
    let folded = merged.merged(Merge::Norms).unwrap();
    check_runs(&format!("{name}, folded"), &folded, golden, 2e-5);
}

/// Every `what` that the reference lists, within `tolerance`.
fn check_list(name: &str, what: &str, ours: &[f64], reference: &Value, tolerance: f64) {
    let off = max_abs_diff(ours, &numbers(reference));
    println!("{name}: {what} off by {off:.1e}, {tolerance:.1e} allowed");
    assert!(off < tolerance, "{name}: {what} off by {off:e}, {tolerance:e} allowed");
}

fn check_receptive_field(network: &Network, golden: &Value) {
    let name = &network.spec().name;
    let mut erf = Erf::new(network, Probe::default());
    let shape = shape_of(&golden["image_shape"]);
    let side = integer(&golden["size"]);
    // A rectifier that switches between two roundings changes single pixels. The reference says by how much its own
    // single precision is off; ours is another one.
    let tolerance = 4.0 * golden["float64_check"]["max_abs_diff_A"].as_f64().unwrap();
    for (image, expected) in array(&golden["images"]).iter().zip(array(&golden["per_image"])) {
        let image = fill_signed(text(image), shape.iter().product());
        let s = erf.add(&Tensor::from_vec(image, &shape[..], &Device::Cpu).unwrap()).unwrap();
        let sum: f64 = s.iter().map(|&v| f64::from(v)).sum();
        let off = sum / expected["sum"].as_f64().unwrap() - 1.0;
        assert!(off.abs() < 1e-3, "{name}: contributions of one image sum to {sum}, not {expected}");
        let max = s.iter().copied().fold(0.0, f32::max);
        assert!(
            (f64::from(max) - expected["max"].as_f64().unwrap()).abs() < 2.0 * tolerance,
            "{name}: {max} {expected}"
        );
        let zeros = s.iter().filter(|&&v| v == 0.0).count();
        assert!(zeros.abs_diff(integer(&expected["zeros"])) < 20, "{name}: {zeros} zeros, not {expected}");
    }
    let map = erf.map().unwrap();
    let a: Vec<f64> = map.contribution.iter().map(|&v| f64::from(v)).collect();
    let sum: f64 = a.iter().sum();
    let off = sum / golden["A"]["sum"].as_f64().unwrap() - 1.0;
    println!("{name}: sum of the receptive field off by {off:.1e}");
    assert!(off.abs() < 1e-3, "{name}: contributions sum to {sum}");
    let expected = &golden["A"];
    let strongest = (0..a.len()).fold(0, |best, i| if a[i] > a[best] { i } else { best });
    assert_eq!([strongest / side, strongest % side], shape_of(&expected["argmax"])[..], "{name}");
    let middle = side / 2;
    for (what, value) in [("max", a[strongest]), ("center", a[middle * side + middle]), ("min", 0.0)] {
        assert!((value - expected[what].as_f64().unwrap()).abs() < tolerance, "{name}: {what} is {value}");
    }
    check_list(name, "central row", &a[middle * side..(middle + 1) * side], &expected["central_row"], tolerance);
    let column: Vec<f64> = (0..side).map(|row| a[row * side + middle]).collect();
    check_list(name, "central column", &column, &expected["central_col"], tolerance);
    let mut blocks = vec![0.0; 256];
    a.iter().enumerate().for_each(|(i, v)| blocks[i / side * 16 / side * 16 + i % side * 16 / side] += v);
    check_list(name, "blocks", &blocks, &expected["block_sums_16"], 1e-3 * sum / 16.0);
    let scaled = log_scaled(&map);
    let sum: f64 = scaled.iter().sum();
    // Relative to the maximum, which may be one of the pixels that change.
    assert!((sum / golden["D"]["sum"].as_f64().unwrap() - 1.0).abs() < 5e-3, "{name}: D sums to {sum}");
    let row = &scaled[middle * side..(middle + 1) * side];
    check_list(name, "central row of D", row, &golden["D"]["central_row"], 2.0 * tolerance / a[strongest]);
    for (area, expected) in area_ratios(&map, &THRESHOLDS).iter().zip(array(&golden["area_ratios"])) {
        assert_eq!(Some(area.threshold), expected["t"].as_f64());
        // One ring more or less: a share may be as near to its threshold as single precision is to double.
        let side = area.side.unwrap_or_else(|| panic!("{name}: {} is not reached", area.threshold));
        assert!(side.abs_diff(integer(&expected["side"])) <= 2, "{name}: side {side}, not {expected}");
        let ratio = (side * side) as f64 / (shape[2] * shape[3]) as f64;
        assert_eq!(area.ratio, Some(ratio), "{name}");
    }
}

macro_rules! replknet {
    ($test:ident, $model:literal) => {
        #[test]
        fn $test() {
            let golden = golden(concat!("replk/", stringify!($test), ".json"));
            let network = filled($model, &golden, BuildOptions::frozen());
            let names: Vec<&str> = network.params().iter().map(|(name, _)| name).collect();
            let official: Vec<&str> = array(&golden["params"]).iter().map(|p| text(&p["name"])).collect();
            assert_eq!(names, official, "the order is that of the checkpoints");
            check_runs($model, &network, &golden, 2e-5);
            check_macs(&network, &golden);
            check_merged(&network, &golden);
            check_receptive_field(&network, &crate::common::golden(concat!("replk/erf_", stringify!($test), ".json")));
        }
    };
}

replknet!(replknet_3, "replknet-3");
replknet!(replknet_31b, "replknet-31b");

/// The golden file without the points that a merged form does not have.
fn without_branches(golden: &Value) -> Value {
    let mut golden = golden.clone();
    for run in golden["runs"].as_array_mut().unwrap() {
        run["points"].as_array_mut().unwrap().retain(|point| !text(&point["name"]).contains("LoRA"));
    }
    golden
}

#[test]
fn slak_t() {
    let golden = golden("replk/slak_t.json");
    let network = filled("slak-t", &golden, BuildOptions::frozen());
    let names: Vec<&str> = network.params().iter().map(|(name, _)| name).collect();
    let official: Vec<&str> = array(&golden["params"]).iter().map(|p| text(&p["name"])).collect();
    assert_eq!(names, official, "the order is that of the checkpoints");
    check_runs("slak-t", &network, &golden, 2e-5);
    check_macs(&network, &golden);
    for (form, reference) in [("rectangles", "slak_two_rect"), ("cross", "slak_square")] {
        let mut spec = network.spec().clone();
        spec.config.set("merge_form", form).unwrap();
        let (config, tensors) = spec.config.merge(&network.params().tensors(), Merge::Kernels).unwrap();
        let options = BuildOptions { weights: Some((tensors, "merged".into())), ..BuildOptions::frozen() };
        let merged = Network::build(ModelSpec { config, ..spec }, options).unwrap();
        assert_eq!(merged.params().count(), integer(&golden["merged"][reference]["param_count"]), "{form}");
        check_runs(&format!("slak-t, {form}"), &merged, &without_branches(&golden), 2e-5);
    }
    check_masked(&network, &golden["masked"]);
}

/// Logits with the weights of 2 and 4 axes set to zero where a mask made from their name says so.
fn check_masked(network: &Network, golden: &Value) {
    let density = golden["density"].as_f64().unwrap();
    let (mut kept, mut numel) = (0, 0);
    for (name, param) in network.params().iter() {
        let dims = param.var.dims();
        if !matches!(dims.len(), 2 | 4) {
            continue;
        }
        let u = fill_u(&format!("mask:{name}"), param.var.elem_count());
        let mask: Vec<f32> = u.into_iter().map(|u| if f64::from(u) < density { 1.0 } else { 0.0 }).collect();
        let nonzero = mask.iter().filter(|&&m| m > 0.0).count();
        assert_eq!([nonzero, mask.len()], shape_of(&golden["nonzero"][name])[..], "{name}");
        (kept, numel) = (kept + nonzero, numel + mask.len());
        let mask = Tensor::from_vec(mask, dims, &Device::Cpu).unwrap();
        param.var.set(&(param.var.as_tensor() * mask).unwrap()).unwrap();
    }
    assert_eq!((kept, numel), (integer(&golden["masked_nonzero"]), integer(&golden["masked_numel"])));
    // A few of the values that the masks leave are zero themselves.
    let counted = network.params().iter().filter(|(_, p)| p.kind.counted());
    let nonzero: usize = counted.map(|(_, p)| values(p.var.as_tensor()).iter().filter(|&&v| v != 0.0).count()).sum();
    assert_eq!(nonzero, integer(&golden["model_nonzero_params"]));
    let logits = values(&network.forward(&input(&shape_of(&golden["input_shape"]))).unwrap());
    let off = max_abs_diff(&logits, &numbers(&golden["logits"]));
    println!("{}: masked logits off by at most {off:.2e}", network.spec().name);
    assert!(off < 2e-5, "masked logits off by {off:e}");
}

#[test]
fn mobilenetv2_k13_rep3() {
    let golden = golden("replk/mobilenetv2_k13_rep3.json");
    let spec = ModelSpec::named("mobilenetv2-k13").unwrap().with_overrides(&["small_kernel=3"]).unwrap();
    let network = filled_as(spec, &golden, BuildOptions::frozen());
    let names: Vec<&str> = network.params().iter().map(|(name, _)| name).collect();
    let official: Vec<&str> = array(&golden["params"]).iter().map(|p| text(&p["name"])).collect();
    assert_eq!(names, official, "the order is that of torchvision");
    check_runs("mobilenetv2-k13", &network, &golden, 2e-6);
    check_macs(&network, &golden);
    check_merged(&network, &golden);
}

#[test]
fn replknet_kernels_merge_as_in_the_reference() {
    let golden = golden("replk/op_reparam.json");
    assert_eq!(array(&golden["cases"]).len(), 5);
    for case in array(&golden["cases"]) {
        let (name, x_shape) = (text(&case["name"]), shape_of(&case["x_shape"]));
        let channels = x_shape[1];
        let mut tensors = TensorMap::new();
        let mut fill = |name: String, shape: &[usize], kind: &str| {
            let values = Tensor::from_vec(fill_kind(&name, shape, kind), shape, &Device::Cpu).unwrap();
            tensors.insert(name, values.to_dtype(DType::F64).unwrap());
        };
        for (branch, side) in [("lkb_origin", integer(&case["K"])), ("small_conv", integer(&case["k"]))] {
            fill(format!("{name}.{branch}.conv.weight"), &[channels, 1, side, side], "weight");
            let leaves = [
                ("weight", "norm_weight"),
                ("bias", "bias"),
                ("running_mean", "running_mean"),
                ("running_var", "running_var"),
            ];
            for (leaf, kind) in leaves {
                fill(format!("{name}.{branch}.bn.{leaf}"), &[channels], kind);
            }
        }
        let branch = |branch: &str| {
            FoldedConv::new(&tensors, &format!("{name}.{branch}.conv"), &format!("{name}.{branch}.bn")).unwrap()
        };
        let mut merged = TensorMap::new();
        branch("lkb_origin").plus(&branch("small_conv")).unwrap().insert_into(&mut merged, "merged").unwrap();
        let check = |what: &str, ours: &Tensor, reference: &Value| {
            // The reference was rounded to single precision: half a unit of 2^-23.
            let off = max_rel_diff(&values(ours), &numbers(reference));
            assert!(off < 6.5e-8, "{name}: {what} off by {off:e}");
        };
        check("weight", &merged["merged.weight"], &case["merged_weight"]);
        check("bias", &merged["merged.bias"], &case["merged_bias"]);
        let side = integer(&case["K"]);
        let options = Options::same(side, side).with_stride(integer(&case["stride"]));
        let x = fill_signed(&format!("{name}.x"), x_shape.iter().product());
        let x = Tensor::from_vec(x, &x_shape[..], &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let y = Depthwise2d::new(channels, options).unwrap();
        let y = y.forward(&x, &merged["merged.weight"], Some(&merged["merged.bias"])).unwrap();
        assert_eq!(y.dims(), shape_of(&case["y_shape"]), "{name}");
        check("y", &y, &case["y"]);
    }
}
