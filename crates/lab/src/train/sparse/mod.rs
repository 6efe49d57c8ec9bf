//! Sparse training: networks of which most weights of large kernels are zero, and which change while they learn.
//!
//! A mask decides which weights are kept; the others are zero. All training steps run on the dense tensors:
//!
//! ```text
//! w <- optimiser step            t <- t + 1
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

mod config;
mod init;
mod masks;
mod store;
mod update;

pub use config::{Growth, Moments, Prune, SparseConfig, SparseInit, SparseKind};
pub use init::{erk_densities, snip_sparsities};
pub use masks::{Mask, Masks};
pub use update::{Grow, PruneRate};

use super::trainer::images_tensor;
use super::{AdamW, soft_cross_entropy};
use crate::data::{Batch, Loader, LoaderConfig, Transform};
use crate::run::{MaskWriter, RunConfig, RunFolder};
use crate::{Error, Result};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use kernelscope::nn::{BuildOptions, Mode};
use kernelscope::rng;
use kernelscope::weights::TensorMap;
use kernelscope::zoo::Network;
use rand::RngExt;
use std::collections::BTreeMap;

/// Random numbers in [0, 1) by the name of a layer, as many as asked for.
pub type Random<'a> = dyn Fn(&str, usize) -> Vec<f32> + Sync + 'a;

/// Stream of the masks.
const MASKS: u64 = 11;
/// Stream of the drop-path masks of SNIP's pass.
const SNIP: u64 = 12;

/// Sums of absolute values over groups.
fn group_sums(values: &[f32], group: usize) -> Vec<f64> {
    let sum = |group: &[f32]| group.iter().map(|v| f64::from(v.abs())).sum();
    values.chunks(group.max(1)).map(sum).collect()
}

/// The random numbers of one update; the first masks are number 0.
fn random(seed: u64, update: usize) -> impl Fn(&str, usize) -> Vec<f32> + Sync {
    move |name, count| {
        let mut rng = rng::stream(seed, &[MASKS, update as u64, rng::hash_name(name)]);
        (0..count).map(|_| rng.random::<f32>()).collect()
    }
}

/// The masks of a run, and when they change.
pub struct SparseTraining {
    config: SparseConfig,
    seed: u64,
    rate: PruneRate,
    masks: Masks,
    density: f64,
    record: Option<MaskWriter>,
}

impl SparseTraining {
    /// Makes the first masks and applies them; `None` where the configuration asks for dense training.
    ///
    /// # Errors
    /// If no weight can have a mask, no layer becomes sparse, or the loss of SNIP's batch is not finite.
    pub fn start(config: &RunConfig, network: &Network, train: &Loader) -> Result<Option<Self>> {
        let Some(mut sparse) = Self::dense(config, network, train)? else { return Ok(None) };
        let SparseConfig { init, sparsity, .. } = sparse.config;
        if init == SparseInit::Resume {
            sparse.masks.take_zeros()?;
        } else {
            let scores = match init {
                SparseInit::Snip => snip_scores(&sparse.masks, network, &first_batch(config, train)?, sparse.seed)?,
                _ => Vec::new(),
            };
            let densities = sparse.masks.densities(init, sparsity, &scores)?;
            sparse.masks.draw(&densities, &random(sparse.seed, 0))?;
        }
        sparse.masks.apply_first()?;
        sparse.density = sparse.masks.density();
        Ok(Some(sparse))
    }

    /// Takes the masks of a complete epoch from the run folder; `None` where the configuration asks for dense training.
    ///
    /// # Errors
    /// As [`Masks::load`].
    pub fn restore(
        config: &RunConfig,
        network: &Network,
        train: &Loader,
        from: (&RunFolder, usize),
    ) -> Result<Option<Self>> {
        let Some(mut sparse) = Self::dense(config, network, train)? else { return Ok(None) };
        let (run, epoch) = from;
        sparse.masks.load(&run.masks_path(epoch), &run.explored_path(epoch))?;
        sparse.density = sparse.masks.density();
        Ok(Some(sparse))
    }

    /// Masks that keep everything.
    fn dense(config: &RunConfig, network: &Network, train: &Loader) -> Result<Option<Self>> {
        let Some(sparse) = config.train.sparse else { return Ok(None) };
        let steps = config.train.epochs * train.batches_per_epoch();
        if sparse.update_frequency > steps {
            let every = sparse.update_frequency;
            tracing::warn!("the masks never change: they are updated every {every} steps, but the run has {steps}");
        }
        Ok(Some(SparseTraining {
            config: sparse,
            seed: config.train.seed,
            rate: PruneRate { base: sparse.prune_rate, steps },
            masks: Masks::select(&sparse, network.params())?,
            density: 1.0,
            record: None,
        }))
    }

    /// The masks.
    pub fn masks(&self) -> &Masks {
        &self.masks
    }

    /// Share of the weights with masks that are kept.
    pub fn density(&self) -> f64 {
        self.density
    }

    /// Opens `masks.csv` for the steps after `done`.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn record(&mut self, run: &RunFolder, done: usize) -> Result<()> {
        let mut record = MaskWriter::open(&run.mask_rows_path(), |row| done > 0 && row.step <= done)?;
        if done == 0 {
            record.append_all(&self.masks.rows(0))?;
        }
        self.record = Some(record);
        Ok(())
    }

    /// What follows optimiser step number `done`, counted from 1: the masks are applied and, where it is due, updated.
    ///
    /// # Errors
    /// If `masks.csv` cannot be written.
    pub fn step(&mut self, done: usize, optimizer: &mut AdamW, grads: &GradStore) -> Result<()> {
        self.masks.apply()?;
        if done.is_multiple_of(self.config.update_frequency) {
            let number = done / self.config.update_frequency;
            let random = random(self.seed, number);
            let grow = match self.config.growth {
                Growth::Random => Grow::Random(&random),
                Growth::Gradient => Grow::Gradient(grads),
            };
            let aligned = number.is_multiple_of(self.config.sparse_gap);
            self.masks.update(self.rate.at(done), aligned, &grow)?;
            self.density = self.masks.density();
            if let Some(record) = &mut self.record {
                record.append_all(&self.masks.rows(done))?;
            }
        }
        match self.config.moments {
            Moments::Keep => Ok(()),
            Moments::Reset => {
                optimizer.reset_pruned(&self.masks)?;
                Ok(())
            }
        }
    }

    /// Writes the masks of an epoch into the run folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, run: &RunFolder, epoch: usize, metadata: &BTreeMap<String, String>) -> Result<()> {
        let mut metadata = metadata.clone();
        metadata.insert("kernelscope.sparse".to_string(), self.config.kind.name().to_string());
        self.masks.save(&run.masks_path(epoch), &metadata)?;
        self.masks.save_explored(&run.explored_path(epoch))
    }
}

/// The first batch of the first epoch, without mixing.
fn first_batch(config: &RunConfig, train: &Loader) -> Result<Batch> {
    let transform = Transform::Train(config.data.train_transform(&config.train.augment));
    let loader = LoaderConfig { workers: 0, ..train.config().clone() };
    let batch = Loader::new(train.dataset().clone(), transform, None, loader)?.epoch(1).next();
    batch.unwrap_or_else(|| Err(Error::argument("training images", "no batch", "at least one")))
}

/// The scores of SNIP ([`Masks::scores`]) by the loss of a batch, in training mode with drop-path masks from the seed.
/// They are computed on a copy of the network, which stays as it is: weights, running statistics and all.
///
/// # Errors
/// If the batch does not fit the network, or the loss is not finite.
pub fn snip_scores(masks: &Masks, network: &Network, batch: &Batch, seed: u64) -> Result<Vec<Vec<f32>>> {
    let copies = network.params().tensors().into_iter().map(|(name, tensor)| Ok((name, tensor.copy()?)));
    let copies = copies.collect::<Result<TensorMap>>()?;
    let options = BuildOptions { weights: Some((copies, "the network".to_string())), ..BuildOptions::default() };
    let copy = Network::build(network.spec().clone(), options)?;
    let images = images_tensor(batch, copy.device())?;
    let targets = Tensor::from_slice(&batch.targets, (batch.n, batch.targets.len() / batch.n.max(1)), copy.device())?;
    let logits = copy.forward_t(&images, Mode::Train { seed: rng::derive(seed, &[SNIP]) })?;
    let loss = soft_cross_entropy(&logits, &targets)?;
    let value = f64::from(loss.to_scalar::<f32>()?);
    if !value.is_finite() {
        let place = "the first batch, before training (init = snip)".to_string();
        return Err(Error::NonFinite { what: "the loss".into(), value, place });
    }
    let grads = loss.backward()?;
    masks.scores(|name| grads.get(copy.params().get(name)?.var.as_tensor()).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::AdamWConfig;
    use candle_core::Device;
    use kernelscope::zoo::ModelSpec;

    #[test]
    fn steps_update_the_masks_when_and_as_the_configuration_says() {
        let spec = ModelSpec::named("nano-sw").unwrap().with_overrides(&["depths=1", "dims=8"]).unwrap();
        let network = Network::build(spec, BuildOptions::default()).unwrap();
        let config = SparseConfig {
            kind: SparseKind::RepCoarse,
            update_frequency: 3,
            sparse_gap: 2,
            prune_rate: 0.5,
            ..SparseConfig::default()
        };
        let rate = PruneRate { base: 0.5, steps: 20 };
        let mut masks = Masks::select(&config, network.params()).unwrap();
        masks.draw(&vec![0.5; masks.units()], &random(7, 0)).unwrap();
        let mut expected = masks.clone();
        let mut sparse = SparseTraining { config, seed: 7, rate, masks, density: 0.0, record: None };
        let mut optimizer = AdamW::new(network.params(), AdamWConfig::default());
        let no_gradients = Tensor::new(1f32, &Device::Cpu).unwrap().backward().unwrap();
        let keeps = |masks: &Masks| masks.iter().map(|mask| mask.keep().to_vec()).collect::<Vec<_>>();
        for done in 1..=12 {
            let before = keeps(&sparse.masks);
            // Both have the same weights, so that the second update finds them pruned as the first has left them.
            let weights = network.params().tensors().into_iter().map(|(name, t)| (name, t.copy().unwrap())).collect();
            sparse.step(done, &mut optimizer, &no_gradients).unwrap();
            if done % 3 != 0 {
                assert_eq!(keeps(&sparse.masks), before, "step {done}");
                continue;
            }
            network.params().assign(&weights, "before").unwrap();
            expected.apply().unwrap();
            let number = done / 3;
            expected.update(rate.at(done), number % 2 == 0, &Grow::Random(&random(7, number))).unwrap();
            assert_eq!(keeps(&sparse.masks), keeps(&expected), "step {done}");
            assert_ne!(keeps(&sparse.masks), before, "step {done}");
            assert_eq!(sparse.density(), expected.density());
        }
    }

    #[test]
    fn random_numbers_follow_from_seed_update_and_name() {
        let draw = |seed, update, name| random(seed, update)(name, 5);
        let first = draw(1, 2, "a");
        assert_eq!(first, draw(1, 2, "a"));
        assert!(first.iter().all(|u| (0.0..1.0).contains(u)));
        for other in [draw(2, 2, "a"), draw(1, 3, "a"), draw(1, 2, "b")] {
            assert_ne!(first, other);
        }
    }
}
