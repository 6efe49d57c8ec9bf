//! A convolution on the CPU: which engine computes which channels, decided once per shape.
//!
//! | engine | computes | types |
//! |---|---|---|
//! | `lanes` | channels with the same taps or similar ones, many at a time | f32; f16 and bf16 forward |
//! | `bands` | the rest at stride 1, each plane in as many bands of rows as vectors have lanes | f32 |
//! | `planes` | all else, one plane at a time | f32, f64 |

use super::division::{Alone, BlockCosts, Division};
use super::lanes::bands::{BandEngine, images_per_vector};
use super::lanes::{InstructionSet, LanesEngine, Stored, Supported, time_of_sums};
use super::output::UnfilledPlanes;
use super::planes::PlaneEngine;
use super::{Geometry, Tap, TapTable};
use crate::ops::fill::{Filled, Unfilled, results, try_results};
use crate::ops::storage::{Element, Single};
use crate::{Error, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

/// A tap table with one geometry, and the decisions for it on the CPU.
#[derive(Debug)]
pub struct CpuPlan {
    table: Arc<TapTable>,
    geometry: Geometry,
    set: Supported,
    /// Whether some channels do not fill blocks, so that the division depends on the number of images.
    divided: bool,
    /// For vectors that are shared by 1, 2, 4, 8 or 16 images.
    vectors: [OnceLock<Vectors>; 5],
    planes: OnceLock<PlaneEngine>,
    /// No channel, and every channel.
    none: Vec<bool>,
    all: Vec<bool>,
    /// For half precision: every channel by lanes.
    half: OnceLock<LanesEngine>,
}

/// The engines on vectors, and which channels they compute.
#[derive(Debug)]
struct Vectors {
    lanes: LanesEngine,
    /// The loose channels at stride 1.
    bands: Option<BandEngine>,
    /// Whether a channel is in no block of `lanes`.
    loose: Vec<bool>,
}

impl Vectors {
    fn new((set, shared): (Supported, usize), table: &Arc<TapTable>, geometry: Geometry) -> Self {
        let unit_stride = geometry.stride == (1, 1);
        let alone = if unit_stride { Alone::Bands { shared } } else { Alone::Planes };
        let Division { bundles, alone: loose } = Division::new(table, block_costs(set, &geometry), alone);
        let lanes = LanesEngine::new(set, table.clone(), geometry, bundles);
        let bands = (unit_stride && loose.contains(&true)).then(|| {
            let channels = (0..table.channels()).filter(|&channel| loose[channel]).collect();
            BandEngine::new((set, shared), table.clone(), geometry, channels)
        });
        Vectors { lanes, bands, loose }
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

impl CpuPlan {
    /// The plan for the widest vectors of this machine.
    ///
    /// # Errors
    /// If a size or stride is zero, or sizes, strides or taps are beyond all reason (2^30 pixels along an axis).
    pub fn new(table: Arc<TapTable>, geometry: Geometry) -> Result<Self> {
        Self::with_instructions(table, geometry, InstructionSet::best())
    }

    /// The plan for a given instruction set. One that this machine does not have is replaced by the best that it has.
    ///
    /// # Errors
    /// As [`CpuPlan::new`].
    pub fn with_instructions(table: Arc<TapTable>, geometry: Geometry, set: InstructionSet) -> Result<Self> {
        geometry.check()?;
        table.check()?;
        let set = set.supported().unwrap_or_else(Supported::best);
        let (none, all) = (vec![false; table.channels()], vec![true; table.channels()]);
        let mut channels = vec![0usize; table.groups().len()];
        table.group_of_channel().iter().for_each(|&group| channels[group] += 1);
        let divided = channels.iter().any(|channels| !channels.is_multiple_of(set.lanes()));
        Ok(CpuPlan {
            table,
            geometry,
            set,
            divided,
            vectors: Default::default(),
            planes: OnceLock::new(),
            none,
            all,
            half: OnceLock::new(),
        })
    }

    fn planes(&self) -> &PlaneEngine {
        self.planes.get_or_init(|| PlaneEngine::new(self.table.clone(), self.geometry.without_idle_strides()))
    }

    /// The engines for so many images.
    fn vectors(&self, images: usize) -> &Vectors {
        let geometry = self.geometry.without_idle_strides();
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

    /// The weights of every channel, added up per distinct tap; `residual` adds the identity at the center.
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

    /// `y = conv(x; w) + bias`, plus x if `residual` (the table must then have a tap at the center of every channel).
    ///
    /// `x` is (N, C, H, W), `weights` (C, K), `bias` (C); the result (N, C, P, Q). All row-major.
    ///
    /// # Errors
    /// If a length does not fit the table.
    pub fn forward<T: Element>(&self, x: &[T], weights: &[T], bias: &[T], residual: bool) -> Result<Vec<T>> {
        let images = self.images("input", x.len(), self.in_len())?;
        self.check_weights(weights.len(), Some(bias.len()))?;
        let len = self.values(images, self.out_len())?;
        let Some(Single { slice, vec }) = T::SINGLE else {
            let merged = self.merged(weights, residual);
            return results(len, |y| self.planes().forward(x, &merged, bias, self.every_plane(y, self.out_len())));
        };
        let [x, weights, bias] = [x, weights, bias].map(slice);
        let vectors = self.vectors(images);
        let y = try_results(len, |y| {
            let [blocks, loose] = UnfilledPlanes::divide(y, self.out_len(), &vectors.loose);
            let filled = if vectors.loose.contains(&true) {
                let merged = self.merged(weights, residual);
                match &vectors.bands {
                    Some(bands) => bands.forward(x, &merged, bias, loose)?,
                    None => self.planes().forward(x, &merged, bias, loose),
                }
            } else {
                Filled::none()
            };
            Ok(filled + vectors.lanes.forward(x, (weights, residual), bias, blocks)?)
        })?;
        Ok(vec(y))
    }

    /// [`CpuPlan::forward`] for feature maps in half precision: sums and weights are f32.
    ///
    /// # Errors
    /// If a length does not fit the table.
    pub(super) fn forward_half<H: Stored>(
        &self,
        x: &[H],
        weights: &[f32],
        bias: &[f32],
        residual: bool,
    ) -> Result<Vec<H>> {
        let images = self.images("input", x.len(), self.in_len())?;
        self.check_weights(weights.len(), Some(bias.len()))?;
        let lanes = self.half.get_or_init(|| {
            let (set, geometry) = (self.set, self.geometry.without_idle_strides());
            let division = Division::new(&self.table, block_costs(set, &geometry), Alone::Never);
            LanesEngine::new(set, self.table.clone(), geometry, division.bundles)
        });
        try_results(self.values(images, self.out_len())?, |y| {
            let [all, _] = UnfilledPlanes::divide(y, self.out_len(), &self.none);
            lanes.forward(x, (weights, residual), bias, all)
        })
    }

    /// The gradients of [`CpuPlan::forward`] that are wanted (of the input, the weights, the bias), given `dy` of shape
    /// (N, C, P, Q).
    ///
    /// # Errors
    /// If a length does not fit the table.
    pub fn gradients<T: Element>(
        &self,
        [x, w, dy]: [&[T]; 3],
        residual: bool,
        wanted: [bool; 3],
    ) -> Result<Gradients<T>> {
        self.check_weights(w.len(), None)?;
        let images = self.images("input", x.len(), self.in_len())?;
        if self.images("gradient", dy.len(), self.out_len())? != images {
            let allowed = format!("{} for {images} images", self.values(images, self.out_len())?);
            return Err(Error::argument("gradient", format!("{} values", dy.len()), allowed));
        }
        match T::SINGLE {
            Some(Single { slice, vec }) => {
                let Gradients { input, weight, bias } =
                    self.gradients_by_vectors([x, w, dy].map(slice), residual, wanted)?;
                Ok(Gradients { input: input.map(vec), weight: weight.map(vec), bias: bias.map(vec) })
            }
            None => self.gradients_by_planes([x, w, dy], residual, wanted),
        }
    }

    /// The gradients by the engine for any type.
    fn gradients_by_planes<T: Element>(
        &self,
        [x, w, dy]: [&[T]; 3],
        residual: bool,
        wanted: [bool; 3],
    ) -> Result<Gradients<T>> {
        let input = || {
            let merged = self.merged(w, residual);
            results(x.len(), |dx| self.planes().input_grad(dy, &merged, self.every_plane(dx, self.in_len())))
        };
        let weight = || {
            let mut dw = vec![T::zero(); w.len()];
            self.spread_all(&self.planes().weight_grad(x, dy, &self.all), &mut dw);
            dw
        };
        Ok(Gradients {
            input: wanted[0].then(input).transpose()?,
            weight: wanted[1].then(weight),
            bias: wanted[2].then(|| self.bias_grad(dy)),
        })
    }

    /// The gradients in f32.
    fn gradients_by_vectors(
        &self,
        [x, w, dy]: [&[f32]; 3],
        residual: bool,
        wanted: [bool; 3],
    ) -> Result<Gradients<f32>> {
        let Vectors { lanes, bands, loose } = self.vectors(x.len() / (self.table.channels() * self.in_len()));
        let some_loose = loose.contains(&true);
        let mut dw = wanted[1].then(|| vec![0.0; w.len()]);
        let mut db = wanted[2].then(|| match some_loose || !wanted[1] {
            true => self.bias_grad(dy),
            false => vec![0.0; self.table.channels()],
        });
        if let Some(dw) = dw.as_mut().filter(|_| some_loose) {
            let sums = match bands {
                Some(bands) => bands.weight_grad(x, dy)?,
                None => self.planes().weight_grad(x, dy, loose),
            };
            self.spread_all(&sums, dw);
        }
        let spread = dw.as_mut().map(|dw| {
            |channel: usize, sums: &[f32], bias: f32| {
                self.spread(channel, dw, sums);
                if let Some(db) = &mut db {
                    db[channel] = bias;
                }
            }
        });
        let input = if wanted[0] {
            Some(try_results(x.len(), |dx| {
                let [of_blocks, of_loose] = UnfilledPlanes::divide(dx, self.in_len(), loose);
                let filled = if some_loose {
                    let merged = self.merged(w, residual);
                    match bands {
                        Some(bands) => bands.input_grad(dy, &merged, of_loose)?,
                        None => self.planes().input_grad(dy, &merged, of_loose),
                    }
                } else {
                    Filled::none()
                };
                Ok(filled + lanes.gradients([x, dy], (w, residual), Some(of_blocks), spread)?)
            })?)
        } else {
            if spread.is_some() {
                let _nothing = lanes.gradients([x, dy], (w, residual), None, spread)?;
            }
            None
        };
        Ok(Gradients { input, weight: dw, bias: db })
    }

    /// Hands the gradients of a channel's distinct taps to all of its weights.
    fn spread<T: Element>(&self, channel: usize, dw: &mut [T], of_taps: &[T]) {
        let k = self.table.weights_per_channel();
        for (to, &slot) in dw[channel * k..(channel + 1) * k].iter_mut().zip(self.table.group_of(channel).slots()) {
            *to = of_taps[slot];
        }
    }

    /// The same for all channels that have gradients.
    fn spread_all<T: Element>(&self, of_channels: &[Vec<T>], dw: &mut [T]) {
        for (channel, sums) in of_channels.iter().enumerate().filter(|(_, sums)| !sums.is_empty()) {
            self.spread(channel, dw, sums);
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

    /// All planes of a result, of `len` values each, for one engine.
    fn every_plane<'a, T: Element>(&self, maps: Unfilled<'a, T>, len: usize) -> UnfilledPlanes<'a, '_, T> {
        let [_, all] = UnfilledPlanes::divide(maps, len, &self.all);
        all
    }

    /// The number of images in `len` values, which must be whole ones of planes of `plane` values.
    fn images(&self, name: &str, len: usize, plane: usize) -> Result<usize> {
        match self.table.channels().checked_mul(plane) {
            Some(image) if len > 0 && len.is_multiple_of(image) => Ok(len / image),
            _ => {
                let allowed = format!("whole images of {} planes of {plane} values", self.table.channels());
                Err(Error::argument(name, format!("{len} values"), allowed))
            }
        }
    }

    /// The number of values of so many images with planes of `plane` values.
    fn values(&self, images: usize, plane: usize) -> Result<usize> {
        let values = self.table.channels().checked_mul(plane).and_then(|image| image.checked_mul(images));
        values.ok_or_else(|| {
            let given = format!("{images} images of {} planes of {plane} values", self.table.channels());
            Error::argument("result", given, format!("at most {} values", usize::MAX))
        })
    }

    fn check_weights(&self, weights: usize, bias: Option<usize>) -> Result<()> {
        let (channels, k) = (self.table.channels(), self.table.weights_per_channel());
        if weights != channels * k {
            let allowed = format!("{channels} channels of {k} weights");
            return Err(Error::argument("weight", format!("{weights} values"), allowed));
        }
        match bias {
            Some(bias) if bias != channels => {
                Err(Error::argument("bias", format!("{bias} values"), format!("{channels}, one per channel")))
            }
            _ => Ok(()),
        }
    }
}

/// What a channel block takes by the engine with one lane per channel.
fn block_costs(set: Supported, geometry: &Geometry) -> BlockCosts<'_> {
    BlockCosts { geometry, lanes: set.lanes(), sums: time_of_sums }
}
