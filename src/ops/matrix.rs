//! Views of matrices in memory, and their products.
//!
//! Products run on the `gemm` crate. How it splits work among threads does not change a sum's order, so that results
//! have the same bits on any number of threads; they may differ between shapes, so the shapes of products must not
//! depend on that number either.

use super::fill::{Filled, Unfilled};
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
        assert_eq!(rows.checked_mul(cols), Some(values.len()));
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

    /// A row whose values are neighbors in memory: of a matrix that is not transposed.
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

/// A matrix that nothing has been written to yet: rows of neighboring values, some distance apart.
pub struct UnfilledMatrix<'a, T> {
    first: *mut MaybeUninit<T>,
    rows: usize,
    cols: usize,
    stride: usize,
    /// What the elements are part of.
    memory: PhantomData<Unfilled<'a, T>>,
}

// SAFETY: the pointer stands for a mutable borrow of the matrix's elements, which no other matrix has: matrices are made
// of whole `Unfilled` memory, and divided only by giving them up.
unsafe impl<T: Send> Send for UnfilledMatrix<'_, T> {}

impl<'a, T: Copy> UnfilledMatrix<'a, T> {
    /// All of `values`, row by row.
    #[inline(always)]
    pub fn new(values: Unfilled<'a, T>, rows: usize, cols: usize) -> Self {
        assert_eq!(rows.checked_mul(cols), Some(values.len()));
        UnfilledMatrix { first: values.into_places().as_mut_ptr(), rows, cols, stride: cols, memory: PhantomData }
    }

    /// Number of columns.
    #[inline(always)]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The rows, from top to bottom.
    #[inline(always)]
    pub fn into_rows(self) -> impl Iterator<Item = Unfilled<'a, T>> {
        (0..self.rows).map(
            #[inline(always)]
            move |row| {
                // SAFETY: the row's elements are `cols` neighbors that belong to this matrix alone, which is given up for
                // its rows; the range has each row once.
                unsafe {
                    let first = self.first.add(row * self.stride);
                    Unfilled::from_places(std::slice::from_raw_parts_mut(first, self.cols))
                }
            },
        )
    }

    /// The first `rows` rows, and the others.
    pub fn split_rows(self, rows: usize) -> (Self, Self) {
        assert!(rows <= self.rows);
        // An offset of all rows may lead beyond the memory, to where no row is read.
        let below = self.first.wrapping_add(rows * self.stride);
        (UnfilledMatrix { rows, ..self }, UnfilledMatrix { first: below, rows: self.rows - rows, ..self })
    }

    /// Parts of up to `width` columns, from left to right.
    #[inline(always)]
    pub fn split_cols(self, width: usize) -> impl Iterator<Item = Self> + use<'a, T> {
        (0..self.cols).step_by(width).map(
            #[inline(always)]
            move |start| {
                // Inside the first row, since `start` is below the number of columns. Parts have different columns, and
                // `self` is given up for them.
                let first = self.first.wrapping_add(start);
                UnfilledMatrix { first, cols: width.min(self.cols - start), ..self }
            },
        )
    }

    /// Copies a matrix that is not transposed.
    pub fn copy(self, from: Matrix<T>) -> Filled<'a> {
        assert_eq!((self.rows, self.cols), (from.rows, from.cols));
        self.into_rows().enumerate().map(|(row, places)| places.write(from.row(row).iter().copied())).sum()
    }
}

/// Threads inside one product when there are fewer products than threads.
pub fn parallelism(products: usize) -> Parallelism {
    if products < rayon::current_num_threads() { Parallelism::Rayon(0) } else { Parallelism::None }
}

/// `target = a * b`, plus `offset[i]` in row i if there is an offset. Writes every element.
pub fn product<'a, T: Element>(
    target: UnfilledMatrix<'a, T>,
    (a, b): (Matrix<T>, Matrix<T>),
    offset: Option<&[T]>,
    by: Parallelism,
) -> Filled<'a> {
    let UnfilledMatrix { first, rows, cols, stride, .. } = target;
    assert!(rows == a.rows && cols == b.cols && offset.is_none_or(|offset| offset.len() == rows));
    for (row, &value) in offset.into_iter().flatten().enumerate() {
        // SAFETY: there is an offset for each row of `target`, whose `cols` elements are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(first.add(row * stride), cols) }.fill(MaybeUninit::new(value));
    }
    // SAFETY: `target` stands for a mutable borrow of `rows * cols` elements at this stride; if the product is added to
    // them, the loop has written each. The product writes all, and `target`, which they belonged to alone, is gone.
    unsafe {
        multiply(first.cast(), stride, offset.is_some(), (a, b), by);
        Filled::of_places(rows * cols)
    }
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
    assert!(a.cols == b.rows && a.cols > 0 && a.is_inside() && b.is_inside());
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
    use crate::Result;
    use crate::ops::fill::results;

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
    fn products_of_parts_are_parts_of_products() -> Result<()> {
        let value = |i: usize| (i * 7 % 13) as f64 - 6.0;
        let (a, b): (Vec<f64>, Vec<f64>) = ((0..6).map(value).collect(), (0..21).map(value).collect());
        let (a, b) = (Matrix::new(&a, 2, 3), Matrix::new(&b, 3, 7));
        let y = results(14, |y| {
            let parts = UnfilledMatrix::new(y, 2, 7).split_cols(3).enumerate();
            let product = |(part, target): (usize, _)| {
                let range = part * 3..(part * 3 + 3).min(7);
                product(target, (a, b.select_cols(range)), Some(&[10.0, 20.0]), Parallelism::None)
            };
            parts.map(product).sum()
        })?;
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
        Ok(())
    }

    #[test]
    fn rows_and_columns_are_divided_without_overlap() -> Result<()> {
        let y = results(15, |y| {
            let (above, below) = UnfilledMatrix::new(y, 3, 5).split_rows(2);
            let mut filled = below.copy(Matrix::new(&[10, 11, 12, 13, 14], 1, 5));
            for (part, start) in above.split_cols(2).zip([0, 2, 4]) {
                for (row, places) in part.into_rows().enumerate() {
                    filled += places.write((5 * row + start..).take(5 - start));
                }
            }
            filled
        })?;
        assert_eq!(y, (0..15).collect::<Vec<_>>());
        // A row, or a column, that is left out.
        let ones = [1; 15];
        let of = |rows: usize, cols: usize| Matrix::new(&ones[..rows * cols], rows, cols);
        assert!(results(15, |y| UnfilledMatrix::new(y, 3, 5).split_rows(2).0.copy(of(2, 5))).is_err());
        let first_part = results(15, |y| {
            let parts = UnfilledMatrix::new(y, 3, 5).split_cols(4);
            parts.take(1).map(|part| part.copy(of(3, 4))).sum()
        });
        assert!(first_part.is_err());
        Ok(())
    }
}
