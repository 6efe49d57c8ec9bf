//! The tap engine as a candle operator.

use super::cpu::Plan;
use super::{Geometry, TapTable};
use crate::ops::storage::{self, with_element, with_values};
use crate::{Error, Result};
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType};
use std::sync::Arc;

/// A depthwise convolution given by a tap table and its sizes, with all gradients.
#[derive(Debug, Clone)]
pub struct TapConv {
    table: Arc<TapTable>,
    geometry: Geometry,
    residual: bool,
}

impl TapConv {
    /// A convolution of the given geometry; `residual` adds the input to the output.
    ///
    /// # Errors
    /// If a size or stride is zero, or `residual` is asked for with a stride.
    pub fn new(table: Arc<TapTable>, geometry: Geometry, residual: bool) -> Result<Self> {
        let Geometry { input, output, stride } = geometry;
        for (name, (h, w)) in [("input size", input), ("output size", output), ("stride", stride)] {
            if h == 0 || w == 0 {
                return Err(Error::argument(name, format!("{h}x{w}"), "at least 1x1"));
            }
        }
        if residual && (stride != (1, 1) || input != output) {
            return Err(Error::argument(
                "residual",
                format!("stride {}x{}, {}x{} to {}x{}", stride.0, stride.1, input.0, input.1, output.0, output.1),
                "stride 1 and equal input and output sizes",
            ));
        }
        Ok(TapConv { table, geometry, residual })
    }

    /// Applies the convolution to `x` (N, C, H, W) with `weight` (C weights of any inner shape) and `bias` (C).
    ///
    /// # Errors
    /// If shapes or dtypes do not fit the table.
    pub fn apply(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let (_, channels, height, width) = crate::ops::dims4("input", x)?;
        if channels != self.table.channels() || (height, width) != self.geometry.input {
            return Err(Error::argument(
                "input",
                format!("shape {:?}", x.dims()),
                format!("[N, {}, {}, {}]", self.table.channels(), self.geometry.input.0, self.geometry.input.1),
            ));
        }
        if weight.elem_count() != channels * self.table.weights_per_channel()
            || weight.dims().first() != Some(&channels)
        {
            return Err(Error::argument(
                "weight",
                format!("shape {:?}", weight.dims()),
                format!("{channels} channels of {} weights", self.table.weights_per_channel()),
            ));
        }
        let bias = match bias {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(channels, x.dtype(), x.device())?,
        };
        crate::ops::check_per_channel("bias", &bias, channels)?;
        storage::check_same("input, weight and bias", &[x, weight, &bias])?;
        let y = x.contiguous()?.apply_op3(&weight.contiguous()?, &bias.contiguous()?, self.clone())?;
        Ok(y)
    }

    fn plan(&self) -> Plan<'_> {
        Plan::new(&self.table, self.geometry)
    }
}

impl CustomOp3 for TapConv {
    fn name(&self) -> &'static str {
        "depthwise-taps"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let dtype = candle_core::backend::BackendStorage::dtype(x);
        let (n, c, _, _) = x_layout.shape().dims4()?;
        let shape = Shape::from((n, c, self.geometry.output.0, self.geometry.output.1));
        with_element!(dtype, "input", T => {
            let (x, w, b) = (
                storage::slice::<T>(x, x_layout)?,
                storage::slice::<T>(w, w_layout)?,
                storage::slice::<T>(b, b_layout)?,
            );
            Ok((T::to_cpu_storage_owned(self.plan().forward(x, w, b, self.residual)), shape))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let plan = self.plan();
        let device = x.device();
        let dtype: DType = x.dtype();
        with_element!(dtype, "input", T => with_values::<T, _>(dy, |dy| {
            // Frozen arguments need no gradient: receptive fields only ask for the input's.
            let dx = x.track_op().then(|| with_values::<T, _>(weight, |w| {
                Tensor::from_vec(plan.input_grad(dy, w, self.residual), x.shape(), device)
            })).transpose()?;
            let dw = weight.track_op().then(|| with_values::<T, _>(x, |x| {
                Tensor::from_vec(plan.weight_grad(x, dy), weight.shape(), device)
            })).transpose()?;
            let db = bias.track_op().then(|| Tensor::from_vec(plan.bias_grad(dy), bias.shape(), device)).transpose()?;
            Ok((dx, dw, db))
        }))
    }
}
