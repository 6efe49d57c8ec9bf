//! Views of matrices in memory, and their products.
//!
//! Products run on the `gemm` crate. How it splits work among threads does not change a sum's order, so that results
//! have the same bits on any number of threads; they may differ between shapes, so the shapes of products must not
//! depend on that number either.

use super::storage::Element;
use gemm::Parallelism;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

/// A matrix to read: values, and the distances of rows and of columns in memory.
#[derive(Clone, Copy)]
pub struct Matrix<'a, T> {
    values: &'a [T],
    rows: usize,
    cols: usize,
    strides: (usize, usize),
}

impl<'a, T> Matrix<'a, T> {
    /// All of `values`, row by row.
    pub fn new(values: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols);
        Matrix { values, rows, cols, strides: (cols, 1) }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows and columns exchanged.
    pub fn transposed(self) -> Self {
        let ((rows, cols), strides) = ((self.cols, self.rows), (self.strides.1, self.strides.0));
        Matrix { values: self.values, rows, cols, strides }
    }

    /// Some of the rows.
    pub fn select_rows(self, range: Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.rows);
        Matrix { values: &self.values[range.start * self.strides.0..], rows: range.len(), ..self }
    }

    /// Some of the columns.
    pub fn select_cols(self, range: Range<usize>) -> Self {
        self.transposed().select_rows(range).transposed()
    }

    /// A row whose values are neighbours in memory: of a matrix that is not transposed.
    #[inline(always)]
    pub fn row(&self, row: usize) -> &'a [T] {
        assert!(row < self.rows && self.strides.1 == 1);
        &self.values[row * self.strides.0..][..self.cols]
    }

    /// Whether every element lies inside the values.
    fn is_inside(&self) -> bool {
        self.rows * self.cols == 0
            || (self.rows - 1) * self.strides.0 + (self.cols - 1) * self.strides.1 < self.values.len()
    }
}

/// A matrix to be written: rows of neighbouring values, some distance apart.
pub struct Room<'a, T> {
    values: *mut MaybeUninit<T>,
    rows: usize,
    cols: usize,
    stride: usize,
    borrowed: PhantomData<&'a mut [MaybeUninit<T>]>,
}

// SAFETY: a room is a mutable borrow of its elements, which no other room reaches (see `split` and `select_cols`).
unsafe impl<T: Send> Send for Room<'_, T> {}

impl<'a, T> Room<'a, T> {
    /// All of `values`, row by row.
    pub fn new(values: &'a mut [MaybeUninit<T>], rows: usize, cols: usize) -> Self {
        assert_eq!(values.len(), rows * cols);
        Room { values: values.as_mut_ptr(), rows, cols, stride: cols, borrowed: PhantomData }
    }

    /// A row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [MaybeUninit<T>] {
        assert!(row < self.rows);
        // SAFETY: `rows`, `cols` and `stride` describe elements of the slice that `new` was given, which is borrowed for
        // 'a; the result borrows the room, so there is one row at a time.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(row * self.stride), self.cols) }
    }

    /// Some of the columns, for as long as this room is not used.
    pub fn select_cols(&mut self, range: Range<usize>) -> Room<'_, T> {
        assert!(range.start < range.end && range.end <= self.cols);
        // SAFETY: an offset of less than one row stays inside the slice.
        let values = unsafe { self.values.add(range.start) };
        Room { values, cols: range.len(), borrowed: PhantomData, ..*self }
    }

    /// The same room, for as long as this one is not used.
    pub fn borrow(&mut self) -> Room<'_, T> {
        Room { borrowed: PhantomData, ..*self }
    }

    /// Parts of up to `width` columns, from left to right.
    pub fn split(self, width: usize) -> Vec<Self> {
        let part = |start: usize| {
            // SAFETY: an offset of less than one row stays inside the slice. Parts have different columns, and `self` is
            // given up for them, so that no element is reached twice.
            let values = unsafe { self.values.add(start) };
            Room { values, cols: width.min(self.cols - start), borrowed: PhantomData, ..self }
        };
        (0..self.cols).step_by(width).map(part).collect()
    }

    /// Copies a matrix that is not transposed.
    pub fn copy(&mut self, from: Matrix<T>)
    where
        T: Copy,
    {
        assert_eq!((self.rows, self.cols), (from.rows, from.cols));
        for row in 0..self.rows {
            self.row(row).write_copy_of_slice(from.row(row));
        }
    }
}

/// Threads inside one product when there are fewer products than threads.
pub fn parallelism(products: usize) -> Parallelism {
    if products < rayon::current_num_threads() { Parallelism::Rayon(0) } else { Parallelism::None }
}

/// `target = a * b`, plus `offset[i]` in row i if there is an offset. Writes every element.
pub fn product<T: Element>(mut target: Room<T>, (a, b): (Matrix<T>, Matrix<T>), offset: Option<&[T]>, by: Parallelism) {
    assert!(target.rows == a.rows && target.cols == b.cols);
    if let Some(offset) = offset {
        for (row, &value) in offset.iter().enumerate().take(target.rows) {
            target.row(row).fill(MaybeUninit::new(value));
        }
        assert_eq!(offset.len(), target.rows);
    }
    // SAFETY: `target` is a mutable borrow of `rows * cols` elements at this stride, which are written if they are read.
    unsafe { multiply(target.values.cast(), target.stride, offset.is_some(), (a, b), by) };
}

/// `target += a * b`, target row by row.
pub fn add_product<T: Element>(target: &mut [T], (a, b): (Matrix<T>, Matrix<T>), by: Parallelism) {
    assert_eq!(target.len(), a.rows * b.cols);
    // SAFETY: `target` is a mutable borrow of the elements of a whole matrix, all of which have values.
    unsafe { multiply(target.as_mut_ptr(), b.cols, true, (a, b), by) };
}

/// `target = a * b`, or `target += a * b`.
///
/// # Safety
/// `target` must be valid for `a.rows` rows of `b.cols` values that are `stride` apart, borrowed mutably; they must have
/// values if the product is added.
unsafe fn multiply<T: Element>(
    target: *mut T,
    stride: usize,
    add: bool,
    (a, b): (Matrix<T>, Matrix<T>),
    by: Parallelism,
) {
    assert!(a.cols == b.rows && a.is_inside() && b.is_inside());
    // SAFETY: the assertion shows that every index that the strides reach lies inside its slice; the caller answers for
    // `target`, which as a mutable borrow overlaps neither operand.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            target,
            1,
            stride as isize,
            add,
            a.values.as_ptr(),
            a.strides.1 as isize,
            a.strides.0 as isize,
            b.values.as_ptr(),
            b.strides.1 as isize,
            b.strides.0 as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            by,
        );
    }
}

/// Most rows and columns of a block of an [`OuterSum`].
const BLOCK: (usize, usize) = (256, 1024);

/// `sum_i a_i * b_i^T`, in order, by blocks of the result that run in parallel: the gradient of a weight, where i counts
/// images.
pub struct OuterSum<T> {
    rows: usize,
    cols: usize,
    blocks: Vec<Block<T>>,
}

struct Block<T> {
    rows: Range<usize>,
    cols: Range<usize>,
    values: Vec<T>,
}

impl<T: Element> OuterSum<T> {
    /// Zeros.
    pub fn new(rows: usize, cols: usize) -> Self {
        let mut parts = (rows.div_ceil(BLOCK.0).next_power_of_two(), cols.div_ceil(BLOCK.1).next_power_of_two());
        if parts == (1, 1) {
            if rows >= cols { parts.0 = 2 } else { parts.1 = 2 }
        }
        let mut blocks = Vec::new();
        for rows in ranges(rows, parts.0) {
            for cols in ranges(cols, parts.1) {
                blocks.push(Block { values: vec![T::zero(); rows.len() * cols.len()], rows: rows.clone(), cols });
            }
        }
        OuterSum { rows, cols, blocks }
    }

    /// Adds the products of pairs of matrices with equally many columns, in their order.
    pub fn add(&mut self, pairs: &[(Matrix<T>, Matrix<T>)]) {
        let by = parallelism(self.blocks.len());
        self.blocks.par_iter_mut().for_each(|block| {
            for (a, b) in pairs {
                let (a, b) = (a.select_rows(block.rows.clone()), b.select_rows(block.cols.clone()));
                add_product(&mut block.values, (a, b.transposed()), by);
            }
        });
    }

    /// The sum, row by row.
    pub fn finish(self) -> Vec<T> {
        let mut sum = vec![T::zero(); self.rows * self.cols];
        for Block { rows, cols, values } in self.blocks {
            for (row, values) in rows.zip(values.chunks_exact(cols.len())) {
                sum[row * self.cols..][cols.clone()].copy_from_slice(values);
            }
        }
        sum
    }
}

/// About equal ranges; all but the last end at a multiple of 8, where vectors begin. None is empty.
fn ranges(len: usize, parts: usize) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = (0..parts).map(|part| len * part / parts / 8 * 8).chain([len]).collect();
    ends.dedup();
    ends.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::storage::results;

    #[test]
    fn ranges_cover_everything_once() {
        for len in [1, 7, 8, 9, 96, 97, 385, 3073] {
            for parts in [1, 2, 4, 16] {
                let ranges = ranges(len, parts);
                assert_eq!((ranges[0].start, ranges.last().unwrap().end), (0, len));
                assert!(
                    ranges.windows(2).all(|pair| pair[0].end == pair[1].start) && ranges.iter().all(|r| !r.is_empty())
                );
            }
        }
    }

    #[test]
    fn products_of_parts_are_parts_of_products() {
        let value = |i: usize| (i * 7 % 13) as f64 - 6.0;
        let (a, b): (Vec<f64>, Vec<f64>) = ((0..6).map(value).collect(), (0..21).map(value).collect());
        let (a, b) = (Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 7));
        let y = results(14, |y| {
            for (part, room) in Room::new(y, 2, 7).split(3).into_iter().enumerate() {
                let range = part * 3..(part * 3 + 3).min(7);
                product(room, (a, b.select_cols(range)), Some(&[10.0, 20.0]), Parallelism::None);
            }
        });
        for (i, &y) in y.iter().enumerate() {
            let (row, col) = (i / 7, i % 7);
            let expected: f64 = (0..3).map(|k| a.row(row)[k] * b.row(k)[col]).sum();
            assert_eq!(y, expected + [10.0, 20.0][row]);
        }
        let mut sum = OuterSum::new(3, 2);
        sum.add(&[(b, b), (b, b)].map(|(x, y)| (x, y.select_rows(1..3))));
        for (i, &s) in sum.finish().iter().enumerate() {
            let expected: f64 = b.row(i / 2).iter().zip(b.row(1 + i % 2)).map(|(x, y)| x * y).sum();
            assert_eq!(s, 2.0 * expected);
        }
    }
}
