//! `sinter self-test`: runs a plan's self-test vectors on this machine.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::backends::BACK_ENDS;
use sinter::internals::plan::{Trust, is_plan, read};
use sinter::internals::runtime::{Engine, EngineOptions};

use crate::failure::Failure;
use crate::files::Files;
use crate::flags::{JsonFlags, ThreadFlags};
use crate::output::deliver;
use crate::report::{count, table};
use crate::self_test::{Answer, answers, other_device, require, verified_on};

const EXAMPLES: &str = "\
Examples:
  sinter self-test model.plan
  SINTER_CPU=avx2 sinter self-test model.plan                as a machine without AVX-512 would run it";

/// Run a plan's known answers on this machine.
///
/// A build stores inputs with the outputs that the reference executor agreed to. They are computed again with the kernels that this
/// machine uses, which may be those of another instruction set than the plan was verified with. Ends with code 1 when an
/// output is not the known one.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flags {
    /// Plan
    plan: PathBuf,

    #[command(flatten)]
    threads: ThreadFlags,

    #[command(flatten)]
    json: JsonFlags,
}

/// Result of `sinter self-test`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The plan as given.
    pub plan: String,
    /// The device that it was built for.
    pub device: String,
    /// The device that runs it here, where that is another one.
    pub here: Option<String>,
    /// Where it was verified, in words.
    pub verified: String,
    /// Do all outputs agree?
    pub agrees: bool,
    /// Every output of every self-test vector.
    pub answers: Vec<Answer>,
}

/// Runs the command.
///
/// # Errors
/// When the plan cannot be read, has no self-test vectors, or an output is not the known one.
pub fn run(arguments: &Flags) -> Result<(), Failure> {
    let mut files = Files::default();
    files.reads("the plan", Some(&arguments.plan));
    arguments.json.name_files(&mut files);
    files.check()?;
    if arguments.plan.is_file() && !is_plan(&arguments.plan) {
        return Err(Failure::usage("this is no plan")
            .at(&arguments.plan)
            .help("`sinter build MODEL` makes a plan of a model, with known answers"));
    }
    let threads = arguments.threads.count();
    let plan = read(&arguments.plan, Trust::Nothing).map_err(|error| Failure::from(error).at(&arguments.plan))?;
    let engine = Engine::load(plan, BACK_ENDS, &EngineOptions { threads, ..EngineOptions::default() })?;
    let answers = answers(&engine)?;
    let report = Report {
        plan: arguments.plan.display().to_string(),
        device: engine.plan().target.to_string(),
        here: other_device(engine.plan(), threads),
        verified: verified_on(engine.plan()),
        agrees: answers.iter().all(|answer| answer.agrees),
        answers,
    };
    deliver(&report, &arguments.json, show)?;
    require(&report.answers)
}

fn show(report: &Report, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}: {}", report.plan, report.verified)?;
    if let Some(here) = &report.here {
        writeln!(out, "  here         {here}")?;
    }
    let agreeing = report.answers.iter().filter(|answer| answer.agrees).count();
    writeln!(out, "  self-test    {agreeing} of {} as known", count(report.answers.len(), "output"))?;
    let row = |answer: &Answer| {
        let result = answer.difference.clone().unwrap_or_else(|| "agrees".to_owned());
        vec![answer.vector.to_string(), answer.output.clone(), result]
    };
    writeln!(out, "{}", table(&["vector", "output", "result"], &[0], report.answers.iter().map(row).collect()))
}
