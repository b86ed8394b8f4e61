//! Machine code of a plan's kernels: a build compiles each (recipe, region) once, in parallel, and stores equal code
//! once.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use indexmap::IndexSet;
use sinter_backend::{Code, KernelError, Kernels, Recipe, Region};
use sinter_plan::report::Dropped;
use sinter_plan::{Action, CodeId, Graph, Plan, Variant};

use crate::choose::tuning_database::Failure;
use crate::devices::Devices;

/// A kernel to be compiled.
struct Job<'a> {
    kernels: &'a Kernels<'a>,
    recipe: &'a Recipe,
    region: &'a Region,
    origin: String,
    code: OnceLock<Result<Option<Code>, KernelError>>,
}

/// Why there is no code.
pub(crate) enum Uncompiled {
    /// The device, or its compiler, is missing or fails: no kernel is at fault.
    Device(KernelError),
    /// Kernels that do not compile.
    Kernels(Vec<Failure>),
}

/// Compiles the kernels of a plan's steps, and puts the code into the plan.
///
/// # Errors
/// All kernels that do not compile, or the reason why none does.
pub(crate) fn compile(plan: &mut Plan, devices: &Devices<'_>) -> Result<(), Uncompiled> {
    let mut jobs = Vec::new();
    let mut known: HashMap<(String, String), usize> = HashMap::new();
    plan.graph.visit(&mut |graph, step| {
        let kernels = devices.of(graph, step);
        let Some(launch) = step.launch() else { return };
        let region = &launch.region;
        let key = region.key().to_string();
        for Variant { recipe, .. } in launch.variants() {
            known.entry((recipe.to_string(), key.clone())).or_insert_with(|| {
                let origin = step.origins.join(", ");
                jobs.push(Job { kernels, recipe, region, origin, code: OnceLock::new() });
                jobs.len() - 1
            });
        }
    });
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            job.code.get_or_init(|| job.kernels.compile(job.recipe, job.region));
        }
    };
    work_on_all_processors(jobs.len(), &work);
    let mut failures = Vec::new();
    let mut all: IndexSet<Code> = IndexSet::new();
    let mut ids: Vec<Option<CodeId>> = Vec::new();
    for Job { recipe, region, origin, code, .. } in jobs {
        ids.push(match code.into_inner() {
            Some(Ok(Some(code))) => Some(CodeId::new(all.insert_full(code).0)),
            Some(Err(error @ (KernelError::Device(_) | KernelError::Lost(_)))) => {
                return Err(Uncompiled::Device(error));
            }
            Some(Err(error)) => {
                let dropped = Dropped { name: recipe.to_string(), origin, reason: error.to_string() };
                failures.push(Failure { recipe: recipe.clone(), region: region.clone(), dropped });
                None
            }
            _ => None,
        });
    }
    if !failures.is_empty() {
        return Err(Uncompiled::Kernels(failures));
    }
    if !all.is_empty() {
        set(&mut plan.graph, &|recipe, key| *ids.get(*known.get(&(recipe.to_string(), key.to_owned()))?)?);
    }
    plan.code = all.into_iter().collect();
    Ok(())
}

fn work_on_all_processors(jobs: usize, work: &(impl Fn() + Sync)) {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(jobs);
    thread::scope(|scope| {
        for _ in 1..threads {
            // If the system provides no thread, compiling only takes longer.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

fn set(graph: &mut Graph, code: &dyn Fn(&Recipe, &str) -> Option<CodeId>) {
    for step in &mut graph.steps {
        match &mut step.action {
            Action::Launch(launch) => {
                let key = launch.region.key().to_string();
                launch.variants_mut().for_each(|variant| variant.code = code(&variant.recipe, &key));
            }
            Action::Control { graphs, .. } => graphs.iter_mut().for_each(|graph| set(graph, code)),
            Action::Copy | Action::Sync | Action::Alias { .. } => {}
        }
    }
}
