//! AVX2 with FMA and F16C: 8 lanes.

use super::{MAX_LANES, Task, Vector};
use half::{bf16, f16};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256);

/// Compiles a task for this instruction set.
///
/// # Safety
/// The machine has it.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run(task: impl Task) {
    // SAFETY: the caller's promise.
    unsafe { task.run::<Avx2>() }
}

// SAFETY: vectors of 8 values. Methods use no instructions but AVX2, FMA and F16C, and no memory but the lanes that the contract names.
unsafe impl Vector for Avx2 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn load_line(from: *const f32) -> Self {
        // SAFETY: the caller answers for the instructions, and for 8 values at `from`, aligned to the vector.
        unsafe { Avx2(_mm256_load_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store_line(self, to: *mut f32) {
        // SAFETY: the caller answers for the instructions, and for 8 places at `to`, aligned to the vector.
        unsafe { _mm256_store_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx2(_mm256_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, by: Self, to: Self) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx2(_mm256_fmadd_ps(self.0, by.0, to.0)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx2(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx2(_mm256_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller answers for the instructions, and for 8 values at `from`, which may lie anywhere.
        unsafe { Avx2(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        // SAFETY: the caller answers for the instructions, and for 8 values of 16 bits at `from`.
        unsafe { Avx2(_mm256_cvtph_ps(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: the caller answers for the instructions, and for 8 values of 16 bits at `from`.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            Avx2(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller answers for the instructions, and for 8 places at `to`, which may lie anywhere.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        // SAFETY: the caller answers for the instructions, and for 8 places of 16 bits at `to`.
        unsafe { _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        // SAFETY: the caller answers for the instructions, and for 8 places of 16 bits at `to`.
        unsafe {
            let mut lanes = [0f32; 8];
            _mm256_storeu_ps(lanes.as_mut_ptr(), self.0);
            for (i, &lane) in lanes.iter().enumerate() {
                *to.add(i) = bf16::from_f32(lane);
            }
        }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller answers for the instructions, and for 8 places at `to`, aligned to the vector.
        unsafe { _mm256_stream_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn move_lanes(self, by: i32) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe {
            let from = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(by));
            let below = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), from);
            let inside = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_setzero_si256(), from), below);
            Avx2(_mm256_and_ps(_mm256_permutevar8x32_ps(self.0, from), _mm256_castsi256_ps(inside)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(rows: &mut [Self; MAX_LANES]) {
        // SAFETY: the caller answers for the instructions.
        unsafe {
            // Fours of rows within each half of the vectors, then the halves.
            let mut fours = *rows;
            for i in [0, 4] {
                let [a, b, c, d] = [rows[i].0, rows[i + 1].0, rows[i + 2].0, rows[i + 3].0];
                let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                fours[i] = Avx2(_mm256_shuffle_ps::<0x44>(ab_low, cd_low));
                fours[i + 1] = Avx2(_mm256_shuffle_ps::<0xee>(ab_low, cd_low));
                fours[i + 2] = Avx2(_mm256_shuffle_ps::<0x44>(ab_high, cd_high));
                fours[i + 3] = Avx2(_mm256_shuffle_ps::<0xee>(ab_high, cd_high));
            }
            for i in 0..4 {
                let (a, b) = (fours[i].0, fours[4 + i].0);
                rows[i] = Avx2(_mm256_permute2f128_ps::<0x20>(a, b));
                rows[4 + i] = Avx2(_mm256_permute2f128_ps::<0x31>(a, b));
            }
        }
    }

    #[inline(always)]
    unsafe fn fetch(line: *const u8) {
        // SAFETY: the caller answers for the instructions; a prefetch reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(line.cast()) };
    }

    #[inline(always)]
    unsafe fn fence() {
        // SAFETY: the caller answers for the instructions.
        unsafe { _mm_sfence() };
    }
}
