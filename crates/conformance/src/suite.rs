//! Runs a suite of ONNX cases in one way: by a machine (reference executor, engine, lean program) and as a variant.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use sinter_base::Value;
use sinter_interp::{FastEvaluator, Tolerance, compare, run, run_with};
use sinter_ir::Network;
use sinter_lean::client::LeanProgram;

use crate::engine::{built_for_the_gpu, checked, lean_program, run_here, run_lean};
use crate::onnx_cases::{Case, Failure, cases, ignored};
use crate::rules::Rule;
use crate::variants::{Variant, embedded, is_float_case, symbolic};
use sinter_testkit::Random;

/// The program that computes the outputs.
pub enum Machine {
    /// The reference executor, by the plain reference.
    Judge,
    /// The reference executor, by its fast evaluator.
    FastJudge,
    /// The built engine, in this process.
    Engine,
    /// The built engine's plan in the lean program.
    Lean(LeanProgram),
    /// As the engine, on the first NVIDIA GPU; what has no kernel there runs on the processor.
    Gpu,
}

impl Machine {
    /// Starts the lean program on an instruction set tier, the machine's own when `None`.
    ///
    /// # Errors
    /// When it cannot be compiled or started.
    pub fn lean(tier: Option<&str>) -> Result<Self, String> {
        LeanProgram::start(&lean_program()?, tier).map(Self::Lean).map_err(|e| e.to_string())
    }

    /// Computes the outputs, and adds the tactics of the plan to `tactics`.
    fn run(
        &mut self,
        network: &Network,
        inputs: &HashMap<String, Value>,
        tactics: &mut BTreeSet<String>,
    ) -> Result<Vec<Value>, String> {
        let is_gpu = matches!(self, Self::Gpu);
        let mut plan = || {
            let plan = if is_gpu { built_for_the_gpu(network)? } else { checked(network)? };
            tactics.extend(plan.tactics().into_iter().map(str::to_owned));
            Ok::<_, String>(plan)
        };
        match self {
            Self::Judge => run(network, inputs).map_err(|e| e.to_string()),
            Self::FastJudge => judged(network, inputs),
            Self::Engine | Self::Gpu => run_here(&plan()?, inputs),
            Self::Lean(program) => run_lean(program, &plan()?, inputs),
        }
    }

    /// Do kernels compute its results, rather than the reference executor?
    pub fn has_kernels(&self) -> bool {
        matches!(self, Self::Engine | Self::Lean(_) | Self::Gpu)
    }
}

fn judged(network: &Network, inputs: &HashMap<String, Value>) -> Result<Vec<Value>, String> {
    run_with(network, inputs, &FastEvaluator).map_err(|e| e.to_string())
}

/// The selected cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The case as it is.
    Plain,
    /// With all input dimensions symbolic.
    Symbolic,
    /// Between random neighbours, by a seed.
    Embedded(u64),
}

impl Form {
    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Form::Plain => "plain",
            Form::Symbolic => "symbolic",
            Form::Embedded(_) => "embedded",
        }
    }
}

/// Which cases of a suite.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Names that contain one of these; empty for all.
    pub filters: Vec<String>,
    /// One of so many, chosen by a seed; 0 and 1 for all.
    pub one_of: usize,
    /// The seed.
    pub seed: u64,
    /// The cases of one process among several: its number, and how many there are; `None` for all.
    pub part: Option<(usize, usize)>,
}

impl Selection {
    fn takes(&self, name: &str) -> bool {
        let named = self.filters.is_empty() || self.filters.iter().any(|f| name.contains(f));
        named && (self.one_of < 2 || Random::of(name, self.seed).below(self.one_of) == 0)
    }
}

/// The results of a suite.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that passed.
    pub passed: usize,
    /// (case, what is wrong), a case of the ignore list that passes included.
    pub failed: Vec<(String, String)>,
    /// Why cases have no such form, with numbers.
    pub skipped: BTreeMap<String, usize>,
    /// Cases that the ignore list excuses.
    pub ignored: usize,
    /// Tactics that computed each passed case, by its name: none where the reference executor computed it, or where
    /// nothing is left to compute.
    pub tactics: BTreeMap<String, BTreeSet<String>>,
}

/// Runs a suite.
///
/// # Errors
/// When its folder cannot be read.
pub fn run_suite(
    data: &Path,
    suite: &str,
    machine: &mut Machine,
    form: Form,
    selection: &Selection,
) -> std::io::Result<Report> {
    let (ignored, mut report) = (ignored(), Report::default());
    for (at, folder) in cases(data, suite)?.into_iter().enumerate() {
        if selection.part.is_some_and(|(number, count)| at % count.max(1) != number) {
            continue;
        }
        let name = format!("{suite}/{}", folder.file_name().unwrap_or_default().to_string_lossy());
        if !selection.takes(&name) {
            continue;
        }
        match (run_one(&folder, machine, form), ignored.contains_key(name.as_str())) {
            // The reference computes the expected values of an embedded case, so the ignore list, which is about the
            // data, does not apply.
            (Ok(Outcome::Passed(tactics)), is_ignored) if !is_ignored || matches!(form, Form::Embedded(_)) => {
                report.passed += 1;
                report.tactics.insert(name, tactics);
            }
            (Ok(Outcome::Passed(_)), _) => {
                report.failed.push((name, "it passes, but stands in ignored.txt".to_owned()))
            }
            (Ok(Outcome::Skipped(reason)), _) => *report.skipped.entry(reason).or_default() += 1,
            (Err(_), true) => report.ignored += 1,
            (Err(failure), false) => report.failed.push((name, failure.to_string())),
        }
    }
    Ok(report)
}

enum Outcome {
    /// By these tactics.
    Passed(BTreeSet<String>),
    Skipped(String),
}

fn run_one(folder: &Path, machine: &mut Machine, form: Form) -> Result<Outcome, Failure> {
    let (case, mut tactics) = (Case::load(folder)?, BTreeSet::new());
    let variant = match form {
        Form::Plain => {
            case.run(&mut |network, inputs| machine.run(network, inputs, &mut tactics))?;
            return Ok(Outcome::Passed(tactics));
        }
        _ if !is_float_case(&case) => return Ok(Outcome::Skipped("no floats".to_owned())),
        Form::Symbolic => symbolic(&case),
        Form::Embedded(_) if matches!(case.rule, Rule::Draws | Rule::Dropout) => {
            return Ok(Outcome::Skipped("random".to_owned()));
        }
        Form::Embedded(seed) => embedded(&case, seed),
    };
    let Variant { network, inputs } = match variant {
        Ok(variant) => variant,
        Err(reason) => return Ok(Outcome::Skipped(reason)),
    };
    for (set, (given, data)) in inputs.iter().zip(&case.sets).enumerate() {
        let failure = |(index, reason)| Failure::Result { set, index, reason };
        let found = machine.run(&network, given, &mut tactics).map_err(Failure::Run)?;
        if form == Form::Symbolic {
            case.rule.judge(&network, given, &found, &data.expected).map_err(failure)?;
            continue;
        }
        let expected = judged(&network, given).map_err(Failure::Run)?;
        let tolerance = match case.rule {
            Rule::Within(tolerance) => tolerance,
            _ => Tolerance::ONNX,
        };
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            compare(found, expected, tolerance).map_err(|e| failure((index, e.to_string())))?;
        }
    }
    Ok(Outcome::Passed(tactics))
}
