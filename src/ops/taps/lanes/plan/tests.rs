use super::chunks::MAX_CHUNK;
use super::{BlockedLayout, GatherOutline, IndexedTap, RowPairs, TapChunkOutlines, TapRuns};
use crate::ops::taps::{Geometry, Tap};
use std::collections::BTreeSet;

const LANES: usize = 8;

/// Reads are unchecked, so this is what makes them sound: each stays in its packed plane, and reads there the pixel that
/// its tap means, or a halo if that is beside the image.
fn check_read(layout: &BlockedLayout, pixel: (usize, usize), offset: isize, column: i64, what: &str) {
    let at = (layout.index(pixel.0, pixel.1) * LANES) as isize + offset;
    assert!(at >= 0 && at < (layout.len() * LANES) as isize, "{what} reads {at} of {layout:?}");
    assert_eq!(at % LANES as isize, 0, "{what}");
    let from_row = at / LANES as isize - layout.halo as isize;
    let (row, col) = (from_row.div_euclid(layout.pitch() as isize), from_row.rem_euclid(layout.pitch() as isize));
    if (0..layout.cols as i64).contains(&column) {
        assert!(row >= 0 && col as i64 == column, "{what} reads column {col} for {column}");
    } else {
        assert!(row < 0 || col >= layout.cols as isize, "{what} reads a pixel for column {column}");
    }
}

fn check_gather(outline: &GatherOutline, layout: &BlockedLayout) -> bool {
    let tap = |weight: i64| {
        let index = weight as u32 / LANES as u32;
        outline.taps.iter().find(|tap| tap.1 == index).map_or(Tap { dh: i32::MIN, dw: i32::MIN }, |tap| tap.0)
    };
    let mut paired = false;
    for tile in outline.resolve(layout, LANES, true).tiles {
        if let Some(RowPairs { shared: [below, right, left], single: [upper, lower] }) = &tile.pairs {
            paired = true;
            // Row of outputs, column of the run's pixels and whether its second weight is meant, for each read.
            let lists = [
                (below, vec![(0, 0, false), (1, 0, true)]),
                (right, vec![(0, 0, false), (1, 1, true)]),
                (left, vec![(0, 1, false), (1, 0, true)]),
                (upper, vec![(0, 0, false)]),
                (lower, vec![(1, 0, false)]),
            ];
            for p in (0..outline.grid.0 - 1).step_by(2) {
                let mut read = BTreeSet::new();
                for (runs, reads) in &lists {
                    let (first, end) = runs.rows[p];
                    for run in &runs.runs[first as usize..end as usize] {
                        for &(below, aside, second) in reads {
                            let step = if second { i64::from(run.weight_step) } else { 0 };
                            let tap = tap(i64::from(run.weight) + step);
                            assert!(read.insert((below, tap)), "{tap:?} is added twice");
                            for j in 0..tile.width {
                                let column = (tile.first + j) as i64 + i64::from(tap.dw);
                                let offset = run.offset + (aside * LANES) as isize;
                                check_read(layout, (p, tile.first + j), offset, column, "a pair");
                            }
                        }
                    }
                }
                // Each row has as many taps as it has without pairs.
                let counts = [0, 1].map(|below| {
                    let of_row = |(length, runs): (usize, &TapRuns)| {
                        length * (runs.rows[p + below].1 - runs.rows[p + below].0) as usize
                    };
                    (1..).zip(&tile.runs).map(of_row).sum::<usize>()
                });
                assert_eq!([0, 1].map(|row| read.iter().filter(|tap| tap.0 == row).count()), counts);
            }
        }
        for (p, &(first, end)) in tile.whole.rows.iter().enumerate() {
            for run in &tile.whole.runs[first as usize..end as usize] {
                assert_eq!(run.weight_step.unsigned_abs() as usize, LANES);
                for (column, j) in (0..layout.cols as i64).flat_map(|column| (0..tile.width).map(move |j| (column, j)))
                {
                    let steps = (column - j as i64) * i64::from(run.weight_step);
                    let read = tap(i64::from(run.weight) + steps);
                    assert_eq!(i64::from(read.dw), column - (tile.first + j) as i64);
                    check_read(
                        layout,
                        (p * outline.stride.0, tile.first),
                        run.offset + column as isize * LANES as isize,
                        column,
                        "a row",
                    );
                }
            }
        }
        for (length, runs) in (1..).zip(&tile.runs) {
            for (p, &(first, end)) in runs.rows.iter().enumerate() {
                for run in &runs.runs[first as usize..end as usize] {
                    for (i, j) in (0..length).flat_map(|i| (0..tile.width).map(move |j| (i, j))) {
                        let pixel = (p * outline.stride.0, (tile.first + j) * outline.stride.1);
                        let tap = tap(i64::from(run.weight) + i as i64 * i64::from(run.weight_step));
                        let column = pixel.1 as i64 + i64::from(tap.dw);
                        check_read(layout, pixel, run.offset + (i * LANES) as isize, column, "a gather");
                    }
                }
            }
        }
    }
    paired
}

fn check_chunks(taps: &[IndexedTap], geometry: &Geometry) {
    let chunks = TapChunkOutlines::new(taps, geometry);
    let layout = BlockedLayout { rows: geometry.input.0, cols: geometry.input.1, halo: chunks.halo() };
    let chunks = chunks.resolve(&layout, LANES);
    for chunk in &chunks {
        for rect in &chunk.rects {
            assert!(rect.count <= MAX_CHUNK && rect.first + rect.count <= chunk.taps.len());
            for (p, q) in (rect.rows.0..rect.rows.1).flat_map(|p| (rect.cols.0..rect.cols.1).map(move |q| (p, q))) {
                let pixel = (p * geometry.stride.0, q * geometry.stride.1);
                for i in rect.first..rect.first + rect.count {
                    let tap = taps.iter().find(|tap| tap.1 == chunk.taps[i]).map(|tap| tap.0);
                    let column = pixel.1 as i64 + i64::from(tap.map_or(i32::MIN, |tap| tap.dw));
                    check_read(&layout, pixel, chunk.offsets[i], column, "a chunk");
                }
            }
        }
    }
}

#[test]
fn every_read_is_the_pixel_of_its_tap_or_a_margin() {
    let line = |dh: i32, dw: i32| (-15..=15).map(move |t| Tap { dh: dh * t / 2, dw: dw * t / 2 });
    let rectangle = (0..35).map(|i| Tap { dh: i / 5 - 3, dw: i % 5 - 2 });
    let scattered = (0..20).map(|i| Tap { dh: i * 37 % 23 - 11, dw: i * 59 % 41 - 20 });
    let lists: [Vec<Tap>; 9] = [
        line(0, 2).collect(),
        line(-2, 0).collect(),
        line(-1, 2).collect(),
        line(2, 1).collect(),
        line(2, -2).collect(),
        rectangle.clone().collect(),
        rectangle.map(|tap| Tap { dh: 3 * tap.dh, dw: 1000 * tap.dw }).collect(),
        scattered.collect(),
        (0..15 * 5).map(|i| Tap { dh: i / 15 - 2, dw: i % 15 - 7 }).collect(),
    ];
    let mut paired = 0;
    for (taps, stride) in lists.iter().flat_map(|taps| [(1, 1), (2, 1), (1, 2), (3, 3)].map(|stride| (taps, stride))) {
        for input in [(1usize, 1usize), (3, 60), (17, 9), (20, 29), (5, 7)] {
            for beyond in [0, 4] {
                let output = (input.0.div_ceil(stride.0) + beyond, input.1.div_ceil(stride.1) + beyond);
                let geometry = Geometry { input, output, stride };
                let reads = |&(tap, _): &IndexedTap| geometry.valid(tap).count() > 0;
                let mut seen = std::collections::HashSet::new();
                let distinct = taps.iter().copied().filter(|&tap| seen.insert(tap));
                let taps: Vec<IndexedTap> = distinct.zip(0..).filter(reads).collect();
                let forward = GatherOutline::forward(&taps, &geometry);
                let layout = BlockedLayout { halo: forward.halo(), ..BlockedLayout::bare(input) };
                paired += usize::from(check_gather(&forward, &layout));
                check_gather(&forward.for_registers(true), &layout);
                for outline in GatherOutline::backward(&taps, &geometry) {
                    check_gather(&outline, &GatherOutline::source_layout(&[&outline], output, LANES));
                }
                check_chunks(&taps, &geometry);
            }
        }
    }
    assert!(paired > 10, "{paired} gathers in pairs");
}
