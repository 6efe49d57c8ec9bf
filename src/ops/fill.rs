//! Vectors that are computed in place: memory that is written once, without zeros before.
//!
//! For large feature maps, setting memory to zero takes as long as a cheap operator. So results go to fresh memory, as
//! [`Unfilled`]. It can be divided, and each part can be written once: whoever writes it gives it away and gets
//! [`Filled`] for it, which counts what was written. [`results`] makes a vector of the memory only if the counts add up
//! to all of it; a part that is dropped, or an iterator that ends early, is an error.
//!
//! The lifetime `'a` belongs to one call of [`results`] and can be no other call's, so that what was written elsewhere
//! cannot be passed off as this memory.

use crate::{Error, Result};
use rayon::prelude::*;
use std::iter::Sum;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Add, AddAssign};

/// Ties values to a lifetime that neither shrinks nor grows.
type Invariant<'a> = PhantomData<fn(&'a ()) -> &'a ()>;

/// Memory that nothing has been written to yet.
#[derive(Debug)]
pub(crate) struct Unfilled<'a, T> {
    places: &'a mut [MaybeUninit<T>],
    call: Invariant<'a>,
}

/// How many values were written to the memory of a call of [`results`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Filled<'a> {
    count: usize,
    call: Invariant<'a>,
}

impl<'a> Filled<'a> {
    /// Nothing was written.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Filled { count: 0, call: PhantomData }
    }
}

impl Add for Filled<'_> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Filled { count: self.count + other.count, call: self.call }
    }
}

impl AddAssign for Filled<'_> {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
    }
}

impl Sum for Filled<'_> {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Filled::none(), Add::add)
    }
}

impl<'a, T: Copy> Unfilled<'a, T> {
    /// Number of values.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where the memory is, for tests of alignment.
    #[cfg(test)]
    pub(crate) fn addr(&self) -> usize {
        self.places.as_ptr().addr()
    }

    /// Writes values one after the other, as many as there are places for.
    #[inline(always)]
    pub(crate) fn write(self, values: impl Iterator<Item = T>) -> Filled<'a> {
        let mut count = 0;
        for (place, value) in self.places.iter_mut().zip(values) {
            place.write(value);
            count += 1;
        }
        Filled { count, call: self.call }
    }

    /// Writes one value everywhere. The values can then be read and changed.
    #[inline(always)]
    pub(crate) fn fill(self, value: T) -> (&'a mut [T], Filled<'a>) {
        self.places.fill(MaybeUninit::new(value));
        let filled = Filled { count: self.places.len(), call: self.call };
        // SAFETY: the line before the last has written every one of these places.
        (unsafe { self.places.assume_init_mut() }, filled)
    }

    /// The first `len` places, and the others.
    #[cfg(test)]
    #[inline(always)]
    pub(crate) fn split_at(self, len: usize) -> (Self, Self) {
        let (first, others) = self.places.split_at_mut(len);
        (Unfilled { places: first, call: self.call }, Unfilled { places: others, call: self.call })
    }

    /// Parts of `len` places each; the last may be shorter.
    #[inline(always)]
    pub(crate) fn chunks(self, len: usize) -> impl Iterator<Item = Self> {
        let call = self.call;
        self.places.chunks_mut(len).map(move |places| Unfilled { places, call })
    }

    /// The same in parallel.
    pub(crate) fn par_chunks(self, len: usize) -> impl IndexedParallelIterator<Item = Self>
    where
        T: Send,
    {
        let call = self.call;
        self.places.par_chunks_mut(len).map(move |places| Unfilled { places, call })
    }

    /// The memory itself, for code that divides it in ways of its own: it comes back by [`Unfilled::from_places`] or
    /// [`Filled::of_places`].
    #[inline(always)]
    pub(super) fn into_places(self) -> &'a mut [MaybeUninit<T>] {
        self.places
    }

    /// Part of the memory of a call, for code that divides it in ways of its own.
    ///
    /// # Safety
    /// The places are from [`Unfilled::into_places`] of this call, and given back here or to [`Filled::of_places`] once
    /// only.
    #[inline(always)]
    pub(super) unsafe fn from_places(places: &'a mut [MaybeUninit<T>]) -> Self {
        Unfilled { places, call: PhantomData }
    }
}

impl Filled<'_> {
    /// That `count` values were written by code that divides memory in ways of its own.
    ///
    /// # Safety
    /// So many different places from [`Unfilled::into_places`] of this call were written, none of which was or will be
    /// given to [`Unfilled::from_places`] or counted here again.
    #[inline(always)]
    pub(super) unsafe fn of_places(count: usize) -> Self {
        Filled { count, call: PhantomData }
    }
}

/// Writes pairs of values to two places, as [`Unfilled::write`].
#[inline(always)]
pub(crate) fn write_both<'a, 'b, T: Copy>(
    first: Unfilled<'a, T>,
    second: Unfilled<'b, T>,
    values: impl Iterator<Item = (T, T)>,
) -> (Filled<'a>, Filled<'b>) {
    let mut count = 0;
    for ((first, second), values) in first.places.iter_mut().zip(second.places).zip(values) {
        first.write(values.0);
        second.write(values.1);
        count += 1;
    }
    (Filled { count, call: PhantomData }, Filled { count, call: PhantomData })
}

/// A vector of `len` values that `f` writes.
///
/// # Errors
/// If `f` has not written all of them.
pub(crate) fn results<T: Copy>(len: usize, f: impl for<'a> FnOnce(Unfilled<'a, T>) -> Filled<'a>) -> Result<Vec<T>> {
    try_results(len, |values| Ok(f(values)))
}

/// The same where `f` can fail.
///
/// # Errors
/// Those of `f`, or if it has not written all values.
pub(crate) fn try_results<T: Copy>(
    len: usize,
    f: impl for<'a> FnOnce(Unfilled<'a, T>) -> Result<Filled<'a>>,
) -> Result<Vec<T>> {
    let mut values = Vec::new();
    try_refill(&mut values, len, f)?;
    Ok(values)
}

/// As [`results`], in memory that was used before, for scratch. After an error the vector is empty.
///
/// # Errors
/// If `f` has not written all values.
pub(crate) fn refill<T: Copy>(
    values: &mut Vec<T>,
    len: usize,
    f: impl for<'a> FnOnce(Unfilled<'a, T>) -> Filled<'a>,
) -> Result<()> {
    try_refill(values, len, |values| Ok(f(values)))
}

/// The same where `f` can fail.
///
/// # Errors
/// Those of `f`, or if it has not written all values.
pub(crate) fn try_refill<T: Copy>(
    values: &mut Vec<T>,
    len: usize,
    f: impl for<'a> FnOnce(Unfilled<'a, T>) -> Result<Filled<'a>>,
) -> Result<()> {
    values.clear();
    values.reserve_exact(len);
    let places = &mut values.spare_capacity_mut()[..len];
    let Filled { count, .. } = f(Unfilled { places, call: PhantomData })?;
    if count != len {
        return Err(Error::argument("result", format!("{count} of {len} values written"), "all of them"));
    }
    // SAFETY: the capacity is at least `len`. `f` is generic over the lifetime of its memory, so that counts of that
    // lifetime come from this memory alone. Each stands for places that were given away to be written and cannot be
    // counted again, so `len` of them are all places.
    unsafe { values.set_len(len) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_one_vector() -> Result<()> {
        let values = results(10, |all| {
            let (first, others) = all.split_at(3);
            let (ones, filled) = first.fill(1);
            ones[1] = 7;
            let chunks = others.chunks(4).zip([10, 20]);
            filled + chunks.map(|(chunk, start)| chunk.write(start..)).sum()
        })?;
        assert_eq!(values, [1, 7, 1, 10, 11, 12, 13, 20, 21, 22]);
        let squares = results(1000, |all| {
            let parts = all.par_chunks(7).enumerate();
            parts.map(|(part, places)| places.write((7 * part..).map(|i| i * i))).sum()
        })?;
        assert_eq!(squares, (0..1000).map(|i| i * i).collect::<Vec<_>>());
        Ok(())
    }

    /// Whatever is not written is an error, and no vector has values that nobody wrote.
    #[test]
    fn what_is_not_written_is_refused() {
        let refused = |result: Result<Vec<i32>>, count: usize| {
            let message = result.map_err(|error| error.to_string());
            assert_eq!(message, Err(format!("result: got {count} of 6 values written, allowed: all of them")));
        };
        refused(results(6, |all| all.write([1, 2, 3, 4, 5].into_iter())), 5);
        refused(results(6, |_| Filled::none()), 0);
        refused(results(6, |all| all.split_at(2).1.fill(0).1), 4);
        refused(results(6, |all| all.chunks(2).skip(1).map(|part| part.fill(0).1).sum()), 4);
        refused(results(6, |all| all.par_chunks(4).map(|part| part.write([1, 2, 3].into_iter())).sum()), 5);
        // More values than there are places are no places.
        refused(results(6, |all| all.split_at(3).0.write(0..)), 3);
        let mut scratch = vec![1; 9];
        assert!(refill(&mut scratch, 6, |all| all.write(0..5)).is_err() && scratch.is_empty());
        assert!(refill(&mut scratch, 6, |all| all.write(0..6)).is_ok());
        assert_eq!(scratch, [0, 1, 2, 3, 4, 5]);
        assert!(try_results::<i32>(1, |_| Err(Error::argument("x", 0, "1"))).is_err());
    }
}
