//! Passes as data: `tests/passes/*.ir` contain a network, the passes to run, and the network after them.
//!
//! A file: `# passes: NAME, ...`, a network, a line `==>`, the network after the passes, and lines `# fired NAME N` and
//! `# miss NAME: reason`. `SINTER_BLESS=1` writes the second half. The reference executor runs both networks, and the
//! test compares the results, except where a line `# not run: reason` says that synthetic inputs would be invalid.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use sinter_base::{DataType, Tensor, Value};
use sinter_interp::agreement::{Tolerance, compare};
use sinter_interp::inputs::{FreeSizes, generate};
use sinter_interp::run;
use sinter_ir::Network;
use sinter_passes::run_passes;
use sinter_testkit::file_tests::{self, check, halves};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/passes")
}

fn files() -> Vec<PathBuf> {
    file_tests::files(&folder())
}

/// The network of a file and the passes to run over it.
fn parsed(given: &str) -> Result<(Network, Vec<&str>), String> {
    let passes = given.lines().find_map(|line| line.strip_prefix("# passes:")).ok_or("it names no passes")?;
    let network = given.parse().map_err(|e: sinter_ir::TextError| e.to_string())?;
    Ok((network, passes.split(',').map(str::trim).collect()))
}

fn result_of(given: &str) -> Result<String, String> {
    let (network, names) = parsed(given)?;
    let optimized = run_passes(network, &names).map_err(|e| e.to_string())?;
    let mut text = optimized.network.to_string();
    for report in &optimized.report {
        text.push_str(&format!("# fired {} {}\n", report.pass, report.fired));
        for (_, reason) in &report.misses {
            text.push_str(&format!("# miss {}: {reason}\n", report.pass));
        }
    }
    Ok(text)
}

#[test]
fn passes_do_what_the_files_say() {
    check(&files(), 20, result_of);
}

/// The reference executor computes the same before and after, with 3 for every dynamic dimension and conditions of both
/// kinds.
fn check_results(given: &str) -> Result<(), String> {
    let (network, names) = parsed(given)?;
    let mut inputs = generate(&network, FreeSizes::all(3))?;
    for tensor in inputs.values_mut().filter_map(|value| match value {
        Value::Tensor(tensor) if tensor.data_type() == DataType::Bool => Some(tensor),
        _ => None,
    }) {
        let bits: Vec<f64> = (0..tensor.count()).map(|i| f64::from(u8::from(i % 4 != 1))).collect();
        *tensor = Tensor::from_floats(DataType::Bool, tensor.sizes(), &bits).map_err(|e| e.to_string())?;
    }
    same_results(network, &names, &inputs)
}

fn same_results(network: Network, names: &[&str], inputs: &HashMap<String, Value>) -> Result<(), String> {
    let expected = run(&network, inputs).map_err(|e| format!("before: {e}"))?;
    let optimized = run_passes(network, names).map_err(|e| e.to_string())?;
    let found = run(&optimized.network, inputs).map_err(|e| format!("after: {e}"))?;
    found.iter().zip(&expected).try_for_each(|(found, expected)| {
        // Results in half precision were rounded after every node before.
        let is_half = expected.as_tensor().is_some_and(|tensor| tensor.data_type().bits() < 32);
        let tolerance = Tolerance { relative: 1e-4, absolute: if is_half { 2e-3 } else { 1e-6 } };
        compare(found, expected, tolerance).map_err(|e| e.to_string())
    })
}

#[test]
fn files_compute_the_same() {
    let failures: Vec<String> = files()
        .iter()
        .filter_map(|path| {
            let text = std::fs::read_to_string(path).expect("a readable file");
            let given = halves(&text).0;
            let reason = check_results(given).err().filter(|_| !given.contains("# not run:"))?;
            Some(format!("{}: {reason}", path.display()))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// An activation is what its formula is where the formula has no number, and where its parts overflow.
#[test]
fn activations_have_no_other_values_at_the_ends() {
    let special = [f64::NEG_INFINITY, f64::INFINITY, f64::NAN, -1e30, 1e30, -200.0, -0.0, 40.0];
    let mut count = 0;
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let given = halves(&text).0;
        if !text.lines().any(|line| line.strip_prefix("# fired activations ").is_some_and(|count| count != "0")) {
            continue;
        }
        let (network, names) = parsed(given).expect("a network");
        let mut inputs = generate(&network, FreeSizes::all(2)).expect("inputs");
        for value in inputs.values_mut() {
            let tensor = value.as_tensor().expect("a tensor");
            let values: Vec<f64> = special.iter().copied().cycle().take(tensor.count()).collect();
            assert!(values.len() >= special.len(), "{}", path.display());
            *value = Tensor::from_floats(tensor.data_type(), tensor.sizes(), &values).expect("as many").into();
        }
        same_results(network, &names, &inputs).unwrap_or_else(|reason| panic!("{}: {reason}", path.display()));
        count += 1;
    }
    assert!(count >= 5, "only {count} files");
}

/// Every pass that looks at nodes fires in one file at least; every one that can refuse refuses in one.
#[test]
fn every_pass_has_a_file() {
    let texts: Vec<String> =
        files().iter().map(|path| std::fs::read_to_string(path).expect("a readable file")).collect();
    let missing: Vec<&str> = sinter_passes::pass_names()
        .into_iter()
        .filter(|name| {
            let fired = format!("# fired {name} ");
            !texts.iter().any(|t| t.lines().any(|l| l.strip_prefix(&fired).is_some_and(|count| count != "0")))
        })
        .collect();
    assert!(missing.is_empty(), "no file shows what these passes do: {}", missing.join(", "));
}
