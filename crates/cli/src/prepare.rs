//! From a file to an engine: loads a plan; builds a model in memory first.

use std::path::Path;
use std::time::{Duration, Instant};

use sinter::internals::backend::KernelError;
use sinter::internals::base::Value;
use sinter::internals::builder::verify::synthetic::to_measure;
use sinter::internals::builder::{BuildOptions, Built, Progress, SizeHints, Verify, build};
use sinter::internals::ir::Network;
use sinter::internals::plan::{Plan, Port, SelfTestInput, SizeRange};
use sinter::internals::runtime::{Engine, EngineOptions, RuntimeError};
use sinter::internals::source::{self, Declared, Source};
use sinter::internals::tensor_io::read_npz;
use sinter::internals::values::{self, Role};

use crate::failure::{Exit, Failure};
use crate::flags::{DeviceFlags, InputFlags, ModelFlags, Shape};
use crate::generate::{generate, redrawn};
use crate::output::printable;
use crate::progress::{Stage, Stages};

/// A file, opened, and the values of its inputs.
pub struct Opened {
    /// The model or plan; a model is imported for the sizes of the values.
    pub source: Source,
    /// Values of the inputs.
    pub inputs: Vec<(String, Value)>,
    /// The inputs that the build verified the plan with, where `inputs` are synthetic and the engine may refuse them.
    pub spare: Option<Vec<(String, Value)>>,
    /// How long opening the model or plan took.
    pub opened_in: Duration,
}

/// What to do when the user gives no inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutInputs {
    /// Go on with none: right for models that have no inputs, and an error that names them for others.
    None,
    /// Make some up.
    Generate,
}

/// Opens a model or a plan and reads or makes the values of its inputs.
///
/// # Errors
/// When a file is missing or damaged, or names, types and sizes do not fit.
pub fn open(path: &Path, model: &ModelFlags, given: &InputFlags, without: WithoutInputs) -> Result<Opened, Failure> {
    let start = Instant::now();
    let mut model = model.clone();
    let opened = match open_source(path, &model, &[]) {
        // Some models are valid at certain sizes only.
        Err(failure) if failure.exit == Exit::Damaged => {
            let Some(sizes) = sizes_in(given, model.max_memory()) else { return Err(failure) };
            model = model.with_given_inputs(sizes.iter().map(|shape| shape.name.clone()).collect());
            open_source(path, &model, &sizes).map_err(|_| failure)?
        }
        opened => opened?,
    };
    let opened_in = start.elapsed();
    let (declared, ranges) = match &opened {
        Source::Model(network) => {
            sinter::internals::memory::check(network, &SizeHints::default(), model.max_memory())?;
            (source::network_inputs(network), Vec::new())
        }
        Source::Plan(plan) => {
            match (&given.inputs, without) {
                (None, WithoutInputs::Generate) => model.refuse_building_for_plan()?,
                _ => model.refuse_for_plan()?,
            }
            (source::plan_inputs(plan), plan.ranges())
        }
    };
    let inputs = match (&given.inputs, without) {
        (None, WithoutInputs::Generate) => made_up(&opened, &declared, &ranges, &model, given.seed)?,
        _ => match read_inputs(&opened, &declared, given, model.max_memory()) {
            Err(failure) => {
                // A name that is no input may be an initializer of the model.
                let names = undeclared(&opened, &declared, given, &model);
                if names.is_empty() {
                    return Err(failure);
                }
                return open(path, &model.with_given_inputs(names), given, without);
            }
            inputs => inputs?,
        },
    };
    let source = match opened {
        Source::Model(free) if declared.iter().any(is_free) => {
            match open_source(path, &model, &shapes(&inputs)) {
                // A branch that these inputs never take may be invalid for their sizes, and valid for dynamic dimensions.
                Err(failure) if failure.exit == Exit::Damaged => Source::Model(free),
                pinned => pinned?,
            }
        }
        other => other,
    };
    let spare = match &source {
        Source::Plan(plan) if given.inputs.is_none() && model.shapes().is_empty() => self_test_inputs(plan),
        _ => None,
    };
    Ok(Opened { source, inputs, spare, opened_in })
}

/// Opens a model or a plan, with these sizes of inputs besides those of the flags.
///
/// # Errors
/// When the file is missing or damaged, or the sizes do not fit.
pub fn open_source(path: &Path, model: &ModelFlags, sizes: &[Shape]) -> Result<Source, Failure> {
    let options = model.import_options(sizes)?;
    let _stage = Stage::named("opening");
    let source = source::open(path, &options).map_err(|error| Failure::from(error).at(path))?;
    if let Source::Model(network) = &source {
        model.check_runtime_inputs(network).map_err(|failure| failure.at(path))?;
    }
    Ok(source)
}

/// Names of an archive of inputs that the model has no inputs of, when it was opened without them.
fn undeclared(opened: &Source, declared: &[Declared], given: &InputFlags, model: &ModelFlags) -> Vec<String> {
    if matches!(opened, Source::Plan(_)) || model.has_given_inputs() {
        return Vec::new();
    }
    let names = sizes_in(given, model.max_memory()).unwrap_or_default().into_iter().map(|shape| shape.name);
    names.filter(|name| declared.iter().all(|input| input.name != *name)).collect()
}

/// The inputs that have no value of their own.
fn required(source: &Source, declared: &[Declared]) -> Vec<Declared> {
    let has_default: Vec<bool> = match source {
        Source::Model(network) => network.inputs.iter().map(|input| input.default.is_some()).collect(),
        Source::Plan(plan) => plan.inputs.iter().map(|port| port.default.is_some()).collect(),
    };
    declared.iter().zip(has_default).filter(|(_, has_default)| !has_default).map(|(input, _)| input.clone()).collect()
}

/// Sizes of the arrays of an archive of inputs.
fn sizes_in(given: &InputFlags, max_bytes: u64) -> Option<Vec<Shape>> {
    let path = given.inputs.as_deref().filter(|path| values::is_archive(path))?;
    let arrays = read_npz(path, usize::try_from(max_bytes).unwrap_or(usize::MAX)).ok()?;
    Some(arrays.into_iter().map(|(name, array)| Shape { name, sizes: array.sizes().to_vec() }).collect())
}

fn read_inputs(
    source: &Source,
    declared: &[Declared],
    given: &InputFlags,
    max_bytes: u64,
) -> Result<Vec<(String, Value)>, Failure> {
    let required = required(source, declared);
    match &given.inputs {
        Some(path) => {
            let limit = usize::try_from(max_bytes).unwrap_or(usize::MAX);
            Ok(values::read(path, Role::Input, declared, limit)?)
        }
        None if required.is_empty() => Ok(Vec::new()),
        None => {
            let names: Vec<String> = required.iter().map(|d| format!("{} ({})", d.name, d.ty)).collect();
            let help = format!("give --inputs with {}, or --random to make values up", names.join(", "));
            Err(Failure::usage("the inputs are not given").help(help))
        }
    }
}

/// Inputs when the user has none: sensible ones of the smallest sizes, where the user gives no others.
fn made_up(
    source: &Source,
    declared: &[Declared],
    ranges: &[SizeRange],
    model: &ModelFlags,
    seed: Option<u32>,
) -> Result<Vec<(String, Value)>, Failure> {
    let inputs = match source {
        Source::Plan(plan) => {
            let known = self_test_inputs(plan).unwrap_or_default();
            generate(&required(source, declared), ranges, model.shapes(), &known, model.max_memory())
        }
        Source::Model(network) => {
            let refuse =
                |why: String| Failure::usage(format!("no inputs can be synthesized: {why}")).help("give --inputs");
            let inputs = to_measure(network).map_err(refuse)?;
            let value = |input: &Declared| inputs.get(&input.name).map(|value| (input.name.clone(), value.clone()));
            Ok(declared.iter().filter_map(value).collect())
        }
    };
    Ok(match seed {
        Some(seed) => redrawn(inputs?, seed),
        None => inputs?,
    })
}

/// The first inference of an engine.
pub struct First {
    /// The inputs that it took.
    pub inputs: Vec<(String, Value)>,
    /// Its outputs in order.
    pub outputs: Vec<Value>,
    /// How long it took.
    pub time: Duration,
}

/// Runs a first inference. Synthetic inputs may have sizes that the plan refuses; then the inference runs with `spare`, the
/// inputs that the build verified the plan with.
///
/// # Errors
/// When the inference fails.
pub fn first_run(
    engine: &Engine,
    inputs: Vec<(String, Value)>,
    spare: Option<Vec<(String, Value)>>,
    given: &InputFlags,
) -> Result<First, Failure> {
    let timed = |inputs: &[(String, Value)]| {
        let start = Instant::now();
        engine.run(inputs.to_vec()).map(|outputs| (outputs, start.elapsed()))
    };
    match (timed(&inputs), spare) {
        (Ok((outputs, time)), _) => Ok(First { inputs, outputs, time }),
        (Err(error), None) => Err(refusal(error, given)),
        (Err(_), Some(inputs)) => {
            let (outputs, time) = timed(&inputs)?;
            Ok(First { inputs, outputs, time })
        }
    }
}

/// The failure of an inference. For synthetic inputs it advises the user to give inputs.
pub fn refusal(error: RuntimeError, given: &InputFlags) -> Failure {
    let is_of_values = matches!(
        error,
        RuntimeError::Step { source: KernelError::Data(_), .. }
            | RuntimeError::Sizes { .. }
            | RuntimeError::Contradiction { .. }
            | RuntimeError::Range { .. }
            | RuntimeError::Shape(_)
    );
    if given.inputs.is_some() || !is_of_values {
        return error.into();
    }
    Failure::usage(format!("no inputs are given, and synthetic ones do not suit the model: {error}"))
        .help("give --inputs with values that the model takes, or, of a model, --shapes with their sizes")
}

/// The inputs that a plan was verified with, where it keeps them as they are.
fn self_test_inputs(plan: &Plan) -> Option<Vec<(String, Value)>> {
    let vector = plan.self_test.as_ref()?.vectors.first()?;
    let value = |(port, input): (&Port, &SelfTestInput)| Some((port.name.clone(), input.tensor().ok()?.into()));
    plan.inputs.iter().zip(&vector.inputs).map(value).collect()
}

/// Has the input a size or rank that a value would pin?
fn is_free(input: &Declared) -> bool {
    input.ty.as_tensor().is_some_and(|t| t.dims().map_or(true, |dims| dims.iter().any(|d| d.as_constant().is_none())))
}

fn shapes(inputs: &[(String, Value)]) -> Vec<Shape> {
    let shape = |(name, value): &(String, Value)| {
        Some(Shape { name: name.clone(), sizes: value.as_tensor()?.sizes().to_vec() })
    };
    inputs.iter().filter_map(shape).collect()
}

/// Optimizes a network and builds it for a device; `profiles` say what is known of sizes that stay dynamic. What the user gives
/// an inference is what the plan is verified with, unless a flag says otherwise.
///
/// # Errors
/// When operators have no kernel, or more memory is needed than allowed.
pub fn build_plan(
    network: &Network,
    mut profiles: Vec<SizeHints>,
    model: &ModelFlags,
    device: &DeviceFlags,
    given: &[(String, Value)],
) -> Result<Built, Failure> {
    let mut dump = |pass: &str, network: &Network| eprint!("{}", printable(&format!("after {pass}:\n{network}\n")));
    let verify = match model.verify(network, &SizeHints::hull(&profiles))? {
        Verify::Generated if !given.is_empty() => Verify::Given(given.iter().cloned().collect()),
        other => other,
    };
    let others = profiles.split_off(profiles.len().min(1));
    let stages = Stages::default();
    let listener = |stage: sinter::internals::builder::Stage, done| stages.show(stage, done);
    let back_ends = device.back_ends()?;
    let options = BuildOptions {
        threads: device.threads(),
        island: back_ends.island(),
        forbid_islands: device.forbid_host_copies(),
        passes: model.pass_options(&mut dump),
        precision: model.precision.options(),
        sizes: profiles.pop().unwrap_or_default(),
        profiles: others,
        refittable: model.refittable(),
        max_memory: model.max_memory(),
        verify,
        tuning: model.tuning.tuning()?,
        verifications: model.tuning.verifications()?,
        progress: Progress(Some(&listener)),
        ..BuildOptions::default()
    };
    let built = build(network, back_ends.main(), options)?;
    drop(stages);
    model.tuning.keep(&built)?;
    Ok(built)
}

/// An engine, and the networks that it was built of in this call.
pub struct Ready {
    /// The engine.
    pub engine: Engine,
    /// The network as imported and after the passes, when the file was a model.
    pub networks: Option<(Network, Network)>,
}

/// Makes an engine of a model or plan.
///
/// # Errors
/// As [`build_plan`], and when the plan does not suit this machine.
pub fn engine(
    source: Source,
    model: &ModelFlags,
    device: &DeviceFlags,
    inputs: &[(String, Value)],
) -> Result<Ready, Failure> {
    let (plan, networks) = match source {
        Source::Plan(plan) => (*plan, None),
        Source::Model(imported) => {
            let built = build_plan(&imported, Vec::new(), model, device, inputs)?;
            (built.plan, Some((*imported, built.network)))
        }
    };
    let limit = usize::try_from(model.max_memory()).unwrap_or(usize::MAX);
    let options = EngineOptions { threads: device.threads(), max_memory: limit };
    let engine = Engine::load(plan, &device.back_ends()?.all(), &options)?;
    Ok(Ready { engine, networks })
}
