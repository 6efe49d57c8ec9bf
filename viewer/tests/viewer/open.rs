//! Opening: what is shown of whole and of broken things.

use crate::support::{SIDE, checkpoint, copied, messages, opened, run, runs, settings};
use egui_kittest::kittest::Queryable;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_viewer::command::{Command, ReadAs};
use kernelscope_viewer::state::{Source, View};
use kernelscope_viewer::window::Size;
use std::path::Path;

#[test]
fn a_folder_of_runs_opens_with_all_that_is_known() {
    let harness = opened(&[runs()]);
    let state = &harness.state().state;
    assert_eq!(messages(harness.state()), Vec::<String>::new());
    let labels: Vec<&str> = state.entries.iter().map(|entry| entry.label.as_str()).collect();
    assert_eq!(labels, ["line", "shifts"]);
    for entry in &state.entries {
        let overview = entry.overview.as_ref().unwrap();
        assert_eq!(overview.is_complete(), Some(true));
        assert!(!overview.rows.is_empty() && !overview.checkpoints.is_empty());
        let costs = entry.facts.costs.as_ref().unwrap();
        assert_eq!(costs.size, (SIDE, SIDE));
        assert_eq!(costs.macs, entry.facts.tree.as_ref().unwrap().macs);
        let erf = entry.erf.as_ref().unwrap();
        assert_eq!((erf.map.images, erf.total, erf.map.height), (2, 2, 64));
        assert_eq!(entry.hash.as_ref().unwrap().len(), 64);
        assert!(matches!(&entry.sparsity, Some(Ok(_))));
    }
    assert!(state.entries[0].facts.kernels.iter().any(|layer| layer.path == "stages.0.0.dwconv"));
    let sparse = state.entries[1].sparsity.as_ref().unwrap().as_ref().unwrap();
    assert!(sparse.totals.last().unwrap().density < 0.999 && !sparse.groups.is_empty());
    assert!(state.entries[1].overview.as_ref().unwrap().masks.is_some());
}

#[test]
fn the_hash_is_that_of_sha256sum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("abc");
    std::fs::write(&path, "abc").unwrap();
    let hash = kernelscope_lab::open::sha256(&path, &|| false).unwrap();
    assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn weights_without_a_name_are_shown_and_the_network_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.safetensors");
    checkpoint(&path, "nano-1d", false);
    let mut harness = opened(&[&path]);
    let entry = &harness.state().state.entries[0];
    assert!(entry.network_name().is_none() && !entry.facts.kernels.is_empty() && entry.sparsity.is_some());
    assert!(
        messages(harness.state())[0].contains("does not say which network it is for"),
        "{:?}",
        messages(harness.state())
    );
    // The fault stands in the view as well.
    assert!(harness.query_all_by_label_contains("Cannot show network").next().is_some());
    let id = entry.id;
    run(&mut harness, Command::SetModel(ReadAs { entry: id, model: Some("nano-1d".into()) }));
    let entry = &harness.state().state.entries[0];
    assert_eq!(entry.network_name(), Some("nano-1d"));
    assert!(entry.erf.is_some());
    run(&mut harness, Command::SetModel(ReadAs { entry: id, model: Some("resnet-50".into()) }));
    let last = messages(harness.state()).pop().unwrap();
    assert!(last.contains("plain") && last.contains("resnet-50"), "{last}");
}

#[test]
fn a_name_with_letters_that_no_font_has_is_no_reason_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("実験-\u{1f9ea}.safetensors");
    checkpoint(&path, "nano-1d", true);
    // As in the window: boxes in place of the letters.
    let ctx = eframe::egui::Context::default();
    let runner = Box::new(kernelscope_viewer::jobs::InlineRunner);
    let mut viewer = kernelscope_viewer::Viewer::new(&ctx, settings(), runner);
    viewer.run(&ctx, Command::Open(path.into()));
    let image = kernelscope_viewer::raster::picture(&ctx, &mut viewer, Size { width: 900, height: 600 });
    assert_eq!((image.width(), viewer.state.entries.len()), (900, 1));
}

#[test]
fn every_mistake_has_a_message_that_says_what_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    std::fs::write(place("empty.safetensors"), "").unwrap();
    std::fs::write(place("text.pth"), "hello").unwrap();
    std::fs::write(place("bad.npy"), "hello").unwrap();
    std::fs::create_dir(place("nothing")).unwrap();
    for (name, part) in [
        ("absent.safetensors", "cannot open"),
        ("empty.safetensors", "is empty"),
        ("text.pth", "neither a safetensors file"),
        ("bad.npy", "not a readable NumPy file"),
        ("nothing", "is not a run folder"),
    ] {
        let harness = opened(&[&place(name)]);
        let messages = messages(harness.state());
        assert_eq!(messages.len(), 1, "{name}: {messages:?}");
        assert!(messages[0].contains(name) && messages[0].contains(part), "{name}: {messages:?}");
        assert!(harness.state().state.entries.is_empty(), "{name}");
        // The start page shows it.
        assert!(harness.query_all_by_label_contains(part).next().is_some(), "{name}");
    }
}

#[test]
fn a_damaged_run_shows_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = copied("line", folder.path());
    std::fs::write(path.join("config.toml"), "[train]\nepochs = \"many\"\n").unwrap();
    std::fs::write(path.join("metrics.csv"), "kind,epoch\nstep,x\n").unwrap();
    let harness = opened(&[&path]);
    let entry = &harness.state().state.entries[0];
    assert!(entry.facts.tree.is_some() && entry.erf.is_some());
    let all = messages(harness.state()).join("\n");
    assert!(all.contains("config.toml") && all.contains("many") && all.contains("metrics.csv"), "{all}");
}

#[test]
fn a_run_without_checkpoints_shows_its_curves() {
    let folder = tempfile::tempdir().unwrap();
    let path = copied("line", folder.path());
    std::fs::remove_dir_all(path.join("checkpoints")).unwrap();
    std::fs::create_dir(path.join("checkpoints")).unwrap();
    let harness = opened(&[&path]);
    let entry = &harness.state().state.entries[0];
    assert!(!entry.overview.as_ref().unwrap().rows.is_empty() && entry.subject.is_none());
    assert!(messages(harness.state()).join("\n").contains("no checkpoint"), "{:?}", messages(harness.state()));
}

/// Saves weights of which one value is not a number.
fn with_nan(from: &Path, to: &Path) {
    let mut file = weights::load(from).unwrap();
    let name = "stages.0.0.dwconv.weight";
    let tensor = file.tensors.get(name).unwrap();
    let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values[17] = f32::NAN;
    let damaged = candle_core::Tensor::from_vec(values, tensor.shape(), &candle_core::Device::Cpu).unwrap();
    let mut tensors: TensorMap = file.tensors.clone();
    tensors.insert(name.into(), damaged);
    file.metadata.retain(|key, _| key.starts_with("kernelscope"));
    weights::save(to, &tensors, &file.metadata).unwrap();
}

#[test]
fn weights_that_are_not_numbers_are_named_and_the_rest_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, damaged) = (folder.path().join("whole.safetensors"), folder.path().join("nan.safetensors"));
    checkpoint(&whole, "nano-1d", true);
    with_nan(&whole, &damaged);
    let harness = opened(&[&damaged]);
    let entry = &harness.state().state.entries[0];
    let all = messages(harness.state()).join("\n");
    assert!(all.contains("stages.0.0.dwconv.weight is NaN at index 17"), "{all}");
    assert!(entry.facts.tree.is_some() && !entry.facts.kernels.is_empty());
    assert!(entry.erf_fault.as_ref().unwrap().contains("not finite"), "{:?}", entry.erf_fault);
    assert!(matches!(&entry.sparsity, Some(Err(message)) if message.contains("dwconv")));
}

#[test]
fn matrices_stand_beside_networks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.npy");
    let values: Vec<f32> = (0..48 * 48).map(|i| (i % 48) as f32).collect();
    let matrix = candle_core::Tensor::from_vec(values, (48, 48), &candle_core::Device::Cpu).unwrap();
    matrix.write_npy(&path).unwrap();
    let harness = opened(&[&path, &runs().join("line")]);
    let maps: Vec<usize> = harness.state().state.shown().iter().map(|e| e.erf.as_ref().unwrap().map.width).collect();
    assert_eq!(maps, [48, 64]);
    assert_eq!(messages(harness.state()), Vec::<String>::new());
}

#[test]
fn a_typed_path_may_name_its_network() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.safetensors");
    checkpoint(&path, "nano-2d", false);
    let mut harness = opened(&[]);
    run(&mut harness, Command::OpenTyped);
    harness.event(eframe::egui::Event::Text(format!(" nano-2d={} ", path.display())));
    harness.run_steps(2);
    harness.key_press(eframe::egui::Key::Enter);
    harness.run_steps(4);
    let state = &harness.state().state;
    assert_eq!(state.entries.first().and_then(|entry| entry.network_name()), Some("nano-2d"));
    assert_eq!(state.settings.recent.first(), Some(&Source::named(path, "nano-2d")));
}

#[test]
fn a_seventh_network_is_opened_but_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(&[]);
    for index in 0..7 {
        let path = folder.path().join(format!("map-{index}.npy"));
        let matrix = candle_core::Tensor::new(&[[1.0f32, 2.0], [3.0, 4.0]], &candle_core::Device::Cpu).unwrap();
        matrix.write_npy(&path).unwrap();
        run(&mut harness, Command::Open(path.into()));
    }
    let state = &harness.state().state;
    assert_eq!((state.entries.len(), state.look.compared.len(), state.shown().len()), (7, 6, 6));
    let last = state.entries[6].id;
    assert!(state.shown().iter().any(|entry| entry.id == last), "what is looked at is always shown");
    run(&mut harness, Command::Compare(last));
    assert!(messages(harness.state()).pop().unwrap().contains("at most 6"));
    // Maps of other sizes than networks' stand beside each other, and have a difference of their own.
    assert!(harness.query_by_label("Receptive field of map-6").is_some());
}

#[test]
fn a_run_in_training_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = copied("line", folder.path());
    // As it was after the first epoch.
    let progress = std::fs::read_to_string(path.join("state/progress.toml")).unwrap();
    let rows = std::fs::read_to_string(path.join("metrics.csv")).unwrap();
    let until: Vec<&str> = rows.lines().take_while(|line| !line.starts_with("step,2")).collect();
    std::fs::write(path.join("metrics.csv"), until.join("\n") + "\n").unwrap();
    std::fs::write(path.join("state/progress.toml"), progress.replace("epoch = 3", "epoch = 1")).unwrap();
    let mut harness = opened(&[&path]);
    let before = {
        let entry = &harness.state().state.entries[0];
        let overview = entry.overview.as_ref().unwrap();
        assert_eq!((overview.is_complete(), overview.progress.epoch), (Some(false), 1));
        assert!(entry.subject.as_ref().unwrap().source.ends_with("epoch-0001.safetensors"));
        overview.rows.len()
    };
    std::fs::write(path.join("metrics.csv"), &rows).unwrap();
    std::fs::write(path.join("state/progress.toml"), &progress).unwrap();
    // Simulated time passes, a quarter of a second per frame.
    harness.run_steps(12);
    let entry = &harness.state().state.entries[0];
    let overview = entry.overview.as_ref().unwrap();
    assert!(overview.rows.len() > before && overview.is_complete() == Some(true));
    assert!(entry.subject.as_ref().unwrap().source.ends_with("epoch-0003.safetensors"), "newest weights are shown");
}

#[test]
fn dropped_and_recent_files_open() {
    #[derive(Debug)]
    struct Dropped(std::path::PathBuf);
    impl eframe::egui::DroppedFile for Dropped {
        fn path(&self) -> &Path {
            &self.0
        }
        fn bytes(&self) -> Result<Vec<u8>, String> {
            std::fs::read(&self.0).map_err(|error| error.to_string())
        }
    }
    let mut harness = opened(&[]);
    harness.input_mut().dropped_files.push(std::sync::Arc::new(Dropped(runs().join("line"))));
    harness.run_steps(4);
    assert_eq!(harness.state().state.entries.len(), 1);
    run(&mut harness, Command::CloseAll);
    assert!(harness.state().state.entries.is_empty());
    // The start page offers what was open before.
    let path = runs().join("line").display().to_string();
    harness.get_by_label(&path).click();
    harness.run_steps(4);
    assert_eq!(harness.state().state.entries.len(), 1);
    run(&mut harness, Command::Show(View::Network));
}

#[test]
fn large_networks_open_within_two_seconds() {
    let folder = tempfile::tempdir().unwrap();
    for model in ["convnext-t-1d", "replknet-31b"] {
        let path = folder.path().join(format!("{model}.safetensors"));
        let network = Network::build(ModelSpec::named(model).unwrap(), BuildOptions::shapes_only()).unwrap();
        weights::save(&path, &network.params().tensors(), &[network.spec().metadata().unwrap()].into()).unwrap();
        drop(network);
        let start = std::time::Instant::now();
        let subject = kernelscope_lab::open::Subject::open(&path, None, None).unwrap();
        let facts = kernelscope_lab::open::Facts::new(&subject);
        let seconds = start.elapsed().as_secs_f64();
        assert!(subject.faults.is_empty() && facts.tree.is_some(), "{:?}", subject.faults);
        eprintln!("{model}: {seconds:.2} s");
        // Machines that build other things at the same time get time enough.
        assert!(seconds < 60.0, "{model}: {seconds:.2} s");
    }
}
