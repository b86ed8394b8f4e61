//! Watching a run: what it costs and what it computes, step by step.
//!
//! A run without an observer tests one pointer per step and does nothing else. Steps inside the bodies of control flow
//! count to the step that holds them.

use std::time::{Duration, Instant};

use sinter_base::Value;
use sinter_plan::PlanValueId;

use crate::engine::{Engine, Shared};
use crate::error::RuntimeError;
use crate::frame::Frame;

/// Is told about every step of the outermost graph.
pub trait Observer {
    /// A step is about to run.
    fn before(&mut self, position: usize);

    /// A step has run; its results are there to be read.
    ///
    /// # Errors
    /// Whatever keeps the run from going on.
    fn after(&mut self, position: usize, values: &StepValues<'_>) -> Result<(), RuntimeError>;
}

/// The values of a run after a step; those of later steps, and those whose memory was given away, are not there.
pub struct StepValues<'a> {
    pub(crate) engine: &'a Shared,
    pub(crate) frame: &'a Frame,
}

impl StepValues<'_> {
    /// A copy of a value.
    ///
    /// # Errors
    /// When it was not made yet.
    pub fn value(&self, id: PlanValueId) -> Result<Value, RuntimeError> {
        self.frame.value(&self.engine.plan.graph, &self.engine.weights, id)
    }
}

/// Adds up the time of each step over any number of runs.
#[derive(Clone, Debug)]
pub struct Profile {
    times: Vec<Duration>,
    runs: u32,
    started: Instant,
}

impl Profile {
    /// A profile of this engine's steps.
    pub fn new(engine: &Engine) -> Self {
        Self { times: vec![Duration::ZERO; engine.plan().graph.steps.len()], runs: 0, started: Instant::now() }
    }

    /// Number of runs so far.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Mean time of each step, parallel to the plan's steps; zero before the first run.
    pub fn mean_times(&self) -> impl Iterator<Item = Duration> + '_ {
        self.times.iter().map(|time| time.checked_div(self.runs).unwrap_or_default())
    }
}

impl Observer for Profile {
    fn before(&mut self, position: usize) {
        if position == 0 {
            self.runs = self.runs.saturating_add(1);
        }
        self.started = Instant::now();
    }

    fn after(&mut self, position: usize, _: &StepValues<'_>) -> Result<(), RuntimeError> {
        if let Some(time) = self.times.get_mut(position) {
            *time += self.started.elapsed();
        }
        Ok(())
    }
}
