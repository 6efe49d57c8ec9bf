//! A convolution on the CPU: which engine computes which channels, decided once per shape.
//!
//! | engine | computes | types |
//! |---|---|---|
//! | `lanes` | channels with the same taps or similar ones, many at a time | f32; f16 and bf16 forward |
//! | `strips` | the rest at stride 1, each plane in as many strips as vectors have lanes | f32 |
//! | `planes` | all else, one plane at a time | f32, f64 |

use super::division::{Alone, Division};
use super::lanes::strips::{Strips, images_per_vector};
use super::lanes::{InstructionSet, Lanes, Stored};
use super::planes::PlaneEngine;
use super::{Geometry, Tap, TapTable};
use crate::ops::storage::{Element, results};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Geometries that one layer keeps plans of: training, evaluation and analyses use a few.
const MOST_PLANS: usize = 16;

/// A tap table with one geometry, and the decisions for it.
#[derive(Debug)]
pub struct Plan {
    table: Arc<TapTable>,
    geometry: Geometry,
    set: InstructionSet,
    /// Whether some channels do not fill blocks, so that the division depends on the number of images.
    divided: bool,
    /// For vectors that are shared by 1, 2, 4, 8 or 16 images.
    vectors: [OnceLock<Vectors>; 5],
    planes: OnceLock<PlaneEngine>,
    /// Every channel.
    all: Vec<bool>,
    /// For half precision: every channel by lanes.
    half: OnceLock<Lanes>,
    /// The same convolution on a GPU.
    pub(super) gpu: super::gpu::GpuPlans,
}

/// The engines on vectors, and which channels they compute.
#[derive(Debug)]
struct Vectors {
    lanes: Lanes,
    /// The loose channels at stride 1.
    strips: Option<Strips>,
    /// Whether a channel is in no block of `lanes`.
    loose: Vec<bool>,
}

impl Vectors {
    fn new((set, shared): (InstructionSet, usize), table: &Arc<TapTable>, geometry: Geometry) -> Self {
        let unit_stride = geometry.stride == (1, 1);
        let alone = if unit_stride { Alone::Strips { shared } } else { Alone::Planes };
        let Division { bundles, alone: loose } = Division::new(table, &geometry, set.lanes(), alone);
        let lanes = Lanes::new(set, table.clone(), geometry, bundles);
        let strips = (unit_stride && loose.contains(&true)).then(|| {
            let channels = (0..table.channels()).filter(|&channel| loose[channel]).collect();
            Strips::new((set, shared), table.clone(), geometry, channels)
        });
        Vectors { lanes, strips, loose }
    }
}

/// The gradients of a convolution; each only if it was wanted.
#[derive(Debug)]
pub struct Gradients<T> {
    /// With respect to the input, (N, C, H, W).
    pub input: Option<Vec<T>>,
    /// With respect to the weights, (C, K).
    pub weight: Option<Vec<T>>,
    /// With respect to the bias, (C).
    pub bias: Option<Vec<T>>,
}

impl Plan {
    /// The plan for the widest vectors of this machine.
    pub fn new(table: Arc<TapTable>, geometry: Geometry) -> Self {
        Self::with_instructions(table, geometry, InstructionSet::best())
    }

    /// The plan for a given instruction set, which must be one of [`InstructionSet::available`]; others are replaced
    /// by the best one.
    pub fn with_instructions(table: Arc<TapTable>, geometry: Geometry, set: InstructionSet) -> Self {
        let set = if InstructionSet::available().contains(&set) { set } else { InstructionSet::best() };
        let all = vec![true; table.channels()];
        let mut channels = vec![0usize; table.groups().len()];
        table.group_of_channel().iter().for_each(|&group| channels[group] += 1);
        let divided = channels.iter().any(|channels| !channels.is_multiple_of(set.lanes()));
        Plan {
            gpu: super::gpu::GpuPlans::new(table.clone(), geometry),
            table,
            geometry,
            set,
            divided,
            vectors: Default::default(),
            planes: OnceLock::new(),
            all,
            half: OnceLock::new(),
        }
    }

    fn planes(&self) -> &PlaneEngine {
        self.planes.get_or_init(|| PlaneEngine::new(self.table.clone(), stepped(self.geometry)))
    }

    /// The engines for so many images.
    fn vectors(&self, images: usize) -> &Vectors {
        let geometry = stepped(self.geometry);
        let shared = match self.divided && geometry.stride == (1, 1) {
            true => images_per_vector(images, geometry.output.0, self.set.lanes()),
            false => 1,
        };
        let new = || Vectors::new((self.set, shared), &self.table, geometry);
        self.vectors[shared.ilog2() as usize].get_or_init(new)
    }

    /// The taps.
    pub fn table(&self) -> &TapTable {
        &self.table
    }

    /// The sizes.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Channels that share a block with no other in a batch of so many images, since their taps are too different.
    pub fn channels_alone(&self, images: usize) -> usize {
        self.vectors(images).loose.iter().filter(|&&loose| loose).count()
    }

    /// Channels whose sums are computed in parts, with fewer products than taps, in a batch of so many images.
    pub fn channels_in_parts(&self, images: usize) -> usize {
        self.vectors(images).lanes.channels_in_parts()
    }

    fn in_len(&self) -> usize {
        self.geometry.input.0 * self.geometry.input.1
    }

    fn out_len(&self) -> usize {
        self.geometry.output.0 * self.geometry.output.1
    }

    /// The weights of every channel, added up per distinct tap; `residual` adds the identity at the centre.
    fn merged<'a, T: Element>(&self, weights: &'a [T], residual: bool) -> Vec<Cow<'a, [T]>> {
        let k = self.table.weights_per_channel();
        let channel = |(channel, weights): (usize, &'a [T])| {
            let group = self.table.group_of(channel);
            if !residual && group.taps().len() == group.slots().len() {
                // Each tap has the one weight in its place.
                return Cow::Borrowed(&weights[..group.taps().len()]);
            }
            let mut merged = vec![T::zero(); group.taps().len()];
            for (&slot, &w) in group.slots().iter().zip(weights) {
                merged[slot] += w;
            }
            if residual {
                for (w, tap) in merged.iter_mut().zip(group.taps()) {
                    if *tap == (Tap { dh: 0, dw: 0 }) {
                        *w += T::one();
                    }
                }
            }
            Cow::Owned(merged)
        };
        weights.chunks_exact(k).enumerate().map(channel).collect()
    }

    /// `y = conv(x; w) + bias`, plus x if `residual` (the table must then have a tap at the centre of every channel).
    ///
    /// `x` is (N, C, H, W), `weights` (C, K), `bias` (C); the result (N, C, P, Q). All row-major.
    ///
    /// # Panics
    /// If a length does not fit the table.
    pub fn forward<T: Element>(&self, x: &[T], weights: &[T], bias: &[T], residual: bool) -> Vec<T> {
        let channels = self.table.channels();
        let images = self.images(x.len(), self.in_len());
        assert!(weights.len() == channels * self.table.weights_per_channel() && bias.len() == channels);
        let vectors = self.vectors(images);
        results(images * channels * self.out_len(), |y| {
            let loose = self.loose::<T>(vectors);
            if loose.contains(&true) {
                let merged = self.merged(weights, residual);
                match (&vectors.strips, T::as_f32(x), T::as_f32(bias), T::as_f32_mut(y)) {
                    (Some(strips), Some(x), Some(bias), Some(y)) => strips.forward(x, &as_f32(&merged), bias, y),
                    _ => self.planes().forward(x, &merged, bias, y, loose),
                }
            }
            if let (Some(x), Some(weights), Some(bias), Some(y)) =
                (T::as_f32(x), T::as_f32(weights), T::as_f32(bias), T::as_f32_mut(y))
            {
                vectors.lanes.forward(x, (weights, residual), bias, y);
            }
        })
    }

    /// [`Plan::forward`] for feature maps in half precision: sums and weights are f32.
    ///
    /// # Panics
    /// If a length does not fit the table.
    pub(super) fn forward_half<H: Stored>(&self, x: &[H], weights: &[f32], bias: &[f32], residual: bool) -> Vec<H> {
        let channels = self.table.channels();
        let images = self.images(x.len(), self.in_len());
        assert!(weights.len() == channels * self.table.weights_per_channel() && bias.len() == channels);
        let lanes = self.half.get_or_init(|| {
            let (set, geometry) = (self.set, stepped(self.geometry));
            let division = Division::new(&self.table, &geometry, set.lanes(), Alone::Never);
            Lanes::new(set, self.table.clone(), geometry, division.bundles)
        });
        results(images * channels * self.out_len(), |y| lanes.forward(x, (weights, residual), bias, y))
    }

    /// The gradients of [`Plan::forward`] that are wanted (of the input, the weights, the bias), given `dy` of shape
    /// (N, C, P, Q).
    ///
    /// # Panics
    /// If a length does not fit the table.
    pub fn gradients<T: Element>(&self, [x, w, dy]: [&[T]; 3], residual: bool, wanted: [bool; 3]) -> Gradients<T> {
        let (channels, k) = (self.table.channels(), self.table.weights_per_channel());
        assert_eq!(w.len(), channels * k);
        assert_eq!(self.images(x.len(), self.in_len()), self.images(dy.len(), self.out_len()));
        let vectors = self.vectors(self.images(x.len(), self.in_len()));
        let loose = self.loose::<T>(vectors);
        let some_loose = loose.contains(&true);
        let mut dw = wanted[1].then(|| vec![T::zero(); channels * k]);
        let mut db =
            wanted[2].then(|| if some_loose || !wanted[1] { self.bias_grad(dy) } else { vec![T::zero(); channels] });
        if let Some(dw) = dw.as_mut().filter(|_| some_loose) {
            match (&vectors.strips, T::as_f32(x), T::as_f32(dy)) {
                (Some(strips), Some(x), Some(dy)) => {
                    self.spread_all(&strips.weight_grad(x, dy), dw, |sum| T::from_f64(f64::from(sum)));
                }
                _ => self.spread_all(&self.planes().weight_grad(x, dy, loose), dw, |sum| sum),
            }
        }
        let spread = dw.as_mut().map(|dw| {
            |channel: usize, sums: &[f32], bias: f32| {
                self.spread(channel, dw, |slot| T::from_f64(f64::from(sums[slot])));
                if let Some(db) = &mut db {
                    db[channel] = T::from_f64(f64::from(bias));
                }
            }
        });
        let values = T::as_f32(x).zip(T::as_f32(dy)).zip(T::as_f32(w));
        let input = if wanted[0] {
            Some(results(x.len(), |dx| {
                if some_loose {
                    let merged = self.merged(w, residual);
                    match (&vectors.strips, T::as_f32(dy), T::as_f32_mut(dx)) {
                        (Some(strips), Some(dy), Some(dx)) => strips.input_grad(dy, &as_f32(&merged), dx),
                        _ => self.planes().input_grad(dy, &merged, dx, loose),
                    }
                }
                if let Some((((x, dy), w), dx)) = values.zip(T::as_f32_mut(dx)) {
                    vectors.lanes.gradients([x, dy], (w, residual), Some(dx), spread);
                }
            }))
        } else {
            if let Some(((x, dy), w)) = values.filter(|_| spread.is_some()) {
                vectors.lanes.gradients([x, dy], (w, residual), None, spread);
            }
            None
        };
        Gradients { input, weight: dw, bias: db }
    }

    /// Hands the gradients of a channel's distinct taps to all of its weights.
    fn spread<T: Element>(&self, channel: usize, dw: &mut [T], of_tap: impl Fn(usize) -> T) {
        let k = self.table.weights_per_channel();
        for (to, &slot) in dw[channel * k..(channel + 1) * k].iter_mut().zip(self.table.group_of(channel).slots()) {
            *to = of_tap(slot);
        }
    }

    /// The same for all channels that have gradients.
    fn spread_all<S: Copy, T: Element>(&self, of_channels: &[Vec<S>], dw: &mut [T], convert: impl Fn(S) -> T) {
        for (channel, sums) in of_channels.iter().enumerate().filter(|(_, sums)| !sums.is_empty()) {
            self.spread(channel, dw, |slot| convert(sums[slot]));
        }
    }

    /// The sum of `dy` over images and positions.
    fn bias_grad<T: Element>(&self, dy: &[T]) -> Vec<T> {
        let channels = self.table.channels();
        let sums: Vec<T> = dy.par_chunks_exact(self.out_len()).map(|plane| plane.iter().copied().sum()).collect();
        let mut db = vec![T::zero(); channels];
        for (index, &sum) in sums.iter().enumerate() {
            db[index % channels] += sum;
        }
        db
    }

    /// The channels that are in no block of `lanes`: all in types that it does not know.
    fn loose<'a, T: Element>(&'a self, vectors: &'a Vectors) -> &'a [bool] {
        if T::as_f32(&[]).is_some() { &vectors.loose } else { &self.all }
    }

    fn images(&self, len: usize, plane: usize) -> usize {
        let image = self.table.channels() * plane;
        assert!(len.is_multiple_of(image), "{len} values are not whole images of {image}");
        len / image
    }
}

/// The weights of every channel, if they are f32.
fn as_f32<'a, T: Element>(merged: &'a [Cow<'_, [T]>]) -> Vec<&'a [f32]> {
    merged.iter().filter_map(|weights| T::as_f32(weights)).collect()
}

/// The same convolution without strides that are never stepped, along axes with one output: work and memory grow with
/// the stride.
fn stepped(geometry: Geometry) -> Geometry {
    geometry.without_idle_strides()
}

/// A plan per shape: made when a shape is seen first.
#[derive(Debug, Clone)]
pub struct Plans {
    table: Arc<TapTable>,
    made: Arc<Mutex<HashMap<Geometry, Arc<Plan>>>>,
}

impl Plans {
    /// No plans yet.
    pub fn new(table: TapTable) -> Self {
        Plans { table: Arc::new(table), made: Arc::default() }
    }

    /// The taps.
    pub fn table(&self) -> &TapTable {
        &self.table
    }

    /// The plan for a geometry.
    pub fn get(&self, geometry: Geometry) -> Arc<Plan> {
        // A plan is whole or absent, so a panic elsewhere has left nothing wrong.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.len() >= MOST_PLANS && !made.contains_key(&geometry) {
            made.clear();
        }
        made.entry(geometry).or_insert_with(|| Arc::new(Plan::new(self.table.clone(), geometry))).clone()
    }
}
