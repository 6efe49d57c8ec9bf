//! Division by invariant integers without a division instruction.

use super::params::device_structs;

device_structs! {
    /// Division of numbers below 2^31 by an integer that is known before the launch (Granlund and Montgomery, 1994):
    /// `floor(n / divisor) = (mulhi(n, magic) + n) >> shift`.
    struct FastDivisor, 12 bytes {
        /// The divisor.
        0 => divisor: u32,
        /// The lower 32 bits of the scaled reciprocal, whose upper bit is 1.
        4 => magic: u32,
        /// The logarithm of the scale.
        8 => shift: u32,
    }
}

impl FastDivisor {
    /// Division by a number from 1 to 2^30.
    pub(crate) fn new(divisor: usize) -> Self {
        let divisor = u32::try_from(divisor).unwrap_or(u32::MAX).clamp(1, 1 << 30);
        let shift = divisor.next_power_of_two().trailing_zeros();
        let excess = (1u64 << shift) - u64::from(divisor);
        FastDivisor { divisor, magic: ((excess << 32) / u64::from(divisor) + 1) as u32, shift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_is_exact_below_two_to_the_31() {
        for divisor in (1..2000).chain([4095, 4096, 65_535, 65_537, 1 << 29, (1 << 30) - 1, 1 << 30]) {
            let FastDivisor { magic, shift, .. } = FastDivisor::new(divisor);
            let near = |n: u64| n.saturating_sub(2)..n + 3;
            let numbers =
                (0..100).chain(near(divisor as u64)).chain(near(divisor as u64 * 7)).chain((1 << 31) - 5..1 << 31);
            for n in numbers.filter(|&n| n < 1 << 31) {
                let quotient = (((n * u64::from(magic)) >> 32) + n) >> shift;
                assert_eq!(quotient, n / divisor as u64, "{n} / {divisor}");
            }
        }
    }
}
