//! A small `torch.save`: objects as pickles, with their tensors' values in a zip file or in the format from before.

use crate::weights::zip;
use candle_core::{DType, Tensor};
use kernelscope::weights::TensorMap;

/// A Python object.
#[derive(Clone)]
pub enum Py {
    None,
    Int(i64),
    Text(String),
    Tuple(Vec<Py>),
    List(Vec<Py>),
    Dict(Vec<(Py, Py)>),
    /// A class or function.
    Global(&'static str, &'static str),
    /// A call with its arguments.
    Call(Box<Py>, Vec<Py>),
    /// A reference out of the pickle.
    Persistent(Vec<Py>),
    /// An object with attributes, which are set after it is made.
    Built(Box<Py>, Box<Py>),
}

pub fn text(text: &str) -> Py {
    Py::Text(text.to_owned())
}

/// A dictionary with these names.
pub fn dict<const N: usize>(entries: [(&str, Py); N]) -> Py {
    Py::Dict(entries.into_iter().map(|(name, value)| (text(name), value)).collect())
}

pub fn call(module: &'static str, name: &'static str, args: Vec<Py>) -> Py {
    Py::Call(Box::new(Py::Global(module, name)), args)
}

/// An object of a class of its own, as `torch.save(model)` stores it.
pub fn object() -> Py {
    Py::Built(Box::new(call("__main__", "Net", vec![])), Box::new(dict([("training", Py::Int(1))])))
}

/// How pickles are written.
#[derive(Clone, Copy)]
pub struct Style {
    pub protocol: u8,
    /// Texts are byte strings, as Python 2 wrote them.
    pub python2: bool,
}

impl Style {
    pub const USUAL: Style = Style { protocol: 2, python2: false };

    /// The pickle of an object.
    pub fn pickle(self, value: &Py) -> Vec<u8> {
        let mut body = Vec::new();
        self.put(&mut body, value);
        body.push(b'.');
        let mut out = vec![0x80, self.protocol];
        if self.protocol >= 4 {
            out.push(0x95);
            out.extend((body.len() as u64).to_le_bytes());
        }
        out.extend(body);
        out
    }

    fn all(self, out: &mut Vec<u8>, start: &[u8], values: &[Py], end: u8) {
        out.extend(start);
        values.iter().for_each(|value| self.put(out, value));
        out.push(end);
    }

    fn put(self, out: &mut Vec<u8>, value: &Py) {
        match value {
            Py::None => out.push(b'N'),
            Py::Int(n) => match u8::try_from(*n) {
                Ok(byte) => out.extend([b'K', byte]),
                Err(_) => {
                    out.extend([0x8a, 8]);
                    out.extend(n.to_le_bytes());
                }
            },
            Py::Text(text) => {
                match (self.python2, self.protocol) {
                    (true, _) => out.extend([b'U', text.len() as u8]),
                    (false, 4..) => out.extend([0x8c, text.len() as u8]),
                    (false, _) => {
                        out.push(b'X');
                        out.extend((text.len() as u32).to_le_bytes());
                    }
                }
                out.extend(text.bytes());
            }
            Py::Tuple(values) => self.all(out, b"(", values, b't'),
            Py::List(values) => self.all(out, b"](", values, b'e'),
            Py::Dict(entries) => {
                let flat: Vec<Py> = entries.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect();
                self.all(out, b"}(", &flat, b'u');
            }
            Py::Global(module, name) => out.extend(format!("c{module}\n{name}\n").bytes()),
            Py::Call(function, args) => {
                self.put(out, function);
                self.all(out, b"(", args, b't');
                out.push(b'R');
            }
            Py::Persistent(id) => {
                self.all(out, b"(", id, b't');
                out.push(b'Q');
            }
            Py::Built(object, state) => {
                self.put(out, object);
                self.put(out, state);
                out.push(b'b');
            }
        }
    }
}

/// The values of a storage, and how many there are said to be.
#[derive(Clone)]
pub struct Storage {
    pub key: String,
    pub numel: i64,
    pub bytes: Vec<u8>,
}

/// Storages while objects are made from them.
#[derive(Default)]
pub struct Store {
    pub storages: Vec<Storage>,
    /// Storages are described with the part that is seen, and tensors without flags, as torch 0.1 wrote them.
    pub oldest: bool,
}

impl Store {
    /// Keeps a storage, and gives a reference to it.
    pub fn storage(&mut self, class: &'static str, numel: usize, bytes: Vec<u8>) -> Py {
        // Keys are sorted as texts in old files: 1010 goes before 997.
        let key = (990 + self.storages.len()).to_string();
        let view = Py::Tuple(vec![text(&key), Py::Int(0), Py::Int(numel as i64)]);
        let mut id = vec![text("storage"), Py::Global("torch", class), text(&key), text("cpu"), Py::Int(numel as i64)];
        if self.oldest {
            id.push(view);
        }
        self.storages.push(Storage { key, numel: numel as i64, bytes });
        Py::Persistent(id)
    }

    /// A tensor that is a view of a storage.
    pub fn view(&self, storage: Py, offset: usize, shape: &[usize], stride: &[usize]) -> Py {
        let tuple = |values: &[usize]| Py::Tuple(values.iter().map(|&n| Py::Int(n as i64)).collect());
        let mut args = vec![storage, Py::Int(offset as i64), tuple(shape), tuple(stride)];
        if self.oldest {
            return call("torch._utils", "_rebuild_tensor", args);
        }
        args.extend([Py::Int(0), call("collections", "OrderedDict", vec![])]);
        call("torch._utils", "_rebuild_tensor_v2", args)
    }

    /// A tensor with a storage of its own.
    pub fn dense(&mut self, class: &'static str, shape: &[usize], bytes: Vec<u8>) -> Py {
        let numel = shape.iter().product();
        let storage = self.storage(class, numel, bytes);
        self.view(storage, 0, shape, &row_major(shape))
    }

    /// A tensor in single precision, or of 64-bit integers.
    pub fn tensor(&mut self, tensor: &Tensor) -> Py {
        let flat = tensor.flatten_all().unwrap();
        match tensor.dtype() {
            DType::I64 => {
                let values: Vec<i64> = flat.to_vec1().unwrap();
                self.dense("LongStorage", tensor.dims(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
            _ => {
                let values: Vec<f32> = flat.to_dtype(DType::F32).unwrap().to_vec1().unwrap();
                self.dense("FloatStorage", tensor.dims(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
            }
        }
    }

    /// A state dict, with a prefix before all names.
    pub fn state_dict(&mut self, tensors: &TensorMap, prefix: &str) -> Py {
        let entries = tensors.iter().map(|(name, tensor)| (text(&format!("{prefix}{name}")), self.tensor(tensor)));
        Py::Dict(entries.collect())
    }

    /// The zip file of an object.
    pub fn zip(&self, value: &Py) -> Vec<u8> {
        let mut entries = vec![("x/data.pkl".to_owned(), Style::USUAL.pickle(value))];
        entries.push(("x/version".to_owned(), b"3\n".to_vec()));
        entries.extend(self.storages.iter().map(|storage| (format!("x/data/{}", storage.key), storage.bytes.clone())));
        zip(&entries)
    }

    /// The file of an object in the format from before zip files.
    pub fn legacy(&self, value: &Py, style: Style) -> Vec<u8> {
        let mut sorted: Vec<&Storage> = self.storages.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let mut out = legacy_head(style);
        out.extend(style.pickle(value));
        out.extend(style.pickle(&Py::List(sorted.iter().map(|storage| text(&storage.key)).collect())));
        for storage in sorted {
            out.extend(storage.numel.to_le_bytes());
            out.extend(&storage.bytes);
        }
        out
    }
}

/// The first three pickles of an old file.
pub fn legacy_head(style: Style) -> Vec<u8> {
    let long = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let mut out = vec![0x80, style.protocol];
    if style.protocol >= 4 {
        out.push(0x95);
        out.extend((long.len() as u64).to_le_bytes());
    }
    out.extend(long);
    out.extend(style.pickle(&Py::Int(1001)));
    let sizes = dict([("short", Py::Int(2)), ("int", Py::Int(4)), ("long", Py::Int(8))]);
    let system = [("protocol_version", Py::Int(1001)), ("little_endian", Py::Int(1)), ("type_sizes", sizes)];
    out.extend(style.pickle(&dict(system)));
    out
}

/// Strides without gaps.
pub fn row_major(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}
