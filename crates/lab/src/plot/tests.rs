//! Tests of the figures as a whole.

use super::erf::heat;
use super::*;
use crate::{Error, Result};
use kernelscope::analysis::report::*;

fn erf_map(side: usize) -> ErfMap {
    let mut contribution = vec![0.0; side * side];
    contribution[side / 2 * side + side / 2] = 3.0;
    let model = "a <network> & \"more\"".to_owned();
    ErfMap { model, stage: 3, position: (1, 1), height: side, width: side, images: 5, contribution }
}

fn erf() -> ErfFigure {
    let reached = AreaRatio { threshold: 0.2, side: Some(3), ratio: Some(9.0 / 225.0) };
    let missed = AreaRatio { threshold: 0.99, side: None, ratio: None };
    ErfFigure::new(vec![(erf_map(15), vec![reached, missed])], ErfScale::Log)
}

fn curves() -> LossCurves {
    let point = |epoch: f64, train_loss, val_loss| HistoryPoint { epoch, train_loss, val_loss, val_accuracy: val_loss };
    let points = vec![point(1.0, 2.0, None), point(2.0, f64::NAN, Some(0.5)), point(3.0, 1.0, Some(0.6))];
    let single = RunHistory { label: "single".to_owned(), points: vec![point(1.0, 1.5, None)] };
    LossCurves { runs: vec![RunHistory { label: "gaps".to_owned(), points }, single] }
}

fn kernels() -> KernelGrid {
    let kernel = PixelKernel { height: 1, width: 3, values: vec![-0.25, 0.0, 0.125], tapped: vec![true, false, true] };
    let layer = KernelLayer {
        path: "stages.0.0.dwconv".to_owned(),
        channels: 2,
        shape: KernelShape::Oriented { taps: 3, theta: vec![0.0; 2] },
        weights: vec![0.0; 6],
    };
    KernelGrid { layer, kernels: vec![(0, kernel.clone()), (1, kernel)] }
}

fn taps() -> OrientedTaps {
    let plain = TapPattern { angle_degrees: 112.5, taps: vec![(0, 0), (0, 1), (0, 1)], weights: None, channels: 12 };
    let weighted = TapPattern { weights: Some(vec![0.5, -0.5, 0.1]), angle_degrees: 0.0, ..plain.clone() };
    OrientedTaps { layers: vec![("stages.1.2.dwconv".to_owned(), vec![plain, weighted])] }
}

fn heat_map() -> HeatMap {
    HeatMap {
        title: "Confusion".to_owned(),
        quantity: "images".to_owned(),
        height: 2,
        width: 3,
        values: vec![0.0, 1.0, f64::NAN, -2.0, 0.5, 3.0],
        rows: vec!["a".to_owned(), "b & c".to_owned()],
        columns: Vec::new(),
        axes: ("label".to_owned(), "answer".to_owned()),
        signed: true,
        written: true,
    }
}

fn channels() -> Vec<ChannelOrientation> {
    let channel = |i: u32| ChannelOrientation {
        built: Some(f64::from(i) * 22.5),
        dominant: Some(f64::from(i) * 20.0),
        anisotropy: 0.7,
        energy: 1.0,
    };
    (0..8).map(channel).collect()
}

fn histogram(layers: usize) -> OrientationHistogram {
    let layer = |i: usize| LayerOrientation { path: format!("stages.0.{i}.dwconv"), channels: channels() };
    OrientationHistogram { layers: (0..layers).map(layer).collect(), bins: 8 }
}

fn polar() -> PolarOrientation {
    PolarOrientation { title: "all layers".to_owned(), channels: channels(), bins: 8 }
}

fn shape_bias() -> ShapeBiasFigure {
    let category = |name: &str, shape_bias| CategoryBias {
        category: name.to_owned(),
        conflicts: 4,
        shape_decisions: 1,
        texture_decisions: 3,
        shape_bias,
    };
    let report = ShapeBiasReport {
        model: "net".to_owned(),
        images: 10,
        conflicts: 8,
        fraction_shape: 0.1,
        fraction_texture: 0.3,
        shape_bias: Some(0.25),
        categories: vec![category("bear", Some(0.25)), category("oven", None)],
    };
    ShapeBiasFigure { reports: vec![report], human: Some(0.96) }
}

fn sheet() -> ImageSheet {
    let image = |width| SheetImage { height: 2, width, pixels: vec![7; 6 * width], caption: "cat or dog".to_owned() };
    ImageSheet { images: vec![image(2), image(3), image(1500)], columns: 2 }
}

fn bars() -> CostBars {
    let rows = vec![("small".to_owned(), 1.5), ("none".to_owned(), 0.0)];
    CostBars { rows, unit: "GMACs".to_owned(), title: "Cost".to_owned() }
}

fn ablation_point(x: f64, values: &[f64]) -> AblationPoint {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    AblationPoint { x, values: values.to_vec(), mean, std: (values.len() > 1).then_some(1.5) }
}

fn ablation_rows() -> AblationRows {
    let rows = vec![
        ("block <1D>, stem depthwise".to_owned(), ablation_point(0.0, &[81.0, 83.0, 84.0])),
        ("single".to_owned(), ablation_point(0.0, &[70.5])),
    ];
    let (title, quantity) = ("Stems & blocks".to_owned(), "validation accuracy (%)".to_owned());
    AblationRows { title, quantity, rows, baseline: Some(70.5) }
}

fn ablation_lines() -> AblationLines {
    let line = |label: &str, shift: f64| AblationSeries {
        label: label.to_owned(),
        points: [31.0, 7.0, 15.0]
            .iter()
            .map(|&x| ablation_point(x, &[80.0 + shift, 82.0 + shift + x / 10.0]))
            .collect(),
    };
    let (x, y) = ("K".to_owned(), "validation accuracy (%)".to_owned());
    AblationLines { title: "K and D".to_owned(), x, y, series: vec![line("D 2", 0.0), line("D 8", 4.0)] }
}

/// Checks tags, attributes and entities; enough of XML for what is written here.
fn well_formed(xml: &str) -> std::result::Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml.trim();
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        if text.contains('>') || text.split('&').skip(1).any(|entity| !entity.contains(';')) {
            return Err(format!("bad text {text:?}"));
        }
        let end = rest[start..].find('>').ok_or("a tag is not closed")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if !tag.matches('"').count().is_multiple_of(2) || tag.contains('<') {
            return Err(format!("bad tag {tag:?}"));
        }
        let name = tag.trim_matches('/').split_whitespace().next().unwrap_or_default();
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return Err(format!("{name} closes another element"));
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    if open.is_empty() && rest.is_empty() { Ok(()) } else { Err(format!("left open: {open:?} {rest:?}")) }
}

/// Draws a figure both ways and checks form, size and labels.
fn check(figure: &impl Figure, labels: &[&str]) {
    let text = svg(figure).unwrap();
    well_formed(&text).unwrap();
    assert!(!text.contains(pen::PLACEHOLDER), "a placeholder is left");
    for label in labels {
        assert!(text.contains(&format!(">{label}</text>")), "{label:?} is missing");
    }
    let image = image::load_from_memory(&png(figure).unwrap()).unwrap();
    assert_eq!((image.width(), image.height()), figure.size());
    assert!(figure.size().0 >= 800);
    let dark = image.to_luma8().pixels().filter(|pixel| pixel.0[0] < 128).count();
    assert!(dark > 100, "only {dark} dark pixels");
}

#[test]
fn figures_are_well_formed_and_labeled() {
    check(
        &erf(),
        &[
            "a &lt;network&gt; &amp; &quot;more&quot;",
            "t = 20 %: 3 px, r = 4.0 %",
            "t = 99 %: not reached",
            "contribution, log10(A + 1), relative to maximum",
        ],
    );
    check(&curves(), &["gaps", "single", "loss", "epoch", "validation accuracy (%)"]);
    check(&kernels(), &["stages.0.0.dwconv", "0", "1", "weight", "no tap", "−0.25"]);
    check(&taps(), &["stages.1.2.dwconv", "112.5° · 12 ch", "two taps", "center pixel", "weight"]);
    check(&histogram(13), &["Kernel orientation, first 12 of 13 layers", "stages.0.11.dwconv", "channels"]);
    check(&polar(), &["all layers", "45°", "135°"]);
    check(&shape_bias(), &["bear", "net (0.25)", "human (0.96)", "fraction of shape decisions"]);
    check(&sheet(), &["cat or dog"]);
    check(&bars(), &["Cost", "GMACs", "small", "1.5"]);
    check(
        &ablation_rows(),
        &[
            "Stems &amp; blocks",
            "block &lt;1D&gt;, stem depthwise",
            "82.7 ± 1.5",
            "70.5",
            "one seed",
            "mean of the baseline",
        ],
    );
    check(&heat_map(), &["Confusion", "b &amp; c", "label", "answer", "images", "−2", "0.5"]);
    check(&ablation_lines(), &["K and D", "D 2", "D 8", "K", "7", "15", "31", "validation accuracy (%)"]);
}

#[test]
fn categories_without_decisions_are_left_out() {
    assert!(!svg(&shape_bias()).unwrap().contains("oven"));
}

#[test]
fn a_shape_bias_without_decisions_is_drawn() {
    let mut figure = shape_bias();
    figure.reports[0].shape_bias = None;
    figure.reports[0].categories.iter_mut().for_each(|category| category.shape_bias = None);
    check(&figure, &["no decisions for shape or texture", "net (no decision)", "human (0.96)"]);
    figure.reports[0].categories.clear();
    check(&figure, &["no decisions for shape or texture"]);
}

#[test]
fn a_kernel_grid_says_which_channels_it_shows() {
    let all = "oriented lines of 3 taps; all 2 channels, numbered from 0";
    check(&kernels(), &[all]);
    let mut figure = kernels();
    figure.layer.channels = 512;
    let kernel = figure.kernels[0].1.clone();
    figure.kernels = KernelGrid::spread(512, 64).into_iter().map(|channel| (channel, kernel.clone())).collect();
    check(&figure, &["oriented lines of 3 taps; 64 of 512 channels, evenly spaced, numbered from 0", "0", "8", "504"]);
    figure.kernels.truncate(5);
    check(&figure, &["oriented lines of 3 taps; 5 of 512 channels, numbered from 0"]);
}

#[test]
fn small_images_are_enlarged_by_whole_factors() {
    for (side, columns, shown) in [(64, 8, 128), (32, 8, 96), (28, 12, 112), (95, 8, 190), (96, 8, 96), (64, 1, 896)] {
        let image = SheetImage { height: side, width: side, pixels: vec![7; 3 * side * side], caption: String::new() };
        let text = svg(&ImageSheet { images: vec![image; 9], columns }).unwrap();
        // SVG coordinates are eighths of a pixel.
        assert_eq!(text.matches(&format!("width=\"{0}\" height=\"{0}\"", 8 * shown)).count(), 9, "{side} pixels");
        assert_eq!(text.matches("image-rendering:pixelated").count(), 9, "{side} pixels");
    }
}

#[test]
fn the_checker_itself_finds_errors() {
    assert!(well_formed("<a><b x=\"1\"/>x &amp; y</a>").is_ok());
    for bad in ["<a>", "<a></b>", "<a>1 & 2</a>", "<a x=\"></a>"] {
        assert!(well_formed(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_svg_holds_each_map_as_one_image() {
    let text = svg(&erf()).unwrap();
    // One heat map and the strip of the color bar.
    assert_eq!(text.matches("<image ").count(), 2);
    assert_eq!(text.matches("href=\"data:image/png;base64,").count(), 2);
    assert!(text.len() < 40_000, "{} bytes", text.len());
    let large = ErfFigure::new(vec![(erf_map(2000), vec![])], ErfScale::Linear);
    assert!(svg(&large).unwrap().len() < 100_000);
}

#[test]
fn an_embedded_image_is_a_png_of_the_map() {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let text = svg(&erf()).unwrap();
    let data = text.split("base64,").nth(1).unwrap().split('"').next().unwrap();
    let image = image::load_from_memory(&BASE64_STANDARD.decode(data).unwrap()).unwrap().to_rgb8();
    assert_eq!(image.dimensions(), (15, 15));
    assert_eq!(image.get_pixel(7, 7).0, Colormap::Magma.at(1.0));
}

#[test]
fn only_the_center_of_a_one_hot_map_has_the_highest_color() {
    for scale in [ErfScale::Log, ErfScale::Linear, ErfScale::Power(0.5)] {
        let raster = heat(&erf_map(15), scale, scale.peak(&erf_map(15).contribution), 1024).unwrap();
        let pixels = raster.rgb.as_chunks::<3>().0;
        let brightest: Vec<usize> = (0..pixels.len()).filter(|&i| pixels[i] == Colormap::Magma.at(1.0)).collect();
        assert_eq!(brightest, [7 * 15 + 7], "{scale:?}");
        assert_eq!(pixels[0], Colormap::Magma.at(0.0));
    }
    assert_eq!(heat(&erf_map(2000), ErfScale::Linear, 1.0, 1024).unwrap().width, 1000);
}

/// The pixels of the nth embedded image.
fn embedded(figure: &impl Figure, index: usize) -> image::RgbImage {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let text = svg(figure).unwrap();
    let data = text.split("base64,").nth(index + 1).unwrap().split('"').next().unwrap();
    image::load_from_memory(&BASE64_STANDARD.decode(data).unwrap()).unwrap().to_rgb8()
}

#[test]
fn a_shared_range_makes_the_weaker_map_darker() {
    let weak = ErfMap { contribution: erf_map(15).contribution.iter().map(|a| a / 2.0).collect(), ..erf_map(15) };
    let own = ErfFigure::new(vec![(erf_map(15), vec![]), (weak, vec![])], ErfScale::Linear);
    assert_eq!(embedded(&own, 1).get_pixel(7, 7).0, Colormap::Magma.at(1.0));
    let shared = ErfFigure { shared_range: true, ..own };
    assert_eq!(embedded(&shared, 0).get_pixel(7, 7).0, Colormap::Magma.at(1.0));
    assert_eq!(embedded(&shared, 1).get_pixel(7, 7).0, Colormap::Magma.at(0.5));
}

#[test]
fn contours_are_lines_around_the_peak() {
    let lines = |contours: Vec<f64>| {
        svg(&ErfFigure { contours, ..ErfFigure::new(vec![(erf_map(15), vec![])], ErfScale::Log) }).unwrap()
    };
    let count = |text: &str| text.matches("#56B4E9").count();
    assert_eq!(count(&lines(vec![])), 0);
    // The four sides of the diamond around the one pixel that is not zero.
    assert_eq!(count(&lines(vec![0.5])), 4);
    let wrong = ErfFigure { contours: vec![1.5], ..ErfFigure::new(vec![(erf_map(15), vec![])], ErfScale::Log) };
    refused(svg(&wrong), "contours");
}

#[test]
fn a_difference_is_red_where_the_first_map_is_larger() {
    let mut second = erf_map(15);
    second.contribution.fill(0.0);
    second.contribution[0] = 1.5;
    let figure = ErfDifference { maps: [erf_map(15), second], scale: ErfScale::Linear };
    let values = figure.values().unwrap();
    assert_eq!((values[7 * 15 + 7], values[0], values[1]), (1.0, -0.5, 0.0));
    let image = embedded(&figure, 0);
    assert_eq!(image.get_pixel(7, 7).0, Colormap::Diverging.at(1.0));
    assert_eq!(image.get_pixel(0, 0).0, Colormap::Diverging.at(0.25));
    assert_eq!(image.get_pixel(3, 3).0, Colormap::Diverging.at(0.5));
    assert_eq!(figure.table().rows[7][8], "1");
    let other = ErfDifference { maps: [erf_map(15), erf_map(9)], scale: ErfScale::Log };
    refused(svg(&other), "ErfDifference.maps[1].width");
}

#[test]
fn a_pixel_without_a_tap_is_gray_and_zero_is_not() {
    let image = image::load_from_memory(&png(&kernels()).unwrap()).unwrap().to_rgb8();
    let count = |color: Rgb| image.pixels().filter(|pixel| pixel.0 == color).count();
    assert!(count(theme::NO_TAP) > 1000);
    let mut tapped = kernels();
    tapped.kernels.iter_mut().for_each(|(_, kernel)| kernel.tapped = vec![true; 3]);
    let image = image::load_from_memory(&png(&tapped).unwrap()).unwrap().to_rgb8();
    // Some remain at the smoothed edges of letters.
    assert!(image.pixels().filter(|pixel| pixel.0 == theme::NO_TAP).count() < 100);
    assert!(image.pixels().filter(|pixel| pixel.0 == Colormap::Diverging.at(0.5)).count() > 1000);
}

fn refused(result: Result<String>, field: &str) {
    match result {
        Err(Error::Argument { name, .. }) => assert!(name.contains(field), "{name} is not {field}"),
        other => panic!("{field} was not refused: {:?}", other.map(|text| text.len())),
    }
}

#[test]
fn empty_figures_are_refused() {
    refused(svg(&LossCurves { runs: vec![] }), "LossCurves.runs");
    let none = RunHistory { label: "empty".to_owned(), points: vec![] };
    refused(svg(&LossCurves { runs: vec![none] }), "points");
    refused(svg(&ErfFigure::new(vec![], ErfScale::Log)), "ErfFigure.maps");
    refused(svg(&KernelGrid { kernels: vec![], ..kernels() }), "KernelGrid.kernels");
    refused(svg(&OrientedTaps { layers: vec![] }), "OrientedTaps.layers");
    refused(svg(&histogram(0)), "OrientationHistogram.layers");
    refused(svg(&OrientationHistogram { bins: 0, ..histogram(1) }), "bins");
    refused(svg(&PolarOrientation { channels: vec![], ..polar() }), "channels");
    refused(svg(&ShapeBiasFigure { reports: vec![], human: None }), "ShapeBiasFigure.reports");
    refused(svg(&ImageSheet { images: vec![], columns: 2 }), "ImageSheet.images");
    refused(svg(&ImageSheet { columns: 0, ..sheet() }), "columns");
    refused(svg(&HeatMap { width: 0, values: vec![], ..heat_map() }), "HeatMap.width");
    refused(svg(&HeatMap { width: 2, ..heat_map() }), "HeatMap.values");
    refused(svg(&HeatMap { rows: vec!["a".to_owned()], ..heat_map() }), "HeatMap.rows");
    refused(svg(&CostBars { rows: vec![], ..bars() }), "CostBars.rows");
    refused(svg(&AblationRows { rows: vec![], ..ablation_rows() }), "AblationRows.rows");
    refused(svg(&AblationLines { series: vec![], ..ablation_lines() }), "AblationLines.series");
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let mut figure = erf();
    figure.maps[0].0.contribution.pop();
    refused(svg(&figure), "ErfMap.contribution");
    let mut figure = erf();
    figure.maps[0].0.contribution[3] = f32::NAN;
    refused(svg(&figure), "ErfMap.contribution");
    let mut figure = kernels();
    figure.kernels[1].1.tapped.pop();
    refused(svg(&figure), "PixelKernel.tapped");
    let mut figure = kernels();
    figure.kernels[1].0 = 2;
    refused(svg(&figure), "KernelGrid.kernels.0");
    let mut figure = taps();
    figure.layers[0].1[1].weights = Some(vec![1.0]);
    refused(svg(&figure), "TapPattern.weights");
    let mut figure = sheet();
    figure.images[0].pixels.pop();
    refused(svg(&figure), "SheetImage.pixels");
    refused(svg(&CostBars { rows: vec![("bad".to_owned(), f64::NAN)], ..bars() }), "CostBars.rows");
    let mut figure = ablation_rows();
    figure.rows[1].1.values[0] = f64::NAN;
    refused(svg(&figure), "AblationPoint");
    let mut figure = ablation_lines();
    figure.series[0].points[0].values.clear();
    refused(svg(&figure), "AblationPoint.values");
    refused(svg(&ShapeBiasFigure { human: Some(1.5), ..shape_bias() }), "human");
}

#[test]
fn saving_writes_two_files_and_leaves_no_temporary_one() {
    let folder = tempfile::tempdir().unwrap();
    // The dot must not be taken for an extension.
    save(&bars(), &folder.path().join("cost.v1")).unwrap();
    let mut names: Vec<String> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["cost.v1.png", "cost.v1.svg"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("cost.v1.svg")).unwrap(), svg(&bars()).unwrap());
    save(&bars(), &folder.path().join("cost.v1")).unwrap();
    assert!(save(&bars(), &folder.path().join("missing/cost")).is_err());
}

#[test]
fn a_larger_area_gets_a_larger_drawing() {
    use plotters::prelude::{BitMapBackend, IntoDrawingArea as _};
    let (width, height) = bars().size();
    let mut buffer = vec![255; (12 * width * height) as usize];
    {
        let root = BitMapBackend::with_buffer(&mut buffer, (2 * width, 2 * height)).into_drawing_area();
        bars().draw(&root).unwrap();
    }
    let right = buffer.chunks_exact(6 * width as usize).any(|row| row[3 * width as usize..].iter().any(|&v| v < 100));
    assert!(right, "nothing was drawn in the right half");
    let mut small = vec![255; 3 * 100 * 100];
    let root = BitMapBackend::with_buffer(&mut small, (100, 100)).into_drawing_area();
    assert!(matches!(bars().draw(&root), Err(Error::Argument { .. })));
}
