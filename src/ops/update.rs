//! Updates of parameters in place, in f32: the optimizer's step, moving averages and masks.
//!
//! They are operators without gradients. Every tensor that shares the storage of what is updated sees the change, and
//! values stay where they are: on the CPU they are updated by all threads, on a GPU by a kernel. The same values give the
//! same bits with any number of threads.
//!
//! ```text
//! AdamW     p <- p * keep - rate * m / (sqrt(v) / root + eps)      m, v: moments of the gradient, see [`AdamWStep`]
//! average   e <- d e + (1 - d) p
//! mask      p <- p where its group is kept, else 0
//! ```

use super::gpu::{Gpu, download_singles, update as on_gpu};
use super::storage::{self, with_values};
use crate::{Error, Result};
use candle_core::{Storage, Tensor};
use rayon::prelude::*;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

pub use super::gpu::update::AdamWStep;

/// Values per parallel task.
const CHUNK: usize = 1 << 14;

/// Which groups of values are kept: 1 for every group that is, 0 for every other. It is replaced, never changed, since
/// devices have copies.
#[derive(Debug, Clone)]
pub struct Keep {
    groups: Vec<u8>,
    on_device: Arc<OnceLock<on_gpu::KeepMask>>,
}

impl From<Vec<u8>> for Keep {
    fn from(groups: Vec<u8>) -> Self {
        Keep { groups, on_device: Arc::default() }
    }
}

impl FromIterator<u8> for Keep {
    fn from_iter<I: IntoIterator<Item = u8>>(groups: I) -> Self {
        Vec::from_iter(groups).into()
    }
}

impl Deref for Keep {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.groups
    }
}

/// A mask over a tensor: its values, row-major, are divided into groups of equal size, of which some are kept.
#[derive(Debug, Clone, Copy)]
pub struct GroupMask<'a> {
    /// Which groups are kept.
    pub keep: &'a Keep,
    /// Number of values in a group; the same whenever this [`Keep`] is used.
    pub size: usize,
}

impl GroupMask<'_> {
    /// Sets the values of all groups that are not kept to zero.
    pub fn erase(self, values: &mut [f32]) {
        let groups = (CHUNK / self.size.max(1)).max(1);
        let chunks = values.par_chunks_mut(groups * self.size.max(1)).zip(self.keep.par_chunks(groups));
        chunks.for_each(|(values, keep)| match self.size {
            1 => values.iter_mut().zip(keep).for_each(|(value, &keep)| *value = if keep == 0 { 0.0 } else { *value }),
            size => {
                for (values, _) in values.chunks_mut(size).zip(keep).filter(|(_, keep)| **keep == 0) {
                    values.fill(0.0);
                }
            }
        });
    }

    /// The same for the values of a tensor.
    ///
    /// # Errors
    /// If the tensor is not contiguous f32.
    pub fn apply(self, tensor: &Tensor) -> Result<()> {
        match Gpu::of(tensor) {
            Some(gpu) => on_gpu::erase(&gpu, tensor, self.on_device()),
            None => storage::modify(tensor, |values| self.erase(values)),
        }
    }
}

impl<'a> GroupMask<'a> {
    /// What is kept, in the memory of the devices that ask for it.
    fn on_device(self) -> &'a on_gpu::KeepMask {
        self.keep.on_device.get_or_init(|| on_gpu::KeepMask::new(self.keep, self.size))
    }
}

/// First and second moments of a parameter's gradient, in the memory of the device where the parameter is.
pub struct Moments(Place);

enum Place {
    Zero,
    Host([Vec<f32>; 2]),
    Device(Box<(Gpu, [Storage; 2])>),
}

impl Moments {
    /// Moments before the first step: zero, without memory of their own.
    pub fn zero() -> Self {
        Moments(Place::Zero)
    }

    /// Moments of a parameter with these values.
    ///
    /// # Errors
    /// If a GPU fails.
    pub fn new(parameter: &Tensor, values: [Vec<f32>; 2]) -> Result<Self> {
        let Some(gpu) = Gpu::of(parameter) else { return Ok(Moments(Place::Host(values))) };
        let [m, v] = values.each_ref().map(|values| on_gpu::upload(&gpu, values));
        Ok(Moments(Place::Device(Box::new((gpu, [m?, v?])))))
    }

    /// Copies of all `count` values of both.
    ///
    /// # Errors
    /// If a GPU fails.
    pub fn values(&self, count: usize) -> Result<[Vec<f32>; 2]> {
        match &self.0 {
            Place::Zero => Ok([vec![0.0; count], vec![0.0; count]]),
            Place::Host(values) => Ok(values.clone()),
            Place::Device(device) => {
                let (_, [m, v]) = &**device;
                Ok([download_singles(m)?, download_singles(v)?])
            }
        }
    }

    /// Sets the moments of values that are not kept to zero.
    ///
    /// # Errors
    /// If a GPU fails.
    pub fn erase(&mut self, mask: GroupMask) -> Result<()> {
        match &mut self.0 {
            Place::Zero => {}
            Place::Host(values) => values.iter_mut().for_each(|values| mask.erase(values)),
            Place::Device(device) => {
                let (gpu, values) = &mut **device;
                let count = mask.keep.len() * mask.size;
                values.iter_mut().try_for_each(|values| on_gpu::erase_storage(gpu, values, count, mask.on_device()))?;
            }
        }
        Ok(())
    }
}

/// A step of AdamW: changes a parameter and the moments of its gradient.
///
/// ```
/// use candle_core::{Device, Tensor, Var};
/// use kernelscope::ops::update::{AdamWStep, Moments, adamw};
/// let p = Var::new(&[1f32, 2.0], &Device::Cpu)?;
/// let gradient = Tensor::new(&[1f32, -1.0], &Device::Cpu)?;
/// // The first step: both corrections make up for the decay rates.
/// let (b1, b2) = (0.9f32, 0.999f32);
/// let rate = 0.5 / (1.0 - b1);
/// let root = (1.0 - b2).sqrt();
/// let step = AdamWStep { beta1: b1, beta2: b2, eps: 1e-8, scale: 1.0, rate, root, keep: 1.0 };
/// let mut moments = Moments::zero();
/// adamw(&p, &gradient, &mut moments, step)?;
/// let values = p.to_vec1::<f32>()?;
/// assert!((values[0] - 0.5).abs() < 1e-5 && (values[1] - 2.5).abs() < 1e-5);
/// # Ok::<(), kernelscope::Error>(())
/// ```
///
/// # Errors
/// If parameter, gradient and moments differ in size, one is not f32, or the parameter is not contiguous.
pub fn adamw(parameter: &Tensor, gradient: &Tensor, moments: &mut Moments, step: AdamWStep) -> Result<()> {
    let count = parameter.elem_count();
    if let Place::Zero = moments.0 {
        *moments = Moments::new(parameter, moments.values(count)?)?;
    }
    match &mut moments.0 {
        Place::Zero => Ok(()),
        Place::Device(device) => {
            let (gpu, values) = &mut **device;
            on_gpu::adamw(gpu, parameter, gradient, values, step)
        }
        Place::Host([m, v]) if m.len() == count && v.len() == count => storage::update(parameter, gradient, |p, g| {
            let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
            let values = p.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
            values.zip(moments).for_each(|((p, g), (m, v))| {
                pulp::Arch::new().dispatch(Update { step, p, g, m, v });
            });
        }),
        Place::Host([m, v]) => {
            let given = format!("{} and {} values", m.len(), v.len());
            Err(Error::argument("moments", given, format!("{count} of each, as the parameter has")))
        }
    }
}

/// The step of some values with their gradients and moments.
struct Update<'a> {
    step: AdamWStep,
    p: &'a mut [f32],
    g: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Update<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Update { step: AdamWStep { beta1: b1, beta2: b2, eps, scale, rate, root, keep }, p, g, m, v } = self;
        for ((p, &g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(v)) {
            let g = g * scale;
            *m = b1 * *m + (1.0 - b1) * g;
            *v = b2 * *v + (1.0 - b2) * g * g;
            *p = *p * keep - rate * *m / (v.sqrt() / root + eps);
        }
    }
}

/// Moves an average toward values: `e <- d e + (1 - d) p` with the decay `d`.
///
/// With a mask, values that are not kept have no average, and an average of zero starts with the value itself:
///
/// ```text
/// e <- mask * (d e + (1 - d) p + [e = 0] d p)
/// ```
///
/// # Errors
/// If the two differ in shape or are not f32, or the average is not contiguous.
pub fn average(average: &Tensor, values: &Tensor, decay: f64, mask: Option<GroupMask>) -> Result<()> {
    let (keep, take) = (decay as f32, (1.0 - decay) as f32);
    if let Some(gpu) = Gpu::of(average) {
        return on_gpu::average(&gpu, average, values, [keep, take], mask.map(GroupMask::on_device));
    }
    storage::update(average, values, |average, values| {
        average.par_chunks_mut(CHUNK).zip(values.par_chunks(CHUNK)).for_each(|(average, values)| {
            let pairs = average.iter_mut().zip(values);
            match mask {
                None => pairs.for_each(|(e, &p)| *e = keep * *e + take * p),
                Some(_) => pairs.for_each(|(e, &p)| *e = if *e == 0.0 { p } else { keep * *e + take * p }),
            }
        });
        if let Some(mask) = mask {
            mask.erase(average);
        }
    })
}

/// Sum of the squares of all values of some f32 tensors together, in double precision, in a fixed order.
///
/// # Errors
/// If a tensor is not f32.
pub fn square_sum<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<f64> {
    // In lanes, so that it vectorizes, and in chunks whose sums are added in order.
    let of_chunk = |chunk: &[f32]| {
        let mut lanes = [0.0; 16];
        for values in chunk.chunks(16) {
            for (lane, &g) in lanes.iter_mut().zip(values) {
                *lane += f64::from(g) * f64::from(g);
            }
        }
        lanes.iter().sum::<f64>()
    };
    let (mut sum, mut on_device) = (0.0, Vec::new());
    for tensor in tensors {
        if Gpu::of(tensor).is_some() {
            on_device.push(tensor.clone());
        } else {
            let chunks: Vec<f64> = read(tensor, |values| values.par_chunks(CHUNK).map(of_chunk).collect())?;
            sum += chunks.iter().sum::<f64>();
        }
    }
    if let Some(gpu) = on_device.first().and_then(Gpu::of) {
        sum += on_gpu::square_sum(&gpu, &on_device)?;
    }
    Ok(sum)
}

/// Calls `f` with the values of an f32 tensor, made contiguous and copied to the CPU first if need be.
///
/// # Errors
/// If the tensor is not f32.
pub fn read<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> R) -> Result<R> {
    Ok(with_values::<f32, _>(tensor, |values| Ok(f(values)))?)
}
