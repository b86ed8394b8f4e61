//! Buffers of values. A result reuses the buffer of an operand that dies in its step, where the kernel allows it, both are
//! all of their buffers, and both have the same size for all shapes; every other value has a buffer of its own. The runtime places buffers for
//! the actual sizes, and lets buffers share memory that are not live at once. A base buffer is live from the first
//! write to an alias of it to the last use of any.

use std::collections::BTreeSet;

use sinter_base::view::element_bytes;
use sinter_base::{Dim, ValueType};
use sinter_plan::{Action, BufferId, Graph, Storage};

fn bytes_of(ty: &ValueType) -> Dim {
    let width = i64::try_from(element_bytes(ty.data_type())).unwrap_or(8);
    let count = ty.as_tensor().and_then(|t| t.shape.count().ok()).unwrap_or_else(|| Dim::constant(0));
    count.mul(&Dim::constant(width))
}

/// The named sizes of a value: all sizes of a buffer are known at the same point of a run.
fn names_of(ty: &ValueType) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let dims = ty.as_tensor().and_then(|ty| ty.dims().ok()).unwrap_or_default();
    dims.iter().for_each(|dim| dim.visit_symbols(&mut |name| _ = names.insert(name.to_owned())));
    names
}

/// Gives every arena value its buffer, in the bodies of control flow too: each body has an arena of its own. Results
/// reuse the buffers of operands if they may.
pub(crate) fn assign_buffers(graph: &mut Graph, may_share: bool) {
    for step in &mut graph.steps {
        if let Action::Control { graphs, .. } = &mut step.action {
            graphs.iter_mut().for_each(|graph| assign_buffers(graph, may_share));
        }
    }
    let last_use = graph.last_uses();
    // Base buffers that exist: the first write to an alias creates them.
    let mut has_buffer = vec![false; graph.values.len()];
    let mut buffers = 0;
    for position in 0..graph.steps.len() {
        let step = &graph.steps[position];
        let (inputs, outputs) = (step.inputs.clone(), step.outputs.clone());
        let pairs = if may_share { step.in_place().to_vec() } else { Vec::new() };
        let mut used_pairs = Vec::new();
        let mut taken_over = Vec::new();
        for (result, id) in outputs.iter().enumerate() {
            let base = graph.base(*id);
            if has_buffer[base.index()] || !matches!(graph.values[base.index()].storage, Storage::Arena(_)) {
                continue;
            }
            has_buffer[base.index()] = true;
            // An alias must not reuse a buffer that its base buffer would not fit into.
            let pairs = if graph.is_whole(*id) { pairs.as_slice() } else { &[] };
            let bytes = bytes_of(&graph.values[base.index()].ty);
            let inherited = pairs.iter().filter(|(_, o)| *o == result).find_map(|&(operand, _)| {
                let operand_id = inputs.get(operand).copied().flatten()?;
                let dying = graph.base(operand_id);
                let once = inputs.iter().flatten().filter(|other| graph.base(**other) == dying).count() == 1;
                let dies = last_use[dying.index()] == position && once && !taken_over.contains(&dying);
                match graph.values[dying.index()].storage {
                    Storage::Arena(buffer)
                        if dies
                            && graph.is_whole(operand_id)
                            && bytes_of(&graph.values[dying.index()].ty) == bytes
                            && names_of(&graph.values[dying.index()].ty)
                                == names_of(&graph.values[base.index()].ty) =>
                    {
                        Some((operand, dying, buffer))
                    }
                    _ => None,
                }
            });
            let buffer = match inherited {
                Some((operand, dying, buffer)) => {
                    taken_over.push(dying);
                    used_pairs.push((operand, result));
                    buffer
                }
                None => {
                    buffers += 1;
                    BufferId::new(buffers - 1)
                }
            };
            graph.values[base.index()].storage = Storage::Arena(buffer);
        }
        if let Some(launch) = graph.steps[position].launch_mut() {
            launch.in_place = used_pairs;
        }
    }
}
