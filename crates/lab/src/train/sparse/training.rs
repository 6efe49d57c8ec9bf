//! Sparse training of a run: the first masks, and when they change.

use super::masks::Masks;
use super::random::random;
use super::update::{Grow, PruneRate};
use crate::config::{Growth, Moments, RunConfig, SparseConfig, SparseInit};
use crate::data::{Batch, Loader, LoaderConfig, Transform};
use crate::run::{MaskWriter, RunFolder};
use crate::train::batch;
use crate::train::loss::soft_cross_entropy;
use crate::train::optimizer::AdamW;
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use kernelscope::nn::{BuildOptions, Mode};
use kernelscope::rng;
use kernelscope::weights::TensorMap;
use kernelscope::zoo::Network;
use std::collections::BTreeMap;

/// Stream of the drop-path masks of SNIP's pass.
const SNIP: u64 = 12;

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
        run: &RunFolder,
        epoch: usize,
    ) -> Result<Option<Self>> {
        let Some(mut sparse) = Self::dense(config, network, train)? else { return Ok(None) };
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
            tracing::warn!(
                "the masks never change: they are updated every {every} steps, but the run has only {steps} steps"
            );
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

    /// What follows optimizer step number `done`, counted from 1: the masks are applied and, where it is due, updated.
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
    let images = batch::images(batch, copy.device())?;
    let targets = batch::targets(batch, copy.device())?;
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
    use crate::config::{AdamWConfig, SparseKind};
    use candle_core::{Device, Tensor};
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
}
