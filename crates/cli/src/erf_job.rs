//! The receptive field of one network over a list of images.

use super::network::Loaded;
use super::output::Progress;
use candle_core::{Device, Tensor};
use kernelscope::analysis::erf::{Definition, Erf, Probe};
use kernelscope::analysis::report::ErfMap;
use kernelscope::{Error, Result};
use kernelscope_lab::data::Reading;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is computed, and where the results go.
pub struct Job {
    pub probe: Probe,
    pub size: usize,
    pub definition: Definition,
    pub output: PathBuf,
    pub json: bool,
    pub reading: Reading,
}

/// The map of one network over images, with progress.
pub fn compute(job: &Job, loaded: &Loaded, images: &[PathBuf], label: &str, stop: &AtomicBool) -> Result<ErfMap> {
    let mut erf = Erf::new(&loaded.network, job.probe);
    let mut progress = Progress::new(images.len(), label);
    for path in images {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        let image = job.reading.open(path)?.resized(job.size, job.size, loaded.transform.filter);
        let values = loaded.transform.normalize.apply(&image);
        erf.add(&Tensor::from_vec(values, (1, 3, job.size, job.size), &Device::Cpu)?)?;
        progress.inc(1);
    }
    progress.finish();
    erf.map()
}
