//! The structs that kernels take: what the host fills in is what the kernels read, field by field.

use kernelscope::test_hooks::{DeviceStructLayout, device_structs};
use kernelscope_emulator::{Argument, Field, Size, fields, run};
use std::collections::BTreeSet;

/// A struct whose words are all different.
fn numbered(bytes: usize) -> Vec<u8> {
    (1..=bytes as u32 / 4).flat_map(|word| (0x0101_0000 + word).to_ne_bytes()).collect()
}

fn of<'a>(host: &DeviceStructLayout) -> Vec<&'a Field> {
    fields().iter().filter(|field| field.structure == host.name).collect()
}

/// Every field that the host fills in has its value where the kernels read the field of that name.
#[test]
fn kernels_read_every_field_that_the_host_writes() {
    for host in device_structs() {
        let bytes = numbered(host.bytes);
        let device = of(&host);
        assert_eq!(device.len(), host.fields.len(), "fields of {}", host.name);
        for field in host.fields {
            let name = format!("{}::{}", host.name, field.name);
            let found = device.iter().find(|found| found.name == field.name);
            let found = found.unwrap_or_else(|| panic!("kernels have no {name}"));
            assert_eq!(found.structure_bytes, host.bytes, "size of {}", host.name);
            assert_eq!(found.type_name, field.type_name, "type of {name}");
            let written = &bytes[field.offset..field.offset + field.bytes];
            assert_eq!(found.read(&bytes).unwrap(), written, "what kernels read as {name}");
        }
    }
}

#[test]
fn kernels_and_the_host_have_the_same_structs() {
    let host: BTreeSet<&str> = device_structs().iter().map(|layout| layout.name).collect();
    let device: BTreeSet<&str> = fields().iter().map(|field| field.structure.as_str()).collect();
    assert_eq!(host, device);
    // Nothing lies between fields.
    for layout in device_structs() {
        assert_eq!(layout.fields.iter().map(|field| field.bytes).sum::<usize>(), layout.bytes, "{}", layout.name);
    }
}

#[test]
fn arguments_that_a_kernel_does_not_take_are_refused() {
    use candle_core::CpuStorage;
    let values = CpuStorage::F32(vec![1.0; 4]);
    let params = 4u64.to_ne_bytes();
    let relu = |kernel: &str, y: &mut CpuStorage, params: Argument| {
        let arguments = &mut [Argument::Read(&values, 0..4), Argument::Write(y), params];
        run(kernel, Size { blocks: 1, threads: 32, shared: 0 }, arguments, 0)
    };
    let single = || CpuStorage::F32(vec![0.0; 4]);
    relu("relu6_f32", &mut single(), Argument::Params("MapParams", &params)).unwrap();
    for (message, parts) in [
        (relu("relu6_f16", &mut single(), Argument::Params("MapParams", &params)), ["argument 0", "f16 const*"]),
        (
            relu("relu6_f32", &mut CpuStorage::I32(vec![0; 4]), Argument::Params("MapParams", &params)),
            ["argument 1 is i32*", "f32*"],
        ),
        (
            relu("relu6_f32", &mut single(), Argument::Params("CopyProbeParams", &params)),
            ["argument 2 is CopyProbeParams", "MapParams"],
        ),
        (relu("relu6_f32", &mut single(), Argument::Absent), ["argument 2 is absent", "MapParams"]),
        (relu("relu6_f32", &mut single(), Argument::Params("MapParams", &params[..4])), ["MapParams has 8", "4 here"]),
        (
            relu("relu6_grad_f32", &mut single(), Argument::Params("MapParams", &params)),
            ["3 arguments", "4 parameters"],
        ),
    ] {
        let message = message.unwrap_err();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}
