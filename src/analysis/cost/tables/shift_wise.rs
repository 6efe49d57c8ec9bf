//! What large kernels, SLaK's stripes and shift-wise convolutions cost.

use super::{Column, CostRow, CostTable, Figure, Unit};
use crate::Result;

/// A shift-wise convolution in place of the two stripes M x N and N x M and the square N x N of a SLaK block (Li et al.,
/// *Shift-ConvNets*, arXiv 2401.12736v1).
///
/// The stripes are cut into `k = ceil(M / N)` squares of N x N. One depthwise convolution with k outputs per channel
/// makes them all, for both directions, and its outputs are shifted and added up. It is padded by N - 1, so that it has
/// `N div 2` more rows and columns on every side than the image. A share of the channels, the *ghosts*, is passed
/// through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftWise {
    /// Channels of the block.
    pub channels: usize,
    /// Length M of the stripes.
    pub long: usize,
    /// Width N of the stripes and side of the squares.
    pub small: usize,
    /// Share of the channels that are passed through; their number is rounded down.
    pub ghost: f64,
    /// Parallel convolutions: several in training, one after they were added up.
    pub paths: usize,
    /// Height and width of the maps.
    pub size: (usize, usize),
}

impl ShiftWise {
    /// Squares per stripe, k.
    pub fn groups(&self) -> usize {
        self.long.div_ceil(self.small.max(1))
    }

    /// Channels that are convolved, R.
    pub fn convolved(&self) -> usize {
        self.channels - ((self.channels as f64 * self.ghost) as usize).min(self.channels)
    }

    /// Weights of the convolutions, `P R k N^2`. Norms are not among them.
    ///
    /// ```
    /// use kernelscope::analysis::cost::tables::ShiftWise;
    /// let last = ShiftWise { channels: 998, long: 13, small: 5, ghost: 0.6, paths: 1, size: (7, 7) };
    /// assert_eq!((last.groups(), last.convolved(), last.weights()), (3, 400, 30_000));
    /// ```
    pub fn weights(&self) -> u64 {
        (self.paths * self.convolved() * self.groups() * self.small * self.small) as u64
    }

    /// Multiply-adds, `P R k N^2 (H + 2 (N div 2)) (W + 2 (N div 2))`. Shifting and adding up is free of
    /// multiplications.
    pub fn macs(&self) -> u64 {
        let side = |length: usize| (length + 2 * (self.small / 2)) as u64;
        self.weights() * side(self.size.0) * side(self.size.1)
    }

    /// Weights of one depthwise stripe of all channels, `C M N`.
    pub fn stripe_weights(&self) -> u64 {
        (self.channels * self.long * self.small) as u64
    }

    /// Weights of SLaK's three branches, `C (2 M N + N^2)`.
    pub fn slak_weights(&self) -> u64 {
        2 * self.stripe_weights() + (self.channels * self.small * self.small) as u64
    }

    /// Multiply-adds of a depthwise convolution at stride 1 with this many weights.
    fn at_every_position(&self, weights: u64) -> u64 {
        weights * (self.size.0 * self.size.1) as u64
    }
}

/// The blocks of SW-T by stage, merged: the kernels of the experiments, 1.3 times ConvNeXt-T's channels, 60 % ghosts.
fn stages() -> [ShiftWise; 4] {
    [(124, 51, 56), (249, 49, 28), (499, 45, 14), (998, 13, 7)].map(|(channels, long, side)| ShiftWise {
        channels,
        long,
        small: 5,
        ghost: 0.6,
        paths: 1,
        size: (side, side),
    })
}

fn case(stage: usize, block: &ShiftWise) -> String {
    format!("stage {}, {}x{} at {}x{}", stage + 1, block.long, block.small, block.size.0, block.size.1)
}

const fn column(name: &'static str, unit: Unit, printed: bool) -> Column {
    Column { name, unit, printed }
}

/// What equations 4 to 9 are about.
pub(super) fn equations() -> Result<CostTable> {
    let row = |(stage, block): (usize, &ShiftWise)| {
        let (stripe, slak) = (block.stripe_weights(), block.slak_weights());
        let counts = [
            block.channels as u64,
            block.convolved() as u64,
            block.groups() as u64,
            stripe,
            block.at_every_position(stripe),
            slak,
            block.at_every_position(slak),
            block.weights(),
            block.macs(),
        ];
        CostRow::new(case(stage, block), counts.map(Figure::of).to_vec())
    };
    Ok(CostTable {
        name: "shift-wise-equations",
        title: "Shift-wise convolutions: what equations 4 to 9 count",
        about: &[
            "Equations 4 to 9 of the paper (Li et al., Shift-ConvNets, arXiv 2401.12736v1) give the parameters and \
             multiply-adds of large kernels and of the small ones that replace them. We do not know their text; the \
             six formulas below are our own derivation from the operator in the released code. Table 4, which follows \
             from E5 and E6, agrees with what the paper prints.",
            "    one stripe          E1  C M N                   E2  E1 H W\n    \
             SLaK's branches     E3  C (2 M N + N^2)         E4  E3 H W\n    \
             shift-wise          E5  P R k N^2               E6  E5 (H + 2e) (W + 2e)\n    \
             k = ceil(M / N)     R = C - int(ghost C)        e = N div 2",
            "C channels, stripes of M by N, maps of H by W, R channels that are not passed through, k squares per stripe, P \
             paths (1 after they are added up). Rows are the blocks of SW-T. A square of N x N serves both stripes and \
             the small kernel, so E5 is about R / C times half of E3. E6 has more positions than E4, which counts on the \
             7x7 maps of the last stage.",
        ],
        columns: vec![
            column("C", Unit::One, false),
            column("R", Unit::One, false),
            column("k", Unit::One, false),
            column("E1", Unit::Thousand, false),
            column("E2", Unit::Million, false),
            column("E3", Unit::Thousand, false),
            column("E4", Unit::Million, false),
            column("E5", Unit::Thousand, false),
            column("E6", Unit::Million, false),
        ],
        rows: stages().iter().enumerate().map(row).collect(),
    })
}

/// Table 4, and the groups of Table 2.
pub(super) fn table_4() -> Result<CostTable> {
    let [_, _, third, last] = stages();
    let of_text = ShiftWise { long: 47, ..third };
    let groups = |block: &ShiftWise| Figure::beside(block.groups() as u64, "9");
    let open = |block: &ShiftWise, groups| {
        let channels = Figure::of(block.channels as u64);
        vec![channels, groups, Figure::of(block.weights()), Figure::of(block.macs())]
    };
    let shift_wise = vec![
        Figure::beside(last.channels as u64, "998"),
        Figure::beside(last.groups() as u64, "3"),
        Figure::beside(last.weights(), "30"),
        Figure::beside(last.macs(), "3.63"),
    ];
    let slak = last.slak_weights();
    let slak = vec![
        Figure::of(last.channels as u64),
        Figure::NONE,
        Figure::of(slak),
        Figure::of(last.at_every_position(slak)),
    ];
    let named = |block: &ShiftWise, stage| format!("shift-wise, {}", case(stage, block));
    Ok(CostTable {
        name: "shift-wise-4",
        title: "Shift-wise convolutions: Table 4",
        about: &[
            "One block of SW-T (Li et al., Shift-ConvNets, arXiv 2401.12736v1, Table 4; the number of groups in stage 3 is \
             from Table 2). Only the weights of convolutions count, as in the paper; batch norms and additions do \
             not. 400 of 998 channels are convolved: 400 * 3 * 25 = 30,000 weights at 11 * 11 positions, since the \
             convolution is padded by 4 and its map is larger than the image's 7x7.",
        ],
        columns: vec![
            column("channels", Unit::One, true),
            column("groups", Unit::One, true),
            column("parameters", Unit::Thousand, true),
            column("MACs", Unit::Million, true),
        ],
        rows: vec![
            CostRow::new(named(&last, 3), shift_wise),
            CostRow::new(format!("SLaK, {}", case(3, &last)), slak),
            CostRow::new(named(&third, 2), open(&third, groups(&third))),
            CostRow {
                difference: "section 4.1 names kernels of 47x5, which make 10 groups; the 9 groups of Table 2, and the \
                             parameters and multiply-adds of the whole network, are those of 45x5",
                ..CostRow::new(named(&of_text, 2), open(&of_text, groups(&of_text)))
            },
        ],
    })
}
