//! Learning-rate schedule.

/// Linear warm-up from 0, then a half cosine down to a final value, per optimizer step:
///
/// ```text
/// i <  w :  base * i / (w - 1)                                       (both ends included)
/// i >= w :  final + (base - final) / 2 * (1 + cos(pi * (i - w) / (n - w)))
/// ```
///
/// with w warm-up steps of n steps in all. The schedule of the official training scripts.
///
/// ```
/// let s = kernelscope_lab::train::CosineSchedule { base: 0.004, last: 1e-6, warmup_steps: 6250, steps: 187_500 };
/// assert_eq!((s.at(0), s.at(6249), s.at(6250)), (0.0, 0.004, 0.004));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineSchedule {
    /// Highest value.
    pub base: f64,
    /// Value at the end.
    pub last: f64,
    /// Steps of warm-up.
    pub warmup_steps: usize,
    /// Steps in all, warm-up included.
    pub steps: usize,
}

impl CosineSchedule {
    /// The value of a step, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return match self.warmup_steps {
                1 => 0.0,
                w => self.base * step as f64 / (w - 1) as f64,
            };
        }
        // A schedule may be all warm-up.
        let rest = self.steps.saturating_sub(self.warmup_steps).max(1);
        let (i, n) = ((step - self.warmup_steps) as f64, rest as f64);
        self.last + 0.5 * (self.base - self.last) * (1.0 + (std::f64::consts::PI * i.min(n) / n).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_longer_than_the_run_reaches_the_end() {
        let schedule = CosineSchedule { base: 1.0, last: 0.25, warmup_steps: 5, steps: 2 };
        let found: Vec<f64> = (0..8).map(|step| schedule.at(step)).collect();
        assert_eq!(found, [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.25, 0.25]);
    }
}
