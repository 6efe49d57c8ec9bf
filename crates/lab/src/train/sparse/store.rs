//! Masks on disk.

use super::masks::{Mask, Masks};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use kernelscope::ops::update::read;
use kernelscope::weights::{self, TensorMap};
use std::collections::BTreeMap;
use std::path::Path;

impl Masks {
    /// Writes the masks, one u8 tensor per weight.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.write(path, metadata, Mask::keep)
    }

    /// Writes what has been kept at least once, in the same form.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_explored(&self, path: &Path) -> Result<()> {
        self.write(path, &BTreeMap::new(), Mask::explored)
    }

    fn write(&self, path: &Path, metadata: &BTreeMap<String, String>, of: fn(&Mask) -> &[u8]) -> Result<()> {
        let tensor = |mask: &Mask| Tensor::from_slice(of(mask), mask.shape(), &Device::Cpu);
        let tensors = self.iter().map(|mask| Ok((mask.name.clone(), tensor(mask)?))).collect::<Result<TensorMap>>()?;
        weights::save(path, &tensors, metadata)
    }

    /// Takes back what [`Masks::save`] and [`Masks::save_explored`] wrote. Of the selected weights, those that are in
    /// neither file have lost their masks before.
    ///
    /// # Errors
    /// If a file is missing or damaged, holds masks of another network or type, the two do not fit each other, or the
    /// masks do not fit the weights: a weight that they prune is not zero.
    pub fn load(&mut self, path: &Path, explored: &Path) -> Result<()> {
        let kept = self.read(path, |mask, values| mask.keep = values.into())?;
        let seen = self.read(explored, |mask, values| mask.explored = values)?;
        if kept != seen {
            return Err(Error::file(explored, format!("has {seen} masks, but {} has {kept}", path.display())));
        }
        self.units.retain(|unit| unit.masks.iter().any(|mask| !mask.keep.is_empty()));
        for mask in self.iter() {
            if mask.keep.is_empty() || mask.keep.len() != mask.explored.len() {
                return Err(Error::file(path, format!("has no mask for {}", mask.name)));
            }
            if mask.keep.iter().zip(&mask.explored).any(|(keep, explored)| keep > explored) {
                return Err(Error::file(explored, format!("does not contain what the mask of {} keeps", mask.name)));
            }
            let same = read(mask.var.as_tensor(), |values| mask.fits(values))?;
            if !same {
                let fault =
                    format!("prunes weights of {} that are not zero, so it belongs to other weights", mask.name);
                return Err(Error::file(path, fault));
            }
        }
        Ok(())
    }

    /// Reads one file; how many masks it had. Masks that it lacks become empty.
    fn read(&mut self, path: &Path, set: impl Fn(&mut Mask, Vec<u8>)) -> Result<usize> {
        let mut tensors = weights::load(path)?.tensors;
        let count = tensors.len();
        if count == 0 {
            return Err(Error::file(path, "has no masks"));
        }
        for mask in self.iter_mut() {
            let found = tensors.swap_remove(&mask.name).map(|tensor| mask.values(&tensor, path)).transpose()?;
            set(mask, found.unwrap_or_default());
        }
        match tensors.keys().next() {
            None => Ok(count),
            Some(name) => Err(Error::file(path, format!("has a mask for {name}, but this run has none"))),
        }
    }
}

impl Mask {
    /// The values of a stored mask.
    fn values(&self, tensor: &Tensor, path: &Path) -> Result<Vec<u8>> {
        let shape = self.shape();
        if tensor.dims() != shape || tensor.dtype() != DType::U8 {
            let found = format!("{:?} of shape {:?}", tensor.dtype(), tensor.dims());
            let fault = format!("the mask of {} is {found}, but this run needs U8 of shape {shape:?}", self.name);
            return Err(Error::file(path, fault));
        }
        let values = tensor.flatten_all()?.to_vec1::<u8>()?;
        match values.iter().find(|value| **value > 1) {
            None => Ok(values),
            Some(value) => Err(Error::file(path, format!("the mask of {} holds {value}, not 0 or 1", self.name))),
        }
    }

    /// Whether all pruned values are zero.
    fn fits(&self, values: &[f32]) -> bool {
        let groups = values.chunks(self.group.max(1)).zip(self.keep.iter());
        groups.filter(|(_, keep)| **keep == 0).all(|(values, _)| values.iter().all(|v| *v == 0.0))
    }
}
