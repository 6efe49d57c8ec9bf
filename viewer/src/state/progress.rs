//! How far jobs are.

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Parts that are done.
    pub done: usize,
    /// Parts in all; 0 where it is not known.
    pub all: usize,
}

/// A job in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// What it does.
    pub label: String,
    /// How far it is.
    pub progress: Progress,
}
