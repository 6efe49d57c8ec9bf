//! The operators against values computed by the official code, and against their definition.

use crate::common::{
    Arg, Outcome, array, differentiate, fill_u, golden, integer, integers, max_abs_diff, max_rel_diff,
};
use crate::common::{numbers, text};
use candle_core::{DType, Tensor};
use kernelscope::Result;
use kernelscope::nn::BatchNorm;
use kernelscope::ops::depthwise2d::{Depthwise2d, Options};
use kernelscope::ops::shiftwise::{
    AddShift, ChannelSplit, Cross, GroupShift, IndexTables, Padding, ShiftWise, Shifts, Window, reference,
    small_convolutions,
};
use kernelscope::ops::taplist::TapList;
use serde_json::Value;

/// In double precision: values were rounded to single precision (half a unit of 2^-23) before they were printed.
const RUNS: [(DType, f64); 2] = [(DType::F64, 6.5e-8), (DType::F32, 1e-5)];

fn signed(value: &Value) -> Vec<i64> {
    array(value).iter().map(|v| v.as_i64().unwrap()).collect()
}

/// The arguments of a case, with the values of the file.
fn arg(name: &'static str, shape: &Value, values: &Value) -> Arg {
    Arg::new(name, &integers(shape), singles(values))
}

/// Values of single precision, which 9 digits tell exactly.
fn singles(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|v| v as f32).collect()
}

fn check(what: &str, actual: &[f64], expected: &Value, tolerance: f64) {
    let error = max_rel_diff(actual, &numbers(expected));
    assert!(error < tolerance, "{what}: off by {error:e}, allowed {tolerance:e}");
}

#[test]
fn index_tables_are_those_of_the_official_code() {
    let file = golden("replk/sw_index_tables.json");
    let mut stages = 0;
    for (arch, list) in file["archs"].as_object().unwrap() {
        for stage in array(list) {
            let size = |key: &str| integer(&stage[key]);
            let (channels, reps, groups) = (size("C"), size("repN"), size("nk"));
            let name = format!("{arch}, {channels} channels");
            let split = ChannelSplit::new(channels, size("ghostN")).unwrap();
            let wide = |list: &[u32]| list.iter().map(|&i| i as usize).collect::<Vec<_>>();
            assert_eq!((wide(&split.rep), wide(&split.ghost)), (integers(&stage["rep"]), integers(&stage["ghost"])));
            let window = Window::new(size("M"), size("n"), Padding::Full).unwrap();
            assert_eq!(
                (window.groups(), window.zeros(), window.margin()),
                (groups, size("conv_padding"), size("extra_pad"))
            );
            let offsets: Vec<i64> = (0..groups).map(|s| i64::from(window.offset(s))).collect();
            assert_eq!(offsets, signed(&stage["pads_unshuffled"]), "{name}");
            let count = integers(&stage["idx_identit_shape"])[1];
            let tables = IndexTables::new(reps, groups, count).unwrap();
            check_tables(&name, &Shifts::new(&window, &tables), stage);
            stages += 1;
        }
    }
    assert_eq!(stages, 8);
}

/// Compares shifts with the official `pad_hv` (small kernels by shuffles, twice) and `idx_identit`.
fn check_tables(name: &str, shifts: &Shifts, case: &Value) {
    let flat = |value: &Value| -> Vec<i64> {
        if array(value).iter().all(Value::is_i64) {
            signed(value)
        } else {
            array(value).iter().flat_map(signed).collect()
        }
    };
    let rows = shifts.horizontal.iter().zip(&shifts.vertical);
    let ours: Vec<i64> = rows.flat_map(|(h, v)| h.iter().chain(v).map(|&t| i64::from(t))).collect();
    assert_eq!(ours, flat(&case["pad_hv"]), "{name}: shifts");
    let ours: Vec<i64> = shifts.identity.iter().flatten().map(|&j| i64::from(j)).collect();
    assert_eq!(ours, flat(&case["idx_identit"]), "{name}: identities");
}

/// Lists of a matrix.
fn matrix(value: &Value) -> Vec<Vec<i64>> {
    array(value).iter().map(signed).collect()
}

#[test]
fn shifting_with_several_shuffles_is_that_of_the_official_code() -> Result<()> {
    let file = golden("replk/op_addshift_mp.json");
    for case in array(&file["cases"]) {
        let (name, reps) = (text(&case["name"]), integer(&case["G"]));
        let rows = matrix(&case["pad_hv"]);
        let part =
            |from: usize| rows.iter().map(|row| row[from..from + reps].iter().map(|&t| t as i32).collect()).collect();
        let identity: Vec<Vec<u32>> =
            matrix(&case["idx_identit"]).iter().map(|row| row.iter().map(|&j| j as u32).collect()).collect();
        let shifts =
            Shifts { margin: integer(&case["extra_pad"]), horizontal: part(0), vertical: part(reps), identity };
        let op = AddShift::new(shifts.identity.len(), shifts)?;
        let shape = integers(&case["y_shape"]);
        let args = [arg("z", &case["x_shape"], &case["x"]), arg("gy", &case["y_shape"], &case["gy"])];
        for (dtype, tolerance) in RUNS {
            let [z, gy] = &args;
            let outcome = differentiate(dtype, std::slice::from_ref(z), gy, |args| {
                let [h, v, i] = op.forward(&args[0], (shape[3], shape[4]))?;
                Ok(Tensor::stack(&[h, v, i], 0)?)
            })?;
            check(&format!("{name}: y"), &outcome[0].1, &case["y"], tolerance);
            check(&format!("{name}: dz"), &outcome[1].1, &case["dx"], tolerance);
        }
    }
    assert_eq!(array(&file["cases"]).len(), 3);
    Ok(())
}

#[test]
fn shifting_along_one_axis_is_that_of_the_official_code() -> Result<()> {
    let file = golden("replk/op_addshift_v0.json");
    for case in array(&file["cases"]) {
        let (name, groups) = (text(&case["name"]), integer(&case["nk"]));
        let (order, offsets) = (integers(&case["idx"]), signed(&case["pads"]));
        let mut lists = vec![Vec::new(); order.len()];
        for (place, &kernel) in order.iter().enumerate() {
            lists[kernel].push(offsets[place % groups] as i32);
        }
        let none = vec![Vec::new(); order.len()];
        let along_rows = integer(&case["isH"]) == 1;
        let (horizontal, vertical) = if along_rows { (lists, none) } else { (none, lists) };
        let channels = order.len() / groups;
        let identity = vec![Vec::new(); channels];
        let shifts = Shifts { margin: integer(&case["extra_pad"]), horizontal, vertical, identity };
        let op = AddShift::new(channels, shifts)?;
        let shape = integers(&case["y_shape"]);
        let args = [arg("z", &case["x_shape"], &case["x"]), arg("gy", &case["y_shape"], &case["gy"])];
        for (dtype, tolerance) in RUNS {
            let [z, gy] = &args;
            let outcome = differentiate(dtype, std::slice::from_ref(z), gy, |args| {
                let [h, v, i] = op.forward(&args[0], (shape[2], shape[3]))?;
                let (used, unused) = if along_rows { (h, v) } else { (v, h) };
                assert!(values_are_zero(&unused) && values_are_zero(&i), "{name}: branches without shifts");
                Ok(used)
            })?;
            check(&format!("{name}: y"), &outcome[0].1, &case["y"], tolerance);
            check(&format!("{name}: dz"), &outcome[1].1, &case["dx"], tolerance);
        }
    }
    assert_eq!(array(&file["cases"]).len(), 2);
    Ok(())
}

fn values_are_zero(tensor: &Tensor) -> bool {
    crate::common::values(tensor).iter().all(|&v| v == 0.0)
}

/// One case of the whole module: paths, branches with norms in evaluation, identity, ghosts.
struct Module<'a> {
    case: &'a Value,
    window: Window,
}

impl Module<'_> {
    fn norm(&self, branch: &Tensor, norm: &str, channels: usize) -> Result<Tensor> {
        let leaf = |leaf: &str, kind: &str| -> Result<Tensor> {
            let name = format!("{}.{norm}.{leaf}", text(&self.case["name"]));
            let values = crate::common::fill_kind(&name, &[channels], kind);
            Ok(Tensor::from_vec(values, (1, channels, 1, 1), branch.device())?.to_dtype(branch.dtype())?)
        };
        let deviation = (leaf("running_var", "running_var")? + BatchNorm::EPS)?.sqrt()?;
        let scale = leaf("weight", "norm_weight")?.div(&deviation)?;
        let centered = branch.broadcast_sub(&leaf("running_mean", "running_mean")?)?;
        Ok(centered.broadcast_mul(&scale)?.broadcast_add(&leaf("bias", "bias")?)?)
    }

    /// The output from x and the masked weights of all paths.
    fn forward(&self, args: &[Tensor]) -> Result<Tensor> {
        let (x, paths) = (&args[0], &args[1..]);
        let ghosts = integers(&self.case["ghost"]).len();
        let split = ChannelSplit::new(x.dim(1)?, ghosts)?;
        let channels = split.rep.len();
        assert_eq!(split.rep.iter().map(|&c| c as usize).collect::<Vec<_>>(), integers(&self.case["rep"]));
        let op = ShiftWise::new(channels, self.window, integer(&self.case["N_rep"]))?;
        check_tables(text(&self.case["name"]), &Shifts::new(&self.window, op.tables()), self.case);
        let index = |list: Vec<u32>| Tensor::new(list, x.device());
        let rep = x.index_select(&index(split.rep)?, 1)?;
        let weight = paths[1..].iter().try_fold(paths[0].clone(), |sum, path| sum + path)?;
        let [h, v, i] = op.forward(&rep, &weight)?;
        let mut y = rep;
        for (branch, norm) in [(h, "bn_lora1"), (v, "bn_lora2"), (i, "bn_small")] {
            y = (y + self.norm(&branch, norm, channels)?)?;
        }
        if ghosts == 0 { Ok(y) } else { Ok(Tensor::cat(&[y, x.index_select(&index(split.ghost)?, 1)?], 1)?) }
    }

    fn check(&self) -> Result<()> {
        let (case, name) = (self.case, text(&self.case["name"]));
        let (n, paths) = (self.window.small(), integer(&case["N_path"]));
        let count = integers(&case["rep"]).len() * self.window.groups();
        let mask: Vec<f64> = match case.get("density").and_then(Value::as_f64) {
            Some(density) => {
                let kept = fill_u(&format!("mask:{name}.LoRAs.0.weight"), count);
                kept.iter().map(|&u| f64::from(u8::from(f64::from(u) < density))).collect()
            }
            None => vec![1.0; count],
        };
        if let Some(expected) = case.get("mask") {
            assert_eq!(mask, numbers(expected), "{name}: mask");
        }
        let mut args = vec![arg("x", &case["x_shape"], &case["x"])];
        for (i, leaf) in ["LoRAs.0", "LoRAs.1"].into_iter().enumerate().take(paths) {
            let weight = crate::common::fill_kind(&format!("{name}.{leaf}.weight"), &[count, 1, n, n], "weight");
            let masked = weight.iter().enumerate().map(|(at, &w)| f64::from(w) * mask[at / (n * n)]);
            args.push(Arg {
                name: ["first path", "second path"][i],
                shape: vec![count, 1, n, n],
                values: masked.collect(),
            });
        }
        let cotangent = arg("gy", &case["x_shape"], &case["gy"]);
        for (dtype, tolerance) in RUNS {
            let outcome = differentiate(dtype, &args, &cotangent, |args| self.forward(args))?;
            check(&format!("{name}: y"), &outcome[0].1, &case["y"], tolerance);
            check(&format!("{name}: dx"), &outcome[1].1, &case["dx"], tolerance);
            for (path, (_, dw)) in outcome[2..].iter().enumerate() {
                check(&format!("{name}: dw of path {path}"), dw, &case["dw"][path], tolerance);
            }
        }
        Ok(())
    }
}

#[test]
fn the_module_computes_what_the_official_one_does() -> Result<()> {
    for (path, count, padding) in [("op_shiftwise_module", 3, Padding::Full), ("op_shiftwise_p2", 1, Padding::Half)] {
        let file = golden(&format!("replk/{path}.json"));
        for case in array(&file["cases"]) {
            let window = Window::new(integer(&case["M"]), integer(&case["n"]), padding)?;
            Module { case, window }.check()?;
        }
        assert_eq!(array(&file["cases"]).len(), count);
    }
    Ok(())
}

#[test]
fn rectangles_decompose_as_in_the_official_code() -> Result<()> {
    let file = golden("replk/op_group_shift_exact.json");
    for case in array(&file["cases"]) {
        let (name, kernel) = (text(&case["name"]), integers(&case["kernel"]));
        let op = GroupShift::new((kernel[0], kernel[1]))?;
        assert_eq!(op.groups(), integer(&case["nk"]), "{name}");
        let padding = integers(&case["conv_padding"]);
        assert_eq!(op.padding(), (padding[0], padding[1]), "{name}");
        let shifts: Vec<i64> = (0..op.groups()).map(|i| i64::from(op.shift(i))).collect();
        assert_eq!(shifts, signed(&case["shift_per_group"]), "{name}");
        let channels = integers(&case["x_shape"])[1];
        let weight = Arg::new("weight", &[channels, 1, kernel[0], kernel[1]], singles(&case["weight"]));
        let whole = weight.tensor(DType::F64)?;
        let small = op.decompose(&whole)?;
        assert_eq!(small.dims(), integers(&case["split_weight_shape"]), "{name}");
        check(&format!("{name}: small kernels"), &crate::common::values(&small), &case["split_weight"], 1e-9);
        let back = op.compose(&small)?;
        assert_eq!(crate::common::values(&back), weight.values, "{name}: there and back");
        let args = [
            arg("x", &case["x_shape"], &case["x"]),
            Arg { name: "small kernels", shape: small.dims().to_vec(), values: crate::common::values(&small) },
            arg("gy", &case["x_shape"], &case["gy"]),
        ];
        for (dtype, tolerance) in RUNS {
            let outcome = differentiate(dtype, &args[..2], &args[2], |args| op.forward(&args[0], &args[1]))?;
            check(&format!("{name}: y"), &outcome[0].1, &case["y"], tolerance);
            check(&format!("{name}: dx"), &outcome[1].1, &case["dx"], tolerance);
            check(&format!("{name}: dw"), &outcome[2].1, &case["dsplit_weight"], tolerance);
        }
    }
    assert_eq!(array(&file["cases"]).len(), 4);
    Ok(())
}

#[test]
fn every_rectangle_equals_its_small_kernels() -> Result<()> {
    for (rows, cols) in [(1, 1), (3, 3), (15, 3), (45, 5), (5, 47), (61, 5), (7, 63), (9, 7), (13, 1), (1, 31)] {
        let op = GroupShift::new((rows, cols))?;
        let x = Arg::fill("x", &[1, 2, 11, 9], "input").tensor(DType::F64)?;
        let weight = Arg::fill("weight", &[2, 1, rows, cols], "input").tensor(DType::F64)?;
        let direct = Depthwise2d::new(2, Options::same(rows, cols))?.forward(&x, &weight, None)?;
        let y = op.forward(&x, &op.decompose(&weight)?)?;
        let off = max_abs_diff(&crate::common::values(&y), &crate::common::values(&direct));
        assert!(off < 1e-12, "{rows}x{cols}: off by {off:e}");
    }
    for wrong in [(4, 3), (3, 0), (65, 3)] {
        assert!(GroupShift::new(wrong).unwrap_err().to_string().contains("odd sides from 1 to 63"));
    }
    let op = GroupShift::new((15, 3))?;
    let five = Arg::fill("five", &[7, 1, 3, 3], "input").tensor(DType::F64)?;
    assert!(op.compose(&five).unwrap_err().to_string().contains("[5 C, 1, 3, 3]"));
    Ok(())
}

/// A layer that is not in the files.
#[derive(Debug, Clone, Copy)]
struct Layer {
    channels: usize,
    length: usize,
    small: usize,
    reps: usize,
    padding: Padding,
    size: (usize, usize),
}

/// Both paddings, one and several shuffles, windows longer than the kernel, images smaller and larger than it.
const LAYERS: [Layer; 7] = [
    Layer { channels: 3, length: 13, small: 3, reps: 1, padding: Padding::Full, size: (7, 6) },
    Layer { channels: 2, length: 13, small: 5, reps: 4, padding: Padding::Full, size: (9, 20) },
    Layer { channels: 5, length: 51, small: 5, reps: 2, padding: Padding::Full, size: (14, 5) },
    Layer { channels: 20, length: 7, small: 3, reps: 2, padding: Padding::Full, size: (8, 8) },
    Layer { channels: 4, length: 5, small: 5, reps: 3, padding: Padding::Full, size: (4, 3) },
    Layer { channels: 3, length: 13, small: 3, reps: 2, padding: Padding::Half, size: (7, 6) },
    Layer { channels: 18, length: 9, small: 1, reps: 1, padding: Padding::Half, size: (5, 17) },
];

impl Layer {
    fn op(&self) -> Result<ShiftWise> {
        ShiftWise::new(self.channels, Window::new(self.length, self.small, self.padding)?, self.reps)
    }

    fn args(&self, op: &ShiftWise) -> [Arg; 2] {
        let n = self.small;
        let (h, w) = self.size;
        [
            Arg::fill("x", &[2, self.channels, h, w], "input"),
            Arg::fill("weight", &[op.tables().channels() * op.tables().groups(), 1, n, n], "input"),
        ]
    }

    /// h, v and i stacked, and both gradients, by the definition.
    fn expected(&self, op: &ShiftWise, [x, weight]: &[Arg; 2], cotangent: &Arg) -> Outcome {
        let shape = reference::Shape { n: 2, c: self.channels, h: self.size.0, w: self.size.1 };
        let (window, tables) = (op.window(), op.tables());
        let part = cotangent.values.len() / 3;
        let dy = [0, 1, 2].map(|i| &cotangent.values[i * part..(i + 1) * part]);
        vec![
            ("y", reference::forward(&shape, window, tables, &x.values, &weight.values).concat()),
            ("x", reference::input_grad(&shape, window, tables, dy, &weight.values)),
            ("weight", reference::weight_grad(&shape, window, tables, &x.values, dy)),
        ]
    }
}

#[test]
fn branches_follow_their_definition() -> Result<()> {
    for layer in LAYERS {
        let op = layer.op()?;
        let args = layer.args(&op);
        let cotangent = Arg::fill("cotangent", &[3, 2, layer.channels, layer.size.0, layer.size.1], "input");
        let expected = layer.expected(&op, &args, &cotangent);
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let outcome = differentiate(dtype, &args, &cotangent, |args| {
                Ok(Tensor::stack(&op.forward(&args[0], &args[1])?, 0)?)
            })?;
            for ((name, ours), (_, expected)) in outcome.iter().zip(&expected) {
                let scale = expected.iter().fold(1.0, |max: f64, e| max.max(e.abs()));
                let off = max_abs_diff(ours, expected) / scale;
                assert!(off < tolerance, "{layer:?}, {dtype:?}: {name} off by {off:e}");
            }
        }
    }
    Ok(())
}

#[test]
fn kernels_and_shifts_compute_the_same_where_no_window_is_lost() -> Result<()> {
    for layer in LAYERS.into_iter().filter(|layer| layer.padding == Padding::Full) {
        let op = layer.op()?;
        let [x, weight] = layer.args(&op).map(|arg| arg.tensor(DType::F64).unwrap());
        let z = small_convolutions(&x, &weight, op.window())?;
        let margin = 2 * op.window().margin();
        assert_eq!(z.dims()[2..], [layer.size.0 + margin, layer.size.1 + margin], "{layer:?}");
        let shifted = AddShift::new(layer.channels, Shifts::new(op.window(), op.tables()))?.forward(&z, layer.size)?;
        for (ours, shifted) in op.forward(&x, &weight)?.iter().zip(&shifted) {
            let off = max_abs_diff(&crate::common::values(ours), &crate::common::values(shifted));
            assert!(off < 1e-12, "{layer:?}: off by {off:e}");
        }
    }
    Ok(())
}

#[test]
fn the_cross_is_the_sum_of_branches_and_identity() -> Result<()> {
    for layer in LAYERS.into_iter().filter(|layer| layer.padding == Padding::Full) {
        let op = layer.op()?;
        let [x, weight] = layer.args(&op).map(|arg| arg.tensor(DType::F64).unwrap());
        let [h, v, i] = op.forward(&x, &weight)?;
        let expected = (((h + v)? + i)? + &x)?;
        let cross = Cross::new(op.window())?;
        let [h, v, i] = op.kernels(&weight)?;
        let conv = TapList::shared(layer.channels, cross.taps())?;
        let y = conv.forward(&x, &cross.sum([&h, &v, &i])?, None)?;
        let off = max_abs_diff(&crate::common::values(&y), &crate::common::values(&expected));
        assert!(off < 1e-11, "{layer:?}: off by {off:e}");
    }
    Ok(())
}

#[test]
fn what_is_not_allowed_is_named() -> Result<()> {
    for (length, small, part) in
        [(12, 3, "kernel: got 12"), (65, 3, "1 to 63"), (13, 4, "small_kernel"), (3, 5, "1 to 3")]
    {
        let error = Window::new(length, small, Padding::Full).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let op = LAYERS[0].op()?;
    let [x, weight] = LAYERS[0].args(&op).map(|arg| arg.tensor(DType::F32).unwrap());
    let wrong = op.forward(&x.narrow(1, 0, 2)?, &weight).unwrap_err().to_string();
    assert!(wrong.contains("input") && wrong.contains("[N, 3, H, W]"), "{wrong}");
    let wrong = op.forward(&x, &weight.narrow(0, 0, 14)?).unwrap_err().to_string();
    assert!(wrong.contains("weight") && wrong.contains("[15, 1, 3, 3]"), "{wrong}");
    let half = LAYERS[5].op()?;
    assert!(half.kernels(&weight).unwrap_err().to_string().contains("padding"));
    assert!(Cross::new(half.window()).unwrap_err().to_string().contains("half"));
    let lists =
        |h: usize, v: usize| Shifts { horizontal: vec![vec![0]; h], vertical: vec![vec![0]; v], ..Default::default() };
    for (channels, h, v) in [(2, 3, 3), (2, 4, 2), (0, 2, 2), (2, 0, 0)] {
        assert!(AddShift::new(channels, lists(h, v)).unwrap_err().to_string().contains("lists of shifts"));
    }
    let identity = vec![vec![0], vec![9]];
    let error = AddShift::new(2, Shifts { identity, ..lists(4, 4) }).unwrap_err().to_string();
    assert!(error.contains("identities") && error.contains("4 results"), "{error}");
    let z = crate::common::random("z", &[1, 4, 5, 6]);
    assert!(AddShift::new(2, lists(4, 4))?.forward(&z, (5, 5)).unwrap_err().to_string().contains("[N, 4, 5, 5]"));
    for margin in [4097, usize::MAX] {
        let error = AddShift::new(2, Shifts { margin, ..lists(4, 4) }).unwrap_err().to_string();
        assert!(error.contains(&format!("margin: got {margin}")), "{error}");
    }
    let far = Shifts { horizontal: vec![vec![i32::MIN]; 2], vertical: vec![vec![0]; 2], ..Default::default() };
    assert!(AddShift::new(2, far).unwrap_err().to_string().contains("offsets from -4096 to 4096"));
    Ok(())
}
