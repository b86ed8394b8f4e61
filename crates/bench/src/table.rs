//! The table: every example of the catalog with every candidate of every tactic that takes it.

use std::fmt;

use serde_json::{Value as Json, json};
use sinter_backend::{BackEnd, Candidate, Device, Loaded, Region, Tactic};
use sinter_base::{Attr, Dim};
use sinter_builder::harness::{Setup, packed_operands};
use sinter_conformance::kernels::offers;
use sinter_conformance::other_types::{Problem, problems};
use sinter_cpu::Cpu;
use sinter_ops::{Operands, catalog};

use crate::clock::time;

/// What to time.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only rows whose operator, example, type or tactic contains one of these; all when empty.
    pub filters: Vec<String>,
    /// Every element type that `infer` takes, not only the examples' own.
    pub every_type: bool,
    /// Rounds per row, of which the median counts.
    pub rounds: usize,
    /// Threads of a kernel.
    pub threads: usize,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Operator of the catalog.
    pub operator: &'static str,
    /// Its example.
    pub example: &'static str,
    /// Element type of the first operand.
    pub data_type: String,
    /// Who computes it.
    pub tactic: &'static str,
    /// The recipe's parameters; empty when there are none.
    pub parameters: String,
    /// Of one launch.
    pub nanoseconds: f64,
    /// Arithmetic operations by the operator's cost.
    pub operations: f64,
    /// Bytes read and written at least, by the operator's cost.
    pub bytes: f64,
}

impl Row {
    /// The row for programs. Operations and bytes per nanosecond are billions per second.
    pub fn json(&self) -> Json {
        json!({
            "operator": self.operator, "example": self.example, "data_type": self.data_type, "tactic": self.tactic,
            "parameters": self.parameters, "ns": self.nanoseconds,
            "gflop_per_s": self.operations / self.nanoseconds, "gbyte_per_s": self.bytes / self.nanoseconds,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nanoseconds, operations, bytes, .. } = self;
        let (flops, rate) = (operations / nanoseconds, bytes / nanoseconds);
        write!(f, "{nanoseconds:>12.0} {flops:>9.2} {rate:>9.2}  {:<10} {}", self.data_type, self.tactic)?;
        if !self.parameters.is_empty() {
            write!(f, " {}", self.parameters)?;
        }
        write!(f, "  {} '{}'", self.operator, self.example)
    }
}

/// Heads of the columns of a row.
pub const HEAD: &str = "          ns   GFLOP/s      GB/s  type       tactic, operator and example";

/// Operations and bytes of a region whose sizes are known.
fn cost(region: &Region) -> (f64, f64) {
    let body = region.body();
    let number = |dim: &Dim| dim.as_constant().unwrap_or(0) as f64;
    body.nodes().iter().fold((0.0, 0.0), |(operations, bytes), node| {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        let cost = node.op.cost(&Operands::new(&inputs), &outputs);
        (operations + number(&cost.operations), bytes + number(&cost.bytes))
    })
}

/// Nanoseconds of one launch.
fn launch_time(
    tactic: &dyn Tactic,
    candidate: &Candidate,
    Problem { region, values }: &Problem,
    (device, rounds): (&dyn Device, usize),
) -> Result<f64, String> {
    let code = tactic.compile(&candidate.recipe, region, device.target()).map_err(|e| e.to_string())?;
    match device.load(&candidate.recipe, region, code.as_ref()).map_err(|e| e.to_string())? {
        Loaded::Values(kernel) => time(rounds, || kernel.run(values).map(drop)).map_err(|e| e.to_string()),
        Loaded::Kernel(kernel) => {
            let workspace = candidate.workspace.as_constant().and_then(|b| usize::try_from(b).ok()).unwrap_or(0);
            let operands = packed_operands(tactic, candidate, region, values).map_err(|e| e.to_string())?;
            let setup = Setup::new(device, &region.body().output_types(), &operands, workspace);
            let mut setup = setup.map_err(|e| e.to_string())?;
            time(rounds, || setup.launch(kernel).map(drop)).map_err(|e| e.to_string())
        }
    }
}

/// Times everything that the options choose and hands on each row as soon as it is known.
///
/// # Errors
/// A kernel that fails on a problem that it offered to take, and what `take` says.
pub fn measure(options: &Options, take: &mut dyn FnMut(Row) -> Result<(), String>) -> Result<(), String> {
    let device = Cpu.open(options.threads).map_err(|e| e.to_string())?;
    for info in catalog::ALL {
        for example in info.examples() {
            let own = problems(&example, 1).into_iter().rev();
            for problem in own.take(if options.every_type { usize::MAX } else { 1 }) {
                let data_type = problem.data_type().map(|ty| ty.to_string()).unwrap_or_default();
                for tactic in Cpu.tactics() {
                    let names = [info.name, example.name, &data_type, tactic.name()];
                    let chosen = |filter: &String| names.iter().any(|name| name.contains(filter.as_str()));
                    if !options.filters.is_empty() && !options.filters.iter().any(chosen) {
                        continue;
                    }
                    for candidate in offers(tactic, &problem.region, device.target()).unwrap_or_default() {
                        let with = (&*device, options.rounds);
                        let nanoseconds = launch_time(tactic, &candidate, &problem, with)
                            .map_err(|e| format!("{} on {} '{}': {e}", tactic.name(), info.name, example.name))?;
                        let (operations, bytes) = cost(&problem.region);
                        let parameters = match &candidate.recipe.parameters {
                            Attr::Absent => String::new(),
                            parameters => parameters.to_string(),
                        };
                        take(Row {
                            operator: info.name,
                            example: example.name,
                            data_type: data_type.clone(),
                            tactic: tactic.name(),
                            parameters,
                            nanoseconds,
                            operations,
                            bytes,
                        })?;
                    }
                }
            }
        }
    }
    Ok(())
}
