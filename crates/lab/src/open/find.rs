//! What a path holds.

use crate::run::RunFolder;
use crate::{Error, Result};
use kernelscope::weights::in_folder;
use std::path::{Path, PathBuf};

/// One thing that can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A run folder.
    Run(PathBuf),
    /// A file of weights.
    Weights(PathBuf),
    /// A NumPy matrix: a receptive field.
    Matrix(PathBuf),
}

impl Found {
    /// The folder or file.
    pub fn path(&self) -> &Path {
        match self {
            Found::Run(path) | Found::Weights(path) | Found::Matrix(path) => path,
        }
    }
}

/// Levels of folders below a folder that are searched for runs.
const DEPTH: usize = 2;
/// Most runs that are opened from one folder.
const MOST: usize = 64;

/// What is at a path: a file, a run, or all runs in a folder and the folders in it (as `quickstart` and `ablate` lay them
/// out), in the order of their names; else the weights in a folder, as the Hugging Face Hub lays it out. What a file holds
/// is found out when it is read.
///
/// # Errors
/// If there is nothing at the path, or neither a run nor a file of weights in a folder.
pub fn find(path: &Path) -> Result<Vec<Found>> {
    let kind = std::fs::metadata(path).map_err(Error::io("open", path))?;
    if !kind.is_dir() {
        let matrix = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"));
        let path = path.to_path_buf();
        return Ok(vec![if matrix { Found::Matrix(path) } else { Found::Weights(path) }]);
    }
    let mut found = Vec::new();
    runs(path, DEPTH, &mut found)?;
    if found.is_empty()
        && let Ok(file) = in_folder(path)
    {
        return Ok(vec![Found::Weights(file)]);
    }
    if found.is_empty() {
        return Err(Error::file(
            path,
            "is not a run folder (one with a config.toml) and contains none; open weights files individually",
        ));
    }
    if found.len() > MOST {
        return Err(Error::file(path, format!("contains {} runs; at most {MOST} can be opened at once", found.len())));
    }
    Ok(found)
}

fn runs(path: &Path, depth: usize, found: &mut Vec<Found>) -> Result<()> {
    if RunFolder::open(path).is_ok() {
        found.push(Found::Run(path.to_path_buf()));
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let mut folders: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(Error::io("read", path))?
        .filter_map(|item| item.ok().map(|item| item.path()).filter(|path| path.is_dir()))
        .collect();
    folders.sort();
    folders.iter().try_for_each(|folder| runs(folder, depth - 1, found))
}
