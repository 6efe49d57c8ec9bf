//! The options on how image files are read.

use super::output::note;
use kernelscope::{Error, Result};
use kernelscope_lab::data::{Broken, Reading};
use std::path::PathBuf;

/// How image files are read.
#[derive(Debug, Clone, Copy, clap::Args)]
#[command(next_help_heading = "Image files")]
pub struct ReadingArgs {
    /// Turn photographs as their EXIF orientation says; without it, they are read as they are stored
    #[arg(long)]
    exif: bool,
    /// Most pixels of an image; larger ones are refused before they are decoded [default: 178956970]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    max_pixels: Option<u64>,
    /// Leave out images that cannot be read, and name each of them, instead of stopping at the first
    #[arg(long)]
    skip_broken: bool,
}

impl ReadingArgs {
    /// What a run does, if it is one's data, and what is asked for besides.
    pub fn over(&self, run: Option<Reading>) -> Reading {
        let run = run.unwrap_or_default();
        Reading {
            exif: self.exif || run.exif,
            max_pixels: self.max_pixels.unwrap_or(run.max_pixels),
            skip_broken: self.skip_broken || run.skip_broken,
        }
    }
}

/// Names what was left out.
pub fn say_broken(broken: &[Broken]) {
    for image in broken {
        note(format_args!("{}; left out", image.reason));
    }
}

/// The first `limit` files that can be read. All of them are read once, so that a broken one is known before long work.
pub fn readable(reading: Reading, files: Vec<PathBuf>, limit: usize) -> Result<Vec<PathBuf>> {
    let (mut kept, mut first): (Vec<PathBuf>, Option<Error>) = (Vec::new(), None);
    for file in files {
        if kept.len() >= limit {
            break;
        }
        match reading.open(&file) {
            Ok(_) => kept.push(file),
            Err(error) if reading.skip_broken => {
                say_broken(&[Broken::new(&file, &error)]);
                first.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match first {
        Some(error) if kept.is_empty() => Err(error),
        _ => Ok(kept),
    }
}
