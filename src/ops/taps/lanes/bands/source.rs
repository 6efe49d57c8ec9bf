//! The planes of a vector: how lanes divide them, and how their bands come into the blocked layout.

use crate::ops::taps::lanes::kernels::{self, SourcePlanes};
use crate::ops::taps::lanes::plan::BlockedLayout;
use crate::ops::taps::lanes::vector::{MAX_LANES, Vector};

/// How the lanes of a vector are used: `images` planes, each in `strips` bands of `step` rows of outputs. Lane
/// `l * images + m` has band l of image m.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LaneMap {
    pub images: usize,
    pub bands: usize,
    pub step: usize,
}

impl LaneMap {
    pub fn new(images: usize, rows: usize, lanes: usize) -> Self {
        let bands = lanes / images;
        LaneMap { images, bands, step: rows.div_ceil(bands) }
    }

    pub fn image(&self, lane: usize) -> usize {
        lane % self.images
    }

    pub fn band(&self, lane: usize) -> usize {
        lane / self.images
    }
}

/// What a vector takes beside its rows of outputs, in such rows: from three on, vectors of few images have too much of it.
const ROWS_BESIDE: usize = 3;

/// How many images share a vector, for planes of `rows` rows of outputs: the number that takes the least time.
pub(in crate::ops::taps) fn images_per_vector(images: usize, rows: usize, lanes: usize) -> usize {
    let time = |&shared: &usize| images.div_ceil(shared) * (LaneMap::new(shared, rows, lanes).step + ROWS_BESIDE);
    let choices = (0..=lanes.ilog2()).map(|power| 1 << power);
    choices.min_by_key(time).unwrap_or(1)
}

/// Planes between rows of zeros, and the bands of them that lanes read.
#[derive(Debug, Clone, Copy)]
pub(super) struct PaddedPlanes {
    pub plane: (usize, usize),
    pub lane_map: LaneMap,
    /// Rows of zeros above the plane; none if nothing but zeros is above or below the bands.
    pub above: Option<usize>,
    /// Rows in all.
    pub rows: usize,
}

impl PaddedPlanes {
    /// For taps that reach from row `reach.0` to row `reach.1` as seen from an output.
    pub fn new(plane: (usize, usize), reach: (i32, i32), lane_map: LaneMap) -> Self {
        if lane_map.bands == 1 {
            return PaddedPlanes { plane, lane_map, above: Some(0), rows: plane.0 };
        }
        let [above, below] = [-reach.0, reach.1].map(|rows| rows.max(0) as usize);
        let covered = lane_map.bands * lane_map.step;
        if plane.0 <= covered {
            return PaddedPlanes { plane, lane_map, above: None, rows: covered };
        }
        PaddedPlanes { plane, lane_map, above: Some(above), rows: above + plane.0.max(covered + below) }
    }

    /// Values of one plane. What does not fit into memory is never less than what does, here and below.
    pub fn len(&self) -> usize {
        self.rows.saturating_mul(self.plane.1)
    }

    /// Values of the planes of all images.
    pub fn padded_len(&self) -> usize {
        self.lane_map.images.saturating_mul(self.len())
    }

    /// Copies the planes of each image between the rows of zeros, for bands that begin `above` rows above each band of
    /// outputs. An image that is missing is zero.
    ///
    /// # Safety
    /// `padded` has [`PaddedPlanes::padded_len`] values that nothing else uses. They were zero or written here.
    pub unsafe fn fill<'a>(
        &self,
        image: impl Fn(usize) -> Option<&'a [f32]>,
        padded: *mut f32,
        above: usize,
        (layout, to): (&'a BlockedLayout, *mut f32),
    ) -> BandSource<'a> {
        let first = self.above.unwrap_or(0);
        let skipped = first - self.above.map_or(0, |_| above);
        let values = self.plane.0 * self.plane.1;
        let starts: [*const f32; MAX_LANES] = std::array::from_fn(|m| {
            if m >= self.lane_map.images {
                return padded.cast_const();
            }
            let of_image = padded.wrapping_add(m * self.len());
            let from = image(m);
            assert!(from.is_none_or(|from| from.len() == values));
            if let Some(from) = from.filter(|_| self.rows == self.plane.0) {
                return from.as_ptr();
            }
            // SAFETY: `m` is below the number of images, so `of_image` has `len` values. The plane's rows are among them,
            // from `first` on, and `from` has as many values.
            unsafe {
                let rows = of_image.add(first * self.plane.1);
                match from {
                    Some(from) => rows.copy_from_nonoverlapping(from.as_ptr(), values),
                    None => rows.write_bytes(0, values),
                }
            }
            of_image
        });
        let row = |lane: usize| (skipped + self.lane_map.band(lane) * self.lane_map.step) * self.plane.1;
        let band = |lane: usize| starts[self.lane_map.image(lane)].wrapping_add(row(lane));
        let base = self.above.is_none().then_some((above, self.lane_map));
        BandSource { planes: std::array::from_fn(band), layout, to, base }
    }
}

/// Bands of planes, and where they are transposed to.
pub(super) struct BandSource<'a> {
    pub planes: SourcePlanes<f32>,
    pub layout: &'a BlockedLayout,
    pub to: *mut f32,
    /// If the bands are the rows of the outputs alone: the rows of the packed plane above them, and how they lie in the lanes.
    pub base: Option<(usize, LaneMap)>,
}

impl BandSource<'_> {
    /// Writes the packed plane.
    ///
    /// # Safety
    /// The bands have as many rows as the packed plane, or as the base has; the machine has the instructions.
    #[inline(always)]
    pub unsafe fn pack<V: Vector>(&self) {
        let layout = self.layout;
        // SAFETY: the base is part of the packed plane, as are all its rows.
        unsafe {
            let Some((above, lane_map)) = self.base else {
                return kernels::pack::<V, f32>(&self.planes, layout, self.to);
            };
            let base = self.to.add(above * layout.pitch() * V::LANES);
            kernels::pack::<V, f32>(&self.planes, &BlockedLayout { rows: lane_map.step, ..*layout }, base);
            for row in (0..above).chain(above + lane_map.step..layout.rows) {
                let below = row as isize - above as isize;
                let bands = below.div_euclid(lane_map.step as isize);
                let from = base.add(layout.index(below.rem_euclid(lane_map.step as isize) as usize, 0) * V::LANES);
                let to = self.to.add(layout.index(row, 0) * V::LANES);
                kernels::move_lanes::<V>(from, to, layout.cols, bands as i32 * lane_map.images as i32);
            }
        }
    }
}
