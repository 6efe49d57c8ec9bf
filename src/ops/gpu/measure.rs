//! What measurements of a GPU need: its clock, the memory in use, and kernels that show what it can do.

use super::{Arg, Gpu, Launch, Values};
use crate::Result;
use candle_core::{DType, Tensor};

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
        Ok(self.gpu.memory(f)?.map(|(before, peak)| MemoryUse { before, peak }))
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
            let words = [count as i32, 0, 0];
            let launch = Launch { grid: 132 * 16, threads: 256, shared: 0 };
            self.seconds(|| {
                let from = Values::all(&from, count)?;
                self.gpu.launch("probe_copy", launch, &mut [Arg::Read(from), Arg::Write(&mut to), Arg::Words(&words)])
            })
        })
    }

    /// A function that computes with values in registers alone, in every thread the device can run.
    ///
    /// # Errors
    /// If there is no memory for the sums.
    pub fn arithmetic_probe(&self) -> Result<impl FnMut() -> Result<ArithmeticProbe> + '_> {
        let (grid, threads, rounds) = (132 * 32, 256, 4096);
        let mut sums = self.gpu.alloc(DType::F32, grid * threads)?;
        Ok(move || {
            let words = [0, 0, rounds];
            let launch = Launch { grid, threads, shared: 0 };
            let seconds = self
                .seconds(|| self.gpu.launch("probe_fma", launch, &mut [Arg::Write(&mut sums), Arg::Words(&words)]))?;
            Ok(ArithmeticProbe { macs: (grid * threads * 16) as f64 * f64::from(rounds), seconds })
        })
    }
}
