//! The objects that a pickle describes, as plain data.

/// A place in the pickle's bytes: texts stay there until they are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// A value: small ones directly, others as a number into [`Pickle::nodes`]. Objects may contain themselves, so nothing
/// here owns another object, and nothing walks the whole graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Int(i64),
    Node(u32),
    /// A value that no tensor is made of: None, booleans, floats, bytes, very large integers.
    Opaque,
}

/// An object that is shared by all values with its number.
#[derive(Debug)]
pub(super) enum Node {
    Text(Span),
    /// A class or function, by module and name. It is never looked up.
    Global(Span, Span),
    /// A tuple, list or set.
    Sequence(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Call(Box<Call>),
    /// A reference to data outside the pickle: a tensor's storage.
    Persistent(Value),
}

/// What would be the result of calling something.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) callable: Value,
    pub(super) args: Value,
    /// Entries that are set in the result, for subclasses of `dict`.
    pub(super) items: Vec<(Value, Value)>,
}

/// A parsed pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) bytes: Vec<u8>,
    pub(super) nodes: Vec<Node>,
    pub(super) root: Value,
}

/// Longest text that is looked at, so that no error message, name or comparison costs more than that.
const MAX_TEXT: u32 = 4096;

/// A text of reasonable length.
pub(super) fn text_at(bytes: &[u8], span: Span) -> Option<&str> {
    let start = span.start as usize;
    let bytes = bytes.get(start..start + span.len.min(MAX_TEXT + 1) as usize)?;
    (span.len <= MAX_TEXT).then(|| std::str::from_utf8(bytes).ok()).flatten()
}

impl Pickle {
    fn node(&self, value: Value) -> Option<&Node> {
        match value {
            Value::Node(index) => self.nodes.get(index as usize),
            _ => None,
        }
    }

    /// A text of reasonable length.
    pub(super) fn text(&self, value: Value) -> Option<&str> {
        match self.node(value)? {
            Node::Text(span) => text_at(&self.bytes, *span),
            _ => None,
        }
    }

    /// Module and name of a class or function. A class of a pickled module may be outside of the pickle, together with
    /// its source code.
    pub(super) fn global(&self, value: Value) -> Option<(&str, &str)> {
        let class = match self.persistent(value) {
            Some([kind, class, ..]) if self.text(*kind) == Some("module") => *class,
            _ => value,
        };
        match self.node(class)? {
            Node::Global(module, name) => Some((text_at(&self.bytes, *module)?, text_at(&self.bytes, *name)?)),
            _ => None,
        }
    }

    /// The values of a tuple, list or set.
    pub(super) fn sequence(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Sequence(values) => Some(values),
            _ => None,
        }
    }

    /// The entries of a dict or of an object that had entries set; a later entry replaces an earlier one of its name.
    pub(super) fn entries(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.node(value)? {
            Node::Dict(entries) => Some(entries),
            Node::Call(call) if !call.items.is_empty() => Some(&call.items),
            _ => None,
        }
    }

    /// What is called, with the arguments.
    pub(super) fn call(&self, value: Value) -> Option<(Value, &[Value])> {
        match self.node(value)? {
            Node::Call(call) => Some((call.callable, self.sequence(call.args)?)),
            _ => None,
        }
    }

    /// The reference of an object outside the pickle.
    pub(super) fn persistent(&self, value: Value) -> Option<&[Value]> {
        match self.node(value)? {
            Node::Persistent(id) => self.sequence(*id),
            _ => None,
        }
    }

    /// The references of all objects outside the pickle, also of those that nothing else refers to.
    pub(super) fn persistent_ids(&self) -> impl Iterator<Item = &[Value]> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Persistent(id) => self.sequence(*id),
            _ => None,
        })
    }

    /// A word or two on what a value is, for messages.
    pub(super) fn describe(&self, value: Value) -> String {
        match self.node(value) {
            Some(Node::Text(_)) => "a string".to_owned(),
            Some(Node::Global(..)) => "a class".to_owned(),
            Some(Node::Sequence(_)) => "a list".to_owned(),
            Some(Node::Dict(_)) => "a dictionary".to_owned(),
            Some(Node::Persistent(_)) => "a bare storage".to_owned(),
            Some(Node::Call(call)) => match self.global(call.callable) {
                Some(("copyreg" | "copy_reg", _)) => self.describe_object(call.args),
                Some(("torch._utils", name)) if name.starts_with("_rebuild") => "a single tensor".to_owned(),
                Some((module, name)) => format!("an object of {module}.{name}"),
                None => "an object".to_owned(),
            },
            None => "a number or similar".to_owned(),
        }
    }

    /// The same for an object that a helper of Python makes, whose first argument is the class.
    fn describe_object(&self, args: Value) -> String {
        let class = self.sequence(args).and_then(|args| self.global(*args.first()?));
        class.map_or("an object".to_owned(), |(module, name)| format!("an object of {module}.{name}"))
    }
}
