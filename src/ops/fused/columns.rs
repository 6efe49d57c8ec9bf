//! `y = V [phi(x); 1]` and its gradients, tile by tile.

use crate::ops::matrix::{Matrix, OuterSum, Room, parallelism, product};
use crate::ops::storage::{Element, refill, results};
use crate::ops::tiles::{Tile, Tiles};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Values of one group of images in the backward pass: they should still be in the cache when the gradient of the
/// weights is computed.
const GROUP_VALUES: usize = 1 << 22;

/// A differentiable function of columns.
pub trait ColumnMap: Send + Sync + 'static {
    /// Writes `z = phi(x)` to the first rows of `z`.
    fn apply<T: Element>(&self, x: Matrix<T>, z: Room<T>);

    /// Writes z, and the gradient `dx` of x given that of z.
    fn apply_with_gradient<T: Element>(&self, x: Matrix<T>, dz: Matrix<T>, z: Room<T>, dx: Room<T>);
}

/// The gradients that were wanted.
pub struct Gradients<T> {
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
    pub fn forward<T: Element>(&self, x: &[T], weight: &[T]) -> Vec<T> {
        let (rows, tiles) = (self.channels + 1, self.tiles());
        let weight = Matrix::new(weight, self.outputs, rows);
        results(self.outputs * tiles.cols(), |y| {
            let rooms = tiles.rooms(y, self.outputs);
            let by = parallelism(rooms.len());
            let tasks = tiles.list().into_par_iter().zip(rooms);
            tasks.for_each_init(Default::default, |(z, joined): &mut (Vec<T>, Vec<T>), (tile, mut rooms)| {
                refill(z, rows * tile.cols, |z| {
                    let mut z = Room::new(z, rows, tile.cols);
                    for (x, columns) in tile.matrices(x, self.channels).zip(images(&tile)) {
                        self.map.apply(x, z.select_cols(columns));
                    }
                    z.row(self.channels).fill(MaybeUninit::new(T::one()));
                });
                let factors = (weight, Matrix::new(z, rows, tile.cols));
                if let [room] = &mut rooms[..] {
                    return product(room.borrow(), factors, None, by);
                }
                let len = self.outputs * tile.cols;
                refill(joined, len, |y| product(Room::new(y, self.outputs, tile.cols), factors, None, by));
                let joined = Matrix::new(joined, self.outputs, tile.cols);
                for (room, columns) in rooms.iter_mut().zip(images(&tile)) {
                    room.copy(joined.select_cols(columns));
                }
            });
        })
    }

    /// The gradients of x and of V that are wanted.
    pub fn gradients<T: Element>(&self, x: &[T], weight: &[T], dy: &[T], wanted: [bool; 2]) -> Gradients<T> {
        let mut sum = wanted[1].then(|| OuterSum::new(self.outputs, self.channels + 1));
        let weight = Matrix::new(weight, self.outputs, self.channels + 1);
        // One buffer for all groups: fresh pages cost as much as a pass over them.
        let mut z = Vec::new();
        let mut groups = |dx: &mut [MaybeUninit<T>]| {
            let (tiles, per_image) = (self.tiles(), x.len() / self.size.0);
            let images = self.images_per_group(tiles);
            let mut dx = dx.chunks_mut(images * per_image);
            let dy = dy.chunks(images * (dy.len() / self.size.0));
            for (x, dy) in x.chunks(images * per_image).zip(dy) {
                let group = Group { tiles: tiles.of(x.len() / per_image), x, dy };
                self.group_gradients(&group, weight, (dx.next(), &mut z), sum.as_mut());
            }
        };
        let input = if wanted[0] {
            Some(results(x.len(), &mut groups))
        } else {
            groups(&mut []);
            None
        };
        Gradients { input, weight: sum.map(OuterSum::finish) }
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

    /// Writes the gradient of x, if there is room for it, and z as scratch; adds to the gradient of V, if there is one.
    fn group_gradients<T: Element>(
        &self,
        group: &Group<T>,
        weight: Matrix<T>,
        (dx, z): (Option<&mut [MaybeUninit<T>]>, &mut Vec<T>),
        sum: Option<&mut OuterSum<T>>,
    ) {
        let (rows, tiles) = (self.channels + 1, group.tiles);
        let joined = group.joined(self.outputs);
        let dys = tiles.units(joined.as_deref().unwrap_or(group.dy), self.outputs);
        let transposed = weight.select_cols(0..self.channels).transposed();
        refill(z, rows * tiles.cols(), |z| {
            let list = tiles.list();
            let dxs: Vec<_> = match dx {
                Some(dx) => tiles.rooms(dx, self.channels).into_iter().map(Some).collect(),
                None => list.iter().map(|_| None).collect(),
            };
            let by = parallelism(list.len());
            let tasks = list.into_par_iter().zip(tiles.unit_rooms(z, rows)).zip(dxs);
            tasks.for_each_init(Vec::new, |dz, ((tile, mut z), dxs)| {
                z.row(self.channels).fill(MaybeUninit::new(T::one()));
                let inputs = tile.matrices(group.x, self.channels).zip(images(&tile));
                let Some(dxs) = dxs else {
                    return inputs.for_each(|(x, columns)| self.map.apply(x, z.select_cols(columns)));
                };
                let dy = dys[tile.unit].select_cols(tile.start..tile.start + tile.cols);
                refill(dz, self.channels * tile.cols, |dz| {
                    product(Room::new(dz, self.channels, tile.cols), (transposed, dy), None, by);
                });
                let dz = Matrix::new(dz, self.channels, tile.cols);
                for ((x, columns), dx) in inputs.zip(dxs) {
                    let dz = dz.select_cols(columns.clone());
                    self.map.apply_with_gradient(x, dz, z.select_cols(columns), dx);
                }
            });
        });
        if let Some(sum) = sum {
            let pairs: Vec<_> = dys.into_iter().zip(tiles.units(z, rows)).collect();
            sum.add(&pairs);
        }
    }
}

/// Some images of a batch.
struct Group<'a, T> {
    tiles: Tiles,
    x: &'a [T],
    dy: &'a [T],
}

impl<T: Element> Group<'_, T> {
    /// The gradient of y, joined like the tiles' images, if they are.
    fn joined(&self, outputs: usize) -> Option<Vec<T>> {
        (self.tiles.images_per_unit() > 1).then(|| {
            results(self.dy.len(), |joined| {
                let rooms = self.tiles.unit_rooms(joined, outputs);
                self.tiles.list().into_par_iter().zip(rooms).for_each(|(tile, mut room)| {
                    for (dy, columns) in tile.matrices(self.dy, outputs).zip(images(&tile)) {
                        room.select_cols(columns).copy(dy);
                    }
                });
            })
        })
    }
}

/// The columns of each image in a tile.
fn images(tile: &Tile) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let width = tile.cols_per_image();
    (0..tile.cols).step_by(width).map(move |start| start..start + width)
}
