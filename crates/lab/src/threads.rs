//! A pool of threads for a piece of work.

use crate::{Error, Result};

/// Runs `work` with this number of threads; without a number, as many as rayon takes by itself (`RAYON_NUM_THREADS`, or
/// one per core).
///
/// # Errors
/// If the threads cannot be started, and those of `work`.
pub fn on_threads<R: Send>(threads: Option<usize>, work: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    // Autograd descends through the whole graph of a network: as much stack as a process's first thread has.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).stack_size(8 << 20).build();
    pool.map_err(|e| Error::argument("threads", e, "as many threads as the system can start"))?.install(work)
}
