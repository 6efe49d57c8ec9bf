//! A benchmark of operators as a CSV file, named after the machine, and commented with what made it.

use super::ops::Report;
use crate::{Error, Result};
use kernelscope::files;
use std::path::{Path, PathBuf};

/// Name of the file, for example `amd-epyc-2-threads-f32-nchw-ops.csv`. Part of the cases, or cases that were changed
/// or only looked at quickly, go to a file of their own, so that they never replace full results.
pub fn file_name(report: &Report, complete: bool) -> String {
    let (machine, layout) = (&report.machine, report.layout.label());
    let part = if complete { "" } else { "-part" };
    format!("{}-{}-threads-{}-{layout}-ops{part}.csv", machine.slug(), machine.threads, report.dtype)
}

/// Writes the report into `folder`, which exists; the file's path.
///
/// # Errors
/// If the file cannot be written.
pub fn write(folder: &Path, report: &Report, complete: bool) -> Result<PathBuf> {
    let path = folder.join(file_name(report, complete));
    let table = table(report).map_err(|e| Error::file(&path, e))?;
    files::write_atomically(&path, |out| {
        out.write_all(header(report).as_bytes())?;
        out.write_all(&table)
    })?;
    Ok(path)
}

fn header(report: &Report) -> String {
    let machine = &report.machine;
    // A command line may hold line breaks; a comment may not.
    let command = report.command.replace(['\n', '\r'], " ");
    let mut lines = vec![
        format!("command: {command}"),
        format!("date: {}", report.date),
        format!("kernelscope: {}", report.version),
        format!("processor: {}", machine.processor),
        format!("threads: {}, cores: {}", machine.threads, machine.cores),
        format!("copy bandwidth: {:.2} GB/s", machine.bandwidth_gb_per_s),
        format!("arithmetic peak: {:.2} GMAC/s", machine.peak_gmac_per_s),
    ];
    if let Some(version) = &report.torch {
        lines.push(format!("PyTorch: {version}, as many threads, the faster of its two layouts"));
    }
    lines.iter().map(|line| format!("# {line}\n")).collect()
}

fn table(report: &Report) -> std::result::Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in &report.measurements {
        writer.serialize(row)?;
    }
    writer.into_inner().map_err(|e| e.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::clock::date;
    use crate::bench::machine::Machine;
    use crate::bench::ops::{Measurement, Pass};
    use crate::bench::peer::MemoryLayout;

    fn report() -> Report {
        let row = |pass, torch: Option<f64>| Measurement {
            case: "1x31 45deg 512x56x56".into(),
            images: 4,
            channels: 512,
            side: 56,
            stride: 1,
            pass,
            min_ms: 1.0 / 3.0,
            median_ms: 0.5,
            runs: 9,
            macs: 123_456_789,
            bytes: 51_380_224,
            gmac_per_s: 370.370_367,
            gb_per_s: 154.140_672,
            bound_ms: 0.25,
            roofline_share: 0.75,
            torch_min_ms: torch,
            torch_median_ms: torch.map(|t| 2.0 * t),
            torch_runs: torch.map(|_| 3),
            torch_layout: torch.map(|_| MemoryLayout::ChannelsLast),
            torch_ratio: torch.map(|t| 3.0 * t),
        };
        Report {
            command: "kernelscope bench ops\n--peer torch".into(),
            date: date(0),
            version: "0.1.0",
            dtype: "f32",
            layout: MemoryLayout::Nchw,
            machine: Machine {
                processor: "AMD EPYC".into(),
                cores: 2,
                threads: 2,
                bandwidth_gb_per_s: 20.126,
                peak_gmac_per_s: 150.0,
            },
            torch: Some("2.9.1".into()),
            measurements: vec![row(Pass::Forward, None), row(Pass::Gradients, Some(12.5))],
        }
    }

    #[test]
    fn the_file_says_what_made_it_and_has_a_row_per_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), &report(), true).unwrap();
        assert_eq!(path.file_name().unwrap(), "amd-epyc-2-threads-f32-nchw-ops.csv");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "# command: kernelscope bench ops --peer torch\n\
             # date: 1970-01-01 00:00 UTC\n\
             # kernelscope: 0.1.0\n\
             # processor: AMD EPYC\n\
             # threads: 2, cores: 2\n\
             # copy bandwidth: 20.13 GB/s\n\
             # arithmetic peak: 150.00 GMAC/s\n\
             # PyTorch: 2.9.1, as many threads, the faster of its two layouts\n\
             case,images,channels,side,stride,pass,min_ms,median_ms,runs,macs,bytes,gmac_per_s,gb_per_s,bound_ms,\
             roofline_share,torch_min_ms,torch_median_ms,torch_runs,torch_layout,torch_ratio\n\
             1x31 45deg 512x56x56,4,512,56,1,forward,0.333333,0.5,9,123456789,51380224,370.37,154.141,0.25,0.75,,,,,\n\
             1x31 45deg 512x56x56,4,512,56,1,forward and gradients,0.333333,0.5,9,123456789,51380224,370.37,154.141,\
             0.25,0.75,12.5,25.0,3,channels_last,37.5\n"
        );
    }

    #[test]
    fn a_part_does_not_replace_the_whole() {
        assert_eq!(file_name(&report(), false), "amd-epyc-2-threads-f32-nchw-ops-part.csv");
    }
}
