//! The engine with one lane per strip of a plane: channels with taps of their own, in f32 at stride 1.
//!
//! # How it works
//! The planes of one channel of `M` images share a vector. The P rows of outputs of each are cut into *strips*, as many
//! as there are lanes for, of R = ceil(P M / lanes) rows each. A strip of outputs reads the strip of the image that its
//! taps reach, so that strips of the image overlap:
//!
//! ```text
//! forward, input gradient    y[l*R + p, q] = start + sum_i w_i * x[l*R + p + dh_i, q + dw_i]      strip l, row p < R
//! weight gradient            dw_i = sum_l sum_pq dy[l*R + p, q] * x[l*R + p + dh_i, q + dw_i]
//! ```
//!
//! Where strips overlap or are not complete, the plane is copied between rows of zeros, so no strip ends at a border. Its
//! strips are transposed as the planes of a block of channels are, and from there the same kernels compute them, with the
//! same weight in all lanes: aligned vectors, whatever the direction of a tap, and no taps but the channel's own. This is
//! what makes pruned kernels cheaper. The price is the overlap: taps that reach far up and down need many rows of strips,
//! fewer with more images. Only R of these are transposed, since row d of all strips is row d - R with its lanes moved by
//! one strip.

mod plans;
mod source;
mod tasks;

pub(in crate::ops::taps) use source::images_per_vector;

use super::kernels::{Buffers, Targets};
use super::plan::{IndexedTap, Sheet};
use super::scratch::with_buffers;
use super::vector::{MAX_LANES, dispatch};
use super::{Aligned, STREAM_BYTES, Start, Supported, reading};
use crate::ops::fill::Filled;
use crate::ops::taps::output::UnfilledPlanes;
use crate::ops::taps::{Geometry, Tap, TapTable};
use crate::{Error, Result};
use plans::{Correlations, Sums};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use tasks::{CorrelateTask, SumsTask};

/// The channels of a table that are in no block.
#[derive(Debug)]
pub(in crate::ops::taps) struct Strips {
    set: Supported,
    /// Images that share a vector.
    shared: usize,
    table: Arc<TapTable>,
    geometry: Geometry,
    channels: Vec<usize>,
    /// For each channel of the table, whether it is among them.
    computed: Vec<bool>,
    forward: OnceLock<Sums>,
    input_grad: OnceLock<Sums>,
    weight_grad: OnceLock<Correlations>,
}

impl Strips {
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
        Strips { set, shared, table, geometry, channels, computed, forward, input_grad, weight_grad }
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
            let sums = Sums::new((self.set, self.shared), &taps, input, output);
            tracing::debug!(
                target: "kernelscope::ops",
                "forward {:?}: {} channels in strips of {} rows, of {} images at a time, on {}; {} taps in all",
                self.geometry,
                self.channels.len(),
                sums.cut.lot.step,
                self.shared,
                self.set,
                taps.iter().map(Vec::len).sum::<usize>(),
            );
            sums
        });
        self.apply(sums, x, weights, bias, y)
    }

    /// Writes the gradients of the channels' input, as [`Strips::forward`].
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
            Sums::new((self.set, self.shared), &taps, self.geometry.output, self.geometry.input)
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
        sums: &Sums,
        x: &[f32],
        weights: &[Cow<[f32]>],
        start: &[f32],
        y: UnfilledPlanes<'a, '_, f32>,
    ) -> Result<Filled<'a>> {
        let lanes = self.set.lanes();
        let (in_len, out_len) = (sums.cut.plane.0 * sums.cut.plane.1, sums.target.0 * sums.target.1);
        let images = self.images(x, sums.cut.plane)?;
        y.check(images, &self.computed, out_len)?;
        let lot = sums.cut.lot;
        let strip_len = lot.step * sums.target.1;
        // Whole strips; the rest of the outputs, if any, is part of a strip.
        let (whole, rest) = (out_len / strip_len, out_len % strip_len);
        let aligned = y.start().addr().is_multiple_of(64) && strip_len.is_multiple_of(lanes) && rest == 0;
        let stream = aligned && y.total() * size_of::<f32>() >= STREAM_BYTES;
        let target = Sheet::bare((lot.step, sums.target.1));
        // For each image, the strip that is not whole, or those of an image that is missing.
        let part_len = strip_len.next_multiple_of(MAX_LANES);
        let spread_len = sums.floats[1] + lot.images * part_len;
        let floats = [sums.cut.room(), sums.floats[0], target.floats(lanes), spread_len];
        let vectors = images.div_ceil(lot.images);
        // The images of a channel follow each other, since they share the plan of their group.
        (0..self.channels.len() * vectors).into_par_iter().for_each(|unit| {
            let (channel, first) = (self.channels[unit / vectors], unit % vectors * lot.images);
            // None where an image is missing.
            let to = |m: usize| y.plane(first + m, channel);
            let Some((above, sheet, gather)) = &sums.groups[self.table.group_of_channel()[channel]] else {
                for to in (0..lot.images).filter_map(to) {
                    // SAFETY: the plane has `out_len` places for values, which no other unit writes.
                    (0..out_len).for_each(|i| unsafe { to.add(i).write(start[channel]) });
                }
                return;
            };
            with_buffers(sums.owner, floats, |[padded, source, strips, spread]| {
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
                let of_lane = |lane: usize| match (to(lot.image(lane)), lot.strip(lane)) {
                    (Some(to), strip) if strip < whole => to.wrapping_add(strip * strip_len),
                    _ => part(lot.image(lane)),
                };
                let bias = Start([start[channel]; MAX_LANES]);
                let task = SumsTask {
                    // SAFETY: the owner's first buffer has room for the padded planes, and only this line writes it.
                    from: unsafe { sums.cut.fill(of_image, padded, *above, (sheet, source)) },
                    gather,
                    target: &target,
                    buffers: Buffers { source, target: strips, weights: spread, bias: bias.0.as_ptr() },
                    targets: Targets {
                        planes: std::array::from_fn(of_lane),
                        count: (whole + usize::from(rest > 0)) * lot.images,
                        stream,
                    },
                };
                // SAFETY: the strips of the source are inside the padded planes, whose rows go as far as the last strip's
                // taps reach. The gather was made for the sheet, which the second buffer has room for and stays zero
                // outside of; the third has room for a strip's results in vectors. Strips of results are inside of
                // this channel's planes, which no other unit writes, or have room in the fourth buffer; there are as many
                // lanes of them as `count`, since `whole` strips and one for the rest are at most `lot.strips`.
                unsafe { dispatch(self.set, task) };
                for (m, to) in (0..lot.images).filter(|_| rest > 0).filter_map(|m| Some((m, to(m)?))) {
                    // SAFETY: the last `rest` places of the plane lie behind its whole strips, and the part is a strip in
                    // a buffer of this thread.
                    unsafe { to.add(whole * strip_len).copy_from_nonoverlapping(part(m), rest) };
                }
            });
        });
        // SAFETY: there was a unit for every channel and image, and each has written its planes: as one value, or in whole
        // strips and the rest. The channels are those that were checked to be `y`'s.
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
            .get_or_init(|| Correlations::new((self.set, self.shared), &self.planned_taps(), &self.geometry));
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
        plan: &Correlations,
        channel: usize,
        images: Range<usize>,
        [x, dy]: [&[f32]; 2],
    ) -> Vec<f32> {
        let lanes = self.set.lanes();
        let taps = self.table.group_of(channel).taps().len();
        let Some((above, sheet, chunks)) = &plan.groups[self.table.group_of_channel()[channel]] else {
            return vec![0.0; taps];
        };
        let mut sums = Aligned::zeros(taps * lanes);
        let dy_sheet = Sheet::bare((plan.dy.lot.step, plan.dy.plane.1));
        let floats = [plan.x.room(), plan.floats, plan.dy.room(), dy_sheet.floats(lanes)];
        with_buffers(plan.owner, floats, |[x_padded, x_strips, dy_padded, dy_strips]| {
            let of_image = |values, (height, width): (usize, usize), m: usize| {
                let image = images.clone().nth(m)?;
                let first = (image * self.table.channels() + channel) * height * width;
                <[f32]>::get(values, first..first + height * width)
            };
            let task = CorrelateTask {
                chunks,
                // SAFETY: the owner's first buffer has room for the padded planes of x, and only this line writes it.
                x: unsafe { plan.x.fill(|m| of_image(x, plan.x.plane, m), x_padded, *above, (sheet, x_strips)) },
                // SAFETY: the owner's third buffer has room for the padded planes of dy, and only this line writes it.
                dy: unsafe { plan.dy.fill(|m| of_image(dy, plan.dy.plane, m), dy_padded, 0, (&dy_sheet, dy_strips)) },
                sums: sums.as_mut(),
            };
            // SAFETY: the strips are inside the padded planes. The chunks were made for the sheets, which the second and
            // fourth buffer have room for and stay zero outside of, and there is a vector of sums for each tap.
            unsafe { dispatch(self.set, task) };
        });
        sums.as_ref().chunks_exact(lanes).map(|lanes| lanes.iter().sum()).collect()
    }
}
