//! RepLKNets with kernels of different sizes.

use super::{Column, CostRow, CostTable, Figure, Unit};
use crate::Result;
use crate::nn::{BuildOptions, Kind};
use crate::zoo::{ModelSpec, Network};

/// Networks, and the parameters in millions and multiply-adds in billions that the paper prints for ImageNet.
const ROWS: [(&str, &str, [&str; 2]); 5] = [
    ("replknet-3", "3-3-3-3", ["71.8", "12.9"]),
    ("replknet-7", "7-7-7-7", ["72.2", "13.1"]),
    ("replknet-13", "13-13-13-13", ["73.7", "13.4"]),
    ("replknet-25", "25-25-25-13", ["78.2", "14.8"]),
    ("replknet-31b", "31-29-27-13", ["79.3", "15.3"]),
];

/// Parameters, weights of convolutions and linear maps among them, and multiply-adds at 224x224 of a form.
fn counts(name: &str, form: &[&str]) -> Result<[u64; 3]> {
    let spec = ModelSpec::named(name)?.with_overrides(form)?;
    let network = Network::build(spec, BuildOptions::shapes_only())?;
    let weights = network.params().iter().filter(|(_, p)| p.kind == Kind::Weight).map(|(_, p)| p.var.elem_count());
    Ok([network.params().count() as u64, weights.sum::<usize>() as u64, network.trace(224, 224)?.macs()])
}

/// Table 5, the columns on ImageNet.
pub(super) fn table_5() -> Result<CostTable> {
    let mut rows = Vec::with_capacity(ROWS.len());
    for (name, kernels, [params, macs]) in ROWS {
        let [in_training, _, training_macs] = counts(name, &[])?;
        let [merged, weights, merged_macs] = counts(name, &["merged=true"])?;
        let [folded, _, _] = counts(name, &["merged=true", "folded=true"])?;
        let figures = vec![
            Figure::of(in_training),
            Figure::of(merged),
            Figure::beside(folded, params),
            Figure::of(weights),
            Figure::of(training_macs),
            Figure::beside(merged_macs, macs),
        ];
        // One row of the paper counts otherwise than the rest.
        let difference = if name == "replknet-31b" {
            "79.3M counts only the weights, without biases and norms; the other rows agree with the folded form and \
             not with the weights alone"
        } else {
            ""
        };
        rows.push(CostRow { difference, ..CostRow::new(kernels, figures) });
    }
    let column = |name, unit, printed| Column { name, unit, printed };
    Ok(CostTable {
        name: "replknet-5",
        title: "RepLKNet: Table 5, kernel sizes",
        about: &[
            "Kernel sizes of the four stages of RepLKNet-B (Ding et al., Scaling Up Your Kernels to 31x31, CVPR 2022, Table \
             5), at 224x224 on ImageNet. `training` has a 5x5 kernel beside every larger one, `merged` has it \
             merged into the larger one with its norm, `folded` also has all other norms that follow a convolution \
             folded, and `weights` counts only the merged convolutions and the classifier, without biases and norms.",
            "Numbers count as equal if ours becomes theirs by rounding or by truncation. Both are needed: 13.063 is \
             printed as 13.1, and 15.354 as 15.3. That RepLKNet-3 has no 5x5 kernels is our interpretation: its code \
             allows none that are larger than the others. The costs on ADE20K are those of a segmentation network \
             around the backbone, which this project does not have; we do not know them.",
        ],
        columns: vec![
            column("training params", Unit::Million, false),
            column("merged params", Unit::Million, false),
            column("folded params", Unit::Million, true),
            column("weights", Unit::Million, false),
            column("training MACs", Unit::Billion, false),
            column("merged MACs", Unit::Billion, true),
        ],
        rows,
    })
}
