//! Weights as other trainings leave them, through the command.

use super::Desk;
use candle_core::{Device, Tensor};
use kernelscope::weights::{self, TensorMap};

fn predict<'a>(weights: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let command = ["predict", "--model", "nano-2d", "--input", "batch.safetensors", "--output", "out.safetensors"];
    [&command[..], &["--weights", weights], more].concat()
}

#[test]
fn of_two_sets_of_weights_one_is_named_with_an_option() {
    let desk = Desk::new();
    desk.input("batch.safetensors");
    let network = desk.network("nano-2d", "plain.safetensors", false);
    let mut both = TensorMap::new();
    for (name, tensor) in network.params().tensors() {
        both.insert(format!("teacher.{name}"), (&tensor * 0.5).unwrap());
        both.insert(format!("student.{name}"), tensor);
    }
    weights::save(&desk.path("both.safetensors"), &both, &Default::default()).unwrap();
    desk.fails_without_trace(&predict("both.safetensors", &[]), &["student", "teacher", "choose one with --key"]);
    desk.fails_without_trace(&predict("both.safetensors", &["--key", "best"]), &["the entry best was requested"]);
    let logits = |weights: &str, more: &[&str]| {
        desk.run(&predict(weights, more));
        let output = weights::load(&desk.path("out.safetensors")).unwrap();
        output.tensors["logits"].flatten_all().unwrap().to_vec1::<f32>().unwrap()
    };
    let plain = logits("plain.safetensors", &[]);
    assert_eq!(logits("both.safetensors", &["--key", "student"]), plain);
    assert_ne!(logits("both.safetensors", &["--key", "teacher"]), plain);
    desk.fails_without_trace(&["masks", "--weights", "both.safetensors", "--key", "best"], &["best was requested"]);
}

#[test]
fn weights_that_are_not_finite_are_named_in_one_line() {
    let desk = Desk::new();
    desk.input("batch.safetensors");
    let network = desk.network("nano-2d", "plain.safetensors", false);
    let mut tensors = network.params().tensors();
    let shape = tensors["head.bias"].shape().clone();
    tensors.insert("head.bias".to_owned(), Tensor::full(f32::NAN, shape, &Device::Cpu).unwrap());
    weights::save(&desk.path("nan.safetensors"), &tensors, &Default::default()).unwrap();
    let output = desk.command(&predict("nan.safetensors", &[])).assert().success().get_output().clone();
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert!(lines.len() == 1 && lines[0].contains("head.bias") && lines[0].contains("nan.safetensors"), "{said}");
}
