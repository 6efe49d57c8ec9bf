//! The papers' tables of costs: known numbers, counts by other means, the page in `docs`, and the command.

use assert_cmd::Command;
use kernelscope::analysis::cost::tables::{CostTable, NAMES, ShiftWise, table};
use kernelscope::nn::{BuildOptions, Builder, DepthwiseConv, FeatureShape, Trace};
use kernelscope::ops::depthwise2d::Options;

/// The counts of a row.
fn counts(table: &CostTable, row: usize) -> Vec<u64> {
    table.rows[row].figures.iter().filter_map(|figure| figure.computed).collect()
}

fn all() -> Vec<CostTable> {
    NAMES.iter().map(|name| table(name).unwrap()).collect()
}

#[test]
fn every_difference_from_a_published_figure_is_explained() {
    let (mut equal, mut different) = (0, 0);
    for table in all() {
        for row in &table.rows {
            assert_eq!(row.figures.len(), table.columns.len(), "{}: {}", table.name, row.case);
            let mut differs = false;
            for (column, figure) in table.columns.iter().zip(&row.figures) {
                assert!(column.printed || figure.published.is_none(), "{}: {}", table.name, column.name);
                match figure.agrees(column.unit) {
                    Some(true) => equal += 1,
                    Some(false) => differs = true,
                    None => {}
                }
            }
            assert_eq!(differs, !row.difference.is_empty(), "{}: {}", table.name, row.case);
            different += usize::from(differs);
        }
    }
    assert_eq!((equal, different), (4 + 1 + 9, 2));
}

#[test]
fn table_4_of_the_shift_wise_paper_is_computed() {
    let table = table("shift-wise-4").unwrap();
    assert_eq!(counts(&table, 0), [998, 3, 30_000, 3_630_000]);
    // 2 * 13 * 5 + 5 * 5 weights per channel, at 49 positions.
    assert_eq!(counts(&table, 1), [998, 998 * 155, 998 * 155 * 49]);
    assert_eq!((counts(&table, 2)[1], counts(&table, 3)[1]), (9, 10));
}

#[test]
fn shift_wise_counts_are_those_of_convolutions() {
    for (channels, long, small, ghost, paths, size) in
        [(998, 13, 5, 0.6, 1, (7, 7)), (124, 51, 5, 0.6, 1, (56, 56)), (61, 49, 3, 0.23, 2, (9, 14))]
    {
        let block = ShiftWise { channels, long, small, ghost, paths, size };
        let count = |channels: usize, options: &[Options]| {
            let builder = Builder::new(BuildOptions::shapes_only());
            let mut macs = 0;
            for (i, &options) in options.iter().enumerate() {
                let layer = DepthwiseConv::new(&builder.root().child(i), channels, false, options).unwrap();
                let mut trace = Trace::new(FeatureShape { channels, height: size.0, width: size.1 });
                layer.trace(&mut trace).unwrap();
                macs += trace.macs();
            }
            (builder.finish().unwrap().count() as u64, macs)
        };
        let padded = Options { padding: (small - 1, small - 1), ..Options::same(small, small) };
        let squares = count(block.convolved() * block.groups(), &vec![padded; paths]);
        assert_eq!((block.weights(), block.macs()), squares, "{block:?}");
        let branches = [Options::same(long, small), Options::same(small, long), Options::same(small, small)];
        assert_eq!(block.slak_weights(), count(channels, &branches).0, "{block:?}");
        assert_eq!(block.stripe_weights(), count(channels, &branches[..1]).0, "{block:?}");
    }
    // E2 and E4 of the table are at every position of the stage's maps.
    let table = table("shift-wise-equations").unwrap();
    for (row, side) in [56, 28, 14, 7].into_iter().enumerate() {
        let counts = counts(&table, row);
        assert_eq!((counts[4], counts[6]), (counts[3] * side * side, counts[5] * side * side));
    }
}

#[test]
fn counts_behind_table_1_of_the_oriented_paper() {
    let table = table("oriented-1d-1").unwrap();
    // 7 taps of an axis read inside at 7 * 56 - 2 * (1 + 2 + 3) = 380 pixels, 31 taps at 31 * 56 - 15 * 16 = 1496.
    assert_eq!(counts(&table, 0), [49, 49 * 3136, 49, 380 * 380]);
    assert_eq!(counts(&table, 1), [31, 31 * 3136, 31, 56 * 1496]);
    let pixels: Vec<u64> = (1..6).map(|row| counts(&table, row)[2]).collect();
    assert_eq!(pixels, [31, 29, 21, 29, 31]);
    assert_eq!(counts(&table, 1), counts(&table, 5), "a row and a column cost the same");
    // Two directions on the axes, four of the 22.5-degree type, two diagonals: 27.5 pixels in the mean.
    assert_eq!(counts(&table, 6)[2], 28);
}

#[test]
fn table_5_of_the_replknet_paper_is_computed() {
    let table = table("replknet-5").unwrap();
    let parameters = |row| counts(&table, row)[..3].to_vec();
    assert_eq!(parameters(0), [71_906_408, 71_894_376, 71_806_056]);
    assert_eq!(parameters(4), [79_864_168, 79_527_272, 79_438_952]);
    assert_eq!(counts(&table, 4)[3], 79_287_424);
    let gmacs: Vec<u64> = (0..5).map(|row| (counts(&table, row)[5] + 500_000) / 1_000_000).collect();
    assert_eq!(gmacs, [12_939, 13_063, 13_436, 14_809, 15_354]);
}

#[test]
fn the_page_on_costs_is_what_the_code_computes() {
    let page = include_str!("../../../../docs/costs.md");
    let (_, generated) = page.split_once("\n---\n\n").expect("a line before the tables");
    let tables: Vec<String> = all().iter().map(|table| table.markdown().trim_end().to_string()).collect();
    assert_eq!(generated.trim_end(), tables.join("\n\n"), "write it again: kernelscope models --table all --markdown");
}

#[test]
fn tables_are_printed_as_text_json_and_markdown() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.env_remove("RUST_LOG").arg("models").args(args).output().unwrap()
    };
    let succeeds = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = succeeds(&["--table", "replknet-5"]);
    for part in ["Table 5", "31-29-27-13", "79.44", "79.3", "31-29-27-13: 79.3M"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let markdown = succeeds(&["--table", "shift-wise-4", "--markdown"]);
    assert_eq!(markdown.trim_end(), table("shift-wise-4").unwrap().markdown().trim_end());
    assert!(markdown.contains("unknown"), "{markdown}");
    let json: serde_json::Value = serde_json::from_str(&succeeds(&["--table", "all", "--json"])).unwrap();
    let names: Vec<&str> = json.as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, NAMES);
    assert_eq!(json[1]["rows"][0]["figures"][3]["computed"], 3_630_000);
    assert_eq!(json[1]["rows"][0]["figures"][3]["published"], "3.63");
    let refused = run(&["--table", "replknet-6"]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && stderr.lines().count() == 1, "{stderr}");
    assert!(stderr.contains("replknet-6") && NAMES.iter().all(|name| stderr.contains(name)), "{stderr}");
    for wrong in [&["nano-2d", "--table", "all"][..], &["--markdown"], &["--table", "all", "--size", "64"]] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
