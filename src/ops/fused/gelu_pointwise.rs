//! GELU and the pointwise convolution that follows, with the layer scale, as one operator.

use super::columns::{ColumnMap, Columns};
use crate::Result;
use crate::ops::fill::{Filled, write_both};
use crate::ops::matrix::{Matrix, UnfilledMatrix};
use crate::ops::operator::{self, Gradients, Op3};
use crate::ops::storage::{self, Element};
use crate::ops::{check_per_channel, dims4, pointwise};
use candle_core::{Shape, Tensor};

/// `f = gamma * (W gelu(h) + b)` for `h` (N, C, H, W), `weight` W (O, C), `bias` b (O) and `gamma` (O); see
/// [`crate::ops::gelu`]. Differentiable in all; f32 and f64.
///
/// The operator multiplies [gelu(h); 1] with `V = diag(gamma) [W, b]`. From the gradient `D = [E, d]` of V:
///
/// ```text
/// dW = diag(gamma) E      db = gamma * d      dgamma[o] = sum_i W[o,i] E[o,i] + b[o] d[o]
/// ```
///
/// # Errors
/// If shapes or dtypes do not fit.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use kernelscope::ops::fused::gelu_pointwise;
/// let h = Tensor::ones((1, 1, 1, 1), DType::F64, &Device::Cpu)?;
/// let (w, b, gamma) = (h.reshape((1, 1))?, h.reshape(1)?, h.reshape(1)?);
/// let f = gelu_pointwise(&h, &w, &b, &gamma)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!((f[0] - 1.841344746).abs() < 1e-9);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn gelu_pointwise(h: &Tensor, weight: &Tensor, bias: &Tensor, gamma: &Tensor) -> Result<Tensor> {
    let (images, channels, height, width) = dims4("input", h)?;
    let outputs = pointwise::outputs(weight, channels)?;
    check_per_channel("bias", bias, outputs)?;
    check_per_channel("gamma", gamma, outputs)?;
    storage::check_same("input, weight, bias, and gamma", &[h, weight, bias, gamma])?;
    if crate::ops::gpu::Gpu::of(h).is_some() {
        // Matrix products are the library's there; the layer scale goes into the weights.
        let weight = weight.broadcast_mul(&gamma.unsqueeze(1)?)?;
        return pointwise::pointwise(&crate::ops::gelu::gelu(h)?, &weight, Some(&(bias * gamma)?));
    }
    let columns = Columns { map: Gelu, channels, outputs, size: (images, height, width) };
    operator::apply(GeluPointwise(columns), [h, weight, &Tensor::cat(&[bias, gamma], 0)?])
}

struct GeluPointwise(Columns<Gelu>);

impl GeluPointwise {
    /// V.
    fn folded<T: Element>(&self, weight: &[T], small: &[T]) -> Vec<T> {
        let (bias, gamma) = small.split_at(self.0.outputs);
        let mut folded = Vec::with_capacity(weight.len() + bias.len());
        for ((row, &bias), &gamma) in weight.chunks_exact(self.0.channels).zip(bias).zip(gamma) {
            folded.extend(row.iter().map(|&w| w * gamma));
            folded.push(bias * gamma);
        }
        folded
    }

    /// The gradients of the weights and of bias and gamma from that of V.
    fn unfolded<T: Element>(&self, weight: &[T], small: &[T], gradient: &[T]) -> (Vec<T>, Vec<T>) {
        let channels = self.0.channels;
        let (bias, gamma) = small.split_at(self.0.outputs);
        let (mut dw, mut dsmall) = (Vec::with_capacity(weight.len()), vec![T::zero(); small.len()]);
        let (dbias, dgamma) = dsmall.split_at_mut(self.0.outputs);
        let rows = weight.chunks_exact(channels).zip(gradient.chunks_exact(channels + 1));
        for (o, (w, e)) in rows.enumerate() {
            let (d, e) = (e[channels], &e[..channels]);
            dw.extend(e.iter().map(|&e| e * gamma[o]));
            dbias[o] = d * gamma[o];
            dgamma[o] = w.iter().zip(e).map(|(&w, &e)| w * e).sum::<T>() + bias[o] * d;
        }
        (dw, dsmall)
    }
}

impl Op3 for GeluPointwise {
    const NAME: &'static str = "gelu and pointwise convolution";
    const GRADIENT_NAME: &'static str = "gelu and pointwise convolution, gradients";

    fn output_shape(&self, _h: &Shape) -> Shape {
        let (images, height, width) = self.0.size;
        Shape::from((images, self.0.outputs, height, width))
    }

    fn forward<T: Element>(&self, [h, weight, small]: [&[T]; 3]) -> Result<Vec<T>> {
        self.0.forward(h, &self.folded(weight, small))
    }

    fn gradients<T: Element>(
        &self,
        [h, weight, small]: [&[T]; 3],
        dy: &[T],
        wanted: [bool; 3],
    ) -> Result<Gradients<T>> {
        let parameters = wanted[1] || wanted[2];
        let gradients = self.0.gradients(h, &self.folded(weight, small), dy, [wanted[0], parameters])?;
        let (dw, dsmall) = gradients.weight.map(|folded| self.unfolded(weight, small, &folded)).unzip();
        Ok([gradients.input, dw.filter(|_| wanted[1]), dsmall.filter(|_| wanted[2])])
    }
}

struct Gelu;

impl ColumnMap for Gelu {
    fn apply<'z, T: Element>(&self, x: Matrix<T>, z: UnfilledMatrix<'z, T>) -> Filled<'z> {
        pulp::Arch::new().dispatch(Forward { x, z })
    }

    fn apply_with_gradient<'z, 'dx, T: Element>(
        &self,
        x: Matrix<T>,
        dz: Matrix<T>,
        z: UnfilledMatrix<'z, T>,
        dx: UnfilledMatrix<'dx, T>,
    ) -> (Filled<'z>, Filled<'dx>) {
        pulp::Arch::new().dispatch(Backward { x, dz, z, dx })
    }
}

struct Forward<'x, 'z, T> {
    x: Matrix<'x, T>,
    z: UnfilledMatrix<'z, T>,
}

impl<'z, T: Element> pulp::NullaryFnOnce for Forward<'_, 'z, T> {
    type Output = Filled<'z>;

    #[inline(always)]
    fn call(self) -> Filled<'z> {
        let Forward { x, z } = self;
        let mut filled = Filled::none();
        for (row, z) in z.into_rows().enumerate() {
            filled += z.write(x.row(row).iter().map(|&x| x * x.normal_cdf()));
        }
        filled
    }
}

struct Backward<'x, 'z, 'dx, T> {
    x: Matrix<'x, T>,
    dz: Matrix<'x, T>,
    z: UnfilledMatrix<'z, T>,
    dx: UnfilledMatrix<'dx, T>,
}

impl<'z, 'dx, T: Element> pulp::NullaryFnOnce for Backward<'_, 'z, 'dx, T> {
    type Output = (Filled<'z>, Filled<'dx>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Backward { x, dz, z, dx } = self;
        let mut filled = (Filled::none(), Filled::none());
        for (row, (z, dx)) in z.into_rows().zip(dx.into_rows()).enumerate() {
            let columns = x.row(row).iter().zip(dz.row(row));
            let written = write_both(
                z,
                dx,
                columns.map(
                    #[inline(always)]
                    |(&x, &dz)| {
                        let (cdf, pdf) = x.normal();
                        (x * cdf, dz * (cdf + x * pdf))
                    },
                ),
            );
            filled.0 += written.0;
            filled.1 += written.1;
        }
        filled
    }
}
