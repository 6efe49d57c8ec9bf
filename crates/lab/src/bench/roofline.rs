//! The roofline (Williams et al., *Roofline: an insightful visual performance model*, 2009): an operator that moves B
//! bytes and makes M multiply-adds takes at least
//!
//! ```text
//! bound = max(B / bandwidth, M / peak)
//! ```
//!
//! on a machine whose memory moves `bandwidth` bytes and whose cores make `peak` multiply-adds per second. Both are
//! measured ([`super::machine`]). B counts each tensor once, so caches can only help: an operator whose tensors stay in
//! the cache from one repetition to the next may be faster than the bound.

use super::machine::Machine;

/// The least that an operator must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Multiply-adds that read inside the image.
    pub macs: u64,
    /// Bytes read and written if every tensor is touched once.
    pub bytes: u64,
}

impl Work {
    /// A depthwise convolution's forward pass in f32: reads input and weights, writes the output.
    pub fn forward(macs: u64, input: usize, weights: usize, output: usize) -> Self {
        Work { macs, bytes: (size_of::<f32>() * (input + weights + output)) as u64 }
    }

    /// The same with the gradients of input and weights. The input's gradient reads that of the output and the weights;
    /// the weights' gradient reads input and output's gradient. Each is of the forward pass's size and makes as many
    /// multiply-adds.
    pub fn with_gradients(self) -> Self {
        Work { macs: 3 * self.macs, bytes: 3 * self.bytes }
    }

    /// The least number of seconds that it takes on a machine.
    pub fn bound(&self, machine: &Machine) -> f64 {
        let memory = self.bytes as f64 / (1e9 * machine.bandwidth_gb_per_s);
        let arithmetic = self.macs as f64 / (1e9 * machine.peak_gmac_per_s);
        memory.max(arithmetic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { processor: "test".into(), cores: 2, threads: 2, bandwidth_gb_per_s: 20.0, peak_gmac_per_s: 100.0 }
    }

    #[test]
    fn the_slower_of_memory_and_arithmetic_is_the_bound() {
        let bound = |macs, bytes| Work { macs, bytes }.bound(&machine());
        assert_eq!(bound(1_000_000_000, 2_000_000_000), 0.1, "memory");
        assert_eq!(bound(30_000_000_000, 2_000_000_000), 0.3, "arithmetic");
    }

    #[test]
    fn every_tensor_counts_once_per_pass() {
        // 1 image, 2 channels of 4x4, a 3x3 kernel at stride 2: 32 values in, 18 weights, 8 values out.
        let forward = Work::forward(100, 32, 18, 8);
        assert_eq!(forward, Work { macs: 100, bytes: 4 * (32 + 18 + 8) });
        let (x, w, y) = (4 * 32, 4 * 18, 4 * 8);
        let (input_gradient, weight_gradient) = (y + w + x, x + y + w);
        let both = forward.with_gradients();
        assert_eq!(both, Work { macs: 300, bytes: forward.bytes + input_gradient + weight_gradient });
        assert!(both.bound(&machine()) > forward.bound(&machine()));
    }
}
