//! Orientation of kernels: as built, and as learned.
//!
//! With energy `e_i = w_i^2` at tap position `(x_i, y_i) = (dw_i, -dh_i)` (y upwards), normalized to sum 1, and second
//! moments about the centroid `m_xx, m_yy, m_xy`:
//!
//! ```text
//! dominant   = 1/2 atan2(2 m_xy, m_xx - m_yy)                          in [0, 180) degrees
//! anisotropy = sqrt((m_xx - m_yy)^2 + 4 m_xy^2) / (m_xx + m_yy)        = (l1 - l2) / (l1 + l2) of the eigenvalues
//! ```

use super::report::{ChannelOrientation, KernelLayer, KernelShape, LayerOrientation};

/// Orientation of every channel of a layer.
///
/// ```
/// use kernelscope::analysis::{orientation::orientations, report::{KernelLayer, KernelShape}};
/// let column = KernelLayer {
///     path: "conv".into(),
///     channels: 1,
///     shape: KernelShape::Dense { height: 3, width: 3 },
///     weights: vec![0., 1., 0., 0., 1., 0., 0., 1., 0.],
/// };
/// let channel = orientations(&column).channels[0];
/// assert_eq!((channel.dominant, channel.anisotropy), (Some(90.0), 1.0));
/// ```
pub fn orientations(layer: &KernelLayer) -> LayerOrientation {
    let channels = (0..layer.channels).map(|c| channel(layer, c)).collect();
    LayerOrientation { path: layer.path.clone(), channels }
}

fn channel(layer: &KernelLayer, channel: usize) -> ChannelOrientation {
    let built = match &layer.shape {
        KernelShape::Oriented { theta, .. } => theta.get(channel).map(|&t| half_turn(f64::from(t))),
        KernelShape::Dense { .. } => None,
    };
    let points: Vec<(f64, f64, f64)> = layer
        .offsets(channel)
        .iter()
        .zip(layer.channel(channel))
        .map(|(tap, &w)| (f64::from(tap.dw), f64::from(-tap.dh), f64::from(w) * f64::from(w)))
        .collect();
    let energy: f64 = points.iter().map(|p| p.2).sum();
    let (dominant, anisotropy) = second_moments(&points, energy);
    ChannelOrientation { built, dominant, anisotropy, energy }
}

/// An angle in radians as degrees in [0, 180).
fn half_turn(angle: f64) -> f64 {
    let degrees = angle.to_degrees().rem_euclid(180.0);
    // The remainder of a tiny negative angle is rounded to 180 itself.
    if degrees >= 180.0 { 0.0 } else { degrees }
}

fn second_moments(points: &[(f64, f64, f64)], energy: f64) -> (Option<f64>, f64) {
    if energy <= 0.0 || !energy.is_finite() {
        return (None, 0.0);
    }
    let mean = |f: &dyn Fn(&(f64, f64, f64)) -> f64| points.iter().map(|p| p.2 * f(p)).sum::<f64>() / energy;
    let (cx, cy) = (mean(&|p| p.0), mean(&|p| p.1));
    let xx = mean(&|p| (p.0 - cx).powi(2));
    let yy = mean(&|p| (p.1 - cy).powi(2));
    let xy = mean(&|p| (p.0 - cx) * (p.1 - cy));
    let spread = xx + yy;
    // A kernel that is one pixel has no orientation.
    if spread <= 1e-12 {
        return (None, 0.0);
    }
    let difference = ((xx - yy).powi(2) + 4.0 * xy * xy).sqrt();
    (Some(half_turn(0.5 * (2.0 * xy).atan2(xx - yy))), difference / spread)
}

/// Angles are computed from 32-bit numbers; this many degrees decide on which side of a border one falls.
const TOLERANCE: f64 = 1e-3;

/// Channels per bin of orientation: as built, and as learned, weighted by anisotropy. Bins are centered on multiples of
/// their width, the first one on 0 degrees, which is also 180.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    /// Number of channels built with an angle in each bin.
    pub built: Vec<f64>,
    /// Sum of the anisotropies of channels whose dominant orientation is in each bin.
    pub learned: Vec<f64>,
}

impl Bins {
    /// Sorts channels into `bins` bins.
    pub fn new(channels: &[ChannelOrientation], bins: usize) -> Self {
        let mut out = Self { built: vec![0.0; bins], learned: vec![0.0; bins] };
        let add = |list: &mut Vec<f64>, angle: f64, weight: f64| {
            let position = (angle + TOLERANCE) / 180.0 * bins as f64 + 0.5;
            if let Some(bin) = list.get_mut(position.floor().rem_euclid(bins as f64) as usize) {
                *bin += weight;
            }
        };
        for channel in channels {
            if let Some(angle) = channel.built {
                add(&mut out.built, angle, 1.0);
            }
            if let Some(angle) = channel.dominant {
                add(&mut out.learned, angle, channel.anisotropy);
            }
        }
        out
    }

    /// The fullest bin.
    pub fn peak(&self) -> f64 {
        self.built.iter().chain(&self.learned).copied().fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oriented1d::channel_angles;

    #[test]
    fn a_line_of_equal_weights_has_its_built_angle() {
        let theta = channel_angles(8, 8, 0.0).unwrap();
        let shape = KernelShape::Oriented { taps: 31, theta };
        let layer = KernelLayer { path: "l".into(), channels: 8, shape, weights: vec![1.0; 8 * 31] };
        for c in orientations(&layer).channels {
            let (built, found) = (c.built.unwrap(), c.dominant.unwrap());
            let turn = (built - found).abs().min(180.0 - (built - found).abs());
            assert!(turn < 2.5 && c.anisotropy > 0.98, "{built} {found} {}", c.anisotropy);
        }
    }

    #[test]
    fn a_round_kernel_has_no_anisotropy() {
        let shape = KernelShape::Dense { height: 5, width: 5 };
        let layer = KernelLayer { path: "l".into(), channels: 1, shape, weights: vec![0.5; 25] };
        assert!(orientations(&layer).channels[0].anisotropy < 1e-12);
        let zero = KernelLayer { weights: vec![0.0; 25], ..layer };
        assert_eq!(orientations(&zero).channels[0].dominant, None);
    }

    #[test]
    fn angles_are_below_a_half_turn_and_missing_ones_are_none() {
        let shape = KernelShape::Oriented { taps: 3, theta: vec![-1e-17, std::f32::consts::PI] };
        let layer = KernelLayer { path: "l".into(), channels: 3, shape, weights: vec![1.0; 9] };
        let channels = orientations(&layer).channels;
        assert_eq!(channels[0].built, Some(0.0));
        assert!(channels.iter().filter_map(|c| c.built).all(|b| (0.0..180.0).contains(&b)), "{channels:?}");
        assert_eq!((channels[2].built, channels[2].dominant), (None, None));
        for angle in [-1e-17, -f64::MIN_POSITIVE, 0.0, std::f64::consts::PI, -std::f64::consts::PI] {
            assert!((0.0..180.0).contains(&half_turn(angle)), "{angle:e}");
        }
    }

    #[test]
    fn bins_are_centered_and_wrap() {
        let channel = |built: f64, dominant: f64| ChannelOrientation {
            built: Some(built),
            dominant: Some(dominant),
            anisotropy: 0.5,
            energy: 1.0,
        };
        let bins = Bins::new(&[channel(0.0, 179.0), channel(22.499_999, 22.6), channel(178.0, 90.0)], 8);
        assert_eq!(bins.built, [2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(bins.learned, [0.5, 0.5, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]);
        assert_eq!(bins.peak(), 2.0);
    }
}
