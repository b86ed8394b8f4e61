//! `docs/operators.md`: for every operator of the catalog, the element types that the CPU back end has a kernel for and
//! the kernels, with marks for what the ONNX node tests exercise. Made for a fixed device, so that every machine makes
//! the same page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sinter_backend::{BackEnd, Device, KernelError, Problem, Proposer, Region, Sizing, Tactic, Target};
use sinter_base::{DataType, ValueType};
use sinter_builder::{BuildOptions, Verify, build};
use sinter_cpu::{Cpu, Tier};
use sinter_ir::Network;
use sinter_ops::{Body, catalog};
use sinter_plan::{Action, Graph};

use crate::onnx_cases::{Case, cases};
use crate::other_types::problems;

const HEAD: &str = "\
# Operators and their CPU kernels

`cargo xtask docs` writes this page: for each operator of the catalog, the element types of its first operand (of its
result, where it has none) for which the CPU has a kernel, and the kernels.

The ONNX node tests exercise the **bold** entries: their networks contain the operator at this type, and their plans
compute it with this kernel, alone or in a fused region. The other entries follow from the catalog's examples: a test
compares every kernel here at every type here with the reference. Only the node tests cover scales (f8e8m0).

";

/// Types that the page names together.
const GROUPS: &[(&str, &[DataType])] = &[
    ("floats", &[DataType::F64, DataType::F32, DataType::F16, DataType::Bf16]),
    (
        "small floats",
        &[DataType::F8E4M3FN, DataType::F8E4M3FNUZ, DataType::F8E5M2, DataType::F8E5M2FNUZ, DataType::F4E2M1],
    ),
    (
        "integers",
        &[
            DataType::I64,
            DataType::I32,
            DataType::I16,
            DataType::I8,
            DataType::U64,
            DataType::U32,
            DataType::U16,
            DataType::U8,
        ],
    ),
    ("small integers", &[DataType::I4, DataType::I2, DataType::U4, DataType::U2]),
];

/// The entry of the page for an operator without a kernel.
const RUNTIME: &str = "runtime";
const PLACED: &str = "placed";

/// The CPU with the highest tier, on any machine.
struct Paper;

impl BackEnd for Paper {
    fn name(&self) -> &str {
        Cpu.name()
    }

    fn target(&self, threads: usize) -> Target {
        Tier::Avx512.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Cpu.tactics()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Cpu.open(threads)
    }
}

/// Each name with a mark: do the node tests exercise it?
type Marked<K> = BTreeMap<K, bool>;

/// Types and kernels of one operator.
#[derive(Default)]
struct Row {
    types: Marked<DataType>,
    kernels: Marked<String>,
}

impl Row {
    /// Records the tactics that take a region; is there any?
    fn ask(&mut self, region: &Region) -> bool {
        let (target, sizing) = (Paper.target(1), Sizing::default());
        let problem = Problem { region, target: &target, sizing: &sizing };
        let takers = Paper.tactics().into_iter().filter(|tactic| tactic.offer(&problem, 1).is_ok());
        let names: BTreeSet<String> = takers.map(|tactic| tactic.name().to_owned()).collect();
        let found = !names.is_empty();
        for name in names {
            self.kernels.entry(name).or_default();
        }
        found
    }
}

type Rows = BTreeMap<&'static str, Row>;

/// Adds the kernels of the catalog's own examples.
fn by_examples(rows: &mut Rows) {
    for info in catalog::ALL {
        let row = rows.entry(info.name).or_default();
        for problem in info.examples().iter().flat_map(|example| problems(example, 1)) {
            if row.ask(&problem.region) {
                row.types.extend(problem.data_type().map(|data_type| (data_type, false)));
            }
        }
    }
}

/// The operators of a test's network.
fn by_network(body: &Body, rows: &mut Rows) {
    for node in body.nodes() {
        let inputs: Vec<Option<ValueType>> = node.inputs.iter().map(|id| id.map(|id| body.ty(id).clone())).collect();
        let outputs: Vec<ValueType> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        let first = inputs.iter().flatten().chain(&outputs).next().map(ValueType::data_type);
        let bodies = node.op.bodies();
        let row = rows.entry(node.op.name()).or_default();
        if !bodies.is_empty() || row.ask(&Region::single(node.op.clone(), &inputs, outputs)) {
            row.types.extend(first.map(|data_type| (data_type, true)));
        }
        bodies.into_iter().for_each(|inner| by_network(inner, rows));
    }
}

/// The kernels of a test's plan.
fn by_plan(network: &Network, rows: &mut Rows) -> Result<(), String> {
    let options = BuildOptions { threads: 1, verify: Verify::Off, ..BuildOptions::default() };
    let graph: Graph = build(network, &Paper, options).map_err(|e| e.to_string())?.plan.graph;
    graph.visit_steps(&mut |step| {
        let tactic = match &step.action {
            Action::Launch(launch) => launch.general.recipe.tactic.as_str(),
            Action::Alias { .. } => PLACED,
            Action::Control { .. } | Action::Copy | Action::Sync => RUNTIME,
        };
        for node in step.region().into_iter().flat_map(|region| region.body().nodes()) {
            rows.entry(node.op.name()).or_default().kernels.insert(tactic.to_owned(), true);
        }
    });
    Ok(())
}

/// The types, those that tests exercise first, the others by groups.
fn types_of(marked: &Marked<DataType>) -> String {
    let mut texts: Vec<String> = marked.iter().filter(|(_, bold)| **bold).map(|(ty, _)| format!("**{ty}**")).collect();
    let mut rest: Vec<DataType> = marked.iter().filter(|(_, bold)| !**bold).map(|(ty, _)| *ty).collect();
    for (name, members) in GROUPS {
        let plain = rest.iter().filter(|ty| members.contains(ty)).count();
        if plain > 1 && members.iter().all(|ty| marked.contains_key(ty)) {
            texts.push((*name).to_owned());
            rest.retain(|ty| !members.contains(ty));
        }
    }
    texts.extend(rest.iter().map(DataType::to_string));
    texts.join(", ")
}

fn kernels_of(marked: &Marked<String>) -> String {
    let text = |(name, bold): (&String, &bool)| match *bold {
        true => format!("**`{name}`**"),
        false => format!("`{name}`"),
    };
    marked.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// The legend of the page, and the kernels that compute no single operator.
fn legend(rows: &Rows) -> String {
    let groups = GROUPS.iter().map(|(name, members)| {
        let members: Vec<String> = members.iter().map(DataType::to_string).collect();
        format!("{name} {}", members.join(", "))
    });
    let groups = groups.collect::<Vec<_>>().join("; ");
    let fused = Paper.tactics().into_iter().map(|tactic| tactic.name());
    let fused = fused.filter(|name| !rows.values().any(|row| row.kernels.contains_key(*name)));
    let fused: Vec<String> = fused.map(|name| format!("`{name}`")).collect();
    format!(
        "- Groups of types, which exclude the bold ones before them: {groups}.\n\
        - `{RUNTIME}` is control flow, `{PLACED}` a concatenation or slice that moves no element.\n\
        - Kernels of fused regions that no node test contains: {}.\n",
        fused.join(", ")
    )
}

/// The page.
///
/// # Errors
/// When the test data cannot be read, or a network of it has no plan.
pub fn page(data: &Path) -> Result<String, String> {
    let mut rows = Rows::new();
    by_examples(&mut rows);
    for folder in cases(data, "node").map_err(|e| e.to_string())? {
        if let Ok(case) = Case::load(&folder) {
            by_network(&case.network.body, &mut rows);
            by_plan(&case.network, &mut rows).map_err(|e| format!("{}: {e}", case.name))?;
        }
    }
    let lines = rows
        .iter()
        .map(|(name, Row { types, kernels })| format!("| {name} | {} | {} |\n", types_of(types), kernels_of(kernels)));
    let table = format!("\n| operator | element types | kernels |\n|---|---|---|\n{}", lines.collect::<String>());
    Ok(HEAD.to_owned() + &legend(&rows) + &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_come_in_groups_unless_one_is_missing() {
        let marked = |types: &[DataType], bold: &[DataType]| {
            types.iter().map(|ty| (*ty, bold.contains(ty))).collect::<Marked<DataType>>()
        };
        let floats = GROUPS[0].1;
        assert_eq!(types_of(&marked(floats, &[DataType::F32])), "**f32**, floats");
        assert_eq!(types_of(&marked(&floats[..2], &[])), "f64, f32");
        assert_eq!(types_of(&marked(floats, floats)), "**f64**, **f32**, **f16**, **bf16**");
    }
}
