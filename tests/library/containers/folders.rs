//! Folders, and tensors in several files.

use super::torch::Store;
use super::{Shelf, fails, holds, two_sets};
use kernelscope::weights::{TensorMap, in_folder, load};
use serde_json::{Map, Value, json};

const PARTS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// The two halves of some tensors.
fn halves(tensors: &TensorMap) -> [TensorMap; 2] {
    let half = tensors.len() / 2;
    let part = |from: usize, to: usize| {
        let entries = tensors.iter().skip(from).take(to - from);
        entries.map(|(name, tensor)| (name.clone(), tensor.clone())).collect()
    };
    [part(0, half), part(half, tensors.len())]
}

fn index(files: &[(&str, &TensorMap)]) -> String {
    let names = files.iter().flat_map(|(file, tensors)| tensors.keys().map(move |name| (name.clone(), json!(file))));
    let map: Map<String, Value> = names.collect();
    json!({ "metadata": { "total_size": 1 }, "weight_map": map }).to_string()
}

#[test]
fn tensors_in_several_files_are_put_together() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let [first, second] = halves(&plain);
    shelf.save(&format!("flat/{}", PARTS[0]), &first);
    shelf.save(&format!("flat/{}", PARTS[1]), &second);
    let text = index(&[(PARTS[0], &first), (PARTS[1], &second)]);
    let path = shelf.write("flat/model.safetensors.index.json", text.as_bytes());
    holds(&path, None, &plain);
    holds(&shelf.path("flat"), None, &plain);
    holds(&shelf.path("flat").join(PARTS[1]), None, &plain);
    assert_eq!(load(&shelf.path("flat")).unwrap().source, path);
    let mut files = Vec::new();
    for (number, part) in [(1, &first), (2, &second)] {
        let mut store = Store::default();
        let state = store.state_dict(part, "");
        let name = format!("pytorch_model-{number:05}-of-00002.bin");
        shelf.write(&format!("bin/{name}"), &store.zip(&state));
        files.push((name, part));
    }
    let files: Vec<(&str, &TensorMap)> = files.iter().map(|(name, part)| (name.as_str(), *part)).collect();
    holds(&shelf.write("bin/pytorch_model.bin.index.json", index(&files).as_bytes()), None, &plain);
    holds(&shelf.path("bin"), None, &plain);
}

#[test]
fn an_index_and_its_files_must_agree() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let [first, second] = halves(&plain);
    let files = |folder: &str, parts: &[(&str, &TensorMap)], listed: &[(&str, &TensorMap)]| {
        parts.iter().for_each(|(name, part)| drop(shelf.save(&format!("{folder}/{name}"), part)));
        shelf.write(&format!("{folder}/model.safetensors.index.json"), index(listed).as_bytes())
    };
    let both = [(PARTS[0], &first), (PARTS[1], &second)];
    fails(&files("missing", &both[..1], &both), None, &["index.json", PARTS[1], "missing beside it"]);
    let elsewhere = [(PARTS[0], &first), ("../missing/b.safetensors", &second)];
    fails(&files("escape", &both, &elsewhere), None, &["../missing/b.safetensors", "no name in its folder"]);
    let absolute = [("/etc/passwd", &first)];
    fails(&files("absolute", &both, &absolute), None, &["/etc/passwd", "no name in its folder"]);
    let (mut less, mut more) = (second.clone(), second.clone());
    let (name, tensor) = less.pop().unwrap();
    fails(&files("less", &[both[0], (PARTS[1], &less)], &both), None, &["says that", &name, PARTS[1]]);
    more.insert("other.weight".to_owned(), tensor);
    fails(&files("more", &[both[0], (PARTS[1], &more)], &both), None, &["does not list other.weight", PARTS[1]]);
    fails(&files("nothing", &both, &[]), None, &["lists no tensors"]);
    fails(&files("itself", &both, &[("model.safetensors.index.json", &first)]), None, &["is an index itself"]);
    let odd = shelf.write("odd.safetensors.index.json", br#"{"weight_map":{"a":3}}"#);
    fails(&odd, None, &["lists the file 3 for a"]);
}

#[test]
fn a_folder_has_its_weights_in_the_usual_file() {
    let (plain, other) = two_sets();
    let shelf = Shelf::new();
    let config = br#"{"architectures":["MobileNetV2ForImageClassification"]}"#;
    shelf.save("hub/model.safetensors", &plain);
    shelf.write("hub/pytorch_model.bin", b"not looked at");
    shelf.write("hub/config.json", config);
    shelf.write("hub/training_args.bin", b"not looked at");
    holds(&shelf.path("hub"), None, &plain);
    let checkpoint = load(&shelf.path("hub")).unwrap();
    assert_eq!(checkpoint.source, shelf.path("hub/model.safetensors"));
    assert_eq!(checkpoint.config.as_deref().map(str::as_bytes), Some(&config[..]));
    shelf.save("one/epoch-3.safetensors", &plain);
    shelf.write("one/optimizer.pt", b"not looked at");
    shelf.write("one/notes.txt", b"not looked at");
    holds(&shelf.path("one"), None, &plain);
    assert_eq!(load(&shelf.path("one")).unwrap().config, None);
    shelf.save("several/a.safetensors", &plain);
    shelf.save("several/b.safetensors", &other);
    fails(&shelf.path("several"), None, &["several", "a.safetensors, b.safetensors"]);
    shelf.save(&format!("unlisted/{}", PARTS[0]), &plain);
    shelf.save(&format!("unlisted/{}", PARTS[1]), &other);
    fails(&shelf.path("unlisted"), None, &["no index of them"]);
}

#[test]
fn folders_of_other_programs_are_named() {
    let shelf = Shelf::new();
    let cases: [(&str, &[&str], &[&str]); 6] = [
        ("dcp", &[".metadata", "__0_0.distcp"], &["torch.distributed.checkpoint", "dcp_to_torch"]),
        ("zero", &["zero_pp_rank_0_mp_rank_00_optim_states.pt"], &["DeepSpeed", "zero_to_fp32.py"]),
        ("deepspeed", &["latest", "zero_to_fp32.py"], &["DeepSpeed"]),
        ("tensorflow", &["saved_model.pb"], &["TensorFlow SavedModel"]),
        ("run", &["config.toml", "checkpoints/epoch-0001.safetensors"], &["run folder"]),
        ("notes", &["readme.txt"], &["contains no file of weights"]),
    ];
    for (folder, files, parts) in cases {
        files.iter().for_each(|file| drop(shelf.write(&format!("{folder}/{file}"), b"x")));
        fails(&shelf.path(folder), None, parts);
        assert!(in_folder(&shelf.path(folder)).is_err());
    }
}
