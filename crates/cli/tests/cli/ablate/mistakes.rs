//! Mistakes in grids.

use super::Bench;

#[test]
fn mistakes_in_a_grid_are_named() {
    let bench = Bench::new("seeds = [0]", "");
    let whole = std::fs::read_to_string(bench.path("grid.toml")).unwrap();
    let axis = |key: &str, values: &str| format!("{whole}\n[[axis]]\nkey = \"{key}\"\nvalues = {values}\n");
    for (text, parts) in [
        (
            axis("set.kernels", "[7]"),
            &["variant \"kernels 7\"", "setting: got set.kernels", "stem_kernel", "directions"][..],
        ),
        (axis("set.kernel", "[7, 8]"), &["variant \"kernel 8\"", "kernel: got 8", "odd"]),
        (axis("train.epoch", "[7]"), &["setting: got train.epoch", "epochs", "batch_size"]),
        (axis("train.optimizer.momentum", "[0.9]"), &["train.optimizer.momentum", "beta1", "weight_decay"]),
        (axis("train.epochs", "[0]"), &["variant \"epochs 0\"", "epochs: got 0"]),
        (axis("train.epochs", "[\"many\"]"), &["train.epochs: got \"many\"", "usize"]),
        (axis("train.seed", "[1]"), &["train.seed", "seeds"]),
        (axis("train.augment", "[\"heavy\"]"), &["train.augment: got \"heavy\"", "light"]),
        (axis("data.source.trains", "[7]"), &["setting: got data.source.trains", " train,"]),
        (axis("data.source", "[\"photos\"]"), &["data.source: got \"photos\"", "builtin"]),
        (axis("data.size", "[30]"), &["variant \"size 30\"", "size"]),
        (axis("kernel", "[7]"), &["setting: got \"kernel\"", "set.FIELD"]),
        (axis("model", "[\"nano-3d\"]"), &["model: got nano-3d", "nano-1d"]),
        (axis("set.classes", "[3]"), &["set.classes", "follows from the data"]),
        (whole.replace("seeds", "seed"), &["grid.toml", "line 2", "unknown field `seed`", "`seeds`"]),
        (whole.replace("model = \"nano-1d\"", ""), &["variant \"test\": model: got nothing"]),
        (whole.replace("[base]", "[bass]"), &["grid.toml", "bass"]),
        (format!("{whole}\n[[axis]]\nkey = \"model\"\nvalues = []\n"), &["grid.toml", "axis model: values"]),
    ] {
        bench.grid(&text);
        bench.fails_without_trace(&["--out", "out"], parts);
    }
    bench.grid(&whole);
    bench.fails_without_trace(&["--out", "out", "--base", "train.epoch=3"], &["setting: got train.epoch", "epochs"]);
    bench.fails_without_trace(&["--out", "out", "--base", "epochs"], &["--base", "key=value"]);
    bench.fails_without_trace(&["--out", "out", "--shard", "5/4"], &["--shard", "5/4"]);
    bench.fails_without_trace(&["--out", "out", "--table-only"], &["out", "no run of this grid has finished yet"]);
    assert_eq!(bench.output(&[]).status.code(), Some(2), "--out is required");
}
