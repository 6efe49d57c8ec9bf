//! Checkpoints of other code bases: their names for tensors, and what else differs.
//!
//! Every family has official names ([`Ecosystem::Official`]), which its networks here use. Files of other code bases
//! are recognized by a few of their names; then tensors are renamed and, where a code base stores them in another shape,
//! reshaped. No tensor is transposed in any of them. What names and shapes do not show (batch norms that add another
//! number to the variance, another padding) follows from the code base or from a `config.json` beside the file, and
//! becomes a field of the configuration. Networks that only look alike are refused.
//!
//! [`Network::from_checkpoint`](super::Network::from_checkpoint) does all of this; [`renamed_for`] is the way back.
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
use crate::weights::keys::unwrap_downstream;
use crate::weights::{Checkpoint, TensorMap};
use crate::{Error, Result};
use family::{FamilyNames, families};
use settings::{Setting, config_json};
use translate::{Translation, is_classifier};

/// A checkpoint whose tensors have official names.
pub struct Translated {
    checkpoint: Checkpoint,
    translation: Option<Translation>,
    settings: Vec<Setting>,
    registered: Registered,
}

impl Translated {
    /// Gives the tensors of a checkpoint their official names. `family` is the family of the network that they are for,
    /// if that is known. What a checkpoint of this crate says of itself is right; only the names that larger networks put
    /// around their backbones are removed from it.
    ///
    /// # Errors
    /// If the tensors are of a network that is not among those here, or none without a classifier; if two get one name.
    pub fn new(checkpoint: Checkpoint, family: Option<&str>) -> Result<Self> {
        if ModelSpec::is_stored_in(&checkpoint) {
            let checkpoint = Checkpoint { tensors: unwrap_downstream(checkpoint.tensors), ..checkpoint };
            let registered = Registered::Unknown;
            return Ok(Translated { checkpoint, translation: None, settings: Vec::new(), registered });
        }
        let source = checkpoint.source.clone();
        let refused = |message: String| Error::file(&source, message);
        let mut translation = Translation::new(checkpoint.tensors, family).map_err(refused)?;
        let tensors = std::mem::take(&mut translation.renamed.tensors);
        let checkpoint = Checkpoint { tensors, ..checkpoint };
        let (mut settings, mut registered) = (Vec::new(), Registered::Unknown);
        if let Some((family, ecosystem)) = translation.known {
            tracing::info!("{}: a {} with the names of {ecosystem}", source.display(), family.title());
            let defaults = family.settings(ecosystem);
            settings = settings::settings(family.family(), ecosystem, defaults, &checkpoint).map_err(refused)?;
            registered = family.registered(&checkpoint.tensors);
        }
        Ok(Translated { checkpoint, translation: Some(translation), settings, registered })
    }

    /// The checkpoint, with official names.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The checkpoint, with official names, without what is known of where they come from.
    pub fn into_checkpoint(self) -> Checkpoint {
        self.checkpoint
    }

    /// The code base that the names in the file are from, if they are known.
    pub fn ecosystem(&self) -> Option<Ecosystem> {
        self.translation.as_ref().and_then(|translation| translation.known).map(|(_, ecosystem)| ecosystem)
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

    /// An error of building a network from these tensors, with the names of the file.
    pub fn in_words_of_the_file(&self, error: Error) -> Error {
        match (error, &self.translation) {
            (Error::Weights(mut mismatch), Some(translation)) => {
                let rename = |name: &mut String| *name = translation.in_file(name);
                mismatch.missing.iter_mut().for_each(rename);
                mismatch.unexpected.iter_mut().for_each(rename);
                mismatch.wrong_shape.iter_mut().for_each(|wrong| rename(&mut wrong.name));
                mismatch.into()
            }
            (other, _) => other,
        }
    }
}

/// How images are prepared for the weights of another code base, if a configuration beside the file says so.
pub(super) fn preprocessing_beside(checkpoint: &Checkpoint) -> Option<Preprocessing> {
    let found = |family: &&dyn FamilyNames| Some((family.family(), family.recognize(&checkpoint.tensors)?));
    let (family, ecosystem) = families().iter().find_map(found)?;
    match ecosystem {
        Ecosystem::Transformers => {
            let (_, config) = settings::json_beside(&checkpoint.source, "preprocessor_config.json")?;
            preprocessing::of_transformers(&config)
        }
        _ => preprocessing::of_timm(&config_json(family, ecosystem, &checkpoint.source)?.1),
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
