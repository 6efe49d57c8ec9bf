//! The device that networks are built on unless their [`crate::nn::BuildOptions`] say otherwise: the CPU, or, where the
//! feature `cuda` is compiled in, the NVIDIA GPU that was chosen for this process.

use crate::{Error, Result};
use candle_core::Device;
use std::sync::OnceLock;

static DEFAULT: OnceLock<Device> = OnceLock::new();

/// Opens a device: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// # Errors
/// If the name is another, this build has no feature `cuda`, or there is no usable GPU.
///
/// ```
/// assert!(kernelscope::device::open("cpu")?.is_cpu());
/// let message = kernelscope::device::open("gpu").unwrap_err().to_string();
/// assert!(message.contains("gpu") && message.contains("cuda:N"));
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn open(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let number = match name.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|number| number.parse().ok()),
        None => None,
    };
    match number {
        Some(number) => open_cuda(name, number),
        None => Err(Error::argument("device", name, "cpu, cuda, or cuda:N")),
    }
}

#[cfg(feature = "cuda")]
fn open_cuda(name: &str, number: usize) -> Result<Device> {
    // Asking the driver panics in some of the ways in which there may be none.
    let opened = std::panic::catch_unwind(|| Device::new_cuda(number));
    let reason = match opened {
        Ok(Ok(device)) => return Ok(device),
        Ok(Err(error)) => error.to_string().lines().next().unwrap_or_default().to_string(),
        Err(_) => "the driver cannot be used".to_string(),
    };
    let given = format!("{name}, but there is no usable NVIDIA GPU ({reason})");
    Err(Error::argument("device", given, "an existing GPU, or cpu"))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(name: &str, _number: usize) -> Result<Device> {
    let allowed = "cpu; a GPU needs the feature `cuda` (docs/cuda.md)";
    Err(Error::argument("device", format!("{name}, but this program was built without support for it"), allowed))
}

/// The name of the device to take where none is named: the GPU, if the program was built for one.
pub fn preferred() -> &'static str {
    if cfg!(feature = "cuda") { "cuda" } else { "cpu" }
}

/// Sets the device of networks that are built from now on. The first call counts.
///
/// # Errors
/// If another device was set before.
pub fn set_default(device: Device) -> Result<()> {
    let set = DEFAULT.get_or_init(|| device.clone());
    if set.same_device(&device) {
        return Ok(());
    }
    let (given, allowed) = (format!("{:?}", device.location()), format!("{:?}, as before", set.location()));
    Err(Error::argument("device", given, allowed))
}

/// The device that was set, or the CPU.
pub fn default() -> Device {
    DEFAULT.get().cloned().unwrap_or(Device::Cpu)
}
