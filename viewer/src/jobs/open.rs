//! Reading what is at a path.

use super::link::{Link, Report};
use crate::state::{ErfKey, ErfResult, Images};
use kernelscope::analysis::erf::read_npy;
use kernelscope::{Error, Result};
use kernelscope_lab::data::Image;
use kernelscope_lab::open::{Facts, Found, Overview, Stamp, Subject, sha256, sparsity_of};
use kernelscope_lab::run::RunFolder;
use std::sync::Arc;

/// What to read.
pub struct OpenTask {
    /// Where it is, and what kind of thing it is.
    pub found: Found,
    /// The network to use for a file that does not name its own.
    pub model: Option<String>,
    /// Epoch of a run's checkpoint.
    pub epoch: Option<usize>,
}

/// Reads an entry, and reports each part as soon as it is known: the network and its kernels, then what is pruned, then
/// the hash of the file.
///
/// # Errors
/// If nothing can be read.
pub fn open(task: &OpenTask, link: &Link) -> Result<()> {
    let subject = match &task.found {
        Found::Matrix(path) => {
            let map = read_npy(path)?;
            let key = ErfKey {
                stage: None,
                position: None,
                size: map.height,
                images: 1,
                source: Images::Path(path.clone()),
                generation: 0,
            };
            let image = Arc::new(Image::filled(1, 1, [128; 3]));
            link.send(Report::Erf(Box::new(ErfResult::new(key, map, 1, image, (0, 0), link.job()))));
            link.send(Report::Hash(sha256(path, &|| link.stopped())?));
            return Ok(());
        }
        Found::Run(path) => {
            let run = RunFolder::open(path)?;
            let stamp = Stamp::of(&run);
            link.send(Report::Overview(Arc::new(Overview::read(&run)), stamp));
            Subject::of_run(&run, task.epoch)?
        }
        Found::Weights(path) => Subject::open(path, task.model.as_deref(), None)?,
    };
    link.check()?;
    let subject = Arc::new(subject);
    link.send(Report::Subject(subject.clone(), Arc::new(Facts::new(&subject))));
    link.check()?;
    link.send(Report::Sparsity(sparsity_of(&subject).map(Arc::new).map_err(|error| error.to_string())));
    link.send(Report::Hash(sha256(&subject.source, &|| link.stopped())?));
    Ok(())
}

/// Reads a run again if its files changed.
///
/// # Errors
/// If the folder is gone.
pub fn follow(found: &Found, known: &Stamp, link: &Link) -> Result<()> {
    let Found::Run(path) = found else {
        return Err(Error::argument("entry", found.path().display(), "a run folder"));
    };
    let run = RunFolder::open(path)?;
    let stamp = Stamp::of(&run);
    if stamp != *known {
        link.send(Report::Overview(Arc::new(Overview::read(&run)), stamp));
    }
    Ok(())
}
