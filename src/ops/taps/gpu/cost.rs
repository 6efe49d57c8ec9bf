//! A model of the time that a pass takes, by which tilings are compared.
//!
//! A multiprocessor issues four instructions of warps per cycle and serves one access of a warp to shared memory; whatever
//! takes longer counts. What instructions a chunk or a Toeplitz block takes beside its multiply-adds was read from the
//! compiled kernels.

use super::chunks::{ChunkedTaps, MOST_TAPS, chunks_per_pack};
use super::layout::{GroupLayout, LineBlock};
use super::phases::Pass;
use super::toeplitz::{ToeplitzBlock, block_words};

/// Instructions that a multiprocessor issues per cycle.
const ISSUED_PER_CYCLE: f64 = 4.0;

/// Cycles of a multiprocessor for the chunks of one warp's register tiles.
pub(super) fn chunk_cycles(taps: &ChunkedTaps, results: usize, pass: Pass, conflicts: f64) -> f64 {
    (1..=MOST_TAPS)
        .map(|length| {
            let mut reads = (results + length - 1 + length.div_ceil(4) + 1) as f64;
            // Addresses and loops.
            let mut others = 17.0;
            if pass == Pass::WeightGrad {
                reads += (results as f64 + 2.0) / chunks_per_pack(length) as f64;
                // The sums over a warp, for some register tiles each.
                others += 8.0;
            }
            let issued = (results * length) as f64 + reads + others;
            taps.count(length) as f64 * (issued / ISSUED_PER_CYCLE).max(conflicts * reads)
        })
        .sum()
}

/// Cycles of a multiprocessor for the Toeplitz blocks of one image.
pub(super) fn toeplitz_cycles(blocks: &[ToeplitzBlock], layout: &GroupLayout, results: usize, pass: Pass) -> f64 {
    let (q, weight_reads) = (results as f64, block_words(results) as f64 / 4.0);
    // Beside multiply-adds: reads, and instructions for places and loops.
    let (reads, others) = match pass {
        Pass::WeightGrad => (2.0 * q + 3.0, 50.0),
        Pass::Forward | Pass::InputGrad => (q + weight_reads + 1.0, 20.0),
    };
    let each = ((q * q + reads + others) / ISSUED_PER_CYCLE).max(reads);
    let lines = layout.active_lines as i32;
    let mut computed = 0;
    for block in blocks {
        let inside = |&LineBlock { first, last }: &LineBlock| {
            last as i32 + block.across >= 0 && first as i32 + block.across < lines
        };
        let strips = layout.strips - block.strips.unsigned_abs() as usize;
        computed += layout.line_blocks().filter(inside).count() * strips;
    }
    let tested = blocks.len() * layout.line_blocks().count() * layout.strips;
    (computed as f64 * each + tested as f64 * 2.0) / layout.order.images() as f64
}
