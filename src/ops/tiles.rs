//! Groups of columns of a batch of feature maps, each of which one task computes.
//!
//! An image (C, H*W) is a matrix with a column per position. Large images are divided, so that what is computed for a
//! group stays in the cache; small images are joined, so that their products are worth their overhead. The groups follow
//! from the sizes alone, never from the number of threads: sums are the same on any machine with the same kernels.

use super::fill::Unfilled;
use super::matrix::{Matrix, UnfilledMatrix};

/// Most columns of a tile of one image.
const WIDTH: usize = 512;

/// Columns that small images are joined up to.
const JOINED: usize = 192;

/// A batch of `images` images with `positions` positions each, in tiles.
#[derive(Debug, Clone, Copy)]
pub struct Tiles {
    images: usize,
    positions: usize,
    /// Images in one tile; where it is 1, an image has one tile or several.
    joined: usize,
    /// Columns per tile of a single image.
    width: usize,
}

/// Columns of one unit: of one image, or of several whole ones.
#[derive(Debug, Clone, Copy)]
pub struct Tile {
    /// Which unit: an image, or a group of joined ones.
    pub unit: usize,
    /// First column in the unit.
    pub start: usize,
    /// Number of columns, of all images together.
    pub cols: usize,
    first: usize,
    images: usize,
    positions: usize,
}

impl Tiles {
    /// Tiles of single images.
    pub fn apart(images: usize, positions: usize) -> Self {
        let parts = positions.div_ceil(WIDTH);
        // An even number, for two threads and one image.
        let parts = if parts > 1 { parts.next_multiple_of(2) } else { 1 };
        let width = if parts > 1 { positions.div_ceil(parts).next_multiple_of(16) } else { positions };
        Tiles { images, positions, joined: 1, width }
    }

    /// Tiles of which each may hold several small images.
    pub fn joined(images: usize, positions: usize) -> Self {
        let joined = if 2 * positions > JOINED { 1 } else { JOINED.div_ceil(positions) };
        Tiles { joined, ..Self::apart(images, positions) }
    }

    /// The same for another number of images.
    pub fn of(self, images: usize) -> Self {
        Tiles { images, ..self }
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Images per unit; the last unit may have fewer.
    pub fn images_per_unit(&self) -> usize {
        self.joined
    }

    /// Tiles per unit.
    pub fn tiles_per_unit(&self) -> usize {
        if self.joined > 1 { 1 } else { self.positions.div_ceil(self.width) }
    }

    /// All columns of all images.
    pub fn cols(&self) -> usize {
        self.images * self.positions
    }

    /// All tiles.
    pub fn list(&self) -> Vec<Tile> {
        let positions = self.positions;
        if self.joined > 1 {
            let unit = |unit: usize| {
                let first = unit * self.joined;
                let images = self.joined.min(self.images - first);
                Tile { unit, start: 0, cols: images * positions, first, images, positions }
            };
            return (0..self.images.div_ceil(self.joined)).map(unit).collect();
        }
        let of_image = |unit: usize| {
            (0..positions).step_by(self.width).map(move |start| {
                let cols = self.width.min(positions - start);
                Tile { unit, start, cols, first: unit, images: 1, positions }
            })
        };
        (0..self.images).flat_map(of_image).collect()
    }

    /// The place of every tile in maps (N, channels, positions): a matrix for each of its images.
    pub fn unfilled<'a, T: Copy>(&self, maps: Unfilled<'a, T>, channels: usize) -> Vec<Vec<UnfilledMatrix<'a, T>>> {
        let image = channels * self.positions;
        let matrix = |image| UnfilledMatrix::new(image, channels, self.positions);
        if self.joined > 1 {
            let units = maps.chunks(self.joined * image);
            return units.map(|unit| unit.chunks(image).map(matrix).collect()).collect();
        }
        maps.chunks(image).flat_map(|image| matrix(image).split_cols(self.width)).map(|tile| vec![tile]).collect()
    }

    /// The values of each unit as one matrix of `rows` rows, given all of them one after the other.
    pub fn units<'a, T>(&self, values: &'a [T], rows: usize) -> Vec<Matrix<'a, T>> {
        let unit = rows * self.joined * self.positions;
        values.chunks(unit).map(|unit| Matrix::new(unit, rows, unit.len() / rows)).collect()
    }

    /// The place of every tile in its unit's matrix.
    pub fn unfilled_units<'a, T: Copy>(&self, values: Unfilled<'a, T>, rows: usize) -> Vec<UnfilledMatrix<'a, T>> {
        let unit = rows * self.joined * self.positions;
        let split = |unit: Unfilled<'a, T>| {
            let cols = unit.len() / rows;
            UnfilledMatrix::new(unit, rows, cols).split_cols(if self.joined > 1 { cols } else { self.width })
        };
        values.chunks(unit).flat_map(split).collect()
    }
}

impl Tile {
    /// Number of columns of each image.
    pub fn cols_per_image(&self) -> usize {
        self.cols / self.images
    }

    /// The columns of each image in maps (N, channels, positions).
    pub fn matrices<'a, T>(&self, maps: &'a [T], channels: usize) -> impl Iterator<Item = Matrix<'a, T>> + use<'a, T> {
        let (image, positions) = (channels * self.positions, self.positions);
        // Joined images start at 0 and are whole.
        let range = self.start..self.start + self.cols_per_image();
        maps[self.first * image..(self.first + self.images) * image]
            .chunks_exact(image)
            .map(move |image| Matrix::new(image, channels, positions).select_cols(range.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::fill::{Filled, results};

    #[test]
    fn every_column_is_in_one_tile() -> crate::Result<()> {
        for (images, positions) in [(1, 1), (3, 49), (9, 49), (2, 100), (2, 512), (3, 513), (1, 3136)] {
            for tiles in [Tiles::apart(images, positions), Tiles::joined(images, positions)] {
                let (list, count) = (tiles.list(), images * 2 * positions);
                assert_eq!(list.iter().map(|tile| tile.cols).sum::<usize>(), tiles.cols());
                let maps: Vec<usize> = (0..count).collect();
                let copied = results(count, |copy| {
                    let images = |(tile, images): (&Tile, Vec<_>)| tile.matrices(&maps, 2).zip(images);
                    list.iter().zip(tiles.unfilled(copy, 2)).flat_map(images).map(|(from, to)| to.copy(from)).sum()
                })?;
                assert_eq!(copied, maps);
                let units = results(count, |units| {
                    let copy = list.iter().zip(tiles.unfilled_units(units, 2)).map(|(tile, unit)| {
                        let images = unit.split_cols(tile.cols_per_image()).zip(tile.matrices(&maps, 2));
                        images.map(|(to, from)| to.copy(from)).sum::<Filled>()
                    });
                    copy.sum()
                })?;
                let units = tiles.units(&units, 2);
                for tile in &list {
                    let unit = units[tile.unit].select_cols(tile.start..tile.start + tile.cols);
                    let second: Vec<usize> = tile.matrices(&maps, 2).flat_map(|m| m.row(1).to_vec()).collect();
                    assert_eq!(unit.row(1), second);
                }
            }
        }
        Ok(())
    }
}
