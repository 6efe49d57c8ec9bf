//! A pointwise convolution of a function of its input, without that function's values as a feature map of their own.
//!
//! ```text
//! y = W z + b        z = phi(x), position by position
//! ```
//!
//! | operator | phi |
//! |---|---|
//! | [`norm_pointwise()`] | layer norm over channels |
//! | [`gelu_pointwise()`] | GELU |
//!
//! These are the two halves of a ConvNeXt block. Computed one after the other, phi and the product each read and write
//! whole feature maps, and automatic differentiation keeps z and adds up its gradient in further passes. Here a group
//! of columns of z is computed where the product needs it, and again in the backward pass.
//!
//! Affine maps before and after the product are part of the weights: with a row of ones below z, `y = V [z; 1]`. The
//! gradients of all parameters follow from `D = dy [z; 1]^T`, one product per image; see the operators for how.

mod columns;
mod gelu_pointwise;
mod norm_pointwise;

pub use gelu_pointwise::gelu_pointwise;
pub use norm_pointwise::norm_pointwise;
