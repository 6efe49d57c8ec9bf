//! Plain arrays: 8 lanes that the compiler maps to whatever vectors the target's base instruction set has.

use super::{MAX_LANES, Vector};
use half::{bf16, f16};

#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(crate) struct Portable([f32; 8]);

impl Portable {
    #[inline(always)]
    fn from_fn(f: impl FnMut(usize) -> f32) -> Self {
        Portable(std::array::from_fn(f))
    }
}

// SAFETY: vectors of 8 values. Methods need no special instructions, and use no memory but the lanes that the contract
// names.
unsafe impl Vector for Portable {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load_line(from: *const f32) -> Self {
        // SAFETY: the caller answers for 8 values at `from`, aligned to the vector.
        unsafe { Self::load(from) }
    }

    #[inline(always)]
    unsafe fn store_line(self, to: *mut f32) {
        // SAFETY: the caller answers for 8 places at `to`, aligned to the vector.
        unsafe { self.store(to) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        Portable([0.0; 8])
    }

    #[inline(always)]
    unsafe fn multiply_add(self, by: Self, to: Self) -> Self {
        // Without the instruction, `mul_add` is a call of a library function for every lane.
        const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
        Self::from_fn(
            #[inline(always)]
            |i| if FUSED { self.0[i].mul_add(by.0[i], to.0[i]) } else { self.0[i] * by.0[i] + to.0[i] },
        )
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self::from_fn(
            #[inline(always)]
            |i| self.0[i] + other.0[i],
        )
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self::from_fn(
            #[inline(always)]
            |i| self.0[i] - other.0[i],
        )
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller answers for 8 values at `from`, which may lie anywhere.
        unsafe { Portable(from.cast::<[f32; 8]>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        // SAFETY: the caller answers for 8 values of 16 bits at `from`.
        Self::from_fn(|i| unsafe { *from.add(i) }.to_f32())
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: the caller answers for 8 values of 16 bits at `from`.
        Self::from_fn(|i| unsafe { *from.add(i) }.to_f32())
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller answers for 8 places at `to`, which may lie anywhere.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        for (i, lane) in self.0.into_iter().enumerate() {
            // SAFETY: the caller answers for 8 places of 16 bits at `to`.
            unsafe { *to.add(i) = f16::from_f32(lane) }
        }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        for (i, lane) in self.0.into_iter().enumerate() {
            // SAFETY: the caller answers for 8 places of 16 bits at `to`.
            unsafe { *to.add(i) = bf16::from_f32(lane) }
        }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller answers for 8 places at `to`, aligned to the vector.
        unsafe { self.store(to) }
    }

    #[inline(always)]
    unsafe fn move_lanes(self, by: i32) -> Self {
        Self::from_fn(
            #[inline(always)]
            |i| usize::try_from(i as i32 + by).ok().and_then(|i| self.0.get(i)).copied().unwrap_or(0.0),
        )
    }

    #[inline(always)]
    unsafe fn transpose(rows: &mut [Self; MAX_LANES]) {
        let old = *rows;
        for (i, row) in rows.iter_mut().enumerate().take(8) {
            *row = Self::from_fn(
                #[inline(always)]
                |j| old[j].0[i],
            );
        }
    }
}
