//! What measurements of a GPU need: its clock, the memory in use, and kernels that show what it can do (`kernels/probe.cu`).

use super::params::{CopyProbeParams, FmaProbeParams};
use super::{Gpu, KernelArg, LaunchSize, THREADS, Values};
use crate::Result;
use candle_core::{DType, Tensor};

/// Multiprocessors of the largest GPUs, all of which are to be busy.
const MULTIPROCESSORS: usize = 132;

/// Independent chains of multiply-adds of a thread, and multiply-adds of a chain.
const CHAINS: usize = 16;
const ROUNDS: u32 = 4096;

/// Bytes of a device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// In use before the work.
    pub before: u64,
    /// In use at most while it runs.
    pub peak: u64,
}

impl MemoryUse {
    /// What the work allocates at most.
    pub fn allocated(self) -> u64 {
        self.peak - self.before
    }
}

/// Multiply-adds of one launch that shows a GPU's arithmetic peak, and the seconds it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArithmeticProbe {
    /// Single-precision multiply-adds in registers.
    pub macs: f64,
    /// Seconds, by the device's clock.
    pub seconds: f64,
}

/// Measures what runs on a GPU.
pub struct Meter {
    gpu: Gpu,
}

impl Meter {
    /// For the GPU that holds a tensor; `None` if that is the CPU.
    pub fn of(tensor: &Tensor) -> Option<Self> {
        Gpu::of(tensor).map(|gpu| Meter { gpu })
    }

    /// How many seconds what `f` launches takes, by the device's clock.
    ///
    /// # Errors
    /// Those of `f` and of the device.
    pub fn seconds(&self, f: impl FnOnce() -> candle_core::Result<()>) -> Result<f64> {
        Ok(self.gpu.seconds(f)?)
    }

    /// Memory in use before and during what `f` launches; `None` where memory is not the device's own.
    ///
    /// # Errors
    /// Those of `f` and of the device.
    pub fn memory(&self, f: impl FnOnce() -> candle_core::Result<()>) -> Result<Option<MemoryUse>> {
        Ok(self.gpu.memory(f)?)
    }

    /// A function that copies `count` f32 values from one place in the device's memory to another, as fast as it can,
    /// and returns the seconds that takes.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn copy_probe(&self, count: usize) -> Result<impl FnMut() -> Result<f64> + '_> {
        let from = self.gpu.alloc(DType::F32, count)?;
        let mut to = self.gpu.alloc(DType::F32, count)?;
        Ok(move || {
            let params = CopyProbeParams { count: count as u64 };
            let size = LaunchSize { blocks: MULTIPROCESSORS * 16, threads: THREADS, shared_bytes: 0 };
            self.seconds(|| {
                let from = Values::all(&from, count)?;
                let mut arguments = [KernelArg::Read(from), KernelArg::Write(&mut to), KernelArg::params(&params)];
                self.gpu.launch("probe_copy", size, &mut arguments)
            })
        })
    }

    /// A function that computes with values in registers alone, in every thread the device can run.
    ///
    /// # Errors
    /// If there is no memory for the sums.
    pub fn arithmetic_probe(&self) -> Result<impl FnMut() -> Result<ArithmeticProbe> + '_> {
        let size = LaunchSize { blocks: MULTIPROCESSORS * 32, threads: THREADS, shared_bytes: 0 };
        let threads = size.blocks * size.threads;
        let mut sums = self.gpu.alloc(DType::F32, threads)?;
        Ok(move || {
            let params = FmaProbeParams { rounds: ROUNDS, term: 1.0 };
            let seconds = self.seconds(|| {
                let mut arguments = [KernelArg::Write(&mut sums), KernelArg::params(&params)];
                self.gpu.launch("probe_fma", size, &mut arguments)
            })?;
            Ok(ArithmeticProbe { macs: (threads * CHAINS) as f64 * f64::from(ROUNDS), seconds })
        })
    }
}
