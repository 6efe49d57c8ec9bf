//! Images in class folders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;

use super::listing::{extensions, file_name, folders, images_below};
use super::{Broken, Dataset, Reading, Sample, index_error};
use crate::{Error, Result};
use kernelscope::rng::{hash_name, stream};

/// Seed of the split that is made when a folder has no `train` and `val` of its own.
const SPLIT_SEED: u64 = 0x0053_504C_4954;

/// One image in this many goes to validation when a folder has no split of its own.
const VAL_ONE_IN: usize = 5;

/// A data set on disk: one folder per class, with that class's images anywhere below it.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    files: Vec<(PathBuf, usize)>,
    reading: Reading,
}

impl ImageFolder {
    /// Lists the class folders of `dir` and their images. Class indices follow the sorted folder names; hidden folders
    /// and files are passed over, and so is what systems leave behind ([`LEFT_BEHIND`](super::LEFT_BEHIND)). Images are
    /// read when they are asked for.
    ///
    /// # Errors
    /// If the folder cannot be read or holds no class folders with images, or if two class names are the same as far as
    /// they are UTF-8.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let mut classes = Vec::new();
        let mut files = Vec::new();
        for (label, folder) in class_folders(dir)?.into_iter().enumerate() {
            let found = images_below(&folder)?;
            if found.is_empty() {
                return Err(Error::file(&folder, format!("this class folder contains no images ({})", extensions())));
            }
            files.extend(found.into_iter().map(|file| (file, label)));
            let name = file_name(&folder);
            if classes.last() == Some(&name) {
                let message = format!("another class folder has the name {name} as well, as far as it is UTF-8");
                return Err(Error::file(&folder, message));
            }
            classes.push(name);
        }
        Ok(ImageFolder { classes, files, reading: Reading::default() })
    }

    /// The same images, read in another way.
    #[must_use]
    pub fn with_reading(self, reading: Reading) -> Self {
        ImageFolder { reading, ..self }
    }

    /// The same set without the images that cannot be read, if [`Reading::skip_broken`] says so, and those images. Every
    /// file is read once. Classes stay, also those without an image that can be read.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn without_broken(mut self) -> Result<(Self, Vec<Broken>)> {
        if !self.reading.skip_broken {
            return Ok((self, Vec::new()));
        }
        let files = std::mem::take(&mut self.files);
        let (files, broken) = self.reading.sift(files, |(path, _)| path.as_path())?;
        Ok((ImageFolder { files, ..self }, broken))
    }

    /// The first class that has no image.
    pub fn empty_class(&self) -> Option<&str> {
        let left: BTreeSet<usize> = self.files.iter().map(|(_, label)| *label).collect();
        (0..self.classes.len()).find(|label| !left.contains(label)).map(|label| self.classes[label].as_str())
    }

    /// Opens a training and a validation set.
    ///
    /// `dir/train` goes with `dir/val` or, failing that, with `dir/test`; both must have the same classes. If `dir`
    /// has none of the three, its class folders are split: of each class a fixed, pseudo-random fifth (at least one
    /// image) is for validation.
    ///
    /// # Errors
    /// As [`ImageFolder::open`], and if a share is out of range.
    pub fn open_split(dir: impl AsRef<Path>) -> Result<(Self, Self)> {
        let dir = dir.as_ref();
        let train = dir.join("train");
        match (train.is_dir(), val_folder(dir)) {
            (true, Some(val)) => open_pair(&train, &val),
            (false, None) => Self::open(dir)?.split(dir),
            (true, None) => Err(train_alone(dir)),
            (false, Some(val)) => {
                Err(Error::file(dir, format!("has the folder {}, but no folder named train", file_name(&val))))
            }
        }
    }

    /// Opens what a trained network is measured on: `dir/val` or, failing that, `dir/test`; all images of the class
    /// folders of `dir` if it has neither.
    ///
    /// # Errors
    /// As [`ImageFolder::open`]; and a folder that has `train`, but neither `val` nor `test`.
    pub fn open_val(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        match val_folder(dir) {
            Some(val) => Self::open(val),
            None if dir.join("train").is_dir() => Err(train_alone(dir)),
            None => Self::open(dir),
        }
    }

    /// The file of the sample at `index`, if there is one.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(|(path, _)| path.as_path())
    }

    fn split(self, dir: &Path) -> Result<(Self, Self)> {
        let mut train = Vec::new();
        let mut val = Vec::new();
        // The files of a class are beside each other.
        let per_class = self.files.chunk_by(|(_, a), (_, b)| a == b);
        for (class, files) in self.classes.iter().zip(per_class) {
            let mut files = files.to_vec();
            if files.len() < 2 {
                let message = "contains one image; a split into training and validation needs at least two per class";
                return Err(Error::file(dir.join(class), message));
            }
            // The stream is tied to the name, so adding a class leaves the other classes' splits as they are.
            files.shuffle(&mut stream(SPLIT_SEED, &[hash_name(class)]));
            let count = ((files.len() + VAL_ONE_IN / 2) / VAL_ONE_IN).max(1);
            let mut rest = files.split_off(count);
            files.sort();
            rest.sort();
            val.extend(files);
            train.extend(rest);
        }
        Ok((ImageFolder { files: train, ..self.clone() }, ImageFolder { files: val, ..self }))
    }
}

impl Dataset for ImageFolder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let (path, label) = self.files.get(index).ok_or_else(|| index_error(index, self.files.len()))?;
        Ok(Sample { image: self.reading.open(path)?, label: *label })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn name(&self, index: usize) -> Option<String> {
        self.path(index).map(|path| path.display().to_string())
    }
}

/// The subfolder of validation images, if there is one.
fn val_folder(dir: &Path) -> Option<PathBuf> {
    ["val", "test"].iter().map(|name| dir.join(name)).find(|path| path.is_dir())
}

fn train_alone(dir: &Path) -> Error {
    Error::file(dir, "has a folder named train, but neither val nor test")
}

fn open_pair(train: &Path, val: &Path) -> Result<(ImageFolder, ImageFolder)> {
    let (a, b) = (ImageFolder::open(train)?, ImageFolder::open(val)?);
    if a.classes != b.classes {
        let left: BTreeSet<_> = a.classes.iter().collect();
        let right: BTreeSet<_> = b.classes.iter().collect();
        let list = |names: Vec<&&String>| match names.len() {
            0 => "none".to_string(),
            _ => names.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", "),
        };
        let message = format!(
            "its classes differ from those of {}: only here: {}; missing here: {}",
            train.display(),
            list(right.difference(&left).collect()),
            list(left.difference(&right).collect()),
        );
        return Err(Error::file(val, message));
    }
    Ok((a, b))
}

fn class_folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let folders = folders(dir)?;
    if folders.is_empty() {
        return Err(Error::file(dir, "no class folders here; expected one folder per class with images inside"));
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::super::{Image, list_images};
    use super::*;

    fn put(dir: &Path, name: &str, shade: u8) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let png = path.with_extension("tmp");
        Image::filled(4, 5, [shade; 3]).save_png(&png).unwrap();
        std::fs::rename(png, path).unwrap();
    }

    #[test]
    fn sorted_classes_and_recursive_files() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "dog/b.PNG", 3);
        put(dir.path(), "cat/deep/er/z.png", 2);
        put(dir.path(), "cat/a.png", 1);
        std::fs::write(dir.path().join("cat/readme.txt"), "x").unwrap();
        std::fs::create_dir(dir.path().join(".cache")).unwrap();
        let set = ImageFolder::open(dir.path()).unwrap();
        assert_eq!(set.classes(), ["cat", "dog"]);
        let read: Vec<_> = (0..set.len()).map(|i| set.get(i).unwrap()).map(|s| (s.image.pixels[0], s.label)).collect();
        assert_eq!(read, [(1, 0), (2, 0), (3, 1)]);
        assert!(set.get(3).unwrap_err().to_string().contains("less than 3"));
        assert_eq!(list_images(dir.path()).unwrap().len(), 3);
        let one = dir.path().join("cat/a.png");
        assert_eq!(list_images(&one).unwrap(), [one]);
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert!(ImageFolder::open(&absent).unwrap_err().to_string().contains("cannot read"));
        assert!(list_images(&absent).unwrap_err().to_string().contains("absent"));
        assert!(ImageFolder::open(dir.path()).unwrap_err().to_string().contains("no class folders"));
        assert!(list_images(dir.path()).unwrap_err().to_string().contains("no image"));
        put(dir.path(), "cat/a.png", 1);
        std::fs::create_dir(dir.path().join("dog")).unwrap();
        let message = ImageFolder::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("dog") && message.contains("no image"), "{message}");
    }

    #[test]
    fn a_broken_image_is_named() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "cat/a.png", 1);
        std::fs::write(dir.path().join("cat/b.png"), "nothing").unwrap();
        let set = ImageFolder::open(dir.path()).unwrap();
        assert!(set.get(1).unwrap_err().to_string().contains("b.png"));
    }

    #[test]
    fn broken_images_are_left_out_on_request() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..3 {
            put(dir.path(), &format!("cat/{i}.png"), i);
            put(dir.path(), &format!("dog/{i}.png"), 100 + i);
        }
        std::fs::write(dir.path().join("dog/1.png"), "").unwrap();
        let set = ImageFolder::open(dir.path()).unwrap();
        let (all, broken) = set.clone().without_broken().unwrap();
        assert_eq!((all.len(), broken.len()), (6, 0), "only on request");
        let skip = Reading { skip_broken: true, ..Reading::default() };
        let (left, broken) = set.with_reading(skip).without_broken().unwrap();
        let shades: Vec<u8> = (0..left.len()).map(|i| left.get(i).unwrap().image.pixels[0]).collect();
        assert_eq!(shades, [0, 1, 2, 100, 102]);
        assert!(broken[0].path.ends_with("1.png") && broken[0].reason.contains("empty"), "{broken:?}");
        for name in ["cat/0.png", "cat/1.png", "cat/2.png"] {
            std::fs::write(dir.path().join(name), "no image").unwrap();
        }
        let all = ImageFolder::open(dir.path()).unwrap().with_reading(skip);
        assert_eq!(all.empty_class(), None);
        let (left, broken) = all.without_broken().unwrap();
        assert_eq!((left.len(), broken.len(), left.empty_class()), (2, 4, Some("cat")));
        assert_eq!(left.classes(), ["cat", "dog"], "labels stay what they are");
    }

    #[cfg(unix)]
    #[test]
    fn class_names_that_become_the_same_are_refused() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        for name in [&b"caf\xe8"[..], b"caf\xe9"] {
            let folder = dir.path().join(std::ffi::OsStr::from_bytes(name));
            std::fs::create_dir(&folder).unwrap();
            Image::filled(4, 5, [7; 3]).save_png(folder.join("a.png")).unwrap();
        }
        let message = ImageFolder::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("UTF-8"), "{message}");
        std::fs::remove_dir_all(dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"))).unwrap();
        let set = ImageFolder::open(dir.path()).unwrap();
        assert_eq!((set.classes(), set.get(0).unwrap().image.pixels[0]), (&["caf\u{fffd}".to_string()][..], 7));
    }

    #[test]
    fn given_splits_must_agree() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "train/cat/a.png", 1);
        assert!(ImageFolder::open_split(dir.path()).unwrap_err().to_string().contains("neither val nor test"));
        put(dir.path(), "test/cat/b.png", 2);
        let (train, val) = ImageFolder::open_split(dir.path()).unwrap();
        assert_eq!((train.get(0).unwrap().image.pixels[0], val.get(0).unwrap().image.pixels[0]), (1, 2));
        put(dir.path(), "train/dog/a.png", 1);
        put(dir.path(), "val/cat/a.png", 1);
        put(dir.path(), "val/eel/a.png", 1);
        let message = ImageFolder::open_split(dir.path()).unwrap_err().to_string();
        assert!(message.contains("only here: eel") && message.contains("missing here: dog"), "{message}");
        std::fs::remove_dir_all(dir.path().join("train")).unwrap();
        assert!(ImageFolder::open_split(dir.path()).unwrap_err().to_string().contains("no folder named train"));
    }

    #[test]
    fn a_network_is_measured_on_all_images_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..10 {
            put(dir.path(), &format!("val/cat/{i}.png"), i);
            put(dir.path(), &format!("val/dog/{i}.png"), 100 + i);
        }
        // Class folders themselves, and the folder around them, with and without training images.
        assert_eq!(ImageFolder::open_val(dir.path().join("val")).unwrap().len(), 20);
        assert_eq!(ImageFolder::open_val(dir.path()).unwrap().len(), 20);
        put(dir.path(), "train/cat/a.png", 1);
        assert_eq!(ImageFolder::open_val(dir.path()).unwrap().len(), 20);
        std::fs::rename(dir.path().join("val"), dir.path().join("test")).unwrap();
        assert_eq!(ImageFolder::open_val(dir.path()).unwrap().len(), 20);
        std::fs::remove_dir_all(dir.path().join("test")).unwrap();
        assert!(ImageFolder::open_val(dir.path()).unwrap_err().to_string().contains("neither val nor test"));
    }

    #[test]
    fn own_split_is_stratified_disjoint_and_stable() {
        let dir = tempfile::tempdir().unwrap();
        for i in 0..10 {
            put(dir.path(), &format!("cat/{i}.png"), i);
            put(dir.path(), &format!("dog/{i}.png"), 100 + i);
        }
        put(dir.path(), "eel/0.png", 0);
        assert!(ImageFolder::open_split(dir.path()).unwrap_err().to_string().contains("at least two"));
        put(dir.path(), "eel/1.png", 0);
        let (train, val) = ImageFolder::open_split(dir.path()).unwrap();
        let count = |set: &ImageFolder, label| set.files.iter().filter(|(_, l)| *l == label).count();
        assert_eq!([0, 1, 2].map(|l| count(&train, l)), [8, 8, 1]);
        assert_eq!([0, 1, 2].map(|l| count(&val, l)), [2, 2, 1]);
        assert!(val.files.iter().all(|f| !train.files.contains(f)));
        let again = ImageFolder::open_split(dir.path()).unwrap();
        assert_eq!(again.0.files, train.files);
        let names = |label| -> Vec<_> {
            val.files.iter().filter(|(_, l)| *l == label).map(|(p, _)| p.file_name().unwrap().to_owned()).collect()
        };
        assert_ne!(names(0), ["0.png", "1.png"], "the split is shuffled, not the first files");
    }
}
