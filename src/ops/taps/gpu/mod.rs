//! A convolution on a GPU: how it is divided among blocks, decided once per shape, and its launches.
//!
//! The kernels are `kernels/taps.cu`; `docs/cuda.md` explains the design, and the comment of `kernels/taps.cuh` its words.
//! Where no tile fits into shared memory (taps hundreds of pixels apart, strides above 4), kernels without tiles take over.
//!
//! | module | holds | knows |
//! |---|---|---|
//! | `phases` | strides taken apart, and taps between cells | |
//! | `chunks` | taps that follow each other along a direction | `phases` |
//! | `toeplitz` | taps as Toeplitz blocks, for kernels about as large as the image | `chunks` |
//! | `layout` | a tile in shared memory, and which thread has which part of it | `phases`, `chunks` |
//! | `cost` | the time that this takes | all above |
//! | `tiling` | the fastest tiles, directions and layout | all above |
//! | `tables` | what the kernels read of this | all above |

mod chunks;
mod cost;
mod layout;
mod phases;
mod tables;
mod tiling;
mod toeplitz;

use super::{Geometry, TapTable};
use crate::Error;
use crate::ops::gpu::params::TapParams;
use crate::ops::gpu::{DeviceTables, FastDivisor, Gpu, KernelArg, LaunchSize, THREADS, Values, typed};
use candle_core::{DType, Storage};
use chunks::{ChunkedTaps, Direction};
use phases::{Pass, PassShape, Size};
use std::sync::{Arc, OnceLock};
use tables::{TapTables, TiledPass};
use tiling::{GroupTaps, SharedRegions, Tiling, TilingProblem};

/// Blocks of the weight gradient to aim at: several for every multiprocessor of the largest GPUs.
const WEIGHT_BLOCKS: usize = 1024;

/// Numbers of images from which on there is another plan.
const BATCHES: [usize; 4] = [1, 8, 16, 32];

/// A depthwise convolution on GPUs: the plans of its three passes, each made when it is first needed.
#[derive(Debug)]
pub(super) struct GpuPlans {
    table: Arc<TapTable>,
    geometry: Geometry,
    passes: [[OnceLock<PassPlan>; BATCHES.len()]; 3],
}

/// The plan of one pass.
#[derive(Debug)]
struct PassPlan {
    shape: PassShape,
    tiling: Option<Tiling>,
    tables: DeviceTables,
    groups_at: usize,
    group_of_channel_at: usize,
    most_taps: usize,
}

impl PassPlan {
    fn new(table: &TapTable, geometry: &Geometry, pass: Pass, images: usize) -> Self {
        let shape = PassShape::of(geometry, pass);
        let mut channels = vec![0; table.groups().len()];
        table.group_of_channel().iter().for_each(|&group| channels[group] += 1);
        let groups: Vec<GroupTaps> = table
            .groups()
            .iter()
            .zip(channels)
            .map(|(group, channels)| {
                let taps = phases::taps_by_output_phase(group, geometry, pass);
                let along = |&direction: &Direction| ChunkedTaps::new(&taps, direction);
                GroupTaps { channels, directions: Direction::all(&shape).iter().map(along).collect() }
            })
            .collect();
        let tiling = TilingProblem { pass, shape, groups: &groups, images }.solve();
        let tiled = tiling.as_ref().map(|tiling| {
            let chosen = groups.iter().zip(&tiling.directions);
            let groups = chosen.map(|(group, &direction)| &group.directions[direction]).collect();
            TiledPass { pass, shape, tiling, groups }
        });
        let TapTables { words, groups_at, group_of_channel_at, most_taps } = tables::build(table, tiled.as_ref());
        PassPlan { shape, tiling, tables: DeviceTables::new(words), groups_at, group_of_channel_at, most_taps }
    }
}

/// What a launch needs besides the plan.
#[derive(Clone, Copy)]
struct PassCall {
    images: usize,
    residual: bool,
    with_bias: bool,
    /// Blocks that share the images of a channel, in the weight gradient (split-K).
    block_splits: usize,
    /// Whether source and results (or their gradients) start at even indices, so that pairs are aligned.
    source_is_even: bool,
    result_is_even: bool,
}

impl GpuPlans {
    /// No plans yet.
    pub fn new(table: Arc<TapTable>, geometry: Geometry) -> Self {
        GpuPlans { table, geometry: geometry.without_idle_strides(), passes: Default::default() }
    }

    fn plan(&self, pass: Pass, images: usize) -> candle_core::Result<&PassPlan> {
        let Geometry { input, output, stride } = self.geometry;
        let largest = [input.0, input.1, output.0, output.1].into_iter().max().unwrap_or(0);
        if largest >= 1 << 24 || self.table.channels() >= 1 << 24 {
            let given = format!("{} channels of {}x{} pixels", self.table.channels(), input.0, input.1);
            return Err(Error::argument("input", given, "fewer than 2^24 channels, rows, and columns on a GPU").into());
        }
        // Only Toeplitz blocks depend on the number of images, and these need planes of one size.
        let same = input == output && stride == (1, 1);
        let batch = BATCHES.iter().rposition(|&least| same && images >= least).unwrap_or(0);
        Ok(self.passes[pass as usize][batch]
            .get_or_init(|| PassPlan::new(&self.table, &self.geometry, pass, BATCHES[batch])))
    }

    fn input_plane(&self) -> usize {
        Size::from(self.geometry.input).count()
    }

    fn output_plane(&self) -> usize {
        Size::from(self.geometry.output).count()
    }

    /// `y = conv(x; w) + bias`, plus x if `residual`.
    pub(crate) fn forward(&self, gpu: &Gpu, [x, w, bias]: [Values; 3], residual: bool) -> candle_core::Result<Storage> {
        let channels = self.table.channels();
        let images = x.len() / (channels * self.input_plane());
        let count = images * channels * self.output_plane();
        let plan = self.plan(Pass::Forward, images)?;
        let call = PassCall {
            images,
            residual,
            with_bias: true,
            block_splits: 1,
            source_is_even: x.start_is_even(),
            result_is_even: true,
        };
        if let Some(tiling) = &plan.tiling {
            return self.convolve(gpu, plan, tiling, [x, w, bias], call);
        }
        let mut y = gpu.alloc(x.dtype(), count)?;
        let (tables, params) = (plan.tables.on(gpu)?, self.params(plan, &plan.shape, call));
        let mut arguments = [
            KernelArg::Read(x),
            KernelArg::Read(w),
            KernelArg::Read(bias),
            KernelArg::Write(&mut y),
            KernelArg::Read(Values::all(&tables, plan.tables.len())?),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("taps_direct_forward", x.dtype())?, LaunchSize::over(count), &mut arguments)?;
        Ok(y)
    }

    /// The gradient of x, given that of y.
    pub(crate) fn input_grad(&self, gpu: &Gpu, [dy, w]: [Values; 2], residual: bool) -> candle_core::Result<Storage> {
        let channels = self.table.channels();
        let images = dy.len() / (channels * self.output_plane());
        let count = images * channels * self.input_plane();
        let plan = self.plan(Pass::InputGrad, images)?;
        let call = PassCall {
            images,
            residual,
            with_bias: false,
            block_splits: 1,
            source_is_even: dy.start_is_even(),
            result_is_even: true,
        };
        if let Some(tiling) = &plan.tiling {
            // Without a bias, that argument is not read.
            return self.convolve(gpu, plan, tiling, [dy, w, w], call);
        }
        let mut dx = gpu.alloc(dy.dtype(), count)?;
        // To the kernels without tiles, source and result are x and y in every pass.
        let shape = PassShape::of(&self.geometry, Pass::Forward);
        let (tables, params) = (plan.tables.on(gpu)?, self.params(plan, &shape, call));
        let mut arguments = [
            KernelArg::Read(dy),
            KernelArg::Read(w),
            KernelArg::Write(&mut dx),
            KernelArg::Read(Values::all(&tables, plan.tables.len())?),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("taps_direct_input_grad", dy.dtype())?, LaunchSize::over(count), &mut arguments)?;
        Ok(dx)
    }

    /// The gradients of the weights and of the bias.
    pub(crate) fn weight_grad(&self, gpu: &Gpu, [x, dy]: [Values; 2]) -> candle_core::Result<[Storage; 2]> {
        let (channels, k) = (self.table.channels(), self.table.weights_per_channel());
        let images = x.len() / (channels * self.input_plane());
        let (mut dw, mut db) = (gpu.alloc(x.dtype(), channels * k)?, gpu.alloc(x.dtype(), channels)?);
        let plan = self.plan(Pass::WeightGrad, images)?;
        let tables = plan.tables.on(gpu)?;
        let tables = Values::all(&tables, plan.tables.len())?;
        let call = PassCall {
            images,
            residual: false,
            with_bias: false,
            block_splits: 1,
            source_is_even: x.start_is_even(),
            result_is_even: dy.start_is_even(),
        };
        let Some(tiling) = &plan.tiling else {
            let params = self.params(plan, &plan.shape, call);
            let mut arguments = [
                KernelArg::Read(x),
                KernelArg::Read(dy),
                KernelArg::Write(&mut dw),
                KernelArg::Write(&mut db),
                KernelArg::Read(tables),
                KernelArg::params(&params),
            ];
            let size = LaunchSize { blocks: channels * (k + 1), threads: THREADS, shared_bytes: 4 * 32 };
            gpu.launch(&typed("taps_direct_weight_grad", x.dtype())?, size, &mut arguments)?;
            return Ok([dw, db]);
        };
        let tiles = images.div_ceil(tiling.images.min(images)) * tiling.tiles(&plan.shape).count();
        let block_splits = WEIGHT_BLOCKS.div_ceil(channels).clamp(1, tiles);
        let params = self.params(plan, &plan.shape, PassCall { block_splits, ..call });
        let count = block_splits * channels * (plan.most_taps + 1);
        let mut partial = gpu.alloc(DType::F32, count)?;
        let mut arguments = [
            KernelArg::Read(x),
            KernelArg::Read(dy),
            KernelArg::Write(&mut partial),
            KernelArg::Read(tables),
            KernelArg::params(&params),
        ];
        let kernel = format!("{}_{}", typed("taps_weight_sums", x.dtype())?, tiling.results);
        gpu.launch(&kernel, tiled_size(tiling, block_splits * channels), &mut arguments)?;
        let mut arguments = [
            KernelArg::Read(Values::all(&partial, count)?),
            KernelArg::Write(&mut dw),
            KernelArg::Write(&mut db),
            KernelArg::Read(tables),
            KernelArg::params(&params),
        ];
        let size = LaunchSize::over(channels * (k + 1));
        gpu.launch(&typed("taps_weight_finish", x.dtype())?, size, &mut arguments)?;
        Ok([dw, db])
    }

    /// The kernel with tiles of forward pass and input gradient.
    fn convolve(
        &self,
        gpu: &Gpu,
        plan: &PassPlan,
        tiling: &Tiling,
        [source, w, bias]: [Values; 3],
        call: PassCall,
    ) -> candle_core::Result<Storage> {
        let channels = self.table.channels();
        let mut result = gpu.alloc(source.dtype(), call.images * channels * plan.shape.result.count())?;
        let (tables, params) = (plan.tables.on(gpu)?, self.params(plan, &plan.shape, call));
        let image_blocks = call.images.div_ceil(tiling.images.min(call.images));
        let size = tiled_size(tiling, tiling.tiles(&plan.shape).count() * channels * image_blocks);
        let mut arguments = [
            KernelArg::Read(source),
            KernelArg::Read(w),
            KernelArg::Read(bias),
            KernelArg::Write(&mut result),
            KernelArg::Read(Values::all(&tables, plan.tables.len())?),
            KernelArg::params(&params),
        ];
        let kernel = format!("{}_{}", typed("taps_convolve", source.dtype())?, tiling.results);
        gpu.launch(&kernel, size, &mut arguments)?;
        Ok(result)
    }

    fn params(&self, plan: &PassPlan, shape: &PassShape, call: PassCall) -> TapParams {
        let PassShape { source, result, source_stride, result_stride } = *shape;
        let (tile, images_per_block, regions, warp_splits) = match &plan.tiling {
            Some(tiling) => (tiling.tile, tiling.images.min(call.images), tiling.regions, tiling.warp_splits),
            None => (shape.cells(), 1, SharedRegions::default(), 1),
        };
        let tiles = shape.cells().div_ceil(tile);
        let vector = |plane: Size, strided: bool, is_even: bool| match &plan.tiling {
            Some(tiling) if !strided && tiling.has_whole_rows(shape, plane) => {
                if is_even && plane.cols.is_multiple_of(2) { 2 } else { 1 }
            }
            _ => 0,
        };
        let source_vector = vector(source, shape.phases() > 1, call.source_is_even);
        let result_vector = vector(result, false, call.result_is_even);
        // Where a plane has several tiles, a block has one image, and the quotient must be 0.
        let height = if tiles.rows == 1 { result.rows.min(tile.rows * result_stride.rows) } else { 1 << 30 };
        let int = |number: usize| number as i32;
        TapParams {
            images: int(call.images),
            channels: int(self.table.channels()),
            weights_per_channel: int(self.table.weights_per_channel()),
            source_rows: int(source.rows),
            source_cols: int(source.cols),
            result_rows: int(result.rows),
            result_cols: int(result.cols),
            source_stride_rows: int(source_stride.rows),
            source_stride_cols: int(source_stride.cols),
            result_stride_rows: int(result_stride.rows),
            result_stride_cols: int(result_stride.cols),
            by_stride_rows: FastDivisor::new(source_stride.rows),
            by_stride_cols: FastDivisor::new(source_stride.cols),
            tile_rows: int(tile.rows),
            tile_cols: int(tile.cols),
            tiles_down: int(tiles.rows),
            tiles_across: int(tiles.cols),
            images_per_block: int(images_per_block),
            image_blocks: int(call.images.div_ceil(images_per_block)),
            residual: i32::from(call.residual),
            with_bias: i32::from(call.with_bias),
            weights_at: int(regions.weights),
            chunks_at: int(regions.chunks),
            places_at: int(regions.places),
            source_at: int(regions.source),
            results_at: int(regions.results),
            result_pitch: int(regions.result_pitch),
            result_image_words: int(regions.result_image_words),
            by_result_cols: FastDivisor::new(tile.cols * result_stride.cols),
            by_result_rows: FastDivisor::new(tile.rows * result_stride.rows),
            source_vector: int(source_vector),
            result_vector: int(result_vector),
            by_source_vectors: FastDivisor::new(source.cols / source_vector.max(1)),
            by_result_vectors: FastDivisor::new(result.cols / result_vector.max(1)),
            by_result_height: FastDivisor::new(height),
            groups_at: int(plan.groups_at),
            group_of_channel_at: int(plan.group_of_channel_at),
            warp_splits: int(warp_splits),
            block_splits: int(call.block_splits),
            partial_stride: int(plan.most_taps + 1),
        }
    }
}

fn tiled_size(tiling: &Tiling, blocks: usize) -> LaunchSize {
    LaunchSize { blocks, threads: tiling.threads, shared_bytes: 4 * tiling.regions.words }
}
