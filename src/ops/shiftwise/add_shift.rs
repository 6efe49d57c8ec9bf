//! Shifting the results of small convolutions and adding them up: the released code's `AddShift_mp_module`.

use super::{IndexTables, Window};
use crate::ops::depthwise2d::MAX_DISTANCE;
use crate::ops::dims4;
use crate::ops::taplist::TapList;
use crate::ops::taps::Tap;
use crate::{Error, Result};
use candle_core::{Device, Tensor};

/// By how much the result of every small convolution is shifted. Lists may be empty, for a result that a branch does
/// not have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shifts {
    /// By how many pixels the results are larger than the image on each side.
    pub margin: usize,
    /// For each small convolution of each channel, its shifts to the right in h.
    pub horizontal: Vec<Vec<i32>>,
    /// The same downwards in v.
    pub vertical: Vec<Vec<i32>>,
    /// For each channel, the small convolutions (counted over all channels) that i adds up.
    pub identity: Vec<Vec<u32>>,
}

impl Shifts {
    /// The shifts of a layer.
    pub fn new(window: &Window, tables: &IndexTables) -> Self {
        let (channels, groups) = (tables.channels(), tables.groups());
        let shifts = |row: &dyn Fn(usize, usize) -> Vec<u32>| {
            let mut shifts = vec![Vec::with_capacity(tables.reps()); channels * groups];
            for (g, c) in (0..tables.reps()).flat_map(|g| (0..channels).map(move |c| (g, c))) {
                for (place, j) in row(g, c).into_iter().enumerate() {
                    shifts[c * groups + j as usize].push(window.offset(place));
                }
            }
            shifts
        };
        let identity = |c: usize| (0..tables.reps()).map(|g| (c * groups) as u32 + tables.identity(g, c)).collect();
        Shifts {
            margin: window.margin(),
            horizontal: shifts(&|g, c| tables.horizontal(g, c).to_vec()),
            vertical: shifts(&|g, c| tables.vertical(g, c).to_vec()),
            identity: (0..channels).map(identity).collect(),
        }
    }
}

/// The operator.
///
/// ```text
/// h[c,y,x] = sum_j sum_t z[ck+j, y + e, x - t]   over the shifts t of ck+j       v likewise, i without shifts
/// ```
#[derive(Debug, Clone)]
pub struct AddShift {
    margin: usize,
    results: usize,
    groups: usize,
    shifts: [Option<TapList>; 2],
    identity: Option<Tensor>,
}

impl AddShift {
    /// The operator for `channels` channels.
    ///
    /// # Errors
    /// If the margin is above 4096, lists of shifts have another length than there are results, a channel has another number of identities than
    /// the others, one names a result that is not there, or a shift is too far.
    pub fn new(channels: usize, shifts: Shifts) -> Result<Self> {
        let results = shifts.horizontal.len();
        if channels == 0 || results == 0 || !results.is_multiple_of(channels) || shifts.vertical.len() != results {
            let given = format!("{results} horizontal and {} vertical", shifts.vertical.len());
            let allowed = format!("equally many of both, a multiple of the {channels} channels");
            return Err(Error::argument("lists of shifts", given, allowed));
        }
        let margin = match i32::try_from(shifts.margin) {
            Ok(margin) if shifts.margin <= MAX_DISTANCE => margin,
            _ => return Err(Error::argument("margin", shifts.margin, format!("0 to {MAX_DISTANCE}"))),
        };
        let taps = |lists: &[Vec<i32>], tap: &dyn Fn(i32) -> Tap| -> Result<Option<TapList>> {
            let lists: Vec<Vec<Tap>> = lists.iter().map(|list| list.iter().map(|&t| tap(t)).collect()).collect();
            if lists.iter().all(Vec::is_empty) { Ok(None) } else { TapList::new(&lists).map(Some) }
        };
        Ok(AddShift {
            margin: shifts.margin,
            results,
            groups: results / channels,
            shifts: [
                taps(&shifts.horizontal, &|t| Tap { dh: margin, dw: t.saturating_neg() })?,
                taps(&shifts.vertical, &|t| Tap { dh: t.saturating_neg(), dw: margin })?,
            ],
            identity: identities(channels, results, &shifts.identity)?,
        })
    }

    /// h, v and i of `z` (N, k C, H + 2e, W + 2e) for images of the given size (H, W). A branch without shifts is zero.
    /// Differentiable.
    ///
    /// # Errors
    /// If the shape does not fit.
    pub fn forward(&self, z: &Tensor, (height, width): (usize, usize)) -> Result<[Tensor; 3]> {
        let (n, results, rows, cols) = dims4("results of small convolutions", z)?;
        let e = self.margin;
        if (results, rows, cols) != (self.results, height + 2 * e, width + 2 * e) {
            let allowed = format!("[N, {}, {}, {}]", self.results, height + 2 * e, width + 2 * e);
            return Err(Error::argument("results of small convolutions", format!("shape {:?}", z.dims()), allowed));
        }
        let channels = results / self.groups;
        let zeros = || Tensor::zeros((n, channels, height, width), z.dtype(), z.device());
        let sum = |all: Tensor| Ok::<_, Error>(all.reshape((n, channels, (), height, width))?.sum(2)?);
        let branch = |shifts: &Option<TapList>| match shifts {
            Some(shifts) => {
                let count = shifts.table().weights_per_channel();
                let ones = Tensor::ones((results, count), z.dtype(), z.device())?;
                sum(shifts.forward_sized(z, &ones, None, (height, width))?)
            }
            None => Ok(zeros()?),
        };
        let identity = match &self.identity {
            Some(chosen) => {
                let center = z.narrow(2, e, height)?.narrow(3, e, width)?.contiguous()?;
                sum(center.index_select(&chosen.to_device(z.device())?, 1)?)?
            }
            None => zeros()?,
        };
        Ok([branch(&self.shifts[0])?, branch(&self.shifts[1])?, identity])
    }
}

/// The results that the identity branch adds up, channel by channel.
fn identities(channels: usize, results: usize, lists: &[Vec<u32>]) -> Result<Option<Tensor>> {
    let each = lists.first().map_or(0, Vec::len);
    if each == 0 && lists.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    let all: Vec<u32> = lists.iter().flatten().copied().collect();
    let fits = lists.len() == channels && lists.iter().all(|list| list.len() == each);
    if !fits || all.iter().any(|&j| j as usize >= results) {
        let allowed = format!("equally many of {results} results for each of {channels} channels");
        return Err(Error::argument("identities", format!("{} lists, of {each} first", lists.len()), allowed));
    }
    Ok(Some(Tensor::from_vec(all, channels * each, &Device::Cpu)?))
}
