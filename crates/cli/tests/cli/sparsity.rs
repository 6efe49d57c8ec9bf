//! What is pruned in a network: by zeros and by masks, weights and groups, sums of parallel kernels, the command.

use crate::common::{files, fill_signed, fill_u};
use assert_cmd::Command;
use candle_core::{DType, Device, Tensor};
use kernelscope::analysis::cost::costs;
use kernelscope::analysis::report::{Direction, Granularity, LayerSparsity, SparsityReport};
use kernelscope::analysis::sparsity::{check_masks, kept_shifts, sparsity, stage_means, stage_of};
use kernelscope::nn::BuildOptions;
use kernelscope::ops::shiftwise::ShiftWise;
use kernelscope::weights::{self, Checkpoint, TensorMap};
use kernelscope::zoo::{Merge, ModelSpec, Network, registry};
use kernelscope::{Error, Result};
use kernelscope_lab::plot::{self, DensityBars, GroupMaps, KeptGroupHistograms, MaskCurves, ShiftMaps, TapShares};
use kernelscope_lab::run::read_mask_history;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Values that are 0 where `keep` says no, and never 0 elsewhere.
fn pruned(name: &str, shape: &[usize], keep: impl Fn(usize) -> bool) -> Tensor {
    let values = fill_signed(name, shape.iter().product());
    tensor(values.iter().enumerate().map(|(i, v)| if keep(i) { v + 2.0 } else { 0.0 }).collect(), shape)
}

/// Kept with this probability, from a name.
fn random_keep(name: &str, count: usize, density: f32) -> Vec<bool> {
    fill_u(&format!("keep {name}"), count).iter().map(|&u| u < density).collect()
}

fn ones(count: usize) -> Tensor {
    Tensor::ones(count, DType::F32, &Device::Cpu).unwrap()
}

/// A shift-wise layer: C channels of k groups of n x n kernels; which groups each path keeps.
struct Shiftwise {
    path: &'static str,
    channels: usize,
    groups: usize,
    side: usize,
    paths: Vec<Vec<bool>>,
}

impl Shiftwise {
    fn new(path: &'static str, (channels, groups, side): (usize, usize, usize), densities: &[f32]) -> Self {
        let keep = |i: usize, density: f32| random_keep(&format!("{path} {i}"), channels * groups, density);
        let paths = densities.iter().enumerate().map(|(i, &density)| keep(i, density)).collect();
        Shiftwise { path, channels, groups, side, paths }
    }

    fn shape(&self) -> [usize; 4] {
        [self.channels * self.groups, 1, self.side, self.side]
    }

    fn insert_into(&self, tensors: &mut TensorMap) {
        for (i, keep) in self.paths.iter().enumerate() {
            let name = format!("{}.LoRAs.{i}.weight", self.path);
            let weight = pruned(&name, &self.shape(), |at| keep[at / (self.side * self.side)]);
            tensors.insert(name, weight);
        }
        for bn in ["bn_lora1", "bn_lora2", "bn_small"] {
            tensors.insert(format!("{}.{bn}.weight", self.path), ones(self.channels));
            tensors.insert(format!("{}.{bn}.running_mean", self.path), ones(self.channels));
        }
    }
}

fn layer<'a>(report: &'a SparsityReport, name: &str) -> &'a LayerSparsity {
    report.layers.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn groups_of_shift_wise_layers_are_counted_per_channel_and_over_the_paths() {
    let layers = [
        Shiftwise::new("stages.0.0.large_kernel", (24, 11, 5), &[0.7, 0.6]),
        Shiftwise::new("stages.0.1.large_kernel", (24, 11, 5), &[0.5, 0.5]),
        Shiftwise::new("stages.3.0.large_kernel", (40, 3, 5), &[0.3, 0.4, 0.2]),
    ];
    let mut tensors = TensorMap::new();
    layers.iter().for_each(|layer| layer.insert_into(&mut tensors));
    tensors.insert("head.weight".into(), pruned("head.weight", &[10, 40], |_| true));
    let report = sparsity("sw", &tensors, None, None).unwrap();
    let mut histograms = BTreeMap::new();
    for sw in &layers {
        let kept = |c: usize, j: usize| sw.paths.iter().filter(|p| p[c * sw.groups + j]).count();
        let mut union = 0;
        for c in 0..sw.channels {
            let groups = (0..sw.groups).filter(|&j| kept(c, j) > 0).count();
            union += groups;
            let stage = stage_of(sw.path).unwrap();
            histograms.entry(stage).or_insert_with(|| vec![0; sw.groups + 1])[groups] += 1;
        }
        let units = sw.channels * sw.groups;
        let merged = report.merged.iter().find(|m| m.path == sw.path).unwrap();
        assert_eq!((merged.kept, merged.units, merged.paths.len()), (union, units, sw.paths.len()), "{}", sw.path);
        assert_eq!(merged.density, union as f64 / units as f64);
        for (i, path) in sw.paths.iter().enumerate() {
            let found = layer(&report, &format!("{}.LoRAs.{i}.weight", sw.path));
            let groups = path.iter().filter(|keep| **keep).count();
            assert_eq!((found.granularity, found.units, found.kept), (Granularity::Groups, units, groups));
            let taps = sw.side * sw.side;
            assert_eq!((found.weights, found.kept_weights), (units * taps, groups * taps));
            assert!(found.density < merged.density, "{}: a sum keeps more than a path", found.name);
        }
        let map = report.groups.iter().find(|m| m.path == sw.path).unwrap();
        assert_eq!((map.channels, map.groups, map.paths), (sw.channels, sw.groups, sw.paths.len()));
        for (i, &count) in map.kept.iter().enumerate() {
            assert_eq!(usize::from(count), kept(i / sw.groups, i % sw.groups), "{} at {i}", sw.path);
        }
    }
    let found: BTreeMap<usize, Vec<u64>> =
        report.histograms.iter().map(|h| (h.stage.unwrap(), h.channels.clone())).collect();
    assert_eq!(found, histograms);
    assert_eq!((report.histograms[0].layers, report.histograms[1].layers), (2, 1));
    let names: Vec<&str> = report.totals.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["stage 0", "stage 3", "outside the stages", "network"]);
    let (head, all) = (&report.totals[2], &report.totals[3]);
    assert_eq!((head.weights, head.kept_weights, head.parameters), (400, 400, 400));
    let gone: usize = report.layers.iter().map(|l| l.weights - l.kept_weights).sum();
    // Three norms' weights in each of three layers count as parameters, their statistics do not.
    let parameters = report.layers.iter().map(|l| l.weights).sum::<usize>() + 3 * (24 + 24 + 40);
    assert_eq!(all.parameters, parameters as u64);
    assert_eq!(all.effective_parameters, (parameters - gone) as u64);
    let sum =
        |f: fn(&kernelscope::analysis::report::SparsityTotal) -> u64| report.totals[..3].iter().map(f).sum::<u64>();
    assert_eq!((sum(|t| t.parameters), sum(|t| t.kept_weights)), (all.parameters, all.kept_weights));
}

#[test]
fn merged_shift_wise_layers_are_counted_in_groups_too() {
    let sw = Shiftwise::new("stages.1.0.large_kernel", (12, 4, 3), &[0.5]);
    let mut tensors = TensorMap::new();
    sw.insert_into(&mut tensors);
    let weight = tensors.shift_remove("stages.1.0.large_kernel.LoRAs.0.weight").unwrap();
    tensors.insert("stages.1.0.large_kernel.LoRA.weight".into(), weight);
    let report = sparsity("merged", &tensors, None, None).unwrap();
    assert_eq!((report.layers[0].granularity, report.layers[0].units), (Granularity::Groups, 48));
    assert_eq!(report.histograms[0].channels.iter().sum::<u64>(), 12);
    // Without the norms nothing tells how many groups belong to a channel.
    tensors.retain(|name, _| !name.contains("bn_"));
    let report = sparsity("merged", &tensors, None, None).unwrap();
    assert_eq!((report.layers[0].kept, report.histograms.len(), report.groups.len()), (report.merged[0].kept, 0, 0));
}

#[test]
fn sums_of_rectangles_have_a_tap_wherever_one_of_them_has() {
    let (channels, long, short) = (6, 13, 5);
    let path = "stages.2.0.large_kernel";
    let shapes = [
        ("LoRA1", [channels, 1, long, short]),
        ("LoRA2", [channels, 1, short, long]),
        ("small_conv", [channels, 1, short, short]),
    ];
    let mut tensors = TensorMap::new();
    let mut union = vec![false; channels * long * long];
    let mut covered = vec![false; long * long];
    for (branch, shape) in shapes {
        let name = format!("{path}.{branch}.conv.weight");
        let keep = random_keep(&name, shape.iter().product(), 0.4);
        for (i, &keep) in keep.iter().enumerate() {
            let (c, row, col) = (i / (shape[2] * shape[3]), i / shape[3] % shape[2], i % shape[3]);
            let (row, col) = (row + (long - shape[2]) / 2, col + (long - shape[3]) / 2);
            covered[row * long + col] = true;
            union[(c * long + row) * long + col] |= keep;
        }
        tensors.insert(name.clone(), pruned(&name, &shape, |i| keep[i]));
    }
    let report = sparsity("slak", &tensors, None, None).unwrap();
    let merged = &report.merged[0];
    let pixels = covered.iter().filter(|c| **c).count();
    assert_eq!(pixels, 2 * long * short - short * short, "a cross");
    assert_eq!((merged.path.as_str(), merged.units, merged.paths.len()), (path, channels * pixels, 3));
    assert_eq!(merged.kept, union.iter().filter(|u| **u).count());
    let map = &report.taps[0];
    assert_eq!((map.height, map.width), (long, long));
    for (pixel, share) in map.share.iter().enumerate() {
        let kept = (0..channels).filter(|c| union[c * long * long + pixel]).count();
        let expected = covered[pixel].then(|| (kept as f64 / channels as f64) as f32);
        assert_eq!(*share, expected, "pixel {pixel}");
    }
    assert!(report.layers.iter().all(|l| l.granularity == Granularity::Entries && (l.density - 0.4).abs() < 0.15));
    tensors.insert(format!("{path}.small_conv.conv.weight"), pruned("x", &[channels + 1, 1, 5, 5], |_| true));
    let error = sparsity("slak", &tensors, None, None).unwrap_err().to_string();
    assert!(error.contains("small_conv") && error.contains("[7, 1, 5, 5]"), "{error}");
}

fn masks(entries: &[(&str, Tensor)]) -> Checkpoint {
    let tensors = entries.iter().map(|(name, mask)| (name.to_string(), mask.clone())).collect();
    Checkpoint { tensors, metadata: BTreeMap::new(), source: PathBuf::from("epoch.masks.safetensors") }
}

fn bits(keep: &[bool], shape: &[usize]) -> Tensor {
    Tensor::from_vec(keep.iter().map(|&keep| u8::from(keep)).collect::<Vec<u8>>(), shape, &Device::Cpu).unwrap()
}

#[test]
fn masks_decide_and_not_the_zeros() {
    let name = "stages.0.0.large_kernel.LoRAs.0.weight";
    // Groups 0 and 1 have weights, 2 was just grown, 3 is pruned.
    let weight = pruned(name, &[4, 1, 3, 3], |i| i < 18);
    let linear = pruned("head.weight", &[2, 3], |i| i != 4);
    let tensors = TensorMap::from_iter([(name.to_string(), weight), ("head.weight".to_string(), linear)]);
    let by_zeros = sparsity("n", &tensors, None, None).unwrap();
    assert_eq!((by_zeros.layers[0].kept, by_zeros.layers[0].masked), (2, false));
    let coarse = masks(&[(name, bits(&[true, true, true, false], &[4, 1, 1, 1]))]);
    let fine: Vec<bool> = (0..36).map(|i| i < 27).collect();
    for given in [coarse, masks(&[(name, bits(&fine, &[4, 1, 3, 3]))])] {
        check_masks(&given, &tensors).unwrap();
        let report = sparsity("n", &tensors, Some(&given.tensors), None).unwrap();
        let found = &report.layers[0];
        assert_eq!((found.kept, found.kept_weights, found.masked, found.outside), (3, 27, true, 0));
        assert_eq!(
            (report.layers[1].kept, report.layers[1].masked),
            (5, false),
            "a layer without a mask has its zeros"
        );
        assert_eq!(report.merged[0].kept, 3);
    }
    let wrong = masks(&[(name, bits(&[true, false, true, false], &[4, 1, 1, 1]))]);
    assert_eq!(sparsity("n", &tensors, Some(&wrong.tensors), None).unwrap().layers[0].outside, 9);
    for (mask, parts) in [
        (masks(&[("other.weight", bits(&[true], &[1]))]), &["other.weight", "no convolution"][..]),
        (masks(&[(name, bits(&[true; 3], &[3, 1, 1, 1]))]), &[name, "[3, 1, 1, 1]", "[4, 1, 3, 3]"]),
        (masks(&[(name, bits(&[true; 36], &[36]))]), &[name, "[36]"]),
        (masks(&[(name, tensor(vec![1.0; 4], &[4, 1, 1, 1]))]), &[name, "F32", "U8"]),
        (
            masks(&[(name, Tensor::new(&[1u8, 2, 0, 1], &Device::Cpu).unwrap().reshape((4, 1, 1, 1)).unwrap())]),
            &[name, "2"],
        ),
        (masks(&[]), &["no mask"]),
    ] {
        let error = check_masks(&mask, &tensors).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("epoch.masks"), "{error}");
    }
}

#[test]
fn weights_that_are_not_numbers_or_no_weights_are_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        let tensors = TensorMap::from_iter([("a.weight".to_string(), tensor(vec![1.0, bad], &[1, 2]))]);
        let outcome = sparsity("n", &tensors, None, None);
        assert!(matches!(&outcome, Err(Error::NonFinite { what, .. }) if what.contains("a.weight")), "{outcome:?}");
    }
    let shapes: [&[usize]; 3] = [&[4], &[1, 2, 2], &[0, 3]];
    for shape in shapes {
        let tensors =
            TensorMap::from_iter([("a.weight".to_string(), Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap())]);
        assert!(
            sparsity("file", &tensors, None, None).unwrap_err().to_string().contains("without weights"),
            "{shape:?}"
        );
    }
}

#[test]
fn dense_networks_have_density_one() {
    for entry in registry().into_iter().filter(|e| e.name.starts_with("nano") || e.name.starts_with("mobilenet")) {
        let network = Network::build(ModelSpec::named(entry.name).unwrap(), BuildOptions::frozen()).unwrap();
        let trace = network.trace(64, 64).unwrap();
        let report = sparsity(entry.name, &network.params().tensors(), None, Some(&trace)).unwrap();
        for layer in &report.layers {
            assert_eq!((layer.density, layer.effective_macs), (1.0, layer.macs), "{}: {}", entry.name, layer.name);
        }
        assert!(report.merged.iter().all(|m| m.density == 1.0), "{}", entry.name);
        let total = report.totals.last().unwrap();
        assert_eq!((total.density, total.effective_parameters), (1.0, total.parameters), "{}", entry.name);
        assert_eq!(total.effective_macs, total.macs, "{}", entry.name);
    }
}

#[test]
fn parameters_and_multiply_adds_of_every_network_are_found() {
    for entry in registry() {
        let network = Network::build(ModelSpec::named(entry.name).unwrap(), BuildOptions::shapes_only()).unwrap();
        // Larger ones differ in sizes alone.
        if network.params().count() > 60_000_000 {
            continue;
        }
        let trace = network.trace(64, 64).unwrap();
        let report = sparsity(entry.name, &network.params().tensors(), None, Some(&trace)).unwrap();
        let expected = costs(&network, 64, 64).unwrap();
        let total = report.totals.last().unwrap();
        assert_eq!((total.parameters, total.macs), (expected.params as u64, Some(expected.macs)), "{}", entry.name);
        let without: Vec<&String> = report.layers.iter().filter(|l| l.macs.is_none()).map(|l| &l.name).collect();
        assert!(without.is_empty(), "{}: no multiply-adds for {without:?}", entry.name);
        // All weights are zero: what remains are layers without weights.
        assert_eq!((total.density, total.kept_weights), (0.0, 0), "{}", entry.name);
        let layers: u64 = report.layers.iter().filter_map(|l| l.macs).sum();
        assert_eq!(total.effective_macs, Some(expected.macs - layers), "{}", entry.name);
    }
}

#[test]
fn stages_are_read_from_names() {
    for (name, stage) in [
        ("stages.2.5.large_kernel.LoRAs.0.weight", Some(2)),
        ("backbone.stages.0.blocks.1.pw1.conv.weight", Some(0)),
        ("layer4.2.conv1.weight", Some(3)),
        ("layer0.conv", None),
        ("downsample_layers.0.0.weight", None),
        ("stages", None),
        ("stages.x.1", None),
    ] {
        assert_eq!(stage_of(name), stage, "{name}");
    }
}

const HEADER: &str = "step,layer,density,merged_density,explored\n";

fn history_of(text: &[u8]) -> Result<kernelscope::analysis::report::MaskHistory> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("masks.csv");
    std::fs::write(&path, text).unwrap();
    read_mask_history("run", &path)
}

#[test]
fn the_masks_over_training_are_read_and_averaged() {
    let rows = "100,stages.0.0.a.weight,0.6,0.8,0.6\n100,stages.0.1.a.weight,0.4,0.6,0.4\n100,head.weight,1,,\n\
                200,stages.0.0.a.weight,0.6,0.8,0.7\n200,stages.0.1.a.weight,0.4,,0.5\n200,head.weight,1,,\n300,stages.0.0.a.w";
    let history = history_of(format!("{HEADER}{rows}").as_bytes()).unwrap();
    assert_eq!((history.points.len(), history.label.as_str()), (6, "run"), "a line that was cut off is left out");
    let curves = stage_means(&history);
    assert_eq!(curves.iter().map(|c| c.label.as_str()).collect::<Vec<_>>(), ["stage 0", "outside the stages"]);
    let close = |a: Option<f64>, b: f64| (a.unwrap() - b).abs() < 1e-12;
    let first = &curves[0].points[0];
    assert!(first.step == 100 && close(Some(first.density), 0.5) && close(first.merged_density, 0.7));
    let second = &curves[0].points[1];
    assert!(close(second.merged_density, 0.8) && close(second.explored, 0.6));
    assert_eq!((curves[1].points[0].merged_density, curves[1].points[0].explored), (None, None));
    let svg = plot::svg(&MaskCurves { curves }).unwrap();
    assert!([">stage 0<", ">sum of the paths<", ">kept at least once (%)<"].iter().all(|t| svg.contains(t)));
}

#[test]
fn a_damaged_record_of_masks_is_refused() {
    let file = |rows: &str| format!("{HEADER}{rows}").into_bytes();
    for (text, part) in [
        (Vec::new(), "no complete row"),
        (HEADER.as_bytes().to_vec(), "no complete row"),
        (b"step,layer,share\n1,a,0.5\n".to_vec(), "density"),
        (file("1,a,0.5,0.5\n"), "line: 2"),
        (file("one,a,0.5,0.5,0.5\n"), "line: 2"),
        (file("1,a,1.5,0.5,0.5\n"), "density is 1.5"),
        (file("1,a,0.5,-0.1,0.5\n"), "merged_density is -0.1"),
        (file("1,a,0.5,0.5,NaN\n"), "explored is NaN"),
        (file("2,a,0.5,0.5,0.5\n1,a,0.5,0.5,0.5\n"), "step 1"),
        (b"step,layer,density\n1,\xff\xfe,0.5\n".to_vec(), "damaged"),
    ] {
        let error = history_of(&text).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("masks.csv") && !error.contains('\n'), "{part}: {error}");
    }
}

fn refused(result: Result<String>, field: &str) {
    match result {
        Err(Error::Argument { name, .. }) => assert!(name.contains(field), "{name} is not {field}"),
        other => panic!("{field} was not refused: {:?}", other.map(|text| text.len())),
    }
}

#[test]
fn figures_show_the_report_and_refuse_what_does_not_fit() {
    let sw = Shiftwise::new("stages.0.0.large_kernel", (24, 11, 5), &[0.7, 0.6]);
    let mut tensors = TensorMap::new();
    sw.insert_into(&mut tensors);
    let name = "stages.1.0.large_kernel.lkb_origin.conv.weight";
    tensors.insert(name.into(), pruned(name, &[6, 1, 7, 7], |i| i % 3 > 0));
    let report = sparsity("both", &tensors, None, None).unwrap();
    let bars = plot::svg(&DensityBars { report: report.clone() }).unwrap();
    for text in ["stages.0.0.large_kernel.LoRAs.1", "groups (n × n kernels)", "weights", "sum of the parallel kernels"]
    {
        assert!(bars.contains(&format!(">{text}<")), "{text}");
    }
    let histograms = plot::svg(&KeptGroupHistograms { histograms: report.histograms.clone() }).unwrap();
    assert!(histograms.contains(">stage 0: 11 groups, 24 channels in 1 layer<"));
    let groups = GroupMaps { title: "groups".into(), layers: report.groups.clone() };
    assert!(plot::svg(&groups).unwrap().contains(">kept by 2 paths<"));
    let taps = TapShares { title: "taps".into(), layers: report.taps.clone() };
    assert!(plot::svg(&taps).unwrap().contains(">7 × 7, 66.7 % kept<"));
    refused(plot::svg(&DensityBars { report: SparsityReport { layers: vec![], ..report.clone() } }), "layers");
    refused(plot::svg(&GroupMaps { layers: vec![], ..groups.clone() }), "GroupMaps.layers");
    let mut broken = groups;
    broken.layers[0].kept.pop();
    refused(plot::svg(&broken), "KeptGroups.kept");
    let mut broken = taps;
    broken.layers[0].share[0] = Some(f32::NAN);
    refused(plot::svg(&broken), "KeptTaps.share");
    let mut broken = report.histograms;
    broken[0].channels.pop();
    refused(plot::svg(&KeptGroupHistograms { histograms: broken }), "GroupHistogram.channels");
    refused(plot::svg(&MaskCurves { curves: vec![] }), "MaskCurves.curves");
}

/// A folder in which the command runs.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn save(&self, file: &str, tensors: &TensorMap) {
        weights::save(&self.path(file), tensors, &BTreeMap::new()).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(self.0.path()).env_remove("RUST_LOG").args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, args: &[&str], parts: &[&str]) {
        let before = files(self.0.path());
        let output = self.command(args).assert().code(1).get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{args:?}: not all of {parts:?} in {stderr}");
        assert!(files(self.0.path()) == before, "{args:?}: a file was left, changed or removed");
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_pruned_checkpoint_of_a_network_is_reported() {
    let desk = Desk::new();
    let network = Network::build(ModelSpec::named("nano-replk").unwrap(), BuildOptions::frozen()).unwrap();
    let mut tensors = network.params().tensors();
    let dense = desk.run(&["masks", "--model", "nano-replk", "--random", "0"]);
    assert!(dense.contains("is dense (density 1)") && dense.contains("Multiply-adds at 64x64"), "{dense}");
    let pruned_names: Vec<String> = tensors.keys().filter(|name| name.ends_with("conv.weight")).cloned().collect();
    let mut gone = 0;
    for name in &pruned_names {
        let shape = tensors[name].dims().to_vec();
        let keep = random_keep(name, shape.iter().product(), 0.6);
        gone += keep.iter().filter(|keep| !**keep).count();
        tensors.insert(name.clone(), pruned(name, &shape, |i| keep[i]));
    }
    desk.save("pruned.safetensors", &tensors);
    let args = ["masks", "--model", "nano-replk", "--weights", "pruned.safetensors"];
    let report = json(&desk.run(&[&args[..], &["--json", "--output", "out"]].concat()));
    let total = report["totals"].as_array().unwrap().last().unwrap();
    let count = network.params().count();
    assert_eq!(total["parameters"].as_u64(), Some(count as u64));
    assert_eq!(total["effective_parameters"].as_u64(), Some((count - gone) as u64));
    let costs = costs(&network, 64, 64).unwrap();
    let mut expected = costs.macs as f64;
    for layer in report["layers"].as_array().unwrap() {
        let number = |key: &str| layer[key].as_u64().unwrap() as f64;
        let macs = costs.layers.iter().find(|l| format!("{}.weight", l.path) == layer["name"]).unwrap().macs as f64;
        assert_eq!(number("macs"), macs, "{layer}");
        let density = number("kept") / number("units");
        assert!((number("effective_macs") - macs * density).abs() <= 0.5, "{layer}");
        expected -= macs * (1.0 - density);
    }
    assert!((total["effective_macs"].as_u64().unwrap() as f64 - expected).abs() < 100.0, "{total} {expected}");
    let made: Vec<String> = files(&desk.path("out")).into_keys().collect();
    let names = [
        "density.png",
        "density.svg",
        "kept-taps.png",
        "kept-taps.svg",
        "sparsity-merged.csv",
        "sparsity-totals.csv",
        "sparsity.csv",
        "sparsity.md",
    ];
    assert_eq!(made, names);
    let lines = |name: &str| std::fs::read_to_string(desk.path("out").join(name)).unwrap().lines().count();
    assert_eq!(lines("sparsity.csv"), 1 + report["layers"].as_array().unwrap().len());
    assert_eq!(desk.run(&args), desk.run(&args));
    let small = json(&desk.run(&[&args[..], &["--json", "--size", "32"]].concat()));
    assert!(small["totals"].as_array().unwrap().last().unwrap()["macs"].as_u64() < total["macs"].as_u64());
}

#[test]
fn files_of_unknown_networks_and_masks_beside_them_are_reported() {
    let desk = Desk::new();
    let sw = Shiftwise::new("stages.0.0.large_kernel", (24, 11, 5), &[0.7, 0.6]);
    let mut tensors = TensorMap::new();
    sw.insert_into(&mut tensors);
    desk.save("sw.safetensors", &tensors);
    let printed = desk.run(&["masks", "--weights", "sw.safetensors", "--output", "out"]);
    for part in ["kept groups per channel", "11 kept", "264", "group", "Weights that are 0 count as pruned", "--model"]
    {
        assert!(printed.contains(part), "no {part:?} in {printed}");
    }
    let made: Vec<String> = files(&desk.path("out")).into_keys().collect();
    for name in ["kept-groups.svg", "groups-stage-0.png", "sparsity-groups.csv"] {
        assert!(made.iter().any(|made| made == name), "no {name} in {made:?}");
    }
    let markdown = std::fs::read_to_string(desk.path("out/sparsity.md")).unwrap();
    assert!(
        markdown.contains("## Kept groups per channel") && markdown.contains("| stage 0 | 11 | 1 | 24 |"),
        "{markdown}"
    );
    // Masks beside the file decide: here they keep everything, the zeros notwithstanding.
    let name = "stages.0.0.large_kernel.LoRAs.0.weight";
    let all = TensorMap::from_iter([(name.to_string(), bits(&[true; 264], &[264, 1, 1, 1]))]);
    desk.save("sw.masks.safetensors", &all);
    desk.save("sw-ema.safetensors", &tensors);
    for file in ["sw.safetensors", "sw-ema.safetensors"] {
        let report = json(&desk.run(&["masks", "--weights", file, "--json"]));
        assert_eq!(
            (report["layers"][0]["density"].as_f64(), &report["layers"][0]["masked"]),
            (Some(1.0), &true.into())
        );
        assert!(report["layers"][1]["density"].as_f64().unwrap() < 0.8);
    }
    let mut wrong = all.clone();
    wrong.insert("nothing.weight".into(), bits(&[true], &[1, 1]));
    desk.save("wrong.safetensors", &wrong);
    let args = ["masks", "--weights", "sw.safetensors", "--masks"];
    desk.fails(&[&args[..], &["wrong.safetensors"]].concat(), &["wrong.safetensors", "nothing.weight"]);
    desk.fails(&[&args[..], &["absent.safetensors"]].concat(), &["absent.safetensors"]);
    let none = bits(&[false; 264], &[264, 1, 1, 1]);
    desk.save("none.safetensors", &TensorMap::from_iter([(name.to_string(), none)]));
    let notes =
        desk.command(&[&args[..], &["none.safetensors"]].concat()).assert().success().get_output().stderr.clone();
    assert!(String::from_utf8(notes).unwrap().contains("weights are not 0 although the masks prune them"));
}

#[test]
fn what_is_pruned_from_a_cross_is_taken_off_once() {
    let desk = Desk::new();
    let spec = ModelSpec::named("nano-sw").unwrap().with_overrides(&["depths=1", "dims=16"]).unwrap();
    let mut network = Network::build(spec.clone(), BuildOptions::frozen()).unwrap();
    let prune = |(name, tensor): (String, Tensor)| {
        let shape = tensor.dims().to_vec();
        if !name.contains(".LoRAs.") {
            return (name, tensor);
        }
        // The same small kernels in both paths, so that they are gone from the sum.
        let keep = random_keep(&name.replace(".LoRAs.1.", ".LoRAs.0."), shape[0], 0.2);
        let tensor = pruned(&name, &shape, |i| keep[i / shape[3] / shape[2]]);
        (name, tensor)
    };
    let tensors: TensorMap = network.params().tensors().into_iter().map(prune).collect();
    network =
        Network::build(spec, BuildOptions { weights: Some((tensors, "pruned".into())), ..BuildOptions::frozen() })
            .unwrap()
            .merged(Merge::Norms)
            .unwrap();
    let metadata = BTreeMap::from([network.spec().metadata().unwrap()]);
    weights::save(&desk.path("cross.safetensors"), &network.params().tensors(), &metadata).unwrap();
    let report = json(&desk.run(&["masks", "--weights", "cross.safetensors", "--json"]));
    let name = "stages.0.0.large_kernel.cross.weight";
    let layer = report["layers"].as_array().unwrap().iter().find(|l| l["name"] == name).unwrap();
    let number = |key: &str| layer[key].as_u64().unwrap();
    // 12 of 16 channels, 16x16 outputs.
    let taps = 2 * 3 * 15 - 9;
    assert_eq!((number("units"), number("macs")), (12 * taps, 12 * taps * 256));
    assert!(number("kept") < number("units") / 2, "{layer}");
    assert_eq!(number("effective_macs"), number("kept") * 256);
    let trace = network.trace(64, 64).unwrap();
    assert_eq!(report["totals"].as_array().unwrap().last().unwrap()["effective_macs"].as_u64(), Some(trace.macs()));
}

/// A small shift-wise network of which every path keeps some small kernels, and its weights.
fn pruned_network(density: f32) -> (ModelSpec, TensorMap) {
    let spec = ModelSpec::named("nano-sw").unwrap().with_overrides(&["depths=1", "dims=16"]).unwrap();
    let network = Network::build(spec.clone(), BuildOptions::frozen()).unwrap();
    let prune = |(name, tensor): (String, Tensor)| {
        let shape = tensor.dims().to_vec();
        if !name.contains(".LoRAs.") {
            return (name, tensor);
        }
        let keep = random_keep(&name, shape[0], density);
        let tensor = pruned(&name, &shape, |i| keep[i / shape[3] / shape[2]]);
        (name, tensor)
    };
    (spec, network.params().tensors().into_iter().map(prune).collect())
}

#[test]
fn kept_shifts_are_where_kept_kernels_stand_in_the_large_ones() {
    let (spec, tensors) = pruned_network(0.3);
    let config: &kernelscope::zoo::shiftwise::ShiftWiseConfig = spec.config.downcast_ref().unwrap();
    let report = sparsity("sw", &tensors, None, None).unwrap();
    let shifts = kept_shifts(&report.groups, config).unwrap();
    assert_eq!((report.groups.len(), shifts.len()), (4, 8));
    for (map, pair) in report.groups.iter().zip(shifts.chunks(2)) {
        // With ones for every kept small kernel, a pixel of the large kernels counts those that stand on it.
        let window = config.window(map.stage.unwrap()).unwrap();
        let (n, k) = (window.small(), map.groups);
        let ones = map.kept.iter().flat_map(|&paths| vec![f32::from(u8::from(paths > 0)); n * n]);
        let weight = Tensor::from_iter(ones, &Device::Cpu).unwrap().reshape((map.channels * k, 1, n, n)).unwrap();
        let op = ShiftWise::new(map.channels, window, config.reps).unwrap();
        let [h, v, _] = op.kernels(&weight).unwrap().map(|kernel| crate::common::values(&kernel));
        for (shifts, kernel, direction) in [(&pair[0], h, Direction::Horizontal), (&pair[1], v, Direction::Vertical)] {
            assert_eq!((&shifts.path, shifts.direction, shifts.shuffles), (&map.path, direction, config.reps));
            for (at, &kept) in shifts.kept.iter().enumerate() {
                let (c, place) = (at / k, at % k);
                // The middle pixel of the small kernel at this place.
                let (long, short) = (place * n + n / 2, n / 2);
                let pixel = if direction == Direction::Horizontal { short * k * n + long } else { long * n + short };
                assert_eq!(f64::from(kept), kernel[c * k * n * n + pixel], "{} {direction:?} {c} {place}", map.path);
                assert_eq!(shifts.offsets[place], long as i32 - (window.length() / 2) as i32);
            }
            assert!(shifts.kept.contains(&0) && shifts.kept.contains(&2), "{:?}", shifts.kept);
        }
    }
    let svg = plot::svg(&ShiftMaps { title: "shifts".into(), layers: shifts.clone() }).unwrap();
    assert!(
        svg.contains(">kept by 2 shuffles<") && svg.contains("stages.0.0.large_kernel, along columns: 12 channels")
    );
    refused(plot::svg(&ShiftMaps { title: "none".into(), layers: vec![] }), "ShiftMaps.layers");
    let mut broken = shifts;
    broken[0].kept.pop();
    refused(plot::svg(&ShiftMaps { title: "short".into(), layers: broken }), "KeptShifts.kept");
    // Layers of another network.
    let other: kernelscope::zoo::shiftwise::ShiftWiseConfig =
        ModelSpec::named("sw-v2-t").unwrap().config.downcast_ref().cloned().unwrap();
    let error = kept_shifts(&report.groups, &other).unwrap_err().to_string();
    assert!(error.contains("stages.0.0.large_kernel: got 5 groups in 12 channels, allowed: 17 groups"), "{error}");
}

#[test]
fn the_shifts_of_a_known_network_are_reported() {
    let desk = Desk::new();
    let (spec, tensors) = pruned_network(0.5);
    weights::save(&desk.path("sw.safetensors"), &tensors, &BTreeMap::from([spec.metadata().unwrap()])).unwrap();
    desk.run(&["masks", "--weights", "sw.safetensors", "--output", "out"]);
    for name in ["shifts-stage-0.svg", "shifts-stage-3.png", "groups-stage-0.svg"] {
        assert!(desk.path("out").join(name).exists(), "no {name}");
    }
    let mut reader = csv::Reader::from_path(desk.path("out/sparsity-shifts.csv")).unwrap();
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().collect::<std::result::Result<_, _>>().unwrap();
    // 5, 5, 3 and 3 places, along rows and columns.
    assert_eq!(rows.len(), 2 * (5 + 5 + 3 + 3));
    let column = |name: &str| rows.iter().take(5).map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("offset"), ["-6", "-3", "0", "3", "6"]);
    assert_eq!(column("direction"), ["horizontal"; 5]);
    assert_eq!(column("of"), ["24"; 5], "12 channels, 2 shuffles");
    let config: &kernelscope::zoo::shiftwise::ShiftWiseConfig = spec.config.downcast_ref().unwrap();
    let report = sparsity("sw", &tensors, None, None).unwrap();
    let first = &kept_shifts(&report.groups, config).unwrap()[0];
    let expected: Vec<String> = (0..5)
        .map(|s| first.kept.iter().skip(s).step_by(5).map(|&kept| u64::from(kept)).sum::<u64>().to_string())
        .collect();
    assert_eq!(column("kept"), expected);
}

#[test]
fn a_run_shows_its_masks_over_training() {
    let desk = Desk::new();
    let train =
        ["train", "--model", "nano-1d", "--set", "dims=8,16,16,16", "--set", "stem_channels=8", "--set", "kernel=7"];
    let short = ["--size", "32", "--train-images", "32", "--batch", "16", "--epochs", "1", "--out", "run"];
    desk.run(&[&train[..], &short].concat());
    let masks = ["masks", "--run", "run", "--output", "out"];
    assert!(desk.run(&masks).contains("is dense"));
    assert!(!desk.path("out/masks-over-training.svg").exists());
    let rows: String =
        (1..5).map(|step| format!("{},stages.0.0.dwconv.weight,0.6,,0.{}\n", 100 * step, 5 + step)).collect();
    std::fs::write(desk.path("run/masks.csv"), format!("{HEADER}{rows}")).unwrap();
    let name = "stages.0.0.dwconv.weight";
    let weights = weights::load(&desk.path("run/checkpoints/epoch-0001.safetensors")).unwrap();
    let shape = weights.tensors[name].dims().to_vec();
    let keep: Vec<bool> = (0..shape.iter().product()).map(|i| i % 2 == 0).collect();
    desk.save(
        "run/checkpoints/epoch-0001.masks.safetensors",
        &TensorMap::from_iter([(name.to_string(), bits(&keep, &shape))]),
    );
    let report = json(&desk.run(&[&masks[..], &["--json"]].concat()));
    let layer = report["layers"].as_array().unwrap().iter().find(|l| l["name"] == name).unwrap().clone();
    assert_eq!((layer["density"].as_f64(), layer["masked"].as_bool()), (Some(0.5), Some(true)));
    assert!(desk.path("out/masks-over-training.svg").exists());
    desk.run(&["eval", "--run", "run"]);
    std::fs::write(desk.path("run/masks.csv"), format!("{HEADER}100,a,high,,\n")).unwrap();
    desk.fails(&masks, &["masks.csv", "damaged", "line: 2"]);
}

#[test]
fn files_that_cannot_be_reported() {
    let desk = Desk::new();
    let tensors = TensorMap::from_iter([("input".to_string(), crate::common::random("input", &[1, 3, 8, 8]))]);
    desk.save("input.safetensors", &tensors);
    desk.fails(&["masks", "--weights", "input.safetensors"], &["input", "without weights of a convolution"]);
    let nan = TensorMap::from_iter([("a.weight".to_string(), tensor(vec![1.0, f32::NAN], &[1, 2]))]);
    desk.save("nan.safetensors", &nan);
    desk.fails(&["masks", "--weights", "nan.safetensors", "--output", "out"], &["a.weight", "not finite", "index 1"]);
    let whole = std::fs::read(desk.path("nan.safetensors")).unwrap();
    std::fs::write(desk.path("cut.safetensors"), &whole[..whole.len() - 3]).unwrap();
    desk.fails(&["masks", "--weights", "cut.safetensors"], &["cut.safetensors", "truncated"]);
    desk.fails(&["masks", "--weights", "absent.pth"], &["absent.pth"]);
    desk.fails(&["masks", "--model", "nano-2d", "--weights", "nan.safetensors"], &["nan.safetensors", "missing"]);
    desk.fails(&["masks"], &["--weights", "--run", "--random"]);
    desk.fails(&["masks", "--model", "nano-2d", "--random", "0", "--size", "0"], &["--size", "0"]);
    desk.fails(&["masks", "--run", "absent"], &["absent", "run folder"]);
    let blocked = ["masks", "--model", "nano-2d", "--random", "0", "--output", "input.safetensors/x"];
    desk.fails(&blocked, &["input.safetensors/x"]);
}
