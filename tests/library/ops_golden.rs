//! The depthwise operators against values computed in PyTorch in double precision from single-precision inputs, printed
//! with 9 digits. Run with `--nocapture` for the largest error per file.

use crate::common::{
    Arg, array, by_kernels, differentiate, fill_kind, fill_signed, golden, integer, integers, max_rel_diff, numbers,
    text,
};
use candle_core::{DType, Tensor};
use kernelscope::Result;
use kernelscope::ops::depthwise2d::{self, Depthwise2d};
use kernelscope::ops::oriented1d::{self, Oriented1d, SizeMode, channel_angles, tap_offsets};
use kernelscope::ops::taps::{Geometry, InstructionSet, TapConv, TapPlan, TapTable};
use serde_json::Value;
use std::sync::Arc;

/// Single precision: sums of up to a few thousand products of order one.
const TOLERANCE_F32: f64 = 1e-5;

/// Double precision, for values recorded in double precision with 9 significant digits.
const RECORDED_F64: f64 = 1e-8;

/// Double precision, for values that were rounded to single precision (half a unit of 2^-23) before they were printed.
const RECORDED_F32: f64 = 6.5e-8;

/// Largest errors of one file, per precision.
struct Errors {
    f32: f64,
    f64: f64,
    /// What the double-precision run must reach.
    recorded: f64,
}

impl Errors {
    fn new(recorded: f64) -> Self {
        Errors { f32: 0.0, f64: 0.0, recorded }
    }

    /// Runs a case in both precisions, in single precision also with every instruction set of this machine, and compares
    /// y, dx and dw with the golden values. Kernels for GPUs have one engine and single precision.
    fn check(
        &mut self,
        name: &str,
        case: &Value,
        [args @ .., cotangent]: &[Arg; 3],
        (table, geometry): (&TapTable, Geometry),
        op: impl Fn(&Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let sets = InstructionSet::available().into_iter().map(|set| (DType::F32, Some(set), TOLERANCE_F32));
        let runs = [(DType::F32, None, TOLERANCE_F32), (DType::F64, None, self.recorded)].into_iter().chain(sets);
        for (dtype, set, tolerance) in runs.take(if by_kernels() { 1 } else { usize::MAX }) {
            let outcome = differentiate(dtype, args, cotangent, |args| {
                let Some(set) = set else { return op(&args[0], &args[1]) };
                let plan = TapPlan::with_instructions(Arc::new(table.clone()), geometry, set)?;
                TapConv::with_plan(Arc::new(plan), false)?.apply(&args[0], &args[1], None)
            })?;
            for (key, (_, actual)) in ["y", "dx", "dw"].into_iter().zip(&outcome) {
                let error = max_rel_diff(actual, &numbers(&case[key]));
                assert!(
                    error < tolerance,
                    "{name}: {key} in {dtype:?} {set:?} is off by {error:e}, allowed {tolerance:e}"
                );
                let max = if dtype == DType::F32 { &mut self.f32 } else { &mut self.f64 };
                *max = max.max(error);
            }
        }
        Ok(())
    }

    fn print(&self, file: &str, cases: usize) {
        println!("{file}: {cases} cases, largest error {:.2e} in f32, {:.2e} in f64", self.f32, self.f64);
    }
}

/// Single-precision values from their hexadecimal bits.
fn from_bits(value: &Value) -> Vec<f32> {
    let bits = |v| u32::from_str_radix(text(v).trim_start_matches("0x"), 16).expect("hexadecimal bits");
    array(value).iter().map(|v| f32::from_bits(bits(v))).collect()
}

fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|v| v as f32).collect()
}

#[test]
fn fill_makes_the_recorded_values() {
    let file = golden("oriented/fill_selfcheck.json");
    let hashes = file["fnv1a64"].as_object().unwrap();
    assert!(!hashes.is_empty());
    for (name, hash) in hashes {
        assert_eq!(format!("{:016x}", crate::common::fnv1a64(name)), text(hash), "{name}");
        assert_eq!(crate::common::fill_u(name, 8), singles(&file["u_first8"][name]), "u of {name}");
        assert_eq!(fill_signed(name, 8), singles(&file["s_first8"][name]), "s of {name}");
    }
}

#[test]
fn fill_knows_every_kind() {
    let (u, s) = (crate::common::fill_u("p", 6)[5], fill_signed("p", 6)[5]);
    let value = |kind| f64::from(fill_kind("p", &[2, 3], kind)[5]);
    let (u, s) = (f64::from(u), f64::from(s));
    for (kind, expected) in [
        ("input", s),
        ("weight", s),
        ("norm_weight", 1.0 + 0.1 * s),
        ("bias", 0.1 * s),
        ("running_mean", 0.1 * s),
        ("running_var", 1.0 + 0.5 * u),
        ("gamma", 0.5 + 0.5 * u),
        ("gamma_small", 0.01 + 0.01 * u),
        ("zero", 0.0),
        ("num_batches_tracked", 0.0),
    ] {
        assert!((value(kind) - expected).abs() < 1e-7, "{kind}: {} for {expected}", value(kind));
    }
}

#[test]
fn channel_angles_match_to_the_bit() -> Result<()> {
    let file = golden("oriented/op_angles.json");
    for case in array(&file["cases"]) {
        let (channels, directions) = (integer(&case["C"]), integer(&case["D"]));
        let offset = case["layer_offset"].as_f64().unwrap();
        let name = format!("{channels} channels, {directions} directions, offset {offset}");
        let angles = channel_angles(channels, directions, offset)?;
        let bits: Vec<u32> = angles.iter().map(|a| a.to_bits()).collect();
        let expected: Vec<u32> = from_bits(&case["theta_f32_bits"]).iter().map(|a| a.to_bits()).collect();
        assert_eq!(bits, expected, "{name}");
        // The group is not part of the interface, but the angle determines it: g = D * (theta/pi - offset mod 1).
        let groups: Vec<usize> = angles
            .iter()
            .map(|&a| {
                ((f64::from(a) / std::f64::consts::PI - offset).rem_euclid(1.0) * directions as f64).round() as usize
            })
            .map(|g| g % directions)
            .collect();
        assert_eq!(groups, integers(&case["group_of_channel"]), "{name}");
    }
    assert_eq!(array(&file["cases"]).len(), 14);
    Ok(())
}

/// The angles of the golden oriented cases: degrees converted in double precision, then rounded.
fn oriented_angles(file: &Value) -> Vec<f32> {
    let theta = from_bits(&file["theta_f32_bits"]);
    let degrees = numbers(&file["angles_deg"]);
    let converted: Vec<u32> = degrees.iter().map(|d| ((d * std::f64::consts::PI / 180.0) as f32).to_bits()).collect();
    assert_eq!(theta.iter().map(|t| t.to_bits()).collect::<Vec<_>>(), converted);
    theta
}

#[test]
fn oriented_taps_match_exactly() {
    let file = golden("oriented/op_oriented_conv.json");
    let theta = oriented_angles(&file);
    let tables = array(&file["taps"]);
    for table in tables {
        let taps = integer(&table["K"]);
        for (index, &theta) in theta.iter().enumerate() {
            let offsets = |key: &str| numbers(&table[key][index]);
            let expected: Vec<(f64, f64)> = offsets("dh").into_iter().zip(offsets("dw")).collect();
            let actual: Vec<(f64, f64)> =
                tap_offsets(theta, taps).iter().map(|t| (f64::from(t.dh), f64::from(t.dw))).collect();
            assert_eq!(actual, expected, "K = {taps}, theta = {theta}");
        }
    }
    assert_eq!(tables.iter().map(|t| integer(&t["K"])).collect::<Vec<_>>(), [1, 3, 5, 7, 15, 31, 63]);
}

#[test]
fn oriented_convolution_matches() -> Result<()> {
    let file = golden("oriented/op_oriented_conv.json");
    let theta = oriented_angles(&file);
    let (mut errors, mut strict) = (Errors::new(RECORDED_F64), 0);
    for case in array(&file["cases"]) {
        let size = |key: &str| integer(&case[key]);
        let sizes = match text(&case["mode"]) {
            "strict" => SizeMode::Strict,
            "safe" => SizeMode::Arbitrary,
            other => panic!("unknown mode {other}"),
        };
        strict += usize::from(sizes == SizeMode::Strict);
        let (taps, channels, stride) = (size("K"), size("C"), size("stride"));
        let name = format!("K {taps}, {}x{}, stride {stride}, {sizes:?}", size("H"), size("W"));
        let (x_shape, w_shape) = ([size("N"), channels, size("H"), size("W")], [channels, 1, 1, taps]);
        let y_shape = integers(&case["out_shape"]);
        let args = [
            Arg::fill("input", &x_shape, "input"),
            Arg::fill("weight", &w_shape, "weight"),
            Arg::fill("cotangent", &y_shape, "input"),
        ];
        let op = Oriented1d::new(&theta, taps, oriented1d::Options { stride, sizes, ..Default::default() })?;
        let geometry = op.geometry(x_shape[2], x_shape[3])?;
        errors.check(&name, case, &args, (op.table(), geometry), |x, w| op.forward(x, w, None))?;
    }
    errors.print("op_oriented_conv", array(&file["cases"]).len());
    assert_eq!((array(&file["cases"]).len(), strict), (27, 25));
    Ok(())
}

/// Runs every case of a file of dense kernels; `options` reads the geometry of a case.
fn dense(path: &str, count: usize, options: impl Fn(&Value) -> depthwise2d::Options) -> Result<()> {
    let file = golden(path);
    let mut errors = Errors::new(RECORDED_F32);
    for case in array(&file["cases"]) {
        let options = options(case);
        let (x_shape, y_shape) = (integers(&case["x_shape"]), integers(&case["y_shape"]));
        let w_shape = [x_shape[1], 1, options.kernel.0, options.kernel.1];
        let args = [
            Arg::new("x", &x_shape, singles(&case["x"])),
            Arg::new("w", &w_shape, singles(&case["weight"])),
            Arg::new("gy", &y_shape, singles(&case["gy"])),
        ];
        let op = Depthwise2d::new(x_shape[1], options)?;
        let geometry = op.geometry(x_shape[2], x_shape[3])?;
        errors.check(text(&case["name"]), case, &args, (op.table(), geometry), |x, w| op.forward(x, w, None))?;
    }
    errors.print(path, array(&file["cases"]).len());
    assert_eq!(array(&file["cases"]).len(), count);
    Ok(())
}

#[test]
fn depthwise_convolution_matches() -> Result<()> {
    dense("replk/op_depthwise_conv.json", 17, |case| {
        let (kernel, padding) = (integers(&case["kernel"]), integers(&case["padding"]));
        let options = depthwise2d::Options::same(kernel[0], kernel[1]).with_stride(integer(&case["stride"]));
        assert_eq!(options.padding, (padding[0], padding[1]));
        options
    })
}

#[test]
fn dilated_convolution_matches() -> Result<()> {
    dense("replk/op_dilated_conv.json", 3, |case| {
        let k = integer(&case["k"]);
        depthwise2d::Options::same(k, k).with_dilation(integer(&case["dilation"])).with_stride(integer(&case["stride"]))
    })
}
