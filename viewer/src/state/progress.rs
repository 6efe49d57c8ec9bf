//! Progress of jobs.

/// Progress of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Number of parts that are done.
    pub done: usize,
    /// Number of all parts; 0 if unknown.
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
