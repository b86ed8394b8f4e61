//! THE order of the passes.
//!
//! A group runs until nothing changes, at most [`MAX_ROUNDS`] times: each round may enable rewrites of the next one,
//! and a network that still changes after the last round is correct too.

use std::collections::BTreeSet;
use std::fmt;

use sinter_ir::Network;

use crate::error::PassError;
use crate::pass::{Pass, PassReport, Runner};
use crate::{
    activations, attention, attention_layout, broadcasts, channel_scales, common_subexpressions, dead_code,
    fold_constants, identities, merge_pointwise, merge_products, normalizations, quantize_motion, quantized_operands,
    reshapes, rotary_embedding, selections, softmax, split_pointwise, transposes,
};

/// Rounds of a group.
const MAX_ROUNDS: usize = 8;

const DEAD_CODE: Pass = Pass::body("dead-code", dead_code::sweep);
const FOLD_CONSTANTS: Pass = Pass::node("fold-constants", fold_constants::rewrite);
const IDENTITIES: Pass = Pass::node("identities", identities::rewrite);
const COMMON_SUBEXPRESSIONS: Pass = Pass::body("common-subexpressions", common_subexpressions::sweep);
const SPLIT_POINTWISE: Pass = Pass::node("split-pointwise", split_pointwise::rewrite);
const RESHAPES: Pass = Pass::node("reshapes", reshapes::rewrite);
const SELECTIONS: Pass = Pass::node("selections", selections::rewrite);
const TRANSPOSES: Pass = Pass::node("transposes", transposes::rewrite);
const BROADCASTS: Pass = Pass::node("broadcasts", broadcasts::rewrite);
const ACTIVATIONS: Pass = Pass::node("activations", activations::rewrite);
const NORMALIZATIONS: Pass = Pass::node("normalizations", normalizations::rewrite);
const SOFTMAX: Pass = Pass::node("softmax", softmax::rewrite);
const ROTARY_EMBEDDING: Pass = Pass::node("rotary-embedding", rotary_embedding::rewrite);
const ATTENTION: Pass = Pass::node("attention", attention::rewrite);
const ATTENTION_LAYOUT: Pass = Pass::node("attention-layout", attention_layout::rewrite);
const QUANTIZE_MOTION: Pass = Pass::node("quantize-motion", quantize_motion::rewrite);
const QUANTIZED_OPERANDS: Pass = Pass::node("quantized-operands", quantized_operands::rewrite);
const CHANNEL_SCALES: Pass = Pass::node("channel-scales", channel_scales::rewrite);
const MERGE_PRODUCTS: Pass = Pass::node("merge-products", merge_products::rewrite);
const MERGE_POINTWISE: Pass = Pass::body("merge-pointwise", merge_pointwise::sweep);

/// Groups of passes in order.
pub const GROUPS: &[(&str, &[Pass])] = &[
    ("import clean-up", &[DEAD_CODE, IDENTITIES, FOLD_CONSTANTS, COMMON_SUBEXPRESSIONS]),
    ("normal form", &[SPLIT_POINTWISE, IDENTITIES, FOLD_CONSTANTS, COMMON_SUBEXPRESSIONS]),
    ("shapes", &[RESHAPES, SELECTIONS, TRANSPOSES, BROADCASTS, IDENTITIES, FOLD_CONSTANTS, COMMON_SUBEXPRESSIONS]),
    ("recognisers", &[ACTIVATIONS, NORMALIZATIONS, SOFTMAX, ROTARY_EMBEDDING, ATTENTION]),
    (
        "shapes again",
        &[RESHAPES, SELECTIONS, TRANSPOSES, IDENTITIES, FOLD_CONSTANTS, COMMON_SUBEXPRESSIONS, ATTENTION_LAYOUT],
    ),
    ("weights", &[CHANNEL_SCALES]),
    ("products", &[MERGE_PRODUCTS]),
    ("quantization", &[QUANTIZE_MOTION, FOLD_CONSTANTS, COMMON_SUBEXPRESSIONS]),
    ("programs", &[MERGE_POINTWISE]),
    ("final clean-up", &[FOLD_CONSTANTS, COMMON_SUBEXPRESSIONS, DEAD_CODE]),
    ("quantized operands", &[QUANTIZED_OPERANDS]),
];

/// A callback for the network after a pass, with the name of the pass.
pub type Dump<'a> = &'a mut dyn FnMut(&str, &Network);

/// The user's options for the passes.
#[derive(Default)]
pub struct PassOptions<'a> {
    /// Passes that do not run.
    pub disabled: BTreeSet<String>,
    /// `dump` gets the network after every run of this pass.
    pub dump_after: Option<String>,
    /// Receives networks.
    pub dump: Option<Dump<'a>>,
}

impl fmt::Debug for PassOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PassOptions {{ disabled: {:?}, dump_after: {:?} }}", self.disabled, self.dump_after)
    }
}

/// A network after the passes.
#[derive(Clone, Debug)]
pub struct Optimized {
    /// The network.
    pub network: Network,
    /// The report of every pass, in order of first appearance.
    pub report: Vec<PassReport>,
}

/// Names of all passes, in order of first appearance.
pub fn pass_names() -> Vec<&'static str> {
    let mut names = Vec::new();
    for pass in GROUPS.iter().flat_map(|(_, passes)| *passes) {
        if !names.contains(&pass.name) {
            names.push(pass.name);
        }
    }
    names
}

/// Runs all passes over a network.
///
/// # Errors
/// When an option names no pass, the given network is invalid, or a pass has a bug.
pub fn optimize(network: Network, options: PassOptions<'_>) -> Result<Optimized, PassError> {
    run_groups(network, GROUPS, options)
}

/// Runs some passes over a network, as one group: for tests and tools.
///
/// # Errors
/// As [`optimize`].
pub fn run_passes(network: Network, names: &[&str]) -> Result<Optimized, PassError> {
    let mut passes = Vec::new();
    for name in names {
        let found = GROUPS.iter().flat_map(|(_, passes)| *passes).find(|pass| pass.name == *name);
        passes.push(*found.ok_or_else(|| unknown(name))?);
    }
    run_groups(network, &[("selected", &passes)], PassOptions::default())
}

fn unknown(name: &str) -> PassError {
    PassError::Unknown { name: name.to_owned(), known: pass_names().join(", ") }
}

fn run_groups(
    network: Network,
    groups: &[(&str, &[Pass])],
    mut options: PassOptions<'_>,
) -> Result<Optimized, PassError> {
    let names = pass_names();
    if let Some(name) = options.disabled.iter().chain(&options.dump_after).find(|n| !names.contains(&n.as_str())) {
        return Err(unknown(name));
    }
    let mut runner = Runner::new(network)?;
    let mut report: Vec<PassReport> = Vec::new();
    for (_, passes) in groups {
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            for pass in passes.iter().filter(|pass| !options.disabled.contains(pass.name)) {
                let position = report.iter().position(|entry| entry.pass == pass.name).unwrap_or_else(|| {
                    report.push(PassReport { pass: pass.name, ..PassReport::default() });
                    report.len() - 1
                });
                let entry = &mut report[position];
                changed |= runner.run(pass, entry)?;
                if options.dump_after.as_deref() == Some(pass.name)
                    && let Some(dump) = &mut options.dump
                {
                    dump(pass.name, &runner.network);
                }
            }
            if !changed {
                break;
            }
        }
    }
    Ok(Optimized { network: runner.network, report })
}
