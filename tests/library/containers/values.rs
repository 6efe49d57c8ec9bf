//! Element types, and values that are odd.

use super::torch::{Py, Store, call, dict, row_major, text};
use super::{Shelf, fails, holds, load, same, two_sets};
use crate::weights::{load_bytes, refused};
use candle_core::{DType, Device, Tensor};
use kernelscope::weights::{Checkpoint, ElementType, TensorMap};

const WEIGHT: &str = "classifier.1.weight";

#[test]
fn integers_are_no_weights() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    for (dtype, name) in [(DType::I32, "int32"), (DType::I64, "int64"), (DType::U8, "uint8")] {
        let mut integers = plain.clone();
        integers.insert(WEIGHT.to_owned(), (&plain[WEIGHT] * 100.0).unwrap().abs().unwrap().to_dtype(dtype).unwrap());
        let path = shelf.save("integers.safetensors", &integers);
        fails(&path, None, &["integers.safetensors", WEIGHT, name, "must be floats"]);
        // Also of tensors that come from no file.
        let checkpoint = Checkpoint { tensors: integers, source: "memory".into(), ..Checkpoint::default() };
        let message = super::network().spec().weights_in(checkpoint).unwrap_err().to_string();
        assert!(message.contains(WEIGHT) && message.contains("integer"), "{message}");
    }
    let mut store = Store::default();
    let bytes = store.dense("CharStorage", &[2], vec![1, 2]);
    refused(&store.zip(&dict([("w", bytes)])), "bytes.pth", "tensor w: element type Char is not supported");
}

#[test]
fn values_that_are_not_finite_are_named_in_one_warning() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let odd = |name: &str, value: f32| {
        let mut values: Vec<f32> = plain[name].flatten_all().unwrap().to_vec1().unwrap();
        values[3] = value;
        (name.to_owned(), Tensor::from_vec(values, plain[name].shape(), &Device::Cpu).unwrap())
    };
    let mut damaged = plain.clone();
    damaged.extend([odd(WEIGHT, f32::NAN), odd("classifier.1.bias", f32::NEG_INFINITY)]);
    let (loaded, said) = load(&shelf.save("odd.safetensors", &damaged), None);
    same(&loaded.unwrap(), &damaged);
    let named = said.contains(WEIGHT) && said.contains("classifier.1.bias");
    assert!(named && said.contains("WARN") && said.contains("NaN") && said.lines().count() == 1, "{said}");
    // Values whose sum overflows are finite.
    let mut large = plain.clone();
    let shape = plain[WEIGHT].shape();
    large.insert(WEIGHT.to_owned(), Tensor::full(3e38f32, shape, &Device::Cpu).unwrap());
    holds(&shelf.save("large.safetensors", &large), None, &large);
}

#[test]
fn counters_may_be_missing_a_list_or_a_float() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let is_counter = |name: &str| name.ends_with("num_batches_tracked");
    assert!(plain.keys().any(|name| is_counter(name)));
    let changed = |change: &dyn Fn(&Tensor) -> Option<Tensor>| -> TensorMap {
        let tensors = plain.iter().filter_map(|(name, tensor)| {
            let tensor = if is_counter(name) { change(tensor)? } else { tensor.clone() };
            Some((name.clone(), tensor))
        });
        tensors.collect()
    };
    for (file, tensors) in [
        ("missing.safetensors", changed(&|_| None)),
        ("list.safetensors", changed(&|counter| counter.reshape(1).ok())),
        ("float.safetensors", changed(&|counter| counter.to_dtype(DType::F32).ok())),
    ] {
        holds(&shelf.save(file, &tensors), None, &plain);
    }
    let two = changed(&|counter| Tensor::cat(&[&counter.reshape(1).ok()?, &counter.reshape(1).ok()?], 0).ok());
    fails(&shelf.save("two.safetensors", &two), None, &["num_batches_tracked: expected [], found [2]"]);
}

/// A tensor of one of the types that are stored with their name.
fn typed(store: &mut Store, dtype: &'static str, shape: &[usize], bytes: Vec<u8>) -> Py {
    let storage = store.storage("UntypedStorage", bytes.len(), bytes);
    let tuple = |values: &[usize]| Py::Tuple(values.iter().map(|&n| Py::Int(n as i64)).collect());
    let hooks = call("collections", "OrderedDict", vec![]);
    let dtype = Py::Global("torch", dtype);
    let args = vec![storage, Py::Int(0), tuple(shape), tuple(&row_major(shape)), Py::Int(0), hooks, dtype];
    call("torch._utils", "_rebuild_tensor_v3", args)
}

#[test]
fn eight_bit_floats_become_floats_and_their_type_is_remembered() {
    let mut store = Store::default();
    let state = dict([
        ("a", typed(&mut store, "float8_e4m3fn", &[2, 2], vec![0x38, 0xb8, 0x40, 0x01])),
        ("b", typed(&mut store, "float8_e5m2", &[2], vec![0x3c, 0xc0])),
        ("c", typed(&mut store, "float16", &[1], vec![0x00, 0x38])),
    ]);
    let loaded = load_bytes(&store.zip(&state), "eight.pth").unwrap();
    let values = |name: &str| loaded.tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values("a"), [1.0, -1.0, 2.0, 1.0 / 512.0]);
    assert_eq!((values("b"), values("c")), (vec![1.0, -2.0], vec![0.5]));
    let types: Vec<ElementType> = loaded.dtypes.values().copied().collect();
    assert_eq!(types, [ElementType::F8E4M3, ElementType::F8E5M2, ElementType::F16]);
    assert_eq!(types[0].to_string(), "float8_e4m3fn");
    let mut store = Store::default();
    let state = dict([("w", typed(&mut store, "float8_e4m3fnuz", &[1], vec![0]))]);
    refused(&store.zip(&state), "fnuz.pth", "tensor w: element type float8_e4m3fnuz is not supported");
    let header = br#"{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
    let file = [&(header.len() as u64).to_le_bytes()[..], header, &[0x38, 0x7e]].concat();
    let loaded = load_bytes(&file, "eight.safetensors").unwrap();
    assert_eq!(loaded.tensors["w"].to_vec1::<f32>().unwrap(), [1.0, 448.0]);
    assert_eq!(loaded.dtypes["w"], ElementType::F8E4M3);
}

#[test]
fn element_types_follow_the_tensors_to_other_names() {
    let (plain, _) = two_sets();
    let mut half = TensorMap::new();
    for (name, tensor) in &plain {
        let dtype = if name == WEIGHT { DType::F16 } else { tensor.dtype() };
        half.insert(format!("model.{name}"), tensor.to_dtype(dtype).unwrap());
    }
    let shelf = Shelf::new();
    let checkpoint = kernelscope::weights::load(&shelf.save("half.safetensors", &half)).unwrap();
    assert_eq!(checkpoint.dtypes[&format!("model.{WEIGHT}")], ElementType::F16);
    let fitted = super::network().spec().weights_in(checkpoint).unwrap();
    assert_eq!((fitted.dtypes[WEIGHT], fitted.dtypes["classifier.1.bias"]), (ElementType::F16, ElementType::F32));
}

#[test]
fn tensors_that_are_more_than_values_are_refused_by_name() {
    for kind in ["_rebuild_qtensor", "_rebuild_sparse_tensor", "_rebuild_meta_tensor_no_storage"] {
        let state = dict([("conv.weight", call("torch._utils", kind, vec![text("x")]))]);
        refused(&Store::default().zip(&state), "odd.pth", &format!("tensor conv.weight: made by torch._utils.{kind}"));
    }
}
