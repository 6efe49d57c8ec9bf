//! Several sets of tensors in a file.

use super::torch::{Py, Store, call, dict, object, text};
use super::{Shelf, fails, holds, load, two_sets};
use kernelscope::weights::{ElementType, File, load as load_file};

/// State of an optimizer, whose tensors are no network's.
fn optimizer(store: &mut Store) -> Py {
    let moments = store.dense("FloatStorage", &[2], vec![0; 8]);
    let state = Py::Dict(vec![(Py::Int(0), dict([("exp_avg", moments.clone())]))]);
    dict([("state", state), ("exp_avg", moments)])
}

#[test]
fn the_weights_of_a_network_are_found_under_every_usual_name() {
    let (plain, other) = two_sets();
    let shelf = Shelf::new();
    let file = |name: &str, make: &dyn Fn(&mut Store) -> Py| {
        let mut store = Store::default();
        let value = make(&mut store);
        shelf.write(name, &store.zip(&value))
    };
    for name in
        ["state_dict", "model_state_dict", "net", "network", "params", "model_state", "weights", "ema", "student"]
    {
        let path = file("one.pth", &|store| dict([("epoch", Py::Int(3)), (name, store.state_dict(&plain, ""))]));
        holds(&path, None, &plain);
    }
    for (outer, inner) in [("ema", "module"), ("ema", "shadow"), ("model", "state_dict"), ("student", "weights")] {
        let path = file("nested.pth", &|store| dict([(outer, dict([(inner, store.state_dict(&plain, ""))]))]));
        holds(&path, None, &plain);
    }
    let path = file("optimizer.pth", &|store| {
        let optimizer = optimizer(store);
        dict([("optimizer", optimizer), ("model", store.state_dict(&plain, ""))])
    });
    holds(&path, None, &plain);
    // A tensor beside the network does not make the top level one.
    let path = file("loss.pth", &|store| {
        let loss = store.dense("FloatStorage", &[], vec![0; 4]);
        dict([("loss", loss), ("model_state_dict", store.state_dict(&plain, ""))])
    });
    holds(&path, None, &plain);
    // What does not fit does not count, whatever its name.
    let path = file("fits.pth", &|store| {
        let few = dict([("a.weight", store.dense("FloatStorage", &[1], vec![0; 4]))]);
        dict([("model", few.clone()), ("encoder", few), ("student", store.state_dict(&plain, ""))])
    });
    holds(&path, None, &plain);
    let path = file("average.pth", &|store| {
        dict([("model_ema", store.state_dict(&other, "")), ("model", store.state_dict(&plain, ""))])
    });
    let (loaded, said) = load(&path, None);
    super::same(&loaded.unwrap(), &plain);
    assert!(said.contains("INFO") && said.contains("the option `key` with model_ema"), "{said}");
    holds(&path, Some("model_ema"), &other);
    let path = file("average.pth", &|store| {
        let average = dict([("module", store.state_dict(&other, "")), ("decay", Py::Int(1))]);
        dict([("model", store.state_dict(&plain, "")), ("ema", average)])
    });
    holds(&path, Some("ema.module"), &other);
}

#[test]
fn two_networks_without_a_telling_name_are_a_question() {
    let (plain, other) = two_sets();
    let shelf = Shelf::new();
    let mut store = Store::default();
    let both = dict([("generator", store.state_dict(&plain, "")), ("discriminator", store.state_dict(&other, ""))]);
    let path = shelf.write("two.pth", &store.zip(&both));
    fails(&path, None, &["two.pth", "generator", "discriminator", "the option `key`"]);
    holds(&path, Some("generator"), &plain);
    holds(&path, Some("discriminator"), &other);
    fails(&path, Some("best"), &["no entry best", "generator, discriminator"]);
    // Without a network, nothing tells which is meant.
    let checkpoint = load_file(&path).unwrap();
    let question = checkpoint.check_only().unwrap_err().to_string();
    assert!(question.contains("generator, discriminator"), "{question}");
}

#[test]
fn a_file_lists_what_is_in_it() {
    let (plain, _) = two_sets();
    let mut store = Store::default();
    let half = store.dense("HalfStorage", &[2, 3], vec![0; 12]);
    let step = store.dense("FloatStorage", &[], vec![0; 4]);
    let state = dict([("model", store.state_dict(&plain, "module.")), ("aux", dict([("w", half)])), ("step", step)]);
    let shelf = Shelf::new();
    let mut opened = File::open(&shelf.write("list.pth", &store.zip(&state))).unwrap();
    let paths: Vec<&str> = opened.entries().iter().map(|entry| entry.path.as_str()).collect();
    assert_eq!(paths, ["model", "aux", ""], "the top level has but a stray tensor");
    let names: Vec<&str> = opened.entries()[0].tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert!(names.iter().eq(plain.keys()), "{names:?}");
    let tensor = &opened.entries()[1].tensors[0];
    assert_eq!((tensor.name.as_str(), &tensor.shape[..], tensor.dtype), ("w", &[2, 3][..], ElementType::F16));
    let aux = opened.read("aux").unwrap();
    assert_eq!((aux.dtypes["w"], aux.tensors["w"].dtype()), (ElementType::F16, candle_core::DType::F32));
    assert_eq!(opened.read("").unwrap().tensors.keys().collect::<Vec<_>>(), ["step"]);
}

#[test]
fn a_file_without_weights_says_what_it_holds() {
    let shelf = Shelf::new();
    let file = |value: &Py, store: &Store| shelf.write("other.pth", &store.zip(value));
    let mut store = Store::default();
    let optimizer = dict([("optimizer", optimizer(&mut store)), ("epoch", Py::Int(1))]);
    fails(&file(&optimizer, &store), None, &["no tensors of a network", "optimizer, epoch"]);
    let tensor = store.dense("FloatStorage", &[1], vec![0; 4]);
    fails(&file(&tensor, &store), None, &["a single tensor instead of a dictionary"]);
    fails(&file(&Py::List(vec![tensor]), &store), None, &["a list instead of a dictionary"]);
    let none = Store::default();
    fails(&file(&object(), &none), None, &["an object of __main__.Net", "save the state_dict()"]);
    fails(
        &file(&dict([("model", object())]), &none),
        None,
        &["its entry model is an object of __main__.Net", "state_dict()"],
    );
    let array = call("numpy.core.multiarray", "_reconstruct", vec![Py::Global("numpy", "ndarray")]);
    fails(&file(&dict([("a.weight", array)]), &none), None, &["NumPy arrays"]);
}

#[test]
fn nothing_beside_the_weights_is_in_the_way() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let mut store = Store::default();
    let evil = call("posix", "mkdir", vec![text("tricked")]);
    let model = store.state_dict(&plain, "");
    let path = shelf.write("beside.pth", &store.zip(&dict([("model", model), ("ema", object()), ("log", evil)])));
    holds(&path, None, &plain);
}

#[test]
fn dictionaries_that_share_others_are_looked_at_once() {
    // Each of 40 dictionaries holds the next one under a hundred names: more paths than could be walked.
    let mut pickle = b"\x80\x02}q\x00".to_vec();
    for level in 1..40u8 {
        pickle.extend(b"}(");
        for name in 0..100u8 {
            pickle.extend([b'U', 1, name % 26 + b'a', b'h', level - 1]);
            pickle.extend([b'U', 2, b'_', name % 64 + b'0', b'h', level - 1]);
        }
        pickle.extend([b'u', b'q', level]);
    }
    pickle.push(b'.');
    let file = crate::weights::zip(&[("x/data.pkl".to_owned(), pickle)]);
    crate::weights::refused(&file, "shared.pth", "no tensors of a network");
}
