//! Work that runs the network.

use super::link::{Link, Report};
use crate::state::{BiasKey, BiasResult, ErfKey, ErfResult, Images, Progress};
use kernelscope::analysis::erf::{Erf, Probe};
use kernelscope::zoo::Network;
use kernelscope::{Error, Result};
use kernelscope_lab::data::Reading;
use kernelscope_lab::open::Subject;
use kernelscope_lab::report::{ErfInputs, Stimuli};
use kernelscope_lab::run::{DataConfig, DataSource};
use std::sync::Arc;

/// What to compute.
pub struct ErfTask {
    /// The network.
    pub subject: Arc<Subject>,
    /// Everything that determines the map.
    pub key: ErfKey,
    /// What the map is called.
    pub label: String,
}

fn network(subject: &Subject) -> Result<&Network> {
    let network = subject.network.as_deref();
    network.ok_or_else(|| Error::argument("network", "not known", "weights whose network is known"))
}

/// How image files are read: as the run did, that the weights came from.
fn reading(subject: &Subject) -> Reading {
    subject.data.as_ref().map(|data| data.reading).unwrap_or_default()
}

/// The run's data, or built-in images prepared as the weights expect.
fn data(subject: &Subject) -> Result<DataConfig> {
    if let Some(data) = &subject.data {
        return Ok(data.clone());
    }
    let t = &subject.transform;
    let source = DataSource::parse("builtin", t.size, 0)?;
    let reading = reading(subject);
    Ok(DataConfig { size: t.size, crop_pct: t.crop_pct, normalize: t.normalize, reading, source })
}

/// Averages a receptive field, and reports it after every image.
///
/// # Errors
/// If an image cannot be read, or the network does not fit.
pub fn erf(task: &ErfTask, link: &Link) -> Result<()> {
    let network = network(&task.subject)?;
    let (size, count) = (task.key.size, task.key.images);
    let inputs = match &task.key.source {
        Images::Own => ErfInputs::of_data(&data(&task.subject)?, size, count)?,
        Images::Path(path) => {
            let inputs = ErfInputs::of_files(path, task.subject.transform.clone(), size, count)?;
            inputs.with_reading(reading(&task.subject))
        }
    };
    let mut erf = Erf::new(network, Probe { stage: task.key.stage, position: task.key.position });
    let mut first = None;
    for index in 0..inputs.len() {
        link.check()?;
        link.send(Report::Progress(Progress { done: index, all: inputs.len() }));
        let image = inputs.image(index)?;
        erf.add(&inputs.tensor(&image)?)?;
        let image = first.get_or_insert_with(|| Arc::new(image)).clone();
        let mut map = erf.map()?;
        map.model.clone_from(&task.label);
        // Each map needs a number of its own, also the one over fewer images.
        let version = (link.job() << 20) + index as u64;
        let key = task.key.clone();
        let mut result = ErfResult::new(key, map, inputs.len(), image, erf.stage_size(), version);
        result.input = Arc::from(inputs.about());
        link.send(Report::Erf(Box::new(result)));
    }
    Ok(())
}

/// What to ask.
pub struct BiasTask {
    /// The network.
    pub subject: Arc<Subject>,
    /// Everything that determines the answers.
    pub key: BiasKey,
    /// What the network is called.
    pub label: String,
}

/// Number of answers between two reports.
const BLOCK: usize = 16;

/// Asks a network about cue-conflict images, and reports the answers in blocks.
///
/// # Errors
/// If there are no images for the network, or one cannot be read.
pub fn bias(task: &BiasTask, link: &Link) -> Result<()> {
    let network = network(&task.subject)?;
    let stimuli = match &task.key.stimuli {
        Some(folder) => Stimuli::folder(folder, task.subject.transform.clone())?.with_reading(reading(&task.subject)),
        None => {
            let classes = network.spec().config.classes();
            let allowed = "a stimulus folder, or a network trained on the built-in set";
            if classes != kernelscope_lab::data::shapes_textures::CLASSES {
                return Err(Error::argument("stimuli", format!("none, for a network with {classes} classes"), allowed));
            }
            let found = Stimuli::builtin(&data(&task.subject)?, task.key.images)?;
            found.ok_or_else(|| Error::argument("stimuli", "none, for this run's data", allowed))?
        }
    };
    let stimuli = Arc::new(stimuli);
    let mut answered = Vec::with_capacity(stimuli.len());
    for index in 0..stimuli.len() {
        link.check()?;
        answered.push(stimuli.answer(network, index)?);
        if (index + 1) % BLOCK == 0 || index + 1 == stimuli.len() {
            link.send(Report::Progress(Progress { done: index + 1, all: stimuli.len() }));
            let report = stimuli.report(&task.label, &answered);
            let version = (link.job() << 20) + index as u64;
            let result = BiasResult { stimuli: stimuli.clone(), answered: answered.clone(), report, version };
            link.send(Report::Bias(Box::new(result)));
        }
    }
    Ok(())
}
