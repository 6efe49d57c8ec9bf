//! The plans of a convolution for each device, and those of a layer for each shape that it has seen.

use super::cpu::CpuPlan;
use super::gpu::GpuPlans;
use super::{Geometry, InstructionSet, TapTable};
use crate::Result;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Geometries that one layer keeps plans of: training, evaluation and analyses use a few.
const MOST_PLANS: usize = 16;

/// A tap table with one geometry, and the decisions for it on every device.
#[derive(Debug)]
pub struct TapPlan {
    pub(super) cpu: CpuPlan,
    pub(super) gpu: GpuPlans,
}

impl TapPlan {
    /// The plan for the widest vectors of this machine.
    ///
    /// # Errors
    /// As [`CpuPlan::new`].
    pub fn new(table: Arc<TapTable>, geometry: Geometry) -> Result<Self> {
        Self::with_instructions(table, geometry, InstructionSet::best())
    }

    /// The plan for a given instruction set of the CPU. One that this machine does not have is replaced by the best that
    /// it has.
    ///
    /// # Errors
    /// As [`CpuPlan::new`].
    pub fn with_instructions(table: Arc<TapTable>, geometry: Geometry, set: InstructionSet) -> Result<Self> {
        let cpu = CpuPlan::with_instructions(table.clone(), geometry, set)?;
        Ok(TapPlan { cpu, gpu: GpuPlans::new(table, geometry) })
    }

    /// The taps.
    pub fn table(&self) -> &TapTable {
        self.cpu.table()
    }

    /// The sizes.
    pub fn geometry(&self) -> &Geometry {
        self.cpu.geometry()
    }
}

/// A plan per shape: made when a shape is seen first.
#[derive(Debug, Clone)]
pub struct TapPlans {
    table: Arc<TapTable>,
    made: Arc<Mutex<HashMap<Geometry, Arc<TapPlan>>>>,
}

impl TapPlans {
    /// No plans yet.
    pub fn new(table: TapTable) -> Self {
        TapPlans { table: Arc::new(table), made: Arc::default() }
    }

    /// The taps.
    pub fn table(&self) -> &TapTable {
        &self.table
    }

    /// The plan for a geometry.
    ///
    /// # Errors
    /// As [`TapPlan::new`].
    pub fn get(&self, geometry: Geometry) -> Result<Arc<TapPlan>> {
        // A plan is whole or absent, so a panic elsewhere has left nothing wrong.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = made.get(&geometry) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(TapPlan::new(self.table.clone(), geometry)?);
        if made.len() >= MOST_PLANS {
            made.clear();
        }
        made.insert(geometry, plan.clone());
        Ok(plan)
    }
}
