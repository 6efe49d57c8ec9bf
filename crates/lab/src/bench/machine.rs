//! What the machine can do: its name, its copy bandwidth and its arithmetic peak.

use super::timing::{Effort, measure};
use crate::Result;
use pulp::Simd;
use rayon::prelude::*;
use serde::Serialize;
use std::hint::black_box;

/// A machine, as measured with a number of threads.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Cores that the system offers.
    pub cores: usize,
    /// Threads used.
    pub threads: usize,
    /// Bytes read plus bytes written per second by copying, in 10^9.
    #[serde(serialize_with = "super::six_digits")]
    pub bandwidth_gb_per_s: f64,
    /// Single-precision multiply-adds per second in registers, in 10^9.
    #[serde(serialize_with = "super::six_digits")]
    pub peak_gmac_per_s: f64,
}

impl Machine {
    /// Measures this machine with the threads of the current pool.
    ///
    /// # Errors
    /// None at present; a measurement could fail.
    pub fn measure(effort: Effort) -> Result<Self> {
        Ok(Machine {
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: rayon::current_num_threads(),
            bandwidth_gb_per_s: bandwidth(effort)?,
            peak_gmac_per_s: peak(effort)?,
        })
    }

    /// The same machine measured again: what it can do is the best that it did.
    pub fn best(self, again: &Machine) -> Self {
        Machine {
            bandwidth_gb_per_s: self.bandwidth_gb_per_s.max(again.bandwidth_gb_per_s),
            peak_gmac_per_s: self.peak_gmac_per_s.max(again.peak_gmac_per_s),
            ..self
        }
    }

    /// The processor's name in lower-case words joined by hyphens, for file names.
    pub fn slug(&self) -> String {
        slug(&self.processor)
    }
}

/// The processor's name as Linux gives it, else the instruction set's.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    model_name(&info).unwrap_or(std::env::consts::ARCH).to_string()
}

fn model_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim()).filter(|name| !name.is_empty())
}

fn slug(name: &str) -> String {
    let name = name.replace("(R)", " ").replace("(TM)", " ").to_lowercase();
    // What follows is the nominal clock.
    let name = name.split('@').next().unwrap_or_default();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-")
}

/// Bytes of each of the two buffers of the copy: beyond the caches.
const COPY_BYTES: usize = 128 << 20;

/// Copies between two buffers on all threads, in 10^9 bytes read or written per second.
fn bandwidth(effort: Effort) -> Result<f64> {
    let count = COPY_BYTES / size_of::<f32>();
    let source: Vec<f32> = (0..count).into_par_iter().map(|i| i as f32).collect();
    let mut target = vec![0f32; count];
    // A few blocks per thread, so that a thread that was held up does not keep the others waiting.
    let block = count.div_ceil(4 * rayon::current_num_threads());
    let timing = measure(effort, || {
        let blocks = target.par_chunks_mut(block).zip(source.par_chunks(block));
        blocks.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut target);
        Ok(())
    })?;
    Ok(2e-9 * COPY_BYTES as f64 / timing.min_s)
}

/// Independent chains of multiply-adds: more than a core's latency (4 or 5 cycles) times its units (2), and with both
/// operands still within the 16 registers of AVX2.
const CHAINS: usize = 12;

/// `rounds` multiply-adds in each of [`CHAINS`] registers.
#[derive(Clone, Copy)]
struct Chains {
    factor: f32,
    term: f32,
    rounds: usize,
}

impl pulp::WithSimd for Chains {
    /// The sum of all chains, so that none can be left out, and the number of multiply-adds.
    type Output = (f32, u64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let (factor, term) = (simd.splat_f32s(self.factor), simd.splat_f32s(self.term));
        // Chains with equal values would be computed once.
        let mut chains: [S::f32s; CHAINS] = std::array::from_fn(|i| simd.splat_f32s(self.term * i as f32));
        for _ in 0..self.rounds {
            for chain in &mut chains {
                *chain = simd.mul_add_f32s(*chain, factor, term);
            }
        }
        let sum = chains.into_iter().map(|chain| simd.reduce_sum_f32s(chain)).sum();
        (sum, (self.rounds * CHAINS * S::F32_LANES) as u64)
    }
}

/// Multiply-adds on all threads, in 10^9 per second.
fn peak(effort: Effort) -> Result<f64> {
    // Long enough that starting the threads does not matter: some milliseconds.
    const ROUNDS: usize = 2_000_000;
    let mut macs = 0;
    let timing = measure(effort, || {
        // The values converge to 2 * term; the optimizer does not know them.
        let chains = black_box(Chains { factor: 0.5, term: 1.0, rounds: ROUNDS });
        let done = rayon::broadcast(|_| black_box(pulp::Arch::new().dispatch(chains)));
        macs = done.iter().map(|(_, macs)| macs).sum();
        Ok(())
    })?;
    Ok(1e-9 * macs as f64 / timing.min_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_measurements_the_best_of_each_limit_counts() {
        let machine = |bandwidth_gb_per_s, peak_gmac_per_s| Machine {
            processor: "test".into(),
            cores: 2,
            threads: 2,
            bandwidth_gb_per_s,
            peak_gmac_per_s,
        };
        assert_eq!(machine(30.0, 110.0).best(&machine(40.0, 100.0)), machine(40.0, 110.0));
        assert_eq!(machine(40.0, 100.0).best(&machine(30.0, 110.0)), machine(40.0, 110.0));
    }

    #[test]
    fn names_of_processors_become_file_names() {
        assert_eq!(slug("AMD EPYC"), "amd-epyc");
        assert_eq!(slug("Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz"), "intel-xeon-gold-6338-cpu");
        assert_eq!(slug("13th Gen Intel(R) Core(TM) i7-1360P"), "13th-gen-intel-core-i7-1360p");
    }

    #[test]
    fn the_processor_is_found_in_cpuinfo() {
        let info = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 7B13\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(model_name(info), Some("AMD EPYC 7B13"));
        assert_eq!(model_name("processor\t: 0\nmodel name\t:\n"), None);
        assert_eq!(model_name("BogoMIPS : 50.00\n"), None);
        assert!(!processor().is_empty());
    }

    #[test]
    fn every_thread_makes_its_multiply_adds() {
        let chains = Chains { factor: 0.5, term: 1.0, rounds: 100 };
        let (sum, macs) = pulp::Arch::new().dispatch(chains);
        let lanes = macs / (100 * CHAINS as u64);
        assert!(lanes.is_power_of_two() && macs == lanes * 100 * CHAINS as u64, "{macs}");
        // Each chain converges to 2.
        assert!((sum - 2.0 * (CHAINS as f32) * lanes as f32).abs() < 1e-3, "{sum}");
    }

    #[test]
    fn a_machine_is_measured() {
        let machine = crate::threads::on_threads(Some(2), || Machine::measure(Effort::QUICK)).unwrap();
        assert_eq!(machine.threads, 2);
        assert!(machine.cores > 0 && machine.bandwidth_gb_per_s > 0.0 && machine.peak_gmac_per_s > 0.0, "{machine:?}");
    }
}
