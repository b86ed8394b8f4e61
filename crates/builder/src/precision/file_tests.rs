//! The rewrite as data: `tests/precision/*.ir` contain a network, a precision, and the network in it.
//!
//! A file: `# precision: NAME`, lines `# layer: NAME=PRECISION`, a network, a line `==>`, the narrow network with its casts
//! merged, counts, and a line for each node that stays in f32. `SINTER_BLESS=1` writes the second half. The reference executor
//! runs both networks, and the outputs must meet the bound of the precision.

use std::collections::BTreeSet;
use std::path::Path;

use sinter_ir::Network;
use sinter_testkit::file_tests::{check, files};

use crate::precision::request::PrecisionOptions;
use crate::precision::{Stage, cleaned};
use crate::sizes::SizeHints;
use crate::verify::{Verify, answers};

/// Memory that the reference executor may use.
const MEMORY: u64 = 1 << 30;

fn options_of(given: &str) -> Result<PrecisionOptions, String> {
    let mut options = PrecisionOptions::default();
    for line in given.lines() {
        if let Some(precision) = line.strip_prefix("# precision:") {
            options.network = precision.trim().parse()?;
        } else if let Some((name, precision)) = line.strip_prefix("# layer:").and_then(|text| text.split_once('=')) {
            options.layers.push((name.trim().to_owned(), precision.trim().parse()?));
        }
    }
    Ok(options)
}

fn result_of(given: &str) -> Result<String, String> {
    let network: Network = given.parse().map_err(|e: sinter_ir::TextError| e.to_string())?;
    let options = options_of(given)?;
    let known = answers(&network, &Verify::Generated, &SizeHints::default(), MEMORY)?;
    let stage = Stage { imported: &network, network: &network, options: &options };
    let narrowed = stage.narrowed(Some(&known)).map_err(|e| e.to_string())?;
    let mut narrowed = narrowed.ok_or("it asks for no other precision than the model's")?;
    narrowed.answers(&known).map_err(|e| e.to_string())?;
    let optimized = cleaned(&narrowed.network, &BTreeSet::new()).map_err(|e| e.to_string())?;
    let mut text = optimized.network.to_string();
    let report = &narrowed.report;
    text.push_str(&format!("# narrow {}, casts {}\n", report.narrow, report.casts));
    for node in &report.kept {
        let range = if node.is_range { " (range)" } else { "" };
        text.push_str(&format!("# in f32{range} {}: {}\n", node.operator, node.reason));
    }
    Ok(text)
}

#[test]
fn networks_become_what_the_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/precision");
    check(&files(&folder), 10, result_of);
}
