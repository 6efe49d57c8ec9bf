//! Shared by the integration tests: the deterministic *fill* of the golden files, their loader, and comparisons.
//!
//! The fill makes a tensor's values from its name alone, so golden files need no weights. Element i of a tensor is the
//! i-th output of SplitMix64 seeded with the FNV-1a hash of the name, its upper 24 bits read as `u` in [0, 1);
//! `s = 2u - 1`.
#![allow(dead_code, reason = "every test binary compiles this module and uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test helper fails by panicking")]

use candle_core::{DType, Device, Tensor, Var};
use kernelscope::nn::{BuildOptions, Kind, Mode, Param};
use kernelscope::test_hooks::{EmulatedArg, LaunchSize, emulated};
use kernelscope::weights::TensorMap;
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_emulator::{Argument, Size};
use kernelscope_lab::train::{AdamW, AdamWConfig, soft_cross_entropy};
use serde_json::Value;
use std::path::Path;

/// FNV-1a, 64 bits, of a name.
pub fn fnv1a64(name: &str) -> u64 {
    name.bytes()
        .fold(14_695_981_039_346_656_037, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211))
}

/// `u` of every element of a tensor, in double precision (24 bits, so exact).
fn fill(name: &str) -> impl Iterator<Item = f64> + use<> {
    let hash = fnv1a64(name);
    (1u64..).map(move |i| {
        let x = hash.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let z = z ^ (z >> 31);
        (z >> 40) as f64 / (1u64 << 24) as f64
    })
}

/// The first `count` values `u` of a name, in [0, 1).
pub fn fill_u(name: &str, count: usize) -> Vec<f32> {
    fill(name).take(count).map(|u| u as f32).collect()
}

/// The first `count` values `s = 2u - 1` of a name, in [-1, 1): what the tensor "input" holds.
pub fn fill_signed(name: &str, count: usize) -> Vec<f32> {
    fill(name).take(count).map(|u| (2.0 * u - 1.0) as f32).collect()
}

/// The values of a parameter, by the `kind` that the golden files give it; evaluated in f64 and rounded once.
pub fn fill_kind(name: &str, shape: &[usize], kind: &str) -> Vec<f32> {
    let signed = |u: f64| 2.0 * u - 1.0;
    let fan_in: usize = shape.iter().skip(1).product();
    let bound = (3.0 / fan_in as f64).sqrt();
    let value: Box<dyn Fn(f64) -> f64> = match kind {
        "input" => Box::new(signed),
        "weight" => Box::new(move |u| signed(u) * bound),
        "norm_weight" => Box::new(move |u| 1.0 + 0.1 * signed(u)),
        "bias" | "running_mean" => Box::new(move |u| 0.1 * signed(u)),
        "running_var" => Box::new(|u| 1.0 + 0.5 * u),
        "running_var_small" => Box::new(|u| 0.01 * (1.0 + 0.5 * u)),
        "gamma" => Box::new(|u| 0.5 + 0.5 * u),
        "gamma_small" => Box::new(|u| 0.02 * (0.5 + 0.5 * u)),
        "zero" | "num_batches_tracked" => Box::new(|_| 0.0),
        other => panic!("{name}: the fill has no kind {other:?}"),
    };
    fill(name).take(shape.iter().product()).map(|u| value(u) as f32).collect()
}

/// The root of the workspace.
pub fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|path| path.join("tests/golden").is_dir()).expect("a package inside the workspace")
}

/// A golden file, by its path below `tests/golden`.
pub fn golden(path: &str) -> Value {
    let path = root().join("tests/golden").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{} is not JSON: {e}", path.display()))
}

/// The elements of a JSON array.
pub fn array(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not an array: {value}"))
}

/// A JSON array of numbers.
pub fn numbers(value: &Value) -> Vec<f64> {
    array(value).iter().map(|v| v.as_f64().unwrap_or_else(|| panic!("not a number: {v}"))).collect()
}

/// A JSON integer.
pub fn integer(value: &Value) -> usize {
    value.as_u64().unwrap_or_else(|| panic!("not an integer: {value}")) as usize
}

/// A JSON array of integers, such as a shape.
pub fn integers(value: &Value) -> Vec<usize> {
    array(value).iter().map(integer).collect()
}

/// A JSON string.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

/// All values of a tensor, row-major, in double precision.
pub fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// The largest absolute difference of two equally long lists; a NaN on either side counts as infinite.
pub fn max_abs_diff(a: &[f64], b: &[f64]) -> f64 {
    max_diff(a, b, |_| 1.0)
}

/// The largest difference relative to `max(1, |expected|)`, element by element.
pub fn max_rel_diff(actual: &[f64], expected: &[f64]) -> f64 {
    max_diff(actual, expected, |e| e.abs().max(1.0))
}

fn max_diff(actual: &[f64], expected: &[f64], scale: impl Fn(f64) -> f64) -> f64 {
    assert_eq!(actual.len(), expected.len(), "number of values");
    actual
        .iter()
        .zip(expected)
        .map(|(&a, &e)| ((a - e) / scale(e)).abs())
        .fold(0.0, |max, d| if d.is_nan() { f64::INFINITY } else { max.max(d) })
}

/// Whether this is the test binary `kernels`, which runs the operators' tests with the kernels for GPUs: on the GPU that
/// `KERNELSCOPE_TEST_DEVICE=cuda` asks for, else emulated.
pub fn by_kernels() -> bool {
    module_path!().split("::").next() == Some("kernels")
}

/// The type that a test computes in: kernels do not know double precision.
pub fn computed(dtype: DType) -> DType {
    if by_kernels() && dtype == DType::F64 { DType::F32 } else { dtype }
}

/// The device of tensors that kernels compute with.
pub fn device() -> Device {
    match std::env::var("KERNELSCOPE_TEST_DEVICE").as_deref() {
        Ok("cuda") if by_kernels() => Device::new_cuda(0).expect("the GPU that KERNELSCOPE_TEST_DEVICE asks for"),
        Ok("cuda" | "emulator") | Err(_) => Device::Cpu,
        Ok(other) => panic!("KERNELSCOPE_TEST_DEVICE is {other}, but may be cuda or emulator"),
    }
}

/// Runs `f` where its tensors are; in the test binary `kernels` without a GPU, with the kernels emulated. The order of
/// threads follows from `sizes`, so that a set of cases sees several.
pub fn on_device<R>(sizes: &[usize], f: impl FnOnce() -> R) -> R {
    if by_kernels() && device().is_cpu() {
        return emulated(emulate, sizes.iter().sum::<usize>() as u32 % 4, f);
    }
    f()
}

/// The emulator of `kernels/emulator/`.
pub fn emulate(kernel: &str, size: LaunchSize, arguments: &mut [EmulatedArg], order: u32) -> Result<(), String> {
    let mut arguments: Vec<Argument> = arguments
        .iter_mut()
        .map(|argument| match argument {
            EmulatedArg::Read(storage, range) => Argument::Read(storage, range.clone()),
            EmulatedArg::Write(storage) => Argument::Write(storage),
            EmulatedArg::Absent => Argument::Absent,
            EmulatedArg::Params(name, bytes) => Argument::Params(name, bytes),
        })
        .collect();
    let size = Size { blocks: size.blocks, threads: size.threads, shared: size.shared_bytes };
    kernelscope_emulator::run(kernel, size, &mut arguments, order)
}

/// One argument of an operator: a name for messages, a shape, and values that single precision holds exactly.
#[derive(Debug, Clone)]
pub struct Arg {
    pub name: &'static str,
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Arg {
    pub fn new(name: &'static str, shape: &[usize], values: Vec<f32>) -> Self {
        Arg { name, shape: shape.to_vec(), values: values.into_iter().map(f64::from).collect() }
    }

    /// The fill of the argument's name.
    pub fn fill(name: &'static str, shape: &[usize], kind: &str) -> Self {
        Arg::new(name, shape, fill_kind(name, shape, kind))
    }

    pub fn tensor(&self, dtype: DType) -> candle_core::Result<Tensor> {
        Tensor::from_slice(&self.values, &self.shape[..], &Device::Cpu)?.to_dtype(dtype)
    }
}

/// An operator's result, named "y", and its gradients, named after the arguments.
pub type Outcome = Vec<(&'static str, Vec<f64>)>;

/// Runs `f` in `dtype`: y, and the gradient of `sum(y * cotangent)` for every argument.
///
/// # Panics
/// If y has not the cotangent's shape and the dtype, or an argument gets no gradient of its shape and dtype.
pub fn differentiate(
    dtype: DType,
    args: &[Arg],
    cotangent: &Arg,
    f: impl Fn(&[Tensor]) -> kernelscope::Result<Tensor>,
) -> kernelscope::Result<Outcome> {
    on_device(&cotangent.shape, || differentiate_there(&device(), computed(dtype), args, cotangent, f))
}

/// The same in double precision and on the CPU, even in the test binary `kernels`: a reference.
pub fn differentiate_exactly(
    args: &[Arg],
    cotangent: &Arg,
    f: impl Fn(&[Tensor]) -> kernelscope::Result<Tensor>,
) -> kernelscope::Result<Outcome> {
    differentiate_there(&Device::Cpu, DType::F64, args, cotangent, f)
}

fn differentiate_there(
    device: &Device,
    dtype: DType,
    args: &[Arg],
    cotangent: &Arg,
    f: impl Fn(&[Tensor]) -> kernelscope::Result<Tensor>,
) -> kernelscope::Result<Outcome> {
    let var = |arg: &Arg| Var::from_tensor(&arg.tensor(dtype)?.to_device(device)?);
    let vars: Vec<Var> = args.iter().map(var).collect::<candle_core::Result<_>>()?;
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let y = f(&tensors)?;
    assert_eq!((y.dims(), y.dtype()), (&cotangent.shape[..], dtype), "shape and dtype of y");
    let grads = (&y * cotangent.tensor(dtype)?.to_device(device)?)?.sum_all()?.backward()?;
    let mut outcome = vec![("y", values(&y))];
    for (arg, var) in args.iter().zip(&vars) {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{}: no gradient", arg.name));
        assert_eq!((grad.dims(), grad.dtype()), (&arg.shape[..], dtype), "shape and dtype of {}'s gradient", arg.name);
        outcome.push((arg.name, values(grad)));
    }
    Ok(outcome)
}

/// A single-precision tensor of values in [-1, 1) that follow from `name` alone.
pub fn random(name: &str, shape: &[usize]) -> Tensor {
    Tensor::from_vec(fill_signed(name, shape.iter().product()), shape, &Device::Cpu).unwrap()
}

/// A registered network with these settings.
pub fn spec(name: &str, overrides: &[&str]) -> ModelSpec {
    ModelSpec::named(name).unwrap().with_overrides(overrides).unwrap()
}

/// A network for counts and shapes only.
pub fn outline(name: &str, overrides: &[&str]) -> Network {
    Network::build(spec(name, overrides), BuildOptions::shapes_only()).unwrap()
}

/// A network without gradients, from these weights and in their type.
pub fn with_tensors(spec: &ModelSpec, tensors: TensorMap) -> Network {
    let dtype = tensors.values().next().expect("a tensor").dtype();
    let options = BuildOptions { dtype, weights: Some((tensors, "test".into())), ..BuildOptions::frozen() };
    Network::build(spec.clone(), options).unwrap()
}

/// A network with values that follow from the parameters' names, statistics of batch norms included.
pub fn filled(spec: ModelSpec, dtype: DType) -> Network {
    let network = Network::build(spec, BuildOptions::shapes_only()).unwrap();
    let fill = |(name, p): (&str, &Param)| {
        let kind = match p.kind {
            Kind::Weight => "weight",
            Kind::NormWeight => "norm_weight",
            Kind::Gamma => "gamma",
            Kind::RunningStat if name.ends_with("running_var") => "running_var",
            Kind::RunningStat | Kind::Bias => "bias",
            Kind::Counter => "zero",
            other => panic!("{name} is {other:?}"),
        };
        let dims = p.var.dims().to_vec();
        let value = Tensor::from_vec(fill_kind(name, &dims, kind), dims, &Device::Cpu).unwrap();
        (name.to_string(), value.to_dtype(dtype).unwrap())
    };
    with_tensors(network.spec(), network.params().iter().map(fill).collect())
}

/// The losses of 20 steps with 16 images of 8 classes, which a network that learns soon knows by heart.
pub fn losses_of_training(name: &str, lr: f64) -> Vec<f64> {
    let network = Network::build(spec(name, &[]), BuildOptions::default()).unwrap();
    let x = random("images", &[16, 3, 32, 32]);
    let targets: Vec<f32> = (0..16 * 8).map(|i| if i / 8 % 8 == i % 8 { 1.0 } else { 0.0 }).collect();
    let targets = Tensor::from_vec(targets, (16, 8), &Device::Cpu).unwrap();
    let mut optimizer = AdamW::new(network.params(), AdamWConfig::default());
    let step = |seed| {
        let loss = soft_cross_entropy(&network.forward_t(&x, Mode::Train { seed }).unwrap(), &targets).unwrap();
        optimizer.step(&loss.backward().unwrap(), lr, 1.0).unwrap();
        values(&loss)[0]
    };
    (0..20).map(step).collect()
}

/// The bit patterns of a single-precision tensor, row-major.
pub fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

/// Whether `value` is printed as `printed`, to as many decimals as that has, by rounding or by cutting off.
pub fn prints_as(value: f64, printed: f64) -> bool {
    let text = printed.to_string();
    let decimals = text.split_once('.').map_or(0, |(_, d)| d.len() as i32);
    let scaled = value * 10f64.powi(decimals);
    let target = (printed * 10f64.powi(decimals)).round();
    scaled.round() == target || scaled.floor() == target
}

/// Every file below a folder, by its path relative to the folder, with its bytes.
pub fn files(root: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for item in std::fs::read_dir(&folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
