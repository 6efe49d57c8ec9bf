//! The masks over training, and figures of them and of reports.

use super::{Desk, Shiftwise, bits, json, pruned, refused};
use kernelscope::Result;
use kernelscope::analysis::report::SparsityReport;
use kernelscope::analysis::sparsity::{sparsity, stage_means};
use kernelscope::weights::{self, TensorMap};
use kernelscope_lab::plot::{self, DensityBars, GroupMaps, KeptGroupHistograms, MaskCurves, TapShares};
use kernelscope_lab::run::read_mask_history;

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
