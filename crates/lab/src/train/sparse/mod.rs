//! Sparse training: networks of which most weights of large kernels are zero, and which change while they learn.
//!
//! A mask decides which weights are kept; the others are zero. All training steps run on the dense tensors:
//!
//! ```text
//! w <- optimizer step            t <- t + 1
//! w <- w * mask
//! where t is a multiple of the update frequency, per layer with n groups of which k are kept:
//!     r = rate(t)                                             cosine from prune_rate to 0.005 (PruneRate)
//!     prune the n - k + ceil(r * k) groups of least |w|       removed = how many were kept before
//!     grow: keep what random < removed / zeros                or the `removed` ones of largest |gradient|
//!     w <- w * mask
//! ```
//!
//! Grown weights start at zero. The density of a layer is kept on average, not exactly, where growth is random.
//!
//! **Fine** masks have one value per weight (Liu et al., *More ConvNets in the 2020s*, 2023: SLaK). **Coarse** masks
//! have one value per small kernel of a shift-wise convolution; its magnitude is the sum of its absolute weights (Li et
//! al., *Shift-ConvNets*, 2024). **Rep-coarse** masks are shared by the parallel paths of a block, whose sum is the
//! merged kernel: a merged kernel is zero only where all paths are. Every `sparse_gap`-th update is aligned, which gives
//! all paths one mask; in between every path has updates of its own, so that masks differ until the next aligned one.
//!
//! The first masks are random with densities per layer. SNIP (Lee, Ajanthan and Torr, 2019) finds these by the loss of
//! one batch: the first of the first epoch, augmented but not mixed, with hard labels and plain cross entropy, in
//! training mode (batch statistics, drop path). It runs on a copy of the network, as in the official code, so running
//! statistics do not change. A layer of which the first mask keeps 99 % or more becomes dense for good.
//!
//! Averaged weights follow the masks ([`Ema::update_masked`](crate::train::Ema::update_masked)).
//!
//! What differs from the official code:
//! - Norms have no masks (there, the 4-D parameters of a global response norm do, unless only large kernels are sparse).
//! - Ties between magnitudes are decided by position, where a parallel sort decides them there.
//! - Random numbers follow from (seed, number of the update, name of the layer).
//! - Gradient growth in coarse masks adds the absolute gradients of a group; there, coarse masks grow at random only.
//! - `use_embed_mask`, which is off by default, is not there. Training is in single precision, so nothing can bypass the
//!   masks as mixed precision does.

mod init;
mod masks;
mod random;
mod store;
mod training;
mod update;

pub use crate::config::{Growth, Moments, Prune, SparseConfig, SparseInit, SparseKind};
pub use init::{erk_densities, snip_sparsities};
pub use masks::{Mask, Masks};
pub use random::Random;
pub use training::{SparseTraining, snip_scores};
pub use update::{Grow, PruneRate};
