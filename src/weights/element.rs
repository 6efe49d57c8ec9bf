//! Element types in files, and the step from bytes to tensors.

use std::fmt;

use candle_core::{DType, Device, Tensor};
use half::f16;
use safetensors::tensor::Dtype;

use crate::Result;
use crate::text::short_name;

/// Element type of a tensor in a file, with PyTorch's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ElementType {
    /// `float64`
    F64,
    /// `float32`
    F32,
    /// `float16`
    F16,
    /// `bfloat16`
    BF16,
    /// `float8_e4m3fn`: no infinity, and a NaN
    F8E4M3,
    /// `float8_e5m2`: the upper half of a `float16`
    F8E5M2,
    /// `int64`
    I64,
    /// `int32`
    I32,
    /// `int16`
    I16,
    /// `uint32`
    U32,
    /// `uint8`
    U8,
    /// `bool`, which becomes `uint8`
    Bool,
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementType::F64 => "float64",
            ElementType::F32 => "float32",
            ElementType::F16 => "float16",
            ElementType::BF16 => "bfloat16",
            ElementType::F8E4M3 => "float8_e4m3fn",
            ElementType::F8E5M2 => "float8_e5m2",
            ElementType::I64 => "int64",
            ElementType::I32 => "int32",
            ElementType::I16 => "int16",
            ElementType::U32 => "uint32",
            ElementType::U8 => "uint8",
            ElementType::Bool => "bool",
        })
    }
}

impl ElementType {
    /// Bytes of one element in the file.
    pub fn size(self) -> usize {
        match self {
            ElementType::F64 | ElementType::I64 => 8,
            ElementType::F32 | ElementType::I32 | ElementType::U32 => 4,
            ElementType::F16 | ElementType::BF16 | ElementType::I16 => 2,
            ElementType::F8E4M3 | ElementType::F8E5M2 | ElementType::U8 | ElementType::Bool => 1,
        }
    }

    /// Whether values of this type can be weights: what integers stand for depends on a scale that files do not have.
    pub fn is_float(self) -> bool {
        use ElementType::{BF16, F8E4M3, F8E5M2, F16, F32, F64};
        matches!(self, F64 | F32 | F16 | BF16 | F8E4M3 | F8E5M2)
    }

    /// The type of a safetensors header.
    pub(super) fn of_safetensors(dtype: Dtype) -> Result<Self, String> {
        Ok(match dtype {
            Dtype::F64 => ElementType::F64,
            Dtype::F32 => ElementType::F32,
            Dtype::F16 => ElementType::F16,
            Dtype::BF16 => ElementType::BF16,
            Dtype::F8_E4M3 => ElementType::F8E4M3,
            Dtype::F8_E5M2 => ElementType::F8E5M2,
            Dtype::I64 => ElementType::I64,
            Dtype::I32 => ElementType::I32,
            Dtype::I16 => ElementType::I16,
            Dtype::U32 => ElementType::U32,
            Dtype::U8 => ElementType::U8,
            Dtype::BOOL => ElementType::Bool,
            other => {
                return Err(format!(
                    "has element type {other}, allowed: F32, F16, BF16, F64, F8_E4M3, F8_E5M2, I64, I32, I16, U32, U8, \
                     BOOL"
                ));
            }
        })
    }

    /// The type of a PyTorch storage class, such as `FloatStorage`.
    pub(super) fn of_storage(class: &str) -> Result<Self, String> {
        Ok(match class {
            "DoubleStorage" => ElementType::F64,
            "FloatStorage" => ElementType::F32,
            "HalfStorage" => ElementType::F16,
            "BFloat16Storage" => ElementType::BF16,
            "LongStorage" => ElementType::I64,
            "IntStorage" => ElementType::I32,
            "ShortStorage" => ElementType::I16,
            "ByteStorage" => ElementType::U8,
            "BoolStorage" => ElementType::Bool,
            other => return Err(unsupported(other.strip_suffix("Storage").unwrap_or(other))),
        })
    }

    /// The type of a `torch.dtype`, which newer element types are stored with.
    pub(super) fn of_torch(name: &str) -> Result<Self, String> {
        const KNOWN: [ElementType; 12] = [
            ElementType::F64,
            ElementType::F32,
            ElementType::F16,
            ElementType::BF16,
            ElementType::F8E4M3,
            ElementType::F8E5M2,
            ElementType::I64,
            ElementType::I32,
            ElementType::I16,
            ElementType::U32,
            ElementType::U8,
            ElementType::Bool,
        ];
        KNOWN.into_iter().find(|known| known.to_string() == name).ok_or_else(|| unsupported(name))
    }

    /// A CPU tensor of little-endian bytes. Floats of other widths become f32.
    pub(super) fn tensor(self, bytes: &[u8], shape: &[usize]) -> Result<Tensor> {
        let raw = |dtype| Tensor::from_raw_buffer(bytes, dtype, shape, &Device::Cpu);
        let decoded = |decode: fn(u8) -> f32| {
            Tensor::from_vec(bytes.iter().map(|&byte| decode(byte)).collect::<Vec<f32>>(), shape, &Device::Cpu)
        };
        Ok(match self {
            ElementType::F64 => raw(DType::F64)?.to_dtype(DType::F32)?,
            ElementType::F32 => raw(DType::F32)?,
            ElementType::F16 => raw(DType::F16)?.to_dtype(DType::F32)?,
            ElementType::BF16 => raw(DType::BF16)?.to_dtype(DType::F32)?,
            ElementType::F8E4M3 => decoded(e4m3)?,
            ElementType::F8E5M2 => decoded(|byte| f16::from_bits(u16::from(byte) << 8).to_f32())?,
            ElementType::I64 => raw(DType::I64)?,
            ElementType::I32 => raw(DType::I32)?,
            ElementType::I16 => raw(DType::I16)?,
            ElementType::U32 => raw(DType::U32)?,
            ElementType::U8 | ElementType::Bool => raw(DType::U8)?,
        })
    }
}

fn unsupported(name: &str) -> String {
    format!(
        "element type {} is not supported, allowed: float32, float16, bfloat16, float64, float8_e4m3fn, float8_e5m2, \
         int64, int32, int16, uint32, uint8, bool",
        short_name(name)
    )
}

/// A `float8_e4m3fn`: four bits of exponent with bias 7, three of mantissa.
fn e4m3(byte: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(byte >> 3 & 15), u32::from(byte & 7));
    let magnitude = match (exponent, mantissa) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa as f32 / 512.0,
        // The bias of an f32 is 127.
        _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
    };
    if byte & 0x80 == 0 { magnitude } else { -magnitude }
}

/// Number of elements of a shape, or `None` where it cannot be addressed.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    // Zero-sized dimensions count as one here: candle multiplies the others when it computes strides, and that product
    // must not overflow either. Sixteen bytes is more than the largest element.
    let widest = shape.iter().try_fold(16usize, |n, &d| n.checked_mul(d.max(1)))?;
    isize::try_from(widest).ok()?;
    Some(shape.iter().product())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_are_exact() {
        let bytes = [0x00, 0x01, 0x08, 0x38, 0x3c, 0x7e, 0x7f, 0x80, 0xb8];
        let read = ElementType::F8E4M3.tensor(&bytes, &[9]).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(read[..6], [0.0, 1.0 / 512.0, 1.0 / 64.0, 1.0, 1.5, 448.0]);
        assert!(read[6].is_nan() && read[7] == 0.0 && read[7].is_sign_negative() && read[8] == -1.0, "{read:?}");
        let bytes = [0x00, 0x01, 0x3c, 0x3e, 0x7b, 0x7c, 0xc4];
        let read = ElementType::F8E5M2.tensor(&bytes, &[7]).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(read, [0.0, 1.0 / 65536.0, 1.0, 1.5, 57344.0, f32::INFINITY, -4.0]);
    }

    #[test]
    fn doubles_round_once() {
        // Halfway between two floats plus a little: through f16 or by truncation it would be another value.
        let value = 1.0f64 + 2f64.powi(-24) + 2f64.powi(-40);
        let read = ElementType::F64.tensor(&value.to_le_bytes(), &[]).unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(read, 1.0 + 2f32.powi(-23));
    }

    #[test]
    fn types_are_known_by_the_names_that_files_give_them() {
        assert_eq!(ElementType::of_storage("HalfStorage"), Ok(ElementType::F16));
        assert_eq!(ElementType::of_torch("float8_e5m2"), Ok(ElementType::F8E5M2));
        assert_eq!(ElementType::of_safetensors(Dtype::F8_E4M3), Ok(ElementType::F8E4M3));
        let unknown = ElementType::of_storage("CharStorage").unwrap_err();
        assert!(
            unknown.contains("element type Char is not supported") && unknown.contains("float8_e4m3fn"),
            "{unknown}"
        );
        assert!(ElementType::of_torch("uint16").unwrap_err().contains("element type uint16"));
    }
}
