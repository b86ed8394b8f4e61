//! Equal dequantizations that are regions of their own: the first one replaces the others.
//!
//! Every reader of quantized values has a dequantization of its own, which its region may contain. Where regions do not
//! contain it, several dequantizations of one value remain.

use std::collections::HashMap;

use sinter_ops::{Node, Op, ValueId};

use crate::choose::cover::alternatives::ScoredGroup;
use crate::choose::cover::problem::Problem;

/// Results of groups that repeat an earlier one, each with the result that replaces it.
pub(crate) struct Repeated(HashMap<ValueId, ValueId>);

impl Repeated {
    /// Finds them among groups in order of execution.
    pub(crate) fn of<'s>(problem: &Problem<'_>, scored: impl Iterator<Item = &'s ScoredGroup>) -> Self {
        let mut first: HashMap<ValueId, Vec<&Node>> = HashMap::new();
        let mut same = HashMap::new();
        for scored in scored {
            let [node] = scored.group.nodes[..] else { continue };
            let node = &problem.body.nodes()[node];
            let (Op::Dequantize(_), Some(&Some(stored)), [result]) = (&node.op, node.inputs.first(), &node.outputs[..])
            else {
                continue;
            };
            let known = first.entry(stored).or_default();
            let equal = known.iter().find(|other| other.op == node.op && other.inputs == node.inputs);
            match equal.filter(|_| !problem.body.outputs().contains(result)) {
                Some(equal) => _ = same.insert(*result, equal.outputs[0]),
                None => known.push(node),
            }
        }
        Self(same)
    }

    /// The value that replaces this one, mostly itself.
    pub(crate) fn value(&self, id: ValueId) -> ValueId {
        self.0.get(&id).copied().unwrap_or(id)
    }

    /// Does the group repeat an earlier one?
    pub(crate) fn has(&self, scored: &ScoredGroup) -> bool {
        scored.results.first().is_some_and(|id| self.0.contains_key(id))
    }
}
