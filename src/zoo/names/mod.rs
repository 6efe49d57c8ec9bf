//! Checkpoints of other code bases: their names for tensors, and what else differs.
//!
//! Every family has official names ([`Ecosystem::Official`]), which its networks here use. Files of other code bases
//! are recognized by a few of their names; then tensors are renamed and, where a code base stores them in another shape,
//! reshaped. No tensor is transposed in any of them. What names and shapes do not show (batch norms that add another
//! number to the variance, another padding) follows from the code base or from a `config.json` beside the file, and
//! becomes a field of the configuration. Networks that only look alike are refused.
//!
//! [`Network::from_checkpoint`](super::Network::from_checkpoint) does all of this, behind any prefix and in any of the
//! sets of tensors in a file; [`renamed_for`] is the way back.
//!
//! ```
//! use kernelscope::nn::BuildOptions;
//! use kernelscope::weights::Checkpoint;
//! use kernelscope::zoo::{ModelSpec, Network, names::{Ecosystem, renamed_for}};
//! # fn main() -> kernelscope::Result<()> {
//! let spec = ModelSpec::named("mobilenetv2-k3")?.with_overrides(&["classes=10"])?;
//! let network = Network::build(spec, BuildOptions::shapes_only())?;
//! let tensors = renamed_for(network.spec(), &network.params().tensors(), Ecosystem::Timm)?;
//! assert!(tensors.contains_key("blocks.1.0.conv_pwl.weight"));
//! // Nobody needs to say what this is.
//! let checkpoint = Checkpoint { tensors, source: "mobilenetv2_100.pth".into(), ..Checkpoint::default() };
//! let network = Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen())?;
//! assert_eq!(network.spec().name, "mobilenetv2-k3");
//! # Ok(())
//! # }
//! ```

mod convmixer;
mod convnext;
mod ecosystem;
mod family;
mod lookalike;
mod mobilenet_v2;
mod mobilenet_v3;
mod preprocessing;
mod python;
mod replknet;
mod resnet;
mod rules;
mod settings;
mod translate;

pub use ecosystem::Ecosystem;
pub use family::Registered;

use super::entry::Preprocessing;
use super::spec::ModelSpec;
use crate::weights::{Checkpoint, TensorMap, views};
use crate::{Error, Result};
use family::families;
use settings::{Setting, config_json};
use translate::{Translation, is_classifier, recognize};

/// A checkpoint whose tensors have official names.
pub struct Translated {
    checkpoint: Checkpoint,
    translation: Translation,
    settings: Vec<Setting>,
    registered: Registered,
}

impl Translated {
    /// Gives the tensors of a checkpoint their official names. `family` is the family of the network that they are for,
    /// if that is known. What a checkpoint of this crate says of itself is right; only the names that larger networks put
    /// around their backbones are removed from it.
    ///
    /// # Errors
    /// If the tensors are of a network that is not among those here, or two get one name.
    pub fn new(mut checkpoint: Checkpoint, family: Option<&str>) -> Result<Self> {
        let source = checkpoint.source.clone();
        let refused = |message: String| Error::file(&source, message);
        let tensors = std::mem::take(&mut checkpoint.tensors);
        let translation = match ModelSpec::is_stored_in(&checkpoint) {
            true => Translation::of_official(tensors),
            false => Translation::new(tensors, family),
        };
        let mut translation = translation.map_err(refused)?;
        let tensors = std::mem::take(&mut translation.renamed.tensors);
        let mut translated = Translated {
            checkpoint: checkpoint.renamed(tensors, |name| translation.in_file(name)),
            translation,
            settings: Vec::new(),
            registered: Registered::Unknown,
        };
        if let Some((family, ecosystem)) = translated.translation.known {
            let defaults = family.settings(ecosystem);
            let found = settings::settings(family.family(), ecosystem, defaults, &translated.checkpoint);
            translated.settings = found.map_err(refused)?;
            translated.registered = family.registered(&translated.checkpoint.tensors);
        }
        Ok(translated)
    }

    /// The checkpoint, with official names.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The code base that the names in the file are from, if they are known.
    pub fn ecosystem(&self) -> Option<Ecosystem> {
        self.translation.known.map(|(_, ecosystem)| ecosystem)
    }

    /// The registered network that the file holds, as far as names and shapes show it.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// Fields of the configuration, as `key=value`, that the file's network has other values for than those here, and
    /// that names and shapes do not show.
    pub fn settings(&self) -> Vec<String> {
        self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// What a tensor with this official name was called before, or would have been if it were there.
    pub(super) fn before(&self, official: &str) -> String {
        self.translation.in_file(official)
    }

    /// The official name of a tensor that is called so where the others are from.
    pub(super) fn official(&self, name: &str) -> Option<String> {
        self.translation.official(name)
    }

    /// What the tensors are, where their names are not the official ones.
    pub(super) fn origin(&self) -> Option<String> {
        let (family, ecosystem) = self.translation.known.filter(|(_, code)| *code != Ecosystem::Official)?;
        Some(format!("a {} with the names of {ecosystem}", family.title()))
    }

    /// What the tensors are without, if they are those of a network here but for its classifier: what it is, and the
    /// official name of the missing weight.
    pub(super) fn without_classifier(&self) -> Option<(&'static str, String)> {
        let (family, _) = self.translation.known?;
        Some((family.title(), self.translation.missing_classifier(&self.checkpoint.tensors)?))
    }
}

/// How images are prepared for the weights of another code base, if a configuration beside the file says so.
pub(super) fn preprocessing_beside(checkpoint: &Checkpoint) -> Option<Preprocessing> {
    let names: Vec<&str> = checkpoint.tensors.keys().map(String::as_str).collect();
    let mut seen = views::whole(&names).into_iter().map(|view| view.of(checkpoint.tensors.clone()));
    let (family, ecosystem) = seen.find_map(|tensors| recognize(&tensors))?;
    match ecosystem {
        Ecosystem::Transformers => preprocessing::of_transformers(&preprocessing::beside(&checkpoint.source)?),
        _ => preprocessing::of_timm(&config_json(family.family(), ecosystem, checkpoint)?),
    }
}

/// The tensors of a network under the names, and in the shapes, of a code base.
///
/// # Errors
/// If the code base does not have the network, or a tensor has no name there.
pub fn renamed_for(spec: &ModelSpec, tensors: &TensorMap, ecosystem: Ecosystem) -> Result<TensorMap> {
    let network = spec.config.family();
    let named = families().into_iter().find(|family| family.family() == network);
    let (family, naming) = match named.map(|family| (family, family.naming(ecosystem))) {
        Some((family, Some(naming))) => (family, naming),
        // Networks of other families have one set of names.
        None if ecosystem == Ecosystem::Official => return Ok(tensors.clone()),
        _ => {
            let has = families().into_iter().filter(|family| family.naming(ecosystem).is_some());
            let has: Vec<&str> = has.map(|family| family.title()).collect();
            let allowed = format!("one that has it; {ecosystem} has {}", has.join(", "));
            return Err(Error::argument("ecosystem", format!("{ecosystem} for {}", spec.name), allowed));
        }
    };
    if let Err(what) = family.check(&spec.config, ecosystem) {
        let allowed = format!("one that has it; {ecosystem} has no {} with {what}", family.title());
        return Err(Error::argument("ecosystem", format!("{ecosystem} for {}", spec.name), allowed));
    }
    let mut renamed = TensorMap::with_capacity(tensors.len());
    for (official, tensor) in tensors {
        let Some(name) = naming.rules.other(official) else {
            let allowed = format!("names of a {} with a name in {ecosystem}", family.title());
            return Err(Error::argument("weights", official, allowed));
        };
        let prefix = if is_classifier(family, official) { "" } else { naming.prefix };
        let tensor = match family.other_shape(ecosystem, official, tensor.dims()) {
            Some(shape) => tensor.reshape(shape)?,
            None => tensor.clone(),
        };
        renamed.insert(format!("{prefix}{name}"), tensor);
    }
    Ok(renamed)
}
