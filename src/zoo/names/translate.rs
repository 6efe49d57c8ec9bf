//! From the names of a file to official ones, for one set of tensors.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, as_linear, families};
use super::lookalike::lookalike;
use crate::text::short_name;
use crate::weights::TensorMap;
use crate::weights::keys::{backbone_prefix, without_downstream};
use candle_core::Tensor;
use std::collections::HashMap;

/// Tensors with their official names, and what they were called in the file.
#[derive(Default)]
pub(super) struct Renamed {
    pub tensors: TensorMap,
    file_names: HashMap<String, String>,
}

impl Renamed {
    /// The tensors under their own names, without those that larger networks put around a backbone's.
    fn plain(tensors: TensorMap) -> Result<Self, String> {
        let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        let inner = without_downstream(&names);
        let mut plain = Renamed::default();
        for ((file, tensor), name) in tensors.into_iter().zip(inner) {
            if let Some(name) = name {
                plain.add(name, file, tensor)?;
            }
        }
        Ok(plain)
    }

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
    /// If the names show another network than those here, or two become one.
    pub fn new(tensors: TensorMap, target: Option<&str>) -> Result<Self, String> {
        let plain = Translation::of_official(tensors)?;
        if target.is_some_and(|target| families().iter().all(|family| family.family() != target)) {
            return Ok(plain);
        }
        let tensors = &plain.renamed.tensors;
        if let Some(other) = lookalike(tensors)
            && (target.is_none() || other.family.is_none() || other.family == target)
        {
            return Err(format!("is {}, which is not among the networks here", other.what));
        }
        let Some((family, ecosystem)) = recognize(tensors) else { return Ok(plain) };
        if let Some(target) = target.filter(|target| *target != family.family()) {
            // Official names of one family may be a part of another's; what is missing will be named.
            if ecosystem == Ecosystem::Official {
                return Ok(plain);
            }
            let title = family.title();
            return Err(format!("holds a {title} with the names of {ecosystem}, not a network of the family {target}"));
        }
        let naming = family.naming(ecosystem).unwrap_or_else(Naming::official);
        let inner = !naming.prefix.is_empty() && tensors.keys().any(|name| name.starts_with(naming.prefix));
        let prefix = if inner { naming.prefix } else { plain.prefix };
        let renamed = renamed(plain.renamed, family, &naming)?;
        Ok(Translation { renamed, known: Some((family, ecosystem)), naming, prefix })
    }

    /// Tensors that have official names already, but for what larger networks put around those of a backbone.
    ///
    /// # Errors
    /// If two become one.
    pub fn of_official(tensors: TensorMap) -> Result<Self, String> {
        let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
        let prefix = backbone_prefix(&names);
        Ok(Translation { renamed: Renamed::plain(tensors)?, known: None, naming: Naming::official(), prefix })
    }

    /// What a tensor with this official name is called in the file, or would be if it were there.
    pub fn in_file(&self, official: &str) -> String {
        if let Some(name) = self.renamed.file_name(official) {
            return name.to_string();
        }
        let in_classifier = self.known.is_some_and(|(family, _)| is_classifier(family, official));
        match self.naming.rules.other(official) {
            Some(name) if in_classifier && !self.naming.prefix.is_empty() => name,
            Some(name) => format!("{}{name}", self.prefix),
            None => official.to_string(),
        }
    }

    /// The official name of what a file with these names calls so.
    pub fn official(&self, name: &str) -> Option<String> {
        self.naming.rules.official(body(name, &self.naming))
    }

    /// The official name of the classifier, if it is not among these official names: a backbone has nothing to classify
    /// with.
    pub fn missing_classifier(&self, tensors: &TensorMap) -> Option<String> {
        let (family, _) = self.known.filter(|(family, _)| !family.runs_without_classifier())?;
        let module = family.classifier().first()?;
        let is_there = tensors.keys().any(|name| is_in(name, module));
        (!is_there).then(|| format!("{module}.weight"))
    }
}

/// The family and the code base that names are from.
pub(super) fn recognize(tensors: &TensorMap) -> Option<(&'static dyn FamilyNames, Ecosystem)> {
    families().into_iter().find_map(|family| Some((family, family.recognize(tensors)?)))
}

/// A name without what a code base puts before all names.
fn body<'a>(name: &'a str, naming: &Naming) -> &'a str {
    name.strip_prefix(naming.prefix).unwrap_or(name)
}

/// Whether a tensor belongs to a module.
fn is_in(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

/// Whether a tensor belongs to the classifier.
pub(super) fn is_classifier(family: &dyn FamilyNames, official: &str) -> bool {
    family.classifier().iter().any(|module| is_in(official, module))
}

/// The tensors with official names and shapes. What has no official name keeps that of the file, so that it is not used
/// for anything.
fn renamed(plain: Renamed, family: &dyn FamilyNames, naming: &Naming) -> Result<Renamed, String> {
    let mut renamed = Renamed::default();
    let Renamed { tensors, mut file_names } = plain;
    for (name, tensor) in tensors {
        let file = file_names.remove(&name).unwrap_or_else(|| name.clone());
        let Some(official) = naming.rules.official(body(&name, naming)) else {
            if naming.rules.other(&file).is_some() {
                return Err(format!("has {}, which is no name of its {}", short_name(&file), family.title()));
            }
            renamed.add(file.clone(), file, tensor)?;
            continue;
        };
        let tensor = match official_shape(family, &official, tensor.dims()) {
            Some(shape) => reshaped(&tensor, shape).map_err(|error| error.to_string())?,
            None => tensor,
        };
        renamed.add(official, file, tensor)?;
    }
    Ok(renamed)
}

/// A tensor in another shape. One whose elements are all the same one in memory, such as a stand-in that has a shape but
/// no values, takes no memory afterwards either.
fn reshaped(tensor: &Tensor, shape: Vec<usize>) -> candle_core::Result<Tensor> {
    let is_repeated = tensor.elem_count() > 1 && tensor.stride().iter().all(|&stride| stride == 0);
    if !is_repeated {
        return tensor.reshape(shape);
    }
    let element = (0..tensor.rank()).try_fold(tensor.clone(), |inner, axis| inner.narrow(axis, 0, 1))?;
    element.reshape(())?.broadcast_as(shape)
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
    fn tasks_keep_their_parts_and_backbones_have_no_classifier() {
        let wrapped = |name: &str| format!("backbone.{name}");
        let mut tensors: TensorMap =
            [("conv1.weight", &[64usize, 3, 7, 7][..]), ("layer1.0.conv1.weight", &[64, 64, 1, 1])]
                .into_iter()
                .map(|(name, dims)| (wrapped(name), zeros(dims)))
                .collect();
        tensors.insert("decode_head.conv_seg.weight".into(), zeros(&[1]));
        let found = Translation::new(tensors.clone(), None).unwrap();
        let missing = found.missing_classifier(&found.renamed.tensors).unwrap();
        assert_eq!((missing.as_str(), found.in_file(&missing).as_str()), ("fc.weight", "backbone.fc.weight"));
        tensors.insert("head.fc.weight".into(), zeros(&[5, 2048]));
        let found = Translation::new(tensors, None).unwrap();
        assert_eq!(found.missing_classifier(&found.renamed.tensors), None);
        let names: Vec<&str> = found.renamed.tensors.keys().map(String::as_str).collect();
        assert_eq!(names, ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"]);
        assert_eq!(found.in_file("bn1.weight"), "backbone.bn1.weight");
        assert_eq!(found.in_file("fc.bias"), "head.fc.bias");
    }

    #[test]
    fn stand_ins_are_reshaped_without_memory() {
        let zero = zeros(&[]);
        let stand_in = |(name, dims): (&str, &[usize])| (name.to_string(), zero.broadcast_as(dims).unwrap());
        let found = Translation::new(TIMM.into_iter().map(stand_in).collect(), None).unwrap();
        let weight = &found.renamed.tensors["stages.0.0.pwconv1.weight"];
        assert_eq!((weight.dims(), weight.stride()), (&[32, 8][..], &[0, 0][..]));
        // As would be those of a value.
        let half = Tensor::new(0.5f32, &Device::Cpu).unwrap().broadcast_as((2, 3, 1, 1)).unwrap();
        let flat = reshaped(&half, vec![2, 3]).unwrap();
        assert_eq!(flat.to_vec2::<f32>().unwrap(), [[0.5; 3]; 2]);
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
