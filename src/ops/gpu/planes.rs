//! Launches of `kernels/planes.cu`: sums over planes and affine combinations of maps, which batch norm, response norm,
//! residuals and biases consist of; and the kernels that compute the factors of these combinations.

use super::params::{ChannelSumsParams, PlaneAffineParams, PlaneParams, PlaneSumsParams, ResidualFactorsParams};
use super::{Gpu, KernelArg, LaunchSize, THREADS, Values, typed};
use crate::Error;
use candle_core::{DType, Storage};

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

/// The two sums of a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlaneSum {
    /// Of products or squares.
    Products,
    /// Of the values of the first map.
    Values,
}

/// The factors of an affine combination, in a GPU's memory: three for each channel, or for each plane.
pub(crate) struct AffineFactors {
    storage: Storage,
    per_channel: bool,
}

/// Mean and inverse deviation of every channel, in a GPU's memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChannelStatistics<'a> {
    pub mean: Values<'a>,
    pub rstd: Values<'a>,
}

/// The gradients of batch norm's weight and bias, and the factors of the input's.
pub(crate) struct BatchNormGradients {
    pub weight: Storage,
    pub bias: Storage,
    pub factors: AffineFactors,
}

/// What response norm's gradient consists of: the factors of the input's, and what every plane adds to those of gamma and
/// beta.
pub(crate) struct ResponseNormGradients {
    pub factors: AffineFactors,
    pub shares: Storage,
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

    fn params(&self) -> candle_core::Result<PlaneParams> {
        if self.count() >= 1 << 29 || self.positions >= 1 << 30 {
            let given = format!("{} planes of {} values", self.count(), self.positions);
            return Err(Error::argument("input", given, "fewer than 2^29 planes of 2^30 values on a GPU").into());
        }
        let int = |number: usize| number as i32;
        Ok(PlaneParams { images: int(self.images), channels: int(self.channels), positions: int(self.positions) })
    }

    /// A warp for every plane.
    fn warps(&self) -> LaunchSize {
        let blocks = self.count().div_ceil(THREADS / 32).clamp(1, 1 << 20);
        LaunchSize { blocks, threads: THREADS, shared_bytes: 0 }
    }

    /// A block for every image, with room for sums over its warps.
    fn image_blocks(&self) -> LaunchSize {
        LaunchSize { blocks: self.images, threads: THREADS, shared_bytes: 4 * 64 }
    }

    fn channel_factors(&self, gpu: &Gpu) -> candle_core::Result<AffineFactors> {
        Ok(AffineFactors { storage: gpu.alloc(DType::F32, 3 * self.channels)?, per_channel: true })
    }

    fn plane_factors(&self, gpu: &Gpu) -> candle_core::Result<AffineFactors> {
        Ok(AffineFactors { storage: gpu.alloc(DType::F32, 3 * self.count())?, per_channel: false })
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
        let (squares, shifted) = (i32::from(b.is_none()), i32::from(shift.is_some()));
        let params = PlaneSumsParams { planes: self.params()?, squares, shifted };
        let mut arguments = [
            KernelArg::Read(a),
            KernelArg::read_if_any(b),
            KernelArg::read_if_any(shift),
            KernelArg::Write(&mut sums),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("plane_sums", a.dtype())?, self.warps(), &mut arguments)?;
        Ok(sums)
    }

    /// `factors[0] * a + factors[1] * b + factors[2]`.
    pub(crate) fn affine(
        &self,
        gpu: &Gpu,
        a: Values,
        b: Option<Values>,
        factors: &AffineFactors,
    ) -> candle_core::Result<Storage> {
        let mut y = gpu.alloc(a.dtype(), self.count() * self.positions)?;
        let AffineFactors { storage, per_channel } = factors;
        let factors = Values::all(storage, 3 * if *per_channel { self.channels } else { self.count() })?;
        let (has_b, per_channel) = (i32::from(b.is_some()), i32::from(*per_channel));
        let params = PlaneAffineParams { planes: self.params()?, has_b, per_channel };
        let mut arguments = [
            KernelArg::Read(a),
            KernelArg::read_if_any(b),
            KernelArg::Read(factors),
            KernelArg::Write(&mut y),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("plane_affine", a.dtype())?, self.warps(), &mut arguments)?;
        Ok(y)
    }

    /// Adds a bias per channel to `y`, in place.
    pub(crate) fn add_bias(&self, gpu: &Gpu, y: &mut Storage, bias: Values) -> candle_core::Result<()> {
        let params = self.params()?;
        let mut arguments = [KernelArg::Write(y), KernelArg::Read(bias), KernelArg::params(&params)];
        gpu.launch(&typed("plane_bias", bias.dtype())?, self.warps(), &mut arguments)
    }

    /// Adds up one of the two sums of every plane over the images, in their order, times `keep[n]` if there is one.
    pub(crate) fn over_images(
        &self,
        gpu: &Gpu,
        sums: &Storage,
        which: PlaneSum,
        keep: Option<Values>,
        dtype: DType,
    ) -> candle_core::Result<Storage> {
        let mut out = gpu.alloc(dtype, self.channels)?;
        let sums = Values::all(sums, 2 * self.count())?;
        let has_keep = i32::from(keep.is_some());
        let params = ChannelSumsParams { planes: self.params()?, which: which as i32, has_keep };
        let mut arguments = [
            KernelArg::Read(sums),
            KernelArg::read_if_any(keep),
            KernelArg::Write(&mut out),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("channel_sums", dtype)?, LaunchSize::over(self.channels), &mut arguments)?;
        Ok(out)
    }

    /// The factors of `x + keep[n] gamma[c] f`, for maps of a type.
    pub(crate) fn residual_factors(
        &self,
        gpu: &Gpu,
        gamma: Option<Values>,
        keep: &[f64],
        dtype: DType,
    ) -> candle_core::Result<AffineFactors> {
        self.residual(gpu, gamma, keep, dtype, false)
    }

    /// The factors of the gradient of f there, `keep[n] gamma[c] dy`.
    pub(crate) fn residual_gradient_factors(
        &self,
        gpu: &Gpu,
        gamma: Option<Values>,
        keep: &[f64],
        dtype: DType,
    ) -> candle_core::Result<AffineFactors> {
        self.residual(gpu, gamma, keep, dtype, true)
    }

    fn residual(
        &self,
        gpu: &Gpu,
        gamma: Option<Values>,
        keep: &[f64],
        dtype: DType,
        gradient: bool,
    ) -> candle_core::Result<AffineFactors> {
        let mut factors = self.plane_factors(gpu)?;
        let uploaded = super::upload_singles(gpu, keep.iter().copied())?;
        let (has_gamma, gradient) = (i32::from(gamma.is_some()), i32::from(gradient));
        let params = ResidualFactorsParams { planes: self.params()?, has_gamma, gradient };
        let mut arguments = [
            KernelArg::read_if_any(gamma),
            KernelArg::Read(Values::all(&uploaded, keep.len())?),
            KernelArg::Write(&mut factors.storage),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("residual_factors", dtype)?, LaunchSize::over(self.count()), &mut arguments)?;
        Ok(factors)
    }

    /// The factors of batch norm.
    pub(crate) fn batch_norm_factors(
        &self,
        gpu: &Gpu,
        weight: Values,
        bias: Values,
        statistics: ChannelStatistics,
    ) -> candle_core::Result<AffineFactors> {
        let mut factors = self.channel_factors(gpu)?;
        let params = self.params()?;
        let mut arguments = [
            KernelArg::Read(weight),
            KernelArg::Read(bias),
            KernelArg::Read(statistics.mean),
            KernelArg::Read(statistics.rstd),
            KernelArg::Write(&mut factors.storage),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("batch_norm_factors", weight.dtype())?, LaunchSize::over(self.count()), &mut arguments)?;
        Ok(factors)
    }

    /// Batch norm's gradients from the sums of `dy (x - mean)` and `dy` over every plane.
    pub(crate) fn batch_norm_gradients(
        &self,
        gpu: &Gpu,
        sums: &Storage,
        weight: Values,
        statistics: ChannelStatistics,
    ) -> candle_core::Result<BatchNormGradients> {
        let dtype = weight.dtype();
        let (mut dw, mut db) = (gpu.alloc(dtype, self.channels)?, gpu.alloc(dtype, self.channels)?);
        let mut factors = self.channel_factors(gpu)?;
        let params = self.params()?;
        let mut arguments = [
            KernelArg::Read(Values::all(sums, 2 * self.count())?),
            KernelArg::Read(weight),
            KernelArg::Read(statistics.mean),
            KernelArg::Read(statistics.rstd),
            KernelArg::Write(&mut dw),
            KernelArg::Write(&mut db),
            KernelArg::Write(&mut factors.storage),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("batch_norm_grad", dtype)?, LaunchSize::over(self.count()), &mut arguments)?;
        Ok(BatchNormGradients { weight: dw, bias: db, factors })
    }

    /// The factors of response norm, from the sums of squares of every plane.
    pub(crate) fn response_norm_factors(
        &self,
        gpu: &Gpu,
        squares: &Storage,
        gamma: Values,
        beta: Values,
    ) -> candle_core::Result<AffineFactors> {
        let mut factors = self.plane_factors(gpu)?;
        let params = self.params()?;
        let mut arguments = [
            KernelArg::Read(Values::all(squares, 2 * self.count())?),
            KernelArg::Read(gamma),
            KernelArg::Read(beta),
            KernelArg::Write(&mut factors.storage),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("grn_factors", gamma.dtype())?, self.image_blocks(), &mut arguments)?;
        Ok(factors)
    }

    /// Response norm's gradients from the sums of squares, and of `dy x` and `dy`, of every plane.
    pub(crate) fn response_norm_gradients(
        &self,
        gpu: &Gpu,
        squares: &Storage,
        sums: &Storage,
        gamma: Values,
    ) -> candle_core::Result<ResponseNormGradients> {
        let mut factors = self.plane_factors(gpu)?;
        let mut shares = gpu.alloc(DType::F32, 2 * self.count())?;
        let params = self.params()?;
        let mut arguments = [
            KernelArg::Read(Values::all(squares, 2 * self.count())?),
            KernelArg::Read(Values::all(sums, 2 * self.count())?),
            KernelArg::Read(gamma),
            KernelArg::Write(&mut factors.storage),
            KernelArg::Write(&mut shares),
            KernelArg::params(&params),
        ];
        gpu.launch(&typed("grn_grad", gamma.dtype())?, self.image_blocks(), &mut arguments)?;
        Ok(ResponseNormGradients { factors, shares })
    }
}
