//! Launches of `kernels/elementwise.cu`.

use super::params::{ImageSumParams, MapParams, MaxPoolParams};
use super::{Gpu, KernelArg, LaunchSize, Values, typed};
use candle_core::Storage;

impl Gpu {
    /// The kernel of that name over all values of `x`.
    pub(crate) fn map(&self, kernel: &str, x: Values) -> candle_core::Result<Storage> {
        let mut y = self.alloc(x.dtype(), x.len())?;
        let params = MapParams { count: x.len() as u64 };
        let mut arguments = [KernelArg::Read(x), KernelArg::Write(&mut y), KernelArg::params(&params)];
        self.launch(&typed(kernel, x.dtype())?, LaunchSize::over(x.len()), &mut arguments)?;
        Ok(y)
    }

    /// The same for a kernel of `x` and a gradient.
    pub(crate) fn map_gradient(&self, kernel: &str, x: Values, dy: Values) -> candle_core::Result<Storage> {
        let mut dx = self.alloc(x.dtype(), x.len())?;
        let params = MapParams { count: x.len() as u64 };
        let mut arguments =
            [KernelArg::Read(x), KernelArg::Read(dy), KernelArg::Write(&mut dx), KernelArg::params(&params)];
        self.launch(&typed(kernel, x.dtype())?, LaunchSize::over(x.len()), &mut arguments)?;
        Ok(dx)
    }

    /// The sum of `images` blocks of values, in their order, in single precision.
    pub(crate) fn sum_images(&self, values: Values, images: usize) -> candle_core::Result<Storage> {
        let count = values.len() / images;
        let mut sum = self.alloc(values.dtype(), count)?;
        let params = ImageSumParams { count: count as u64, images: images as u64 };
        let mut arguments = [KernelArg::Read(values), KernelArg::Write(&mut sum), KernelArg::params(&params)];
        self.launch(&typed("sum_images", values.dtype())?, LaunchSize::over(count), &mut arguments)?;
        Ok(sum)
    }

    /// The maxima of the windows of `x`.
    pub(crate) fn max_pool(&self, x: Values, params: MaxPoolParams) -> candle_core::Result<Storage> {
        let results = [params.planes, params.result_rows, params.result_cols].map(|n| n as usize).iter().product();
        let mut y = self.alloc(x.dtype(), results)?;
        let mut arguments = [KernelArg::Read(x), KernelArg::Write(&mut y), KernelArg::params(&params)];
        self.launch(&typed("max_pool", x.dtype())?, LaunchSize::over(results), &mut arguments)?;
        Ok(y)
    }

    /// The gradient of `x`, given that of the maxima.
    pub(crate) fn max_pool_gradient(
        &self,
        x: Values,
        dy: Values,
        params: MaxPoolParams,
    ) -> candle_core::Result<Storage> {
        let mut dx = self.alloc(x.dtype(), x.len())?;
        let mut arguments =
            [KernelArg::Read(x), KernelArg::Read(dy), KernelArg::Write(&mut dx), KernelArg::params(&params)];
        self.launch(&typed("max_pool_grad", x.dtype())?, LaunchSize::over(x.len()), &mut arguments)?;
        Ok(dx)
    }
}
