//! The planes of a result, divided among the engines that compute them.

use crate::ops::fill::{Filled, Unfilled};
use crate::{Error, Result};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// The planes of some channels of feature maps (N, C, P*Q) that nothing has been written to yet.
pub(super) struct UnfilledPlanes<'a, 'c, T> {
    first: *mut MaybeUninit<T>,
    images: usize,
    /// Values of a plane.
    len: usize,
    /// Channels whose mark is `chosen`.
    marks: &'c [bool],
    chosen: bool,
    /// What the planes are part of.
    memory: PhantomData<Unfilled<'a, T>>,
}

// SAFETY: the pointer stands for a mutable borrow of the planes, which belong to this value alone. Through a shared
// reference it is only copied.
unsafe impl<T: Send> Send for UnfilledPlanes<'_, '_, T> {}
// SAFETY: as for `Send`: no method that takes `&self` touches what the pointer points to.
unsafe impl<T: Send> Sync for UnfilledPlanes<'_, '_, T> {}

impl<'a, 'c, T: Copy> UnfilledPlanes<'a, 'c, T> {
    /// Divides maps with planes of `len` values: the channels that are not marked, and those that are.
    pub fn divide(maps: Unfilled<'a, T>, len: usize, marks: &'c [bool]) -> [Self; 2] {
        let places = maps.into_places();
        let images = marks.len().checked_mul(len).and_then(|image| places.len().checked_div(image)).unwrap_or(0);
        let first = places.as_mut_ptr();
        [false, true].map(|chosen| UnfilledPlanes { first, images, len, marks, chosen, memory: PhantomData })
    }

    /// Whether the plane of a channel belongs to these.
    fn has(&self, channel: usize) -> bool {
        self.marks.get(channel) == Some(&self.chosen)
    }

    /// Checks that these are the planes of certain channels, in so many images and of so many values.
    ///
    /// # Errors
    /// If they are not.
    pub fn check(&self, images: usize, channels: &[bool], len: usize) -> Result<()> {
        let same = channels.len() == self.marks.len() && (0..channels.len()).all(|c| channels[c] == self.has(c));
        if same && (self.images, self.len) == (images, len) {
            return Ok(());
        }
        let given = format!("{} images with planes of {} values", self.images, self.len);
        Err(Error::argument("result", given, format!("{images} images with planes of {len} values, of their channels")))
    }

    /// Number of values of all maps that these planes are part of.
    pub fn total(&self) -> usize {
        self.images * self.marks.len() * self.len
    }

    /// The start of all maps that these planes are part of.
    pub fn start(&self) -> *mut T {
        self.first.cast()
    }

    /// Where a plane starts, if it belongs to these.
    #[inline]
    pub fn plane(&self, image: usize, channel: usize) -> Option<*mut T> {
        let inside = image < self.images && self.has(channel);
        // Inside the maps, since image and channel are.
        inside.then(|| self.first.wrapping_add((image * self.marks.len() + channel) * self.len).cast())
    }

    /// Each plane with its image and channel.
    pub fn into_par_iter(self) -> impl ParallelIterator<Item = (usize, usize, Unfilled<'a, T>)>
    where
        T: Send,
    {
        (0..self.images * self.marks.len()).into_par_iter().filter_map(move |index| {
            let (image, channel) = (index / self.marks.len(), index % self.marks.len());
            let first = self.plane(image, channel)?;
            // SAFETY: the plane's places belong to this value, which is given up for its planes; each comes once.
            let plane = unsafe { Unfilled::from_places(std::slice::from_raw_parts_mut(first.cast(), self.len)) };
            Some((image, channel, plane))
        })
    }

    /// That all of the planes were written.
    ///
    /// # Safety
    /// They were.
    pub unsafe fn assume_filled(self) -> Filled<'a> {
        let channels = (0..self.marks.len()).filter(|&channel| self.has(channel)).count();
        // SAFETY: the caller answers for the values; the planes belong to this value, which is given up.
        unsafe { Filled::of_places(self.images * channels * self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fill::results;
    use std::ops::Range;

    /// Writes `10 * image + channel` everywhere.
    fn fill<'a>(planes: UnfilledPlanes<'a, '_, usize>) -> Filled<'a> {
        planes.into_par_iter().map(|(image, channel, plane)| plane.fill(10 * image + channel).1).sum()
    }

    #[test]
    fn every_plane_is_on_one_side() -> Result<()> {
        let marks = [false, true, true];
        let of_sides = |count: usize, sides: Range<usize>| {
            results(count, |y| {
                let both = UnfilledPlanes::divide(y, 4, &marks).into_iter();
                both.take(sides.end).skip(sides.start).map(fill).sum()
            })
        };
        let expected = (0..24).map(|i| 10 * (i / 12) + i / 4 % 3);
        assert_eq!(of_sides(24, 0..2)?, expected.collect::<Vec<_>>());
        // A side that is left out, and values that are no whole image.
        assert!(of_sides(24, 0..1).is_err() && of_sides(24, 1..2).is_err() && of_sides(25, 0..2).is_err());
        Ok(())
    }

    #[test]
    fn planes_of_others_are_not_given() -> Result<()> {
        let marks = [true, false];
        results(12, |y| {
            let [others, marked] = UnfilledPlanes::divide(y, 3, &marks);
            assert!(marked.check(2, &[true, false], 3).is_ok() && others.check(2, &[false, true], 3).is_ok());
            for (images, channels, len) in [(1, &marks[..], 3), (2, &marks, 4), (2, &[true; 2], 3), (2, &[true], 3)] {
                assert!(marked.check(images, channels, len).is_err());
            }
            assert!(marked.plane(1, 0).is_some());
            assert_eq!([marked.plane(2, 0), marked.plane(0, 1), marked.plane(0, 2)], [None; 3]);
            fill(others) + fill(marked)
        })?;
        Ok(())
    }
}
