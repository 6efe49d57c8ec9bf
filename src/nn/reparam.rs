//! Re-parameterization: convolutions and batch norms that become one convolution, with the same results.
//!
//! A batch norm in evaluation is a scale and a shift per channel, which the convolution before it can have taken in
//! (Ding et al., RepVGG, CVPR 2021):
//!
//! ```text
//! BN(w * x)[o] = w'[o] * x + b'[o]        w'[o] = w[o] * s[o]        s = gamma / sqrt(var + eps)
//!                                         b'    = beta - mean * s
//! ```
//!
//! Parallel convolutions of one input add up to one; a smaller kernel is first padded with zeros on all sides, so that
//! the centers meet. This holds at every stride at which both are padded by `k div 2`.

use super::BatchNorm;
use crate::weights::TensorMap;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use std::iter::{once, repeat_n};

/// A convolution with a bias that took in the batch norm after it. Held in double precision, so that several steps are
/// rounded only once.
#[derive(Debug, Clone)]
pub struct FoldedConv {
    weight: Tensor,
    bias: Tensor,
    dtype: DType,
}

impl FoldedConv {
    /// Folds the batch norm at the path `norm` into the convolution without bias at the path `conv`.
    ///
    /// # Errors
    /// If a tensor is missing, or the two have different numbers of channels.
    pub fn new(tensors: &TensorMap, conv: &str, norm: &str) -> Result<Self> {
        FoldedConv::with_eps(tensors, conv, norm, BatchNorm::EPS)
    }

    /// The same for a batch norm that adds `eps` to the variance ([`BatchNorm::with_eps`]).
    ///
    /// # Errors
    /// As [`FoldedConv::new`].
    pub fn with_eps(tensors: &TensorMap, conv: &str, norm: &str, eps: f64) -> Result<Self> {
        let get = |module: &str, leaf: &str| {
            let name = format!("{module}.{leaf}");
            tensors.get(&name).ok_or_else(|| Error::argument("weights", format!("none named {name}"), "one"))
        };
        let double = |leaf: &str| Ok::<_, Error>(get(norm, leaf)?.to_dtype(DType::F64)?);
        let stored = get(conv, "weight")?;
        let scale = double("weight")?.div(&(double("running_var")? + eps)?.sqrt()?)?;
        let bias = (double("bias")? - (double("running_mean")? * &scale)?)?;
        let channels = scale.elem_count();
        if stored.dims().first() != Some(&channels) {
            let allowed = format!("{channels} outputs, the same number as {norm}");
            return Err(Error::shape(format!("{conv}.weight"), stored.dims(), allowed));
        }
        let per_output: Vec<usize> = once(channels).chain(repeat_n(1, stored.rank() - 1)).collect();
        let weight = stored.to_dtype(DType::F64)?.broadcast_mul(&scale.reshape(per_output)?)?;
        Ok(FoldedConv { weight, bias, dtype: stored.dtype() })
    }

    /// This convolution and a parallel one with a kernel that is not larger, both (O, I, kh, kw), as one.
    ///
    /// # Errors
    /// If the smaller kernel has another number of channels, is larger, or cannot be centered on this one.
    pub fn plus(&self, smaller: &FoldedConv) -> Result<Self> {
        let (large, small) = (self.weight.dims(), smaller.weight.dims());
        let (&[o, i, kh, kw], &[so, si, sh, sw]) = (large, small) else {
            let given = format!("weights of shapes {large:?} and {small:?}");
            return Err(Error::argument("parallel convolutions", given, "(outputs, inputs, height, width) for both"));
        };
        if (so, si) != (o, i) || !is_centered(kh, sh) || !is_centered(kw, sw) {
            let allowed = format!("({o}, {i}, height, width) with sides up to {kh}x{kw} and the same center");
            return Err(Error::shape("smaller kernel", small, allowed));
        }
        let padded = smaller.padded_to(kh, kw)?;
        let (weight, bias) = ((&self.weight + padded.weight)?, (&self.bias + padded.bias)?);
        Ok(FoldedConv { weight, bias, dtype: self.dtype })
    }

    /// This convolution with zeros on all sides of its kernel (O, I, kh, kw), to `height` rows and `width` columns.
    ///
    /// # Errors
    /// If the kernel is larger, or cannot be centered on that size.
    pub fn padded_to(&self, height: usize, width: usize) -> Result<Self> {
        let dims = self.weight.dims();
        let &[_, _, kh, kw] = dims else {
            let allowed = "(outputs, inputs, height, width)";
            return Err(Error::shape("kernel to pad", dims, allowed));
        };
        if !is_centered(height, kh) || !is_centered(width, kw) {
            let allowed = format!("sides up to {height}x{width} and the same center");
            return Err(Error::shape("kernel to pad", dims, allowed));
        }
        let (rows, cols) = ((height - kh) / 2, (width - kw) / 2);
        let weight = self.weight.pad_with_zeros(2, rows, rows)?.pad_with_zeros(3, cols, cols)?;
        Ok(FoldedConv { weight, bias: self.bias.clone(), dtype: self.dtype })
    }

    /// This convolution with the bias of a parallel one added to its own, for two that stay apart and need one bias.
    ///
    /// # Errors
    /// If the two have different numbers of outputs.
    pub fn plus_bias_of(&self, other: &FoldedConv) -> Result<Self> {
        if self.bias.dims() != other.bias.dims() {
            let (given, own) = (other.bias.elem_count(), self.bias.elem_count());
            return Err(Error::argument("parallel convolution", format!("{given} outputs"), format!("{own}")));
        }
        Ok(FoldedConv { bias: (&self.bias + &other.bias)?, ..self.clone() })
    }

    /// Adds weight and bias to `tensors` as the parameters of the module at `path`, in the dtype of the weight that was
    /// folded.
    ///
    /// # Errors
    /// If the values cannot be converted.
    pub fn insert_into(&self, tensors: &mut TensorMap, path: &str) -> Result<()> {
        self.insert_weight_into(tensors, path)?;
        tensors.insert(format!("{path}.bias"), self.bias.to_dtype(self.dtype)?);
        Ok(())
    }

    /// The same without the bias.
    ///
    /// # Errors
    /// If the values cannot be converted.
    pub fn insert_weight_into(&self, tensors: &mut TensorMap, path: &str) -> Result<()> {
        tensors.insert(format!("{path}.weight"), self.weight.to_dtype(self.dtype)?);
        Ok(())
    }
}

/// Whether zeros on both sides make `k` of a side `s`.
fn is_centered(k: usize, s: usize) -> bool {
    s <= k && (k - s).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// A convolution `c` and its norm `n` with constant values.
    fn tensors(shape: &[usize], channels: usize) -> TensorMap {
        let full = |value: f64, shape: &[usize]| Tensor::full(value, shape, &Device::Cpu).unwrap();
        let values = [("n.weight", 2.0), ("n.bias", 1.0), ("n.running_mean", 4.0), ("n.running_var", 16.0 - 1e-5)];
        let norm = values.map(|(name, value)| (name.to_string(), full(value, &[channels])));
        TensorMap::from_iter(norm.into_iter().chain([("c.weight".to_string(), full(3.0, shape))]))
    }

    fn folded(shape: &[usize]) -> FoldedConv {
        FoldedConv::new(&tensors(shape, shape[0]), "c", "n").unwrap()
    }

    #[test]
    fn a_small_kernel_is_added_to_the_center() {
        let sum = folded(&[2, 1, 5, 3]).plus(&folded(&[2, 1, 3, 1])).unwrap();
        // The scale is 2 / 4: a weight of 3 becomes 1.5, and every branch has the bias 1 - 4 / 2.
        let rows = sum.weight.get(1).unwrap().get(0).unwrap().to_vec2::<f64>().unwrap();
        for (i, row) in rows.iter().enumerate() {
            let center = if (1..4).contains(&i) { 3.0 } else { 1.5 };
            assert_eq!(row, &[1.5, center, 1.5], "row {i}");
        }
        let mut merged = TensorMap::new();
        sum.insert_into(&mut merged, "m").unwrap();
        assert_eq!(merged["m.bias"].to_vec1::<f64>().unwrap(), [-2.0, -2.0]);
        assert_eq!(merged["m.weight"].dims(), [2, 1, 5, 3]);
    }

    #[test]
    fn two_rectangles_become_a_cross() {
        let cross = folded(&[2, 1, 5, 1]).padded_to(5, 5).unwrap().plus(&folded(&[2, 1, 1, 5])).unwrap();
        let rows = cross.weight.get(1).unwrap().get(0).unwrap().to_vec2::<f64>().unwrap();
        for (i, row) in rows.iter().enumerate() {
            let expected = if i == 2 { [1.5, 1.5, 3.0, 1.5, 1.5] } else { [0.0, 0.0, 1.5, 0.0, 0.0] };
            assert_eq!(row, &expected, "row {i}");
        }
        let rectangle = folded(&[2, 1, 5, 1]).plus_bias_of(&folded(&[2, 1, 1, 5])).unwrap();
        assert_eq!(rectangle.weight.dims(), [2, 1, 5, 1]);
        for both in [cross, rectangle] {
            assert_eq!(both.bias.to_vec1::<f64>().unwrap(), [-2.0, -2.0]);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (height, width) in [(4, 5), (6, 5), (5, 4), (3, 5)] {
            let error = folded(&[2, 1, 5, 5]).padded_to(height, width).unwrap_err().to_string();
            assert!(error.contains("[2, 1, 5, 5]") && error.contains(&format!("{height}x{width}")), "{error}");
        }
        assert!(folded(&[2, 5]).padded_to(7, 7).unwrap_err().to_string().contains("[2, 5]"));
        let error = folded(&[2, 1, 5, 1]).plus_bias_of(&folded(&[3, 1, 1, 5])).unwrap_err().to_string();
        assert!(error.contains("3 outputs"), "{error}");
        let large = folded(&[2, 1, 5, 5]);
        for small in [&[2, 1, 7, 5][..], &[2, 1, 4, 5], &[3, 1, 5, 5], &[2, 2, 3, 3]] {
            let error = large.plus(&folded(small)).unwrap_err().to_string();
            assert!(error.contains("smaller kernel") && error.contains(&format!("{small:?}")), "{error}");
        }
        assert!(large.plus(&folded(&[2, 5])).unwrap_err().to_string().contains("[2, 5]"));
        let wrong = FoldedConv::new(&tensors(&[1, 1, 3, 3], 2), "c", "n").unwrap_err().to_string();
        assert!(wrong.contains("c.weight") && wrong.contains("2 outputs"), "{wrong}");
        let missing = FoldedConv::new(&tensors(&[2, 1, 3, 3], 2), "c", "m").unwrap_err().to_string();
        assert!(missing.contains("m.weight"), "{missing}");
    }
}
