//! What every cell can use without naming its place: `use kernelscope_prelude::prelude::*;`.

pub use crate::grid::{Background, GridBuilder, grid};
pub use crate::interrupt::interrupted;
pub use crate::pictures::{Pictures, answers, pictures};
pub use crate::run::{Run, open_run};
pub use crate::show::{Live, Show, beside, clear, html, markdown, show};
pub use crate::training::{Training, train, training};
pub use crate::viewer::open_viewer;

// The crates, so that cells can write `use kernelscope::ops::...`.
pub use crate::{candle_core, candle_nn, kernelscope, kernelscope_lab, plotters, serde, toml};

pub use candle_core::{D, DType, Device, IndexOp, Module, Tensor, Var};
// Traits behind `dyn`: variables that hold one are not kept otherwise.
pub use candle_core::{CustomOp1, CustomOp2, CustomOp3, InplaceOp1};
pub use candle_nn::{Optimizer, VarBuilder, VarMap, var_builder::SimpleBackend};

pub use kernelscope::analysis::confusion::Confusion;
pub use kernelscope::analysis::cost::{CostReport, costs};
pub use kernelscope::analysis::erf::{Definition, Erf, Probe, THRESHOLDS, area_ratios};
pub use kernelscope::analysis::kernels::kernel_layers;
pub use kernelscope::analysis::orientation::orientations;
pub use kernelscope::analysis::report::{
    AreaRatio, ErfMap, HistoryPoint, KernelLayer, KernelShape, LayerOrientation, RunHistory, ShapeBiasReport,
    SparsityReport,
};
pub use kernelscope::nn::{BuildOptions, Builder, Mode, Pass, Scope};
pub use kernelscope::zoo::{Merge, Model, ModelConfig, ModelSpec, Network};
pub use kernelscope::{Error, Result, weights};
pub use kernelscope_lab::data::{Cue, Dataset, ShapesTextures, ShapesTexturesConfig};
pub use kernelscope_lab::plot::{self, ErfScale, Figure, HeatMap, LossCurves};
pub use kernelscope_lab::report::Inspection;
pub use kernelscope_lab::run::{RunConfig, RunFolder};
pub use kernelscope_lab::train::{Observer, Trainer};
