//! The analyses: shape bias against reference values, receptive fields against finite differences, kernels and their
//! orientations in real networks, and costs.

use crate::common::{array, fill_signed, golden, max_abs_diff, numbers, random, text, values};
use candle_core::{DType, Device, Tensor, Var};
use kernelscope::Error;
use kernelscope::analysis::cost::costs;
use kernelscope::analysis::erf::{Erf, Probe, THRESHOLDS, area_ratios, log_scaled};
use kernelscope::analysis::kernels::kernel_layers;
use kernelscope::analysis::orientation::orientations;
use kernelscope::analysis::report::{KernelLayer, KernelShape, ShapeBiasReport};
use kernelscope::analysis::shape_bias::{Answer, Categories, HUMAN, shape_bias};
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::ops::oriented1d::{channel_angles, tap_offsets};
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, Network, registry};
use kernelscope_lab::data::{Image, stimuli, texture_of_file_name};
use kernelscope_lab::report::{kernel_grid, oriented_taps};
use kernelscope_lab::save;
use std::f32::consts::FRAC_PI_4;

fn network(name: &str, overrides: &[&str], options: BuildOptions) -> Network {
    Network::build(ModelSpec::named(name).unwrap().with_overrides(overrides).unwrap(), options).unwrap()
}

fn frozen(name: &str, overrides: &[&str]) -> Network {
    network(name, overrides, BuildOptions::frozen())
}

#[test]
fn the_sixteen_categories_are_the_published_ones() {
    let golden = golden("replk/shape_bias.json");
    let categories = Categories::imagenet16();
    let names: Vec<&str> = array(&golden["categories_sorted"]).iter().map(text).collect();
    assert_eq!(categories.names(), names);
    // A category's probability is the mean over its classes: logits that single out one class show which it has.
    for (index, name) in names.iter().enumerate() {
        let classes = numbers(&golden["imagenet_indices"][name]);
        for class in 0..1000 {
            let mut logits = vec![0f32; 1000];
            logits[class] = 50.0;
            let member = classes.contains(&(class as f64));
            let share = categories.probabilities(&logits).unwrap()[index];
            let expected = if member { 1.0 / classes.len() as f32 } else { 0.0 };
            assert!((share - expected).abs() < 1e-5, "{name} and class {class}: {share}");
        }
    }
}

/// The reference case: logits, and the answers they give.
fn reference_answers() -> (Categories, Vec<Vec<f32>>, Vec<Answer>) {
    let golden = golden("replk/shape_bias.json");
    let case = &golden["cases"][0];
    let categories = Categories::imagenet16();
    let fill = fill_signed("shape_bias_logits", 48 * 1000);
    let logits: Vec<Vec<f32>> = fill.chunks(1000).map(|row| row.iter().map(|s| 4.0 * s).collect()).collect();
    let answers = array(&case["rows"])
        .iter()
        .zip(&logits)
        .map(|(row, logits)| Answer {
            shape: categories.index(text(&row[1])).unwrap(),
            texture: categories.index(&texture_of_file_name(text(&row[0]))).unwrap(),
            decision: categories.decide(logits).unwrap(),
        })
        .collect();
    (categories, logits, answers)
}

#[test]
fn shape_bias_is_the_published_one() {
    let golden = golden("replk/shape_bias.json");
    let case = &golden["cases"][0];
    let (categories, logits, answers) = reference_answers();
    let decisions: Vec<&str> = answers.iter().map(|a| categories.names()[a.decision].as_str()).collect();
    assert_eq!(decisions, array(&case["decision"]).iter().map(text).collect::<Vec<_>>());
    let probabilities = categories.probabilities(&logits[0]).unwrap();
    for (p, expected) in probabilities.iter().zip(numbers(&case["mean_prob_first"])) {
        assert!((f64::from(*p) - expected).abs() < 1e-5 * expected, "{p} {expected}");
    }
    let report = shape_bias("reference", categories.names(), &answers);
    let close = |found: f64, name: &str| {
        let expected = case[name].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{name}: {found} {expected}");
    };
    close(report.fraction_shape, "fraction_correct_shape");
    close(report.fraction_texture, "fraction_correct_texture");
    close(report.shape_bias.unwrap(), "shape_bias");
    assert_eq!((report.images, report.conflicts), (48, answers.iter().filter(|a| a.shape != a.texture).count()));
    assert!(report.conflicts < 48, "the reference has images with agreeing cues");
    let mut compared = 0;
    for category in &report.categories {
        // Categories without an image of their shape are not in the reference.
        match case["per_category"].get(&category.category) {
            None => assert_eq!((category.conflicts, category.shape_bias), (0, None), "{}", category.category),
            Some(expected) => {
                compared += 1;
                let off = category.shape_bias.unwrap_or(-1.0) - expected.as_f64().unwrap_or(-1.0);
                assert!(off.abs() < 1e-12, "{}: {:?} {expected}", category.category, category.shape_bias);
            }
        }
    }
    assert_eq!((compared, report.categories.len()), (14, 16));
    let count = |f: fn(&kernelscope::analysis::report::CategoryBias) -> usize| report.categories.iter().map(f).sum();
    let sums: [usize; 3] = [count(|c| c.conflicts), count(|c| c.shape_decisions), count(|c| c.texture_decisions)];
    assert_eq!(sums, [report.conflicts, 16, 13]);
}

#[test]
fn the_three_likeliest_categories_are_the_published_ones() {
    let golden = golden("replk/shape_bias.json");
    let (categories, logits, _) = reference_answers();
    let mut smallest = f64::INFINITY;
    for (row, expected) in logits.iter().zip(array(&golden["cases"][0]["top3"])) {
        let p = categories.probabilities(row).unwrap();
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
        let names: Vec<&str> = order[..3].iter().map(|&c| categories.names()[c].as_str()).collect();
        assert_eq!(names, array(expected).iter().map(text).collect::<Vec<_>>());
        smallest = smallest.min(f64::from(p[order[0]] - p[order[1]]));
    }
    let expected = golden["cases"][0]["min_gap_top1_top2"].as_f64().unwrap();
    assert!((smallest - expected).abs() < 1e-7, "smallest gap {smallest}, not {expected}");
    for (name, count) in golden["index_counts"].as_object().unwrap() {
        let mut logits = vec![-50f32; 1000];
        numbers(&golden["imagenet_indices"][name]).iter().for_each(|&class| logits[class as usize] = 0.0);
        let share = categories.probabilities(&logits).unwrap()[categories.index(name).unwrap()];
        assert!((f64::from(share) * crate::common::integer(count) as f64 - 1.0).abs() < 1e-5, "{name}");
    }
}

#[test]
fn shape_bias_of_the_published_observers() {
    let golden = golden("replk/shape_bias.json");
    let names = Categories::imagenet16().names().to_vec();
    let humans = golden["human_from_official_csv"].as_object().unwrap();
    let mut pooled = Vec::new();
    for (observer, expected) in humans.iter().filter(|(name, _)| name.starts_with("subject")) {
        let number = |key: &str| expected[key].as_f64().unwrap();
        let rows = number("rows");
        let (shape, texture) = (number("fraction-correct-shape") * rows, number("fraction-correct-texture") * rows);
        // As many answers of each kind as the observer gave; those with agreeing cues do not count.
        let answer = |i: usize| match i {
            i if (i as f64) < shape => Answer { shape: 0, texture: 1, decision: 0 },
            i if (i as f64) < shape + texture => Answer { shape: 0, texture: 1, decision: 1 },
            i if i < 1200 => Answer { shape: 0, texture: 1, decision: 2 },
            _ => Answer { shape: 3, texture: 3, decision: 3 },
        };
        let answers: Vec<Answer> = (0..rows as usize).map(answer).collect();
        let report = shape_bias(observer, &names, &answers);
        assert_eq!(report.conflicts as f64, number("conflict_rows"), "{observer}");
        assert!((report.shape_bias.unwrap() - number("shape-bias")).abs() < 1e-12, "{observer}");
        pooled.extend(answers);
    }
    let report = shape_bias("all", &names, &pooled);
    let expected = humans["all"]["shape-bias"].as_f64().unwrap();
    assert!((report.shape_bias.unwrap() - expected).abs() < 1e-12);
    assert!((HUMAN - expected).abs() < 5e-5, "the line in the figure: {HUMAN} {expected}");
}

#[test]
fn ties_and_odd_inputs() {
    let names: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
    let categories = Categories::identity(&names);
    assert_eq!(categories.decide(&[1.0, 1.0, 0.0]).unwrap(), 1, "the later of two equal ones");
    assert_eq!(categories.decide(&[2.0, 2.0, 2.0]).unwrap(), 2);
    assert_eq!(categories.decide(&[3.0, 2.0, 2.0]).unwrap(), 0);
    assert!(categories.decide(&[1.0, 1.0]).unwrap_err().to_string().contains("2 logits"));
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(matches!(categories.decide(&[1.0, bad, 0.0]), Err(Error::NonFinite { .. })));
    }
    assert_eq!(categories.decide(&[1000.0, -1000.0, 0.0]).unwrap(), 0, "large logits do not overflow");
    let ShapeBiasReport { shape_bias, fraction_shape, .. } =
        shape_bias("none", &names, &[Answer { shape: 0, texture: 1, decision: 2 }]);
    assert_eq!((shape_bias, fraction_shape), (None, 0.0), "neither cue was ever chosen");
    for (file, texture) in [
        ("cat7-elephant1.png", "elephant"),
        ("0001_dnn_x_cat7-elephant1.png", "elephant"),
        ("bottle1-knife3.final.png", "knife"),
        ("oven.png", "oven"),
        ("", ""),
    ] {
        assert_eq!(texture_of_file_name(file), texture, "{file}");
    }
}

#[test]
fn stimulus_folders_are_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        Image::filled(4, 4, [1, 2, 3]).save_png(path).unwrap();
    };
    let categories = Categories::imagenet16();
    let found = |categories: &Categories| stimuli(folder.path(), categories);
    assert!(found(&categories).unwrap_err().to_string().contains("holds no shape folders"));
    put("cat/cat7-elephant1.png");
    put("bear/bear2-bear1.png");
    let read: Vec<(usize, usize)> = found(&categories).unwrap().iter().map(|s| (s.shape, s.texture)).collect();
    assert_eq!(read, [(1, 1), (7, 11)], "folders in order, textures from names");
    put("cat/cat1-wolf2.png");
    let error = found(&categories).unwrap_err().to_string();
    assert!(error.contains("cat1-wolf2.png") && error.contains("wolf") && error.contains("elephant"), "{error}");
    std::fs::remove_file(folder.path().join("cat/cat1-wolf2.png")).unwrap();
    put("wolf/wolf1-cat1.png");
    assert!(found(&categories).unwrap_err().to_string().contains("wolf"));
}

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

fn layers_of(name: &str, overrides: &[&str]) -> Vec<KernelLayer> {
    kernel_layers(&frozen(name, overrides).params().tensors()).unwrap()
}

fn paths(layers: &[KernelLayer]) -> Vec<&str> {
    layers.iter().map(|l| l.path.as_str()).collect()
}

#[test]
fn depthwise_layers_are_found() {
    let blocks =
        ["stages.0.0.dwconv", "stages.1.0.dwconv", "stages.2.0.dwconv", "stages.2.1.dwconv", "stages.3.0.dwconv"];
    let stem = ["downsample_layers.0.dw1", "downsample_layers.0.dw2"];
    let oriented = layers_of("nano-1d", &[]);
    assert_eq!(paths(&oriented), [&stem[..], &blocks].concat());
    for layer in &oriented {
        let KernelShape::Oriented { taps, theta } = &layer.shape else { panic!("{} is dense", layer.path) };
        assert_eq!((theta.len(), layer.weights.len()), (layer.channels, layer.channels * taps), "{}", layer.path);
    }
    let dense = layers_of("nano-2d", &[]);
    assert_eq!(paths(&dense), [&stem[..], &blocks].concat());
    assert_eq!(paths(&layers_of("nano-2d", &["stem=patch"])), blocks, "the patch stem is not depthwise");
    assert!(dense.iter().all(|l| l.shape == KernelShape::Dense { height: 7, width: 7 }));
    assert_eq!(paths(&layers_of("nano-2d", &["stem=oriented-1d"])), blocks, "nor is the dense oriented stem");
    let both = layers_of("nano-1dpp", &[]);
    assert_eq!(both.len(), 2 + 2 * 5);
    let second = both.iter().find(|l| l.path == "stages.0.0.dwconv2").unwrap();
    assert_eq!((second.channels, second.taps()), (128, 15));
    let mixer = layers_of("convmixer-768-32", &["dim=8", "depth=2"]);
    assert_eq!(paths(&mixer), ["blocks.0.0.fn.0", "blocks.1.0.fn.0"]);
}

#[test]
fn orientations_of_a_network() {
    for layer in layers_of("nano-1d", &[]) {
        let found = orientations(&layer);
        assert_eq!((found.path.as_str(), found.channels.len()), (layer.path.as_str(), layer.channels));
        for (index, channel) in found.channels.iter().enumerate() {
            let built = channel.built.unwrap();
            assert!((built / 22.5 - (built / 22.5).round()).abs() < 1e-5, "{}: {built}", layer.path);
            let energy: f64 = layer.channel(index).iter().map(|w| f64::from(*w).powi(2)).sum();
            assert!((channel.energy - energy).abs() < 1e-9 * energy.max(1e-9));
            // Whatever the weights, all taps lie near one line, so the kernel points along it.
            let turn = (built - channel.dominant.unwrap()).abs();
            assert!(turn.min(180.0 - turn) < 30.0, "{} channel {index}: {built} {:?}", layer.path, channel.dominant);
            assert!((0.0..=1.0 + 1e-9).contains(&channel.anisotropy), "{}", channel.anisotropy);
        }
    }
    for layer in layers_of("nano-2d", &[]) {
        assert!(orientations(&layer).channels.iter().all(|c| c.built.is_none() && c.dominant.is_some()));
    }
}

#[test]
fn pixels_add_up_taps_that_meet() {
    let weights: Vec<f32> = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let shape = KernelShape::Oriented { taps: 7, theta: vec![FRAC_PI_4, 0.0] };
    let layer = KernelLayer { path: "x".into(), channels: 2, shape, weights };
    let kernel = layer.pixels(0);
    assert_eq!((kernel.height, kernel.width), (7, 7));
    // At 45 degrees, taps 2, 3 and 4 are all truncated to the center.
    let at = |row: usize, col: usize| kernel.values[row * 7 + col];
    assert_eq!([at(5, 1), at(4, 2), at(3, 3), at(2, 4), at(1, 5)], [1.0, 2.0, 28.0, 32.0, 64.0]);
    assert_eq!(kernel.tapped.iter().filter(|t| **t).count(), 5);
    let row = layer.pixels(1);
    assert!((0..7).all(|col| row.values[3 * 7 + col] == 1.0), "theta = 0 is a row");
    for layer in layers_of("nano-1d", &[]) {
        let KernelShape::Oriented { theta, .. } = &layer.shape else { panic!() };
        for channel in [0, layer.channels / 2, layer.channels - 1] {
            let kernel = layer.pixels(channel);
            let sum: f32 = kernel.values.iter().sum();
            let direct: f32 = layer.channel(channel).iter().sum();
            assert!((sum - direct).abs() < 1e-5, "{} channel {channel}: {sum} {direct}", layer.path);
            for (i, tapped) in kernel.tapped.iter().enumerate() {
                let (dh, dw) = ((i / kernel.width) as i32, (i % kernel.width) as i32);
                let (dh, dw) = (dh - (kernel.height / 2) as i32, dw - (kernel.width / 2) as i32);
                let hit = tap_offsets(theta[channel], layer.taps()).iter().any(|t| (t.dh, t.dw) == (dh, dw));
                assert_eq!(*tapped, hit, "{} channel {channel} at ({dh}, {dw})", layer.path);
            }
        }
    }
}

#[test]
fn figures_of_kernels_show_every_direction() {
    let oriented = |channels: usize, theta: Vec<f32>| {
        let shape = KernelShape::Oriented { taps: 3, theta };
        KernelLayer { path: "x".into(), channels, shape, weights: vec![1.0; 3 * channels] }
    };
    // Neighboring channels share their angle: the first 64 of 512 have one of the eight.
    let theta = channel_angles(512, 8, 0.0).unwrap();
    let grid = kernel_grid(&oriented(512, theta.clone()));
    let mut shown: Vec<f32> = grid.kernels.iter().map(|(channel, _)| theta[*channel]).collect();
    shown.dedup();
    assert_eq!((grid.kernels.len(), shown.len()), (64, 8));
    assert!(grid.kernels.iter().all(|(_, kernel)| kernel.values.iter().sum::<f32>() == 3.0));
    assert_eq!(kernel_grid(&oriented(3, vec![0.0; 3])).kernels.len(), 3);
    // Layers whose angles are too few, too many or no numbers.
    assert_eq!(oriented_taps(&[oriented(4, vec![0.0, 1.0])]).unwrap().layers[0].1.len(), 2);
    assert_eq!(oriented_taps(&[oriented(1, vec![0.0, 1.0, f32::NAN])]).unwrap().layers[0].1.len(), 2);
    assert_eq!(oriented_taps(&[oriented(1, vec![f32::NAN])]), None);
    assert_eq!(kernel_grid(&oriented(4, vec![0.0])).kernels.len(), 4);
}

#[test]
fn costs_add_up() {
    for entry in registry() {
        let network = network(entry.name, &[], BuildOptions::shapes_only());
        let report = costs(&network, 64, 96).unwrap();
        assert_eq!((report.model.as_str(), report.size), (entry.name, (64, 96)));
        assert_eq!(report.params, network.params().count(), "{}", entry.name);
        assert_eq!(report.theta, network.params().count_theta(), "{}", entry.name);
        assert_eq!(report.macs, network.trace(64, 96).unwrap().macs(), "{}", entry.name);
        let sum = |f: &dyn Fn(&kernelscope::analysis::cost::LayerCost) -> u64| report.layers.iter().map(f).sum::<u64>();
        assert_eq!(sum(&|l| l.params as u64), report.params as u64, "{}: parameters of the layers", entry.name);
        assert_eq!(sum(&|l| l.macs), report.macs, "{}", entry.name);
        assert_eq!(sum(&|l| l.activation_bytes), report.activation_bytes, "{}", entry.name);
        assert!(report.layers.iter().all(|l| l.activation_bytes == 4 * l.output.values()), "{}", entry.name);
    }
    // A pointwise layer by hand: 32 to 128 channels on a 16x24 map.
    let network = network("nano-2d", &[], BuildOptions::shapes_only());
    let report = costs(&network, 64, 96).unwrap();
    let expand = report.layers.iter().find(|l| l.path == "stages.0.0.pwconv1").unwrap();
    assert_eq!((expand.params, expand.macs), (32 * 128 + 128, 32 * 128 * 16 * 24));
}

#[test]
fn tables_hold_every_row() {
    let folder = tempfile::tempdir().unwrap();
    let lines = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
    let network = frozen("nano-1d", &[]);
    let report = costs(&network, 64, 64).unwrap();
    save::costs(&folder.path().join("costs.csv"), &report).unwrap();
    assert_eq!(lines("costs.csv"), report.layers.len() + 1);
    let layers: Vec<_> = layers_of("nano-1d", &[]).iter().map(orientations).collect();
    save::orientations(&folder.path().join("orientations.csv"), &layers).unwrap();
    assert_eq!(lines("orientations.csv"), layers.iter().map(|l| l.channels.len()).sum::<usize>() + 1);
    let (categories, _, answers) = reference_answers();
    let report = shape_bias("reference", categories.names(), &answers);
    save::shape_bias(&folder.path().join("bias.csv"), &report).unwrap();
    let table = std::fs::read_to_string(folder.path().join("bias.csv")).unwrap();
    assert_eq!(table.lines().count(), 18);
    assert!(table.lines().last().unwrap().starts_with("all,") && table.contains("0.5517241379310345"), "{table}");
}
