//! A reader for pickles that only builds data.
//!
//! It knows the instructions that Python writes in protocols 2 to 5. Calls are recorded, not made. The work and the
//! memory are bounded by the size of the file and by the limits below, and nothing recurses.

use std::collections::HashMap;

use super::object::{Call, Node, Pickle, Span, Value};

/// Most objects, and most remembered values. A large network with optimizer state has some hundred thousand.
const MAX_NODES: usize = 4 << 20;
/// Most values, which the lists of a training log may have many of.
pub(super) const MAX_VALUES: usize = 16 << 20;

/// Why a pickle cannot be parsed.
#[derive(Debug)]
pub(super) enum Halt {
    /// The bytes end before the pickle does.
    End,
    /// It is damaged, or too large.
    Fault(String),
}

impl From<&str> for Halt {
    fn from(message: &str) -> Self {
        Halt::Fault(message.to_owned())
    }
}

impl From<String> for Halt {
    fn from(message: String) -> Self {
        Halt::Fault(message)
    }
}

/// A pickle among other bytes.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Value,
    /// Where it ends: behind its last instruction.
    pub(super) end: usize,
}

/// Parses a whole pickle. The error is a message without the file's name.
pub(super) fn parse(bytes: Vec<u8>) -> Result<Pickle, String> {
    match parse_at(&bytes, 0, MAX_VALUES) {
        Ok(Parsed { nodes, root, .. }) => Ok(Pickle { bytes, nodes, root }),
        Err((at, halt)) => {
            let message = match halt {
                Halt::End => "an early end".to_owned(),
                Halt::Fault(message) => message,
            };
            Err(format!("has a damaged or unsupported data.pkl: {message} at byte {at}"))
        }
    }
}

/// Parses the pickle that starts at a byte, of at most so many values. The error has the place of the instruction.
pub(super) fn parse_at(bytes: &[u8], at: usize, most: usize) -> Result<Parsed, (usize, Halt)> {
    let (stack, marks, memo) = (Vec::new(), Vec::new(), HashMap::new());
    let mut machine = Machine { bytes, at, nodes: Vec::new(), stack, marks, memo, made: 0, most };
    loop {
        let start = machine.at;
        let done = machine.byte().and_then(|code| machine.step(code)).map_err(|halt| (start, halt))?;
        if done {
            let root = machine.pop().map_err(|halt| (start, halt))?;
            return Ok(Parsed { nodes: machine.nodes, root, end: machine.at });
        }
    }
}

type Step<T> = Result<T, Halt>;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Value>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// Number of values pushed and marks set so far, and how many are allowed.
    made: usize,
    most: usize,
}

impl Machine<'_> {
    /// One instruction; true at the end.
    fn step(&mut self, code: u8) -> Step<bool> {
        match code {
            b'.' => return Ok(true),
            // Protocol and frame only announce what follows.
            0x80 => {
                self.take(1)?;
            }
            0x95 => {
                self.take(8)?;
            }
            b'N' | 0x88 | 0x89 => self.push(Value::Opaque)?,
            b'G' => self.skip(8)?,
            b'K' => self.integer(1)?,
            b'M' => self.integer(2)?,
            b'J' => {
                let value = i64::from(self.number(4)? as u32 as i32);
                self.push(Value::Int(value))?;
            }
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
            b'X' | b'T' => self.text(4)?,
            0x8c | b'U' => self.text(1)?,
            0x8d => self.text(8)?,
            b'B' => self.blob(4)?,
            b'C' => self.blob(1)?,
            0x8e | 0x96 => self.blob(8)?,
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_node(Node::Global(module, name))?;
            }
            0x93 => {
                let (name, module) = (self.pop_text()?, self.pop_text()?);
                self.push_node(Node::Global(module, name))?;
            }
            b'(' => {
                self.count()?;
                self.marks.push(self.stack.len());
            }
            b'0' => {
                self.pop()?;
            }
            b'1' => {
                self.pop_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b')' | b']' | 0x8f => self.push_node(Node::Sequence(Vec::new()))?,
            0x85..=0x87 => self.tuple(usize::from(code - 0x84))?,
            b't' | b'l' | 0x91 => {
                let values = self.pop_mark()?;
                self.push_node(Node::Sequence(values))?;
            }
            b'}' => self.push_node(Node::Dict(Vec::new()))?,
            b'd' => {
                let values = self.pop_mark()?;
                self.push_node(Node::Dict(pairs(&values)?))?;
            }
            b'a' => {
                let value = self.pop()?;
                self.append(&[value])?;
            }
            b'e' | 0x90 => {
                let values = self.pop_mark()?;
                self.append(&values)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let values = self.pop_mark()?;
                self.set(&values)?;
            }
            b'R' | 0x81 => self.call()?,
            0x92 => {
                // The keyword arguments are of no use without the call.
                self.pop()?;
                self.call()?;
            }
            b'b' => {
                // An object's attributes, such as `_metadata` of a state dict, hold no tensors that are wanted.
                self.pop()?;
                self.top()?;
            }
            b'Q' => {
                let id = self.pop()?;
                self.push_node(Node::Persistent(id))?;
            }
            b'h' | b'j' => {
                let index = self.number(if code == b'h' { 1 } else { 4 })? as u32;
                let value = *self.memo.get(&index).ok_or("an unknown reference")?;
                self.push(value)?;
            }
            b'q' | b'r' => {
                let index = self.number(if code == b'q' { 1 } else { 4 })? as u32;
                self.remember(index)?;
            }
            0x94 => self.remember(self.memo.len() as u32)?,
            other => return Err(format!("unknown instruction 0x{other:02x}").into()),
        }
        Ok(false)
    }

    fn take(&mut self, len: u64) -> Step<Span> {
        let start = self.at;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
        match end.filter(|&end| end <= self.bytes.len()) {
            Some(end) => {
                self.at = end;
                // The caller bounds the whole pickle far below four gigabytes.
                Ok(Span { start: start as u32, len: (end - start) as u32 })
            }
            None => Err(Halt::End),
        }
    }

    fn byte(&mut self) -> Step<u8> {
        let byte = *self.bytes.get(self.at).ok_or(Halt::End)?;
        self.at += 1;
        Ok(byte)
    }

    /// An unsigned little-endian number of up to eight bytes.
    fn number(&mut self, width: u64) -> Step<u64> {
        let span = self.take(width)?;
        let bytes = &self.bytes[span.start as usize..self.at];
        Ok(bytes.iter().rev().fold(0, |n, &b| (n << 8) | u64::from(b)))
    }

    fn integer(&mut self, width: u64) -> Step<()> {
        let value = self.number(width)? as i64;
        self.push(Value::Int(value))
    }

    /// A two's complement integer of any length.
    fn long(&mut self, width: u64) -> Step<()> {
        let len = self.number(width)?;
        if len > 8 {
            return self.skip(len);
        }
        let value = self.number(len)? as i64;
        let unused = 64 - 8 * len as u32;
        // A shift by all 64 bits is none that the language has; no bytes mean zero.
        let value = if unused == 64 { 0 } else { (value << unused) >> unused };
        self.push(Value::Int(value))
    }

    fn skip(&mut self, len: u64) -> Step<()> {
        self.take(len)?;
        self.push(Value::Opaque)
    }

    fn blob(&mut self, width: u64) -> Step<()> {
        let len = self.number(width)?;
        self.skip(len)
    }

    fn text(&mut self, width: u64) -> Step<()> {
        let len = self.number(width)?;
        let span = self.take(len)?;
        self.push_node(Node::Text(span))
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Step<Span> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|&b| b == b'\n').ok_or(Halt::End)?;
        let span = self.take(len as u64)?;
        self.at += 1;
        Ok(span)
    }

    fn count(&mut self) -> Step<()> {
        self.made += 1;
        if self.made > self.most { Err(format!("more than {} values", self.most).into()) } else { Ok(()) }
    }

    fn push(&mut self, value: Value) -> Step<()> {
        self.count()?;
        self.stack.push(value);
        Ok(())
    }

    fn push_node(&mut self, node: Node) -> Step<()> {
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("more than {MAX_NODES} objects").into());
        }
        self.nodes.push(node);
        self.push(Value::Node((self.nodes.len() - 1) as u32))
    }

    /// The topmost value above the last mark.
    fn top(&self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let value = self.stack.last().filter(|_| self.stack.len() > floor);
        value.copied().ok_or_else(|| Halt::from("a missing value"))
    }

    fn pop(&mut self) -> Step<Value> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_text(&mut self) -> Step<Span> {
        match self.pop()? {
            Value::Node(index) => match self.nodes.get(index as usize) {
                Some(Node::Text(span)) => Ok(*span),
                _ => Err("a name that is not a string".into()),
            },
            _ => Err("a name that is not a string".into()),
        }
    }

    /// Everything above the last mark.
    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self.marks.pop().ok_or("a missing mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn tuple(&mut self, len: usize) -> Step<()> {
        let mut values = Vec::with_capacity(len);
        for _ in 0..len {
            values.push(self.pop()?);
        }
        values.reverse();
        self.push_node(Node::Sequence(values))
    }

    fn remember(&mut self, index: u32) -> Step<()> {
        let value = self.top()?;
        if self.memo.len() >= MAX_NODES {
            return Err(format!("more than {MAX_NODES} references").into());
        }
        self.memo.insert(index, value);
        Ok(())
    }

    /// The object that the next values go into.
    fn target(&mut self) -> Step<&mut Node> {
        let found = match self.top()? {
            Value::Node(index) => self.nodes.get_mut(index as usize),
            _ => None,
        };
        found.ok_or_else(|| Halt::from("an entry for something that is not a container"))
    }

    fn append(&mut self, values: &[Value]) -> Step<()> {
        match self.target()? {
            Node::Sequence(sequence) => sequence.extend_from_slice(values),
            // A list-like class such as deque: foreign data.
            Node::Call(_) => {}
            _ => return Err("an item for something that is not a list".into()),
        }
        Ok(())
    }

    fn set(&mut self, values: &[Value]) -> Step<()> {
        let entries = pairs(values)?;
        match self.target()? {
            Node::Dict(dict) => dict.extend(entries),
            Node::Call(call) => call.items.extend(entries),
            _ => return Err("an entry for something that is not a dictionary".into()),
        }
        Ok(())
    }

    fn call(&mut self) -> Step<()> {
        let args = self.pop()?;
        let callable = self.pop()?;
        let dict = match callable {
            Value::Node(index) => match self.nodes.get(index as usize) {
                Some(Node::Global(module, name)) => self.is_dict(*module, *name),
                _ => false,
            },
            _ => false,
        };
        // Python sets the entries of these after the call, so their arguments are empty or a default factory.
        self.push_node(if dict {
            Node::Dict(Vec::new())
        } else {
            Node::Call(Box::new(Call { callable, args, items: Vec::new() }))
        })
    }

    fn is_dict(&self, module: Span, name: Span) -> bool {
        let bytes = |span: Span| self.bytes.get(span.start as usize..span.start as usize + span.len as usize);
        matches!(
            (bytes(module), bytes(name)),
            (Some(b"collections"), Some(b"OrderedDict" | b"defaultdict"))
                | (Some(b"builtins" | b"__builtin__"), Some(b"dict"))
        )
    }
}

/// Keys and values in turn.
fn pairs(values: &[Value]) -> Step<Vec<(Value, Value)>> {
    let (pairs, rest) = values.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err("a key without a value".into())
    }
}
