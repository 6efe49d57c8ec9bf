//! How images are prepared for weights of other code bases: it differs between weights of one network.

use crate::zoo::entry::Preprocessing;
use serde_json::Value;
use std::path::Path;

/// Share of the resized image that is kept where nothing is said.
const CROP_PCT: f64 = 224.0 / 256.0;

/// Side from which on transformers' ConvNeXts see the whole image.
const WHOLE_FROM: usize = 384;

/// Largest configuration that is read; usual ones have a few hundred bytes.
const MAX_BYTES: u64 = 1 << 20;

/// transformers' `preprocessor_config.json` beside a file of weights, if there is one that can be read.
pub(super) fn beside(weights: &Path) -> Option<Value> {
    let path = weights.is_file().then(|| weights.with_file_name("preprocessor_config.json"))?;
    std::fs::metadata(&path).ok().filter(|found| found.is_file() && found.len() <= MAX_BYTES)?;
    serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()
}

/// From timm's `config.json`.
pub(super) fn of_timm(config: &Value) -> Option<Preprocessing> {
    let pretrained = config.get("pretrained_cfg")?;
    let size = pretrained.get("input_size")?.as_array()?.last()?;
    Some(Preprocessing {
        size: side(size)?,
        crop_pct: pretrained.get("crop_pct").and_then(Value::as_f64).unwrap_or(CROP_PCT),
        mean: colors(pretrained, "mean")?,
        std: colors(pretrained, "std")?,
    })
}

/// From transformers' `preprocessor_config.json`.
pub(super) fn of_transformers(config: &Value) -> Option<Preprocessing> {
    let of = |key: &str, parts: &[&str]| {
        let value = config.get(key)?;
        side(parts.iter().find_map(|part| value.get(part)).unwrap_or(value))
    };
    let resized = of("size", &["shortest_edge", "height"])?;
    let crops = config.get("do_center_crop").and_then(Value::as_bool).unwrap_or(true);
    let (size, crop_pct) = match of("crop_size", &["height", "shortest_edge"]).filter(|_| crops) {
        Some(cropped) => (cropped, cropped as f64 / resized as f64),
        None if resized >= WHOLE_FROM => (resized, 1.0),
        None => (resized, config.get("crop_pct").and_then(Value::as_f64).unwrap_or(CROP_PCT)),
    };
    Some(Preprocessing { size, crop_pct, mean: colors(config, "image_mean")?, std: colors(config, "image_std")? })
}

fn side(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|side| usize::try_from(side).ok()).filter(|&side| side > 0)
}

/// A value per color channel.
fn colors(config: &Value, key: &str) -> Option<[f32; 3]> {
    let values = config.get(key)?.as_array()?;
    let values: Option<Vec<f32>> = values.iter().map(|value| value.as_f64().map(|value| value as f32)).collect();
    values?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

    #[test]
    fn timm_says_it_beside_the_architecture() {
        let config = json!({"architecture": "resnet50", "pretrained_cfg": {
            "input_size": [3, 288, 288], "crop_pct": 0.95, "mean": IMAGENET.0, "std": IMAGENET.1}});
        let found = of_timm(&config).unwrap();
        assert_eq!((found.size, found.crop_pct, found.std), (288, 0.95, IMAGENET.1));
        assert!(of_timm(&json!({"architecture": "resnet50"})).is_none());
    }

    #[test]
    fn transformers_has_several_ways_to_say_it() {
        let (mean, std) = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]);
        let sizes = |config: Value| of_transformers(&config).map(|found| (found.size, found.crop_pct));
        let google = json!({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224},
            "image_mean": mean, "image_std": std});
        assert_eq!(sizes(google), Some((224, 0.875)));
        let convnext = |size: usize| {
            json!({"size": {"shortest_edge": size}, "crop_pct": 0.9,
            "image_mean": IMAGENET.0, "image_std": IMAGENET.1})
        };
        assert_eq!((sizes(convnext(224)), sizes(convnext(384))), (Some((224, 0.9)), Some((384, 1.0))));
        assert_eq!(sizes(json!({"size": 224, "image_mean": mean, "image_std": std})), Some((224, CROP_PCT)));
        assert_eq!(sizes(json!({"size": 224, "image_mean": [0.5], "image_std": std})), None);
        assert_eq!(sizes(json!({"size": 0, "image_mean": mean, "image_std": std})), None);
    }
}
