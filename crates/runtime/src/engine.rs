//! Engines: plans ready to run.

use std::path::Path;
use std::sync::{Arc, Mutex};

use sinter_backend::{BackEnd, Workers};
use sinter_base::shape::element_count;
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Value};
use sinter_plan::{Plan, Trust, read};

use crate::context::Context;
use crate::error::RuntimeError;
use crate::graph::LoadedGraph;
use crate::memory::{Held, TensorMemory};
use crate::profile::Observer;

/// A plan with its kernels loaded. Running needs only `&self`: each run borrows a context from the pool.
pub struct Engine {
    pub(crate) plan: Plan,
    pub(crate) loaded: LoadedGraph,
    pub(crate) weights: Vec<Held>,
    pub(crate) workers: Arc<dyn Workers>,
    pub(crate) max_bytes: usize,
    pool: Mutex<Vec<Context>>,
}

impl Engine {
    /// Opens a plan file; hashes are checked.
    ///
    /// # Errors
    /// When the file is no intact plan, or needs a back end or kernel that is not at hand.
    pub fn open(path: &Path, back_ends: &[&dyn BackEnd], threads: usize) -> Result<Self, RuntimeError> {
        Self::from_plan(read(path, Trust::Nothing)?, back_ends, threads)
    }

    /// Loads a plan from memory. `threads` may differ from what the plan was built for.
    ///
    /// # Errors
    /// When it needs a back end or kernel that is not at hand.
    pub fn from_plan(plan: Plan, back_ends: &[&dyn BackEnd], threads: usize) -> Result<Self, RuntimeError> {
        let back_end = back_ends.iter().find(|b| b.name() == plan.device.back_end).ok_or_else(|| {
            let known: Vec<&str> = back_ends.iter().map(|b| b.name()).collect();
            RuntimeError::BackEnd { needed: plan.device.back_end.clone(), known: known.join(", ") }
        })?;
        let device = back_end.device(threads);
        let loaded = LoadedGraph::load(&plan.graph, *back_end, &device)?;
        let weights = plan
            .weights
            .iter()
            .map(|w| match w.tensor.data_type() {
                sinter_base::DataType::String => Held::Value(Value::Tensor(w.tensor.clone())),
                _ => Held::Tensor(TensorMemory::new(w.tensor.clone())),
            })
            .collect();
        let workers = back_end.workers(threads);
        Ok(Self { plan, loaded, weights, workers, max_bytes: usize::MAX, pool: Mutex::new(Vec::new()) })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Names of the inputs in order.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.plan.inputs.iter().map(|p| p.name.as_str())
    }

    /// Names of the outputs in order.
    pub fn output_names(&self) -> impl Iterator<Item = &str> {
        self.plan.outputs.iter().map(|p| p.name.as_str())
    }

    /// Bounds the memory for values, which else the inputs' sizes decide alone: an arena, and each value outside it, may
    /// have this many bytes.
    #[must_use]
    pub fn with_memory_limit(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Refuses a value that is larger than the bound, before it is allocated.
    pub(crate) fn check_memory(&self, data_type: DataType, sizes: &[usize]) -> Result<(), RuntimeError> {
        let needed = element_count(sizes).and_then(|count| count.checked_mul(element_bytes(data_type)));
        match needed {
            Some(needed) if needed <= self.max_bytes => Ok(()),
            _ => Err(RuntimeError::Memory { needed: needed.unwrap_or(usize::MAX), allowed: self.max_bytes }),
        }
    }

    /// Runs one inference on named inputs and returns the outputs in order.
    ///
    /// # Errors
    /// When inputs are missing, unknown or of wrong types, or a step fails.
    pub fn run(&self, inputs: Vec<(String, Value)>) -> Result<Vec<Value>, RuntimeError> {
        self.run_in_pool(inputs, None)
    }

    /// As [`Engine::run`], telling an observer of every step.
    ///
    /// # Errors
    /// As [`Engine::run`], and what the observer reports.
    pub fn run_observed(
        &self,
        inputs: Vec<(String, Value)>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Value>, RuntimeError> {
        self.run_in_pool(inputs, Some(observer))
    }

    fn run_in_pool(
        &self,
        inputs: Vec<(String, Value)>,
        observer: Option<&mut dyn Observer>,
    ) -> Result<Vec<Value>, RuntimeError> {
        let pooled = self.pool.lock().ok().and_then(|mut pool| pool.pop());
        let mut context = pooled.unwrap_or_default();
        let outputs = context.run(self, inputs, observer)?;
        // A context whose run failed is dropped: nobody knows what it holds.
        if let Ok(mut pool) = self.pool.lock() {
            pool.push(context);
        }
        Ok(outputs)
    }

    /// Bytes of activations that the pooled contexts hold.
    pub fn arena_bytes(&self) -> usize {
        self.pool.lock().map_or(0, |pool| pool.iter().map(Context::arena_bytes).sum())
    }
}
