//! The same through the library: analyses, training, saving and loading, and a network without a configuration.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use candle_core::{DType, Device, Tensor};
use kernelscope::analysis::erf::{Erf, Probe};
use kernelscope::analysis::{cost::costs, kernels::kernel_layers, orientation::orientations};
use kernelscope::nn::{BuildOptions, Builder, Params};
use kernelscope::weights;
use kernelscope::zoo::{Entry, Family, ModelSpec, Network, Preprocessing, Registry};
use kernelscope_lab::run::{DataConfig, DataSource, RunConfig, TrainConfig};
use kernelscope_lab::train::{Silent, Trainer};
use outside::RingConfig;
use std::collections::BTreeMap;

/// An image of a slow ramp.
fn image() -> Tensor {
    let values = (0..3 * 64 * 64).map(|i| (i % 64) as f32 / 64.0).collect();
    Tensor::from_vec(values, (1, 3, 64, 64), &Device::Cpu).unwrap()
}

#[test]
fn it_is_analyzed_saved_and_loaded() {
    Registry::builtin().with(Entry::new("ring", RingConfig::default)).install().unwrap();
    let network = Network::build(ModelSpec::named("ring").unwrap(), BuildOptions::frozen()).unwrap();
    let image = image();
    let mut erf = Erf::new(&network, Probe::default());
    erf.add(&image).unwrap();
    assert!(erf.map().unwrap().contribution.iter().sum::<f32>() > 0.0);
    let layers = kernel_layers(&network.params().tensors()).unwrap();
    assert_eq!(layers.len(), 2);
    assert_eq!(orientations(&layers[0]).channels.len(), 24);
    assert_eq!(costs(&network, 64, 64).unwrap().macs, network.trace(64, 64).unwrap().macs());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ring.safetensors");
    let metadata = BTreeMap::from([network.spec().metadata().unwrap()]);
    weights::save(&path, &network.params().tensors(), &metadata).unwrap();
    let checkpoint = weights::load(&path).unwrap();
    let back = Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen()).unwrap();
    let bits = |network: &Network| -> Vec<u32> {
        let logits = network.forward(&image).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        logits.into_iter().map(f32::to_bits).collect()
    };
    assert_eq!(bits(&back), bits(&network));
}

#[test]
fn it_is_trained_by_its_configuration_alone() {
    let spec =
        ModelSpec { name: "unregistered".into(), config: RingConfig { depth: 1, ..RingConfig::default() }.into() };
    let mut data = DataConfig::parse("builtin", 64, 0, &Preprocessing::default()).unwrap();
    if let DataSource::Builtin(images) = &mut data.source {
        (images.train, images.val) = (64, 32);
    }
    let train = TrainConfig { epochs: 1, ..TrainConfig::default() };
    let config = RunConfig { model: spec, train, data };
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = Trainer::create(&folder.path().join("run"), config).unwrap();
    assert!(trainer.train(&mut Silent).unwrap().last.unwrap().train_loss.is_finite());
}

#[test]
fn a_model_without_a_configuration_is_analyzed_too() {
    let builder = Builder::new(BuildOptions { dtype: DType::F32, ..BuildOptions::frozen() });
    struct Boxed(Box<dyn kernelscope::zoo::Model>);
    impl kernelscope::zoo::Model for Boxed {
        fn forward_features(
            &self,
            x: &Tensor,
            pass: &mut kernelscope::nn::Pass,
        ) -> kernelscope::Result<kernelscope::zoo::Features> {
            self.0.forward_features(x, pass)
        }

        fn forward_head(&self, last: &Tensor, pass: &mut kernelscope::nn::Pass) -> kernelscope::Result<Tensor> {
            self.0.forward_head(last, pass)
        }

        fn trace(&self, height: usize, width: usize) -> kernelscope::Result<kernelscope::nn::Trace> {
            self.0.trace(height, width)
        }
    }
    let model = Boxed(RingConfig::default().build(&builder.root()).unwrap());
    let params: Params = builder.finish().unwrap();
    let network = Network::from_model("mine", model, params);
    let mut erf = Erf::new(&network, Probe::default());
    erf.add(&image()).unwrap();
    assert_eq!(erf.map().unwrap().model, "mine");
    assert!(network.merged(kernelscope::zoo::Merge::Kernels).is_err());
}
