//! Named parameters: where they come from, what kind they are, and which of them learn.

use crate::rng;
use crate::weights::{Mismatch, TensorMap, WrongShape};
use crate::{Error, Result};
use candle_core::{DType, Device, Shape, Tensor, Var};
use indexmap::IndexMap;
use rand_distr::{Distribution, StandardNormal};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a parameter is: decides whether it learns, whether it decays and how it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Weights of a convolution or linear map.
    Weight,
    /// Scale of a norm.
    NormWeight,
    /// Any bias.
    Bias,
    /// Layer scale.
    Gamma,
    /// Angles of an oriented convolution, in radians: fixed by construction, stored in checkpoints.
    Theta,
    /// Running mean or variance of a batch norm.
    RunningStat,
    /// Number of batches that a batch norm has seen.
    Counter,
}

impl Kind {
    /// Whether the optimiser may change it.
    pub fn trainable(self) -> bool {
        matches!(self, Kind::Weight | Kind::NormWeight | Kind::Bias | Kind::Gamma)
    }

    /// Whether it counts as a parameter of the network (state of batch norms does not; angles do, as in the official
    /// counts).
    pub fn counted(self) -> bool {
        !matches!(self, Kind::RunningStat | Kind::Counter)
    }
}

/// Initial values of a fresh parameter.
#[derive(Debug, Clone)]
pub enum Init {
    /// All the same.
    Constant(f64),
    /// Normal with mean 0, cut off (drawn again) beyond `bound` in absolute value.
    TruncatedNormal {
        /// Standard deviation.
        std: f64,
        /// Largest absolute value.
        bound: f64,
    },
    /// Normal with mean 0 and variance 1 / (values per output), so that outputs are as large as inputs whatever the
    /// width (LeCun et al., 1998).
    FanIn,
    /// Given values, row-major.
    Values(Vec<f32>),
}

impl Init {
    /// ConvNeXt's initialisation of weights: standard deviation 0.02, truncated at +-2.
    pub const WEIGHT: Init = Init::TruncatedNormal { std: 0.02, bound: 2.0 };

    /// Draws `count` values for the parameter `name`. The stream depends on seed and name alone, so the same layer
    /// starts with the same values whatever else the network contains.
    fn draw(&self, shape: &Shape, seed: u64, name: &str) -> Vec<f32> {
        let count = shape.elem_count();
        let (std, bound) = match self {
            Init::Constant(value) => return vec![*value as f32; count],
            Init::Values(values) => return values.clone(),
            Init::TruncatedNormal { std, bound } => (*std, *bound),
            Init::FanIn => {
                let per_output = shape.dims().iter().skip(1).product::<usize>().max(1);
                ((per_output as f64).sqrt().recip(), f64::INFINITY)
            }
        };
        let mut rng = rng::stream(seed, &[rng::hash_name(name)]);
        let normal = StandardNormal;
        (0..count)
            .map(|_| {
                loop {
                    let z: f64 = normal.sample(&mut rng);
                    if (z * std).abs() <= bound {
                        return (z * std) as f32;
                    }
                }
            })
            .collect()
    }
}

/// One named parameter.
#[derive(Debug, Clone)]
pub struct Param {
    /// Its storage; layers share it.
    pub var: Var,
    /// What it is.
    pub kind: Kind,
}

/// The parameters of a network, in order of construction.
#[derive(Debug, Clone, Default)]
pub struct Params {
    map: IndexMap<String, Param>,
}

impl Params {
    /// All parameters with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Param)> {
        self.map.iter().map(|(name, param)| (name.as_str(), param))
    }

    /// One parameter by name.
    pub fn get(&self, name: &str) -> Option<&Param> {
        self.map.get(name)
    }

    /// The parameters that learn.
    pub fn trainable(&self) -> impl Iterator<Item = (&str, &Param)> {
        self.iter().filter(|(_, param)| param.kind.trainable())
    }

    /// Number of values that count as parameters, angles included.
    pub fn count(&self) -> usize {
        self.iter().filter(|(_, p)| p.kind.counted()).map(|(_, p)| p.var.elem_count()).sum()
    }

    /// Number of angles among [`Params::count`].
    pub fn count_theta(&self) -> usize {
        self.iter().filter(|(_, p)| p.kind == Kind::Theta).map(|(_, p)| p.var.elem_count()).sum()
    }

    /// The current values, detached, for saving.
    pub fn tensors(&self) -> TensorMap {
        self.iter().map(|(name, param)| (name.to_string(), param.var.as_detached_tensor())).collect()
    }

    /// Overwrites the values of all parameters, in place, so that the network's layers see them.
    ///
    /// # Errors
    /// If names or shapes differ, or an angle differs from the one the network was built with.
    pub fn assign(&self, tensors: &TensorMap, source: &str) -> Result<()> {
        let mut mismatch = Mismatch { source: source.to_string(), ..Mismatch::default() };
        for (name, param) in self.iter() {
            match tensors.get(name) {
                None => mismatch.missing.push(name.to_string()),
                Some(t) if t.elem_count() != param.var.elem_count() => mismatch.wrong_shape.push(WrongShape {
                    name: name.to_string(),
                    expected: param.var.dims().to_vec(),
                    found: t.dims().to_vec(),
                }),
                Some(_) => {}
            }
        }
        mismatch.unexpected.extend(tensors.keys().filter(|name| !self.map.contains_key(*name)).cloned());
        if !mismatch.is_empty() {
            return Err(mismatch.into());
        }
        for (name, param) in self.iter() {
            let value = tensors[name].to_dtype(param.var.dtype())?.reshape(param.var.shape())?;
            if param.kind == Kind::Theta {
                let differs = value.sub(&param.var.as_detached_tensor())?.abs()?.max_all()?.to_dtype(DType::F64)?;
                if differs.to_scalar::<f64>()? != 0.0 {
                    return Err(Error::argument(name, "other angles", "those the network was built with"));
                }
                continue;
            }
            param.var.set(&value.contiguous()?)?;
        }
        Ok(())
    }
}

/// Where parameters come from and what they become.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Seed of fresh parameters.
    pub seed: u64,
    /// Element type.
    pub dtype: DType,
    /// Device.
    pub device: Device,
    /// Whether autograd follows the parameters. Without, gradients flow to the input only.
    pub trainable: bool,
    /// Values to start from, with the name to report in errors; names must fit exactly.
    pub weights: Option<(TensorMap, String)>,
    /// Fill with zeros instead of drawing: for counting and tracing, where values do not matter.
    pub shapes_only: bool,
    /// Use another network's parameters, storage and all: a second view of a network in training.
    pub share: Option<Params>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        BuildOptions {
            seed: 0,
            dtype: DType::F32,
            device: Device::Cpu,
            trainable: true,
            weights: None,
            shapes_only: false,
            share: None,
        }
    }
}

impl BuildOptions {
    /// For inference and analysis: parameters without gradients.
    pub fn frozen() -> Self {
        BuildOptions { trainable: false, ..BuildOptions::default() }
    }

    /// A view of `params` without gradients: it follows their values while they are trained.
    pub fn view_of(params: &Params) -> Self {
        BuildOptions { share: Some(params.clone()), ..BuildOptions::frozen() }
    }

    /// For counting: no values, no gradients.
    pub fn shapes_only() -> Self {
        BuildOptions { shapes_only: true, ..BuildOptions::frozen() }
    }
}

#[derive(Default)]
struct State {
    params: Params,
    missing: Vec<String>,
    wrong_shape: Vec<WrongShape>,
    used: HashSet<String>,
}

struct Shared {
    options: BuildOptions,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the lists half-updated: every update is one push.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects the parameters of one network while it is built.
pub struct Builder {
    shared: Arc<Shared>,
}

impl Builder {
    /// A builder with the given options.
    pub fn new(options: BuildOptions) -> Self {
        Builder { shared: Arc::new(Shared { options, state: Mutex::default() }) }
    }

    /// The scope of the network's root.
    pub fn root(&self) -> Scope {
        Scope { shared: self.shared.clone(), prefix: String::new(), init: Init::WEIGHT }
    }

    /// Ends the construction.
    ///
    /// # Errors
    /// If a checkpoint was given and any name is missing, unexpected or of another shape.
    pub fn finish(self) -> Result<Params> {
        let mut state = self.shared.lock();
        if let Some((tensors, source)) = &self.shared.options.weights {
            let mismatch = Mismatch {
                source: source.clone(),
                missing: std::mem::take(&mut state.missing),
                unexpected: tensors.keys().filter(|name| !state.used.contains(*name)).cloned().collect(),
                wrong_shape: std::mem::take(&mut state.wrong_shape),
            };
            if !mismatch.is_empty() {
                return Err(mismatch.into());
            }
        }
        Ok(std::mem::take(&mut state.params))
    }
}

/// A place in the module tree, which hands out parameters by their full name.
#[derive(Clone)]
pub struct Scope {
    shared: Arc<Shared>,
    prefix: String,
    init: Init,
}

impl Scope {
    /// A child module.
    pub fn child(&self, name: impl std::fmt::Display) -> Scope {
        Scope { shared: self.shared.clone(), prefix: self.name(name), init: self.init.clone() }
    }

    /// The same place with another initialisation of weights, for it and its children.
    pub fn with_init(&self, init: Init) -> Scope {
        Scope { init, ..self.clone() }
    }

    /// The module's path, empty for the root.
    pub fn path(&self) -> &str {
        &self.prefix
    }

    /// The full name of a parameter of this module.
    pub fn name(&self, name: impl std::fmt::Display) -> String {
        if self.prefix.is_empty() { name.to_string() } else { format!("{}.{name}", self.prefix) }
    }

    /// A parameter of this module: the checkpoint's if there is one, else fresh from the seed.
    ///
    /// With a checkpoint that lacks the name or has another shape, a fresh value stands in and the difference is
    /// reported by [`Builder::finish`].
    ///
    /// # Errors
    /// If the name was handed out before, or the tensor cannot be made.
    pub fn param(&self, name: &str, shape: impl Into<Shape>, kind: Kind, init: Init) -> Result<Tensor> {
        let (name, shape) = (self.name(name), shape.into());
        let options = &self.shared.options;
        let var = match &options.share {
            Some(shared) => shared.get(&name).map(|param| param.var.clone()).ok_or_else(|| {
                Error::argument("shared parameters", format!("none named {name}"), "those of the same network")
            })?,
            None => Var::from_tensor(&self.value(&name, &shape, kind, &init)?)?,
        };
        let learns = options.trainable && kind.trainable();
        let tensor = if learns { var.as_tensor().clone() } else { var.as_detached_tensor() };
        let mut state = self.shared.lock();
        if state.params.map.insert(name.clone(), Param { var, kind }).is_some() {
            return Err(Error::argument("parameter name", name, "a name that is not in use"));
        }
        Ok(tensor)
    }

    /// The checkpoint's value of a parameter, or a fresh one.
    fn value(&self, name: &str, shape: &Shape, kind: Kind, init: &Init) -> Result<Tensor> {
        let options = &self.shared.options;
        if let Some(value) = self.given(name, shape, kind)? {
            return Ok(value);
        }
        if options.shapes_only {
            return Ok(Tensor::zeros(shape, options.dtype, &options.device)?);
        }
        let values = init.draw(shape, options.seed, name);
        Ok(Tensor::from_vec(values, shape, &options.device)?.to_dtype(options.dtype)?)
    }

    /// The checkpoint's value of a parameter, if it has a fitting one.
    fn given(&self, name: &str, shape: &Shape, kind: Kind) -> Result<Option<Tensor>> {
        let Some((tensors, _)) = &self.shared.options.weights else { return Ok(None) };
        let mut state = self.shared.lock();
        let Some(found) = tensors.get(name) else {
            state.missing.push(name.to_string());
            return Ok(None);
        };
        state.used.insert(name.to_string());
        // Angles may be stored as a column: a layer that was built from one angle has shape (C, 1).
        let fits = found.shape() == shape || (kind == Kind::Theta && found.elem_count() == shape.elem_count());
        if !fits {
            state.wrong_shape.push(WrongShape {
                name: name.to_string(),
                expected: shape.dims().to_vec(),
                found: found.dims().to_vec(),
            });
            return Ok(None);
        }
        Ok(Some(found.to_dtype(self.shared.options.dtype)?.reshape(shape)?.to_device(&self.shared.options.device)?))
    }

    /// A convolution's or linear map's weight with the scope's initialisation ([`Init::WEIGHT`] unless changed).
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn weight(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        self.param("weight", shape, Kind::Weight, self.init.clone())
    }

    /// A bias that starts at zero.
    ///
    /// # Errors
    /// As [`Scope::param`].
    pub fn bias(&self, channels: usize) -> Result<Tensor> {
        self.param("bias", channels, Kind::Bias, Init::Constant(0.0))
    }

    /// A tensor that is no parameter, of the network's dtype and device.
    ///
    /// # Errors
    /// If the tensor cannot be made.
    pub fn constant(&self, channels: usize, value: f64) -> Result<Tensor> {
        let options = &self.shared.options;
        Ok(Tensor::full(value, channels, &options.device)?.to_dtype(options.dtype)?)
    }
}
