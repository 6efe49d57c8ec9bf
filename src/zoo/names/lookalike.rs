//! Networks whose names look like those of networks here, but that compute something else.

use crate::weights::TensorMap;

/// A network that is not among those here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookalike {
    /// The family that it looks like; any, if `None`.
    pub family: Option<&'static str>,
    /// What it is, and how that shows.
    pub what: &'static str,
}

/// What the names or shapes of a file show not to be a network of this crate.
pub(super) fn lookalike(tensors: &TensorMap) -> Option<Lookalike> {
    let has = |name: &str| tensors.contains_key(name);
    let starts = |prefix: &str| tensors.keys().any(|name| name.starts_with(prefix));
    let contains = |part: &str| tensors.keys().any(|name| name.contains(part));
    let found = |family, what| Some(Lookalike { family: Some(family), what });
    if tensors.keys().any(|name| name.ends_with(".zero_point") || name.contains("_packed_params")) {
        return Some(Lookalike { family: None, what: "a network that was quantized for inference" });
    }
    if contains(".grn.") && ["dwconv", "conv_dw", "depthwise_conv"].into_iter().any(contains) {
        return found("convnext", "a ConvNeXt V2 (it has global response normalization, grn)");
    }
    if contains(".token_mixer.dwconv_hw.") {
        return found("convnext", "an InceptionNeXt (its depthwise convolutions are split, token_mixer)");
    }
    if has("norm_pre.weight") && has("stem.0.weight") && !has("head.norm.weight") {
        return found(
            "convnext",
            "a ConvNeXt whose last norm comes before the pooling (norm_pre; timm's convnext_*_hnf)",
        );
    }
    if !has("layer1.0.conv1.weight") {
        return None;
    }
    if has("conv1.0.weight") || starts("stem.") {
        return found("resnet", "a ResNet with three convolutions in its stem (ResNet-C or -D)");
    }
    if ["layer1.0.se.", "layer1.0.eca.", "layer1.0.attn."].into_iter().any(starts) {
        return found("resnet", "a ResNet with channel attention");
    }
    let dims = |name: &str| tensors.get(name).map_or(&[][..], |weight| weight.dims());
    match (dims("layer1.0.conv2.weight"), dims("layer1.0.conv3.weight")) {
        (&[width, inputs, 3, 3], _) if inputs < width => {
            found("resnet", "a ResNeXt (its 3x3 convolutions are grouped)")
        }
        (&[width, _, 3, 3], &[outputs, ..]) if outputs < 4 * width => {
            found("resnet", "a Wide ResNet (its 3x3 convolutions have twice the channels)")
        }
        _ => None,
    }
}
