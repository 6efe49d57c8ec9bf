//! A convolution on a GPU: how it is divided among blocks, decided once per shape, and its launches.
//!
//! [`cells`] says what the kernels of `kernels/taps.cu` compute, [`tiling`] how it is divided, [`tables`] how the kernels
//! are told. `docs/cuda.md` explains the design. Where no tile fits into shared memory (taps hundreds of pixels apart,
//! strides above 4), kernels without tiles take over.

mod cells;
mod division;
mod squares;
mod tables;
mod tiling;

use super::{Geometry, TapTable};
use crate::Error;
use crate::ops::gpu::{Arg, Division, Gpu, Launch, Tables, Values, suffix};
use candle_core::{DType, Storage};
use cells::{Direction, Pass, Planes};
use std::sync::{Arc, OnceLock};
use tiling::{MOST_PHASES, Pattern, Problem, Tiling};

/// Blocks of the weight gradient to aim at: several for every multiprocessor of the largest GPUs.
const WEIGHT_BLOCKS: usize = 1024;

/// Numbers of images from which on there is another plan.
const BATCHES: [usize; 4] = [1, 8, 16, 32];

/// The plans of the three passes of a convolution, each made when it is first needed.
#[derive(Debug)]
pub(super) struct Plans {
    table: Arc<TapTable>,
    geometry: Geometry,
    passes: [[OnceLock<Plan>; BATCHES.len()]; 3],
}

/// One pass.
#[derive(Debug)]
struct Plan {
    planes: Planes,
    tiling: Option<Tiling>,
    tables: Tables,
    group_of_channel: usize,
    most_taps: usize,
}

impl Plan {
    fn new(table: &TapTable, geometry: &Geometry, pass: Pass, images: usize) -> Self {
        let planes = Planes::of(geometry, pass);
        let patterns: Vec<Vec<Pattern>> = table
            .groups()
            .iter()
            .map(|group| {
                let programs = cells::programs(group, geometry, pass);
                Direction::all(&planes).iter().map(|&direction| Pattern::new(&programs, direction)).collect()
            })
            .collect();
        let mut channels = vec![0; table.groups().len()];
        table.group_of_channel().iter().for_each(|&group| channels[group] += 1);
        let problem = Problem { pass, planes, patterns: &patterns, channels: &channels, images };
        let strides = [planes.phases(), planes.programs()];
        let tiling = if strides.iter().all(|&phases| phases <= MOST_PHASES) { problem.solve() } else { None };
        let built = tables::build(table, tiling.as_ref().map(|tiling| (tiling, &patterns[..], planes, pass)));
        let (group_of_channel, most_taps) = (built.group_of_channel, built.most_taps);
        Plan { planes, tiling, tables: Tables::new(built.words), group_of_channel, most_taps }
    }
}

/// What a launch needs besides the plan.
#[derive(Clone, Copy)]
struct Call {
    images: usize,
    residual: bool,
    with_bias: bool,
    splits: usize,
    /// Whether source and results (or their gradients) start at even places.
    even: [bool; 2],
}

impl Plans {
    /// No plans yet.
    pub fn new(table: Arc<TapTable>, geometry: Geometry) -> Self {
        Plans { table, geometry, passes: Default::default() }
    }

    fn plan(&self, pass: Pass, images: usize) -> candle_core::Result<&Plan> {
        let Geometry { input, output, stride } = self.geometry;
        let largest = [input.0, input.1, output.0, output.1].into_iter().max().unwrap_or(0);
        if largest >= 1 << 24 || self.table.channels() >= 1 << 24 {
            let given = format!("{} channels of {}x{} pixels", self.table.channels(), input.0, input.1);
            return Err(Error::argument("input", given, "fewer than 2^24 channels, rows and columns on a GPU").into());
        }
        // Where there are strides, all are the same.
        let several = input == output && stride == (1, 1);
        let batch = BATCHES.iter().rposition(|&least| several && images >= least).unwrap_or(0);
        Ok(self.passes[pass as usize][batch]
            .get_or_init(|| Plan::new(&self.table, &self.geometry, pass, BATCHES[batch])))
    }

    /// `y = conv(x; w) + bias`, plus x if `residual`.
    pub fn forward(&self, gpu: &Gpu, [x, w, bias]: [Values; 3], residual: bool) -> candle_core::Result<Storage> {
        let Geometry { input, output, .. } = self.geometry;
        let images = x.len() / (self.table.channels() * input.0 * input.1);
        let count = images * self.table.channels() * output.0 * output.1;
        let plan = self.plan(Pass::Forward, images)?;
        let call = Call { images, residual, with_bias: true, splits: 1, even: [x.start_is_even(), true] };
        if plan.tiling.is_some() {
            return self.convolve(gpu, plan, [x, w, bias], call, count);
        }
        let mut y = gpu.alloc(x.dtype(), count)?;
        let (tables, params) = (plan.tables.on(gpu)?, self.params(plan, call));
        let tables = Values::all(&tables, plan.tables.len())?;
        let mut arguments =
            [Arg::Read(x), Arg::Read(w), Arg::Read(bias), Arg::Write(&mut y), Arg::Read(tables), Arg::Words(&params)];
        gpu.launch(&name("taps_direct_forward", x.dtype())?, Launch::over(count), &mut arguments)?;
        Ok(y)
    }

    /// The gradient of x, given that of y.
    pub fn input_grad(&self, gpu: &Gpu, [dy, w]: [Values; 2], residual: bool) -> candle_core::Result<Storage> {
        let Geometry { input, output, .. } = self.geometry;
        let images = dy.len() / (self.table.channels() * output.0 * output.1);
        let count = images * self.table.channels() * input.0 * input.1;
        let plan = self.plan(Pass::InputGrad, images)?;
        let call = Call { images, residual, with_bias: false, splits: 1, even: [dy.start_is_even(), true] };
        if plan.tiling.is_some() {
            return self.convolve(gpu, plan, [dy, w, w], call, count);
        }
        let mut dx = gpu.alloc(dy.dtype(), count)?;
        // These kernels have x and y as source and result.
        let forward = Plan { planes: Planes::of(&self.geometry, Pass::Forward), ..plan.without_tables() };
        let (tables, params) = (plan.tables.on(gpu)?, self.params(&forward, call));
        let tables = Values::all(&tables, plan.tables.len())?;
        let mut arguments = [Arg::Read(dy), Arg::Read(w), Arg::Write(&mut dx), Arg::Read(tables), Arg::Words(&params)];
        gpu.launch(&name("taps_direct_input_grad", dy.dtype())?, Launch::over(count), &mut arguments)?;
        Ok(dx)
    }

    /// The gradients of the weights and of the bias.
    pub fn weight_grad(&self, gpu: &Gpu, [x, dy]: [Values; 2]) -> candle_core::Result<[Storage; 2]> {
        let (channels, k) = (self.table.channels(), self.table.weights_per_channel());
        let Geometry { input, .. } = self.geometry;
        let images = x.len() / (channels * input.0 * input.1);
        let (mut dw, mut db) = (gpu.alloc(x.dtype(), channels * k)?, gpu.alloc(x.dtype(), channels)?);
        let plan = self.plan(Pass::WeightGrad, images)?;
        let tables = plan.tables.on(gpu)?;
        let tables = Values::all(&tables, plan.tables.len())?;
        let even = [x.start_is_even(), dy.start_is_even()];
        let mut call = Call { images, residual: false, with_bias: false, splits: 1, even };
        let Some(tiling) = &plan.tiling else {
            let params = self.params(plan, call);
            let mut arguments = [
                Arg::Read(x),
                Arg::Read(dy),
                Arg::Write(&mut dw),
                Arg::Write(&mut db),
                Arg::Read(tables),
                Arg::Words(&params),
            ];
            let launch = Launch { grid: channels * (k + 1), threads: 256, shared: 128 };
            gpu.launch(&name("taps_direct_weight_grad", x.dtype())?, launch, &mut arguments)?;
            return Ok([dw, db]);
        };
        let work =
            images.div_ceil(tiling.images.min(images)) * tiling.tiles(&plan.planes).0 * tiling.tiles(&plan.planes).1;
        call.splits = WEIGHT_BLOCKS.div_ceil(channels).clamp(1, work);
        let params = self.params(plan, call);
        let count = call.splits * channels * (plan.most_taps + 1);
        let mut partial = gpu.alloc(DType::F32, count)?;
        let mut arguments =
            [Arg::Read(x), Arg::Read(dy), Arg::Write(&mut partial), Arg::Read(tables), Arg::Words(&params)];
        let launch = Launch { grid: call.splits * channels, ..blocks(tiling) };
        let kernel = format!("{}_{}", name("taps_weight_sums", x.dtype())?, tiling.results);
        gpu.launch(&kernel, launch, &mut arguments)?;
        let partial = Values::all(&partial, count)?;
        let mut arguments =
            [Arg::Read(partial), Arg::Write(&mut dw), Arg::Write(&mut db), Arg::Read(tables), Arg::Words(&params)];
        gpu.launch(&name("taps_weight_finish", x.dtype())?, Launch::over(channels * (k + 1)), &mut arguments)?;
        Ok([dw, db])
    }

    /// The tiled kernel of forward pass and input gradient; the third argument is read only with a bias.
    fn convolve(
        &self,
        gpu: &Gpu,
        plan: &Plan,
        [x, w, bias]: [Values; 3],
        call: Call,
        count: usize,
    ) -> candle_core::Result<Storage> {
        let Some(tiling) = &plan.tiling else { return Err(candle_core::Error::Msg("a plan without tiles".into())) };
        let mut y = gpu.alloc(x.dtype(), count)?;
        let tables = plan.tables.on(gpu)?;
        let params = self.params(plan, call);
        let (down, across) = tiling.tiles(&plan.planes);
        let blocks_of_images = call.images.div_ceil(tiling.images.min(call.images));
        let launch = Launch { grid: down * across * self.table.channels() * blocks_of_images, ..blocks(tiling) };
        let tables = Values::all(&tables, plan.tables.len())?;
        let mut arguments =
            [Arg::Read(x), Arg::Read(w), Arg::Read(bias), Arg::Write(&mut y), Arg::Read(tables), Arg::Words(&params)];
        let kernel = format!("{}_{}", name("taps_convolve", x.dtype())?, tiling.results);
        gpu.launch(&kernel, launch, &mut arguments)?;
        Ok(y)
    }

    /// The words of the kernels' `Params`.
    fn params(&self, plan: &Plan, call: Call) -> Vec<i32> {
        let Planes { source, result, source_stride, result_stride } = plan.planes;
        let (tile, images_per_block, layout, parts) = match &plan.tiling {
            Some(t) => (t.tile, t.images.min(call.images), t.layout, t.parts),
            None => (plan.planes.cells(), 1, Default::default(), 1),
        };
        let (down, across) = (plan.planes.cells().0.div_ceil(tile.0), plan.planes.cells().1.div_ceil(tile.1));
        let together =
            |plane: (usize, usize), strided: bool, even: bool| match &plan.tiling {
                Some(tiling) if !strided && tiling.whole_rows(&plan.planes, plane) => {
                    if even && plane.1.is_multiple_of(2) { 2 } else { 1 }
                }
                _ => 0,
            };
        let at_once = [together(source, plan.planes.phases() > 1, call.even[0]), together(result, false, call.even[1])];
        let mut words: Vec<i32> = Vec::with_capacity(70);
        let mut push = |numbers: &[usize]| words.extend(numbers.iter().map(|&number| number as i32));
        push(&[call.images, self.table.channels(), self.table.weights_per_channel()]);
        push(&[source.0, source.1, result.0, result.1]);
        push(&[source_stride.0, source_stride.1, result_stride.0, result_stride.1]);
        words.extend(Division::by(source_stride.0).words());
        words.extend(Division::by(source_stride.1).words());
        let mut push = |numbers: &[usize]| words.extend(numbers.iter().map(|&number| number as i32));
        push(&[tile.0, tile.1, down, across, images_per_block, call.images.div_ceil(images_per_block)]);
        push(&[usize::from(call.residual), usize::from(call.with_bias)]);
        push(&[layout.weights, layout.chunks, layout.places, layout.source, layout.results]);
        push(&[layout.result_pitch, layout.result_image]);
        words.extend(Division::by(tile.1 * result_stride.1).words());
        words.extend(Division::by(tile.0 * result_stride.0).words());
        words.extend(at_once.map(|pixels| pixels as i32));
        words.extend(Division::by(source.1 / at_once[0].max(1)).words());
        words.extend(Division::by(result.1 / at_once[1].max(1)).words());
        let height = result.0.min(tile.0 * result_stride.0);
        words.extend(Division::by(if down == 1 { height } else { 1 << 30 }).words());
        let mut push = |numbers: &[usize]| words.extend(numbers.iter().map(|&number| number as i32));
        push(&[0, plan.group_of_channel]);
        push(&[parts, call.splits, plan.most_taps + 1]);
        words
    }
}

impl Plan {
    /// The same for parameters alone.
    fn without_tables(&self) -> Plan {
        Plan {
            planes: self.planes,
            tiling: None,
            tables: Tables::default(),
            group_of_channel: self.group_of_channel,
            most_taps: self.most_taps,
        }
    }
}

fn blocks(tiling: &Tiling) -> Launch {
    Launch { grid: 1, threads: tiling.threads, shared: 4 * tiling.layout.words }
}

fn name(kernel: &str, dtype: DType) -> candle_core::Result<String> {
    Ok(format!("{kernel}_{}", suffix(dtype)?))
}
