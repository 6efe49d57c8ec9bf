//! Shape bias against reference values.

use crate::common::{array, fill_signed, golden, numbers, text};
use kernelscope::Error;
use kernelscope::analysis::report::ShapeBiasReport;
use kernelscope::analysis::shape_bias::{Answer, Categories, HUMAN, shape_bias};
use kernelscope_lab::data::{Image, stimuli, texture_of_file_name};

#[test]
fn the_sixteen_categories_are_the_published_ones() {
    let golden = golden("replk/shape_bias.json");
    let categories = Categories::imagenet16();
    let names: Vec<&str> = array(&golden["categories_sorted"]).iter().map(text).collect();
    assert_eq!(categories.names(), names);
    // A category's probability is the mean over its classes: logits that single out one class show which it has.
    for (index, name) in names.iter().enumerate() {
        let classes = numbers(&golden["imagenet_indices"][name]);
        for class in 0..1000 {
            let mut logits = vec![0f32; 1000];
            logits[class] = 50.0;
            let member = classes.contains(&(class as f64));
            let share = categories.probabilities(&logits).unwrap()[index];
            let expected = if member { 1.0 / classes.len() as f32 } else { 0.0 };
            assert!((share - expected).abs() < 1e-5, "{name} and class {class}: {share}");
        }
    }
}

/// The reference case: logits, and the answers they give.
pub(super) fn reference_answers() -> (Categories, Vec<Vec<f32>>, Vec<Answer>) {
    let golden = golden("replk/shape_bias.json");
    let case = &golden["cases"][0];
    let categories = Categories::imagenet16();
    let fill = fill_signed("shape_bias_logits", 48 * 1000);
    let logits: Vec<Vec<f32>> = fill.chunks(1000).map(|row| row.iter().map(|s| 4.0 * s).collect()).collect();
    let answers = array(&case["rows"])
        .iter()
        .zip(&logits)
        .map(|(row, logits)| Answer {
            shape: categories.index(text(&row[1])).unwrap(),
            texture: categories.index(&texture_of_file_name(text(&row[0]))).unwrap(),
            decision: categories.decide(logits).unwrap(),
        })
        .collect();
    (categories, logits, answers)
}

#[test]
fn shape_bias_is_the_published_one() {
    let golden = golden("replk/shape_bias.json");
    let case = &golden["cases"][0];
    let (categories, logits, answers) = reference_answers();
    let decisions: Vec<&str> = answers.iter().map(|a| categories.names()[a.decision].as_str()).collect();
    assert_eq!(decisions, array(&case["decision"]).iter().map(text).collect::<Vec<_>>());
    let probabilities = categories.probabilities(&logits[0]).unwrap();
    for (p, expected) in probabilities.iter().zip(numbers(&case["mean_prob_first"])) {
        assert!((f64::from(*p) - expected).abs() < 1e-5 * expected, "{p} {expected}");
    }
    let report = shape_bias("reference", categories.names(), &answers);
    let close = |found: f64, name: &str| {
        let expected = case[name].as_f64().unwrap();
        assert!((found - expected).abs() < 1e-12, "{name}: {found} {expected}");
    };
    close(report.fraction_shape, "fraction_correct_shape");
    close(report.fraction_texture, "fraction_correct_texture");
    close(report.shape_bias.unwrap(), "shape_bias");
    assert_eq!((report.images, report.conflicts), (48, answers.iter().filter(|a| a.shape != a.texture).count()));
    assert!(report.conflicts < 48, "the reference has images with agreeing cues");
    let mut compared = 0;
    for category in &report.categories {
        // Categories without an image of their shape are not in the reference.
        match case["per_category"].get(&category.category) {
            None => assert_eq!((category.conflicts, category.shape_bias), (0, None), "{}", category.category),
            Some(expected) => {
                compared += 1;
                let off = category.shape_bias.unwrap_or(-1.0) - expected.as_f64().unwrap_or(-1.0);
                assert!(off.abs() < 1e-12, "{}: {:?} {expected}", category.category, category.shape_bias);
            }
        }
    }
    assert_eq!((compared, report.categories.len()), (14, 16));
    let count = |f: fn(&kernelscope::analysis::report::CategoryBias) -> usize| report.categories.iter().map(f).sum();
    let sums: [usize; 3] = [count(|c| c.conflicts), count(|c| c.shape_decisions), count(|c| c.texture_decisions)];
    assert_eq!(sums, [report.conflicts, 16, 13]);
}

#[test]
fn the_three_likeliest_categories_are_the_published_ones() {
    let golden = golden("replk/shape_bias.json");
    let (categories, logits, _) = reference_answers();
    let mut smallest = f64::INFINITY;
    for (row, expected) in logits.iter().zip(array(&golden["cases"][0]["top3"])) {
        let p = categories.probabilities(row).unwrap();
        let mut order: Vec<usize> = (0..p.len()).collect();
        order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
        let names: Vec<&str> = order[..3].iter().map(|&c| categories.names()[c].as_str()).collect();
        assert_eq!(names, array(expected).iter().map(text).collect::<Vec<_>>());
        smallest = smallest.min(f64::from(p[order[0]] - p[order[1]]));
    }
    let expected = golden["cases"][0]["min_gap_top1_top2"].as_f64().unwrap();
    assert!((smallest - expected).abs() < 1e-7, "smallest gap {smallest}, not {expected}");
    for (name, count) in golden["index_counts"].as_object().unwrap() {
        let mut logits = vec![-50f32; 1000];
        numbers(&golden["imagenet_indices"][name]).iter().for_each(|&class| logits[class as usize] = 0.0);
        let share = categories.probabilities(&logits).unwrap()[categories.index(name).unwrap()];
        assert!((f64::from(share) * crate::common::integer(count) as f64 - 1.0).abs() < 1e-5, "{name}");
    }
}

#[test]
fn shape_bias_of_the_published_observers() {
    let golden = golden("replk/shape_bias.json");
    let names = Categories::imagenet16().names().to_vec();
    let humans = golden["human_from_official_csv"].as_object().unwrap();
    let mut pooled = Vec::new();
    for (observer, expected) in humans.iter().filter(|(name, _)| name.starts_with("subject")) {
        let number = |key: &str| expected[key].as_f64().unwrap();
        let rows = number("rows");
        let (shape, texture) = (number("fraction-correct-shape") * rows, number("fraction-correct-texture") * rows);
        // As many answers of each kind as the observer gave; those with agreeing cues do not count.
        let answer = |i: usize| match i {
            i if (i as f64) < shape => Answer { shape: 0, texture: 1, decision: 0 },
            i if (i as f64) < shape + texture => Answer { shape: 0, texture: 1, decision: 1 },
            i if i < 1200 => Answer { shape: 0, texture: 1, decision: 2 },
            _ => Answer { shape: 3, texture: 3, decision: 3 },
        };
        let answers: Vec<Answer> = (0..rows as usize).map(answer).collect();
        let report = shape_bias(observer, &names, &answers);
        assert_eq!(report.conflicts as f64, number("conflict_rows"), "{observer}");
        assert!((report.shape_bias.unwrap() - number("shape-bias")).abs() < 1e-12, "{observer}");
        pooled.extend(answers);
    }
    let report = shape_bias("all", &names, &pooled);
    let expected = humans["all"]["shape-bias"].as_f64().unwrap();
    assert!((report.shape_bias.unwrap() - expected).abs() < 1e-12);
    assert!((HUMAN - expected).abs() < 5e-5, "the line in the figure: {HUMAN} {expected}");
}

#[test]
fn ties_and_odd_inputs() {
    let names: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
    let categories = Categories::identity(&names);
    assert_eq!(categories.decide(&[1.0, 1.0, 0.0]).unwrap(), 1, "the later of two equal ones");
    assert_eq!(categories.decide(&[2.0, 2.0, 2.0]).unwrap(), 2);
    assert_eq!(categories.decide(&[3.0, 2.0, 2.0]).unwrap(), 0);
    assert!(categories.decide(&[1.0, 1.0]).unwrap_err().to_string().contains("2 logits"));
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(matches!(categories.decide(&[1.0, bad, 0.0]), Err(Error::NonFinite { .. })));
    }
    assert_eq!(categories.decide(&[1000.0, -1000.0, 0.0]).unwrap(), 0, "large logits do not overflow");
    let ShapeBiasReport { shape_bias, fraction_shape, .. } =
        shape_bias("none", &names, &[Answer { shape: 0, texture: 1, decision: 2 }]);
    assert_eq!((shape_bias, fraction_shape), (None, 0.0), "neither cue was ever chosen");
    for (file, texture) in [
        ("cat7-elephant1.png", "elephant"),
        ("0001_dnn_x_cat7-elephant1.png", "elephant"),
        ("bottle1-knife3.final.png", "knife"),
        ("oven.png", "oven"),
        ("", ""),
    ] {
        assert_eq!(texture_of_file_name(file), texture, "{file}");
    }
}

#[test]
fn stimulus_folders_are_read_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let put = |path: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        Image::filled(4, 4, [1, 2, 3]).save_png(path).unwrap();
    };
    let categories = Categories::imagenet16();
    let found = |categories: &Categories| stimuli(folder.path(), categories);
    assert!(found(&categories).unwrap_err().to_string().contains("contains no shape folders"));
    put("cat/cat7-elephant1.png");
    put("bear/bear2-bear1.png");
    let read: Vec<(usize, usize)> = found(&categories).unwrap().iter().map(|s| (s.shape, s.texture)).collect();
    assert_eq!(read, [(1, 1), (7, 11)], "folders in order, textures from names");
    put("cat/cat1-wolf2.png");
    let error = found(&categories).unwrap_err().to_string();
    assert!(error.contains("cat1-wolf2.png") && error.contains("wolf") && error.contains("elephant"), "{error}");
    std::fs::remove_file(folder.path().join("cat/cat1-wolf2.png")).unwrap();
    put("wolf/wolf1-cat1.png");
    assert!(found(&categories).unwrap_err().to_string().contains("wolf"));
}
