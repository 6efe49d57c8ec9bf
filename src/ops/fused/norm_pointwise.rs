//! Layer norm over channels and the pointwise convolution that follows, as one operator.

use super::columns::{ColumnMap, Columns};
use crate::ops::fill::Filled;
use crate::ops::matrix::{Matrix, UnfilledMatrix};
use crate::ops::operator::{self, Gradients, Op3};
use crate::ops::storage::{self, Element};
use crate::ops::{check_per_channel, dims4, pointwise};
use crate::{Error, Result};
use candle_core::{Shape, Tensor};

/// `y = W (n * h + c) + b` where h is `x` (N, C, H, W) with mean 0 and variance 1 over the channels of every position
/// (see [`crate::ops::layer_norm`]), `n` and `c` are `norm` (weight and bias, C each), `W` is `weight` (O, C) and `b` is
/// `bias` (O). Differentiable in all; f32 and f64.
///
/// The operator multiplies [h; 1] with `V = [W diag(n), W c + b]`. From the gradient `D = [E, d] = dy [h; 1]^T` of V:
///
/// ```text
/// dW = E diag(n) + d c^T      dn[i] = sum_o W[o,i] E[o,i]      dc = W^T d      db = d
/// ```
///
/// # Errors
/// If shapes or dtypes do not fit.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use kernelscope::ops::{fused::norm_pointwise, layer_norm::EPS};
/// let ones = |n: usize| Tensor::ones(n, DType::F64, &Device::Cpu);
/// let x = Tensor::new(&[1f64, 3.], &Device::Cpu)?.reshape((1, 2, 1, 1))?;
/// let w = Tensor::new(&[[0f64, 10.]], &Device::Cpu)?;
/// let y = norm_pointwise(&x, (&ones(2)?, &ones(2)?), EPS, &w, &ones(1)?)?.flatten_all()?.to_vec1::<f64>()?;
/// assert!((y[0] - 21.0).abs() < 1e-4);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn norm_pointwise(
    x: &Tensor,
    norm: (&Tensor, &Tensor),
    eps: f64,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor> {
    let (images, channels, height, width) = dims4("input", x)?;
    let outputs = pointwise::outputs(weight, channels)?;
    check_per_channel("norm weight", norm.0, channels)?;
    check_per_channel("norm bias", norm.1, channels)?;
    check_per_channel("bias", bias, outputs)?;
    if !(eps > 0.0 && eps.is_finite()) {
        return Err(Error::argument("eps", eps, "a positive number"));
    }
    storage::check_same("input, norm weight, norm bias, weight, and bias", &[x, norm.0, norm.1, weight, bias])?;
    if crate::ops::gpu::Gpu::of(x).is_some() {
        // Matrix products are the library's there, and maps do not stay in a cache from one kernel to the next.
        let normal = crate::ops::layer_norm::layer_norm(x, norm.0, norm.1, eps, crate::ops::Layout::ChannelsFirst)?;
        return pointwise::pointwise(&normal, weight, Some(bias));
    }
    let columns = Columns { map: Normal { eps }, channels, outputs, size: (images, height, width) };
    operator::apply(NormPointwise(columns), [x, weight, &Tensor::cat(&[norm.0, norm.1, bias], 0)?])
}

struct NormPointwise(Columns<Normal>);

impl NormPointwise {
    /// Norm weight, norm bias and bias.
    fn vectors<'a, T>(&self, small: &'a [T]) -> [&'a [T]; 3] {
        let (scale, rest) = small.split_at(self.0.channels);
        let (shift, bias) = rest.split_at(self.0.channels);
        [scale, shift, bias]
    }

    /// V.
    fn folded<T: Element>(&self, weight: &[T], small: &[T]) -> Vec<T> {
        let [scale, shift, bias] = self.vectors(small);
        let mut folded = Vec::with_capacity(weight.len() + bias.len());
        for (row, &bias) in weight.chunks_exact(self.0.channels).zip(bias) {
            folded.extend(row.iter().zip(scale).map(|(&w, &n)| w * n));
            folded.push(row.iter().zip(shift).map(|(&w, &c)| w * c).sum::<T>() + bias);
        }
        folded
    }

    /// The gradients of the weights and of the three vectors from that of V.
    fn unfolded<T: Element>(&self, weight: &[T], small: &[T], gradient: &[T]) -> (Vec<T>, Vec<T>) {
        let channels = self.0.channels;
        let [scale, shift, _] = self.vectors(small);
        let (mut dw, mut dsmall) = (Vec::with_capacity(weight.len()), vec![T::zero(); small.len()]);
        let (norm, dbias) = dsmall.split_at_mut(2 * channels);
        let (dscale, dshift) = norm.split_at_mut(channels);
        let rows = weight.chunks_exact(channels).zip(gradient.chunks_exact(channels + 1));
        for ((w, e), dbias) in rows.zip(dbias) {
            let (d, e) = (e[channels], &e[..channels]);
            dw.extend(e.iter().zip(scale).zip(shift).map(|((&e, &n), &c)| e * n + d * c));
            for ((dscale, &w), &e) in dscale.iter_mut().zip(w).zip(e) {
                *dscale += w * e;
            }
            for (dshift, &w) in dshift.iter_mut().zip(w) {
                *dshift += w * d;
            }
            *dbias = d;
        }
        (dw, dsmall)
    }
}

impl Op3 for NormPointwise {
    const NAME: &'static str = "layer norm and pointwise convolution";
    const GRADIENT_NAME: &'static str = "layer norm and pointwise convolution, gradients";

    fn output_shape(&self, _x: &Shape) -> Shape {
        let (images, height, width) = self.0.size;
        Shape::from((images, self.0.outputs, height, width))
    }

    fn forward<T: Element>(&self, [x, weight, small]: [&[T]; 3]) -> Result<Vec<T>> {
        self.0.forward(x, &self.folded(weight, small))
    }

    fn gradients<T: Element>(
        &self,
        [x, weight, small]: [&[T]; 3],
        dy: &[T],
        wanted: [bool; 3],
    ) -> Result<Gradients<T>> {
        let parameters = wanted[1] || wanted[2];
        let gradients = self.0.gradients(x, &self.folded(weight, small), dy, [wanted[0], parameters])?;
        let (dw, dsmall) = gradients.weight.map(|folded| self.unfolded(weight, small, &folded)).unzip();
        Ok([gradients.input, dw.filter(|_| wanted[1]), dsmall.filter(|_| wanted[2])])
    }
}

/// `h = (x - mean) / sqrt(var + eps)` over each column.
struct Normal {
    eps: f64,
}

impl ColumnMap for Normal {
    fn apply<'z, T: Element>(&self, x: Matrix<T>, z: UnfilledMatrix<'z, T>) -> Filled<'z> {
        pulp::Arch::new().dispatch(Forward { x, z, eps: T::from_f64(self.eps) })
    }

    fn apply_with_gradient<'z, 'dx, T: Element>(
        &self,
        x: Matrix<T>,
        dz: Matrix<T>,
        z: UnfilledMatrix<'z, T>,
        dx: UnfilledMatrix<'dx, T>,
    ) -> (Filled<'z>, Filled<'dx>) {
        pulp::Arch::new().dispatch(Backward { x, dz, z, dx, eps: T::from_f64(self.eps) })
    }
}

/// Mean and `1 / sqrt(var + eps)` of each column, in two passes: exact where the mean is large.
#[inline(always)]
fn statistics<T: Element>(x: Matrix<T>, eps: T) -> (Vec<T>, Vec<T>) {
    let count = T::from_f64(x.rows() as f64);
    let (mut mean, mut rstd) = (vec![T::zero(); x.cols()], vec![T::zero(); x.cols()]);
    for row in 0..x.rows() {
        for (mean, &x) in mean.iter_mut().zip(x.row(row)) {
            *mean += x;
        }
    }
    for mean in &mut mean {
        *mean /= count;
    }
    for row in 0..x.rows() {
        for ((var, &mean), &x) in rstd.iter_mut().zip(&mean).zip(x.row(row)) {
            *var += (x - mean) * (x - mean);
        }
    }
    for var in &mut rstd {
        *var = T::one() / (*var / count + eps).sqrt();
    }
    (mean, rstd)
}

struct Forward<'x, 'z, T> {
    x: Matrix<'x, T>,
    z: UnfilledMatrix<'z, T>,
    eps: T,
}

impl<'z, T: Element> pulp::NullaryFnOnce for Forward<'_, 'z, T> {
    type Output = Filled<'z>;

    #[inline(always)]
    fn call(self) -> Filled<'z> {
        let Forward { x, z, eps } = self;
        let (mean, rstd) = statistics(x, eps);
        let mut filled = Filled::none();
        for (row, z) in z.into_rows().enumerate() {
            let columns = x.row(row).iter().zip(&mean).zip(&rstd);
            filled += z.write(columns.map(|((&x, &mean), &rstd)| (x - mean) * rstd));
        }
        filled
    }
}

/// `dx = rstd * (dz - mean dz - z * mean(dz * z))`.
struct Backward<'x, 'z, 'dx, T> {
    x: Matrix<'x, T>,
    dz: Matrix<'x, T>,
    z: UnfilledMatrix<'z, T>,
    dx: UnfilledMatrix<'dx, T>,
    eps: T,
}

impl<'z, 'dx, T: Element> pulp::NullaryFnOnce for Backward<'_, 'z, 'dx, T> {
    type Output = (Filled<'z>, Filled<'dx>);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Backward { x, dz, z, dx, eps } = self;
        let (mean, rstd) = statistics(x, eps);
        let count = T::from_f64(x.rows() as f64);
        let (mut sum, mut product) = (vec![T::zero(); x.cols()], vec![T::zero(); x.cols()]);
        let mut filled = (Filled::none(), Filled::none());
        for (row, z) in z.into_rows().enumerate() {
            let columns = x.row(row).iter().zip(&mean).zip(&rstd);
            let normal = columns.map(|((&x, &mean), &rstd)| (x - mean) * rstd);
            let sums = sum.iter_mut().zip(&mut product).zip(dz.row(row));
            filled.0 += z.write(normal.zip(sums).map(
                #[inline(always)]
                |(normal, ((sum, product), &dz))| {
                    *sum += dz;
                    *product += dz * normal;
                    normal
                },
            ));
        }
        for (sum, product) in sum.iter_mut().zip(&mut product) {
            *sum /= count;
            *product /= count;
        }
        for (row, dx) in dx.into_rows().enumerate() {
            // The normalized values again: what was just written is not read.
            let columns = x.row(row).iter().zip(&mean).zip(&rstd).zip(sum.iter().zip(&product)).zip(dz.row(row));
            let gradient = columns
                .map(|((((&x, &mean), &rstd), (&sum, &product)), &dz)| rstd * (dz - sum - (x - mean) * rstd * product));
            filled.1 += dx.write(gradient);
        }
        filled
    }
}
