//! Named parameters are handed out while a network is built: fresh ones from a seed, or those of a checkpoint.

use super::Init;
use super::angles::{Agreed, AngleNotes, Doubt, Restored, are_half, are_rounded};
use super::params::{Kind, Param, Params, fits, in_single};
use crate::ops::oriented1d::MAX_TAPS;
use crate::weights::{Mismatch, TensorMap, WrongShape};
use crate::{Error, Result, device};
use candle_core::{DType, Device, Shape, Tensor, Var};
use candle_nn::VarBuilder;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most values of all parameters of a network together: about three times those of the largest network in the papers.
const MAX_VALUES: usize = 1 << 30;

/// Where parameters come from and what they become.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Seed of fresh parameters.
    pub seed: u64,
    /// Element type. Angles are in single precision in any network, because taps follow from them.
    pub dtype: DType,
    /// Device; that of [`crate::device::default`] unless set.
    pub device: Device,
    /// Whether autograd follows the parameters. Without, gradients flow to the input only.
    pub trainable: bool,
    /// Values to start from, with the name to report in errors; names must fit exactly.
    pub weights: Option<(TensorMap, String)>,
    /// Fill with zeros instead of drawing: for counting and tracing, where values do not matter. Every parameter still
    /// has storage of its full size.
    pub shapes_only: bool,
    /// Use another network's parameters, storage and all: a second view of a network in training.
    pub share: Option<Params>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        BuildOptions {
            seed: 0,
            dtype: DType::F32,
            device: device::default(),
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

    /// For counting: zeros for values, no gradients.
    pub fn shapes_only() -> Self {
        BuildOptions { shapes_only: true, device: Device::Cpu, ..BuildOptions::frozen() }
    }
}

#[derive(Default)]
struct State {
    params: Params,
    missing: Vec<String>,
    wrong_shape: Vec<WrongShape>,
    used: HashSet<String>,
    /// Number of values handed out.
    values: usize,
    /// What all layers' angles in the weights agree on, once it was asked for.
    agreed: Option<Option<Agreed>>,
    angles: AngleNotes,
}

struct Shared {
    options: BuildOptions,
    /// Where parameters come from in place of the options' weights and seed.
    candle: Option<VarBuilder<'static>>,
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot leave the state half-updated: every update is one push or one number.
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
        Builder { shared: Arc::new(Shared { options, candle: None, state: Mutex::default() }) }
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
            state.angles.lines().iter().for_each(|line| tracing::warn!("{source}: {line}"));
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

impl From<VarBuilder<'static>> for Scope {
    /// The place of a [`VarBuilder`], so that layers of this crate can be parts of a candle network. The builder decides on
    /// values, type, device and what learns; fresh values are drawn as candle draws them. Angles, which candle cannot
    /// draw, are those of the layer's constructor unless the builder has them.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{Module, VarBuilder, VarMap};
    /// use kernelscope::nn::{DepthwiseConv, Scope};
    /// use kernelscope::ops::depthwise2d::Options;
    /// let vars = VarMap::new();
    /// let scope = Scope::from(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu));
    /// let conv = DepthwiseConv::new(&scope.child("conv"), 4, true, Options::same(7, 7))?;
    /// let y = Module::forward(&conv, &Tensor::ones((1, 4, 9, 9), DType::F32, &Device::Cpu)?)?;
    /// assert_eq!((y.dims(), vars.all_vars().len()), (&[1, 4, 9, 9][..], 2));
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    fn from(builder: VarBuilder<'static>) -> Self {
        let (dtype, device) = (builder.dtype(), builder.device().clone());
        let options = BuildOptions { dtype, device, ..BuildOptions::default() };
        // The builder puts its own prefix before names.
        let shared = Shared { options, candle: Some(builder), state: Mutex::default() };
        Scope { shared: Arc::new(shared), prefix: String::new(), init: Init::WEIGHT }
    }
}

impl Scope {
    /// A child module.
    pub fn child(&self, name: impl std::fmt::Display) -> Scope {
        Scope { shared: self.shared.clone(), prefix: self.name(name), init: self.init.clone() }
    }

    /// Whether the network is built for its shapes alone, so that all values are zero.
    pub fn shapes_only(&self) -> bool {
        self.shared.options.shapes_only
    }

    /// The same place with another initialization of weights, for it and its children.
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
    /// reported by [`Builder::finish`]. Angles ([`Kind::Theta`]) that a checkpoint has in half precision are restored if
    /// those of `init`, or of another number of directions, round to them.
    ///
    /// # Errors
    /// If the name was handed out before, the network gets too large, or the tensor cannot be made.
    pub fn param(&self, name: &str, shape: impl Into<Shape>, kind: Kind, init: Init) -> Result<Tensor> {
        let (name, shape) = (self.name(name), shape.into());
        self.count(&name, &shape)?;
        if let Some(builder) = &self.shared.candle {
            return from_candle(builder, &name, shape, kind, &init);
        }
        let options = &self.shared.options;
        let var = match &options.share {
            Some(shared) => match shared.get(&name) {
                Some(param) if param.var.shape() == &shape => param.var.clone(),
                found => {
                    let found = found.map_or("none".into(), |param| format!("shape {:?}", param.var.dims()));
                    let given = format!("{found} for {name}");
                    return Err(Error::argument("shared parameters", given, "those of the same network"));
                }
            },
            None => self.var(&name, &shape, kind, &init)?,
        };
        let learns = options.trainable && kind.trainable();
        let tensor = if learns { var.as_tensor().clone() } else { var.as_detached_tensor() };
        self.shared.lock().params.insert(&name, Param { var, kind })?;
        Ok(tensor)
    }

    /// Counts the values of a parameter, before memory is asked for: a failed allocation would end the process.
    fn count(&self, name: &str, shape: &Shape) -> Result<()> {
        let count = shape.dims().iter().try_fold(1usize, |count, &side| count.checked_mul(side));
        let mut state = self.shared.lock();
        let Some(values) = count.and_then(|n| state.values.checked_add(n)).filter(|&n| n <= MAX_VALUES) else {
            let allowed = format!("a network of at most {MAX_VALUES} values in all");
            return Err(Error::argument(format!("shape of {name}"), format!("{:?}", shape.dims()), allowed));
        };
        state.values = values;
        Ok(())
    }

    /// A variable with the checkpoint's value of a parameter, or a fresh one.
    fn var(&self, name: &str, shape: &Shape, kind: Kind, init: &Init) -> Result<Var> {
        let options = &self.shared.options;
        let dtype = if kind == Kind::Theta { DType::F32 } else { options.dtype };
        if let Some(found) = self.given(name, shape, kind)? {
            let value = match (kind, init) {
                (Kind::Theta, Init::Values(configured)) => self.angles(name, found, configured)?,
                _ => found.clone(),
            };
            return Ok(Var::from_tensor(&value.to_dtype(dtype)?.reshape(shape)?.to_device(&options.device)?)?);
        }
        if options.shapes_only {
            // Zeroed in place: the system provides such memory when it is used, so counting takes next to none.
            return Ok(Var::zeros(shape, dtype, &options.device)?);
        }
        let values = init.draw(shape, options.seed, name)?;
        Ok(Var::from_tensor(&Tensor::from_vec(values, shape, &options.device)?.to_dtype(dtype)?)?)
    }

    /// The checkpoint's value of a parameter, if it has a fitting one.
    fn given(&self, name: &str, shape: &Shape, kind: Kind) -> Result<Option<&Tensor>> {
        let Some((tensors, _)) = &self.shared.options.weights else { return Ok(None) };
        let mut state = self.shared.lock();
        let Some(found) = tensors.get(name) else {
            state.missing.push(name.to_string());
            return Ok(None);
        };
        state.used.insert(name.to_string());
        if !fits(found.shape(), shape, kind) {
            state.wrong_shape.push(WrongShape {
                name: name.to_string(),
                expected: shape.dims().to_vec(),
                found: found.dims().to_vec(),
            });
            return Ok(None);
        }
        Ok(Some(found))
    }

    /// The angles that the checkpoint means.
    fn angles(&self, name: &str, found: &Tensor, configured: &[f32]) -> Result<Tensor> {
        let Some((tensors, _)) = &self.shared.options.weights else { return Ok(found.clone()) };
        let weight = name.strip_suffix("theta").and_then(|layer| tensors.get(&format!("{layer}weight")));
        let taps = weight.and_then(|weight| weight.dims().last()).copied().unwrap_or(MAX_TAPS);
        let mut restored = Restored::of(&in_single(found)?, configured, taps.min(MAX_TAPS));
        let mut state = self.shared.lock();
        let mut agreed = None;
        if matches!(restored, Restored::Other(_)) {
            agreed = match state.agreed {
                Some(known) => known,
                None => Agreed::among(&all_angles(tensors)?),
            };
            state.agreed = Some(agreed);
            if agreed.is_none() {
                restored = Restored::Doubtful(Doubt::Disagreement);
            }
        }
        state.angles.note(name, &restored, agreed);
        match restored {
            Restored::Stored | Restored::Doubtful(_) => Ok(found.clone()),
            Restored::Configured => Ok(Tensor::from_slice(configured, configured.len(), &Device::Cpu)?),
            Restored::Other(angles) => Ok(Tensor::from_slice(&angles, angles.len(), &Device::Cpu)?),
        }
    }

    /// A convolution's or linear map's weight with the scope's initialization ([`Init::WEIGHT`] unless changed).
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

/// The angles of all layers.
fn all_angles(tensors: &TensorMap) -> Result<Vec<Vec<f32>>> {
    let layers = tensors.iter().filter(|(name, _)| Kind::of_name(name, 1) == Kind::Theta);
    layers.map(|(_, stored)| in_single(stored)).collect()
}

/// A parameter of a candle builder. It hands out one at a time, so that angles in half precision are compared with those
/// of their own layer alone.
fn from_candle(builder: &VarBuilder<'static>, name: &str, shape: Shape, kind: Kind, init: &Init) -> Result<Tensor> {
    let dtype = if kind == Kind::Theta { DType::F32 } else { builder.dtype() };
    let Init::Values(values) = init else {
        return Ok(builder.get_with_hints_dtype(shape, name, init.in_candle(), dtype)?);
    };
    let constructed = Tensor::from_slice(values, shape.clone(), builder.device())?.to_dtype(dtype)?;
    if !builder.contains_tensor(name) {
        return Ok(constructed);
    }
    let found = builder.get_with_hints_dtype(shape, name, init.in_candle(), dtype)?.to_dtype(dtype)?;
    if kind != Kind::Theta {
        return Ok(found);
    }
    let stored = in_single(&found)?;
    if are_rounded(&stored, values) {
        return Ok(constructed);
    }
    if are_half(&stored) {
        tracing::warn!("{name} is in half precision, and not the layer's angles rounded to it: taps may be off");
    }
    Ok(found)
}
