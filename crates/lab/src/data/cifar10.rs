//! CIFAR-10 in its binary version (Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009).

use std::path::{Path, PathBuf};

use super::{Dataset, Image, Sample, index_error};
use crate::{Error, Result};

/// Image side in pixels.
const SIDE: usize = 32;
/// Pixels of one color plane.
const PLANE: usize = SIDE * SIDE;
/// Bytes of one record: the label, then the red, green and blue planes.
const RECORD: usize = 1 + 3 * PLANE;
/// The folder inside the published archive.
const SUBFOLDER: &str = "cifar-10-batches-bin";

/// The ten classes in label order.
pub const CLASS_NAMES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// One half of CIFAR-10, held in memory: 32 x 32 RGB images of ten classes.
#[derive(Clone, Debug)]
pub struct Cifar10 {
    classes: Vec<String>,
    /// The records as they are on disk.
    records: Vec<u8>,
}

impl Cifar10 {
    /// Reads `data_batch_1.bin` to `data_batch_5.bin` (training) and `test_batch.bin` (validation) from `dir` or from
    /// its subfolder `cifar-10-batches-bin`. Class names come from `batches.meta.txt` if that is there.
    ///
    /// # Errors
    /// If a file is missing, cannot be read or is not of the format.
    pub fn open(dir: impl AsRef<Path>) -> Result<(Self, Self)> {
        let dir = locate(dir.as_ref())?;
        let classes = read_names(&dir)?;
        let mut records = Vec::new();
        for number in 1..=5 {
            records.append(&mut read_batch(&dir.join(format!("data_batch_{number}.bin")))?);
        }
        let train = Cifar10 { classes: classes.clone(), records };
        let val = Cifar10 { classes, records: read_batch(&dir.join("test_batch.bin"))? };
        Ok((train, val))
    }
}

impl Dataset for Cifar10 {
    fn len(&self) -> usize {
        self.records.len() / RECORD
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let (label, planes) = self
            .records
            .chunks_exact(RECORD)
            .nth(index)
            .and_then(|record| record.split_first())
            .ok_or_else(|| index_error(index, self.len()))?;
        let pixels = (0..PLANE).flat_map(|i| [planes[i], planes[PLANE + i], planes[2 * PLANE + i]]).collect();
        Ok(Sample { image: Image::new(SIDE, SIDE, pixels)?, label: usize::from(*label) })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}

fn locate(dir: &Path) -> Result<PathBuf> {
    let inner = dir.join(SUBFOLDER);
    if dir.join("data_batch_1.bin").is_file() {
        Ok(dir.to_path_buf())
    } else if inner.join("data_batch_1.bin").is_file() {
        Ok(inner)
    } else {
        let message =
            format!("contains no data_batch_1.bin, not even in {SUBFOLDER} (the binary version of CIFAR-10 is needed)");
        Err(Error::file(dir, message))
    }
}

fn read_names(dir: &Path) -> Result<Vec<String>> {
    let path = dir.join("batches.meta.txt");
    if !path.is_file() {
        return Ok(CLASS_NAMES.map(String::from).to_vec());
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let names: Vec<String> = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(String::from).collect();
    if names.len() != CLASS_NAMES.len() {
        return Err(Error::file(&path, format!("{} class names, expected {}", names.len(), CLASS_NAMES.len())));
    }
    Ok(names)
}

fn read_batch(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        let message = format!(
            "{} bytes, which is not a whole number of {RECORD}-byte records (truncated, or not the binary version)",
            bytes.len()
        );
        return Err(Error::file(path, message));
    }
    for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
        if usize::from(record[0]) >= CLASS_NAMES.len() {
            return Err(Error::file(path, format!("record {index} has label {}, allowed: 0 to 9", record[0])));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(label: u8, red: u8) -> Vec<u8> {
        let mut bytes = vec![label];
        for plane in 0..3u8 {
            bytes.extend((0..PLANE).map(|i| if i == 33 { red + plane } else { 50 * plane }));
        }
        bytes
    }

    fn write_all(dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        for number in 1..=5u8 {
            let bytes = [record(number, number), record(0, 100)].concat();
            std::fs::write(dir.join(format!("data_batch_{number}.bin")), bytes).unwrap();
        }
        std::fs::write(dir.join("test_batch.bin"), record(9, 7)).unwrap();
    }

    #[test]
    fn records_become_interleaved_images() {
        let dir = tempfile::tempdir().unwrap();
        write_all(&dir.path().join(SUBFOLDER));
        let (train, val) = Cifar10::open(dir.path()).unwrap();
        assert_eq!((train.len(), val.len()), (10, 1));
        assert_eq!(train.classes()[9], "truck");
        let sample = train.get(4).unwrap();
        assert_eq!(sample.label, 3);
        assert_eq!((sample.image.height, sample.image.width), (32, 32));
        assert_eq!(sample.image.pixel(1, 1), [3, 4, 5]);
        assert_eq!(sample.image.pixel(1, 2), [0, 50, 100]);
        assert_eq!(val.get(0).unwrap().label, 9);
        assert!(val.get(1).is_err());
    }

    #[test]
    fn names_file_is_used_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path());
        let names = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n";
        std::fs::write(dir.path().join("batches.meta.txt"), names).unwrap();
        assert_eq!(Cifar10::open(dir.path()).unwrap().0.classes()[9], "j");
        std::fs::write(dir.path().join("batches.meta.txt"), "a\nb\n").unwrap();
        assert!(Cifar10::open(dir.path()).unwrap_err().to_string().contains("2 class names"));
    }

    #[test]
    fn truncated_missing_and_mislabeled_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Cifar10::open(dir.path()).unwrap_err().to_string().contains("data_batch_1.bin"));
        write_all(dir.path());
        let third = dir.path().join("data_batch_3.bin");
        std::fs::write(&third, &record(1, 1)[..RECORD - 1]).unwrap();
        let message = Cifar10::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("data_batch_3.bin") && message.contains("3072 bytes"), "{message}");
        std::fs::write(&third, [record(1, 1), record(10, 1)].concat()).unwrap();
        let message = Cifar10::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains("record 1 has label 10"), "{message}");
        std::fs::remove_file(&third).unwrap();
        assert!(Cifar10::open(dir.path()).unwrap_err().to_string().contains("cannot read"));
    }
}
