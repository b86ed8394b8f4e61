//! `docs/operators.md`: which kernels of the CPU back end take which operator, for which element types of its first
//! operand. Made from the regions of the ONNX node tests, for a fixed device, so that every machine makes the same page.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sinter_backend::{BackEnd, Device, Region};
use sinter_base::ValueType;
use sinter_cpu::Cpu;
use sinter_ops::Body;

use crate::onnx_cases::{Case, cases};

/// The device of the page: the highest tier, one thread.
fn device() -> Device {
    Device { back_end: "cpu".to_owned(), tier: "avx512".to_owned(), threads: 1 }
}

/// Types and kernels of one operator.
#[derive(Default)]
struct Row {
    types: BTreeSet<String>,
    kernels: BTreeSet<&'static str>,
}

fn collect(body: &Body, rows: &mut BTreeMap<&'static str, Row>) {
    for node in body.nodes() {
        let inputs: Vec<Option<ValueType>> = node.inputs.iter().map(|id| id.map(|id| body.ty(id).clone())).collect();
        let outputs: Vec<ValueType> = node.outputs.iter().map(|id| body.ty(*id).clone()).collect();
        for inner in node.op.bodies() {
            collect(inner, rows);
        }
        if !node.op.bodies().is_empty() {
            continue;
        }
        let first = inputs.iter().flatten().chain(&outputs).next().map(|ty| ty.data_type().to_string());
        let row = rows.entry(node.op.name()).or_default();
        row.types.extend(first);
        let region = Region::single(node.op.clone(), &inputs, outputs);
        let takers = Cpu.tactics().into_iter().filter(|tactic| tactic.offer(&region, &device()).is_ok());
        row.kernels.extend(takers.map(|tactic| tactic.name()));
    }
}

/// The page.
///
/// # Errors
/// When the test data cannot be read.
pub fn page(data: &Path) -> std::io::Result<String> {
    let mut rows = BTreeMap::new();
    for folder in cases(data, "node")? {
        if let Ok(case) = Case::load(&folder) {
            collect(&case.network.body, &mut rows);
        }
    }
    let mut text = "# Operators and their CPU kernels\n\n\
        Made by `cargo xtask docs` from the ONNX node tests: for each operator of the catalog, the element types of its\n\
        first operand that the tests reach, and the kernels that take it. Control flow (If, Loop, Scan) runs in the\n\
        runtime itself.\n\n| operator | element types | kernels |\n|---|---|---|\n"
        .to_owned();
    for (name, row) in rows {
        let list = |items: Vec<String>| items.join(", ");
        let types = list(row.types.into_iter().collect());
        let kernels = list(row.kernels.into_iter().map(|kernel| format!("`{kernel}`")).collect());
        text.push_str(&format!("| {name} | {types} | {kernels} |\n"));
    }
    Ok(text)
}
