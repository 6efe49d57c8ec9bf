//! The structs of numbers that kernels take by value, or read from tables: a file per kernel file.
//!
//! Every struct is declared twice, here and in `kernels/`, with the same sizes and offsets beside the fields, which both
//! compilers check. `tests/kernels/params.rs` then reads every field that is filled in here by its name there. So neither
//! a field that moves nor two that change places go unnoticed.

mod elementwise;
mod layer_norm;
mod planes;
mod probe;
mod taps;
mod update;

pub(crate) use elementwise::{ImageSumParams, MapParams, MaxPoolParams};
pub(crate) use layer_norm::LayerNormParams;
pub(crate) use planes::{ChannelSumsParams, PlaneAffineParams, PlaneParams, PlaneSumsParams, ResidualFactorsParams};
pub(crate) use probe::{CopyProbeParams, FmaProbeParams};
pub(crate) use taps::{GroupParams, TapParams, TileLayout};
pub(crate) use update::{AdamWParams, AverageParams, MaskParams, SquareSumsParams};

/// A struct that a kernel file declares as well.
pub(crate) trait DeviceStruct: bytemuck::Pod {
    /// What it is called on both sides.
    const NAME: &'static str;
    /// Its fields.
    const FIELDS: &'static [DeviceField];
}

/// A field of a `DeviceStruct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceField {
    /// Name.
    pub name: &'static str,
    /// Type, as Rust calls it.
    pub type_name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// Bytes of the field.
    pub bytes: usize,
}

/// Declares structs with the layout of C, and checks their sizes and the offsets that stand beside the fields.
macro_rules! device_structs {
    ($(
        $(#[$doc:meta])*
        struct $name:ident, $bytes:literal bytes {
            $($(#[$field_doc:meta])* $offset:literal => $field:ident: $type:ident,)+
        }
    )+) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        const _: () = {
            assert!(size_of::<$name>() == $bytes);
            $(assert!(std::mem::offset_of!($name, $field) == $offset);)+
        };

        impl $crate::ops::gpu::params::DeviceStruct for $name {
            const NAME: &'static str = stringify!($name);
            const FIELDS: &'static [$crate::ops::gpu::params::DeviceField] = &[$(
                $crate::ops::gpu::params::DeviceField {
                    name: stringify!($field),
                    type_name: stringify!($type),
                    offset: std::mem::offset_of!($name, $field),
                    bytes: size_of::<$type>(),
                },
            )+];
        }
    )+};
}
pub(super) use device_structs;

/// Name, size and fields of a `DeviceStruct`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceStructLayout {
    /// Name.
    pub name: &'static str,
    /// Size.
    pub bytes: usize,
    /// Fields.
    pub fields: &'static [DeviceField],
}

/// All structs that kernels declare as well.
pub fn layouts() -> Vec<DeviceStructLayout> {
    fn of<S: DeviceStruct>() -> DeviceStructLayout {
        DeviceStructLayout { name: S::NAME, bytes: size_of::<S>(), fields: S::FIELDS }
    }
    vec![
        of::<super::FastDivisor>(),
        of::<ImageSumParams>(),
        of::<MapParams>(),
        of::<MaxPoolParams>(),
        of::<LayerNormParams>(),
        of::<ChannelSumsParams>(),
        of::<PlaneAffineParams>(),
        of::<PlaneParams>(),
        of::<PlaneSumsParams>(),
        of::<ResidualFactorsParams>(),
        of::<CopyProbeParams>(),
        of::<FmaProbeParams>(),
        of::<GroupParams>(),
        of::<TapParams>(),
        of::<TileLayout>(),
        of::<AdamWParams>(),
        of::<AverageParams>(),
        of::<MaskParams>(),
        of::<SquareSumsParams>(),
    ]
}
