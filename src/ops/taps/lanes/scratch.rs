//! Buffers that stay with a thread, so that a call does not pay for fresh pages.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

/// One cache line, which is the widest vector.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Identity of whoever laid out a thread's buffers; halos are zeroed when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BufferOwner(u64);

impl BufferOwner {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        BufferOwner(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Buffer {
    owner: Option<BufferOwner>,
    lines: Vec<Line>,
}

thread_local! {
    static BUFFERS: RefCell<[Buffer; 4]> = RefCell::new(Default::default());
    /// Without owners.
    static SCRATCH: RefCell<[Vec<Line>; 4]> = RefCell::new(Default::default());
}

/// Calls `f` with other four buffers of at least `floats` values, aligned to 64 bytes and with any values in them.
pub(super) fn with_scratch(floats: [usize; 4], f: impl FnOnce([*mut f32; 4])) {
    SCRATCH.with_borrow_mut(|buffers| {
        for (buffer, floats) in buffers.iter_mut().zip(floats) {
            let lines = floats.div_ceil(16);
            if buffer.len() < lines {
                buffer.resize(lines, Line([0.0; 16]));
            }
        }
        f(buffers.each_mut().map(|buffer| buffer.as_mut_ptr().cast::<f32>()));
    });
}

/// Calls `f` with four buffers of at least `floats` values, aligned to 64 bytes. A buffer is zero when its owner first
/// sees it on this thread, and afterwards as the owner left it.
pub(super) fn with_buffers(owner: BufferOwner, floats: [usize; 4], f: impl FnOnce([*mut f32; 4])) {
    BUFFERS.with_borrow_mut(|buffers| {
        let mut wanted = floats.into_iter();
        let pointers = buffers.each_mut().map(|buffer| {
            let lines = wanted.next().unwrap_or(0).div_ceil(16);
            if buffer.owner != Some(owner) || buffer.lines.len() < lines {
                buffer.owner = Some(owner);
                buffer.lines.clear();
                buffer.lines.shrink_to(lines);
                buffer.lines.resize(lines, Line([0.0; 16]));
            }
            buffer.lines.as_mut_ptr().cast::<f32>()
        });
        f(pointers);
    });
}
