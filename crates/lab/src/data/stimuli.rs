//! Cue-conflict images on disk: one folder per shape category, the texture in the name of each file.

use super::list_images;
use super::listing::{extensions, file_name, folders};
use crate::{Error, Result};
use kernelscope::analysis::shape_bias::Categories;
use std::path::{Path, PathBuf};

/// One image of a stimulus folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stimulus {
    /// The file.
    pub path: PathBuf,
    /// Category of its shape: its folder's name.
    pub shape: usize,
    /// Category of its texture: read from its file name.
    pub texture: usize,
}

/// The texture in a file name of the form `..._SHAPE3-TEXTURE12.png`: the part after the last `_`, before the first
/// `.`, after the last `-`, without digits.
///
/// ```
/// use kernelscope_lab::data::texture_of_file_name;
/// assert_eq!(texture_of_file_name("0001_dnn_x_cat7-elephant1.png"), "elephant");
/// ```
pub fn texture_of_file_name(name: &str) -> String {
    let name = name.rsplit('_').next().unwrap_or_default();
    let name = name.split('.').next().unwrap_or_default();
    let name = name.rsplit('-').next().unwrap_or_default();
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The images of a stimulus folder with one folder per shape category.
///
/// # Errors
/// If the folder is missing, empty, or holds a shape or texture that is no category.
pub fn stimuli(dir: &Path, categories: &Categories) -> Result<Vec<Stimulus>> {
    let known = categories.names().join(", ");
    let mut found = Vec::new();
    for folder in folders(dir)? {
        let name = file_name(&folder);
        let shape = categories
            .index(&name)
            .ok_or_else(|| Error::file(&folder, format!("\"{name}\" is not a shape category; allowed: {known}")))?;
        for path in list_images(&folder)? {
            let texture = texture_of_file_name(&file_name(&path));
            let texture = categories.index(&texture).ok_or_else(|| {
                Error::file(&path, format!("\"{texture}\" in its name is not a texture category; allowed: {known}"))
            })?;
            found.push(Stimulus { path, shape, texture });
        }
    }
    if found.is_empty() {
        return Err(Error::file(dir, format!("contains no shape folders with images ({})", extensions())));
    }
    Ok(found)
}
