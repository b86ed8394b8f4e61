//! Low precision: a stage of the build between the passes and the choice of kernels, which gives f32 values the storage f16
//! or bf16.
//!
//! It is no pass: a pass keeps the meaning of a network up to the order of sums, and this stage trades accuracy for speed on
//! request. It needs the reference executor's values, too, to find what exceeds the range of a type. What follows in the build
//! regards the narrow network as the one to build: kernels and plan are compared with its own definition, and its outputs
//! with those in f32 ([`accuracy`]).
//!
//! `forms` lists what each operator does with narrow values, `assign` decides the storage of each value, `rewrite` makes the
//! network. Inputs and outputs of the network keep the types of the model, and so do the bodies of control flow, explicit
//! casts and quantization.

mod accuracy;
mod assign;
pub mod error;
#[cfg(test)]
mod file_tests;
mod forms;
mod growth;
mod layers;
mod range;
pub mod request;
mod rewrite;

use sinter_base::{DataType, Location};
use sinter_ir::{Graph, Network};
use sinter_passes::{Optimized, PassError, run_passes};
use sinter_plan::report::{KeptNode, OutputError, PrecisionReport};

use crate::precision::assign::{Assignment, Fixed, FixedNodes, assign};
use crate::precision::error::PrecisionError;
use crate::precision::range::{Extents, cone, first_lost};
use crate::precision::request::PrecisionOptions;
use crate::precision::rewrite::{Rewritten, rewrite};
use crate::verify::Answers;

/// Passes that clean up after the rewrite: casts merge into programs, and equal ones are one.
const CLEAN_UP: [&str; 4] = ["merge-pointwise", "fold-constants", "common-subexpressions", "dead-code"];

/// A network in the precision that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Narrowed {
    pub(crate) network: Network,
    pub(crate) report: PrecisionReport,
    /// Nodes of the network before that stay in f32 because of the range, with reasons.
    pub(crate) out_of_range: Vec<(usize, String)>,
    options: PrecisionOptions,
}

impl Narrowed {
    /// The results of the narrow network on the inputs of those in f32, whose outputs are within the bound; the report gets the
    /// errors.
    ///
    /// # Errors
    /// The first output beyond its bound, or an error of the reference executor.
    pub(crate) fn answers(&mut self, before: &Answers) -> Result<Answers, PrecisionError> {
        let after = before.of_derived(&self.network).map_err(PrecisionError::Rewrite)?;
        self.report.outputs = accuracy::measure(&self.network, before, &after, &self.options)?;
        Ok(after)
    }
}

/// The stage for one network: `network` is what the passes made of the imported one.
pub(crate) struct Stage<'a> {
    pub(crate) imported: &'a Network,
    pub(crate) network: &'a Network,
    pub(crate) options: &'a PrecisionOptions,
}

impl Stage<'_> {
    /// The network with narrow values, as far as their range allows it on the inputs of verification, if there are any; `None`
    /// where the build asks for no other precision than the model's.
    ///
    /// # Errors
    /// Layer precisions that cannot be obeyed; in a strict build, values that exceed the range.
    pub(crate) fn narrowed(&self, answers: Option<&Answers>) -> Result<Option<Narrowed>, PrecisionError> {
        if self.options.is_plain() {
            return Ok(None);
        }
        let asked = layers::fixed_nodes(self.imported, self.network, self.options)?;
        let runs: Vec<&Answers> =
            answers.into_iter().flat_map(Answers::all).filter(|a| a.unfinished.is_none()).collect();
        let extents = Extents::of(self.network, &runs)?;
        let graph = Graph::of_network(self.network);
        let mut exceeded = FixedNodes::new();
        let mut steps = 1;
        loop {
            let assignment = self.assignment(&graph, &asked, &exceeded, &extents)?;
            let more = extents.exceeded(&graph, &assignment);
            if !more.is_empty() {
                exceeded.extend(more);
                continue;
            }
            let rewritten = rewrite(self.network, &assignment)?;
            let Some(lost) = first_lost(&graph, &extents, &rewritten, &runs)? else {
                return self.checked(&assignment, rewritten, &exceeded).map(Some);
            };
            let known = exceeded.len();
            for position in cone(&graph, lost, steps) {
                let precision = self.options.coarsest();
                let reason = format!("in {precision} a value becomes infinite or no number on the verification inputs");
                exceeded.entry(position).or_insert(Fixed { storage: DataType::F32, reason, is_range: true });
            }
            if exceeded.len() == known && steps > graph.body().nodes().len() {
                // Even in f32 the value is lost: the inputs of the network are to blame.
                return self.checked(&assignment, rewritten, &exceeded).map(Some);
            }
            steps *= 2;
        }
    }

    /// The network as an earlier build made it, which found these nodes out of range and these errors of outputs.
    ///
    /// # Errors
    /// As [`Stage::narrowed`].
    pub(crate) fn repeated(
        &self,
        out_of_range: &[(usize, String)],
        outputs: Vec<OutputError>,
    ) -> Result<Option<Narrowed>, PrecisionError> {
        if self.options.is_plain() {
            return Ok(None);
        }
        let asked = layers::fixed_nodes(self.imported, self.network, self.options)?;
        let fixed = |(position, reason): &(usize, String)| {
            (*position, Fixed { storage: DataType::F32, reason: reason.clone(), is_range: true })
        };
        let exceeded: FixedNodes = out_of_range.iter().map(fixed).collect();
        let graph = Graph::of_network(self.network);
        let extents = Extents::of(self.network, &[])?;
        let assignment = self.assignment(&graph, &asked, &exceeded, &extents)?;
        let mut narrowed = self.checked(&assignment, rewrite(self.network, &assignment)?, &exceeded)?;
        narrowed.report.outputs = outputs;
        Ok(Some(narrowed))
    }

    fn assignment(
        &self,
        graph: &Graph<'_>,
        asked: &FixedNodes,
        exceeded: &FixedNodes,
        extents: &Extents,
    ) -> Result<Assignment, PrecisionError> {
        let mut fixed = asked.clone();
        fixed.extend(exceeded.iter().map(|(position, fixed)| (*position, fixed.clone())));
        let mut assignment = assign(graph, &fixed, self.options.network.storage());
        assignment.wide_weights = extents.wide_weights(graph);
        if exceeded.is_empty() {
            layers::check_obeyed(self.imported, self.network, self.options, &assignment)?;
        }
        Ok(assignment)
    }

    /// Refuses what must not be out of range: everything in a strict build, and nodes with a narrow precision of their own.
    fn checked(
        &self,
        assignment: &Assignment,
        rewritten: Rewritten,
        exceeded: &FixedNodes,
    ) -> Result<Narrowed, PrecisionError> {
        let asked = layers::fixed_nodes(self.imported, self.network, self.options)?;
        let is_asked = |position: &usize| asked.get(position).is_some_and(|fixed| fixed.storage != DataType::F32);
        // Of the nodes that stay in f32 with a lost value, some had no narrow form anyway.
        let is_kept = |position: &usize| assignment.kept.contains_key(position);
        let refused = exceeded.iter().filter(|(at, _)| is_kept(at) && (self.options.is_strict || is_asked(at)));
        let nodes: Vec<(String, String)> =
            refused.map(|(position, fixed)| (self.origin(*position), fixed.reason.clone())).collect();
        if !nodes.is_empty() {
            return Err(PrecisionError::Range { precision: self.options.coarsest(), nodes });
        }
        let kept = assignment.kept.iter().map(|(position, reason)| KeptNode {
            origin: self.origin(*position),
            operator: self.network.body.nodes().get(*position).map_or("", |node| node.op.name()).to_owned(),
            reason: reason.clone(),
            is_range: exceeded.get(position).is_some_and(|fixed| fixed.reason == *reason),
        });
        let report = PrecisionReport {
            requested: self.options.network.name().to_owned(),
            narrow: rewritten.narrow,
            casts: rewritten.casts,
            kept: kept.collect(),
            outputs: Vec::new(),
        };
        let out_of_range = exceeded.iter().map(|(position, fixed)| (*position, fixed.reason.clone())).collect();
        Ok(Narrowed { network: rewritten.network, report, out_of_range, options: self.options.clone() })
    }

    fn origin(&self, position: usize) -> String {
        self.network.locations.get(position).map_or_else(|| Location::default().to_string(), ToString::to_string)
    }
}

/// A narrow network with its casts merged, by those passes that are not disabled.
///
/// # Errors
/// Faults of the passes.
pub(crate) fn cleaned(
    network: &Network,
    disabled: &std::collections::BTreeSet<String>,
) -> Result<Optimized, PassError> {
    let passes: Vec<&str> = CLEAN_UP.into_iter().filter(|pass| !disabled.contains(*pass)).collect();
    run_passes(network.clone(), &passes)
}
