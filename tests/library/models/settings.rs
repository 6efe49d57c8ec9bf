//! Configuration fields: which there are, and the wrong ones.

use super::{build, refused, spec};
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::{ModelSpec, registry};

#[test]
fn wrong_settings_are_named() {
    let error = refused("nano-1d", "kernels=7");
    for field in ["kernels", "variant", "kernel2", "directions", "arbitrary_size", "head_scale"] {
        assert!(error.contains(field), "{error}");
    }
    for (name, settings) in [
        (
            "nano-1d",
            &[
                "kernel=8",
                "kernel=129",
                "kernel=0",
                "kernel=7,7,7",
                "kernel=seven",
                "directions=0",
                "directions=many",
                "depths=0",
                "dims=8,0,8,8",
                "drop_path=1",
                "depths=1001",
                "dims=1000000000000",
                "dims=8,8,8,70000",
                "drop_path=nan",
                "drop_path=-0.1",
                "directions=18446744073709551615",
                "directions=9223372036854775807",
                "directions=70000",
                "kernel=1000000000001",
                "kernel2=129",
                "stem_kernel=9223372036854775807",
                "classes=0",
                "classes=-1",
                "classes=1000001",
                "classes=1000000000000",
                "stem_channels=0",
                "stem_channels=1000000000000",
                "layer_scale=nan",
                "layer_scale=inf",
                "layer_scale=-1",
                "head_scale=nan",
                "head_scale=inf",
                "head_scale=-1",
                "head_scale=1e300",
                "variant=3d",
                "stem=round",
                "arbitrary_size=perhaps",
                "layer_scale=small",
                "norm=group",
                "init=zero",
            ][..],
        ),
        ("nano-2d", &["kernel=65", "kernel=8", "stem_kernel=65", "family=convmixer"]),
        (
            "convmixer-768-32-1d",
            &[
                "dim=0",
                "dim=1000000000000",
                "drop_path=1",
                "depth=0",
                "depth=1000000000000",
                "patch=0",
                "patch=1000000000000",
                "classes=0",
                "classes=1000000000000",
                "directions=70000",
                "kernel=64",
                "kernel=8",
                "kernel=129",
            ],
        ),
        (
            "nano-replk",
            &[
                "kernel=8",
                "kernel=65",
                "kernel=0",
                "kernel=7,7,7",
                "small_kernel=9",
                "small_kernel=4",
                "small_kernel=0",
                "small_kernel=five",
                "dw_ratio=0",
                "dw_ratio=0.01",
                "dw_ratio=-1",
                "dw_ratio=nan",
                "dw_ratio=inf",
                "ffn_ratio=1e9",
                "ffn_ratio=wide",
                "depths=0",
                "depths=1001",
                "dims=0",
                "dims=1000000000000",
                "classes=0",
                "classes=1000001",
                "drop_path=1",
                "drop_path=nan",
                "merged=perhaps",
                "folded=true",
                "stage_norms=true",
                "backbone=2",
            ],
        ),
        (
            "nano-slak",
            &[
                "kernel=8",
                "kernel=65",
                "kernel=7,7,7",
                "small_kernel=9",
                "small_kernel=4",
                "small_kernel=0",
                "small_kernel=none",
                "small_kernel=five",
                "width=0",
                "width=0.01",
                "width=-1",
                "width=nan",
                "width=inf",
                "width=1e9",
                "width=wide",
                "depths=0",
                "depths=1001",
                "dims=0",
                "dims=1000000000000",
                "classes=0",
                "classes=1000001",
                "drop_path=1",
                "drop_path=nan",
                "layer_scale=-1",
                "head_scale=nan",
                "init=zero",
                "head_norm=group",
                "decompose=perhaps",
                "merged=2",
                "merge_form=square",
            ],
        ),
        ("convnext-t-31", &["small_kernel=4", "small_kernel=0", "small_kernel=28"]),
        (
            "nano-mbv2",
            &[
                "kernel=8",
                "kernel=65",
                "kernel=0",
                "kernel=7,7,7,7",
                "small_kernel=9",
                "small_kernel=2",
                "small_kernel=0",
                "small_kernel=five",
                "dilation=0",
                "dilation=65",
                "dilation=18446744073709551615",
                "where=first",
                "shortcut=maybe",
                "rows=[]",
                "rows=[[1,8,1]]",
                "rows=[[1,8,1,3]]",
                "rows=[[0,8,1,1]]",
                "rows=[[1,70000,1,1]]",
                "stem=0",
                "last=1000000000000",
                "dropout=1",
                "dropout=nan",
                "drop_path=1",
                "drop_path=nan",
                "classes=0",
                "merged=perhaps",
                "folded=true",
                "norm_eps=0",
                "norm_eps=nan",
                "padding=valid",
            ],
        ),
        (
            "resnet-50",
            &[
                "norm_eps=2",
                "stride_in=2x2",
                "drop_path=1",
                "depths=0",
                "depths=1001",
                "width=0",
                "width=1000000000000",
                "classes=0",
                "classes=1000001",
            ],
        ),
        (
            "nano-sw",
            &[
                "body=v3",
                "kernel=8",
                "kernel=65",
                "kernel=0",
                "small_kernel=9",
                "small_kernel=4",
                "small_kernel=0",
                "width=0",
                "width=0.01",
                "width=nan",
                "width=1e9",
                "ghost_ratio=1",
                "ghost_ratio=0.97",
                "ghost_ratio=-0.1",
                "ghost_ratio=nan",
                "paths=0",
                "paths=65",
                "reps=0",
                "reps=1000000000000",
                "padding=none",
                "merged=perhaps",
                "depths=1001",
                "dims=1000000000000",
                "classes=0",
                "drop_path=1",
                "layer_scale=nan",
                "init=zero",
                "head_norm=group",
            ],
        ),
        (
            "mobilenetv3-small-1d",
            &[
                "kernel=same",
                "norm_eps=-0.1",
                "padding=zeros",
                "drop_path=-0.1",
                "kernel=4",
                "kernel=129",
                "directions=0",
                "directions=70000",
                "classes=0",
                "classes=1000001",
            ],
        ),
    ] {
        for setting in settings {
            let error = refused(name, setting);
            let key = setting.split_once('=').unwrap().0;
            assert!(error.contains(key), "{name} {setting}: {error}");
        }
    }
    assert!(refused("nano-1d", "kernel").contains("key=value"));
    let error = ModelSpec::named("convnext-x").unwrap_err().to_string();
    assert!(error.contains("convnext-x") && registry().iter().all(|e| error.contains(e.name)), "{error}");
}

/// Names of networks, and fields with values that are not the networks' own. Scripts may rely on these.
const FIELDS: [(&str, &[&str]); 10] = [
    (
        "convnext-t-1dpp",
        &[
            "kernel=7",
            "kernel2=31,31,27,15",
            "directions=channels",
            "layerwise_rotation=false",
            "stem_kernel=7",
            "stem_channels=32",
            "arbitrary_size=true",
        ],
    ),
    ("replknet-31b", &["kernel=25,25,25,13", "small_kernel=none"]),
    (
        "mobilenetv2-k9",
        &["kernel=3", "small_kernel=3", "shortcut=false", "dilation=4", "where=last", "norm_eps=1e-3", "padding=same"],
    ),
    ("convmixer-768-32-1d", &["kernel=7", "directions=4"]),
    ("mobilenetv3-small-1d", &["kernel=7", "directions=4", "norm_eps=0.001", "padding=same"]),
    ("slak-t", &["kernel=31", "small_kernel=3", "width=1"]),
    ("sw-v1-t", &["kernel=51", "small_kernel=3", "width=1", "ghost_ratio=0.23", "paths=1", "reps=4", "padding=half"]),
    ("sw-v2-s", &["kernel=51", "small_kernel=5", "width=1.3", "ghost_ratio=0", "paths=1", "reps=1", "padding=half"]),
    ("resnet-101", &["norm_eps=0.001", "stride_in=1x1"]),
    ("nano-sw", &["kernel=7"]),
];

#[test]
fn fields_that_scripts_rely_on_can_be_set() {
    for (name, fields) in FIELDS {
        let plain = ModelSpec::named(name).unwrap();
        for field in fields.iter().chain(&["classes=7", "drop_path=0.3"]) {
            let changed = spec(name, &[field]);
            assert_ne!(changed, plain, "{name}: {field} changes nothing");
            // One large network after the other would take long, and each is built elsewhere.
            if name.starts_with("nano") || name.starts_with("mobile") {
                build(changed, BuildOptions::shapes_only());
            }
        }
    }
}
