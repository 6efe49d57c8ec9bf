//! The planes of a vector: how lanes divide them, and how their bands come into the blocked layout.

use crate::ops::taps::lanes::kernels::{self, Planes};
use crate::ops::taps::lanes::plan::Sheet;
use crate::ops::taps::lanes::vector::{MAX_LANES, Vector};

/// How the lanes of a vector are used: `images` planes, each in `strips` strips of `step` rows of outputs. Lane
/// `l * images + m` has strip l of image m.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lot {
    pub images: usize,
    pub strips: usize,
    pub step: usize,
}

impl Lot {
    pub fn new(images: usize, rows: usize, lanes: usize) -> Self {
        let strips = lanes / images;
        Lot { images, strips, step: rows.div_ceil(strips) }
    }

    pub fn image(&self, lane: usize) -> usize {
        lane % self.images
    }

    pub fn strip(&self, lane: usize) -> usize {
        lane / self.images
    }
}

/// What a vector takes beside its rows of outputs, in such rows: from three on, vectors of few images have too much of it.
const ROWS_BESIDE: usize = 3;

/// How many images share a vector, for planes of `rows` rows of outputs: the number that takes the least time.
pub(in crate::ops::taps) fn images_per_vector(images: usize, rows: usize, lanes: usize) -> usize {
    let time = |&shared: &usize| images.div_ceil(shared) * (Lot::new(shared, rows, lanes).step + ROWS_BESIDE);
    let choices = (0..=lanes.ilog2()).map(|power| 1 << power);
    choices.min_by_key(time).unwrap_or(1)
}

/// Planes between rows of zeros, and the strips of them that lanes read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub plane: (usize, usize),
    pub lot: Lot,
    /// Rows of zeros above the plane; none if nothing but zeros is above or below the strips.
    pub above: Option<usize>,
    /// Rows in all.
    pub rows: usize,
}

impl Cut {
    /// For taps that reach from row `reach.0` to row `reach.1` as seen from an output.
    pub fn new(plane: (usize, usize), reach: (i32, i32), lot: Lot) -> Self {
        if lot.strips == 1 {
            return Cut { plane, lot, above: Some(0), rows: plane.0 };
        }
        let [above, below] = [-reach.0, reach.1].map(|rows| rows.max(0) as usize);
        let covered = lot.strips * lot.step;
        if plane.0 <= covered {
            return Cut { plane, lot, above: None, rows: covered };
        }
        Cut { plane, lot, above: Some(above), rows: above + plane.0.max(covered + below) }
    }

    /// Values of one plane. What does not fit into memory is never less than what does, here and below.
    pub fn len(&self) -> usize {
        self.rows.saturating_mul(self.plane.1)
    }

    /// Values of the planes of all images.
    pub fn room(&self) -> usize {
        self.lot.images.saturating_mul(self.len())
    }

    /// Copies the planes of each image between the rows of zeros, for strips that begin `above` rows above each strip of
    /// outputs. An image that is missing is zero.
    ///
    /// # Safety
    /// `padded` has [`Cut::room`] values that nothing else uses. They were zero or written here.
    pub unsafe fn fill<'a>(
        &self,
        image: impl Fn(usize) -> Option<&'a [f32]>,
        padded: *mut f32,
        above: usize,
        (sheet, to): (&'a Sheet, *mut f32),
    ) -> Source<'a> {
        let first = self.above.unwrap_or(0);
        let skipped = first - self.above.map_or(0, |_| above);
        let values = self.plane.0 * self.plane.1;
        let starts: [*const f32; MAX_LANES] = std::array::from_fn(|m| {
            if m >= self.lot.images {
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
        let row = |lane: usize| (skipped + self.lot.strip(lane) * self.lot.step) * self.plane.1;
        let strip = |lane: usize| starts[self.lot.image(lane)].wrapping_add(row(lane));
        let base = self.above.is_none().then_some((above, self.lot));
        Source { planes: std::array::from_fn(strip), sheet, to, base }
    }
}

/// Strips of planes, and where they are transposed to.
pub(super) struct Source<'a> {
    pub planes: Planes<f32>,
    pub sheet: &'a Sheet,
    pub to: *mut f32,
    /// If the strips are the rows of the outputs alone: the rows of the sheet above them, and how they lie in the lanes.
    pub base: Option<(usize, Lot)>,
}

impl Source<'_> {
    /// Writes the sheet.
    ///
    /// # Safety
    /// The strips have as many rows as the sheet, or as the base has; the machine has the instructions.
    #[inline(always)]
    pub unsafe fn copy_in<V: Vector>(&self) {
        let sheet = self.sheet;
        // SAFETY: the base is part of the sheet, as are all its rows.
        unsafe {
            let Some((above, lot)) = self.base else {
                return kernels::copy_in::<V, f32>(&self.planes, sheet, self.to);
            };
            let base = self.to.add(above * sheet.pitch() * V::LANES);
            kernels::copy_in::<V, f32>(&self.planes, &Sheet { rows: lot.step, ..*sheet }, base);
            for row in (0..above).chain(above + lot.step..sheet.rows) {
                let below = row as isize - above as isize;
                let strips = below.div_euclid(lot.step as isize);
                let from = base.add(sheet.index(below.rem_euclid(lot.step as isize) as usize, 0) * V::LANES);
                let to = self.to.add(sheet.index(row, 0) * V::LANES);
                kernels::move_lanes::<V>(from, to, sheet.cols, strips as i32 * lot.images as i32);
            }
        }
    }
}
