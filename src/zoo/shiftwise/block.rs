//! The two blocks.

use super::config::{Body, ShiftWiseConfig};
use super::large_kernel::LargeKernel;
use crate::Result;
use crate::nn::{
    BatchNorm, DropPath, FeatureShape, LayerNorm, LayerScale, Mode, Pass, Pointwise, ResponseNorm, Scope, Trace,
};
use crate::ops::{Layout, gelu::gelu};
use candle_core::Tensor;

/// Squeeze-and-excite (Hu et al., CVPR 2018): `x * sigmoid(up(relu(down(mean of x))))`.
struct SqueezeExcite {
    down: Pointwise,
    up: Pointwise,
}

impl SqueezeExcite {
    fn new(scope: &Scope, channels: usize) -> Result<Self> {
        let inner = (channels / 4).max(1);
        Ok(SqueezeExcite {
            down: Pointwise::conv(&scope.child("down"), channels, inner, true)?,
            up: Pointwise::conv(&scope.child("up"), inner, channels, true)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mean = x.mean_keepdim(3)?.mean_keepdim(2)?;
        let gate = candle_nn::ops::sigmoid(&self.up.forward(&self.down.forward(&mean)?.relu()?)?)?;
        Ok(x.broadcast_mul(&gate)?)
    }

    fn trace(&self, trace: &mut Trace) {
        let before = trace.shape;
        trace.shape = FeatureShape { height: 1, width: 1, ..before };
        self.down.trace(trace);
        self.up.trace(trace);
        trace.shape = before;
    }
}

/// What follows the large kernel.
enum Tail {
    /// Layer norm, expansion, GELU, projection.
    V1 { norm: LayerNorm, expand: Pointwise, project: Pointwise },
    /// Batch norm, squeeze-and-excite, expansion, GELU, response norm, projection, batch norm.
    V2(Box<TailV2>),
}

struct TailV2 {
    norm: BatchNorm,
    squeeze: SqueezeExcite,
    expand: Pointwise,
    response: ResponseNorm,
    project: Pointwise,
    last: BatchNorm,
}

impl TailV2 {
    fn new(scope: &Scope, dim: usize) -> Result<Self> {
        let projection = scope.child("pwconv2");
        Ok(TailV2 {
            norm: BatchNorm::new(&scope.child("norm"), dim)?,
            squeeze: SqueezeExcite::new(&scope.child("se"), dim)?,
            expand: Pointwise::new(&scope.child("pwconv1").child(1), dim, 4 * dim, true)?,
            response: ResponseNorm::new(&scope.child("act").child(1), 4 * dim)?,
            project: Pointwise::new(&projection.child(0), 4 * dim, dim, false)?,
            last: BatchNorm::new(&projection.child(2), dim)?,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let f = self.squeeze.forward(&self.norm.forward(x, mode)?)?;
        let hidden = self.response.forward(&gelu(&self.expand.forward(&f)?)?)?;
        self.project.forward_between(None, &hidden, Some(&self.last), mode)
    }

    fn trace(&self, trace: &mut Trace, path: &str) {
        self.norm.trace(trace);
        self.squeeze.trace(trace);
        self.expand.trace(trace);
        trace.push_free(&format!("{path}.act.0"), "gelu");
        self.response.trace(trace);
        self.project.trace(trace);
        self.last.trace(trace);
    }
}

/// A residual block: `x + drop_path(gamma * tail(large(x)))`.
pub(super) struct Block {
    path: String,
    scale: LayerScale,
    large: LargeKernel,
    tail: Tail,
}

impl Block {
    pub(super) fn new(scope: &Scope, config: &ShiftWiseConfig, stage: usize, drop_path: f64) -> Result<Self> {
        let dim = config.channels(stage);
        let scale = LayerScale::new(scope, dim, config.layer_scale, DropPath::new(scope.path(), drop_path)?)?;
        let large = LargeKernel::new(&scope.child("large_kernel"), config, stage)?;
        let tail = match config.body {
            Body::V1 => Tail::V1 {
                norm: LayerNorm::new(&scope.child("norm"), dim, Layout::ChannelsFirst)?,
                expand: Pointwise::new(&scope.child("pwconv1"), dim, 4 * dim, true)?,
                project: Pointwise::new(&scope.child("pwconv2"), 4 * dim, dim, true)?,
            },
            Body::V2 => Tail::V2(Box::new(TailV2::new(scope, dim)?)),
        };
        Ok(Block { path: scope.path().to_string(), scale, large, tail })
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let f = self.large.forward(x, pass)?;
        let y = match &self.tail {
            Tail::V1 { norm, expand, project } => {
                let f = project.forward_activated(&expand.forward_normed(norm, &f)?, &self.scale)?;
                self.scale.add_scaled(x, &f, pass.mode)?
            }
            Tail::V2(tail) => self.scale.forward(x, &tail.forward(&f, pass.mode)?, pass.mode)?,
        };
        pass.report(&self.path, &y);
        Ok(y)
    }

    pub(super) fn trace(&self, trace: &mut Trace) -> Result<()> {
        self.large.trace(trace)?;
        match &self.tail {
            Tail::V1 { norm, expand, project } => {
                norm.trace(trace);
                expand.trace(trace);
                trace.push_free(&format!("{}.act", self.path), "gelu");
                project.trace(trace);
            }
            Tail::V2(tail) => tail.trace(trace, &self.path),
        }
        trace.push_free(&self.path, "residual");
        Ok(())
    }
}
