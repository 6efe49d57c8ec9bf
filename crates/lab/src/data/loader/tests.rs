//! Tests of the loader.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::data::{Augment, EvalTransform, Image, ImageFolder, Sample, TrainTransform};

type Read = fn() -> Result<Sample>;

/// `len` one-colored images, one of which may be read in another way.
struct Shades {
    classes: Vec<String>,
    len: usize,
    fails: Option<(usize, Read)>,
    reads: AtomicUsize,
}

impl Shades {
    fn new(len: usize) -> Self {
        let classes = ["a", "b", "c"].map(String::from).to_vec();
        Shades { classes, len, fails: None, reads: AtomicUsize::new(0) }
    }

    fn failing(len: usize, at: usize, with: Read) -> Self {
        Shades { fails: Some((at, with)), ..Shades::new(len) }
    }
}

impl Dataset for Shades {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize) -> Result<Sample> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        match self.fails {
            Some((bad, fail)) if bad == index => fail(),
            _ => Ok(Sample { image: Image::filled(20, 24, [index as u8, 90, 200]), label: index % 3 }),
        }
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}

fn train() -> Transform {
    TrainTransform::new(16, Augment::imagenet()).into()
}

fn eval() -> Transform {
    EvalTransform::new(16).into()
}

fn config(workers: usize) -> LoaderConfig {
    LoaderConfig { batch_size: 4, workers, prefetch: 3, shuffle: true, drop_last: false, seed: 11, skip_broken: false }
}

fn loader(dataset: Shades, transform: Transform, config: LoaderConfig) -> Loader {
    Loader::new(Arc::new(dataset), transform, Some(MixConfig::imagenet()), config).unwrap()
}

fn batches(loader: &Loader, epoch: u64) -> Vec<Batch> {
    loader.epoch(epoch).map(Result::unwrap).collect()
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let reference = batches(&loader(Shades::new(42), train(), config(0)), 3);
    assert_eq!(reference.len(), 11);
    for workers in [1, 2, 7] {
        assert_eq!(batches(&loader(Shades::new(42), train(), config(workers)), 3), reference, "{workers} workers");
    }
}

#[test]
fn epochs_and_seeds_differ_and_cover_everything() {
    let loader_ = loader(Shades::new(42), train(), config(2));
    let order = |epoch| -> Vec<usize> { batches(&loader_, epoch).into_iter().flat_map(|b| b.indices).collect() };
    let first = order(0);
    assert_eq!(first, order(0));
    assert_ne!(first, order(1));
    let mut sorted = first.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..42).collect::<Vec<_>>());
    let other = loader(Shades::new(42), train(), LoaderConfig { seed: 12, ..config(2) });
    assert_ne!(batches(&other, 0)[0].indices, first[..4]);
    let fixed = loader(Shades::new(42), train(), LoaderConfig { shuffle: false, ..config(2) });
    let (a, b) = (batches(&fixed, 0), batches(&fixed, 1));
    assert_eq!(a[0].indices, b[0].indices);
    assert_ne!(a[0].images, b[0].images, "augmentation changes with the epoch");
}

#[test]
fn shapes_labels_and_the_last_batch() {
    let plain = LoaderConfig { shuffle: false, ..config(2) };
    let all = Loader::new(Arc::new(Shades::new(10)), eval(), None, plain.clone()).unwrap();
    assert_eq!(all.batches_per_epoch(), 3);
    let last = batches(&all, 0).pop().unwrap();
    assert_eq!((last.n, last.size, last.images.len()), (2, 16, 2 * 3 * 16 * 16));
    assert_eq!((last.labels, last.indices), (vec![2, 0], vec![8, 9]));
    assert_eq!(last.targets, [0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    assert!((last.images[0] - (8.0 / 255.0 - 0.485) / 0.229).abs() < 1e-6);
    let full = LoaderConfig { drop_last: true, ..plain };
    let full = Loader::new(Arc::new(Shades::new(10)), eval(), None, full).unwrap();
    assert_eq!((full.batches_per_epoch(), batches(&full, 0).len()), (2, 2));
}

#[test]
fn what_is_in_flight_is_bounded_and_dropping_stops_the_threads() {
    let dataset = Arc::new(Shades::new(4000));
    let loader = Loader::new(Arc::clone(&dataset) as Arc<dyn Dataset>, eval(), None, config(2)).unwrap();
    let mut iter = loader.epoch(0);
    iter.next().unwrap().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let reads = dataset.reads.load(Ordering::SeqCst);
    assert!(reads <= 4 * 4, "{reads} reads for one batch taken and three ahead");
    drop(iter);
    drop(loader);
    assert_eq!(Arc::strong_count(&dataset), 1, "no thread holds the data set any more");
}

#[test]
fn errors_and_panics_come_out_once_in_their_place() {
    let broken: Read = || Err(Error::file("some/where.png", "cannot decode the image"));
    let panicking: Read = || panic!("kaputt");
    let invalid: Read = || Ok(Sample { image: Image { height: 3, width: 3, pixels: vec![0; 4] }, label: 0 });
    let mislabeled: Read = || Ok(Sample { image: Image::filled(3, 3, [0; 3]), label: 3 });
    let cases = [(broken, "some/where.png"), (panicking, "kaputt"), (invalid, "9"), (mislabeled, "less than 3")];
    for (fail, expected) in cases {
        for workers in [0, 1, 3] {
            let config = LoaderConfig { shuffle: false, ..config(workers) };
            let loader = loader(Shades::failing(40, 9, fail), eval(), config);
            let seen: Vec<_> = loader.epoch(0).collect();
            assert_eq!(seen.len(), 3, "two good batches, then the error");
            assert!(seen[..2].iter().all(Result::is_ok));
            let message = seen[2].as_ref().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

#[test]
fn a_bad_file_in_a_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("cat")).unwrap();
    Image::filled(9, 9, [3; 3]).save_png(dir.path().join("cat/a.png")).unwrap();
    std::fs::write(dir.path().join("cat/b.jpg"), "no image").unwrap();
    let set = Arc::new(ImageFolder::open(dir.path()).unwrap());
    let loader = Loader::new(set, eval(), None, config(2)).unwrap();
    let message = loader.epoch(0).find_map(Result::err).unwrap().to_string();
    assert!(message.contains("b.jpg"), "{message}");
}

#[test]
fn settings_are_checked() {
    let new = |len, transform, config| Loader::new(Arc::new(Shades::new(len)), transform, None, config).err();
    assert!(new(4, eval(), config(0)).is_none());
    assert!(new(0, eval(), config(0)).is_some());
    assert!(new(4, eval(), LoaderConfig { batch_size: 0, ..config(0) }).is_some());
    let message = new(3, eval(), LoaderConfig { drop_last: true, ..config(0) }).unwrap().to_string();
    assert!(message.contains("batch_size: got 4") && message.contains("at most 3"), "{message}");
    assert!(new(4, EvalTransform::new(0).into(), config(0)).is_some());
}
