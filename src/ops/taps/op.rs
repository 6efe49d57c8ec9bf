//! The tap engine as a candle operator.

use super::cpu::Gradients;
use super::lanes::Stored;
use super::{Geometry, TapPlan, TapTable};
use crate::ops::gpu::{Gpu, Values};
use crate::ops::operator::{self, Op3};
use crate::ops::storage::{self, Element};
use crate::{Error, Result, profile};
use candle_core::Storage;
use candle_core::{DType, Shape, Tensor, WithDType};
use half::{bf16, f16};
use std::sync::Arc;

/// A depthwise convolution given by a tap table and its sizes, with all gradients.
#[derive(Debug, Clone)]
pub struct TapConv {
    plan: Arc<TapPlan>,
    residual: bool,
}

impl TapConv {
    /// A convolution of the given geometry; `residual` adds the input to the output.
    ///
    /// # Errors
    /// If a size or stride is zero, sizes, strides or taps are beyond all reason (2^30 pixels along an axis), or
    /// `residual` is asked for with a stride.
    pub fn new(table: Arc<TapTable>, geometry: Geometry, residual: bool) -> Result<Self> {
        Self::with_plan(Arc::new(TapPlan::new(table, geometry)?), residual)
    }

    /// The same with a plan that was made before.
    ///
    /// # Errors
    /// If `residual` is asked for with a stride.
    pub fn with_plan(plan: Arc<TapPlan>, residual: bool) -> Result<Self> {
        check(plan.geometry(), residual)?;
        Ok(TapConv { plan, residual })
    }

    /// Applies the convolution to `x` (N, C, H, W) with `weight` (C weights of any inner shape) and `bias` (C), all of one
    /// dtype: f32 or f64, or, without gradients, f16 or bf16, which is added up in f32.
    ///
    /// # Errors
    /// If shapes or dtypes do not fit the table.
    pub fn apply(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let bias = match bias {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(self.table().channels(), x.dtype(), x.device())?,
        };
        self.check(x, weight, &bias)?;
        if Gpu::of(x).is_some() {
            return operator::apply(self.clone(), [x, weight, &bias]);
        }
        match x.dtype() {
            DType::F16 => self.apply_half::<f16>([x, weight, &bias]),
            DType::BF16 => self.apply_half::<bf16>([x, weight, &bias]),
            _ => operator::apply(self.clone(), [x, weight, &bias]),
        }
    }

    /// The taps.
    pub fn table(&self) -> &TapTable {
        self.plan.cpu.table()
    }

    /// Sizes and strides.
    pub fn geometry(&self) -> &Geometry {
        self.plan.cpu.geometry()
    }

    /// Checks that arguments fit the table and each other.
    pub(super) fn check(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<()> {
        let (_, channels, height, width) = crate::ops::dims4("input", x)?;
        if channels != self.plan.cpu.table().channels() || (height, width) != self.plan.cpu.geometry().input {
            return Err(Error::argument(
                "input",
                format!("shape {:?}", x.dims()),
                format!(
                    "[N, {}, {}, {}]",
                    self.plan.cpu.table().channels(),
                    self.plan.cpu.geometry().input.0,
                    self.plan.cpu.geometry().input.1
                ),
            ));
        }
        if weight.elem_count() != channels * self.plan.cpu.table().weights_per_channel()
            || weight.dims().first() != Some(&channels)
        {
            return Err(Error::argument(
                "weight",
                format!("shape {:?}", weight.dims()),
                format!("{channels} channels of {} weights", self.plan.cpu.table().weights_per_channel()),
            ));
        }
        crate::ops::check_per_channel("bias", bias, channels)?;
        storage::check_same("input, weight, and bias", &[x, weight, bias])
    }

    /// The forward pass on feature maps in half precision.
    fn apply_half<H: Stored + WithDType>(&self, [x, weight, bias]: [&Tensor; 3]) -> Result<Tensor> {
        if [x, weight, bias].iter().any(|tensor| tensor.track_op()) {
            return Err(Error::argument(
                "input",
                format!("dtype {:?} in training", x.dtype()),
                "f32 or f64; half precision is for inference with detached tensors only",
            ));
        }
        let _span = profile::span(Self::NAME);
        let values = |tensor: &Tensor| tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
        let (weight, bias) = (values(weight)?, values(bias)?);
        let y =
            storage::with_values::<H, _>(x, |x| Ok(self.plan.cpu.forward_half(x, &weight, &bias, self.residual)?))?;
        Ok(Tensor::from_vec(y, self.output_shape(x.shape()), x.device())?)
    }
}

/// Checks that the input can be added to the output, if it is to be.
fn check(geometry: &Geometry, residual: bool) -> Result<()> {
    let Geometry { input, output, stride } = *geometry;
    if residual && (stride != (1, 1) || input != output) {
        return Err(Error::argument(
            "residual",
            format!("stride {}x{}, {}x{} to {}x{}", stride.0, stride.1, input.0, input.1, output.0, output.1),
            "stride 1 and equal input and output sizes",
        ));
    }
    Ok(())
}

impl Op3 for TapConv {
    const NAME: &'static str = "depthwise convolution";
    const GRADIENT_NAME: &'static str = "depthwise convolution, gradients";

    fn output_shape(&self, x: &Shape) -> Shape {
        let (n, c) = (x.dims()[0], x.dims()[1]);
        Shape::from((n, c, self.plan.cpu.geometry().output.0, self.plan.cpu.geometry().output.1))
    }

    fn forward<T: Element>(&self, [x, w, b]: [&[T]; 3]) -> Result<Vec<T>> {
        self.plan.cpu.forward(x, w, b, self.residual)
    }

    fn gradients<T: Element>(
        &self,
        [x, w, _]: [&[T]; 3],
        dy: &[T],
        wanted: [bool; 3],
    ) -> Result<operator::Gradients<T>> {
        let Gradients { input, weight, bias } = self.plan.cpu.gradients([x, w, dy], self.residual, wanted)?;
        Ok([input, weight, bias])
    }

    fn gpu_forward(&self, gpu: &Gpu, arguments: [Values; 3]) -> candle_core::Result<Storage> {
        self.plan.gpu.forward(gpu, arguments, self.residual)
    }

    fn gpu_gradients(
        &self,
        gpu: &Gpu,
        [x, w, _]: [Values; 3],
        dy: Values,
        wanted: [bool; 3],
    ) -> candle_core::Result<[Option<Storage>; 3]> {
        let dx = wanted[0].then(|| self.plan.gpu.input_grad(gpu, [dy, w], self.residual)).transpose()?;
        let sums = (wanted[1] || wanted[2]).then(|| self.plan.gpu.weight_grad(gpu, [x, dy])).transpose()?;
        let (dw, db) = sums.map(|[dw, db]| (dw, db)).unzip();
        Ok([dx, dw, db])
    }
}
