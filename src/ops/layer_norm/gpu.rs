//! Layer normalisation on a GPU: `kernels/layer_norm.cu`.

use super::cpu::Sizes;
use crate::Error;
use crate::ops::gpu::{Arg, Gpu, Launch, SHARED_BYTES, THREADS, Values, suffix};
use candle_core::{DType, Storage};

/// Shared memory in words up to which several blocks fit on a multiprocessor.
const MODERATE_WORDS: usize = (48 << 10) / 4;

/// Blocks of the backward pass at most: each leaves sums of its own.
const MOST_SHARES: usize = 512;

/// Warps of a block with channels last, fewer where their sums would not fit.
const ROW_WARPS: usize = 8;

/// Whether the channels of a position are next to each other.
fn is_last(sizes: Sizes) -> bool {
    sizes.inner == 1
}

/// A launch and the numbers of the kernels' `Norm`.
struct Division {
    launch: Launch,
    words: Vec<i32>,
    shares: usize,
}

/// How the positions are divided among blocks; `tiles` is the number of maps that are staged (x, or x and dy).
fn divide(sizes: Sizes, len: usize, eps: f64, tiles: usize) -> candle_core::Result<Division> {
    let Sizes { channels, inner, .. } = sizes;
    let outer = len / (channels * inner);
    let int = |number: usize| i32::try_from(number).ok().filter(|_| number < 1 << 30);
    let (Some(outer), Some(channels_int), Some(inner_int)) = (int(outer), int(channels), int(inner)) else {
        let given = format!("{len} values of {channels} channels");
        return Err(Error::argument("input", given, "axes below 2^30 on a GPU").into());
    };
    let backward = tiles > 1;
    let sums = if backward { 2 * channels } else { 0 };
    let (launch, positions, staged, shares) = if is_last(sizes) {
        let warps = (SHARED_BYTES / 4 / sums.max(1)).clamp(1, ROW_WARPS);
        let blocks = (outer as usize).div_ceil(warps).min(if backward { MOST_SHARES } else { 1 << 16 });
        (Launch { grid: blocks, threads: 32 * warps, shared: 4 * warps * sums }, 1, false, blocks)
    } else {
        // As many neighbouring positions as fit, for whole sectors of memory; none staged where not even 8 do.
        let words = |positions: usize| THREADS + sums + tiles * channels * positions;
        let fitting = [(32, MODERATE_WORDS), (16, MODERATE_WORDS), (8, SHARED_BYTES / 4)];
        let positions = fitting.into_iter().find(|&(positions, most)| words(positions) <= most).map(|(p, _)| p);
        let (positions, staged) = (positions.unwrap_or(32), positions.is_some());
        let blocks = (outer as usize * inner).div_ceil(positions);
        let shares = if backward { blocks.min(MOST_SHARES) } else { blocks };
        let words = if staged { words(positions) } else { THREADS + sums };
        (Launch { grid: shares, threads: THREADS, shared: 4 * words }, positions, staged, shares)
    };
    if launch.shared > SHARED_BYTES {
        return Err(Error::argument("input", format!("{channels} channels"), "at most 12000 on a GPU").into());
    }
    let eps = (eps as f32).to_bits() as i32;
    let words = vec![outer, channels_int, inner_int, positions as i32, i32::from(staged), eps, shares as i32];
    Ok(Division { launch, words, shares })
}

fn kernel(sizes: Sizes, suffixes: &str, dtype: DType) -> candle_core::Result<String> {
    Ok(format!("layer_norm{}{suffixes}_{}", if is_last(sizes) { "_last" } else { "" }, suffix(dtype)?))
}

/// y.
pub(super) fn forward(gpu: &Gpu, sizes: Sizes, [x, w, b]: [Values; 3], eps: f64) -> candle_core::Result<Storage> {
    let Division { launch, words, .. } = divide(sizes, x.len(), eps, 1)?;
    let mut y = gpu.alloc(x.dtype(), x.len())?;
    let mut arguments = [Arg::Read(x), Arg::Read(w), Arg::Read(b), Arg::Write(&mut y), Arg::Words(&words)];
    gpu.launch(&kernel(sizes, "", x.dtype())?, launch, &mut arguments)?;
    Ok(y)
}

/// The gradients of x, weight and bias.
pub(super) fn backward(
    gpu: &Gpu,
    sizes: Sizes,
    [x, w, dy]: [Values; 3],
    eps: f64,
) -> candle_core::Result<[Storage; 3]> {
    let Division { launch, words, shares } = divide(sizes, x.len(), eps, 2)?;
    let (dtype, channels) = (x.dtype(), sizes.channels);
    let mut dx = gpu.alloc(dtype, x.len())?;
    let count = shares * 2 * channels;
    let mut partial = gpu.alloc(DType::F32, count)?;
    let mut arguments =
        [Arg::Read(x), Arg::Read(w), Arg::Read(dy), Arg::Write(&mut dx), Arg::Write(&mut partial), Arg::Words(&words)];
    gpu.launch(&kernel(sizes, "_grad", dtype)?, launch, &mut arguments)?;
    let (mut dw, mut db) = (gpu.alloc(dtype, channels)?, gpu.alloc(dtype, channels)?);
    let partial = Values::all(&partial, count)?;
    let mut arguments = [Arg::Read(partial), Arg::Write(&mut dw), Arg::Write(&mut db), Arg::Words(&words)];
    let name = format!("layer_norm_finish_{}", suffix(dtype)?);
    gpu.launch(&name, Launch::over(2 * channels), &mut arguments)?;
    Ok([dx, dw, db])
}
