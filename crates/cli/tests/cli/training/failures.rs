//! Runs that fail, and those that are refused.

use super::{config, train};
use crate::common::{files, random, values};
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::Network;
use kernelscope::{Error, weights};
use kernelscope_lab::data::Image;
use kernelscope_lab::run::{DataSource, RunConfig, RunFolder};
use kernelscope_lab::train::{Silent, Trainer};
use std::path::Path;

/// Fails unless the run's last complete epoch is `epoch` and can be used.
fn assert_usable(root: &Path, epoch: usize) {
    assert!(!files(root).keys().any(|name| name.ends_with(".part")), "a temporary file is left");
    let run = RunFolder::open(root).unwrap();
    assert_eq!(run.progress().unwrap().epoch, epoch);
    assert_eq!(run.history().unwrap().points.len(), epoch);
    let checkpoint = weights::load(&run.latest_checkpoint().unwrap().path).unwrap();
    let network = Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen()).unwrap();
    let logits = values(&network.forward(&random("images", &[2, 3, 32, 32])).unwrap());
    assert!(logits.iter().all(|v| v.is_finite()), "{logits:?}");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    config.train.epochs = 1;
    train(&root, config.clone());
    // The same run with a longer plan and an absurd learning rate.
    (config.train.epochs, config.train.lr) = (3, 1e30);
    std::fs::write(root.join("config.toml"), config.to_toml().unwrap()).unwrap();
    let error = Trainer::resume(&root).unwrap().train(&mut Silent).unwrap_err();
    // Step 5 is the first with that rate; its damage shows in the next.
    let damaged = ["step 6 ", "step 7 ", "step 8 "];
    let named = matches!(&error, Error::NonFinite { place, .. } if damaged.iter().any(|step| place.contains(step)));
    assert!(named, "{error}");
    assert_usable(&root, 1);
}

#[test]
fn an_epoch_that_ends_with_broken_weights_is_not_complete() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    config.model = config.model.with_overrides(&["norm=layer"]).unwrap();
    // One step per epoch: the first has a learning rate of 0, the second breaks the weights after its loss was taken.
    (config.train.batch_size, config.train.warmup_epochs, config.train.lr) = (64, 3.0, 1e30);
    let error = Trainer::create(&root, config).unwrap().train(&mut Silent).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    assert_usable(&root, 1);
}

#[test]
fn old_checkpoints_are_removed_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    for (keep, expected) in [(1, &[3][..]), (2, &[2, 3]), (0, &[1, 2, 3])] {
        let root = folder.path().join(keep.to_string());
        let mut config = config();
        config.train.keep_checkpoints = keep;
        train(&root, config);
        let run = RunFolder::open(&root).unwrap();
        let found: Vec<(usize, bool)> = run.checkpoints().unwrap().iter().map(|c| (c.epoch, c.ema)).collect();
        let expected: Vec<(usize, bool)> = expected.iter().flat_map(|&e| [(e, false), (e, true)]).collect();
        assert_eq!(found, expected, "{keep}");
    }
}

#[test]
fn an_existing_run_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    config.train.epochs = 1;
    train(&root, config.clone());
    let before = files(&root);
    let error = Trainer::create(&root, config.clone()).err().unwrap().to_string();
    assert!(error.contains("already contains a run") && error.contains("run"), "{error}");
    assert!(files(&root) == before, "the run was touched");
    let empty = folder.path().join("empty");
    for change in [
        |c: &mut RunConfig| c.train.epochs = 0,
        |c: &mut RunConfig| c.train.lr = f64::NAN,
        |c: &mut RunConfig| c.train.ema = 1.0,
        |c: &mut RunConfig| c.train.warmup_epochs = 9.0,
        |c: &mut RunConfig| c.train.optimizer.weight_decay = f64::NAN,
        |c: &mut RunConfig| c.train.epochs = usize::MAX,
        |c: &mut RunConfig| c.train.seed = u64::MAX,
        |c: &mut RunConfig| c.train.batch_size = 1,
        |c: &mut RunConfig| c.data.size = 16,
        |c: &mut RunConfig| c.data.size = 33,
    ] {
        let mut wrong = config.clone();
        change(&mut wrong);
        assert!(Trainer::create(&empty, wrong.clone()).is_err(), "{:?} {:?}", wrong.train, wrong.data);
        assert!(!empty.exists(), "a refused configuration left a folder");
    }
    assert!(Trainer::resume(&empty).err().unwrap().to_string().contains("is not a run folder"));
}

#[cfg(unix)]
#[test]
fn a_configuration_that_cannot_be_written_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    let path = std::path::PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(vec![0xff]));
    config.data.source = DataSource::Folder { path };
    let error = RunFolder::create(&root, &config).err().unwrap().to_string();
    assert!(error.contains("UTF-8") && !root.exists(), "{error}");
}

#[test]
fn one_image_per_step_is_refused_where_a_batch_norm_needs_more() {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str, batch_size, images, overrides: &[&str]| {
        let mut config = config();
        config.train.batch_size = batch_size;
        config.model = config.model.with_overrides(overrides).unwrap();
        if let DataSource::Builtin(set) = &mut config.data.source {
            set.train = images;
        }
        Trainer::create(&folder.path().join(name), config).map(drop).map_err(|e| e.to_string())
    };
    for (batch_size, images) in [(1, 8), (16, 1)] {
        let error = create("single", batch_size, images, &[]).unwrap_err();
        assert!(error.starts_with(&format!("batch size: got 1 of {images} training images")), "{error}");
        assert!(error.contains("at least 2") && error.contains("batch norm"), "{error}");
        assert!(!folder.path().join("single").exists(), "a refused batch size left a folder");
    }
    create("two", 2, 8, &[]).unwrap();
    create("layer norm", 1, 8, &["norm=layer"]).unwrap();
}

/// Puts images of one class, numbered from `from`, into a folder of class folders.
fn add_images(images: &Path, class: &str, from: u8, count: u8) {
    let dir = images.join(class);
    std::fs::create_dir_all(&dir).unwrap();
    for i in from..from + count {
        Image::filled(32, 40, [20 * i, 90, 200]).save_png(dir.join(format!("{i}.png"))).unwrap();
    }
}

/// A run of one epoch over a folder of images.
fn train_on_folder(root: &Path, images: &Path, batch_size: usize) {
    let mut config = config();
    (config.train.epochs, config.train.batch_size) = (1, batch_size);
    config.data.source = DataSource::Folder { path: images.to_path_buf() };
    train(root, config);
}

#[test]
fn a_folder_that_changed_its_classes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    add_images(&images, "cat", 0, 4);
    add_images(&images, "dog", 0, 4);
    let root = folder.path().join("run");
    train_on_folder(&root, &images, 16);
    let run = RunFolder::open(&root).unwrap();
    assert_eq!(run.config().unwrap().model.config.classes(), 2, "the folder decides the number of classes");
    add_images(&images, "eel", 0, 4);
    let error = Trainer::resume(&root).err().unwrap().to_string();
    assert!(error.contains("2 in the network, 3 in the data"), "{error}");
}

#[test]
fn a_folder_that_changed_its_images_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    add_images(&images, "cat", 0, 4);
    add_images(&images, "dog", 0, 4);
    let (one, three) = (folder.path().join("one"), folder.path().join("three"));
    // A fifth of each class is for validation; 6 images are left.
    train_on_folder(&one, &images, 16);
    train_on_folder(&three, &images, 2);
    Trainer::resume(&one).unwrap();
    add_images(&images, "cat", 4, 1);
    add_images(&images, "dog", 4, 1);
    for (root, parts) in [
        (&one, ["1 steps over 6 training images", "1 steps over 8 images"]),
        (&three, ["3 steps over 6 training images", "4 steps over 8 images"]),
    ] {
        let error = Trainer::resume(root).err().unwrap().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("restore the images"), "{error}");
    }
    // A run that did not record its images is known by its steps.
    let progress = three.join("state/progress.toml");
    std::fs::write(&progress, "epoch = 1\nstep = 3\n").unwrap();
    let error = Trainer::resume(&three).err().unwrap().to_string();
    assert!(error.contains("took 3 steps,") && error.contains("4 steps over 8 images"), "{error}");
    std::fs::write(&progress, "epoch = 1\nstep = 4\n").unwrap();
    Trainer::resume(&three).unwrap();
}
