//! MobileNetV2 with large kernels, ResNet, and max pooling: counts, forms for inference, checkpoints of every form, and
//! values and gradients against other implementations.

use crate::common::{filled, losses_of_training, max_abs_diff, outline, prints_as, random, spec, values};
use candle_core::{DType, Device, Tensor, Var};
use kernelscope::analysis::erf::{Erf, Probe};
use kernelscope::nn::{BuildOptions, Kind, Mode, Pass};
use kernelscope::ops::max_pool::MaxPool;
use kernelscope::ops::relu6::relu6;
use kernelscope::weights::{Checkpoint, TensorMap};
use kernelscope::zoo::mobilenet_v2::{MobileNetV2Config, Where, fold, merge};
use kernelscope::zoo::{Merge, ModelSpec, Network, entry};
use std::collections::BTreeMap;

fn mobilenet(network: &Network) -> &MobileNetV2Config {
    let config: &MobileNetV2Config = network.spec().config.downcast_ref().unwrap();
    config
}

/// Parameters, and multiply-adds at 224 pixels.
fn counts(network: &Network) -> (usize, u64) {
    (network.params().count(), network.trace(224, 224).unwrap().macs())
}

#[test]
fn counts_of_mobilenets_with_large_kernels() {
    let tenths = |macs: u64| format!("{:.1}", macs as f64 / 1e6);
    for (name, params, merged, branches, megamacs) in [
        ("mobilenetv2-k3", 3_504_872, 3_497_736, None, Some("300.8")),
        ("mobilenetv2-k9", 4_018_664, 4_011_528, Some(4_097_160), Some("466.5")),
        ("mobilenetv2-k13", 4_646_632, 4_639_496, Some(4_725_128), Some("669.1")),
    ] {
        let plain = counts(&outline(name, &[]));
        assert_eq!(plain.0, params, "{name}");
        assert_eq!(Some(tenths(plain.1).as_str()), megamacs, "{name}");
        assert_eq!(counts(&outline(name, &["merged=true"])), (merged, plain.1), "{name}");
        if let Some(branches) = branches {
            let two = counts(&outline(name, &["small_kernel=3"]));
            assert_eq!(two.0, branches, "{name}");
            assert!(two.1 > plain.1, "{name}: the small kernels are free");
        }
        assert_eq!(counts(&outline(name, &["shortcut=false"])), plain, "{name}: a shortcut has no parameters");
    }
    // Dilated kernels have the cost of small ones, wherever their taps are.
    let small = counts(&outline("mobilenetv2-k3", &[]));
    for dilation in ["dilation=4", "dilation=6"] {
        assert_eq!(counts(&outline("mobilenetv2-k3", &[dilation])), small, "{dilation}");
    }
    // In the last stage alone: 3 blocks of 960 channels and one of 576, with 81 - 9 taps more per channel.
    let last = counts(&outline("mobilenetv2-k9", &["where=last"])).0;
    assert_eq!(last, small.0 + (576 + 3 * 960) * 72);
}

#[test]
fn counts_of_resnets() {
    for (name, params, gmacs) in
        [("resnet-50", 25_557_032, 4.089), ("resnet-101", 44_549_160, 7.801), ("resnet-152", 60_192_808, 11.514)]
    {
        let (ours, macs) = counts(&outline(name, &[]));
        assert_eq!(ours, params, "{name}");
        assert!((macs as f64 / 1e9 - gmacs).abs() < 5e-4, "{name}: {macs}");
        let published = entry(name).unwrap().published;
        assert!(prints_as(params as f64 / 1e6, published.params_m.unwrap()), "{name}");
    }
    assert_eq!(counts(&outline("resnet-50", &[])).1, 4_089_184_256);
}

/// Forms of MobileNetV2 that differ in structure.
const FORMS: [&[&str]; 6] = [
    &[],
    &["kernel=13"],
    &["small_kernel=none"],
    &["where=last"],
    &["where=last", "small_kernel=none", "shortcut=false"],
    &["kernel=3", "small_kernel=none", "dilation=4"],
];

#[test]
fn merged_mobilenets_compute_the_same() {
    let x = random("images", &[2, 3, 64, 48]);
    for overrides in FORMS {
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            let network = filled(spec("nano-mbv2", overrides), dtype);
            let x = x.to_dtype(dtype).unwrap();
            let expected = values(&network.forward(&x).unwrap());
            let largest = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
            assert!(largest > 0.05, "{overrides:?}: nothing to compare");
            for (how, form) in [(Merge::Kernels, &["merged=true"][..]), (Merge::Norms, &["merged=true", "folded=true"])]
            {
                let merged = network.merged(how).unwrap();
                let off = max_abs_diff(&values(&merged.forward(&x).unwrap()), &expected);
                assert!(off < tolerance * largest, "{overrides:?}, {how:?}, {dtype:?}: off by {off:e} of {largest}");
                assert_eq!(merged.spec(), &spec("nano-mbv2", &[overrides, form].concat()));
                assert!(merged.params().count() < network.params().count());
                assert!(merged.spec().config.is_merged());
            }
            let folded = network.merged(Merge::Norms).unwrap();
            assert!(folded.params().iter().all(|(_, p)| p.kind != Kind::RunningStat), "a norm is left");
        }
    }
}

#[test]
fn only_what_can_be_merged_is_merged_in_a_mobilenet() {
    let network = filled(spec("nano-mbv2", &[]), DType::F32);
    let folded = network.merged(Merge::Norms).unwrap();
    let fails = |network: &Network, how| network.merged(how).err().unwrap().to_string();
    assert!(fails(&folded, Merge::Kernels).contains("already merged"));
    assert!(fails(&folded, Merge::Norms).contains("already folded"));
    let mut tensors = network.params().tensors();
    assert!(fold(mobilenet(&network), &tensors).unwrap_err().to_string().contains("training form"));
    let name = "features.4.conv.1.0.small_conv.bn.running_var";
    tensors.shift_remove(name).unwrap();
    assert!(merge(mobilenet(&network), &tensors).unwrap_err().to_string().contains(name));
}

#[test]
fn checkpoints_of_every_mobilenet_form_are_recognized() {
    let x = random("images", &[1, 3, 40, 40]);
    for (overrides, how) in [
        (&["kernel=9", "classes=5"][..], None),
        (&["kernel=5", "small_kernel=none"], None),
        (&["kernel=5", "small_kernel=5", "where=last"], None),
        (&["kernel=3", "small_kernel=none"], None),
        (&["kernel=3"], None),
        (&["kernel=9", "where=last"], Some(Merge::Kernels)),
        (&["kernel=13", "classes=3"], Some(Merge::Norms)),
        (&["kernel=3", "where=last", "small_kernel=none"], Some(Merge::Norms)),
    ] {
        let mut network = filled(spec("nano-mbv2", overrides), DType::F32);
        if let Some(how) = how {
            network = network.merged(how).unwrap();
        }
        let load = |tensors: TensorMap| {
            let checkpoint = Checkpoint { tensors, source: "memory.pth".into(), ..Checkpoint::default() };
            Network::from_checkpoint::<&str>(Some("nano-mbv2"), checkpoint, &[], BuildOptions::frozen())
        };
        let back = load(network.params().tensors()).unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
        let (ours, theirs) = (values(&back.forward(&x).unwrap()), values(&network.forward(&x).unwrap()));
        assert_eq!(ours, theirs, "{overrides:?}");
        let (found, made) = (mobilenet(&back), mobilenet(&network));
        assert_eq!((found.kernel, found.merged, found.folded), (made.kernel, made.merged, made.folded));
        assert!(made.merged || found.small_kernel == made.small_kernel, "{overrides:?}");
        assert!(found.place == made.place || made.kernel == 3, "{overrides:?}");
        let needed = |name: &&String| name.contains("features.3.") && !name.ends_with("num_batches_tracked");
        for name in network.params().tensors().keys().filter(needed) {
            let mut less = network.params().tensors();
            less.shift_remove(name).unwrap();
            let error = load(less).err().unwrap_or_else(|| panic!("{overrides:?}: loads without {name}")).to_string();
            assert!(error.contains(name) || error.contains("unexpected"), "{name}: {error}");
        }
    }
}

#[test]
fn a_mobilenet_configuration_survives_files() {
    for overrides in FORMS {
        let spec = spec("nano-mbv2", overrides);
        let json = serde_json::to_value(&spec).unwrap();
        assert_eq!(json["config"]["family"], "mobilenetv2");
        assert_eq!(serde_json::from_value::<ModelSpec>(json).unwrap(), spec);
        assert_eq!(toml::from_str::<ModelSpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
    }
    let config: MobileNetV2Config = spec("mobilenetv2-k7", &["where=last"]).config.downcast_ref().cloned().unwrap();
    assert_eq!((config.place, config.stage_ends()), (Where::Last, vec![1, 3, 6, 13, 18]));
}

#[test]
fn large_kernels_stand_where_the_configuration_says() {
    let sides = |overrides: &[&str]| {
        let network = outline("mobilenetv2-k7", overrides);
        let path = |i: usize| format!("features.{i}.conv.{}.0.weight", usize::from(i > 1));
        (1..18).map(|i| network.params().get(&path(i)).unwrap().var.dims()[3]).collect::<Vec<_>>()
    };
    assert_eq!(sides(&[]), [7; 17]);
    assert_eq!(sides(&["where=last"]), [&[3; 13][..], &[7; 4]].concat(), "features.14 to features.17");
    // The form with two branches keeps torchvision's names elsewhere.
    let network = outline("mobilenetv2-k7", &["where=last", "small_kernel=3"]);
    assert!(network.params().get("features.13.conv.1.1.running_mean").is_some());
    assert!(network.params().get("features.14.conv.1.0.small_conv.bn.running_mean").is_some());
    assert!(network.params().get("features.14.conv.1.1.running_mean").is_none());
}

#[test]
fn a_dilated_kernel_is_a_large_one_with_gaps() {
    let x = random("images", &[2, 3, 64, 64]).to_dtype(DType::F64).unwrap();
    let dilated = filled(spec("nano-mbv2", &["kernel=3", "small_kernel=none", "dilation=4"]), DType::F64);
    let large = filled(spec("nano-mbv2", &["kernel=9", "small_kernel=none"]), DType::F64);
    let mut tensors = dilated.params().tensors();
    let depthwise: Vec<String> = tensors.keys().filter(|n| n.ends_with(".0.weight")).cloned().collect();
    for name in depthwise {
        let weight = &tensors[&name];
        let &[channels, 1, 3, 3] = weight.dims() else { continue };
        let taps = values(weight);
        let spread = (0..channels * 81).map(|i| {
            let (c, row, col) = (i / 81, i / 9 % 9, i % 9);
            if row % 4 == 0 && col % 4 == 0 { taps[c * 9 + row / 4 * 3 + col / 4] } else { 0.0 }
        });
        let spread = Tensor::from_iter(spread, &Device::Cpu).unwrap().reshape((channels, 1, 9, 9)).unwrap();
        tensors.insert(name, spread);
    }
    let before = values(&large.forward(&x).unwrap());
    large.params().assign(&tensors, "spread").unwrap();
    let (ours, expected) = (values(&dilated.forward(&x).unwrap()), values(&large.forward(&x).unwrap()));
    assert!(max_abs_diff(&ours, &expected) < 1e-12);
    assert!(max_abs_diff(&before, &expected) > 1e-3, "the weights do not matter");
}

#[test]
fn shortcuts_of_a_mobilenet_add_what_a_block_received() {
    let x = random("images", &[1, 3, 32, 32]);
    let outputs = |overrides: &[&str]| {
        let network = filled(spec("nano-mbv2", overrides), DType::F32);
        let mut seen = BTreeMap::new();
        let mut watch = |name: &str, value: &Tensor| {
            seen.insert(name.to_string(), values(value));
        };
        network.forward_pass(&x, &mut Pass::watched(Mode::Eval, &mut watch)).unwrap();
        seen
    };
    let (with, without) = (outputs(&[]), outputs(&["shortcut=false"]));
    // features.3 keeps the shape of features.2; what comes before is the same in both networks.
    assert_eq!(with["features.2"], without["features.2"]);
    let sum: Vec<f64> = without["features.3"].iter().zip(&with["features.2"]).map(|(f, x)| f + x).collect();
    assert!(max_abs_diff(&with["features.3"], &sum) < 1e-6);
    assert!(max_abs_diff(&with["features.3"], &without["features.3"]) > 0.01);
}

#[test]
fn pooled_features_are_dropped_in_training_alone() {
    let x = random("images", &[2, 3, 32, 32]);
    let logits = |dropout: &str, mode| {
        let network = Network::build(spec("nano-mbv2", &[dropout]), BuildOptions::default()).unwrap();
        values(&network.forward_t(&x, mode).unwrap())
    };
    let train = |seed| Mode::Train { seed };
    assert_ne!(logits("dropout=0.5", train(1)), logits("dropout=0.5", train(2)));
    assert_eq!(logits("dropout=0.5", train(1)), logits("dropout=0.5", train(1)));
    assert_eq!(logits("dropout=0", train(1)), logits("dropout=0", train(2)));
    assert_eq!(logits("dropout=0.5", Mode::Eval), logits("dropout=0", Mode::Eval));
}

#[test]
fn nano_mbv2_learns() {
    let losses = losses_of_training("nano-mbv2", 1e-2);
    assert!(losses[0] < 3.0 && losses[19] < 0.3 * losses[0], "{losses:?}");
}

/// The definition of a ResNet in candle's own convolutions: image to logits, with the parameters of `network`.
struct Definition(TensorMap);

impl Definition {
    fn conv(&self, x: &Tensor, conv: &str, norm: &str, stride: usize) -> Tensor {
        let weight = &self.0[&format!("{conv}.weight")];
        let y = x.conv2d(weight, weight.dim(2).unwrap() / 2, stride, 1, 1).unwrap();
        let column = |leaf: &str| self.0[&format!("{norm}.{leaf}")].reshape((1, (), 1, 1)).unwrap();
        let scale = (column("weight") / (column("running_var") + 1e-5).unwrap().sqrt().unwrap()).unwrap();
        let centered = y.broadcast_sub(&column("running_mean")).unwrap();
        centered.broadcast_mul(&scale).unwrap().broadcast_add(&column("bias")).unwrap()
    }

    fn logits(&self, image: &Tensor, depths: [usize; 4]) -> Tensor {
        let x = self.conv(image, "conv1", "bn1", 2).relu().unwrap();
        // Behind a rectifier, zeros around the image never win.
        let (_, _, h, w) = x.dims4().unwrap();
        let padded = x.pad_with_zeros(2, 1, 1).unwrap().pad_with_zeros(3, 1, 1).unwrap();
        let every_second = |side: usize, from: usize| {
            Tensor::from_iter((0..side.div_ceil(2)).map(|i| (2 * i + from) as u32), &Device::Cpu).unwrap()
        };
        let mut x: Option<Tensor> = None;
        for tap in 0..9 {
            let rows = padded.index_select(&every_second(h, tap / 3), 2).unwrap();
            let part = rows.index_select(&every_second(w, tap % 3), 3).unwrap();
            x = Some(x.map_or(part.clone(), |x| x.maximum(&part).unwrap()));
        }
        let mut x = x.unwrap();
        for (stage, depth) in depths.into_iter().enumerate() {
            for block in 0..depth {
                let path = format!("layer{}.{block}", stage + 1);
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let conv = |x: &Tensor, k: usize, stride| {
                    self.conv(x, &format!("{path}.conv{k}"), &format!("{path}.bn{k}"), stride)
                };
                let f = conv(&x, 1, 1).relu().unwrap();
                let f = conv(&f, 2, stride).relu().unwrap();
                let f = conv(&f, 3, 1);
                let down = format!("{path}.downsample");
                if block == 0 {
                    x = self.conv(&x, &format!("{down}.0"), &format!("{down}.1"), stride);
                }
                x = (f + x).unwrap().relu().unwrap();
            }
        }
        let pooled = x.flatten_from(2).unwrap().mean(2).unwrap();
        pooled.matmul(&self.0["fc.weight"].t().unwrap()).unwrap().broadcast_add(&self.0["fc.bias"]).unwrap()
    }
}

#[test]
fn a_resnet_and_its_image_gradient_are_its_definition() {
    // Rows and columns are even or odd alike in every layer: candle's gradient of a strided convolution needs that.
    for (size, depths) in [([2, 3, 64, 64], [1, 2, 2, 1]), ([1, 3, 45, 77], [2, 1, 1, 2])] {
        let list = format!("depths={}", depths.map(|d| d.to_string()).join(","));
        let network = filled(spec("resnet-50", &[&list, "width=8", "classes=10"]), DType::F64);
        let image = Var::from_tensor(&random("image", &size).to_dtype(DType::F64).unwrap()).unwrap();
        let cotangent = random("cotangent", &[size[0], 10]).to_dtype(DType::F64).unwrap();
        let of = |logits: Tensor| {
            let grads = (&logits * &cotangent).unwrap().sum_all().unwrap().backward().unwrap();
            (values(&logits), values(grads.get(image.as_tensor()).unwrap()))
        };
        let (logits, gradient) = of(network.forward(image.as_tensor()).unwrap());
        let definition = Definition(network.params().tensors());
        let (expected, expected_gradient) = of(definition.logits(image.as_tensor(), depths));
        assert!(max_abs_diff(&logits, &expected) < 1e-11, "{size:?}: {:e}", max_abs_diff(&logits, &expected));
        assert!(max_abs_diff(&gradient, &expected_gradient) < 1e-11, "{size:?}");
        assert!(gradient.iter().any(|g| g.abs() > 1e-4) && logits.iter().any(|l| l.abs() > 0.01), "nothing compared");
    }
}

#[test]
fn a_resnet_has_the_names_of_torchvision() {
    let network = outline("resnet-101", &[]);
    let names: Vec<&str> = network.params().iter().map(|(name, _)| name).collect();
    // 104 convolutions with norms of 5 values each, and the classifier.
    assert_eq!(names.len(), 104 * 6 + 2);
    assert_eq!(names[..3], ["conv1.weight", "bn1.weight", "bn1.bias"]);
    let shape = |name: &str| network.params().get(name).unwrap_or_else(|| panic!("no {name}")).var.dims().to_vec();
    assert_eq!(shape("layer1.0.downsample.0.weight"), [256, 64, 1, 1]);
    assert_eq!(shape("layer3.22.conv2.weight"), [256, 256, 3, 3]);
    assert_eq!(shape("layer4.0.downsample.1.running_var"), [2048]);
    assert_eq!(shape("fc.weight"), [1000, 2048]);
    // The order inside a block: convolutions with their norms, then the shortcut.
    let block: Vec<&str> =
        names.iter().filter_map(|n| n.strip_prefix("layer2.0.")).filter(|n| n.ends_with("weight")).collect();
    let order = ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", "downsample.0", "downsample.1"];
    assert_eq!(block, order.map(|module| format!("{module}.weight")));
    assert!(!names.iter().any(|name| name.starts_with("layer2.1.downsample")));
}

#[test]
fn receptive_fields_of_small_kernel_networks_are_computed() {
    let x = random("image", &[1, 3, 96, 96]);
    for (name, overrides) in [("resnet-50", &["depths=1", "width=8"][..]), ("nano-mbv2", &[])] {
        let network = filled(spec(name, overrides), DType::F32);
        let mut erf = Erf::new(&network, Probe::default());
        erf.add(&x).unwrap();
        let map = erf.map().unwrap();
        assert!(map.contribution.iter().any(|&v| v > 0.0), "{name}: nothing contributes");
    }
}

#[test]
fn the_saturating_rectifier_has_its_values_and_slopes() {
    for dtype in [DType::F32, DType::F64] {
        // More values than one task takes, its ends among them, and not contiguous.
        let x = (random("x", &[3, 9000]) * 10.0).unwrap().to_dtype(dtype).unwrap();
        let ends = Tensor::new(&[[0f64, 6.0, -0.0, 6.5, 3.0]; 3], &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
        let x = Var::from_tensor(&Tensor::cat(&[&x, &ends], 1).unwrap()).unwrap();
        let y = relu6(&x.as_tensor().t().unwrap()).unwrap();
        let cotangent = random("cotangent", y.dims()).to_dtype(dtype).unwrap();
        let grads = (&y * &cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        let inputs = values(&x.as_tensor().t().unwrap());
        let expected: Vec<f64> = inputs.iter().map(|x| x.clamp(0.0, 6.0)).collect();
        assert_eq!(values(&y), expected, "{dtype:?}");
        let slope = |x: f64| f64::from(x > 0.0 && x < 6.0);
        let expected: Vec<f64> = inputs.iter().zip(values(&cotangent)).map(|(&x, dy)| slope(x) * dy).collect();
        assert_eq!(values(&grads.get(&x).unwrap().t().unwrap()), expected, "{dtype:?}");
    }
    let odd = Tensor::new(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &Device::Cpu).unwrap();
    let y = values(&relu6(&odd).unwrap());
    assert!(y[0].is_nan() && y[1..] == [6.0, 0.0], "{y:?}");
    assert!(relu6(&odd.to_dtype(DType::F16).unwrap()).unwrap_err().to_string().contains("F16"));
}

/// The first pixel with the largest value of a window, by plain loops.
fn winner(x: &[f64], (h, w): (usize, usize), (top, left): (i64, i64), kernel: i64) -> usize {
    let mut best: Option<usize> = None;
    for row in top..top + kernel {
        for col in left..left + kernel {
            if (0..h as i64).contains(&row) && (0..w as i64).contains(&col) {
                let at = row as usize * w + col as usize;
                if best.is_none_or(|best| x[at] > x[best]) {
                    best = Some(at);
                }
            }
        }
    }
    best.unwrap()
}

#[test]
fn max_pooling_and_its_gradient_are_its_loops() {
    for (kernel, stride, padding, h, w) in
        [(3, 2, 1, 8, 12), (3, 2, 1, 7, 5), (3, 2, 1, 1, 1), (2, 2, 0, 6, 7), (5, 3, 2, 9, 4), (1, 1, 0, 3, 2)]
    {
        let case = format!("{kernel}x{kernel} / {stride} - {padding} on {h}x{w}");
        let pool = MaxPool::new(kernel, stride, padding).unwrap();
        // Coarse values, so that several pixels of a window are the largest.
        let x = (random("x", &[2, 3, h, w]) * 4.0).unwrap().round().unwrap();
        let planes = values(&x);
        let (rows, cols) = pool.output_size(h, w).unwrap();
        assert_eq!(rows, (h + 2 * padding - kernel) / stride + 1, "{case}");
        let cotangent = random("cotangent", &[2, 3, rows, cols]);
        let (mut y, mut dx) = (Vec::new(), vec![0.0; planes.len()]);
        for (index, dy) in values(&cotangent).iter().enumerate() {
            let (plane, p, q) = (index / (rows * cols) * h * w, index / cols % rows, index % cols);
            let start = |i: usize| (i * stride) as i64 - padding as i64;
            let at = winner(&planes[plane..plane + h * w], (h, w), (start(p), start(q)), kernel as i64);
            y.push(planes[plane + at]);
            dx[plane + at] += dy;
        }
        for dtype in [DType::F32, DType::F64] {
            // Not contiguous, as a narrowed map is.
            let var =
                Var::from_tensor(&x.to_dtype(dtype).unwrap().transpose(2, 3).unwrap().contiguous().unwrap()).unwrap();
            let output = pool.forward(&var.as_tensor().transpose(2, 3).unwrap()).unwrap();
            assert_eq!((output.dims(), output.dtype()), (&[2, 3, rows, cols][..], dtype), "{case}");
            assert_eq!(values(&output), y, "{case}");
            let loss = (output * cotangent.to_dtype(dtype).unwrap()).unwrap().sum_all().unwrap();
            let grads = loss.backward().unwrap();
            let gradient = values(&grads.get(&var).unwrap().transpose(2, 3).unwrap());
            assert!(max_abs_diff(&gradient, &dx) < 1e-6, "{case}: gradient");
        }
    }
}

#[test]
fn a_maximum_of_something_that_is_not_a_number_is_none() {
    let x = Tensor::new(&[[[[1f32, f32::NAN, 3.0, f32::NEG_INFINITY]]]], &Device::Cpu).unwrap();
    let y = values(&MaxPool::new(1, 1, 0).unwrap().forward(&x).unwrap());
    assert!(y[1].is_nan() && y[3] == f64::NEG_INFINITY);
    let y = values(&MaxPool::new(3, 2, 1).unwrap().forward(&x).unwrap());
    assert!(y[0].is_nan() && y[1].is_nan(), "{y:?}");
}

#[test]
fn wrong_pooling_is_named() {
    for (kernel, stride, padding, part) in
        [(0, 1, 0, "kernel"), (65, 1, 0, "kernel"), (3, 0, 1, "stride"), (3, 2, 2, "padding: got 2")]
    {
        let error = MaxPool::new(kernel, stride, padding).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let pool = MaxPool::new(4, 2, 1).unwrap();
    let error = pool.forward(&random("x", &[1, 1, 1, 5])).unwrap_err().to_string();
    assert!(error.contains("1x5") && error.contains("2x2"), "{error}");
    assert!(pool.forward(&random("x", &[4, 4])).unwrap_err().to_string().contains("(N, C, H, W)"));
    let half = random("x", &[1, 1, 4, 4]).to_dtype(DType::F16).unwrap();
    assert!(pool.forward(&half).unwrap_err().to_string().contains("F16"));
}
