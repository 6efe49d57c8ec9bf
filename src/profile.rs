//! Where the time of a network goes: a collector of times per kind of operator, for the whole process, off until asked
//! for.
//!
//! Operators open a [`span`] around their work. While the collector is off, a span costs one relaxed atomic load.
//!
//! ```
//! use kernelscope::profile;
//! profile::start();
//! {
//!     let _span = profile::span("example");
//! }
//! let entries = profile::stop();
//! assert!(entries.iter().any(|e| e.name == "example" && e.calls == 1));
//! ```

use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static ENABLED: AtomicBool = AtomicBool::new(false);

type Totals = HashMap<&'static str, (u64, Duration)>;

static TOTALS: LazyLock<Mutex<Totals>> = LazyLock::new(Mutex::default);

fn totals() -> MutexGuard<'static, Totals> {
    // A panic elsewhere cannot leave a total half-updated that anybody would miss.
    TOTALS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Time spent under one name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The name given to [`span`].
    pub name: &'static str,
    /// Number of spans.
    pub calls: u64,
    /// Seconds in all of them together.
    pub seconds: f64,
}

/// Forgets what was collected and starts to collect.
pub fn start() {
    totals().clear();
    ENABLED.store(true, Ordering::Relaxed);
}

/// Ends the collection: the time per name, the longest first.
pub fn stop() -> Vec<Entry> {
    ENABLED.store(false, Ordering::Relaxed);
    let mut entries: Vec<Entry> =
        totals().drain().map(|(name, (calls, time))| Entry { name, calls, seconds: time.as_secs_f64() }).collect();
    entries.sort_by(|a, b| b.seconds.total_cmp(&a.seconds).then(a.name.cmp(b.name)));
    entries
}

/// Starts the clock for `name`; it stops when the returned guard is dropped. The time includes spans inside of this
/// one, and spans on several threads at once add up: open them where operators are called, not in their inner loops.
#[inline]
pub fn span(name: &'static str) -> Span {
    Span(ENABLED.load(Ordering::Relaxed).then(|| (name, Instant::now())))
}

/// A running clock; see [`span`].
#[derive(Debug)]
#[must_use = "the clock stops when this is dropped"]
pub struct Span(Option<(&'static str, Instant)>);

impl Drop for Span {
    fn drop(&mut self) {
        if let Some((name, started)) = self.0 {
            let time = started.elapsed();
            let mut totals = totals();
            let (calls, total) = totals.entry(name).or_default();
            *calls += 1;
            *total += time;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since the collector belongs to the process.
    #[test]
    fn times_are_collected_only_between_start_and_stop() {
        let of = |entries: &[Entry], name: &str| entries.iter().find(|e| e.name == name).cloned();
        drop(span("test: before"));
        start();
        for _ in 0..3 {
            let _long = span("test: long");
            std::thread::sleep(Duration::from_millis(2));
            drop(span("test: short"));
        }
        let entries = stop();
        drop(span("test: after"));
        let (long, short) = (of(&entries, "test: long").unwrap(), of(&entries, "test: short").unwrap());
        assert_eq!((long.calls, short.calls), (3, 3));
        assert!(long.seconds >= 0.006 && long.seconds > short.seconds, "{long:?} {short:?}");
        assert!(entries.is_sorted_by(|a, b| a.seconds >= b.seconds), "{entries:?}");
        assert_eq!((of(&entries, "test: before"), of(&entries, "test: after")), (None, None));
        assert_eq!(of(&stop(), "test: long"), None);
    }
}
