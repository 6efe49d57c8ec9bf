//! What names and shapes do not show: functions that differ with the same parameters, as configurations beside the
//! weights tell them.
//!
//! | told by | what |
//! |---|---|
//! | the code base | what its batch norms add to the variance, its padding |
//! | `config.json` of transformers | the same where it differs, the stride of ResNet's blocks |
//! | `config.json` of timm | the name of the network (`architecture`) |
//! | the configuration in a checkpoint of mmpretrain, mmdet, or mmseg | the style of ResNets, dilations, batch norms |

use super::ecosystem::Ecosystem;
use super::python::{argument, call};
use crate::weights::Checkpoint;
use serde_json::Value;

/// A field of a configuration and its value.
pub(super) type Setting = (String, String);

/// Keys of the metadata under which a checkpoint has the text of its configuration in mmpretrain.
const MMENGINE_KEYS: [&str; 2] = ["meta.config", "meta.cfg"];

/// The configuration beside the weights, if it is about a network of this family in this code base. A folder may hold
/// several files, so that others are not an error.
pub(super) fn config_json(family: &str, ecosystem: Ecosystem, checkpoint: &Checkpoint) -> Option<Value> {
    let config: Value = serde_json::from_str(checkpoint.config.as_deref()?).ok()?;
    let about = |key: &str| config.get(key).and_then(Value::as_str);
    let fits = match ecosystem {
        Ecosystem::Transformers => about("model_type") == Some(model_type(family)),
        Ecosystem::Timm | Ecosystem::Official => {
            about("architecture").is_some_and(|architecture| is_of(family, architecture))
        }
        Ecosystem::Torchvision | Ecosystem::Mmpretrain => false,
    };
    fits.then_some(config)
}

/// transformers' name of a family.
fn model_type(family: &str) -> &str {
    match family {
        "mobilenetv2" => "mobilenet_v2",
        other => other,
    }
}

/// Whether timm's architecture is one of a family, or of a variant of it.
fn is_of(family: &str, architecture: &str) -> bool {
    // ResNets, ResNeXts, SE-ResNets, ...
    architecture.contains(if family == "resnet" { "resne" } else { family })
}

/// What all sources say, later ones overriding earlier ones.
///
/// # Errors
/// If one says that this is another network than those here: which.
pub(super) fn settings(
    family: &str,
    ecosystem: Ecosystem,
    defaults: &[(&str, &str)],
    checkpoint: &Checkpoint,
) -> Result<Vec<Setting>, String> {
    let mut settings: Vec<Setting> = defaults.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let mut set = |found: Vec<Setting>| {
        for (key, value) in found {
            settings.retain(|(known, _)| *known != key);
            settings.push((key, value));
        }
    };
    if let Some(config) = config_json(family, ecosystem, checkpoint) {
        let found = match ecosystem {
            Ecosystem::Transformers => of_transformers(family, &config),
            _ => of_timm(family, config.get("architecture").and_then(Value::as_str).unwrap_or_default()),
        };
        set(found.map_err(|what| format!("the config.json beside it says that it is {what}"))?);
    }
    if let Some(text) = MMENGINE_KEYS.into_iter().find_map(|key| checkpoint.metadata.get(key)) {
        set(of_mmengine(family, text).map_err(|what| format!("the configuration in it says that it is {what}"))?);
    }
    Ok(settings)
}

/// Says so if a field of transformers' configuration has another value than the network here.
fn unless(config: &Value, key: &str, value: impl Into<Value>, what: &str) -> Result<(), String> {
    let value = value.into();
    match config.get(key) {
        Some(found) if *found != value => Err(format!("{what} ({key} is {found}), which is not supported")),
        _ => Ok(()),
    }
}

fn of_transformers(family: &str, config: &Value) -> Result<Vec<Setting>, String> {
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    let mut found = Vec::new();
    match family {
        "convnext" => unless(config, "hidden_act", "gelu", "a ConvNeXt with another activation")?,
        "resnet" => {
            unless(config, "hidden_act", "relu", "a ResNet with another activation")?;
            unless(config, "layer_type", "bottleneck", "a ResNet with other blocks")?;
            unless(config, "downsample_in_first_stage", false, "a ResNet with a stride in its first stage")?;
            if flag("downsample_in_bottleneck") == Some(true) {
                found.push(("stride_in".to_string(), "1x1".to_string()));
            }
        }
        "mobilenetv2" => {
            unless(config, "hidden_act", "relu6", "a MobileNetV2 with another activation")?;
            unless(config, "output_stride", 32, "a MobileNetV2 with dilations in place of strides")?;
            if let Some(eps) = config.get("layer_norm_eps").and_then(Value::as_f64) {
                found.push(("norm_eps".to_string(), eps.to_string()));
            }
            if let Some(same) = flag("tf_padding") {
                found.push(("padding".to_string(), if same { "same" } else { "half" }.to_string()));
            }
        }
        _ => {}
    }
    Ok(found)
}

/// What timm's networks of the families here are. Others with the same parameters compute something else.
fn of_timm(family: &str, architecture: &str) -> Result<Vec<Setting>, String> {
    const TENSORFLOW: [(&str, &str); 2] = [("norm_eps", "0.001"), ("padding", "same")];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| architecture.starts_with(prefix));
    let known = match family {
        "resnet" => {
            // Weights of other origin in the same networks.
            let base = ["tv_", "ssl_", "swsl_", "gluon_"].iter().find_map(|origin| architecture.strip_prefix(origin));
            let base = base.unwrap_or(architecture);
            ["resnet50", "resnet101", "resnet152"].contains(&base.strip_suffix("_v1b").unwrap_or(base))
        }
        "convnext" => {
            starts(&["convnext_tiny", "convnext_small", "convnext_base", "convnext_large", "convnext_xlarge"])
                && !architecture.contains("hnf")
        }
        "mobilenetv2" => architecture == "mobilenetv2_100",
        "mobilenetv3" if architecture == "tf_mobilenetv3_small_100" => {
            return Ok(TENSORFLOW.map(|(key, value)| (key.to_string(), value.to_string())).to_vec());
        }
        "mobilenetv3" => architecture == "mobilenetv3_small_100",
        _ => true,
    };
    if known { Ok(Vec::new()) } else { Err(format!("{architecture}, which is not among the networks here")) }
}

/// From the text of a configuration, which is a program in Python: arguments of the backbone.
fn of_mmengine(family: &str, text: &str) -> Result<Vec<Setting>, String> {
    let Some(backbone) = call(text, "backbone") else { return Ok(Vec::new()) };
    let said = |name: &str| argument(backbone, name);
    let (kind, strides) = match family {
        "resnet" => ("ResNet", "(1,2,2,2)"),
        "mobilenetv2" => ("MobileNetV2", "(1,2,2,2,1,2,1)"),
        "mobilenetv3" => ("MobileNetV3", ""),
        _ => return Ok(Vec::new()),
    };
    // The configuration of a whole detector may have several backbones; this one is another's.
    if said("type").is_some_and(|found| found.trim_matches(['\'', '"']) != kind) {
        return Ok(Vec::new());
    }
    let plain = |list: &str| list.replace(' ', "").replace(['[', '{'], "(").replace([']', '}'], ")");
    let ones = |list: &str| plain(list).trim_matches(['(', ')']).split(',').all(|one| one.is_empty() || one == "1");
    if said("dilations").is_some_and(|list| !ones(list)) || said("strides").is_some_and(|list| plain(list) != strides) {
        return Err(format!("a {kind} with dilations in place of strides, which is not supported"));
    }
    let mut found = Vec::new();
    if family == "resnet" && said("style").is_some_and(|style| style.contains("caffe")) {
        found.push(("stride_in".to_string(), "1x1".to_string()));
    }
    let eps = call(backbone, "norm_cfg").and_then(|norm| argument(norm, "eps"));
    if let Some(eps) = eps.filter(|eps| eps.parse::<f64>().is_ok()) {
        found.push(("norm_eps".to_string(), eps.to_string()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pairs(found: &[(&str, &str)]) -> Vec<Setting> {
        found.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    #[test]
    fn a_configuration_of_mmpretrain_tells_style_and_norms() {
        let text = "model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=50, num_stages=4, \
                    strides=(1, 2, 2, 2), norm_cfg=dict(type='BN', eps=0.001), style='caffe'), head=dict(eps=1))";
        assert_eq!(of_mmengine("resnet", text).unwrap(), pairs(&[("stride_in", "1x1"), ("norm_eps", "0.001")]));
        assert!(of_mmengine("mobilenetv2", text).unwrap().is_empty(), "about another network");
        assert!(of_mmengine("resnet", &text.replace("caffe", "pytorch").replace("0.001", "x")).unwrap().is_empty());
        for (from, to) in [("(1, 2, 2, 2)", "(1, 2, 1, 1)"), ("depth=50", "dilations=[1, 1, 2, 4]")] {
            let error = of_mmengine("resnet", &text.replace(from, to)).unwrap_err();
            assert!(error.contains("dilations"), "{error}");
        }
        assert!(of_mmengine("resnet", &text.replace("depth=50", "dilations=(1, 1, 1, 1)")).is_ok());
    }

    #[test]
    fn a_configuration_of_transformers_tells_what_names_do_not() {
        let caffe = json!({"downsample_in_bottleneck": true, "hidden_act": "relu"});
        assert_eq!(of_transformers("resnet", &caffe).unwrap(), pairs(&[("stride_in", "1x1")]));
        assert!(of_transformers("resnet", &json!({"hidden_act": "silu"})).unwrap_err().contains("silu"));
        let google = json!({"tf_padding": true, "layer_norm_eps": 0.001, "output_stride": 32});
        let found = of_transformers("mobilenetv2", &google).unwrap();
        assert_eq!(found, pairs(&[("norm_eps", "0.001"), ("padding", "same")]));
        let half = of_transformers("mobilenetv2", &json!({"tf_padding": false})).unwrap();
        assert_eq!(half, pairs(&[("padding", "half")]));
        assert!(of_transformers("mobilenetv2", &json!({"output_stride": 8})).unwrap_err().contains("output_stride"));
    }

    #[test]
    fn timms_names_tell_networks_with_the_same_parameters_apart() {
        assert_eq!(
            of_timm("mobilenetv3", "tf_mobilenetv3_small_100").unwrap(),
            pairs(&[("norm_eps", "0.001"), ("padding", "same")])
        );
        for (family, architecture) in [
            ("mobilenetv3", "mobilenetv3_small_100"),
            ("resnet", "resnet50"),
            ("resnet", "gluon_resnet101_v1b"),
            ("convnext", "convnext_tiny_in22ft1k"),
        ] {
            assert!(of_timm(family, architecture).unwrap().is_empty(), "{architecture}");
        }
        for (family, architecture) in
            [("resnet", "resnetaa50"), ("resnet", "resnetblur50"), ("convnext", "convnext_tiny_hnf")]
        {
            assert!(is_of(family, architecture));
            assert!(of_timm(family, architecture).unwrap_err().contains(architecture));
        }
        assert!(!is_of("resnet", "vit_base_patch16_224"));
    }
}
