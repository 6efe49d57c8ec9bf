//! Arguments that name a trained network.

use clap::Args;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, Checkpoint, LoadOptions};
use kernelscope::zoo::{ModelSpec, Network, Preprocessing};
use kernelscope::{Error, Result};
use kernelscope_lab::data::EvalTransform;
use kernelscope_lab::open::eval_transform;
use kernelscope_lab::run::{DataConfig, RunFolder};
use std::path::PathBuf;

/// A network and its weights.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// Registered network (see `kernelscope models`); not needed for checkpoints of this program
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Override a configuration field, for example --set directions=4 or --set kernel=31,31,27,15
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Weights: .safetensors, or a PyTorch .pth (official files included)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "random"])]
    pub weights: Option<PathBuf>,
    /// Which weights of a PyTorch file that nests several, for example model_ema
    #[arg(long, value_name = "NAME", requires = "weights")]
    pub key: Option<String>,
    /// Take the newest checkpoint of a run folder
    #[arg(long, value_name = "RUN", conflicts_with = "random")]
    pub run: Option<PathBuf>,
    /// Random weights from this seed instead of trained ones: what the architecture alone does
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
}

/// A network that is ready for analysis, and how its images are prepared.
pub struct Loaded {
    /// The network, without gradients for its parameters.
    pub network: Network,
    /// Preparation of images: the run's or the one stored with the weights, else the registered network's.
    pub transform: EvalTransform,
    /// Data of the run, if it came from one.
    pub data: Option<DataConfig>,
}

impl NetworkArgs {
    /// Loads the network.
    pub fn load(&self) -> Result<Loaded> {
        if let Some(seed) = self.random {
            let Some(name) = &self.model else {
                return Err(Error::argument("--model", "nothing", "a network's name, with --random"));
            };
            let spec = ModelSpec::named(name)?.with_overrides(&self.overrides)?;
            let options = BuildOptions { seed, ..BuildOptions::frozen() };
            let network = Network::build(spec, options)?;
            let transform = eval_transform(&network.spec().preprocessing());
            return Ok(Loaded { network, transform, data: None });
        }
        let (checkpoint, data) = self.checkpoint()?;
        let stored = Preprocessing::of_checkpoint(&checkpoint)?;
        let source = checkpoint.source.clone();
        let options = BuildOptions::frozen();
        let network = Network::from_checkpoint(self.model.as_deref(), checkpoint, &self.overrides, options)?;
        let transform = match &data {
            Some(data) => data.eval_transform(),
            None => eval_transform(&stored.unwrap_or_else(|| network.spec().preprocessing())),
        };
        transform.check().map_err(|e| Error::file(source, format!("its images' preparation is not allowed: {e}")))?;
        Ok(Loaded { network, transform, data })
    }

    /// Loads the weights alone.
    pub fn checkpoint(&self) -> Result<(Checkpoint, Option<DataConfig>)> {
        match (&self.weights, &self.run) {
            (Some(file), _) => {
                let options = LoadOptions { key: self.key.clone() };
                Ok((weights::load_with(file, &options)?, None))
            }
            (None, Some(root)) => {
                let run = RunFolder::open(root)?;
                Ok((weights::load(&run.latest_checkpoint()?.path)?, Some(run.config()?.data)))
            }
            (None, None) => {
                Err(Error::argument("weights", "nothing", "one of --weights FILE, --run RUN or --random SEED"))
            }
        }
    }
}
