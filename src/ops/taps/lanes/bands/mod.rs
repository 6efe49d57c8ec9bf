//! The engine with one lane per band of a plane: channels with taps of their own, in f32 at stride 1.
//!
//! # How it works
//! The planes of one channel of `M` images share a vector. The P rows of outputs of each are cut into *bands*, as many
//! as there are lanes for, of R = ceil(P M / lanes) rows each. A band of outputs reads the band of the image that its
//! taps reach, so that bands of the image overlap:
//!
//! ```text
//! forward, input gradient    y[l*R + p, q] = start + sum_i w_i * x[l*R + p + dh_i, q + dw_i]      band l, row p < R
//! weight gradient            dw_i = sum_l sum_pq dy[l*R + p, q] * x[l*R + p + dh_i, q + dw_i]
//! ```
//!
//! Where bands overlap or are not complete, the plane is copied between rows of zeros, so no band ends at a border. Its
//! bands are transposed as the planes of a block of channels are, and from there the same kernels compute them, with the
//! same weight in all lanes: aligned vectors, whatever the direction of a tap, and no taps but the channel's own. This is
//! what makes pruned kernels cheaper. The price is the overlap: taps that reach far up and down need many rows of bands,
//! fewer with more images. Only R of these are transposed, since row d of all bands is row d - R with its lanes moved by
//! one band.

mod plans;
mod source;
mod tasks;

pub(in crate::ops::taps) use source::images_per_vector;

use super::kernels::{BlockBuffers, TargetPlanes};
use super::plan::{BlockedLayout, IndexedTap};
use super::scratch::with_buffers;
use super::vector::{MAX_LANES, dispatch};
use super::{AlignedVec, STREAM_BYTES, StartVector, Supported, reading};
use crate::ops::fill::Filled;
use crate::ops::taps::output::UnfilledPlanes;
use crate::ops::taps::{Geometry, Tap, TapTable};
use crate::{Error, Result};
use plans::{CorrelationsPlan, SumsPlan};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tasks::{CorrelateTask, SumsTask};

/// The channels of a table that are in no block.
#[derive(Debug)]
pub(in crate::ops::taps) struct BandEngine {
    set: Supported,
    /// Images that share a vector.
    shared: usize,
    table: Arc<TapTable>,
    geometry: Geometry,
    channels: Vec<usize>,
    /// For each channel of the table, whether it is among them.
    computed: Vec<bool>,
    forward: OnceLock<SumsPlan>,
    input_grad: OnceLock<SumsPlan>,
    weight_grad: OnceLock<CorrelationsPlan>,
}

impl BandEngine {
    /// Plans for `channels`, with vectors that `shared` images share; the stride is 1.
    pub fn new(
        (set, shared): (Supported, usize),
        table: Arc<TapTable>,
        geometry: Geometry,
        channels: Vec<usize>,
    ) -> Self {
        let mut computed = vec![false; table.channels()];
        // Units of work write the planes of their channels, so no channel may be there twice.
        assert!(channels.iter().all(|&channel| !std::mem::replace(&mut computed[channel], true)));
        let (forward, input_grad, weight_grad) = Default::default();
        BandEngine { set, shared, table, geometry, channels, computed, forward, input_grad, weight_grad }
    }

    /// The taps of each group that has a channel here and that ever read inside the image.
    fn planned_taps(&self) -> Vec<Vec<IndexedTap>> {
        let mut taps = vec![Vec::new(); self.table.groups().len()];
        for &channel in &self.channels {
            let group = self.table.group_of_channel()[channel];
            if taps[group].is_empty() {
                taps[group] = reading(self.table.groups()[group].taps(), &self.geometry);
            }
        }
        taps
    }

    /// Writes the planes of the channels, which `y` must be. `weights` has one value per distinct tap of every channel of
    /// the table.
    ///
    /// # Errors
    /// If a buffer has another size.
    pub fn forward<'a>(
        &self,
        x: &[f32],
        weights: &[Cow<[f32]>],
        bias: &[f32],
        y: UnfilledPlanes<'a, '_, f32>,
    ) -> Result<Filled<'a>> {
        let Geometry { input, output, .. } = self.geometry;
        let sums = self.forward.get_or_init(|| {
            let taps = self.planned_taps();
            let sums = SumsPlan::new((self.set, self.shared), &taps, input, output);
            tracing::debug!(
                target: "kernelscope::ops",
                "forward {:?}: {} channels in bands of {} rows, of {} images at a time, on {}; {} taps in all",
                self.geometry,
                self.channels.len(),
                sums.source_planes.lane_map.step,
                self.shared,
                self.set,
                taps.iter().map(Vec::len).sum::<usize>(),
            );
            sums
        });
        self.apply(sums, x, weights, bias, y)
    }

    /// Writes the gradients of the channels' input, as [`BandEngine::forward`].
    ///
    /// # Errors
    /// If a buffer has another size.
    pub fn input_grad<'a>(
        &self,
        dy: &[f32],
        weights: &[Cow<[f32]>],
        dx: UnfilledPlanes<'a, '_, f32>,
    ) -> Result<Filled<'a>> {
        let sums = self.input_grad.get_or_init(|| {
            let backwards = |(tap, index): IndexedTap| (Tap { dh: -tap.dh, dw: -tap.dw }, index);
            let taps: Vec<Vec<_>> =
                self.planned_taps().into_iter().map(|taps| taps.into_iter().map(backwards).collect()).collect();
            SumsPlan::new((self.set, self.shared), &taps, self.geometry.output, self.geometry.input)
        });
        self.apply(sums, dy, weights, &vec![0.0; self.table.channels()], dx)
    }

    /// Checks that maps are whole images of planes of a size.
    fn images(&self, maps: &[f32], plane: (usize, usize)) -> Result<usize> {
        let image = self.table.channels() * plane.0 * plane.1;
        if maps.len().is_multiple_of(image) {
            return Ok(maps.len() / image);
        }
        Err(Error::argument("maps", format!("{} values", maps.len()), format!("whole images of {image}")))
    }

    fn apply<'a>(
        &self,
        sums: &SumsPlan,
        x: &[f32],
        weights: &[Cow<[f32]>],
        start: &[f32],
        y: UnfilledPlanes<'a, '_, f32>,
    ) -> Result<Filled<'a>> {
        let lanes = self.set.lanes();
        let (in_len, out_len) =
            (sums.source_planes.plane.0 * sums.source_planes.plane.1, sums.target.0 * sums.target.1);
        let images = self.images(x, sums.source_planes.plane)?;
        y.check(images, &self.computed, out_len)?;
        let lane_map = sums.source_planes.lane_map;
        let band_len = lane_map.step * sums.target.1;
        // Whole bands; the rest of the outputs, if any, is part of a band.
        let (whole, rest) = (out_len / band_len, out_len % band_len);
        let aligned = y.start().addr().is_multiple_of(64) && band_len.is_multiple_of(lanes) && rest == 0;
        let stream = aligned && y.total() * size_of::<f32>() >= STREAM_BYTES;
        let target = BlockedLayout::bare((lane_map.step, sums.target.1));
        // For each image, the band that is not whole, or those of an image that is missing.
        let part_len = band_len.next_multiple_of(MAX_LANES);
        let spread_len = sums.floats[1] + lane_map.images * part_len;
        let floats = [sums.source_planes.padded_len(), sums.floats[0], target.floats(lanes), spread_len];
        let vectors = images.div_ceil(lane_map.images);
        // The images of a channel follow each other, since they share the plan of their group.
        (0..self.channels.len() * vectors).into_par_iter().for_each(|unit| {
            let (channel, first) = (self.channels[unit / vectors], unit % vectors * lane_map.images);
            // None where an image is missing.
            let to = |m: usize| y.plane(first + m, channel);
            let Some((above, layout, gather)) = &sums.groups[self.table.group_of_channel()[channel]] else {
                for to in (0..lane_map.images).filter_map(to) {
                    // SAFETY: the plane has `out_len` places for values, which no other unit writes.
                    (0..out_len).for_each(|i| unsafe { to.add(i).write(start[channel]) });
                }
                return;
            };
            with_buffers(sums.owner, floats, |[padded, source, bands, spread]| {
                let of_tap = &weights[channel][..weights[channel].len().min(sums.floats[1] / lanes)];
                for (tap, &weight) in of_tap.iter().enumerate() {
                    // SAFETY: `spread` begins with a vector for each of so many weights, which have values.
                    unsafe { std::slice::from_raw_parts_mut(spread.add(tap * lanes), lanes) }.fill(weight);
                }
                let part = |m: usize| spread.wrapping_add(sums.floats[1] + m * part_len);
                let of_image = |m: usize| {
                    let plane = (first + m) * self.table.channels() + channel;
                    (first + m < images).then(|| &x[plane * in_len..][..in_len])
                };
                let of_lane = |lane: usize| match (to(lane_map.image(lane)), lane_map.band(lane)) {
                    (Some(to), band) if band < whole => to.wrapping_add(band * band_len),
                    _ => part(lane_map.image(lane)),
                };
                let bias = StartVector([start[channel]; MAX_LANES]);
                let task = SumsTask {
                    // SAFETY: the owner's first buffer has space for the padded planes, and only this line writes it.
                    from: unsafe { sums.source_planes.fill(of_image, padded, *above, (layout, source)) },
                    gather,
                    target: &target,
                    buffers: BlockBuffers { source, target: bands, weights: spread, bias: bias.0.as_ptr() },
                    targets: TargetPlanes {
                        planes: std::array::from_fn(of_lane),
                        count: (whole + usize::from(rest > 0)) * lane_map.images,
                        stream,
                    },
                };
                // SAFETY: the bands of the source are inside the padded planes, whose rows go as far as the last band's
                // taps reach. The gather was made for the packed plane, which the second buffer has space for and stays zero
                // outside of; the third has space for a band's results in vectors. Bands of results are inside of
                // this channel's planes, which no other unit writes, or have space in the fourth buffer; there are as many
                // lanes of them as `count`, since `whole` bands and one for the rest are at most `lane_map.strips`.
                unsafe { dispatch(self.set, task) };
                for (m, to) in (0..lane_map.images).filter(|_| rest > 0).filter_map(|m| Some((m, to(m)?))) {
                    // SAFETY: the last `rest` places of the plane lie behind its whole bands, and the part is a band in
                    // a buffer of this thread.
                    unsafe { to.add(whole * band_len).copy_from_nonoverlapping(part(m), rest) };
                }
            });
        });
        // SAFETY: there was a unit for every channel and image, and each has written its planes: as one value, or in whole
        // bands and the rest. The channels are those that were checked to be `y`'s.
        Ok(unsafe { y.assume_filled() })
    }

    /// The gradients of the channels' weights: for every channel of the table one sum per distinct tap, or nothing where
    /// it is not computed here.
    ///
    /// # Errors
    /// If a buffer has another size.
    pub fn weight_grad(&self, x: &[f32], dy: &[f32]) -> Result<Vec<Vec<f32>>> {
        let plan = self
            .weight_grad
            .get_or_init(|| CorrelationsPlan::new((self.set, self.shared), &self.planned_taps(), &self.geometry));
        let channels = self.table.channels();
        let images = self.images(x, plan.x.plane)?;
        if self.images(dy, plan.dy.plane)? != images {
            return Err(Error::argument(
                "gradient",
                format!("{} values", dy.len()),
                format!("those of {images} images"),
            ));
        }
        let vectors = images.div_ceil(self.shared);
        let of_unit = |unit: usize| {
            let first = unit % vectors * self.shared;
            self.sums_of_planes(plan, self.channels[unit / vectors], first..images.min(first + self.shared), [x, dy])
        };
        let sums: Vec<Vec<f32>> = (0..self.channels.len() * vectors).into_par_iter().map(of_unit).collect();
        let mut of_channels = vec![Vec::new(); channels];
        for (&channel, sums) in self.channels.iter().zip(sums.chunks(vectors.max(1))) {
            let mut total = vec![0.0; self.table.group_of(channel).taps().len()];
            for sums in sums {
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
            of_channels[channel] = total;
        }
        Ok(of_channels)
    }

    /// The sums of a channel of some images.
    fn sums_of_planes(
        &self,
        plan: &CorrelationsPlan,
        channel: usize,
        images: Range<usize>,
        [x, dy]: [&[f32]; 2],
    ) -> Vec<f32> {
        let lanes = self.set.lanes();
        let taps = self.table.group_of(channel).taps().len();
        let Some((above, layout, chunks)) = &plan.groups[self.table.group_of_channel()[channel]] else {
            return vec![0.0; taps];
        };
        let mut sums = AlignedVec::zeros(taps * lanes);
        let dy_layout = BlockedLayout::bare((plan.dy.lane_map.step, plan.dy.plane.1));
        let floats = [plan.x.padded_len(), plan.floats, plan.dy.padded_len(), dy_layout.floats(lanes)];
        with_buffers(plan.owner, floats, |[x_padded, x_bands, dy_padded, dy_bands]| {
            let of_image = |values, (height, width): (usize, usize), m: usize| {
                let image = images.clone().nth(m)?;
                let first = (image * self.table.channels() + channel) * height * width;
                <[f32]>::get(values, first..first + height * width)
            };
            let task = CorrelateTask {
                chunks,
                // SAFETY: the owner's first buffer has space for the padded planes of x, and only this line writes it.
                x: unsafe { plan.x.fill(|m| of_image(x, plan.x.plane, m), x_padded, *above, (layout, x_bands)) },
                // SAFETY: the owner's third buffer has space for the padded planes of dy, and only this line writes it.
                dy: unsafe { plan.dy.fill(|m| of_image(dy, plan.dy.plane, m), dy_padded, 0, (&dy_layout, dy_bands)) },
                sums: sums.as_mut(),
            };
            // SAFETY: the bands are inside the padded planes. The chunks were made for the packed planes, which the second and
            // fourth buffer have space for and stay zero outside of, and there is a vector of sums for each tap.
            unsafe { dispatch(self.set, task) };
        });
        sums.as_ref().chunks_exact(lanes).map(|lanes| lanes.iter().sum()).collect()
    }
}
