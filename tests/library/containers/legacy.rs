//! The format of torch.save from before zip files.

use super::torch::{Py, Storage, Store, Style, call, dict, legacy_head, object, row_major, text};
use super::{Shelf, fails, holds, two_sets};
use crate::weights::{load_bytes, refused};
use kernelscope::rng::stream;
use kernelscope::weights::Checkpoint;
use rand::RngExt;

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.tensors[name].flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn old_files_of_every_age_hold_the_same_weights() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    for protocol in [2, 3, 4, 5] {
        let mut store = Store::default();
        let model = store.state_dict(&plain, "module.");
        let style = Style { protocol, ..Style::USUAL };
        let state = dict([("epoch", Py::Int(1)), ("state_dict", model), ("args", object())]);
        holds(&shelf.write("old.pth", &store.legacy(&state, style)), None, &plain);
    }
    for oldest in [false, true] {
        let mut store = Store { oldest, ..Store::default() };
        let model = store.state_dict(&plain, "");
        let style = Style { python2: true, ..Style::USUAL };
        holds(&shelf.write("python2.pth", &store.legacy(&model, style)), None, &plain);
    }
    // torchvision's first files have no counters, and are called .tar or anything else.
    let mut store = Store::default();
    let mut bare = plain.clone();
    bare.retain(|name, _| !name.ends_with("num_batches_tracked"));
    let model = store.state_dict(&bare, "");
    holds(&shelf.write("resnet.pth.tar", &store.legacy(&model, Style::USUAL)), None, &plain);
}

#[test]
fn views_strides_and_halves_of_old_files_are_read_as_they_were() {
    let mut store = Store::default();
    let shared = store.storage("FloatStorage", 12, bytes_of(&std::array::from_fn::<f32, 12, _>(|i| i as f32)));
    let rows = store.view(shared.clone(), 3, &[2, 3], &row_major(&[2, 3]));
    let turned = store.view(shared.clone(), 6, &[3, 2], &[1, 3]);
    let half = store.dense("HalfStorage", &[2], vec![0x00, 0x38, 0x00, 0xc0]);
    // Skipped, although its type cannot be loaded.
    let odd = dict([("codes", store.dense("CharStorage", &[3], vec![1, 2, 3]))]);
    // Only attributes refer to this one.
    let hidden = store.dense("DoubleStorage", &[2], vec![0; 16]);
    let state = Py::Built(Box::new(call("collections", "Counter", vec![])), Box::new(dict([("hidden", hidden)])));
    let model = dict([("rows", rows), ("turned", turned), ("half", half)]);
    let file = store.legacy(&dict([("model", model), ("quantized", odd), ("state", state)]), Style::USUAL);
    let loaded = load_bytes(&file, "views.pth").unwrap();
    assert_eq!(values(&loaded, "rows"), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(values(&loaded, "turned"), [6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
    assert_eq!(values(&loaded, "half"), [0.5, -2.0]);
    // A part of a storage, as the oldest files describe it.
    let mut store = Store { oldest: true, ..Store::default() };
    let storage = store.storage("FloatStorage", 4, bytes_of(&[1.0, 2.0, 3.0, 4.0]));
    let Py::Persistent(mut id) = storage else { panic!("no reference") };
    id[5] = Py::Tuple(vec![text("5"), Py::Int(1), Py::Int(3)]);
    let part = store.view(Py::Persistent(id), 1, &[2], &[1]);
    let loaded = load_bytes(&store.legacy(&dict([("part", part)]), Style::USUAL), "part.pth").unwrap();
    assert_eq!(values(&loaded, "part"), [3.0, 4.0]);
}

/// A file of one tensor whose storage says other things than its values.
fn with_storage(change: impl FnOnce(&mut Storage)) -> Vec<u8> {
    let mut store = Store::default();
    let tensor = store.dense("FloatStorage", &[4], bytes_of(&[1.0, 2.0, 3.0, 4.0]));
    change(&mut store.storages[0]);
    store.legacy(&dict([("w", tensor)]), Style::USUAL)
}

#[test]
fn hostile_old_files_are_refused_before_anything_is_allocated() {
    let sound = with_storage(|_| {});
    assert_eq!(values(&load_bytes(&sound, "sound.pth").unwrap(), "w"), [1.0, 2.0, 3.0, 4.0]);
    // torch does not look at what follows, either.
    assert!(load_bytes(&[&sound[..], &[0; 64]].concat(), "trailing.pth").is_ok());
    refused(&with_storage(|storage| storage.numel = -4), "negative.pth", "of 4 elements claims -4");
    refused(&with_storage(|storage| storage.numel = 1 << 40), "huge.pth", "claims 1099511627776");
    refused(&with_storage(|storage| storage.numel = 3), "short.pth", "claims 3");
    refused(&with_storage(|storage| storage.key = "7".to_owned()), "other.pth", "other storages than its tensors have");
    for len in 0..sound.len() {
        assert!(load_bytes(&sound[..len], "cut.pth").is_err(), "cut to {len}");
    }
    refused(&sound[..sound.len() - 1], "cut.pth", "is truncated");
    refused(&sound[..100], "cut.pth", "is truncated");

    let mut store = Store::default();
    let tensor = store.dense("FloatStorage", &[4], bytes_of(&[1.0; 4]));
    let twice = store.storages[0].clone();
    store.storages.push(twice);
    refused(&store.legacy(&dict([("w", tensor)]), Style::USUAL), "twice.pth", "one of them twice");

    let two_ways = |class: &'static str, numel: i64| {
        let mut store = Store::default();
        let first = store.dense("FloatStorage", &[4], bytes_of(&[1.0; 4]));
        let id = vec![text("storage"), Py::Global("torch", class), text("990"), text("cpu"), Py::Int(numel)];
        let second = store.view(Py::Persistent(id), 0, &[1], &[1]);
        store.legacy(&dict([("a", first), ("b", second)]), Style::USUAL)
    };
    refused(&two_ways("IntStorage", 4), "class.pth", "describes the storage 990 in two ways");
    refused(&two_ways("FloatStorage", 5), "numel.pth", "describes the storage 990 in two ways");
    assert!(load_bytes(&two_ways("FloatStorage", 4), "shared.pth").is_ok());

    let mut store = Store::default();
    let huge = store.storage("FloatStorage", 1 << 62, vec![]);
    let view = store.view(huge, 0, &[1], &[1]);
    refused(&store.legacy(&dict([("w", view)]), Style::USUAL), "overflow.pth", "is truncated");
    let mut store = Store::default();
    let odd = store.dense("StrangeStorage", &[1], vec![0]);
    refused(&store.legacy(&dict([("w", odd)]), Style::USUAL), "odd.pth", "unknown type StrangeStorage");
    let mut store = Store::default();
    let negative = store.storage("FloatStorage", 4, bytes_of(&[1.0; 4]));
    let Py::Persistent(mut id) = negative else { panic!("no reference") };
    id[4] = Py::Int(-1);
    let view = store.view(Py::Persistent(id), 0, &[1], &[1]);
    refused(&store.legacy(&dict([("w", view)]), Style::USUAL), "minus.pth", "is damaged");

    let head = legacy_head(Style::USUAL);
    let other_version: Vec<u8> = head.iter().take(15).copied().chain(Style::USUAL.pickle(&Py::Int(7))).collect();
    refused(&other_version, "version.pth", "another version than 1001");
    let many = Py::List(vec![Py::Int(0); 1000]);
    let long_version: Vec<u8> = head.iter().take(15).copied().chain(Style::USUAL.pickle(&many)).collect();
    refused(&long_version, "long.pth", "more than 64 values");
}

#[test]
fn an_old_pickled_model_is_named_by_its_class() {
    let class = Py::Persistent(vec![
        text("module"),
        Py::Global("models.net", "ResNet"),
        text("net.py"),
        text("class ResNet: pass"),
    ]);
    let model = call("copy_reg", "_reconstructor", vec![class, Py::Global("__builtin__", "object"), Py::None]);
    let file = Store::default().legacy(&model, Style::USUAL);
    let shelf = Shelf::new();
    fails(&shelf.write("model.pth", &file), None, &["an object of models.net.ResNet", "save the state_dict()"]);
}

#[test]
fn descriptions_longer_than_the_first_read_are_read_on() {
    let mut store = Store::default();
    let tensor = store.dense("FloatStorage", &[2], bytes_of(&[5.0, 6.0]));
    let log = Py::List((0..60_000).map(|i| text(&format!("a line of a training log, number {i}"))).collect());
    let file = store.legacy(&dict([("log", log), ("w", tensor)]), Style::USUAL);
    assert!(file.len() > 2 << 20, "{}", file.len());
    assert_eq!(values(&load_bytes(&file, "log.pth").unwrap(), "w"), [5.0, 6.0]);
}

#[test]
fn random_damage_to_an_old_file_never_panics() {
    let mut store = Store::default();
    let model = dict([
        ("a", store.dense("FloatStorage", &[4], bytes_of(&[1.0; 4]))),
        ("b", store.dense("HalfStorage", &[2, 2], vec![0; 8])),
    ]);
    let sound = store.legacy(&model, Style::USUAL);
    let mut rng = stream(11, &[]);
    for _ in 0..2000 {
        let mut damaged = sound.clone();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..damaged.len());
            damaged[at] = rng.random();
        }
        let _ = load_bytes(&damaged, "damaged.pth");
    }
}
