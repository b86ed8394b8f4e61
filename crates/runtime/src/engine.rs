//! Engines: plans ready to run.

use std::path::Path;
use std::sync::{Arc, Mutex};

use sinter_backend::{BackEnd, Device, Kernels, Target};
use sinter_base::Value;
use sinter_plan::{Action, Graph, Place, Plan, PlanFile, PlanValueId, Stages, Storage, Trust};

use crate::bindings::Bindings;
use crate::context::{Context, State};
use crate::error::RuntimeError;
use crate::graph::{LoadedGraph, Loading};
use crate::limit::default_memory;
use crate::profile::Observer;
use crate::results;
use crate::weights::{self, Resident};

/// The options of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Threads to run kernels on; may differ from what the plan was built for.
    pub threads: usize,
    /// The most bytes that one inference may take for activations, and for any one result with dynamic dimensions. The context
    /// checks the bound before it allocates. Default: half of the memory of the machine, or of the control group when that is
    /// less.
    pub max_memory: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { threads: 1, max_memory: default_memory() }
    }
}

/// A plan with its kernels loaded. Running needs only `&self`: each run borrows a context's memory from a pool.
pub struct Engine {
    shared: Arc<Shared>,
    pool: Mutex<Vec<Pooled>>,
}

/// A context with its bindings, between runs.
struct Pooled {
    state: State,
    bindings: Bindings,
}

/// The state that all contexts of an engine share.
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) loaded: LoadedGraph,
    /// When each size is known.
    pub(crate) stages: Stages,
    /// By place.
    pub(crate) places: Vec<LoadedPlace>,
    /// Results that kernels write to memory of the caller, by output.
    pub(crate) direct: Vec<Option<PlanValueId>>,
    pub(crate) max_memory: usize,
}

/// A device that an engine runs on.
pub(crate) struct LoadedPlace {
    pub(crate) device: Arc<dyn Device>,
    /// The weights that steps read on this device, in its memory; `None` for other weights.
    pub(crate) residents: Vec<Option<Arc<Resident>>>,
}

impl Engine {
    /// Opens a plan file and checks its hashes. Of several programs it loads the [`suitable_program`].
    ///
    /// # Errors
    /// When the file is no intact plan, or needs a back end or kernel that is missing.
    pub fn open(path: &Path, back_ends: &[&dyn BackEnd], threads: usize) -> Result<Self, RuntimeError> {
        let file = PlanFile::open(path, Trust::Nothing)?;
        Self::from_plan(file.program(suitable_program(file.targets(), back_ends, threads))?, back_ends, threads)
    }

    /// Loads a plan from memory. `threads` may differ from what the plan was built for.
    ///
    /// # Errors
    /// When it needs a back end or kernel that is missing.
    pub fn from_plan(plan: Plan, back_ends: &[&dyn BackEnd], threads: usize) -> Result<Self, RuntimeError> {
        Self::load(plan, back_ends, &EngineOptions { threads, ..EngineOptions::default() })
    }

    /// Loads a plan from memory.
    ///
    /// # Errors
    /// When it needs a back end or kernel that is missing.
    pub fn load(plan: Plan, back_ends: &[&dyn BackEnd], options: &EngineOptions) -> Result<Self, RuntimeError> {
        let targets = std::iter::once(&plan.target).chain(&plan.islands);
        let opened = targets.map(|target| {
            let back_end = back_ends.iter().find(|b| b.name() == target.back_end).ok_or_else(|| {
                let known: Vec<&str> = back_ends.iter().map(|b| b.name()).collect();
                RuntimeError::BackEnd { needed: target.back_end.clone(), known: known.join(", ") }
            })?;
            let device = back_end.open(options.threads).map_err(|source| RuntimeError::Device { source })?;
            Ok(Kernels::new(*back_end, device))
        });
        let kernels = opened.collect::<Result<Vec<_>, RuntimeError>>()?;
        Self::with_kernels(plan, &kernels.iter().collect::<Vec<_>>(), options)
    }

    /// Loads a plan from memory with kernel libraries, by place; these may have loaded some kernels before.
    ///
    /// # Errors
    /// When it needs a kernel that is missing.
    pub fn with_kernels(
        mut plan: Plan,
        kernels: &[&Kernels<'_>],
        options: &EngineOptions,
    ) -> Result<Self, RuntimeError> {
        let direct = results::direct(&plan);
        let loading = Loading { sizes: &plan.shapes.dims(), code: &plan.code, kernels };
        let stages = Stages::of(&plan);
        let loaded = loading.graph(&plan.graph, &direct, &stages)?;
        let weights = weights::share(&mut plan);
        let place = |(place, kernels): (usize, &&Kernels<'_>)| {
            let device = kernels.device().clone();
            let used = used_weights(&plan, Place::new(place));
            let resident = |(weight, is_used): (&Arc<weights::Weight>, bool)| match is_used {
                true => weight.at(&device),
                false => Ok(None),
            };
            let residents = weights.iter().zip(used).map(resident).collect::<Result<_, _>>();
            Ok(LoadedPlace { residents: residents.map_err(|source| RuntimeError::Device { source })?, device })
        };
        let places =
            kernels.iter().enumerate().take(plan.places()).map(place).collect::<Result<Vec<_>, RuntimeError>>()?;
        if places.len() < plan.places() {
            return Err(RuntimeError::Damaged("a plan with more places than devices".to_owned()));
        }
        let shared = Shared { plan, loaded, stages, places, direct, max_memory: options.max_memory };
        Ok(Self { shared: Arc::new(shared), pool: Mutex::new(Vec::new()) })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    /// Names of the inputs in order.
    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.plan().inputs.iter().map(|p| p.name.as_str())
    }

    /// Names of the outputs in order.
    pub fn output_names(&self) -> impl Iterator<Item = &str> {
        self.plan().outputs.iter().map(|p| p.name.as_str())
    }

    /// A context of its own, for callers that keep their memory from one inference to the next.
    pub fn context(&self) -> Context {
        Context { engine: self.shared.clone(), state: State::default() }
    }

    /// Runs one inference on named inputs and returns the outputs in order.
    ///
    /// # Errors
    /// When inputs are missing, unknown or of wrong types, or a step fails.
    pub fn run(&self, inputs: Vec<(String, Value)>) -> Result<Vec<Value>, RuntimeError> {
        self.run_in_pool(inputs, None)
    }

    /// As [`Engine::run`], and calls an observer around every step.
    ///
    /// # Errors
    /// As [`Engine::run`], and errors of the observer.
    pub fn run_observed(
        &self,
        inputs: Vec<(String, Value)>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Value>, RuntimeError> {
        self.run_in_pool(inputs, Some(observer))
    }

    /// Bytes of activations that the pooled contexts hold.
    pub fn arena_bytes(&self) -> usize {
        self.pool.lock().map_or(0, |pool| pool.iter().map(|pooled| pooled.state.frame.arena_bytes()).sum())
    }

    fn run_in_pool(
        &self,
        inputs: Vec<(String, Value)>,
        observer: Option<&mut dyn Observer>,
    ) -> Result<Vec<Value>, RuntimeError> {
        let pooled = self.pool.lock().ok().and_then(|mut pool| pool.pop());
        let new = || Pooled { state: State::default(), bindings: Bindings::new(self.plan()) };
        // A failed run does not return its context and bindings to the pool.
        let Pooled { mut state, mut bindings } = pooled.unwrap_or_else(new);
        for (name, value) in inputs {
            bindings.set(&name, value)?;
        }
        state.infer(&self.shared, &mut bindings.inputs, &mut bindings.outputs, observer)?;
        // The bindings release the inputs of this call before they return to the pool; the next run sets its own.
        bindings.inputs.iter_mut().for_each(|input| *input = None);
        let missing = || RuntimeError::Damaged("an output was not made".to_owned());
        let outputs = bindings.outputs.iter_mut().map(|output| output.take().ok_or_else(missing)?.into_value());
        let outputs = outputs.collect::<Result<_, _>>()?;
        if let Ok(mut pool) = self.pool.lock() {
            pool.push(Pooled { state, bindings });
        }
        Ok(outputs)
    }

    /// Runs the plan's self-test vectors and compares the outputs; returns how many vectors there are.
    ///
    /// # Errors
    /// When the plan has none, one cannot be run, or an output differs.
    pub fn self_test(&self) -> Result<usize, RuntimeError> {
        for KnownAnswer { vector, output, difference } in self.known_answers()? {
            if let Some(reason) = difference {
                return Err(RuntimeError::SelfTest { vector, output, reason });
            }
        }
        Ok(self.plan().self_test.as_ref().map_or(0, |self_test| self_test.vectors.len()))
    }

    /// Runs the plan's self-test vectors, and compares each output with the expected one.
    ///
    /// # Errors
    /// When the plan has none, or one cannot be run.
    pub fn known_answers(&self) -> Result<Vec<KnownAnswer>, RuntimeError> {
        let plan = self.plan();
        let self_test = plan.self_test.as_ref().ok_or(RuntimeError::NoSelfTest)?;
        let mut answers = Vec::new();
        for (number, vector) in self_test.vectors.iter().enumerate() {
            let made = |(port, input): (&sinter_plan::Port, &sinter_plan::SelfTestInput)| {
                Ok((port.name.clone(), Value::Tensor(input.tensor()?)))
            };
            let inputs = plan.inputs.iter().zip(&vector.inputs).map(made).collect::<Result<Vec<_>, RuntimeError>>()?;
            let outputs = self.run(inputs)?;
            for ((port, known), found) in plan.outputs.iter().zip(&vector.outputs).zip(&outputs) {
                let found = found.as_tensor().ok_or_else(|| "it is no tensor".to_owned());
                let difference = found.and_then(|found| known.check(found)).err();
                answers.push(KnownAnswer { vector: number, output: port.name.clone(), difference });
            }
        }
        Ok(answers)
    }
}

/// An output of one of a plan's self-test vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAnswer {
    /// Index of the vector.
    pub vector: usize,
    /// Name of the output.
    pub output: String,
    /// The difference from the expected output; `None` when the output agrees.
    pub difference: Option<String>,
}

/// Chooses the program to load from the targets of several: the first one that was built for the instruction set of this
/// machine, else the first one whose back ends the caller has, else the first one, whose error tells what is missing.
pub fn suitable_program<'a, T: IntoIterator<Item = &'a Target>>(
    programs: impl Iterator<Item = T> + Clone,
    back_ends: &[&dyn BackEnd],
    threads: usize,
) -> usize {
    let isa = |name: &str| back_ends.iter().find(|back_end| back_end.name() == name).map(|b| b.target(threads).isa);
    let find = |suits: &dyn Fn(&Target) -> bool| programs.clone().position(|targets| targets.into_iter().all(suits));
    let same = find(&|target| isa(&target.back_end).as_ref() == Some(&target.isa));
    same.or_else(|| find(&|target| isa(&target.back_end).is_some())).unwrap_or(0)
}

/// The weights that steps read at a place, and those that are defaults of inputs there.
fn used_weights(plan: &Plan, place: Place) -> Vec<bool> {
    fn mark(graph: &Graph, place: Place, used: &mut [bool]) {
        for value in graph.values.iter().filter(|value| value.place == place) {
            if let Storage::Weight(weight) = value.storage
                && let Some(slot) = used.get_mut(weight.index())
            {
                *slot = true;
            }
        }
        for step in &graph.steps {
            if let Action::Control { graphs, .. } = &step.action {
                graphs.iter().for_each(|graph| mark(graph, place, used));
            }
        }
    }
    let mut used = vec![false; plan.weights.len()];
    mark(&plan.graph, place, &mut used);
    for port in &plan.inputs {
        let is_there = plan.graph.values.get(port.value.index()).is_some_and(|value| value.place == place);
        if let Some(slot) = port.default.filter(|_| is_there).and_then(|weight| used.get_mut(weight.index())) {
            *slot = true;
        }
    }
    used
}
