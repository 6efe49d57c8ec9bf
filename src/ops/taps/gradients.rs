//! The gradients of a depthwise convolution as functions, without candle's tape.

use super::TapConv;
use crate::ops::operator::{self, Op3};
use crate::{Error, Result};
use candle_core::Tensor;

/// Which gradients of a convolution are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// That of the input.
    pub input: bool,
    /// Those of weights and bias.
    pub parameters: bool,
}

/// Gradients of a convolution, as far as they were [`Wanted`].
#[derive(Debug, Clone)]
pub struct TapGradients {
    /// Of the input, (N, C, H, W).
    pub input: Option<Tensor>,
    /// Of the weights, of their own shape.
    pub weight: Option<Tensor>,
    /// Of the bias, (C).
    pub bias: Option<Tensor>,
}

impl TapConv {
    /// The gradients of a loss by input, weights and bias, from its gradient by the output, `dy` (N, C, H', W'). They
    /// are what `backward()` adds to its store, without the store.
    ///
    /// # Errors
    /// If shapes or types do not fit.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use kernelscope::ops::taps::{Geometry, Tap, TapConv, TapTable, Wanted};
    /// let table = TapTable::shared(1, &[Tap { dh: 0, dw: 0 }])?;
    /// let conv = TapConv::new(table.into(), Geometry { input: (2, 2), output: (2, 2), stride: (1, 1) }, false)?;
    /// let ones = Tensor::ones((1, 1, 2, 2), DType::F32, &Device::Cpu)?;
    /// let weight = Tensor::new(&[[3f32]], &Device::Cpu)?;
    /// let gradients = conv.gradients(&ones, &weight, &ones, Wanted { input: true, parameters: true })?;
    /// assert_eq!(gradients.weight.map(|w| w.to_vec2::<f32>()).transpose()?, Some(vec![vec![4.0]]));
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn gradients(&self, x: &Tensor, weight: &Tensor, dy: &Tensor, wanted: Wanted) -> Result<TapGradients> {
        let bias = Tensor::zeros(self.table().channels(), x.dtype(), x.device())?;
        self.check(x, weight, &bias)?;
        let output = self.output_shape(x.shape());
        if dy.shape() != &output || dy.dtype() != x.dtype() {
            let given = format!("shape {:?} of {:?}", dy.dims(), dy.dtype());
            let allowed = format!("{:?} of {:?}", output.dims(), x.dtype());
            return Err(Error::argument("gradient of the output", given, allowed));
        }
        let wanted = [wanted.input, wanted.parameters, wanted.parameters];
        let [input, weight, bias] = operator::gradients(self, [x, weight, &bias], dy, wanted)?;
        Ok(TapGradients { input, weight, bias })
    }
}
