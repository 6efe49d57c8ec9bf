//! Repeated measurement.

use crate::Result;
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// When a measurement has been repeated often enough: after `seconds` and `runs`, or after `limit` seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effort {
    /// Least time of all runs together, in seconds.
    pub seconds: f64,
    /// Least number of runs.
    pub runs: usize,
    /// Time after which no further run starts, in seconds.
    pub limit: f64,
}

impl Effort {
    /// For one operator.
    pub const OPERATOR: Effort = Effort { seconds: 0.3, runs: 5, limit: 5.0 };
    /// For one operator of the peer, which takes minutes for some.
    pub const PEER: Effort = Effort { seconds: 0.3, runs: 5, limit: 2.0 };
    /// For a whole network.
    pub const NETWORK: Effort = Effort { seconds: 2.0, runs: 3, limit: 20.0 };
    /// For a first impression.
    pub const QUICK: Effort = Effort { seconds: 0.02, runs: 2, limit: 0.5 };

    /// Whether `runs` runs that took `seconds` together are enough.
    fn is_spent(&self, seconds: f64, runs: usize) -> bool {
        runs > 0 && (seconds >= self.limit || (seconds >= self.seconds && runs >= self.runs))
    }
}

/// Times of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Shortest run in seconds.
    pub min_s: f64,
    /// Median run in seconds.
    pub median_s: f64,
    /// Number of runs.
    pub runs: usize,
}

impl Timing {
    /// Summarizes the times of single runs, in seconds.
    fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let median_s = match times.len() {
            0 => f64::NAN,
            odd if !odd.is_multiple_of(2) => times[middle],
            _ => 0.5 * (times[middle - 1] + times[middle]),
        };
        Timing { min_s: times.first().copied().unwrap_or(f64::NAN), median_s, runs: times.len() }
    }
}

impl Timing {
    /// The same measurement taken again: the shortest run of both, the lower median and all runs.
    pub fn with(self, again: Timing) -> Self {
        Timing {
            min_s: self.min_s.min(again.min_s),
            median_s: self.median_s.min(again.median_s),
            runs: self.runs + again.runs,
        }
    }
}

/// Repeats `run` with the given effort. The first run warms up (caches, allocator, threads) and does not count, unless
/// it alone takes up the effort's limit.
///
/// # Errors
/// Those of `run`.
pub fn measure(effort: Effort, mut run: impl FnMut() -> Result<()>) -> Result<Timing> {
    measured(effort, || {
        let started = Instant::now();
        run()?;
        Ok::<_, crate::Error>(started.elapsed().as_secs_f64())
    })
}

/// The same for runs that say themselves how many seconds they took.
///
/// # Errors
/// Those of `once`.
pub fn measured<E>(effort: Effort, mut once: impl FnMut() -> std::result::Result<f64, E>) -> Result<Timing>
where
    crate::Error: From<E>,
{
    let first = once()?;
    let mut times = if first < effort.limit { Vec::new() } else { vec![first] };
    while !effort.is_spent(times.iter().sum(), times.len()) {
        times.push(once()?);
    }
    Ok(Timing::of(times))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_measurements_the_least_disturbed_counts() {
        let timing = |min_s, median_s, runs| Timing { min_s, median_s, runs };
        assert_eq!(timing(1.0, 4.0, 5).with(timing(2.0, 3.0, 7)), timing(1.0, 3.0, 12));
        assert_eq!(timing(2.0, 3.0, 7).with(timing(1.0, 4.0, 5)), timing(1.0, 3.0, 12));
    }
    use std::time::Duration;

    #[test]
    fn the_shortest_run_and_the_median_are_reported() {
        assert_eq!(Timing::of(vec![3.0, 1.0, 2.0]), Timing { min_s: 1.0, median_s: 2.0, runs: 3 });
        assert_eq!(Timing::of(vec![4.0, 1.0, 2.0, 3.0]), Timing { min_s: 1.0, median_s: 2.5, runs: 4 });
    }

    #[test]
    fn runs_end_when_time_and_number_are_enough_or_at_the_limit() {
        let effort = Effort { seconds: 0.3, runs: 5, limit: 5.0 };
        let spent = |seconds, runs| effort.is_spent(seconds, runs);
        assert!(!spent(0.2, 50), "too short");
        assert!(!spent(1.0, 4), "too few");
        assert!(spent(0.3, 5) && spent(5.0, 1));
        assert!(!spent(9.0, 0), "at least one run counts");
    }

    #[test]
    fn the_first_run_counts_only_if_it_takes_all_the_time() {
        let mut calls = 0;
        let mut sleep = |millis| {
            calls += 1;
            std::thread::sleep(Duration::from_millis(millis));
            Ok(())
        };
        let effort = Effort { seconds: 0.0, runs: 3, limit: 0.2 };
        assert_eq!(measure(effort, || sleep(0)).unwrap().runs, 3);
        assert_eq!(measure(effort, || sleep(210)).unwrap().runs, 1);
        assert_eq!(calls, 4 + 1);
    }

    #[test]
    fn an_error_ends_the_measurement() {
        assert!(measure(Effort::QUICK, || Err(crate::Error::argument("x", 1, "2"))).is_err());
    }
}
