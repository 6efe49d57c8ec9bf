//! Arguments that name a trained network.

use clap::Args;
use kernelscope::weights::{self, Checkpoint, LoadOptions};
use kernelscope::zoo::ModelSpec;
use kernelscope::{Error, Result};
pub use kernelscope_lab::open::Loaded;
use kernelscope_lab::run::{DataConfig, RunFolder};
use std::path::PathBuf;

/// A network and its weights.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// Name of a registered network (see `kernelscope models`); not needed for kernelscope's own checkpoints
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Override a configuration field, for example --set directions=4 or --set kernel=31,31,27,15
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Weights: a safetensors or PyTorch file, including the official ones, or a folder or index of such files
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "random"])]
    pub weights: Option<PathBuf>,
    /// Which weights to use if a file contains several sets: an entry, for example model_ema or ema.module, or a prefix
    /// of names
    #[arg(long, value_name = "NAME", requires = "weights")]
    pub key: Option<String>,
    /// Use the newest checkpoint of a run folder
    #[arg(long, value_name = "RUN", conflicts_with = "random")]
    pub run: Option<PathBuf>,
    /// Use random weights from this seed instead of trained ones, to see what the architecture does by itself
    #[arg(long, value_name = "SEED")]
    pub random: Option<u64>,
}

impl NetworkArgs {
    /// Loads the network.
    pub fn load(&self) -> Result<Loaded> {
        if let Some(seed) = self.random {
            let Some(name) = &self.model else {
                return Err(Error::argument("--model", "nothing", "the name of a network, which --random needs"));
            };
            let spec = ModelSpec::named(name)?.with_overrides(&self.overrides)?;
            return Loaded::random(spec, seed);
        }
        let (checkpoint, data) = self.checkpoint()?;
        Loaded::from_checkpoint(checkpoint, self.model.as_deref(), &self.overrides, data)
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
                Err(Error::argument("weights", "nothing", "one of --weights FILE, --run RUN, or --random SEED"))
            }
        }
    }
}
