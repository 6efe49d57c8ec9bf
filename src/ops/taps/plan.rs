//! The plans of a convolution, for the CPU and for GPUs: made once per table and shape, each without the other.

use super::gpu::GpuPlans;
use super::{Geometry, TapTable, cpu};
use crate::Result;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Geometries that one layer keeps plans of: training, evaluation and analyses use a few.
const MOST_PLANS: usize = 16;

/// A tap table with one geometry, and how that is computed on every device.
#[derive(Debug)]
pub struct TapPlan {
    pub(super) cpu: cpu::Plan,
    pub(super) gpu: GpuPlans,
}

impl TapPlan {
    /// The plans for this machine.
    ///
    /// # Errors
    /// As [`cpu::Plan::new`].
    pub fn new(table: Arc<TapTable>, geometry: Geometry) -> Result<Self> {
        Ok(cpu::Plan::new(table, geometry)?.into())
    }
}

impl From<cpu::Plan> for TapPlan {
    fn from(cpu: cpu::Plan) -> Self {
        let gpu = GpuPlans::new(cpu.shared_table().clone(), *cpu.geometry());
        TapPlan { cpu, gpu }
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
