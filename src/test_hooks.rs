//! What the tests of this package reach inside for. It is public because integration tests are crates of their own and a
//! feature would compile the library twice; nothing else should use it, and it may change at any time.

pub use crate::ops::gpu::emulator::{EmulatedArg, Emulator, emulated};
pub use crate::ops::gpu::launch::LaunchSize;
pub use crate::ops::gpu::params::{DeviceField, DeviceStructLayout, layouts as device_structs};
