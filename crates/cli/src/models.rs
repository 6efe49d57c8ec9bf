//! `kernelscope models`.

use super::output::{grouped, print_json, say, table};
use kernelscope::Result;
use kernelscope::analysis::cost::{CostReport, costs, tables};
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::{Entry, ModelSpec, Network, Published, entry, registry};
use kernelscope_lab::data::check_side;
use serde::Serialize;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kernelscope models\n  kernelscope models convnext-t-1d --set directions=4 --layers\n  \
    kernelscope models --json\n  kernelscope models --table replknet-5\n  \
    kernelscope models --table all --markdown"
)]
pub struct Args {
    /// Names of the networks to list; all if left out
    names: Vec<String>,
    /// Override a configuration field of the named networks
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "names")]
    overrides: Vec<String>,
    /// Side of the image in pixels
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Also list every layer with its shape, parameters, multiply-adds and activation memory
    #[arg(long)]
    layers: bool,
    /// Instead, print a paper's table of costs, with our counts beside the published ones: shift-wise-equations,
    /// shift-wise-4, oriented-1d-1, replknet-5, or all
    #[arg(long, value_name = "NAME", conflicts_with_all = ["names", "overrides", "size", "layers"])]
    table: Option<String>,
    /// Print the table in Markdown
    #[arg(long, requires = "table", conflicts_with = "json")]
    markdown: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    paper: &'static str,
    weights: &'static str,
    parameters: usize,
    theta: usize,
    macs: u64,
    size: usize,
    published: Published,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<CostReport>,
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(name) = &args.table {
        return published_tables(name, args);
    }
    check_side("--size", args.size)?;
    let entries: Vec<Entry> = if args.names.is_empty() {
        registry()
    } else {
        args.names.iter().map(|name| entry(name)).collect::<Result<_>>()?
    };
    let rows = entries.iter().map(|e| row(e, args)).collect::<Result<Vec<_>>>()?;
    if args.json {
        let rows: Vec<Row> =
            rows.into_iter().map(|(row, report)| Row { layers: args.layers.then_some(report), ..row }).collect();
        return print_json(&rows);
    }
    let number = |value: Option<f64>| value.map_or("–".to_string(), |v| v.to_string());
    let lines = rows
        .iter()
        .map(|(row, _)| {
            vec![
                row.name.clone(),
                format!("{:.2}", row.parameters as f64 / 1e6),
                number(row.published.params_m),
                format!("{:.3}", row.macs as f64 / 1e9),
                number(row.published.gmacs),
                number(row.published.top1),
            ]
        })
        .collect();
    say(table(&["network", "params/M", "published", "GMACs", "published", "top-1/%"], lines))?;
    let size = args.size;
    say(format_args!("Computed at {size}x{size}; published counts are for 224x224. Angles count as parameters."))?;
    for (row, report) in &rows {
        if !row.published.remark.is_empty() {
            say(format_args!("{}: {}.", row.name, row.published.remark))?;
        }
        if args.layers {
            say(format_args!("\n{}", layer_table(report)))?;
        }
    }
    Ok(())
}

/// The table of this name, or all.
fn published_tables(name: &str, args: &Args) -> Result<()> {
    let names: &[&str] = if name == "all" { &tables::NAMES } else { &[name] };
    let found = names.iter().map(|name| tables::table(name)).collect::<Result<Vec<_>>>()?;
    if args.json {
        return print_json(&found);
    }
    for (index, found) in found.iter().enumerate() {
        if index > 0 {
            say("")?;
        }
        if args.markdown {
            say(found.markdown().trim_end())?;
            continue;
        }
        say(format_args!("{}\n\n{}\n", found.title, found.about.join("\n\n")))?;
        let header = found.header();
        say(table(&header.iter().map(String::as_str).collect::<Vec<_>>(), found.cells()))?;
        found.differences().iter().try_for_each(say)?;
    }
    Ok(())
}

fn row(entry: &Entry, args: &Args) -> Result<(Row, CostReport)> {
    let spec = ModelSpec::named(entry.name)?.with_overrides(&args.overrides)?;
    // What was published is about the registered configuration.
    let unchanged = spec == ModelSpec::named(entry.name)?;
    let published =
        if unchanged { entry.published } else { Published { params_m: None, gmacs: None, top1: None, remark: "" } };
    let network = Network::build(spec, BuildOptions::shapes_only())?;
    let report = costs(&network, args.size, args.size)?;
    let row = Row {
        name: entry.name.to_string(),
        paper: entry.paper,
        weights: entry.weights,
        parameters: report.params,
        theta: report.theta,
        macs: report.macs,
        size: args.size,
        published,
        layers: None,
    };
    Ok((row, report))
}

fn layer_table(report: &CostReport) -> String {
    let mut rows: Vec<Vec<String>> = report
        .layers
        .iter()
        .map(|l| {
            vec![
                l.path.clone(),
                l.kind.clone(),
                format!("{}x{}x{}", l.output.channels, l.output.height, l.output.width),
                grouped(l.params as u64),
                grouped(l.macs),
                format!("{:.1}", l.activation_bytes as f64 / 1024.0),
            ]
        })
        .collect();
    rows.push(vec![
        "total".into(),
        String::new(),
        String::new(),
        grouped(report.params as u64),
        grouped(report.macs),
        format!("{:.1}", report.activation_bytes as f64 / 1024.0),
    ]);
    table(&["layer", "kind", "output", "params", "MACs", "KiB"], rows)
}
