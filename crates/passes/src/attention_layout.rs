//! Attention that reads and writes positions with their heads side by side: removes the operators that split heads.
//!
//! `transpose(reshape(x, [B, L, H, D]), [0, 2, 1, 3])` as an operand of attention becomes `x [B, L, H D]` with the
//! number of heads as an attribute, each of q, k and v by itself, also where further reshapes group other axes
//! ([`crate::chains`]). With q the result changes:
//! `transpose(y, [0, 2, 1, 3])` becomes a reshape of it, which cancels with the operators that join the heads. Does not
//! fire on q when a reader needs another order, or when the number of heads is not known.

use sinter_base::Dim;
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::Transpose;
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::chains::Chain;
use crate::pass::{Miss, miss};
use crate::reshapes::reshaped;

/// Changes one attention.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let Op::Attention(op) = &node.op else { return Ok(false) };
    let (mut op, mut inputs): (_, SmallVec<[Option<ValueId>; 4]>) = (op.clone(), node.inputs.iter().copied().collect());
    let mut origins = vec![position];
    let mut found = false;
    for (index, input) in inputs.iter_mut().enumerate().skip(1).take(2) {
        let Some(split) = input.and_then(|id| Split::of(graph, id)) else { continue };
        let other = node.inputs.get(3 - index).copied().flatten().and_then(|id| rank(graph, id));
        if op.key_heads.is_some_and(|heads| heads != split.heads && other == Some(3)) {
            continue;
        }
        op.key_heads = Some(split.heads);
        *input = Some(reshaped(patch, split.root, &split.whole)?);
        origins.extend(split.nodes);
        found = true;
    }
    let joined = match inputs.first().copied().flatten().and_then(|id| Split::of(graph, id)) {
        Some(split) => {
            let joined = joined(graph, node.outputs[0]);
            if joined.is_none() && !found {
                miss!("the result is read with its heads in front");
            }
            if joined.is_some() {
                op.query_heads = Some(split.heads);
                inputs[0] = Some(reshaped(patch, split.root, &split.whole)?);
                origins.extend(split.nodes);
                found = true;
            }
            joined
        }
        None => None,
    };
    if !found {
        return Ok(false);
    }
    patch.set_origins(origins);
    let results = patch.add(op, &inputs)?;
    match joined {
        Some((old, dims)) => {
            let y = reshaped(patch, results[0], &dims)?;
            patch.replace(old, y);
        }
        None => patch.replace(node.outputs[0], results[0]),
    }
    // Keys, values and scores have the same form in either layout.
    node.outputs.iter().zip(results).skip(1).for_each(|(old, new)| patch.replace(*old, new));
    Ok(true)
}

fn rank(graph: &Graph<'_>, id: ValueId) -> Option<usize> {
    graph.tensor(id)?.shape.rank()
}

fn swaps_heads(op: &Op) -> bool {
    matches!(op, Op::Transpose(Transpose { permutation: Some(permutation) }) if permutation[..] == [0, 2, 1, 3])
}

/// Heads that are split off.
struct Split {
    /// The value that they are split off from.
    root: ValueId,
    /// Its sizes with heads side by side: [B, L, H D].
    whole: [Dim; 3],
    heads: usize,
    nodes: Vec<usize>,
}

impl Split {
    fn of(graph: &Graph<'_>, id: ValueId) -> Option<Self> {
        let chain = Chain::of(graph, id).filter(|chain| chain.transposes > 0 && chain.is_in_order([0, 2, 1, 3]))?;
        let [batch, heads, length, size] = graph.tensor(id)?.dims().ok()? else { return None };
        let whole = [batch.clone(), length.clone(), heads.mul(size)];
        let heads = usize::try_from(heads.as_constant()?).ok().filter(|heads| *heads > 0)?;
        Some(Self { root: chain.root, whole, heads, nodes: chain.nodes })
    }
}

/// The only use of the result: a transpose that puts the heads behind the positions; with its sizes.
fn joined(graph: &Graph<'_>, result: ValueId) -> Option<(ValueId, Vec<Dim>)> {
    let &[user] = graph.users(result) else { return None };
    let transpose = graph.node(user);
    if graph.is_result(result) || !swaps_heads(&transpose.op) {
        return None;
    }
    let old = *transpose.outputs.first()?;
    Some((old, graph.tensor(old)?.dims().ok()?.to_vec()))
}
