//! Files that are something else: what they are, and what to do.

use super::torch::{Store, Style, dict};
use super::{Shelf, fails, holds, two_sets};
use crate::weights::{load_bytes, refused, zip};

fn flat(fields: &[(u8, &[u8])]) -> Vec<u8> {
    fields.iter().flat_map(|(tag, data)| [&[*tag, data.len() as u8][..], data].concat()).collect()
}

/// A tar file of files with these names.
fn tar(names: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    for name in names {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(b"00000000004\0");
        header[257..263].copy_from_slice(b"ustar\0");
        out.extend(header);
        out.extend(b"\x80\x02K\0");
        out.extend([0; 508]);
    }
    out.extend([0; 1024]);
    out
}

#[test]
fn files_of_other_programs_are_named_with_a_way_out() {
    let onnx = [b"\x08\x08".to_vec(), flat(&[(0x12, b"pytorch"), (0x1a, b"2.1.0")]), vec![0; 40]].concat();
    let saved_model = [b"\x08\x01\x12\x10\x0a\x05serve".to_vec(), vec![0; 60]].concat();
    let table = [vec![0; 80], b"\x57\xfb\x80\x8b\x24\x75\x47\xdb".to_vec()].concat();
    let old = tar(&["storages", "tensors", "pickle"]);
    let joblib = b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x13joblib.numpy_pickle\x94.";
    let cases: [(&str, &[u8], &[&str]); 28] = [
        ("weights.npy", b"\x93NUMPY\x01\0v\0{'descr': '<f4'}", &["NumPy array (npy)"]),
        ("flax_model.msgpack", b"\x81\xa6params\x81\xaaclassifier\xc0", &["msgpack", "from_flax=True"]),
        ("model.onnx", &onnx, &["ONNX", "PyTorch model"]),
        ("saved_model.pb", &saved_model, &["TensorFlow SavedModel", "from_tf=True"]),
        ("model.ckpt-0.index", &table, &["TensorFlow checkpoint"]),
        ("model.ckpt-0.data-00000-of-00001", b"\x01\x02\x03\x04", &["TensorFlow checkpoint"]),
        ("tf_model.h5", b"\x89HDF\r\n\x1a\n\0\0\0\0", &["HDF5", "Keras"]),
        ("model.tflite", b"\x1c\0\0\0TFL3\0\0\0\0", &["TensorFlow Lite"]),
        ("model.gguf", b"GGUF\x03\0\0\0\0\0\0\0", &["GGUF"]),
        ("paddle.pdparams", b"\x80\x04\x95\x05\0\0\0\0\0\0\0}\x94.", &["bare pickle", "PaddlePaddle"]),
        ("model.joblib", joblib, &["joblib"]),
        ("net.pth.gz", b"\x1f\x8b\x08\0", &["gzip", "gunzip"]),
        ("net.pth.xz", b"\xfd7zXZ\0\0", &["xz"]),
        ("net.pth.bz2", b"BZh91AY&SY\xff\xfe", &["bzip2"]),
        ("net.pth.zst", b"\x28\xb5\x2f\xfd\0", &["zstd"]),
        ("real.pth.tar", &tar(&["net.pth"]), &["tar archive", "net.pth", "tar -xf"]),
        ("old.pth", &old, &["tar format of torch before 0.1.10", "torch 1.x"]),
        ("part.distcp", b"PK\x03\x04", &["torch.distributed.checkpoint", "dcp_to_torch"]),
        (
            "lfs.pth",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
            &["Git LFS pointer", "git lfs pull"],
        ),
        ("xet.safetensors", b"# xet version 0\nfilesize = 100\n", &["Xet pointer"]),
        ("login.pth", b"\n <!DOCTYPE html><html><head><title>Sign in</title></head></html>", &["web page", "HTML"]),
        ("error.safetensors", br#"{"error":"Repository not found"}"#, &["error message", "Repository not found"]),
        (
            "config.json",
            br#"{"architectures":["ResNet"],"model_type":"resnet"}"#,
            &["configuration", "model.safetensors"],
        ),
        ("other.json", br#"{"a":1}"#, &["JSON text"]),
        ("missing.safetensors", b"Entry not found", &["is text", "Entry not found"]),
        ("zeros.pth", &[0; 5000], &["nothing but zeros", "fetch it again"]),
        ("empty.pth", b"", &["is empty", "fetch it again"]),
        ("noise.pth", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7", &["neither a safetensors file"]),
    ];
    for (name, bytes, parts) in cases {
        for part in parts {
            refused(bytes, name, part);
        }
    }
}

#[test]
fn zip_files_of_other_programs_are_named() {
    let archive = |names: &[&str]| zip(&names.iter().map(|name| (name.to_string(), vec![1])).collect::<Vec<_>>());
    let cases: [(&[&str], &[&str]); 9] = [
        (&["a.npy", "b.npy"], &["npz", "save_file"]),
        (&["config.json", "model.weights.h5"], &["Keras archive"]),
        (&["plain_dict.pth"], &["around the checkpoint plain_dict.pth", "unzip"]),
        (&["run/a.ckpt", "run/b.safetensors"], &["2 checkpoints", "run/a.ckpt"]),
        (&["net/archive_format", "net/models/model.json"], &["torch.export", "state_dict()"]),
        (&["serialized_exported_program.json"], &["torch.export"]),
        (&["m/data.pkl", "m/constants.pkl"], &["TorchScript", "state_dict()"]),
        (&["m/data.pkl", "m/code/__torch__.py"], &["TorchScript"]),
        (&["a/data.pkl", "b/data.pkl"], &["more than one data.pkl: in a/ and b/"]),
    ];
    for (names, parts) in cases {
        for part in parts {
            refused(&archive(names), "other.zip", part);
        }
    }
}

#[test]
fn content_decides_whatever_the_name() {
    let (plain, _) = two_sets();
    let shelf = Shelf::new();
    let mut store = Store::default();
    let model = store.state_dict(&plain, "");
    let (new, old) = (store.zip(&model), store.legacy(&model, Style::USUAL));
    let flat = std::fs::read(shelf.save("flat.safetensors", &plain)).unwrap();
    for bytes in [&new, &old, &flat] {
        for name in ["net.pth", "net.safetensors", "NET.PTH.TAR", "net", "net.gz"] {
            holds(&shelf.write(name, bytes), None, &plain);
        }
    }
}

#[test]
fn a_part_of_a_sharded_training_is_sent_to_its_collector() {
    let mut store = Store::default();
    let empty = store.dense("HalfStorage", &[0], vec![]);
    let module = dict([("conv.weight", empty)]);
    let file = store.zip(&dict([("module", module), ("param_shapes", dict([]))]));
    refused(&file, "zero_pp_rank_0_model_states.pt", "zero_to_fp32.py");
    // The same of a network whose weights are here.
    let mut store = Store::default();
    let full = store.dense("FloatStorage", &[1], vec![0; 4]);
    let file = store.zip(&dict([("module", dict([("conv.weight", full)])), ("param_shapes", dict([]))]));
    assert_eq!(load_bytes(&file, "mp_rank_00_model_states.pt").unwrap().entry, "module");
}

#[test]
fn a_compressed_checkpoint_is_refused_by_name() {
    let mut store = Store::default();
    let tensor = store.dense("FloatStorage", &[1], vec![0; 4]);
    let mut file = store.zip(&dict([("w", tensor)]));
    // The method of the first entry in the directory.
    let at = file.windows(4).position(|window| window == b"PK\x01\x02").unwrap() + 10;
    file[at] = 8;
    refused(&file, "deflated.pth", "is compressed");
    let shelf = Shelf::new();
    fails(&shelf.path("absent.pth"), None, &["cannot read", "absent.pth"]);
}
