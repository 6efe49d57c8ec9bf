//! What a file is: its content decides, and its name only for formats whose content has no mark.

use serde_json::Value;

use super::pth::is_legacy;
use super::source::Source;
use crate::Result;
use crate::text::{one_line, short_name};

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// The zip files of torch.save.
    Zip,
    /// The files of torch.save from before.
    Legacy,
    /// Safetensors.
    Safetensors,
}

/// What can be read from a file.
#[derive(Debug)]
pub(super) enum Content {
    /// Tensors.
    Tensors(Format),
    /// The index of tensors in several files: the value of `weight_map`.
    Index(serde_json::Map<String, Value>),
}

/// How much of a file is looked at.
const HEAD: u64 = 4096;
/// Largest JSON file that is read.
const MAX_JSON: u64 = 64 << 20;
const NEITHER: &str = "neither a safetensors file nor a file saved by torch.save";

/// Finds out what a file is. What cannot be read is an error that says what it is and what to do.
pub(super) fn recognize(source: &mut Source) -> Result<Content> {
    let head = source.head(HEAD)?;
    let name = source.path().file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let named_safetensors = name.ends_with(".safetensors");
    if let Some(hint) = by_name(&name) {
        return Err(source.fault(hint));
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Ok(Content::Tensors(Format::Zip));
    }
    if is_legacy(&head) {
        return Ok(Content::Tensors(Format::Legacy));
    }
    let text = text(&head);
    if (named_safetensors && head.len() < 8) || (text.is_none() && head.get(8) == Some(&b'{')) {
        return Ok(Content::Tensors(Format::Safetensors));
    }
    if let Some(text) = text {
        return by_text(source, text);
    }
    if let Some(hint) = by_bytes(source, &head)? {
        return Err(source.fault(hint));
    }
    if named_safetensors {
        return Ok(Content::Tensors(Format::Safetensors));
    }
    Err(source.fault(format!("is {NEITHER}")))
}

/// Files whose content has no mark of its format, or that of another one.
fn by_name(name: &str) -> Option<&'static str> {
    if name.ends_with(".distcp") {
        return Some(
            "is a part of a torch.distributed.checkpoint; convert its folder: \
             python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT",
        );
    }
    (name.contains(".data-") && name.contains("-of-")).then_some(TENSORFLOW)
}

const TENSORFLOW: &str =
    "is a TensorFlow checkpoint; load it in transformers with from_tf=True and save it with save_pretrained";
const HDF5: &str = "is an HDF5 file of Keras or TensorFlow; load it in transformers with from_tf=True and save it with \
                    save_pretrained";
const NO_NAMES: &str =
    "which does not keep the names of a network's weights; use the PyTorch model that it was made from";

/// Formats by the bytes at a place.
const MARKS: [(usize, &[u8], &str); 11] = [
    (0, b"\x1f\x8b", "is compressed with gzip; unpack it first (gunzip FILE)"),
    (0, b"\xfd7zXZ\0", "is compressed with xz; unpack it first (unxz FILE)"),
    (0, b"BZh", "is compressed with bzip2; unpack it first (bunzip2 FILE)"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it first (unzstd FILE)"),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive; unpack it first"),
    (0, b"Rar!", "is a RAR archive; unpack it first"),
    (0, b"\x93NUMPY", "is a NumPy array (npy); save all arrays by their names with safetensors.numpy.save_file"),
    (0, b"\x89HDF\r\n\x1a\n", HDF5),
    (4, b"TFL3", "is a TensorFlow Lite program, "),
    (0, b"GGUF", "is a GGUF file, "),
    (0, b"\x89PNG", "is an image"),
];

/// What a binary file is.
fn by_bytes(source: &mut Source, head: &[u8]) -> Result<Option<String>> {
    let starts = |at: usize, mark: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(mark));
    if let Some((_, _, hint)) = MARKS.iter().find(|(at, mark, _)| starts(*at, mark)) {
        let end = if hint.ends_with(", ") { NO_NAMES } else { "" };
        return Ok(Some(format!("{hint}{end}")));
    }
    if starts(257, b"ustar") {
        return tar(source).map(Some);
    }
    let len = source.len();
    if len >= 48 && source.read_at(len - 8, 8)? == b"\x57\xfb\x80\x8b\x24\x75\x47\xdb" {
        return Ok(Some(TENSORFLOW.to_owned()));
    }
    Ok(protobuf(head).or_else(|| pickle(head)).or_else(|| msgpack(head)).or_else(|| {
        let zeros = head.iter().all(|&byte| byte == 0);
        zeros.then(|| {
            "starts with nothing but zeros, as after an interrupted copy or download; fetch it again".to_owned()
        })
    }))
}

/// Programs whose first two fields are a version and a text or a message.
fn protobuf(head: &[u8]) -> Option<String> {
    let [0x08, 1..=0x7f, 0x12, len, rest @ ..] = head else { return None };
    let text = rest.get(..usize::from(*len))?;
    let producer = !text.is_empty() && text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    Some(if producer {
        format!("is an ONNX program, {NO_NAMES}")
    } else {
        "is a TensorFlow SavedModel; load it in transformers with from_tf=True and save it with save_pretrained"
            .to_owned()
    })
}

/// Pickles that torch.save did not write.
fn pickle(head: &[u8]) -> Option<String> {
    let [0x80, 2..=5, ..] = head else { return None };
    let what = if head.windows(6).any(|window| window == b"joblib") {
        "is a file of joblib, a pickle"
    } else {
        "is a bare pickle, as Detectron2 and PaddlePaddle write,"
    };
    Some(format!(
        "{what} and not a file of torch.save; if you trust its source, load it with Python's pickle and save its arrays \
         with safetensors.numpy.save_file"
    ))
}

/// A map from texts, as flax stores it.
fn msgpack(head: &[u8]) -> Option<String> {
    let first = match head {
        [0x80..=0x8f, rest @ ..] | [0xde, _, _, rest @ ..] | [0xdf, _, _, _, _, rest @ ..] => rest.first()?,
        _ => return None,
    };
    let is_text = matches!(first, 0xa0..=0xbf | 0xd9..=0xdb);
    is_text.then(|| {
        "is a msgpack file of Flax; load it in transformers with from_flax=True and save it with save_pretrained"
            .to_owned()
    })
}

/// What is in a tar file.
fn tar(source: &mut Source) -> Result<String> {
    const BLOCK: u64 = 512;
    const MOST: usize = 64;
    let (mut names, mut at) = (Vec::new(), 0u64);
    while names.len() < MOST && source.len().saturating_sub(at) >= BLOCK {
        let header = source.read_at(at, BLOCK)?;
        let field = |range: std::ops::Range<usize>| {
            let bytes = header.get(range).unwrap_or_default();
            let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        };
        let name = field(0..100);
        let Ok(size) = u64::from_str_radix(field(124..136).trim(), 8) else { break };
        if name.is_empty() {
            break;
        }
        names.push(name);
        let blocks = size.div_ceil(BLOCK).saturating_add(1);
        at = at.saturating_add(blocks.saturating_mul(BLOCK));
    }
    let has = |wanted: &str| names.iter().any(|name| name.trim_start_matches("./") == wanted);
    if has("storages") && has("pickle") {
        return Ok("is in the tar format of torch before 0.1.10; load it with torch 1.x and save it again".to_owned());
    }
    let first = names.first().map_or(String::new(), |name| format!(", whose first file is {}", short_name(name)));
    Ok(format!("is a tar archive{first}; unpack it first (tar -xf FILE)"))
}

/// The start of a file, if it is text.
fn text(head: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        // The last character may be cut off.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&head[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}');
    text.chars().all(|c| !c.is_control() || c.is_ascii_whitespace()).then_some(text)
}

/// What a text is.
fn by_text(source: &mut Source, text: &str) -> Result<Content> {
    let start = text.trim_start();
    if start.starts_with("version https://git-lfs") {
        return Err(source.fault("is a Git LFS pointer, not the weights; download the actual file (git lfs pull)"));
    }
    if start.starts_with("# xet version") {
        return Err(source.fault("is a Xet pointer, not the weights; download the actual file"));
    }
    if start.starts_with('<') {
        return Err(source.fault(
            "is a web page (HTML), not the weights: the address was that of a page, such as a login or a warning; \
             download the file behind it",
        ));
    }
    if start.starts_with(['{', '[']) && source.len() <= MAX_JSON {
        let bytes = source.read_at(0, source.len())?;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        if let Ok(value) = serde_json::from_slice(bytes) {
            return by_json(source, value);
        }
    }
    let line = start.lines().next().unwrap_or_default();
    let quoted: String = line.chars().take(60).collect();
    Err(source.fault(format!("is text, {NEITHER}; it starts with: {}", one_line(&quoted))))
}

/// What a JSON text is.
fn by_json(source: &Source, value: Value) -> Result<Content> {
    let Value::Object(mut map) = value else { return Err(source.fault(format!("is a JSON text, {NEITHER}"))) };
    if let Some(Value::Object(files)) = map.remove("weight_map") {
        return Ok(Content::Index(files));
    }
    if ["model_type", "architectures", "architecture"].iter().any(|key| map.contains_key(*key)) {
        return Err(source.fault(
            "is the configuration of a network, not its weights; name the file of the weights, such as \
             model.safetensors, or the folder of both",
        ));
    }
    if let Some(message) = ["error", "message"].iter().find_map(|key| map.get(*key)?.as_str()) {
        return Err(source.fault(format!("is an error message instead of weights: {}", short_name(message))));
    }
    Err(source.fault(format!("is a JSON text, {NEITHER}")))
}
