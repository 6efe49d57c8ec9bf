//! From the names of a file to official ones, for the tensors of one entry.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, as_linear, families};
use super::lookalike::lookalike;
use crate::text::short_name;
use crate::weights::TensorMap;
use crate::weights::keys::{has_backbone, in_backbone, unwrapped};
use candle_core::Tensor;
use std::collections::HashMap;

/// Tensors with their official names, and what they were called in the file.
#[derive(Default)]
pub(super) struct Renamed {
    pub tensors: TensorMap,
    file_names: HashMap<String, String>,
}

impl Renamed {
    /// Adds a tensor, which is called `file` in the file.
    fn add(&mut self, name: String, file: String, tensor: Tensor) -> Result<(), String> {
        if let Some(other) = self.file_names.insert(name.clone(), file.clone()) {
            let (first, second) = (short_name(&other), short_name(&file));
            return Err(format!("its tensors {first} and {second} are both {} of the network", short_name(&name)));
        }
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// What a tensor is called in the file.
    pub fn file_name(&self, name: &str) -> Option<&str> {
        self.file_names.get(name).map(String::as_str)
    }
}

/// The tensors of a file under official names.
pub(super) struct Translation {
    pub renamed: Renamed,
    /// Family and code base, if the names are known.
    pub known: Option<(&'static dyn FamilyNames, Ecosystem)>,
    naming: Naming,
    /// What stands before all names in the file but those of the classifier.
    prefix: &'static str,
}

impl Translation {
    /// Renames and reshapes what is called otherwise, where the names are those of a family here. `target` is the family
    /// of the network that the tensors are for, if that is known; the names of other families stay.
    ///
    /// # Errors
    /// If the names show another network than those here, two become one, or the classifier is missing.
    pub fn new(tensors: TensorMap, target: Option<&str>) -> Result<Self, String> {
        let backbone = has_backbone(tensors.keys());
        let plain = without_wrappers(tensors, backbone)?;
        let prefix = if backbone { "backbone." } else { "" };
        let unknown = |renamed| Translation { renamed, known: None, naming: Naming::official(), prefix };
        if target.is_some_and(|target| families().iter().all(|family| family.family() != target)) {
            return Ok(unknown(plain));
        }
        if let Some(other) = lookalike(&plain.tensors)
            && (target.is_none() || other.family.is_none() || other.family == target)
        {
            return Err(format!("is {}, which is not among the networks here", other.what));
        }
        let found = families().into_iter().find_map(|family| Some((family, family.recognize(&plain.tensors)?)));
        let Some((family, ecosystem)) = found else { return Ok(unknown(plain)) };
        if let Some(target) = target.filter(|target| *target != family.family()) {
            // Official names of one family may be a part of another's; what is missing will be named.
            if ecosystem == Ecosystem::Official {
                return Ok(unknown(plain));
            }
            let title = family.title();
            return Err(format!("holds a {title} with the names of {ecosystem}, not a network of the family {target}"));
        }
        let naming = family.naming(ecosystem).unwrap_or_else(Naming::official);
        let inner = !naming.prefix.is_empty() && plain.tensors.keys().any(|name| name.starts_with(naming.prefix));
        let prefix = if inner { naming.prefix } else { prefix };
        let renamed = renamed(plain, family, &naming)?;
        let translation = Translation { renamed, known: Some((family, ecosystem)), naming, prefix };
        translation.check_classifier(family)?;
        Ok(translation)
    }

    /// What a tensor with this official name is called in the file, or would be if it were there.
    pub fn in_file(&self, official: &str) -> String {
        if let Some(name) = self.renamed.file_name(official) {
            return name.to_string();
        }
        let Some((family, _)) = self.known else { return official.to_string() };
        match self.naming.rules.other(official) {
            Some(name) if is_classifier(family, official) && !self.naming.prefix.is_empty() => name,
            Some(name) => format!("{}{name}", self.prefix),
            None => official.to_string(),
        }
    }

    /// A backbone has nothing to classify with.
    fn check_classifier(&self, family: &dyn FamilyNames) -> Result<(), String> {
        let Some(module) = family.classifier().first().filter(|_| !family.runs_without_classifier()) else {
            return Ok(());
        };
        if self.renamed.tensors.keys().any(|name| is_in(name, module)) {
            return Ok(());
        }
        let missing = self.in_file(&format!("{module}.weight"));
        Err(format!("holds a {} without a classifier: {} is missing", family.title(), short_name(&missing)))
    }
}

/// Whether a tensor belongs to a module.
fn is_in(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a tensor belongs to the classifier.
pub(super) fn is_classifier(family: &dyn FamilyNames, official: &str) -> bool {
    family.classifier().iter().any(|module| is_in(official, module))
}

/// The names without what larger networks put around them.
fn without_wrappers(tensors: TensorMap, backbone: bool) -> Result<Renamed, String> {
    let mut plain: Vec<(String, String, Tensor)> = Vec::with_capacity(tensors.len());
    for (file, tensor) in tensors {
        let name = if backbone { in_backbone(&file).map(str::to_string) } else { Some(file.clone()) };
        plain.extend(name.map(|name| (name, file, tensor)));
    }
    let present: std::collections::HashSet<String> = plain.iter().map(|(name, ..)| name.clone()).collect();
    let mut renamed = Renamed::default();
    for (name, file, tensor) in plain {
        let inner = unwrapped(&name).filter(|inner| !present.contains(inner));
        renamed.add(inner.unwrap_or(name), file, tensor)?;
    }
    Ok(renamed)
}

/// The tensors with official names and shapes. What has no official name keeps that of the file, so that it is not used
/// for anything.
fn renamed(plain: Renamed, family: &dyn FamilyNames, naming: &Naming) -> Result<Renamed, String> {
    let mut renamed = Renamed::default();
    let Renamed { tensors, mut file_names } = plain;
    for (name, tensor) in tensors {
        let file = file_names.remove(&name).unwrap_or_else(|| name.clone());
        let body = name.strip_prefix(naming.prefix).unwrap_or(&name);
        let Some(official) = naming.rules.official(body) else {
            if naming.rules.other(&file).is_some() {
                return Err(format!("has {}, which is no name of its {}", short_name(&file), family.title()));
            }
            renamed.add(file.clone(), file, tensor)?;
            continue;
        };
        let shape = official_shape(family, &official, tensor.dims());
        let tensor = match shape {
            Some(shape) => tensor.reshape(shape).map_err(|error| error.to_string())?,
            None => tensor,
        };
        renamed.add(official, file, tensor)?;
    }
    Ok(renamed)
}

/// The official shape of a tensor, where it may be stored in another one.
fn official_shape(family: &dyn FamilyNames, official: &str, dims: &[usize]) -> Option<Vec<usize>> {
    if official.ends_with(".num_batches_tracked") && dims == [1] {
        return Some(Vec::new());
    }
    let head = family.classifier().first().is_some_and(|module| official == format!("{module}.weight"));
    let linear = if head { as_linear(dims) } else { None };
    linear.or_else(|| family.official_shape(official, dims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn file(names: &[(&str, &[usize])]) -> TensorMap {
        names.iter().map(|(name, dims)| (name.to_string(), zeros(dims))).collect()
    }

    fn zeros(dims: &[usize]) -> Tensor {
        Tensor::zeros(dims, candle_core::DType::F32, &Device::Cpu).unwrap()
    }

    /// A ConvNeXt of timm, of which only some tensors are there.
    const TIMM: [(&str, &[usize]); 4] = [
        ("stem.0.weight", &[8, 3, 4, 4]),
        ("stages.0.blocks.0.conv_dw.weight", &[8, 1, 7, 7]),
        ("stages.0.blocks.0.mlp.fc1.weight", &[32, 8, 1, 1]),
        ("head.fc.weight", &[5, 8]),
    ];

    #[test]
    fn names_and_shapes_become_official_and_are_found_again() {
        let found = Translation::new(file(&TIMM), None).unwrap();
        let names: Vec<&str> = found.renamed.tensors.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["downsample_layers.0.0.weight", "stages.0.0.dwconv.weight", "stages.0.0.pwconv1.weight", "head.weight"]
        );
        assert_eq!(found.renamed.tensors["stages.0.0.pwconv1.weight"].dims(), [32, 8]);
        assert_eq!(found.in_file("stages.0.0.dwconv.weight"), "stages.0.blocks.0.conv_dw.weight");
        assert_eq!(found.in_file("stages.2.5.pwconv2.bias"), "stages.2.blocks.5.mlp.fc2.bias", "is not there");
        let (family, ecosystem) = found.known.unwrap();
        assert_eq!((family.family(), ecosystem), ("convnext", Ecosystem::Timm));
    }

    #[test]
    fn what_has_no_rule_keeps_its_name() {
        let mut more = file(&TIMM);
        more.insert("stages.0.blocks.0.extra.weight".into(), zeros(&[1]));
        let found = Translation::new(more.clone(), Some("convnext")).unwrap();
        assert!(found.renamed.tensors.contains_key("stages.0.blocks.0.extra.weight"));
        // An official name where it is not one would be used.
        more.insert("norm.weight".into(), zeros(&[8]));
        assert!(Translation::new(more, None).err().unwrap().contains("norm.weight"));
    }

    #[test]
    fn prefixes_are_those_of_the_file() {
        let bare = [
            ("embeddings.patch_embeddings.weight", &[8usize, 3, 4, 4][..]),
            ("encoder.stages.0.layers.0.dwconv.weight", &[8, 1, 7, 7]),
            ("classifier.weight", &[5, 8]),
        ];
        for prefix in ["", "convnext."] {
            let named =
                |name: &str| if name.starts_with("classifier") { name.into() } else { format!("{prefix}{name}") };
            let tensors = bare.iter().map(|(name, dims)| (named(name), zeros(dims))).collect();
            let found = Translation::new(tensors, None).unwrap();
            assert_eq!(found.in_file("norm.weight"), format!("{prefix}layernorm.weight"));
            assert_eq!(found.in_file("head.bias"), "classifier.bias");
            assert_eq!(found.in_file("stages.0.0.dwconv.weight"), named("encoder.stages.0.layers.0.dwconv.weight"));
        }
        let mut both: TensorMap = bare.iter().map(|(name, dims)| (name.to_string(), zeros(dims))).collect();
        both.insert("convnext.encoder.stages.0.layers.0.dwconv.weight".into(), zeros(&[8, 1, 7, 7]));
        let error = Translation::new(both, None).err().unwrap();
        for part in ["its tensors encoder.stages", "and convnext.encoder.stages", "stages.0.0.dwconv.weight"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn tasks_keep_their_parts_and_backbones_are_refused() {
        let wrapped = |name: &str| format!("backbone.{name}");
        let mut tensors: TensorMap =
            [("conv1.weight", &[64usize, 3, 7, 7][..]), ("layer1.0.conv1.weight", &[64, 64, 1, 1])]
                .into_iter()
                .map(|(name, dims)| (wrapped(name), zeros(dims)))
                .collect();
        tensors.insert("decode_head.conv_seg.weight".into(), zeros(&[1]));
        let error = Translation::new(tensors.clone(), None).err().unwrap();
        assert!(error.contains("ResNet without a classifier: backbone.fc.weight is missing"), "{error}");
        tensors.insert("head.fc.weight".into(), zeros(&[5, 2048]));
        let found = Translation::new(tensors, None).unwrap();
        let names: Vec<&str> = found.renamed.tensors.keys().map(String::as_str).collect();
        assert_eq!(names, ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"]);
        assert_eq!(found.in_file("bn1.weight"), "backbone.bn1.weight");
        assert_eq!(found.in_file("fc.bias"), "head.fc.bias");
    }

    #[test]
    fn other_families_keep_their_names() {
        let kept = Translation::new(file(&TIMM), Some("slak")).unwrap();
        assert!(kept.known.is_none() && kept.renamed.tensors.contains_key("stem.0.weight"));
        let error = Translation::new(file(&TIMM), Some("resnet")).err().unwrap();
        assert!(error.contains("ConvNeXt with the names of timm") && error.contains("family resnet"), "{error}");
        let official = file(&[("stages.0.0.dwconv.weight", &[8, 1, 7, 7])]);
        assert!(Translation::new(official, Some("resnet")).unwrap().known.is_none());
    }
}
