//! AVX-512: 16 lanes.

use super::{MAX_LANES, Task, Vector};
use half::{bf16, f16};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

/// Compiles a task for this instruction set.
///
/// # Safety
/// The machine has it.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,fma,f16c")]
pub(super) unsafe fn run(task: impl Task) {
    // SAFETY: the caller's promise.
    unsafe { task.run::<Avx512>() }
}

// SAFETY: vectors of 16 values. Methods use no instructions but those that `run` enables, and no memory but the lanes that the contract names.
unsafe impl Vector for Avx512 {
    const LANES: usize = 16;
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    unsafe fn load_line(from: *const f32) -> Self {
        // SAFETY: the caller answers for the instructions, and for 16 values at `from`, aligned to the vector.
        unsafe { Avx512(_mm512_load_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store_line(self, to: *mut f32) {
        // SAFETY: the caller answers for the instructions, and for 16 places at `to`, aligned to the vector.
        unsafe { _mm512_store_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx512(_mm512_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, by: Self, to: Self) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx512(_mm512_fmadd_ps(self.0, by.0, to.0)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx512(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe { Avx512(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller answers for the instructions, and for 16 values at `from`, which may lie anywhere.
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        // SAFETY: the caller answers for the instructions, and for 16 values of 16 bits at `from`.
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        // SAFETY: the caller answers for the instructions, and for 16 values of 16 bits at `from`.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            Avx512(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller answers for the instructions, and for 16 places at `to`, which may lie anywhere.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_f16(self, to: *mut f16) {
        // SAFETY: the caller answers for the instructions, and for 16 places of 16 bits at `to`.
        unsafe { _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(self.0)) }
    }

    #[inline(always)]
    unsafe fn store_bf16(self, to: *mut bf16) {
        // SAFETY: the caller answers for the instructions, and for 16 places of 16 bits at `to`.
        unsafe {
            // To the nearest, ties to even; a NaN stays one because its quiet bit is set first.
            let bits = _mm512_castps_si512(self.0);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(self.0, self.0);
            let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded)));
        }
    }

    #[inline(always)]
    unsafe fn stream(self, to: *mut f32) {
        // SAFETY: the caller answers for the instructions, and for 16 places at `to`, aligned to the vector.
        unsafe { _mm512_stream_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn move_lanes(self, by: i32) -> Self {
        // SAFETY: the caller answers for the instructions.
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let from = _mm512_add_epi32(lanes, _mm512_set1_epi32(by));
            // As unsigned numbers, negative ones are large.
            let inside = _mm512_cmplt_epu32_mask(from, _mm512_set1_epi32(16));
            Avx512(_mm512_maskz_permutexvar_ps(inside, from, self.0))
        }
    }

    #[inline(always)]
    unsafe fn transpose(rows: &mut [Self; MAX_LANES]) {
        // SAFETY: the caller answers for the instructions.
        unsafe {
            // Pairs, then fours of rows within each quarter of the vectors; then the quarters.
            let mut fours = *rows;
            for i in (0..16).step_by(4) {
                let [a, b, c, d] = [rows[i].0, rows[i + 1].0, rows[i + 2].0, rows[i + 3].0];
                let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
                let join_low = |x, y| _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
                let join_high = |x, y| _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y)));
                fours[i] = Avx512(join_low(ab_low, cd_low));
                fours[i + 1] = Avx512(join_high(ab_low, cd_low));
                fours[i + 2] = Avx512(join_low(ab_high, cd_high));
                fours[i + 3] = Avx512(join_high(ab_high, cd_high));
            }
            for i in 0..4 {
                let [a, b, c, d] = [fours[i].0, fours[4 + i].0, fours[8 + i].0, fours[12 + i].0];
                let (ab_low, ab_high) = (_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
                let (cd_low, cd_high) = (_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
                rows[i] = Avx512(_mm512_shuffle_f32x4::<0x88>(ab_low, cd_low));
                rows[4 + i] = Avx512(_mm512_shuffle_f32x4::<0xdd>(ab_low, cd_low));
                rows[8 + i] = Avx512(_mm512_shuffle_f32x4::<0x88>(ab_high, cd_high));
                rows[12 + i] = Avx512(_mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high));
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
