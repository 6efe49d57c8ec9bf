//! Reading and writing weights: the right values from sound files, and one clear error from all others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use kernelscope::files::write_atomically;
use kernelscope::rng::stream;
use kernelscope::weights::keys::{strip_prefixes, unwrap_downstream};
use kernelscope::weights::{
    Checkpoint, LoadOptions, Mismatch, TensorMap, WrongShape, center_crop_kernel, load, load_with, save,
};
use rand::RngExt;

const FIXTURES: [&str; 5] = ["bare", "model", "state_dict_module", "offset", "half"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(format!("{name}.pth"))
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn values(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    checkpoint.tensors[name].flatten_all().unwrap().to_vec1().unwrap()
}

fn names(tensors: &TensorMap) -> Vec<&str> {
    tensors.keys().map(String::as_str).collect()
}

/// Loads bytes as a file; an error must be one line that names the file.
pub fn load_bytes(bytes: &[u8], file: &str) -> Result<Checkpoint, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(file);
    std::fs::write(&path, bytes).unwrap();
    load(&path).map_err(|error| {
        let message = error.to_string();
        assert!(message.contains(file) && !message.contains('\n') && message.len() < 1000, "{message}");
        message
    })
}

pub fn refused(bytes: &[u8], file: &str, part: &str) {
    let message = load_bytes(bytes, file).expect_err(part);
    assert!(message.contains(part), "{message}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

/// A plain zip file of stored entries.
pub fn zip(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = out.len() as u32;
        let size = (data.len() as u32).to_le_bytes();
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        common.extend(crc32(data).to_le_bytes());
        common.extend(size);
        common.extend(size);
        common.extend((name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend([b"PK\x03\x04".as_slice(), &common, name.as_bytes(), data].concat());
        directory.extend([b"PK\x01\x02\x14\x00".as_slice(), &common, &[0; 10]].concat());
        directory.extend(offset.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (start, count) = (out.len() as u32, (entries.len() as u16).to_le_bytes());
    out.extend(&directory);
    out.extend([b"PK\x05\x06\0\0\0\0".as_slice(), &count, &count].concat());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// The entries of a fixture, found through their local headers.
fn unzip(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut entries = Vec::new();
    let number = |at: usize, n: usize| bytes[at..at + n].iter().rev().fold(0, |v, &b| v << 8 | usize::from(b));
    let mut at = bytes.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    while bytes[at..].starts_with(b"PK\x01\x02") {
        let (size, name, header) = (number(at + 24, 4), number(at + 28, 2), number(at + 42, 4));
        let start = header + 30 + number(header + 26, 2) + number(header + 28, 2);
        let text = String::from_utf8(bytes[at + 46..at + 46 + name].to_vec()).unwrap();
        entries.push((text, bytes[start..start + size].to_vec()));
        at += 46 + name;
    }
    entries
}

/// A checkpoint with the given pickle and one storage of four floats.
fn checkpoint(pickle: &[u8]) -> Vec<u8> {
    let storage = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    zip(&[("x/data.pkl".into(), pickle.to_vec()), ("x/data/0".into(), storage)])
}

/// Pickle of `{name: tensor}` with a view of the storage.
fn view(class: &str, function: &str, offset: u8, size: &[u32], stride: &[u32]) -> Vec<u8> {
    let text = |t: &str| [b"X".as_slice(), &(t.len() as u32).to_le_bytes(), t.as_bytes()].concat();
    let tuple = |v: &[u32]| {
        let items: Vec<u8> = v.iter().flat_map(|n| [vec![b'J'], n.to_le_bytes().to_vec()].concat()).collect();
        [b"(".as_slice(), &items, b"t"].concat()
    };
    let storage =
        [b"(".to_vec(), text("storage"), format!("ctorch\n{class}\n").into(), text("0"), text("cpu")].concat();
    [
        b"\x80\x02}".to_vec(),
        text("w"),
        format!("ctorch._utils\n{function}\n(").into(),
        [storage.as_slice(), b"K\x04tQK", &[offset]].concat(),
        tuple(size),
        tuple(stride),
        b"\x89}tRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn a_bare_state_dict_keeps_names_order_and_values() {
    let loaded = load(&fixture("bare")).unwrap();
    assert_eq!(names(&loaded.tensors), ["stem.weight", "stem.bias", "head.weight"]);
    assert_eq!(loaded.tensors["stem.weight"].dims(), [2, 3]);
    assert_eq!(values(&loaded, "stem.weight"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(values(&loaded, "stem.bias"), [0.5, -0.5]);
    assert_eq!(loaded.tensors["head.weight"].dims(), [4, 1, 1]);
    assert_eq!(loaded.source, fixture("bare"));
    assert!(loaded.metadata.is_empty());
}

#[test]
fn a_training_checkpoint_gives_the_model_past_all_foreign_entries() {
    let loaded = load(&fixture("model")).unwrap();
    assert_eq!(names(&loaded.tensors), ["head.weight", "head.bias"]);
    assert_eq!(values(&loaded, "head.weight"), [1.0, 2.0, 3.0, 4.0]);
    let with_key = |key: &str| load_with(&fixture("model"), &LoadOptions { key: Some(key.to_owned()) });
    assert_eq!(values(&with_key("model_ema").unwrap(), "head.bias"), [5.5, 6.5]);
    assert_eq!(values(&with_key("same").unwrap(), "head.bias"), [5.0, 6.0]);
    let message = with_key("ema").unwrap_err().to_string();
    let keys = "model, epoch, args, optimizer, scaler, lr_scheduler, history, config, classes, raw, loop, model_ema";
    assert!(
        message.ends_with(&format!("has no entry ema at the top level, which contains: {keys}, ... 1 more")),
        "{message}"
    );
    let message = with_key("args").unwrap_err().to_string();
    assert!(message.ends_with("its entry args contains no tensors"), "{message}");
}

#[test]
fn wrapper_prefixes_are_stripped_only_as_far_as_all_names_have_them() {
    let loaded = load(&fixture("state_dict_module")).unwrap();
    assert_eq!(names(&loaded.tensors), ["stem.weight", "module.bias"]);
    assert_eq!(values(&loaded, "module.bias"), [3.0]);
    let zero = Tensor::new(0f32, &Device::Cpu).unwrap();
    let strip = |list: &[&str]| {
        let map: TensorMap = list.iter().map(|n| (n.to_string(), zero.clone())).collect();
        strip_prefixes(map).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(strip(&["module.a", "b"]), ["module.a", "b"]);
    assert_eq!(strip(&["module.", "module.a"]), ["module.", "module.a"]);
    assert_eq!(strip(&["_orig_mod.module.é", "_orig_mod.module.b"]), ["é", "b"]);
    assert!(strip(&[]).is_empty());
}

#[test]
fn views_of_a_shared_storage_are_laid_out_densely() {
    let loaded = load(&fixture("offset")).unwrap();
    assert_eq!(values(&loaded, "rows"), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(loaded.tensors["transposed"].to_vec2::<f32>().unwrap(), [[6.0, 9.0], [7.0, 10.0], [8.0, 11.0]]);
    assert_eq!(loaded.tensors["every_other"].to_vec2::<f32>().unwrap(), [[1.0, 3.0], [7.0, 9.0]]);
    assert_eq!(loaded.tensors["repeated"].to_vec2::<f32>().unwrap(), [[5.0, 6.0, 7.0]; 2]);
    assert_eq!(loaded.tensors["empty"].dims(), [0, 3]);
    assert!(loaded.tensors.values().all(Tensor::is_contiguous));
}

#[test]
fn floats_become_f32_and_integers_stay() {
    let loaded = load(&fixture("half")).unwrap();
    assert_eq!(values(&loaded, "half"), [0.5, -2.0, 65504.0]);
    assert_eq!(values(&loaded, "bfloat"), [1.0, -0.375]);
    assert_eq!(values(&loaded, "double"), [0.1, 1e-3]);
    assert_eq!(loaded.tensors["bn.num_batches_tracked"].to_scalar::<i64>().unwrap(), 123_456_789_012);
}

fn sample() -> (TensorMap, BTreeMap<String, String>) {
    let cpu = &Device::Cpu;
    let mut tensors = TensorMap::new();
    tensors.insert("z".into(), Tensor::arange(0f32, 6.0, cpu).unwrap().reshape((2, 3)).unwrap().t().unwrap());
    tensors.insert("count".into(), Tensor::new(-7i64, cpu).unwrap());
    tensors.insert("a".into(), Tensor::new(&[1u8, 2, 3], cpu).unwrap());
    tensors.insert("half".into(), Tensor::new(&[0.5f32, 2.0], cpu).unwrap().to_dtype(DType::F16).unwrap());
    tensors.insert("empty".into(), Tensor::zeros((0, 4), DType::F32, cpu).unwrap());
    let metadata = ["format", "arch", "step", "seed"].iter().map(|k| (k.to_string(), format!("{k} \"1\"\n"))).collect();
    (tensors, metadata)
}

#[test]
fn saving_and_loading_gives_back_tensors_and_metadata_from_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, metadata) = sample();
    let [one, two] = ["one.safetensors", "two.bin"].map(|name| folder.path().join(name));
    save(&one, &tensors, &metadata).unwrap();
    let loaded = load(&one).unwrap();
    assert_eq!(loaded.metadata, metadata);
    assert_eq!(names(&loaded.tensors), ["count", "empty", "z", "half", "a"]);
    assert_eq!(loaded.tensors["z"].to_vec2::<f32>().unwrap(), [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]);
    assert_eq!(loaded.tensors["count"].to_scalar::<i64>().unwrap(), -7);
    assert_eq!(loaded.tensors["a"].to_vec1::<u8>().unwrap(), [1, 2, 3]);
    assert_eq!(values(&loaded, "half"), [0.5, 2.0]);
    assert_eq!(loaded.tensors["empty"].dims(), [0, 4]);
    let turned: TensorMap = tensors.into_iter().rev().collect();
    save(&two, &turned, &metadata).unwrap();
    assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
    assert_eq!(names(&load(&two).unwrap().tensors), names(&loaded.tensors));
    let reference = candle_core::safetensors::load(&one, &Device::Cpu).unwrap();
    assert_eq!(reference["z"].to_vec2::<f32>().unwrap(), loaded.tensors["z"].to_vec2::<f32>().unwrap());
    let asked = load_with(&one, &LoadOptions { key: Some("model".into()) }).unwrap_err().to_string();
    assert!(asked.contains("model was requested"), "{asked}");
}

#[test]
fn files_that_cannot_be_written_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, metadata) = sample();
    let file = folder.path().join("file");
    std::fs::write(&file, "old").unwrap();
    let message = save(&file.join("net.safetensors"), &tensors, &metadata).unwrap_err().to_string();
    assert!(message.starts_with("cannot write ") && message.contains("net.safetensors"), "{message}");
    let missing = folder.path().join("missing/net.safetensors");
    assert!(save(&missing, &tensors, &metadata).is_err());
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(save(&taken, &tensors, &metadata).is_err());
    assert!(write_atomically(&folder.path().join(".."), |_| Ok(())).is_err());
    let full = |out: &mut dyn std::io::Write| {
        out.write_all(b"part")?;
        Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
    };
    assert!(write_atomically(&file, full).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    let mut reserved = tensors.clone();
    reserved.insert("__metadata__".into(), tensors["a"].clone());
    assert!(save(&file, &reserved, &metadata).is_err());
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["file", "taken"]);
    write_atomically(&file, |out| out.write_all(b"new")).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
}

#[test]
fn every_truncation_is_refused() {
    for name in FIXTURES {
        let bytes = bytes_of(name);
        for len in 0..bytes.len() {
            assert!(load_bytes(&bytes[..len], "cut.pth").is_err(), "{name} cut to {len}");
        }
        let mut entries = unzip(&bytes);
        let pickle = entries[0].1.clone();
        for len in 0..pickle.len() {
            entries[0].1 = pickle[..len].to_vec();
            assert!(load_bytes(&zip(&entries), "cut.pth").is_err(), "pickle of {name} cut to {len}");
        }
    }
    let bytes = safetensors_bytes();
    for len in 0..bytes.len() {
        assert!(load_bytes(&bytes[..len], "cut.safetensors").is_err(), "cut to {len}");
    }
    refused(&[bytes, vec![0]].concat(), "long.safetensors", "1 bytes follow the last tensor");
}

fn safetensors_bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, metadata) = sample();
    save(&folder.path().join("a"), &tensors, &metadata).unwrap();
    std::fs::read(folder.path().join("a")).unwrap()
}

#[test]
fn random_damage_never_panics() {
    let mut rng = stream(7, &[]);
    let mut damage = |bytes: &mut [u8]| {
        for _ in 0..rng.random_range(1..5) {
            let at = rng.random_range(0..bytes.len());
            bytes[at] = rng.random();
        }
    };
    let sound = safetensors_bytes();
    for name in FIXTURES {
        let bytes = bytes_of(name);
        let entries = unzip(&bytes);
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            damage(&mut damaged);
            let _ = load_bytes(&damaged, "damaged.pth");
            // With sound checksums, so that the damage reaches the parser.
            let mut inner = entries.clone();
            damage(&mut inner[0].1);
            let _ = load_bytes(&zip(&inner), "damaged.pth");
            let mut flat = sound.clone();
            damage(&mut flat);
            let _ = load_bytes(&flat, "damaged.safetensors");
        }
        let storage = entries.iter().position(|(n, _)| n.ends_with("data/0")).unwrap();
        let mut changed = bytes;
        let place = changed.windows(entries[storage].1.len()).position(|w| w == entries[storage].1).unwrap();
        changed[place] ^= 1;
        refused(&changed, "flipped.pth", "checksum");
    }
}

#[test]
fn hostile_pickles_are_refused_in_bounded_time_and_memory() {
    let sound = view("FloatStorage", "_rebuild_tensor_v2", 1, &[3], &[1]);
    assert_eq!(values(&load_bytes(&checkpoint(&sound), "sound.pth").unwrap(), "w"), [2.0, 3.0, 4.0]);
    let tensor =
        |offset, size: &[u32], stride: &[u32]| view("FloatStorage", "_rebuild_tensor_v2", offset, size, stride);
    let unusual = tensor(0, &[1, 2], &[1 << 30, 3]);
    assert_eq!(values(&load_bytes(&checkpoint(&unusual), "unusual.pth").unwrap(), "w"), [1.0, 4.0]);
    let nested = [vec![0x80, 2, b'N'], vec![0x85; 1 << 20], vec![b'.']].concat();
    // Each object holds the previous one twice.
    let doubled = [b"\x80\x02Nq\x00".to_vec(), b"h\x00h\x00\x86q\x00".repeat(100), b".".to_vec()].concat();
    let wrapped = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_parameter\nq\x01]q\x02Rq\x03h\x02h\x03as.";
    let cases: [(Vec<u8>, &str); 16] = [
        (tensor(2, &[3], &[1]), "extends past its storage"),
        (tensor(0, &[2, 2], &[4, 1]), "extends past its storage"),
        (tensor(0, &[u32::MAX; 2], &[0, 0]), "damaged"),
        (tensor(0, &[1 << 30; 2], &[0, 0]), "impossible shape"),
        (tensor(0, &[1 << 30], &[0]), "far more bytes than the file has"),
        (tensor(0, &[0, 1 << 30, 1 << 30, 1 << 30], &[1; 4]), "impossible shape"),
        (tensor(0, &[2], &[1, 1]), "1 dimensions, but 2 strides"),
        (tensor(0, &[1; 40], &[1; 40]), "damaged"),
        (view("DoubleStorage", "_rebuild_tensor_v2", 0, &[1], &[1]), "needs 4 elements of 8 bytes"),
        (view("CharStorage", "_rebuild_tensor_v2", 0, &[1], &[1]), "tensor w: element type Char is not supported"),
        (
            view("FloatStorage", "_rebuild_sparse_tensor", 0, &[1], &[1]),
            "_rebuild_sparse_tensor, which is not supported",
        ),
        (nested, "contains a list instead of a dictionary"),
        (doubled, "contains a list instead of a dictionary"),
        (wrapped.to_vec(), "damaged"),
        (b"\x80\x02X\xff\xff\xff\xffabc.".to_vec(), "an early end at byte 2"),
        (b"\x80\x02cos\nsystem\n)R.".to_vec(), "contains an object of os.system instead"),
    ];
    for (pickle, part) in cases {
        refused(&checkpoint(&pickle), "hostile.pth", part);
    }
}

#[test]
fn other_files_are_refused_by_name() {
    let flat = |header: &str, data: usize| {
        [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &vec![0; data]].concat()
    };
    let legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
    let huge = [&u64::MAX.to_le_bytes(), b"{}".as_slice()].concat();
    let pair = |a: &str, b: &str| {
        let info = |range: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":[{range}]}}"#);
        format!(r#"{{"a":{},"b":{}}}"#, info(a), info(b))
    };
    let complex = r#"{"w":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}}"#;
    let program = zip(&[("m/data.pkl".into(), vec![]), ("m/constants.pkl".into(), vec![])]);
    refused(b"", "empty.pth", "is empty");
    refused(b"{}", "short.safetensors", "too few");
    refused(b"some text that is no checkpoint", "notes.pth", "neither a safetensors file nor a file saved");
    refused(b"version https://git-lfs.github.com/spec/v1\noid", "net.pth", "Git LFS pointer");
    refused(legacy, "old.pth", "save it again");
    refused(&zip(&[("readme.txt".into(), b"x".to_vec())]), "other.zip", "not one of PyTorch");
    refused(&program, "program.pt", "TorchScript");
    refused(&huge, "huge.safetensors", "header length is 18446744073709551615");
    refused(&flat(&pair("0,8", "4,12"), 12), "overlap.safetensors", "damaged safetensors header");
    refused(&flat(&pair("0,8", "12,20"), 20), "gap.safetensors", "damaged safetensors header");
    refused(
        &flat(&pair("0,8", "8,16").replace("\"b\"", "\"a\""), 16),
        "twice.safetensors",
        "damaged safetensors header",
    );
    refused(&flat(complex, 8), "complex.safetensors", "tensor w has element type C64, allowed: F32");
    let missing = load(Path::new("no/such/net.pth")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read no/such/net.pth"), "{missing}");
    assert!(load(Path::new(env!("CARGO_MANIFEST_DIR"))).is_err());
}

#[test]
fn a_mismatch_is_one_short_line() {
    let list = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
    let wrong = WrongShape { name: "head.weight".into(), expected: vec![10, 768], found: vec![1000, 768] };
    let source = "net.pth".to_owned();
    let mismatch = Mismatch { source, missing: list(2), unexpected: list(120), wrong_shape: vec![wrong] };
    assert_eq!(
        mismatch.to_string(),
        "weights in net.pth do not fit the network: 2 missing (t0, t1), 120 unexpected (t0, t1, t2, t3, t4, ... 115 \
         more), 1 with a wrong shape (head.weight: expected [10, 768], found [1000, 768])"
    );
    assert!(!mismatch.is_empty());
    let odd = Mismatch { missing: vec!["a\nb".into()], ..Mismatch::default() };
    assert!(!kernelscope::Error::from(odd).to_string().contains('\n'));
    assert!(Mismatch::default().is_empty());
}

#[test]
fn downstream_names_become_those_of_the_classifier() {
    let zero = Tensor::new(0f32, &Device::Cpu).unwrap();
    let renamed = |list: &[&str]| {
        let map: TensorMap = list.iter().map(|n| (n.to_string(), zero.clone())).collect();
        unwrap_downstream(map).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(
        renamed(&[
            "backbone.stages.0.0.dwconv.conv.weight",
            "backbone.stages.2.11.dwconv2.conv.theta",
            "backbone.downsample_layers.0.dw1.conv.bias",
            "backbone.norm0.weight",
            "neck.conv.weight"
        ]),
        ["stages.0.0.dwconv.weight", "stages.2.11.dwconv2.theta", "downsample_layers.0.dw1.bias", "norm0.weight"]
    );
    let kept = [
        "stages.0.0.dwconv.weight",
        "stages.0.0.dwconv.conv.weight",
        "stages.0.0.dwconv1.conv.scale",
        "stages.0.a.dwconv.conv.weight",
        "stages.0.0.pwconv1.conv.weight",
        "head.conv.weight",
    ];
    assert_eq!(renamed(&kept), kept);
}

#[test]
fn kernels_are_cropped_and_padded_about_their_center() {
    let weight = Tensor::arange(0f32, 10.0, &Device::Cpu).unwrap().reshape((2, 1, 1, 5)).unwrap();
    let resized = |taps| center_crop_kernel(&weight, taps).unwrap();
    assert_eq!(resized(3).dims(), [2, 1, 1, 3]);
    assert_eq!(resized(3).flatten_all().unwrap().to_vec1::<f32>().unwrap(), [1.0, 2.0, 3.0, 6.0, 7.0, 8.0]);
    assert_eq!(
        resized(5).flatten_all().unwrap().to_vec1::<f32>().unwrap(),
        (0..10).map(|i| i as f32).collect::<Vec<_>>()
    );
    let wide = resized(7).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(wide[..7], [0.0, 0.0, 1.0, 2.0, 3.0, 4.0, 0.0]);
    assert!(center_crop_kernel(&weight, 4).is_err() && center_crop_kernel(&weight, 0).is_err());
    assert!(center_crop_kernel(&weight.narrow(3, 0, 4).unwrap(), 3).is_err());
    assert!(center_crop_kernel(&Tensor::new(0f32, &Device::Cpu).unwrap(), 3).is_err());
}
