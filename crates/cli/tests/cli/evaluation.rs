//! `eval` and `predict` as a person uses them: classes by their names, tables, pages, and images that cannot be read.

use assert_cmd::Command;
use kernelscope::weights;
use kernelscope_lab::data::{ClassNames, Cue, Dataset, Image, ShapesTextures};
use serde_json::Value;
use std::path::{Path, PathBuf};

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(self.0.path()).env_remove("RUST_LOG").args(args);
        command
    }

    /// What a command that succeeds prints, and what it says on standard error.
    fn run(&self, args: &[&str]) -> (String, String) {
        let output = self.command(args).assert().success().get_output().clone();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn json(&self, args: &[&str]) -> Value {
        let (printed, _) = self.run(&[args, &["--json"]].concat());
        serde_json::from_str(&printed).unwrap_or_else(|e| panic!("{e}: {printed}"))
    }

    /// The one line of a command that fails, and what it prints.
    fn fails(&self, args: &[&str]) -> (String, String) {
        let output = self.command(args).assert().failure().get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        (stderr, String::from_utf8(output.stdout).unwrap())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let mut reader = csv::Reader::from_path(self.path(name)).unwrap();
        let records = reader.records().map(|record| record.unwrap().iter().map(String::from).collect());
        records.collect()
    }

    /// Pictures of the built-in set, named by their number.
    fn pictures(&self, folder: &str, count: usize) {
        let set = ShapesTextures::generate(40, count, 1, Cue::Both, 0).unwrap();
        std::fs::create_dir_all(self.path(folder)).unwrap();
        for i in 0..count {
            set.get(i).unwrap().image.save_png(self.path(&format!("{folder}/{i}.png"))).unwrap();
        }
    }

    /// Pictures of one color, which any network tells from those of another.
    fn plain(&self, folder: &str, count: usize, color: [u8; 3]) {
        std::fs::create_dir_all(self.path(folder)).unwrap();
        for i in 0..count {
            Image::filled(40, 40, color).save_png(self.path(&format!("{folder}/{i}.png"))).unwrap();
        }
    }
}

const NANO: [&str; 6] = ["--model", "nano-2d", "--random", "0", "--size", "32"];

#[test]
fn an_evaluation_is_a_page_with_tables() {
    let desk = Desk::new();
    for class in ["cat", "dog", "eel"] {
        desk.pictures(&format!("data/{class}"), 5);
    }
    let eval = [&["eval", "--set", "classes=3", "--data", "folder:data"], &NANO[..]].concat();
    let report = desk.json(&[&eval[..], &["--output", "out"]].concat());
    assert_eq!((report["images"].as_u64(), report["classes"].as_u64()), (Some(15), Some(3)));
    assert_eq!(report["top5"], Value::Null, "three classes have no top 5");
    assert_eq!((report["matched_by"].as_str(), report["restricted"].as_bool()), (Some("order"), Some(false)));
    // The numbers belong together.
    let classes = desk.rows("out/classes.csv");
    assert_eq!(classes.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["cat", "dog", "eel"]);
    let answers = |name: &str| classes.iter().find(|row| row[0] == name).unwrap()[4].parse::<usize>().unwrap();
    assert_eq!(["cat", "dog", "eel"].map(answers).iter().sum::<usize>(), 15);
    let images = desk.rows("out/images.csv");
    assert_eq!(images.len(), 15);
    let right = images.iter().filter(|row| row[3] == "true").count();
    assert!((report["accuracy"].as_f64().unwrap() - right as f64 / 15.0).abs() < 1e-12);
    let mean = images.iter().map(|row| row[7].parse::<f64>().unwrap()).sum::<f64>() / 15.0;
    assert!((report["loss"].as_f64().unwrap() - mean).abs() < 1e-5);
    let pairs: usize = desk.rows("out/confusion.csv").iter().map(|row| row[2].parse::<usize>().unwrap()).sum();
    assert_eq!(pairs, 15);
    let bins: usize = desk.rows("out/calibration.csv").iter().map(|row| row[2].parse::<usize>().unwrap()).sum();
    assert_eq!((bins, report["calibration"]["bins"].as_array().unwrap().len()), (15, 15));
    let saved: Value = serde_json::from_str(&desk.read("out/evaluation.json")).unwrap();
    assert_eq!(saved, report);
    // The page needs no other file, and has pictures.
    let page = desk.read("out/evaluation.html");
    for part in ["Evaluation of nano-2d", "top-1", "calibration error", "confusion", "most-wrong", "eel"] {
        assert!(page.contains(part), "no {part} in the page");
    }
    let sources: Vec<&str> = page.match_indices("src=").map(|(i, _)| &page[i..i + 20]).collect();
    assert!(sources.len() >= 3 && sources.iter().all(|source| source.starts_with("src=\"data:")), "{sources:?}");
    assert!(!page.contains("http://") && !page.contains("https://"), "the page refers to another place");
    for name in ["confusion", "reliability", "most-wrong"] {
        for ending in ["svg", "png"] {
            assert!(std::fs::metadata(desk.path(&format!("out/{name}.{ending}"))).unwrap().len() > 0, "{name}");
        }
    }
    let (printed, _) = desk.run(&eval);
    assert!(printed.contains("of 15 images, loss ") && printed.contains("calibration error"), "{printed}");
    assert!(printed.contains("matched by their order"), "{printed}");
}

#[test]
fn a_part_of_the_classes_competes_with_all_or_alone() {
    let desk = Desk::new();
    // Three of ImageNet's classes, by id, word, and number.
    for (folder, color) in [("n01440764", [250, 0, 0]), ("Great_White_Shark", [0, 250, 0]), ("999", [0, 0, 250])] {
        desk.plain(&format!("data/{folder}"), 2, color);
    }
    let eval = [&["eval", "--set", "classes=1000", "--data", "folder:data"], &NANO[..]].concat();
    let all = desk.json(&eval);
    let part = desk.json(&[&eval[..], &["--restrict", "--output", "out"]].concat());
    for (report, restricted) in [(&all, false), (&part, true)] {
        assert_eq!((report["classes"].as_u64(), report["outputs"].as_u64()), (Some(3), Some(1000)));
        assert_eq!(report["matched_by"].as_str(), Some("names"));
        assert_eq!(report["restricted"].as_bool(), Some(restricted));
        let outputs = report["per_class"].as_array().unwrap().iter().map(|c| c["output"].as_u64().unwrap());
        assert_eq!(outputs.collect::<Vec<_>>(), [999, 2, 0], "in the order of the folders' names");
        let words = report["per_class"].as_array().unwrap().iter().map(|c| c["class"].as_str().unwrap());
        assert_eq!(words.collect::<Vec<_>>(), ["toilet tissue", "great white shark", "tench"]);
    }
    assert!(all["top5"].is_number() && part["top5"].is_null(), "three classes compete alone");
    let (all_loss, part_loss) = (all["loss"].as_f64().unwrap(), part["loss"].as_f64().unwrap());
    assert!(part_loss < all_loss && part_loss < 3.0 && all_loss > 4.0, "{part_loss} {all_loss}");
    let answers: Vec<String> = desk.rows("out/images.csv").into_iter().map(|row| row[2].clone()).collect();
    let allowed = ["toilet tissue", "great white shark", "tench"];
    assert!(answers.iter().all(|answer| allowed.contains(&answer.as_str())), "{answers:?}");
    let (printed, _) = desk.run(&eval);
    assert!(
        printed.contains("3 of the network's 1000 classes") && printed.contains("all 1000 are compared"),
        "{printed}"
    );
    let (printed, _) = desk.run(&[&eval[..], &["--restrict"]].concat());
    assert!(printed.contains("only the logits of these are compared"), "{printed}");
    // What is no class is named, and what is one twice.
    desk.plain("data/unicorn", 1, [9; 3]);
    let (error, _) = desk.fails(&eval);
    for part in ["--data", "unicorn", "4 classes, of which 1 are not known", "tench", "1000 classes", "WordNet"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    std::fs::rename(desk.path("data/unicorn"), desk.path("data/tench")).unwrap();
    let (error, _) = desk.fails(&eval);
    assert!(error.contains("n01440764 and tench") && error.contains("class 0"), "{error}");
}

#[test]
fn checkpoints_know_their_classes() {
    let desk = Desk::new();
    for (class, color) in [("apple", [250, 0, 0]), ("berry", [0, 0, 250]), ("cherry", [128; 3])] {
        desk.plain(&format!("data/train/{class}"), 4, color);
        desk.plain(&format!("data/val/{class}"), 2, color);
    }
    let tiny = ["--model", "nano-1d", "--set", "dims=8,16,16,16", "--set", "stem_channels=8", "--set", "kernel=7"];
    let train = ["train", "--data", "folder:data", "--size", "32", "--epochs", "1", "--batch", "4", "--out", "run"];
    desk.run(&[&train[..], &tiny].concat());
    let file = "run/checkpoints/epoch-0001.safetensors";
    let names = ClassNames::of_checkpoint(&weights::load(&desk.path(file)).unwrap()).unwrap().unwrap();
    assert_eq!(names.names(), ["apple", "berry", "cherry"]);
    let (printed, _) = desk.run(&["predict", "--run", "run", "--input", "data/val", "--output", "out.safetensors"]);
    let named = ["apple", "berry", "cherry"].map(|name| printed.contains(&format!("({name})")));
    assert_eq!(named, [true; 3], "{printed}");
    // A part of the classes, found by their names although their order is another.
    desk.plain("other/cherry", 1, [128; 3]);
    desk.plain("other/Apple", 1, [250, 0, 0]);
    let report = desk.json(&["eval", "--weights", file, "--data", "folder:other"]);
    let outputs = report["per_class"].as_array().unwrap().iter().map(|c| c["output"].as_u64().unwrap());
    assert_eq!((outputs.collect::<Vec<_>>(), report["outputs"].as_u64()), (vec![0, 2], Some(3)));
    // The run's own images, and the same by its file.
    let own = desk.json(&["eval", "--run", "run"]);
    let same = desk.json(&["eval", "--weights", file, "--data", "folder:data"]);
    assert_eq!((own["images"].as_u64(), &own["loss"], &own["accuracy"]), (Some(6), &same["loss"], &same["accuracy"]));
}

#[test]
fn predictions_are_tables_with_names() {
    let desk = Desk::new();
    desk.pictures("photos", 3);
    let predict = ["predict", "--model", "nano-2d", "--set", "classes=1000", "--random", "0", "--input", "photos"];
    let outputs = ["--output", "out.csv", "--output", "out.json", "--output", "out.safetensors", "--top", "3"];
    let (printed, _) = desk.run(&[&predict[..], &outputs].concat());
    for name in ["out.csv: most probable classes of 3 images", "out.safetensors: logits of 3 images"] {
        assert!(printed.contains(name), "{printed}");
    }
    let logits: Vec<Vec<f32>> =
        weights::load(&desk.path("out.safetensors")).unwrap().tensors["logits"].to_vec2().unwrap();
    let rows = desk.rows("out.csv");
    assert_eq!(rows.len(), 9, "three classes of three images");
    let known = ClassNames::imagenet();
    for (index, rows) in rows.chunks(3).enumerate() {
        for (rank, row) in rows.iter().enumerate() {
            let class: usize = row[2].parse().unwrap();
            assert!(row[0].ends_with(&format!("{index}.png")) && row[1] == (rank + 1).to_string(), "{row:?}");
            assert_eq!((row[3].as_str(), Some(row[4].as_str())), (known.describe(class), known.id(class)));
            assert_eq!(row[6].parse::<f32>().unwrap(), logits[index][class]);
            let larger = logits[index].iter().filter(|&&logit| logit > logits[index][class]).count();
            assert_eq!(larger, rank, "image {index}");
        }
        let best = &rows[0];
        assert!(printed.contains(&format!("class {} ({}), probability", best[2], best[3])), "{best:?}: {printed}");
    }
    let document: Value = serde_json::from_str(&desk.read("out.json")).unwrap();
    assert_eq!(document["images"].as_array().unwrap().len(), 3);
    assert_eq!(document["images"][2]["top"][0]["class"].to_string(), rows[6][2]);
    // A tensor has numbers in place of files.
    let tensors =
        weights::TensorMap::from_iter([("input".to_string(), crate::common::random("input", &[2, 3, 32, 32]))]);
    weights::save(&desk.path("in.safetensors"), &tensors, &Default::default()).unwrap();
    desk.run(&["predict", "--model", "nano-2d", "--random", "0", "--input", "in.safetensors", "--output", "t.csv"]);
    let rows = desk.rows("t.csv");
    assert_eq!((rows[0][0].as_str(), rows[5][0].as_str(), rows[0][3].as_str()), ("0", "1", ""));
    let backbone = ["predict", "--model", "nano-replk", "--set", "backbone=true", "--random", "0", "--stages"];
    let (error, _) = desk.fails(&[&backbone[..], &["--input", "in.safetensors", "--output", "b.csv"]].concat());
    assert!(error.contains("b.csv") && error.contains("backbone"), "{error}");
}

#[test]
fn one_broken_image_among_many_costs_no_other() {
    let desk = Desk::new();
    desk.pictures("data/cat", 4);
    desk.pictures("data/dog", 4);
    std::fs::write(desk.path("data/dog/1.png"), "").unwrap();
    std::fs::write(desk.path("data/dog/2.png"), "no image").unwrap();
    let network = ["--model", "nano-2d", "--set", "classes=2", "--random", "0"];
    // Without a word on it, the first one ends the work; what was done is kept.
    let predict = [&["predict", "--input", "data", "--batch", "3"], &network[..]].concat();
    let to = ["--output", "out.csv", "--output", "out.safetensors"];
    let (error, printed) = desk.fails(&[&predict[..], &to].concat());
    assert!(error.contains("dog/1.png") && error.contains("empty"), "{error}");
    assert!(printed.contains("out.partial.csv: most probable classes of 5 images"), "{printed}");
    assert_eq!(desk.rows("out.partial.csv").len(), 10);
    let kept = weights::load(&desk.path("out.partial.safetensors")).unwrap();
    assert_eq!(kept.tensors["logits"].dims(), [5, 2]);
    assert!(!desk.path("out.csv").exists() && !desk.path("out.safetensors").exists());
    let (printed, warned) = desk.run(&[&predict[..], &to, &["--skip-broken", "--output", "out.json"]].concat());
    assert!(printed.contains("out.csv: most probable classes of 6 images"), "{printed}");
    assert!(
        warned.lines().count() == 2 && warned.contains("1.png: is empty") && warned.contains("left out"),
        "{warned}"
    );
    let document: Value = serde_json::from_str(&desk.read("out.json")).unwrap();
    assert!(document["broken"][1]["reason"].as_str().unwrap().contains("not an image"), "{}", document["broken"]);

    let eval = [&["eval", "--data", "folder:data", "--size", "32", "--batch", "2"], &network[..]].concat();
    let (error, printed) = desk.fails(&[&eval[..], &["--output", "page"]].concat());
    for part in ["dog/1.png", "the 4 images before it", "kept in page"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    assert!(printed.contains("of 4 images"), "{printed}");
    assert!(desk.read("page/evaluation.html").contains("Not all images were looked at"));
    let report = desk.json(&[&eval[..], &["--skip-broken", "--output", "page"]].concat());
    assert_eq!((report["images"].as_u64(), report["broken"].as_array().unwrap().len()), (Some(6), 2));
    assert_eq!(report["per_class"][1]["images"].as_u64(), Some(2));
    assert!(report["stopped"].is_null() && desk.read("page/evaluation.html").contains("could not be read"));

    for class in ["train/cat", "train/dog", "val/cat", "val/dog"] {
        desk.pictures(&format!("split/{class}"), 3);
    }
    std::fs::write(desk.path("split/train/dog/1.png"), "").unwrap();
    std::fs::write(desk.path("split/val/cat/0.png"), "").unwrap();
    let train = ["train", "--data", "folder:split", "--size", "32", "--epochs", "1", "--batch", "2", "--out", "run"];
    let tiny = ["--model", "nano-1d", "--set", "dims=8,16,16,16", "--set", "stem_channels=8", "--set", "kernel=7"];
    let (printed, warned) = desk.run(&[&train[..], &tiny, &["--skip-broken"]].concat());
    assert!(printed.contains("of 5 validation images") && warned.contains("left out"), "{printed} {warned}");
    assert!(desk.read("run/config.toml").contains("skip_broken = true"));
    assert_eq!(desk.json(&["eval", "--run", "run"])["images"].as_u64(), Some(5));

    let random = ["--model", "nano-2d", "--random", "0"];
    let erf =
        [&["erf", "--images", "data/dog", "--size", "64", "--limit", "2", "--output", "erf"], &random[..]].concat();
    let (error, _) = desk.fails(&erf);
    assert!(error.contains("1.png") && !desk.path("erf").exists(), "nothing is computed before that: {error}");
    let (printed, warned) = desk.run(&[&erf[..], &["--skip-broken"]].concat());
    assert!(printed.contains("2 images") && warned.contains("1.png"), "two that can be read: {printed} {warned}");

    desk.pictures("cues/cat", 2);
    for (from, to) in [("0", "cat1-dog1"), ("1", "cat2-dog2")] {
        std::fs::rename(desk.path(&format!("cues/cat/{from}.png")), desk.path(&format!("cues/cat/{to}.png"))).unwrap();
    }
    std::fs::create_dir_all(desk.path("cues/.ipynb_checkpoints")).unwrap();
    std::fs::create_dir_all(desk.path("cues/__MACOSX/cat")).unwrap();
    std::fs::write(desk.path("cues/cat/cat3-dog3.png"), "").unwrap();
    let bias = ["shape-bias", "--set", "classes=1000", "--stimuli", "cues"];
    let (error, _) = desk.fails(&[&bias[..], &random].concat());
    assert!(error.contains("cat3-dog3.png"), "{error}");
    let report = desk.json(&[&bias[..], &random, &["--skip-broken"]].concat());
    assert_eq!(report["images"].as_u64(), Some(2));
}

#[test]
fn orientations_and_the_number_of_pixels_are_asked_for() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("photos")).unwrap();
    let upright = Image::filled(40, 60, [10, 200, 30]);
    // The left half is another color, so that a turned image is another one.
    let mut photo = upright.clone();
    for pixel in photo.pixels.chunks_exact_mut(3).enumerate().filter(|(i, _)| i % 60 < 30).map(|(_, pixel)| pixel) {
        pixel.copy_from_slice(&[240, 20, 20]);
    }
    let plain = desk.path("photos/0.jpg");
    write_jpeg(&plain, &photo, 1);
    write_jpeg(&desk.path("photos/1.jpg"), &photo, 3);
    let predict = |more: &[&str]| {
        let args =
            ["predict", "--model", "nano-2d", "--random", "0", "--input", "photos", "--output", "out.safetensors"];
        desk.run(&[&args[..], more].concat());
        let logits = &weights::load(&desk.path("out.safetensors")).unwrap().tensors["logits"];
        logits.to_vec2::<f32>().unwrap()
    };
    let stored = predict(&[]);
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart(&stored[0], &stored[1]) < 1e-5, "orientations are ignored");
    let turned = predict(&["--exif"]);
    assert!(apart(&turned[0], &stored[0]) < 1e-5 && apart(&turned[1], &stored[1]) > 1e-4, "{turned:?} {stored:?}");
    let args = ["predict", "--model", "nano-2d", "--random", "0", "--input", "photos", "--output", "o", "--max-pixels"];
    let (error, _) = desk.fails(&[&args[..], &["2399"]].concat());
    for part in ["--max-pixels: got 2399", "at least 2400", "0.jpg", "60x40"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    desk.run(&[&args[..], &["2400"]].concat());
    desk.command(&[&args[..], &["0"]].concat()).assert().code(2);
}

/// A JPEG with an EXIF orientation.
fn write_jpeg(path: &Path, picture: &Image, orientation: u8) {
    let mut jpeg = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new(&mut jpeg);
    let (width, height) = (picture.width as u32, picture.height as u32);
    let rgb = image::ExtendedColorType::Rgb8;
    image::ImageEncoder::write_image(encoder, &picture.pixels, width, height, rgb).unwrap();
    let exif =
        [&b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[orientation, 0, 0, 0, 0, 0, 0, 0]].concat();
    let length = (exif.len() as u16 + 2).to_be_bytes();
    std::fs::write(path, [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat()).unwrap();
}
