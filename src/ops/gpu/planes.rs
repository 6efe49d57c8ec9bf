//! Launches of `kernels/planes.cu`: sums over planes and affine combinations of maps, which batch norm, response norm,
//! residuals and biases consist of.

use super::{Arg, Gpu, Launch, THREADS, Values, suffix};
use crate::Error;
use candle_core::{CpuStorage, DType, Storage};

/// Planes (images times channels) of a number of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planes {
    /// Images N.
    pub images: usize,
    /// Channels C.
    pub channels: usize,
    /// Positions of a plane.
    pub positions: usize,
}

/// What an affine combination multiplies: factors of channels, or of planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    /// Three factors for each channel.
    Channel,
    /// Three factors for each plane.
    Plane,
}

impl Planes {
    /// Planes of maps of `len` values.
    pub(crate) fn of(len: usize, channels: usize, positions: usize) -> Self {
        Planes { images: len / (channels * positions), channels, positions }
    }

    /// Number of planes.
    pub(crate) fn count(&self) -> usize {
        self.images * self.channels
    }

    fn values(&self) -> usize {
        self.count() * self.positions
    }

    fn words(&self) -> candle_core::Result<[i32; 3]> {
        let numbers = [self.images, self.channels, self.positions];
        if self.count() >= 1 << 29 || self.positions >= 1 << 30 {
            let given = format!("{} planes of {} values", self.count(), self.positions);
            return Err(Error::argument("input", given, "fewer than 2^29 planes of 2^30 values on a GPU").into());
        }
        Ok(numbers.map(|number| number as i32))
    }

    /// A warp for every plane.
    fn launch(&self) -> Launch {
        Launch { grid: self.count().div_ceil(THREADS / 32).clamp(1, 1 << 20), threads: THREADS, shared: 0 }
    }

    /// The sums of `a * b` and of `a` over every plane; without b, of `(a - shift)^2` and of `a`. What is subtracted from
    /// b is `shift`, one value per channel.
    pub(crate) fn sums(
        &self,
        gpu: &Gpu,
        a: Values,
        b: Option<Values>,
        shift: Option<Values>,
    ) -> candle_core::Result<Storage> {
        let mut sums = gpu.alloc(DType::F32, 2 * self.count())?;
        let flags = [i32::from(b.is_none()), i32::from(shift.is_some())];
        let words = self.words()?;
        let (b, shift) = (b.map_or(Arg::None, Arg::Read), shift.map_or(Arg::None, Arg::Read));
        let mut arguments = [Arg::Read(a), b, shift, Arg::Write(&mut sums), Arg::Words(&flags), Arg::Words(&words)];
        gpu.launch(&format!("plane_sums_{}", suffix(a.dtype())?), self.launch(), &mut arguments)?;
        Ok(sums)
    }

    /// `factors[0] * a + factors[1] * b + factors[2]`.
    pub(crate) fn affine(
        &self,
        gpu: &Gpu,
        a: Values,
        b: Option<Values>,
        factors: &Storage,
        per: Per,
    ) -> candle_core::Result<Storage> {
        let mut y = gpu.alloc(a.dtype(), self.values())?;
        let count = if per == Per::Channel { self.channels } else { self.count() };
        let factors = Values::all(factors, 3 * count)?;
        let flags = [i32::from(b.is_some()), i32::from(per == Per::Channel)];
        let words = self.words()?;
        let b = b.map_or(Arg::None, Arg::Read);
        let mut arguments =
            [Arg::Read(a), b, Arg::Read(factors), Arg::Write(&mut y), Arg::Words(&flags), Arg::Words(&words)];
        gpu.launch(&format!("plane_affine_{}", suffix(a.dtype())?), self.launch(), &mut arguments)?;
        Ok(y)
    }

    /// Adds a bias per channel to `y`, in place.
    pub(crate) fn add_bias(&self, gpu: &Gpu, y: &mut Storage, bias: Values) -> candle_core::Result<()> {
        let words = self.words()?;
        let mut arguments = [Arg::Write(y), Arg::Read(bias), Arg::Words(&words)];
        gpu.launch(&format!("plane_bias_{}", suffix(bias.dtype())?), self.launch(), &mut arguments)
    }

    /// Adds up over the images, in their order, the first (0) or second (1) of the two sums of every plane, times
    /// `keep[n]` if there is one.
    pub(crate) fn over_images(
        &self,
        gpu: &Gpu,
        sums: &Storage,
        which: usize,
        keep: Option<Values>,
        dtype: DType,
    ) -> candle_core::Result<Storage> {
        let mut out = gpu.alloc(dtype, self.channels)?;
        let sums = Values::all(sums, 2 * self.count())?;
        let flags = [which as i32, i32::from(keep.is_some())];
        let words = self.words()?;
        let keep = keep.map_or(Arg::None, Arg::Read);
        let mut arguments = [Arg::Read(sums), keep, Arg::Write(&mut out), Arg::Words(&flags), Arg::Words(&words)];
        let launch = Launch::over(self.channels);
        gpu.launch(&format!("channel_sums_{}", suffix(dtype)?), launch, &mut arguments)?;
        Ok(out)
    }

    /// Runs a kernel that computes factors: a block per image, or a thread per channel.
    pub(crate) fn factors(
        &self,
        gpu: &Gpu,
        kernel: &str,
        dtype: DType,
        by_image: bool,
        arguments: Vec<Arg>,
    ) -> candle_core::Result<()> {
        let words = self.words()?;
        let mut arguments: Vec<Arg> = arguments;
        arguments.push(Arg::Words(&words));
        let launch = match by_image {
            true => Launch { grid: self.images, threads: THREADS, shared: 4 * 64 },
            false => Launch::over(self.count()),
        };
        gpu.launch(&format!("{kernel}_{}", suffix(dtype)?), launch, &mut arguments)
    }
}

/// Copies single-precision numbers to the device.
pub(crate) fn upload(gpu: &Gpu, values: impl IntoIterator<Item = f64>) -> candle_core::Result<Storage> {
    gpu.upload_floats(&values.into_iter().map(|value| value as f32).collect::<Vec<_>>())
}

/// Copies single-precision numbers from the device.
pub(crate) fn download(storage: &Storage) -> candle_core::Result<Vec<f32>> {
    use candle_core::backend::BackendStorage;
    let cpu = match storage {
        Storage::Cpu(cpu) => cpu.clone(),
        Storage::Cuda(cuda) => cuda.to_cpu_storage()?,
        Storage::Metal(metal) => metal.to_cpu_storage()?,
    };
    match cpu {
        CpuStorage::F32(values) => Ok(values),
        _ => Err(candle_core::Error::Msg("sums of another type than f32".into())),
    }
}
