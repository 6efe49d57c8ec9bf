//! Effective receptive fields, as RepLKNet's scripts define them (Ding et al., CVPR 2022, appendix and `erf/`).
//!
//! ```text
//! F = feature map of a stage       c = F[:, :, h' div 2, w' div 2]       L = sum(relu(c))
//! G = dL / dimage                  S = sum over channels of relu(G)      A = mean of S over images
//! D = log10(A + 1) / max           r(t) = ((2i+1)/h) * ((2i+1)/w) of the smallest centered square with share > t
//! ```
//!
//! Negative gradients are dropped per channel before summing. The paper's text sums over images where its script takes
//! the mean. `log10(A + 1)` depends on the scale of A, so the two give different areas; [`Definition`] says which is
//! meant, and the script's is the default, since it made the published figures.
//!
//! Areas depend on the image's size too, and only those at one size compare. At 1024x1024, the published size, most
//! fields end inside the image, and r says how far a network sees. At 224x224 the fields of all networks reach the
//! border, where they are cut off: r then says how evenly the contribution is spread over the image, and networks
//! with smaller fields may come out ahead. A field of as many pixels also covers 21 times the share of the area.

use super::report::{AreaRatio, ErfMap};
use crate::nn::{Mode, Pass};
use crate::zoo::Network;
use crate::{Error, Result};
use candle_core::{DType, Tensor, Var};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The thresholds of the published tables.
pub const THRESHOLDS: [f64; 4] = [0.2, 0.3, 0.5, 0.99];

/// Side of the images in the published figures, in pixels.
pub const PUBLISHED_SIZE: usize = 1024;

/// How the contributions of several images become A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Definition {
    /// Their mean, as in the official script (`erf/visualize_erf.py`).
    #[default]
    Script,
    /// Their sum, as in the paper's text (appendix).
    Paper,
}

impl Definition {
    /// A, from the mean over the images that a map holds.
    ///
    /// ```
    /// use kernelscope::analysis::{erf::Definition, report::ErfMap};
    /// let (model, position) = ("m".to_string(), (0, 0));
    /// let map = ErfMap { model, stage: 3, position, height: 1, width: 2, images: 50, contribution: vec![0.5, 2.0] };
    /// assert_eq!(Definition::Paper.of(map.clone()).contribution, [25.0, 100.0]);
    /// assert_eq!(Definition::Script.of(map.clone()), map);
    /// ```
    pub fn of(self, mut map: ErfMap) -> ErfMap {
        if self == Definition::Paper {
            let images = map.images as f64;
            map.contribution.iter_mut().for_each(|a| *a = (f64::from(*a) * images).min(f64::from(f32::MAX)) as f32);
        }
        map
    }
}

/// What is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Probe {
    /// Stage counted from 0; the last if `None`.
    pub stage: Option<usize>,
    /// Row and column in the stage's feature map; its center if `None`.
    pub position: Option<(usize, usize)>,
}

/// Adds up the contributions of images one by one, so that a map can be shown while it is refined.
pub struct Erf<'a> {
    network: &'a Network,
    probe: Probe,
    size: Option<(usize, usize)>,
    found: (usize, (usize, usize)),
    stage_size: (usize, usize),
    sum: Vec<f64>,
    images: usize,
}

impl<'a> Erf<'a> {
    /// For a network, best built without gradients ([`crate::nn::BuildOptions::frozen`]) so that only the image's
    /// gradient is computed.
    pub fn new(network: &'a Network, probe: Probe) -> Self {
        Erf { network, probe, size: None, found: (0, (0, 0)), stage_size: (0, 0), sum: Vec::new(), images: 0 }
    }

    /// Adds one image (1, 3, H, W), normalized as the network expects. Returns its contribution map S, row-major.
    ///
    /// # Errors
    /// If the image has another size than those before, the stage or position does not exist, or a value is not
    /// finite.
    pub fn add(&mut self, image: &Tensor) -> Result<Vec<f32>> {
        let (height, width) = match image.dims() {
            &[1, 3, h, w] => (h, w),
            dims => return Err(Error::shape("image", dims, "(1, 3, H, W)")),
        };
        if let Some((h, w)) = self.size
            && (h, w) != (height, width)
        {
            return Err(Error::argument(
                "image",
                format!("{height}x{width}"),
                format!("{h}x{w}, like the first image"),
            ));
        }
        let place = || format!("image {} of the receptive field", self.images + 1);
        let sum = image.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            return Err(Error::NonFinite { what: "the sum of the pixels".into(), value: sum, place: place() });
        }
        let var = Var::from_tensor(image)?;
        let features = self.network.forward_features(var.as_tensor(), &mut Pass::new(Mode::Eval))?;
        let count = features.stages.len();
        let stage = self.probe.stage.unwrap_or(count - 1);
        let map =
            features.stages.get(stage).ok_or_else(|| Error::argument("stage", stage, format!("0 to {}", count - 1)))?;
        let (_, _, rows, cols) = map.dims4()?;
        let (p, q) = self.probe.position.unwrap_or((rows / 2, cols / 2));
        if p >= rows || q >= cols {
            return Err(Error::argument("position", format!("({p}, {q})"), format!("inside the {rows}x{cols} map")));
        }
        let probed = map.narrow(2, p, 1)?.narrow(3, q, 1)?;
        // Before the rectifier, which would hide what is not a number.
        let sum = probed.detach().to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        if !sum.is_finite() {
            return Err(Error::NonFinite { what: "the probed feature".into(), value: sum, place: place() });
        }
        let target = probed.relu()?.sum_all()?;
        let grads = target.backward()?;
        let gradient = match grads.get(var.as_tensor()) {
            Some(gradient) => gradient.relu()?.sum((0, 1))?.flatten_all()?.to_vec1::<f32>()?,
            // A position that no image pixel reaches.
            None => vec![0.0; height * width],
        };
        if let Some(bad) = gradient.iter().find(|v| !v.is_finite()) {
            return Err(Error::NonFinite {
                what: "the gradient of the image".into(),
                value: f64::from(*bad),
                place: place(),
            });
        }
        if self.size.is_none() {
            self.size = Some((height, width));
            self.sum = vec![0.0; height * width];
        }
        for (sum, &value) in self.sum.iter_mut().zip(&gradient) {
            *sum += f64::from(value);
        }
        self.found = (stage, (p, q));
        self.stage_size = (rows, cols);
        self.images += 1;
        Ok(gradient)
    }

    /// Rows and columns of the probed stage's feature map; zeros before the first image.
    pub fn stage_size(&self) -> (usize, usize) {
        self.stage_size
    }

    /// The mean over the images so far.
    ///
    /// # Errors
    /// If there was no image.
    pub fn map(&self) -> Result<ErfMap> {
        let Some((height, width)) = self.size else {
            return Err(Error::argument("images", "none", "at least one image"));
        };
        let count = self.images as f64;
        Ok(ErfMap {
            model: self.network.spec().name.clone(),
            stage: self.found.0,
            position: self.found.1,
            height,
            width,
            images: self.images,
            contribution: self.sum.iter().map(|&s| (s / count) as f32).collect(),
        })
    }
}

/// The log-scaled map D = log10(A + 1) / max, row-major; all zero if nothing contributes.
pub fn log_scaled(map: &ErfMap) -> Vec<f64> {
    let logs: Vec<f64> = map.contribution.iter().map(|&a| (f64::from(a) + 1.0).log10()).collect();
    let max = logs.iter().copied().fold(0.0, f64::max);
    if max > 0.0 { logs.into_iter().map(|d| d / max).collect() } else { logs }
}

/// Whose share a square holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// The share of D = log10(A + 1), as in the RepLKNet script and the published tables.
    #[default]
    Log,
    /// The share of A itself, in which the center weighs far more.
    Raw,
}

/// The share of the contribution in every centered square, from which the square of any threshold can be read at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Squares {
    size: (usize, usize),
    /// The share of the square of side `2i+1` at index `i - 1`.
    shares: Vec<f64>,
}

impl Squares {
    /// Adds up a map ring by ring. Squares have sides 2i+1 for i from 1 to `min(h, w) div 2 - 1`, centered on pixel
    /// (h div 2, w div 2). A map that has not `height * width` values has no squares.
    pub fn new(map: &ErfMap, measure: Measure) -> Self {
        let values = match measure {
            Measure::Log => log_scaled(map),
            Measure::Raw => map.contribution.iter().map(|&a| f64::from(a)).collect(),
        };
        let total: f64 = values.iter().sum();
        let (h, w) = (map.height, map.width);
        let complete = !values.is_empty() && h.checked_mul(w) == Some(values.len());
        let radii = if complete { (h.min(w) / 2).saturating_sub(1) } else { 0 };
        let (row, col) = (h / 2, w / 2);
        let at = |r: usize, c: usize| values[r * w + c];
        let mut sum = if complete { at(row, col) } else { 0.0 };
        let shares = (1..=radii)
            .map(|i| {
                let (top, bottom, left, right) = (row - i, row + i, col - i, col + i);
                sum += (left..=right).map(|c| at(top, c) + at(bottom, c)).sum::<f64>();
                sum += (top + 1..bottom).map(|r| at(r, left) + at(r, right)).sum::<f64>();
                if total > 0.0 { sum / total } else { 0.0 }
            })
            .collect();
        Squares { size: (h, w), shares }
    }

    /// The smallest square that holds more than a share of the contribution.
    pub fn area(&self, threshold: f64) -> AreaRatio {
        let (h, w) = self.size;
        let side = self.shares.iter().position(|&share| share > threshold).map(|i| 2 * (i + 1) + 1);
        let ratio = side.map(|s| (s as f64 / h as f64) * (s as f64 / w as f64));
        AreaRatio { threshold, side, ratio }
    }
}

/// The smallest centered squares that hold more than each threshold's share of D ([`Squares`]).
///
/// ```
/// use kernelscope::analysis::{erf::area_ratios, report::ErfMap};
/// let mut contribution = vec![0.0; 64];
/// contribution[4 * 8 + 4] = 1.0;
/// let map = ErfMap { model: "m".into(), stage: 3, position: (0, 0), height: 8, width: 8, images: 1, contribution };
/// assert_eq!(area_ratios(&map, &[0.99])[0].side, Some(3));
/// ```
pub fn area_ratios(map: &ErfMap, thresholds: &[f64]) -> Vec<AreaRatio> {
    let squares = Squares::new(map, Measure::Log);
    thresholds.iter().map(|&threshold| squares.area(threshold)).collect()
}

/// The lines along which a map of values (row-major, `width` columns) crosses `level`, as segments between points
/// (x, y) in pixels; the center of the first pixel is (0.5, 0.5). Marching squares with linear interpolation; the two
/// cases that are ambiguous keep the high corners apart.
///
/// ```
/// use kernelscope::analysis::erf::contour;
/// assert_eq!(contour(&[0.0, 1.0, 0.0, 1.0], 2, 0.5), [[(1.0, 0.5), (1.0, 1.5)]]);
/// ```
pub fn contour(values: &[f64], width: usize, level: f64) -> Vec<[(f32, f32); 2]> {
    let mut lines = Vec::new();
    let Some(rows) = values.len().checked_div(width) else { return lines };
    for y in 0..rows.saturating_sub(1) {
        for x in 0..width - 1 {
            let at = y * width + x;
            // Clockwise from the upper left.
            let corners = [values[at], values[at + 1], values[at + width + 1], values[at + width]];
            let above = corners.map(|value| value > level);
            if above.iter().all(|&a| a) || above.iter().all(|&a| !a) {
                continue;
            }
            let places = [(0.5, 0.5), (1.5, 0.5), (1.5, 1.5), (0.5, 1.5)];
            let mut crossings: Vec<(f32, f32)> = Vec::with_capacity(4);
            for (i, j) in [(0, 1), (1, 2), (2, 3), (3, 0)] {
                if above[i] != above[j] {
                    let share = ((level - corners[i]) / (corners[j] - corners[i])) as f32;
                    let ((x0, y0), (x1, y1)): ((f32, f32), (f32, f32)) = (places[i], places[j]);
                    crossings.push((x as f32 + x0 + share * (x1 - x0), y as f32 + y0 + share * (y1 - y0)));
                }
            }
            match *crossings.as_slice() {
                [a, b] => lines.push([a, b]),
                [top, right, bottom, left] if above[0] => lines.extend([[left, top], [right, bottom]]),
                [top, right, bottom, left] => lines.extend([[top, right], [bottom, left]]),
                _ => {}
            }
        }
    }
    lines
}

/// The difference of two maps of transferred values, pixel by pixel.
///
/// # Errors
/// If they have not the same number of values.
pub fn difference(a: &[f64], b: &[f64]) -> Result<Vec<f64>> {
    if a.len() != b.len() {
        let given = format!("{} and {} values", a.len(), b.len());
        return Err(Error::argument("maps", given, "two maps of the same size"));
    }
    Ok(a.iter().zip(b).map(|(a, b)| a - b).collect())
}

/// Reads a map from a NumPy file: a matrix (H, W) of contributions, as RepLKNet's script saves it. Its name is the
/// file's.
///
/// # Errors
/// If the file cannot be read, holds no matrix, or a value is negative or not finite.
pub fn read_npy(path: &Path) -> Result<ErfMap> {
    std::fs::metadata(path).map_err(Error::io("read", path))?;
    let tensor = Tensor::read_npy(path).map_err(|e| Error::file(path, format!("is not a readable NumPy file: {e}")))?;
    let (height, width) = match tensor.dims() {
        &[height, width] | &[1, height, width] if height > 0 && width > 0 => (height, width),
        dims => return Err(Error::file(path, format!("has shape {dims:?}, allowed: a matrix (H, W)"))),
    };
    let contribution = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    if let Some(index) = contribution.iter().position(|value| !value.is_finite() || *value < 0.0) {
        let (row, column, value) = (index / width, index % width, contribution[index]);
        let place = format!("has the value {value} at row {row}, column {column}");
        return Err(Error::file(path, format!("{place}, allowed: finite, nonnegative contributions")));
    }
    let model = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(ErfMap { model, stage: 0, position: (0, 0), height, width, images: 1, contribution })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(height: usize, width: usize, f: impl Fn(usize, usize) -> f32) -> ErfMap {
        let contribution = (0..height * width).map(|i| f(i / width, i % width)).collect();
        ErfMap { model: "test".into(), stage: 3, position: (0, 0), height, width, images: 1, contribution }
    }

    #[test]
    fn rings_agree_with_direct_sums() {
        let map = map(23, 30, |r, c| ((r * 31 + c * 17) % 13) as f32 / 7.0);
        let scaled = log_scaled(&map);
        let total: f64 = scaled.iter().sum();
        for threshold in [0.01, 0.1, 0.2, 0.5, 0.7] {
            let direct = (1..23 / 2).find(|i| {
                let inside = |r: usize, c: usize| r.abs_diff(11) <= *i && c.abs_diff(15) <= *i;
                let sum: f64 = (0..scaled.len()).filter(|k| inside(k / 30, k % 30)).map(|k| scaled[k]).sum();
                sum / total > threshold
            });
            assert_eq!(area_ratios(&map, &[threshold])[0].side, direct.map(|i| 2 * i + 1), "{threshold}");
        }
    }

    #[test]
    fn raw_squares_are_smaller_than_those_of_the_logarithm() {
        let peaked = map(33, 33, |r, c| 100.0 / (1.0 + (r.abs_diff(16).pow(2) + c.abs_diff(16).pow(2)) as f32));
        let (log, raw) = (Squares::new(&peaked, Measure::Log), Squares::new(&peaked, Measure::Raw));
        for threshold in [0.2, 0.5] {
            assert!(raw.area(threshold).side.unwrap() < log.area(threshold).side.unwrap(), "{threshold}");
        }
        let direct: f64 =
            (15..=17).flat_map(|r| (15..=17).map(move |c| r * 33 + c)).map(|i| f64::from(peaked.contribution[i])).sum();
        let total: f64 = peaked.contribution.iter().map(|&a| f64::from(a)).sum();
        assert!((raw.shares[0] - direct / total).abs() < 1e-12);
    }

    #[test]
    fn contours_of_a_disc_are_its_rim() {
        let radius = |x: usize, y: usize| ((x as f64 - 20.0).powi(2) + (y as f64 - 20.0).powi(2)).sqrt();
        let values: Vec<f64> = (0..41 * 41).map(|i| 30.0 - radius(i % 41, i / 41)).collect();
        let lines = contour(&values, 41, 20.0);
        assert!(lines.len() > 40);
        for (x, y) in lines.into_iter().flatten() {
            let distance = (f64::from(x) - 20.5).hypot(f64::from(y) - 20.5);
            assert!((distance - 10.0).abs() < 0.1, "{x} {y}: {distance}");
        }
        assert!(contour(&values, 41, 99.0).is_empty() && contour(&[], 0, 0.0).is_empty());
        assert_eq!(contour(&[1.0, 0.0, 0.0, 1.0], 2, 0.5).len(), 2);
    }

    #[test]
    fn matrices_of_numpy_are_read_and_wrong_ones_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("contribution.npy");
        let values: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let write = |values: &[f32], shape: &[usize]| {
            Tensor::from_slice(values, shape, &candle_core::Device::Cpu).unwrap().write_npy(&path).unwrap();
        };
        write(&values, &[3, 4]);
        let read = read_npy(&path).unwrap();
        assert_eq!(
            (read.height, read.width, read.contribution, read.model.as_str()),
            (3, 4, values.clone(), "contribution")
        );
        write(&values, &[12]);
        assert!(read_npy(&path).unwrap_err().to_string().contains("allowed: a matrix"));
        write(&[0.0, f32::NAN, 1.0, 2.0], &[2, 2]);
        let message = read_npy(&path).unwrap_err().to_string();
        assert!(message.contains("NaN at row 0, column 1"), "{message}");
        std::fs::write(&path, b"no numpy").unwrap();
        assert!(read_npy(&path).unwrap_err().to_string().contains("not a readable NumPy file"));
        assert!(read_npy(&folder.path().join("absent.npy")).unwrap_err().to_string().contains("cannot read"));
    }

    #[test]
    fn an_unreached_threshold_is_none() {
        // All contribution in a corner that no centered square inside the image touches.
        let corner = map(16, 16, |r, c| if r == 0 && c == 0 { 1.0 } else { 0.0 });
        assert_eq!(area_ratios(&corner, &[0.2])[0], AreaRatio { threshold: 0.2, side: None, ratio: None });
        assert_eq!(area_ratios(&map(16, 16, |_, _| 0.0), &[0.2])[0].side, None);
    }

    #[test]
    fn a_map_of_another_length_has_no_squares() {
        let whole = map(16, 16, |_, _| 1.0);
        assert!(area_ratios(&whole, &[0.2])[0].side.is_some());
        for (height, width) in [(17, 16), (16, 15), (usize::MAX, usize::MAX), (0, 16)] {
            let wrong = ErfMap { height, width, ..whole.clone() };
            assert_eq!(area_ratios(&wrong, &[0.2])[0].side, None, "{height}x{width}");
        }
        let empty = ErfMap { contribution: Vec::new(), ..whole };
        assert_eq!(area_ratios(&empty, &[0.2])[0].side, None);
    }
}
