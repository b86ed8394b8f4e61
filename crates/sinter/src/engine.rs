//! Engines: plans ready to run.

use std::fmt;
use std::path::Path;

use sinter_backend::BackEnd;
use sinter_base::Value;
use sinter_runtime::{Context, EngineOptions};

use crate::error::Error;
use crate::internals::source::{plan_inputs, plan_outputs};
use crate::plan::Plan;
use crate::port::Port;
use crate::registry::Registry;

/// A plan with its kernels loaded.
///
/// An engine is `Send + Sync`, and each method takes `&self`: any number of threads may run inferences at once. Each
/// inference has a context (activations and registers) from a pool; [`Engine::context`] makes one that the caller keeps.
///
/// ```
/// # fn main() -> Result<(), sinter::Error> {
/// # let model = sinter::Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/residual.onnxtxt"))?;
/// # let plan = sinter::Builder::new(&model).build()?;
/// let engine = sinter::Engine::from_plan(plan)?;
/// engine.self_test()?;
/// let x = sinter::Tensor::from_vec(&[1, 3], vec![-1.0f32, 0.0, 2.0])?;
/// let outputs = engine.run([("x", x)])?;
/// assert_eq!(outputs, [sinter::Tensor::from_vec(&[1, 3], vec![-1.0f32, 0.0, 4.0])?.into()]);
/// # Ok(())
/// # }
/// ```
pub struct Engine {
    engine: sinter_runtime::Engine,
}

impl Engine {
    /// Opens a plan file for one thread.
    ///
    /// # Errors
    /// [`Error::Plan`] when the file is no intact plan; [`Error::Run`] when this program or machine lacks something that
    /// the plan needs.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(path, &EngineOptions::default(), &Registry::default())
    }

    /// As [`Engine::open`], with options and the back ends of a registry. Of several programs it loads the first one that
    /// was built for a machine like this one.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_with(path: impl AsRef<Path>, options: &EngineOptions, registry: &Registry) -> Result<Self, Error> {
        Self::from_plan_with(Plan::open(path)?, options, registry)
    }

    /// Loads a plan for one thread.
    ///
    /// # Errors
    /// [`Error::Run`] when this program or machine lacks something that the plan needs.
    pub fn from_plan(plan: Plan) -> Result<Self, Error> {
        Self::from_plan_with(plan, &EngineOptions::default(), &Registry::default())
    }

    /// As [`Engine::from_plan`], with options and the back ends of a registry.
    ///
    /// # Errors
    /// As [`Engine::from_plan`].
    pub fn from_plan_with(plan: Plan, options: &EngineOptions, registry: &Registry) -> Result<Self, Error> {
        let back_ends: Vec<&dyn BackEnd> = registry.back_ends().collect();
        let program = plan.into_program(&back_ends, options.threads)?;
        Ok(Self { engine: sinter_runtime::Engine::load(program, &back_ends, options)? })
    }

    /// The inputs in order.
    pub fn inputs(&self) -> Vec<Port> {
        plan_inputs(self.engine.plan())
    }

    /// The outputs in order.
    pub fn outputs(&self) -> Vec<Port> {
        plan_outputs(self.engine.plan())
    }

    /// Runs one inference on named inputs and returns the outputs, in the order of [`Engine::outputs`].
    ///
    /// # Errors
    /// [`Error::Run`] when an input is missing, unknown or of another type, when sizes lie outside the ranges of the plan,
    /// when memory is short, or when a step fails.
    pub fn run<N: Into<String>, V: Into<Value>>(
        &self,
        inputs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Vec<Value>, Error> {
        let inputs = inputs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Ok(self.engine.run(inputs)?)
    }

    /// A context of its own, for a caller that keeps its memory from one inference to the next. It keeps the engine alive.
    pub fn context(&self) -> Context {
        self.engine.context()
    }

    /// Runs the self-test vectors of the plan on this machine, and returns how many there are.
    ///
    /// # Errors
    /// [`Error::Run`] when the plan has none (a build with [`crate::Builder::no_verify`] stores none), one cannot be run,
    /// or an output differs by more than its bound.
    pub fn self_test(&self) -> Result<usize, Error> {
        Ok(self.engine.self_test()?)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("inputs", &self.inputs()).field("outputs", &self.outputs()).finish()
    }
}
