//! What an oriented kernel costs beside a square one.

use super::{Column, CostRow, CostTable, Figure, Unit};
use crate::Result;
use crate::ops::depthwise2d::{self, Depthwise2d};
use crate::ops::oriented1d::{self, Oriented1d};
use crate::ops::taps::{Geometry, TapTable};

/// Side of the maps.
const SIDE: usize = 56;

/// The counts of the mean channel of a table, rounded.
fn row(case: String, table: &TapTable, geometry: &Geometry) -> CostRow {
    let channels = table.channels() as u64;
    let mean = |sum: u64| (sum + channels / 2) / channels;
    let weights = table.weights_per_channel() as u64;
    let pixels: u64 = (0..table.channels()).map(|c| table.group_of(c).taps().len() as u64).sum();
    let counts = [weights, weights * (SIDE * SIDE) as u64, mean(pixels), mean(table.useful_macs(geometry))];
    CostRow::new(case, counts.map(Figure::of).to_vec())
}

/// The counts behind Table 1.
pub(super) fn table_1() -> Result<CostTable> {
    let square = Depthwise2d::new(1, depthwise2d::Options::same(7, 7))?;
    let mut rows = vec![row("7x7".into(), square.table(), &square.geometry(SIDE, SIDE)?)];
    let mut oriented = |case: String, degrees: &[f64]| {
        let theta: Vec<f32> = degrees.iter().map(|d| d.to_radians() as f32).collect();
        let op = Oriented1d::new(&theta, 31, oriented1d::Options::default())?;
        rows.push(row(case, op.table(), &op.geometry(SIDE, SIDE)?));
        Ok::<_, crate::Error>(())
    };
    let eight: Vec<f64> = (0..8).map(|i| 22.5 * f64::from(i)).collect();
    for &degrees in eight.iter().take(5) {
        oriented(format!("oriented 31 at {degrees}°"), &[degrees])?;
    }
    oriented("oriented 31, mean of 8 directions".into(), &eight)?;
    oriented("oriented 31, mean of all whole degrees".into(), &(0..180).map(f64::from).collect::<Vec<_>>())?;
    let names = ["weights", "MACs", "pixels", "MACs inside"];
    Ok(CostTable {
        name: "oriented-1d-1",
        title: "Oriented kernels: the counts behind Table 1",
        about: &[
            "Table 1 of Kirchmeyer and Deng (Convolutional Networks with Oriented 1D Kernels, ICCV 2023) compares depthwise \
             oriented kernels of 31 taps with 7x7 on 56x56 maps, by time and memory. Its numbers are not known to us, \
             and times are no counts (the benchmark of operators measures this project's), so these are the counts that \
             they rest on, per channel and image.",
            "MACs count every tap at every output, as the papers do: 31 / 49 = 0.63 of those of 7x7 at any angle. Taps \
             of an oblique kernel coincide near its center, because their positions are rounded toward zero. `pixels` \
             counts those that remain, and `MACs inside` counts each of them only where it reads inside the image: the \
             work that cannot be avoided. Means are rounded.",
        ],
        columns: names.map(|name| Column { name, unit: Unit::One, printed: false }).to_vec(),
        rows,
    })
}
