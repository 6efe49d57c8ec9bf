//! `y = V [phi(x); 1]` and its gradients, tile by tile.

use crate::Result;
use crate::ops::fill::{Filled, Unfilled, refill, results, try_refill, try_results};
use crate::ops::matrix::{Matrix, OuterSum, UnfilledMatrix, parallelism, product};
use crate::ops::storage::Element;
use crate::ops::tiles::{Tile, Tiles};
use rayon::prelude::*;

/// Values of one group of images in the backward pass: they should still be in the cache when the gradient of the
/// weights is computed.
const GROUP_VALUES: usize = 1 << 22;

/// A differentiable function of columns.
pub trait ColumnMap: Send + Sync + 'static {
    /// Writes `z = phi(x)`.
    fn apply<'z, T: Element>(&self, x: Matrix<T>, z: UnfilledMatrix<'z, T>) -> Filled<'z>;

    /// Writes z, and the gradient `dx` of x given that of z.
    fn apply_with_gradient<'z, 'dx, T: Element>(
        &self,
        x: Matrix<T>,
        dz: Matrix<T>,
        z: UnfilledMatrix<'z, T>,
        dx: UnfilledMatrix<'dx, T>,
    ) -> (Filled<'z>, Filled<'dx>);
}

/// The gradients that were wanted.
pub struct ColumnGradients<T> {
    /// Of x.
    pub input: Option<Vec<T>>,
    /// Of V, (outputs, channels + 1).
    pub weight: Option<Vec<T>>,
}

/// `y = V [phi(x); 1]` for maps of `channels` and `outputs` channels.
pub struct Columns<M> {
    pub map: M,
    pub channels: usize,
    pub outputs: usize,
    /// Images, height and width.
    pub size: (usize, usize, usize),
}

impl<M: ColumnMap> Columns<M> {
    fn tiles(&self) -> Tiles {
        let (images, height, width) = self.size;
        Tiles::joined(images, height * width)
    }

    /// y for `weight` V of shape (outputs, channels + 1).
    pub(crate) fn forward<T: Element>(&self, x: &[T], weight: &[T]) -> Result<Vec<T>> {
        let (rows, tiles) = (self.channels + 1, self.tiles());
        let weight = Matrix::new(weight, self.outputs, rows);
        try_results(self.outputs * tiles.cols(), |y| {
            let targets = tiles.unfilled(y, self.outputs);
            let by = parallelism(targets.len());
            let tasks = tiles.list().into_par_iter().zip(targets);
            let filled =
                tasks.map_init(Default::default, |(z, joined): &mut (Vec<T>, Vec<T>), (tile, targets)| -> Result<_> {
                    refill(z, rows * tile.cols, |z| {
                        let (z, ones) = UnfilledMatrix::new(z, rows, tile.cols).split_rows(self.channels);
                        let images = tile.matrices(x, self.channels).zip(z.split_cols(tile.cols_per_image()));
                        images.map(|(x, z)| self.map.apply(x, z)).sum::<Filled>() + fill_with_ones(ones)
                    })?;
                    let factors = (weight, Matrix::new(z, rows, tile.cols));
                    let targets = match <[_; 1]>::try_from(targets) {
                        Ok([target]) => return Ok(product(target, factors, None, by)),
                        Err(several) => several,
                    };
                    let len = self.outputs * tile.cols;
                    refill(joined, len, |y| {
                        product(UnfilledMatrix::new(y, self.outputs, tile.cols), factors, None, by)
                    })?;
                    let joined = Matrix::new(joined, self.outputs, tile.cols);
                    let images = targets.into_iter().zip(columns_of_images(&tile));
                    Ok(images.map(|(target, columns)| target.copy(joined.select_cols(columns))).sum())
                });
            filled.sum()
        })
    }

    /// The gradients of x and of V that are wanted.
    pub(crate) fn gradients<T: Element>(
        &self,
        x: &[T],
        weight: &[T],
        dy: &[T],
        wanted: [bool; 2],
    ) -> Result<ColumnGradients<T>> {
        let weight = Matrix::new(weight, self.outputs, self.channels + 1);
        let mut sum = wanted[1].then(|| OuterSum::new(self.outputs, self.channels + 1));
        let maps = Group { tiles: self.tiles(), x, dy };
        let input = if wanted[0] {
            Some(try_results(x.len(), |dx| self.all_gradients(&maps, weight, Some(dx), sum.as_mut()))?)
        } else {
            let _nothing = self.all_gradients(&maps, weight, None, sum.as_mut())?;
            None
        };
        Ok(ColumnGradients { input, weight: sum.map(OuterSum::finish) })
    }

    /// Writes the gradient of x, if there is memory for it, and adds to that of V, if there is one: group by group.
    fn all_gradients<'dx, T: Element>(
        &self,
        maps: &Group<T>,
        weight: Matrix<T>,
        dx: Option<Unfilled<'dx, T>>,
        mut sum: Option<&mut OuterSum<T>>,
    ) -> Result<Filled<'dx>> {
        let Group { tiles, x, dy } = *maps;
        let (x_image, dy_image) = (x.len() / self.size.0, dy.len() / self.size.0);
        let images = self.images_per_group(tiles);
        let mut dx = dx.into_iter().flat_map(|dx| dx.chunks(images * x_image));
        let mut filled = Filled::none();
        // One buffer for all groups: fresh pages cost as much as a pass over them.
        let mut z = Vec::new();
        for (x, dy) in x.chunks(images * x_image).zip(dy.chunks(images * dy_image)) {
            let group = Group { tiles: tiles.of(x.len() / x_image), x, dy };
            filled +=
                self.group_gradients(&group, weight, GroupTargets { dx: dx.next(), z: &mut z }, sum.as_deref_mut())?;
        }
        Ok(filled)
    }

    /// As many images as stay in the cache, but no fewer than give work to every thread. Sums go through the images in
    /// order, so this number does not change them.
    fn images_per_group(&self, tiles: Tiles) -> usize {
        let per_image = (self.channels + self.outputs) * (tiles.cols() / tiles.images());
        let enough = rayon::current_num_threads().div_ceil(tiles.tiles_per_unit()) * tiles.images_per_unit();
        let most = (GROUP_VALUES / per_image).max(enough);
        let even = tiles.images().div_ceil(tiles.images().div_ceil(most));
        even.next_multiple_of(tiles.images_per_unit())
    }

    /// Writes the gradient of x, if there is memory for it, and z as scratch; adds to the gradient of V, if there is one.
    fn group_gradients<'dx, T: Element>(
        &self,
        group: &Group<T>,
        weight: Matrix<T>,
        GroupTargets { dx, z }: GroupTargets<'_, 'dx, T>,
        sum: Option<&mut OuterSum<T>>,
    ) -> Result<Filled<'dx>> {
        let (rows, tiles) = (self.channels + 1, group.tiles);
        let joined = group.joined(self.outputs)?;
        let dys = tiles.units(joined.as_deref().unwrap_or(group.dy), self.outputs);
        let transposed = weight.select_cols(0..self.channels).transposed();
        let mut dx_filled = Filled::none();
        try_refill(z, rows * tiles.cols(), |z| {
            let list = tiles.list();
            let dxs: Vec<_> = match dx {
                Some(dx) => tiles.unfilled(dx, self.channels).into_iter().map(Some).collect(),
                None => list.iter().map(|_| None).collect(),
            };
            let by = parallelism(list.len());
            let tasks = list.into_par_iter().zip(tiles.unfilled_units(z, rows)).zip(dxs);
            let filled = tasks.map_init(Vec::new, |dz, ((tile, z), dxs)| -> Result<_> {
                let (z, ones) = z.split_rows(self.channels);
                let ones = fill_with_ones(ones);
                let images = tile.matrices(group.x, self.channels).zip(z.split_cols(tile.cols_per_image()));
                let Some(dxs) = dxs else {
                    return Ok((ones + images.map(|(x, z)| self.map.apply(x, z)).sum(), Filled::none()));
                };
                let dy = dys[tile.unit].select_cols(tile.start..tile.start + tile.cols);
                refill(dz, self.channels * tile.cols, |dz| {
                    product(UnfilledMatrix::new(dz, self.channels, tile.cols), (transposed, dy), None, by)
                })?;
                let dz = Matrix::new(dz, self.channels, tile.cols);
                let mut filled = (ones, Filled::none());
                for (((x, z), columns), dx) in images.zip(columns_of_images(&tile)).zip(dxs) {
                    let (of_z, of_dx) = self.map.apply_with_gradient(x, dz.select_cols(columns), z, dx);
                    filled = (filled.0 + of_z, filled.1 + of_dx);
                }
                Ok(filled)
            });
            let (z_filled, dx_parts): (Vec<_>, Vec<_>) = filled.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            dx_filled = dx_parts.into_iter().sum();
            Ok(z_filled.into_iter().sum())
        })?;
        if let Some(sum) = sum {
            let pairs: Vec<_> = dys.into_iter().zip(tiles.units(z, rows)).collect();
            sum.add(&pairs);
        }
        Ok(dx_filled)
    }
}

/// What is written for a group of images.
struct GroupTargets<'z, 'dx, T> {
    dx: Option<Unfilled<'dx, T>>,
    z: &'z mut Vec<T>,
}

/// Some images of a batch.
struct Group<'a, T> {
    tiles: Tiles,
    x: &'a [T],
    dy: &'a [T],
}

impl<T: Element> Group<'_, T> {
    /// The gradient of y, joined like the tiles' images, if they are.
    fn joined(&self, outputs: usize) -> Result<Option<Vec<T>>> {
        if self.tiles.images_per_unit() == 1 {
            return Ok(None);
        }
        let joined = results(self.dy.len(), |joined| {
            let units = self.tiles.list().into_par_iter().zip(self.tiles.unfilled_units(joined, outputs));
            let copy = units.map(|(tile, unit)| {
                let images = tile.matrices(self.dy, outputs).zip(unit.split_cols(tile.cols_per_image()));
                images.map(|(dy, to)| to.copy(dy)).sum::<Filled>()
            });
            copy.sum()
        })?;
        Ok(Some(joined))
    }
}

/// The row below z.
fn fill_with_ones<'a, T: Element>(row: UnfilledMatrix<'a, T>) -> Filled<'a> {
    row.into_rows().map(|row| row.fill(T::one()).1).sum()
}

/// The columns of each image in a tile.
fn columns_of_images(tile: &Tile) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let width = tile.cols_per_image();
    (0..tile.cols).step_by(width).map(move |start| start..start + width)
}
