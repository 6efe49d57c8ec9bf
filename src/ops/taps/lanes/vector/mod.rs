//! Vectors of f32, one implementation per instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use portable::Portable;

use half::{bf16, f16};
use std::fmt;
use std::sync::OnceLock;

/// Most lanes of any vector.
pub(in crate::ops::taps) const MAX_LANES: usize = 16;

/// A vector of f32, one lane per channel.
///
/// # Safety
/// The methods of an implementation may only run on a machine that has its instructions, which [`dispatch`] sees to.
/// Pointers must be valid for the lanes that a method reads or writes; [`Vector::store_line`] and loads by
/// [`Vector::load_line`] need pointers aligned to the vector.
pub(in crate::ops::taps) unsafe trait Vector: Copy {
    const LANES: usize;
    /// Whether there are registers for the sums of a tile and several weights: 32 instead of 16.
    const MANY_REGISTERS: bool = false;

    /// Reads aligned lanes.
    unsafe fn load_line(from: *const f32) -> Self;
    /// Writes aligned lanes.
    unsafe fn store_line(self, to: *mut f32);
    unsafe fn zero() -> Self;
    /// `self * by + to`, rounded once where the machine can.
    unsafe fn multiply_add(self, by: Self, to: Self) -> Self;

    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn load_f16(from: *const f16) -> Self;
    unsafe fn load_bf16(from: *const bf16) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn store_f16(self, to: *mut f16);
    unsafe fn store_bf16(self, to: *mut bf16);
    /// Writes aligned lanes past the caches: results that are larger than the cache need not be read into it first.
    unsafe fn stream(self, to: *mut f32);

    /// Lane l of the result is lane `l + by`, or zero where there is none.
    unsafe fn move_lanes(self, by: i32) -> Self;
    /// Transposes the matrix whose rows are the first `LANES` vectors.
    unsafe fn transpose(rows: &mut [Self; MAX_LANES]);
    /// Asks for a cache line, into the second-level cache.
    unsafe fn fetch(_line: *const u8) {}
    /// Waits until streamed lanes are visible to other threads.
    unsafe fn fence() {}
}

/// A type that feature maps are stored in; sums are always f32.
pub(in crate::ops::taps) trait Stored: Copy + Send + Sync + 'static {
    /// Whether results may be written past the caches.
    const STREAMS: bool = false;

    /// Reads `V::LANES` values.
    ///
    /// # Safety
    /// `from` is valid for `V::LANES` values.
    unsafe fn load<V: Vector>(from: *const Self) -> V;

    /// Writes `V::LANES` values.
    ///
    /// # Safety
    /// `to` is valid for `V::LANES` values, and with `STREAM` aligned to as many.
    unsafe fn store<V: Vector, const STREAM: bool>(value: V, to: *mut Self);

    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;
}

impl Stored for f32 {
    const STREAMS: bool = true;

    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const Self) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(from) }
    }

    #[inline(always)]
    unsafe fn store<V: Vector, const STREAM: bool>(value: V, to: *mut Self) {
        // SAFETY: the caller's promise.
        unsafe { if STREAM { value.stream(to) } else { value.store(to) } }
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn from_f32(value: f32) -> Self {
        value
    }
}

/// Half-precision storage: the same three lines for both types.
macro_rules! stored_half {
    ($type:ident, $load:ident, $store:ident) => {
        impl Stored for $type {
            #[inline(always)]
            unsafe fn load<V: Vector>(from: *const Self) -> V {
                // SAFETY: the caller's promise.
                unsafe { V::$load(from) }
            }

            #[inline(always)]
            unsafe fn store<V: Vector, const STREAM: bool>(value: V, to: *mut Self) {
                // SAFETY: the caller's promise.
                unsafe { value.$store(to) }
            }

            fn to_f32(self) -> f32 {
                $type::to_f32(self)
            }

            fn from_f32(value: f32) -> Self {
                $type::from_f32(value)
            }
        }
    };
}
stored_half!(f16, load_f16, store_f16);
stored_half!(bf16, load_bf16, store_bf16);

/// The instruction sets that the engine is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InstructionSet {
    /// 16 channels at a time (x86-64-v4).
    Avx512,
    /// 8 channels at a time (x86-64-v3: AVX2, FMA, F16C).
    Avx2,
    /// 8 channels at a time in plain Rust. On AArch64, where NEON belongs to the base instruction set, the compiler
    /// makes NEON's fused multiply-adds of it.
    Portable,
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InstructionSet::Avx512 => "avx512",
            InstructionSet::Avx2 => "avx2",
            InstructionSet::Portable => "portable",
        })
    }
}

impl InstructionSet {
    /// Those that this machine has, the widest first.
    pub fn available() -> Vec<InstructionSet> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                all.push(InstructionSet::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
                all.push(InstructionSet::Avx2);
            }
        }
        all.push(InstructionSet::Portable);
        all
    }

    /// The widest that this machine has; found out once.
    pub fn best() -> InstructionSet {
        static BEST: OnceLock<InstructionSet> = OnceLock::new();
        *BEST.get_or_init(|| Self::available()[0])
    }

    /// The set, if this machine has it.
    pub(in crate::ops::taps) fn supported(self) -> Option<Supported> {
        Self::available().contains(&self).then_some(Supported(self))
    }
}

/// An instruction set that this machine has: what may be compiled for it may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops::taps) struct Supported(InstructionSet);

impl fmt::Display for Supported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Supported {
    /// All of them, the widest first.
    #[cfg(test)]
    pub fn all() -> impl Iterator<Item = Self> {
        InstructionSet::available().into_iter().map(Supported)
    }

    /// The widest.
    pub fn best() -> Self {
        Supported(InstructionSet::best())
    }

    /// [`Vector::MANY_REGISTERS`] of its vectors.
    pub fn has_many_registers(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => Avx512::MANY_REGISTERS,
            _ => false,
        }
    }

    /// Values of a vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => Avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => Avx2::LANES,
            _ => Portable::LANES,
        }
    }
}

/// Work that is compiled once per instruction set.
pub(in crate::ops::taps) trait Task {
    /// Does the work. Implementations are `#[inline(always)]`, so that they are compiled with the instructions of the
    /// function that calls them.
    ///
    /// # Safety
    /// The machine has the instructions of `V`, and the pointers among the task's fields are what the task says of them.
    unsafe fn run<V: Vector>(self);
}

/// Runs a task with the vectors of an instruction set.
///
/// # Safety
/// The pointers among the task's fields are what the task says of them.
pub(in crate::ops::taps) unsafe fn dispatch(set: Supported, task: impl Task) {
    // SAFETY: the machine has the instructions, since a set that it does not have is never `Supported`; the caller
    // answers for the task's pointers.
    unsafe {
        match set.0 {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => avx512::run(task),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => avx2::run(task),
            _ => task.run::<Portable>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transpose<'a> {
        from: &'a [f32],
        to: &'a mut Vec<f32>,
    }

    impl Task for Transpose<'_> {
        #[inline(always)]
        unsafe fn run<V: Vector>(self) {
            // SAFETY: the machine has the instructions.
            let mut rows = [unsafe { V::zero() }; MAX_LANES];
            for (row, from) in rows.iter_mut().zip(self.from.chunks_exact(V::LANES)).take(V::LANES) {
                // SAFETY: a chunk has V::LANES values, and the machine has the instructions.
                *row = unsafe { V::load(from.as_ptr()) };
            }
            // SAFETY: the machine has the instructions.
            unsafe { V::transpose(&mut rows) };
            self.to.resize(V::LANES * V::LANES, 0.0);
            for (row, to) in rows.iter().zip(self.to.chunks_exact_mut(V::LANES)) {
                // SAFETY: a chunk has V::LANES values, and the machine has the instructions.
                unsafe { row.store(to.as_mut_ptr()) };
            }
        }
    }

    #[test]
    fn transposing_swaps_rows_and_columns() {
        for set in Supported::all() {
            let lanes = set.lanes();
            let from: Vec<f32> = (0..MAX_LANES * MAX_LANES).map(|i| i as f32).collect();
            let mut to = Vec::new();
            // SAFETY: the task has no pointers.
            unsafe { dispatch(set, Transpose { from: &from, to: &mut to }) };
            let expected: Vec<f32> = (0..lanes * lanes).map(|i| from[i % lanes * lanes + i / lanes]).collect();
            assert_eq!(to, expected, "{set}");
        }
    }

    struct MoveLanes<'a> {
        by: i32,
        from: &'a [f32; MAX_LANES],
        to: &'a mut [f32; MAX_LANES],
    }

    impl Task for MoveLanes<'_> {
        #[inline(always)]
        unsafe fn run<V: Vector>(self) {
            // SAFETY: the arrays have the most lanes of all vectors, and the machine has the instructions.
            unsafe { V::load(self.from.as_ptr()).move_lanes(self.by).store(self.to.as_mut_ptr()) };
        }
    }

    #[test]
    fn moved_lanes_leave_zeros_behind() {
        let from = std::array::from_fn(|i| i as f32 + 1.0);
        for (set, by) in Supported::all().flat_map(|set| (-20..=20).map(move |by| (set, by))) {
            let mut to = [f32::NAN; MAX_LANES];
            // SAFETY: the task has no pointers.
            unsafe { dispatch(set, MoveLanes { by, from: &from, to: &mut to }) };
            for (lane, &value) in to.iter().enumerate().take(set.lanes()) {
                let expected = usize::try_from(lane as i32 + by).ok().filter(|&lane| lane < set.lanes());
                assert_eq!(value, expected.map_or(0.0, |lane| from[lane]), "{set}: lane {lane}, moved by {by}");
            }
        }
    }

    /// Stores single-precision values in a type and loads them again.
    struct Convert<'a, T> {
        from: &'a [f32],
        stored: &'a mut [T],
        loaded: &'a mut [f32],
    }

    impl<T: Stored> Task for Convert<'_, T> {
        #[inline(always)]
        unsafe fn run<V: Vector>(self) {
            let chunks = self.from.chunks_exact(V::LANES).zip(self.stored.chunks_exact_mut(V::LANES));
            for ((from, stored), loaded) in chunks.zip(self.loaded.chunks_exact_mut(V::LANES)) {
                // SAFETY: the chunks have V::LANES values, and the machine has the instructions.
                unsafe {
                    T::store::<V, false>(V::load(from.as_ptr()), stored.as_mut_ptr());
                    T::load::<V>(stored.as_ptr()).store(loaded.as_mut_ptr());
                }
            }
        }
    }

    /// Every value of the type, the ties between two neighbors, values just beside the ties, and all NaNs' high bits.
    fn check_conversions<T: Stored + fmt::Debug>(zero: T, to_bits: impl Fn(T) -> u16, values: impl Fn(u16) -> f32) {
        let mut from = Vec::new();
        for bits in 0..=u16::MAX {
            let (value, next) = (values(bits), values(bits.wrapping_add(1)));
            let tie = ((f64::from(value) + f64::from(next)) / 2.0) as f32;
            from.extend([value, tie, f32::from_bits(tie.to_bits() ^ 1), f32::from_bits(tie.to_bits().wrapping_add(1))]);
        }
        from.resize(from.len().next_multiple_of(MAX_LANES), 0.0);
        for set in Supported::all() {
            let (mut stored, mut loaded) = (vec![zero; from.len()], vec![0.0; from.len()]);
            // SAFETY: the task has no pointers.
            unsafe { dispatch(set, Convert { from: &from, stored: &mut stored, loaded: &mut loaded }) };
            for ((&from, &stored), &loaded) in from.iter().zip(&stored).zip(&loaded) {
                if from.is_nan() {
                    assert!(stored.to_f32().is_nan() && loaded.is_nan(), "{set}: {:x}", from.to_bits());
                } else {
                    assert_eq!(to_bits(stored), to_bits(T::from_f32(from)), "{set}: {from:e} becomes {stored:?}");
                    assert_eq!(loaded.to_bits(), stored.to_f32().to_bits(), "{set}: {stored:?} becomes {loaded:e}");
                }
            }
        }
    }

    #[test]
    fn half_precision_rounds_to_the_nearest() {
        check_conversions(f16::ZERO, f16::to_bits, |bits| f16::from_bits(bits).to_f32());
        check_conversions(bf16::ZERO, bf16::to_bits, |bits| bf16::from_bits(bits).to_f32());
    }
}
