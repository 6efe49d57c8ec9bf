//! The large kernel of a block in its three forms.

use super::config::{Merged, ShiftWiseConfig};
use crate::Result;
use crate::nn::{BatchNorm, Pass, Scope, TapListConv, Trace};
use crate::ops::shiftwise::{ChannelSplit, Cross, ShiftWise};
use candle_core::{Device, Tensor};

/// Names of the norms of h, v and i.
pub(super) const NORMS: [&str; 3] = ["bn_lora1", "bn_lora2", "bn_small"];

/// ```text
/// y = concat(bn_lora1(h) + bn_lora2(v) + bn_small(i) + x[rep], x[ghost])
/// ```
///
/// The order of the channels changes: those that pass through come last.
pub(super) struct LargeKernel {
    path: String,
    rep: Tensor,
    ghost: Option<Tensor>,
    form: Form,
}

enum Form {
    Branches(Box<Branches>),
    Cross(TapListConv),
}

struct Branches {
    op: ShiftWise,
    /// The weights of all paths, and the names of their modules.
    weights: Vec<Tensor>,
    names: Vec<String>,
    norms: Vec<BatchNorm>,
}

impl Branches {
    fn forward(&self, path: &str, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (first, others) = (&self.weights[..1], &self.weights[1..]);
        // Every path is the same map of its weights, and linear in them.
        let weight = others.iter().try_fold(first[0].clone(), |sum, weight| sum + weight)?;
        let branches = self.op.forward(x, &weight)?;
        let mut sum = x.clone();
        for ((branch, norm), name) in branches.iter().zip(&self.norms).zip(NORMS) {
            let branch = norm.forward(branch, pass.mode)?;
            pass.report(&format!("{path}.{name}"), &branch);
            sum = (sum + branch)?;
        }
        Ok(sum)
    }
}

impl LargeKernel {
    pub(super) fn new(scope: &Scope, config: &ShiftWiseConfig, stage: usize) -> Result<Self> {
        let (channels, reps) = (config.channels(stage), config.rep_channels(stage));
        let window = config.window(stage)?;
        let split = ChannelSplit::new(channels, channels - reps)?;
        let index = |list: Vec<u32>| {
            let count = list.len();
            Tensor::from_vec(list, count, &Device::Cpu)
        };
        let n = window.small();
        let small = (reps * window.groups(), 1, n, n);
        let branches = |names: Vec<String>| {
            let weights = names.iter().map(|name| scope.child(name).weight(small)).collect::<Result<_>>()?;
            let norms = NORMS.iter().map(|name| BatchNorm::new(&scope.child(name), reps)).collect::<Result<_>>()?;
            Ok::<_, crate::Error>(Form::Branches(Box::new(Branches {
                op: ShiftWise::new(reps, window, config.reps)?,
                names,
                weights,
                norms,
            })))
        };
        let form = match config.merged {
            Merged::None => branches((0..config.paths).map(|i| format!("LoRAs.{i}")).collect())?,
            Merged::Paths => branches(vec!["LoRA".to_string()])?,
            Merged::Cross => {
                let cross = Cross::new(&window)?;
                Form::Cross(TapListConv::pruned(&scope.child("cross"), reps, cross.taps(), true)?)
            }
        };
        Ok(LargeKernel {
            path: scope.path().to_string(),
            rep: index(split.rep)?,
            ghost: (reps < channels).then(|| index(split.ghost)).transpose()?,
            form,
        })
    }

    pub(super) fn forward(&self, x: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let of = |index: &Tensor| Ok::<_, crate::Error>(x.index_select(&index.to_device(x.device())?, 1)?);
        // Without ghosts the order stays.
        let rep = if self.ghost.is_some() { of(&self.rep)? } else { x.clone() };
        let large = match &self.form {
            Form::Branches(branches) => branches.forward(&self.path, &rep, pass)?,
            Form::Cross(conv) => conv.forward(&rep)?,
        };
        let y = match &self.ghost {
            Some(ghost) => Tensor::cat(&[large, of(ghost)?], 1)?,
            None => large,
        };
        pass.report(&self.path, &y);
        Ok(y)
    }

    pub(super) fn trace(&self, trace: &mut Trace) -> Result<()> {
        let whole = trace.shape;
        match &self.form {
            Form::Branches(branches) => {
                let (window, channels) = (branches.op.window(), branches.op.tables().channels());
                let macs = window.macs(channels, (whole.height, whole.width));
                let kind = format!("shift-wise {0}x{1}", window.length(), window.small());
                let output = whole.with_channels(channels);
                for name in &branches.names {
                    trace.push(&format!("{}.{name}", self.path), kind.clone(), output, macs);
                }
                branches.norms.iter().for_each(|norm| norm.trace(trace));
            }
            Form::Cross(conv) => conv.trace(trace)?,
        }
        trace.push(&self.path, "channels that pass through", whole, 0);
        Ok(())
    }
}
