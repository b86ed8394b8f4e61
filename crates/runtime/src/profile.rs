//! Observers of a run: the time and the results of each step.
//!
//! A run without an observer tests one pointer per step and does nothing else. Steps inside the bodies of control flow have
//! a path: the step that holds them, the body, and so on to their own position. The time of such a step is part of the time
//! of the step that holds it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sinter_backend::Event;
use sinter_base::Value;
use sinter_plan::{Place, PlanValueId, Storage};

use crate::engine::{Engine, Shared};
use crate::error::RuntimeError;
use crate::frame::Frame;
use crate::queues::Queues;

/// A listener that the runtime calls around every step.
pub trait Observer {
    /// The first step is about to run.
    ///
    /// # Errors
    /// Any error, which ends the run.
    fn begin(&mut self, _values: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// A step is about to run.
    fn before(&mut self, position: usize);

    /// A step has run; the observer can read its results.
    ///
    /// # Errors
    /// Any error, which ends the run.
    fn after(&mut self, position: usize, values: &mut StepValues<'_>) -> Result<(), RuntimeError>;

    /// A step inside control flow is about to run: step, body, step, body, ..., step.
    fn before_inside(&mut self, _path: &[usize]) {}

    /// A step inside control flow has run.
    fn after_inside(&mut self, _path: &[usize]) {}
}

/// An observer, and the steps of control flow that are running, each with the index of its body.
pub(crate) struct Watch<'o> {
    observer: &'o mut dyn Observer,
    path: Vec<usize>,
}

impl<'o> Watch<'o> {
    pub(crate) fn new(observer: &'o mut dyn Observer) -> Self {
        Self { observer, path: Vec::new() }
    }

    pub(crate) fn begin(&mut self, values: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        self.observer.begin(values)
    }

    pub(crate) fn before(&mut self, position: usize) {
        if self.path.is_empty() {
            return self.observer.before(position);
        }
        self.path.push(position);
        self.observer.before_inside(&self.path);
        self.path.pop();
    }

    pub(crate) fn after(&mut self, position: usize, values: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        if self.path.is_empty() {
            return self.observer.after(position, values);
        }
        self.path.push(position);
        self.observer.after_inside(&self.path);
        self.path.pop();
        Ok(())
    }

    /// A body of the step at this position begins.
    pub(crate) fn enter(&mut self, position: usize, body: usize) {
        self.path.extend([position, body]);
    }

    /// The body has ended.
    pub(crate) fn leave(&mut self) {
        self.path.truncate(self.path.len().saturating_sub(2));
    }
}

/// The values of a run after a step, without values of later steps and values whose memory the run released or reused.
pub struct StepValues<'a> {
    pub(crate) engine: &'a Shared,
    pub(crate) frame: &'a Frame,
    pub(crate) queues: &'a mut Queues,
}

impl StepValues<'_> {
    /// Records this point in the work of the plan's first device.
    fn mark(&mut self) -> Result<Event, RuntimeError> {
        self.queues.at(Place::MAIN).record().map_err(RuntimeError::of_work)
    }

    /// Waits for the work up to the later point, and returns the time of the work between both.
    fn time_between(&mut self, from: Event, to: Event) -> Result<Duration, RuntimeError> {
        self.queues.at(Place::MAIN).elapsed(from, to).map_err(RuntimeError::of_work)
    }

    /// Waits for the work that makes a value, and returns a copy.
    ///
    /// # Errors
    /// When no step has made it yet, and errors of that work.
    pub fn value(&mut self, id: PlanValueId) -> Result<Value, RuntimeError> {
        let Self { engine, frame, queues } = self;
        let graph = &engine.plan.graph;
        match graph.values.get(id.index()).map(|value| &value.storage) {
            Some(Storage::Weight(weight)) => {
                let weight = engine.plan.weights.get(weight.index());
                let missing = || RuntimeError::Damaged(format!("{id} is no weight"));
                Ok(Value::Tensor(weight.ok_or_else(missing)?.tensor().clone()))
            }
            _ => frame.value(graph, queues, id),
        }
    }
}

/// Adds up the time of each step over any number of runs.
#[derive(Clone, Debug)]
pub struct Profile {
    times: Vec<Duration>,
    /// The time of steps inside control flow, by path.
    inside: BTreeMap<Vec<usize>, Duration>,
    runs: u32,
    /// The start times of the steps that are running, the innermost last.
    started: Vec<Instant>,
    /// The points in the work of the device where the run began and each step ended; `None` where the host measures.
    marks: Option<Vec<Event>>,
}

impl Profile {
    /// An empty profile of this engine's steps.
    pub fn new(engine: &Engine) -> Self {
        let times = vec![Duration::ZERO; engine.plan().graph.steps.len()];
        Self { times, inside: BTreeMap::new(), runs: 0, started: Vec::new(), marks: None }
    }

    /// An empty profile whose times are measured by the clock of the plan's first device, for devices whose work runs after
    /// the host has launched it. A step that takes the device less time than the host takes to launch it shows the time of
    /// the launch. The host measures steps inside control flow.
    pub fn on_device(engine: &Engine) -> Self {
        Self { marks: Some(Vec::new()), ..Self::new(engine) }
    }

    /// Number of runs so far.
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// Mean time of each step, parallel to the plan's steps; zero before the first run.
    pub fn mean_times(&self) -> impl Iterator<Item = Duration> + '_ {
        self.times.iter().map(|time| time.checked_div(self.runs).unwrap_or_default())
    }

    /// Mean time per run of a step inside control flow, all its iterations together; zero for one that never ran.
    pub fn mean_time_inside(&self, path: &[usize]) -> Duration {
        self.inside.get(path).and_then(|time| time.checked_div(self.runs)).unwrap_or_default()
    }

    fn ended(&mut self) -> Duration {
        self.started.pop().map(|started| started.elapsed()).unwrap_or_default()
    }
}

impl Observer for Profile {
    fn begin(&mut self, values: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        if let Some(marks) = &mut self.marks {
            marks.clear();
            marks.push(values.mark()?);
        }
        Ok(())
    }

    fn before(&mut self, position: usize) {
        if position == 0 {
            self.runs = self.runs.saturating_add(1);
        }
        self.started.clear();
        self.started.push(Instant::now());
    }

    fn after(&mut self, position: usize, values: &mut StepValues<'_>) -> Result<(), RuntimeError> {
        let elapsed = self.ended();
        if let Some(marks) = &mut self.marks {
            marks.push(values.mark()?);
            if position + 1 < self.times.len() {
                return Ok(());
            }
            // Waiting for each step alone would leave the device idle between them.
            for (time, (from, to)) in self.times.iter_mut().zip(marks.iter().zip(marks.iter().skip(1))) {
                *time += values.time_between(*from, *to)?;
            }
            return Ok(());
        }
        if let Some(time) = self.times.get_mut(position) {
            *time += elapsed;
        }
        Ok(())
    }

    fn before_inside(&mut self, _: &[usize]) {
        self.started.push(Instant::now());
    }

    fn after_inside(&mut self, path: &[usize]) {
        let elapsed = self.ended();
        match self.inside.get_mut(path) {
            Some(time) => *time += elapsed,
            None => _ = self.inside.insert(path.to_vec(), elapsed),
        }
    }
}
