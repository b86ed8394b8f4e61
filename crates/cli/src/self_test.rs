//! Self-test vectors of a plan on this machine, with kernels of another instruction set that the build of the plan did not
//! verify.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backend::Target;
use sinter::internals::backends;
use sinter::internals::plan::Plan;
use sinter::internals::runtime::{Engine, KnownAnswer};

use crate::failure::{Exit, Failure};
use crate::output::note;

/// One output of one self-test vector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Number of the vector, from 0.
    pub vector: usize,
    /// Name of the output.
    pub output: String,
    /// Is it the known one, within the bound that the build found?
    pub agrees: bool,
    /// How it differs, where it does.
    pub difference: Option<String>,
}

/// Runs the self-test vectors of an engine's plan.
///
/// # Errors
/// When there are none, or one cannot be run.
pub fn answers(engine: &Engine) -> Result<Vec<Answer>, Failure> {
    let answer = |KnownAnswer { vector, output, difference }: KnownAnswer| Answer {
        vector,
        output,
        agrees: difference.is_none(),
        difference,
    };
    Ok(engine.known_answers()?.into_iter().map(answer).collect())
}

/// Fails when an answer is another than the known one.
///
/// # Errors
/// Names the first one.
pub fn require(answers: &[Answer]) -> Result<(), Failure> {
    match answers.iter().find(|answer| !answer.agrees) {
        None => Ok(()),
        Some(Answer { vector, output, difference, .. }) => {
            let reason = difference.as_deref().unwrap_or("it differs");
            let what = format!("self-test: output '{output}' of vector {vector} is not the known one: {reason}");
            Err(Failure::new(Exit::OutsideBounds, what)
                .help("do not use the plan on this machine; build it here, and please report this"))
        }
    }
}

/// Back end and instructions that run a plan here: `cpu.avx512`.
pub fn tier_here(plan: &Plan, threads: usize) -> String {
    let here = backends::by_name(&plan.target.back_end).map(|back_end| back_end.target(threads));
    kind_of(here.as_ref().unwrap_or(&plan.target))
}

/// Back end and instructions that a plan was built for.
fn tier_built(plan: &Plan) -> String {
    kind_of(&plan.target)
}

/// Back end and instructions of a target.
pub fn kind_of(target: &Target) -> String {
    format!("{}.{}", target.back_end, target.isa)
}

/// What runs a plan here, where that is not what it was built for.
pub fn other_device(plan: &Plan, threads: usize) -> Option<String> {
    Some(tier_here(plan, threads)).filter(|here| *here != tier_built(plan))
}

/// Where a plan was verified, in words.
pub fn verified_on(plan: &Plan) -> String {
    let device = tier_built(plan);
    match &plan.report {
        None => format!("built for {device}"),
        Some(report) if report.verification.skipped.is_some() => format!("built for {device} and not verified"),
        Some(_) => format!("built for {device} and verified there"),
    }
}

/// Says where a plan was verified, when it runs on something else.
fn note_other_device(plan: &Plan, threads: usize) {
    if let Some(here) = other_device(plan, threads) {
        note(&format!("the plan was {}, {here} runs it here; --self-test tests it", verified_on(plan)));
    }
}

/// What comes before an engine runs for the user: a word where a plan runs on something else than it was verified on, and the
/// self-test where it is asked for. How many outputs agree; `None` without a self-test.
///
/// # Errors
/// When a self-test cannot be run, or an answer is another than the known one.
pub fn before_runs(engine: &Engine, is_plan: bool, threads: usize, tests: bool) -> Result<Option<usize>, Failure> {
    if is_plan {
        note_other_device(engine.plan(), threads);
    }
    if !tests {
        return Ok(None);
    }
    let answers = answers(engine)?;
    require(&answers)?;
    Ok(Some(answers.len()))
}
