//! Depthwise convolutions on the CPU: this crate's engine and candle's grouped convolution. Throughput counts the
//! multiply-adds that read inside the image.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first error")]

use candle_core::{Device, Result, Tensor, Var};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use kernelscope::ops::depthwise2d::{self, Depthwise2d};
use kernelscope::ops::oriented1d::{self, Oriented1d, channel_angles};
use std::hint::black_box;
use std::time::Duration;

/// The command's allocator, for both sides: otherwise fresh pages for every result are half of what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const IMAGES: usize = 4;
const CHANNELS: usize = 96;
const SIDE: usize = 56;

fn random(shape: &[usize]) -> Var {
    Var::from_tensor(&Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()).unwrap()
}

/// Measures `op` alone, and together with both of its gradients. `backward` starts from ones at the operator's output,
/// so that no loss function is measured along.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    weight_shape: &[usize],
    op: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
) {
    let (x, weight) = (random(&[IMAGES, CHANNELS, SIDE, SIDE]), random(weight_shape));
    let (frozen_x, frozen_weight) = (x.as_detached_tensor(), weight.as_detached_tensor());
    group.bench_function(format!("{name} forward"), |b| {
        b.iter(|| op(black_box(&frozen_x), black_box(&frozen_weight)).unwrap());
    });
    group.bench_function(format!("{name} forward and backward"), |b| {
        b.iter(|| op(black_box(&x), black_box(&weight)).unwrap().backward().unwrap());
    });
}

/// A group of few, short samples: candle takes seconds for one pass.
fn group<'a>(criterion: &'a mut Criterion, name: &str, macs_per_image: u64) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(IMAGES as u64 * macs_per_image));
    group
}

fn dense(criterion: &mut Criterion, side: usize, with_candle: bool) {
    let op = Depthwise2d::new(CHANNELS, depthwise2d::Options::same(side, side)).unwrap();
    let macs = op.table().useful_macs(&op.geometry(SIDE, SIDE).unwrap());
    let mut group = group(criterion, &format!("dense {side}x{side}"), macs);
    let weight_shape = [CHANNELS, 1, side, side];
    measure(&mut group, "kernelscope", &weight_shape, |x, w| Ok(op.forward(x, w, None)?));
    if with_candle {
        measure(&mut group, "candle", &weight_shape, |x, w| x.conv2d(w, side / 2, 1, 1, CHANNELS));
    }
    group.finish();
}

fn oriented(criterion: &mut Criterion) {
    let theta = channel_angles(CHANNELS, 8, 0.0).unwrap();
    let op = Oriented1d::new(&theta, 31, oriented1d::Options::default()).unwrap();
    let macs = op.table().useful_macs(&op.geometry(SIDE, SIDE).unwrap());
    let mut group = group(criterion, "oriented 31 taps, 8 angles", macs);
    measure(&mut group, "kernelscope", &[CHANNELS, 1, 1, 31], |x, w| Ok(op.forward(x, w, None)?));
    group.finish();
}

fn all(criterion: &mut Criterion) {
    dense(criterion, 7, true);
    oriented(criterion);
    dense(criterion, 31, false);
}

criterion_group!(benches, all);
criterion_main!(benches);
