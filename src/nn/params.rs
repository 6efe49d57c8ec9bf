//! Named parameters: what kind they are, and which of them learn.

use crate::weights::{Mismatch, TensorMap, WrongShape};
use crate::{Error, Result};
use candle_core::{DType, Shape, Tensor, Var};
use indexmap::IndexMap;
use std::sync::PoisonError;

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
    /// Whether the optimizer may change it.
    pub fn trainable(self) -> bool {
        matches!(self, Kind::Weight | Kind::NormWeight | Kind::Bias | Kind::Gamma)
    }

    /// The kind of a parameter with this name and number of axes, by PyTorch's conventions.
    pub fn of_name(name: &str, rank: usize) -> Self {
        match name.rsplit('.').next().unwrap_or_default() {
            "running_mean" | "running_var" => Kind::RunningStat,
            "num_batches_tracked" => Kind::Counter,
            "theta" => Kind::Theta,
            "gamma" => Kind::Gamma,
            "bias" | "beta" => Kind::Bias,
            _ if rank <= 1 => Kind::NormWeight,
            _ => Kind::Weight,
        }
    }

    /// Whether it counts as a parameter of the network (state of batch norms does not; angles do, as in the official
    /// counts).
    pub fn counted(self) -> bool {
        !matches!(self, Kind::RunningStat | Kind::Counter)
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
    /// Parameters with their names and kinds, for networks that were not built from a [`Scope`](super::Scope).
    ///
    /// # Errors
    /// If a name is there twice.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, Var, Kind)>) -> Result<Self> {
        let mut params = Params::default();
        for (name, var, kind) in vars {
            params.insert(&name, Param { var, kind })?;
        }
        Ok(params)
    }

    /// Adds a parameter.
    pub(super) fn insert(&mut self, name: &str, param: Param) -> Result<()> {
        match self.map.insert(name.to_string(), param) {
            Some(_) => Err(Error::argument("parameter name", name, "a name that is not in use")),
            None => Ok(()),
        }
    }

    /// The variables of a candle network, sorted by name. Their kinds follow from PyTorch's names, as
    /// [`Kind::of_name`] reads them.
    ///
    /// # Errors
    /// None are expected: a map has every name once.
    pub fn from_var_map(vars: &candle_nn::VarMap) -> Result<Self> {
        let data = vars.data().lock().unwrap_or_else(PoisonError::into_inner);
        let mut vars: Vec<(String, Var)> = data.iter().map(|(name, var)| (name.clone(), var.clone())).collect();
        vars.sort_by(|a, b| a.0.cmp(&b.0));
        Params::from_vars(vars.into_iter().map(|(name, var)| {
            let kind = Kind::of_name(&name, var.rank());
            (name, var, kind)
        }))
    }

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

    /// Overwrites the values of all parameters, in place, so that the network's layers see them. After an error all
    /// values are as they were.
    ///
    /// # Errors
    /// If names or shapes differ, or an angle differs from the one the network was built with.
    pub fn assign(&self, tensors: &TensorMap, source: &str) -> Result<()> {
        let mut mismatch = Mismatch { source: source.to_string(), ..Mismatch::default() };
        for (name, param) in self.iter() {
            match tensors.get(name) {
                None => mismatch.missing.push(name.to_string()),
                Some(t) if !fits(t.shape(), param.var.shape(), param.kind) => mismatch.wrong_shape.push(WrongShape {
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
        let mut values = Vec::with_capacity(self.map.len());
        for (name, param) in self.iter() {
            let value = tensors[name].to_dtype(param.var.dtype())?.reshape(param.var.shape())?;
            if param.kind != Kind::Theta {
                // A copy, since the given tensors may be this network's own, which cannot be written onto themselves.
                values.push((&param.var, value.to_device(param.var.device())?.force_contiguous()?));
            } else if in_double(&value)? != in_double(&param.var)? {
                return Err(Error::argument(name, "other angles", "the angles that the network was built with"));
            }
        }
        values.into_iter().try_for_each(|(var, value)| Ok(var.set(&value)?))
    }
}

/// Whether a stored tensor can be the value of a parameter.
pub(crate) fn fits(found: &Shape, expected: &Shape, kind: Kind) -> bool {
    // Angles may be stored as a column, since a layer that was built from one angle has shape (C, 1), and counters as
    // lists of one number.
    let any_shape = matches!(kind, Kind::Theta | Kind::Counter);
    found == expected || (any_shape && found.elem_count() == expected.elem_count())
}

/// All values in double precision. Comparing these finds a value that is not a number, which a maximum may pass over.
fn in_double(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}
