//! What training puts around the names of a network.

use super::torch::{Py, Store, dict, text};
use super::{Shelf, fails, holds, load, same, two_sets};
use candle_core::{Device, Tensor};
use kernelscope::weights::TensorMap;

fn renamed(tensors: &TensorMap, rename: impl Fn(&str) -> String) -> TensorMap {
    tensors.iter().map(|(name, tensor)| (rename(name), tensor.clone())).collect()
}

fn wrapped(tensors: &TensorMap, prefix: &str) -> TensorMap {
    renamed(tensors, |name| format!("{prefix}{name}"))
}

#[test]
fn prefixes_are_taken_off_in_both_formats_and_any_nesting() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    for prefix in [
        "module.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "model.",
        "net.",
        "network.",
        "model._orig_mod.",
        "_fsdp_wrapped_module.",
        "model.net.module.",
    ] {
        holds(&shelf.save("net.safetensors", &wrapped(&plain, prefix)), None, &plain);
        let mut store = Store::default();
        let model = store.state_dict(&plain, prefix);
        holds(&shelf.write("net.ckpt", &store.zip(&dict([("state_dict", model)]))), None, &plain);
    }
}

#[test]
fn wrappers_inside_of_names_are_taken_out() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let sharded = |name: &str| {
        let (start, rest) = name.split_once('.').unwrap();
        format!("_fsdp_wrapped_module.{start}._fsdp_wrapped_module.{rest}")
    };
    holds(&shelf.save("fsdp.safetensors", &renamed(&plain, sharded)), None, &plain);
    let checkpointed = |name: &str| name.replace("features.3.", "features.3._checkpoint_wrapped_module.");
    assert!(plain.keys().any(|name| checkpointed(name) != *name));
    holds(&shelf.save("part.safetensors", &renamed(&plain, checkpointed)), None, &plain);
}

#[test]
fn an_averaged_model_loads_without_its_counter() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let mut averaged = TensorMap::new();
    averaged.insert("n_averaged".to_owned(), Tensor::new(5i64, &Device::Cpu).unwrap());
    averaged.extend(wrapped(&plain, "module."));
    holds(&shelf.save("averaged.safetensors", &averaged), None, &plain);
    let mut store = Store::default();
    let model = store.state_dict(&averaged, "");
    let path = shelf.write("averaged.pth", &store.zip(&dict([("model", Py::Int(1)), ("model_ema", model)])));
    holds(&path, None, &plain);
    holds(&path, Some("model_ema"), &plain);
}

#[test]
fn of_several_modules_the_one_that_fits_is_loaded_and_the_rest_is_named() {
    let (plain, other) = two_sets();
    let shelf = Shelf::new();
    let ones = |count: usize| Tensor::ones(count, candle_core::DType::F32, &Device::Cpu).unwrap();
    let mut lightning = wrapped(&plain, "model.");
    lightning.insert("criterion.weight".to_owned(), ones(8));
    let (loaded, said) = load(&shelf.save("criterion.safetensors", &lightning), None);
    same(&loaded.unwrap(), &plain);
    assert!(said.contains("WARN") && said.contains("criterion.weight") && said.lines().count() == 1, "{said}");
    let mut two = wrapped(&other, "ema_model.");
    two.extend(wrapped(&plain, "model."));
    let path = shelf.save("two.safetensors", &two);
    let (loaded, said) = load(&path, None);
    same(&loaded.unwrap(), &plain);
    assert!(said.contains("ema_model.") && said.contains("more"), "{said}");
    holds(&path, Some("ema_model"), &other);
    let mut store = Store::default();
    let state = store.state_dict(&two, "");
    let path = shelf.write("two.ckpt", &store.zip(&dict([("state_dict", state), ("version", text("2.2"))])));
    holds(&path, Some("ema_model"), &other);
    holds(&path, Some("state_dict.ema_model"), &other);
    fails(&path, Some("best"), &["no entry best", "state_dict"]);
    let mut twins = wrapped(&plain, "student.");
    twins.extend(wrapped(&other, "teacher."));
    let path = shelf.save("twins.safetensors", &twins);
    fails(&path, None, &["student", "teacher", "the option `key`"]);
    holds(&path, Some("teacher"), &other);
    fails(&path, Some("best"), &["the entry best was requested"]);
}

#[test]
fn a_prefix_that_some_names_have_stays() {
    let (plain, other) = two_sets();
    let shelf = Shelf::new();
    let some = plain.iter().enumerate().map(|(index, (name, tensor))| {
        (if index % 2 == 1 { format!("module.{name}") } else { name.clone() }, tensor.clone())
    });
    fails(&shelf.save("some.safetensors", &some.collect()), None, &["missing", "unexpected (module."]);
    for prefix in ["module.", "model."] {
        let mut both = plain.clone();
        both.extend(wrapped(&other, prefix));
        let unexpected = format!("{} unexpected ({prefix}", plain.len());
        fails(&shelf.save("both.safetensors", &both), None, &[&unexpected]);
    }
}

#[test]
fn counters_of_profilers_are_left_out_and_named() {
    let (mut plain, _) = two_sets();
    let expected = plain.clone();
    let zero = Tensor::zeros(1, candle_core::DType::F64, &Device::Cpu).unwrap();
    plain.insert("total_ops".to_owned(), zero.clone());
    plain.insert("features.0.0.total_params".to_owned(), zero);
    let shelf = Shelf::new();
    let (loaded, said) = load(&shelf.save("profiled.safetensors", &plain), None);
    same(&loaded.unwrap(), &expected);
    assert!(said.contains("WARN") && said.contains("total_ops") && said.contains("total_params"), "{said}");
}

#[test]
fn what_comes_closest_is_what_a_message_is_about() {
    let (mut plain, _) = two_sets();
    plain.shift_remove("classifier.1.bias").unwrap();
    let mut lightning = wrapped(&plain, "model.");
    lightning.insert("criterion.weight".to_owned(), Tensor::new(&[1f32], &Device::Cpu).unwrap());
    let shelf = Shelf::new();
    let path = shelf.save("short.safetensors", &lightning);
    fails(&path, None, &["short.safetensors (model)", "1 missing (classifier.1.bias)"]);
}
