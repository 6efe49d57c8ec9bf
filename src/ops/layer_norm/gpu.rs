//! Layer normalization on a GPU: the launches of `kernels/layer_norm.cu`.

use super::cpu::Sizes;
use crate::Error;
use crate::ops::gpu::params::LayerNormParams;
use crate::ops::gpu::{Gpu, KernelArg, LaunchSize, SHARED_BYTES, THREADS, Values, typed};
use candle_core::{DType, Storage};

/// Shared memory in words up to which several blocks fit on a multiprocessor.
const MODERATE_WORDS: usize = (48 << 10) / 4;

/// Blocks of the backward pass at most: each leaves partial sums of its own.
const MOST_SPLITS: usize = 512;

/// Warps of a block with channels last, fewer where their sums would not fit.
const ROW_WARPS: usize = 8;

/// Whether the channels of a position are next to each other.
fn is_last(sizes: Sizes) -> bool {
    sizes.inner == 1
}

/// A launch over all positions.
struct LayerNormLaunch {
    size: LaunchSize,
    params: LayerNormParams,
    /// Blocks that leave partial sums.
    splits: usize,
}

/// How the positions are divided among blocks; `tiles` is the number of maps that are staged (x, or x and dy).
fn launch_of(sizes: Sizes, len: usize, eps: f64, tiles: usize) -> candle_core::Result<LayerNormLaunch> {
    let Sizes { channels, inner, .. } = sizes;
    let outer = len / (channels * inner);
    let int = |number: usize| i32::try_from(number).ok().filter(|_| number < 1 << 30);
    let (Some(outer_int), Some(channels_int), Some(inner_int)) = (int(outer), int(channels), int(inner)) else {
        let given = format!("{len} values of {channels} channels");
        return Err(Error::argument("input", given, "axes below 2^30 on a GPU").into());
    };
    let backward = tiles > 1;
    let sums = if backward { 2 * channels } else { 0 };
    let (size, positions, staged) = if is_last(sizes) {
        let warps = (SHARED_BYTES / 4 / sums.max(1)).clamp(1, ROW_WARPS);
        let blocks = outer.div_ceil(warps).min(if backward { MOST_SPLITS } else { 1 << 16 });
        (LaunchSize { blocks, threads: 32 * warps, shared_bytes: 4 * warps * sums }, 1, false)
    } else {
        // As many neighboring positions as fit, for whole sectors of memory; none staged where not even 8 do.
        let words = |positions: usize| THREADS + sums + tiles * channels * positions;
        let fitting = [(32, MODERATE_WORDS), (16, MODERATE_WORDS), (8, SHARED_BYTES / 4)];
        let positions = fitting.into_iter().find(|&(positions, most)| words(positions) <= most).map(|(p, _)| p);
        let (positions, staged) = (positions.unwrap_or(32), positions.is_some());
        let blocks = (outer * inner).div_ceil(positions);
        let blocks = if backward { blocks.min(MOST_SPLITS) } else { blocks };
        let words = if staged { words(positions) } else { THREADS + sums };
        (LaunchSize { blocks, threads: THREADS, shared_bytes: 4 * words }, positions, staged)
    };
    if size.shared_bytes > SHARED_BYTES {
        return Err(Error::argument("input", format!("{channels} channels"), "at most 12000 on a GPU").into());
    }
    let params = LayerNormParams {
        outer: outer_int,
        channels: channels_int,
        inner: inner_int,
        positions: positions as i32,
        staged: i32::from(staged),
        eps: eps as f32,
        splits: size.blocks as i32,
    };
    Ok(LayerNormLaunch { size, params, splits: size.blocks })
}

fn kernel(sizes: Sizes, suffixes: &str, dtype: DType) -> candle_core::Result<String> {
    typed(&format!("layer_norm{}{suffixes}", if is_last(sizes) { "_last" } else { "" }), dtype)
}

/// y.
pub(super) fn forward(gpu: &Gpu, sizes: Sizes, [x, w, b]: [Values; 3], eps: f64) -> candle_core::Result<Storage> {
    let LayerNormLaunch { size, params, .. } = launch_of(sizes, x.len(), eps, 1)?;
    let mut y = gpu.alloc(x.dtype(), x.len())?;
    let mut arguments = [
        KernelArg::Read(x),
        KernelArg::Read(w),
        KernelArg::Read(b),
        KernelArg::Write(&mut y),
        KernelArg::params(&params),
    ];
    gpu.launch(&kernel(sizes, "", x.dtype())?, size, &mut arguments)?;
    Ok(y)
}

/// The gradients of x, weight and bias.
pub(super) fn backward(
    gpu: &Gpu,
    sizes: Sizes,
    [x, w, dy]: [Values; 3],
    eps: f64,
) -> candle_core::Result<[Storage; 3]> {
    let LayerNormLaunch { size, params, splits } = launch_of(sizes, x.len(), eps, 2)?;
    let (dtype, channels) = (x.dtype(), sizes.channels);
    let mut dx = gpu.alloc(dtype, x.len())?;
    let count = splits * 2 * channels;
    let mut partial = gpu.alloc(DType::F32, count)?;
    let mut arguments = [
        KernelArg::Read(x),
        KernelArg::Read(w),
        KernelArg::Read(dy),
        KernelArg::Write(&mut dx),
        KernelArg::Write(&mut partial),
        KernelArg::params(&params),
    ];
    gpu.launch(&kernel(sizes, "_grad", dtype)?, size, &mut arguments)?;
    let (mut dw, mut db) = (gpu.alloc(dtype, channels)?, gpu.alloc(dtype, channels)?);
    let partial = Values::all(&partial, count)?;
    let mut arguments =
        [KernelArg::Read(partial), KernelArg::Write(&mut dw), KernelArg::Write(&mut db), KernelArg::params(&params)];
    gpu.launch(&typed("layer_norm_finish", dtype)?, LaunchSize::over(2 * channels), &mut arguments)?;
    Ok([dx, dw, db])
}
