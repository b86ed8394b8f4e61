//! Rotary embedding from its formula: pairs of components `(a, b)` become `(a cos - b sin, a sin + b cos)`.
//!
//! The two results are put together as halves or as neighbours; or the rotation is written over all components at once,
//! `x cos + rotated(x) sin` with the pairs `(-b, a)` in `rotated(x)`, and the tables hold each angle twice
//! ([`crate::rotary_tables`]). Heads may lie before the steps or inside of them; components behind the rotated ones may
//! pass by. Source: Su et al. 2021. Does not fire when tables differ by head, or may differ within a pair.

use std::sync::LazyLock;

use sinter_base::Dim;
use sinter_ir::pattern::{Match, Pattern};
use sinter_ir::{Graph, Patch};
use sinter_ops::attention::RotaryEmbedding;
use sinter_ops::movement::Slice;
use sinter_ops::pointwise::ScalarOp;
use sinter_ops::{Node, Op, ValueId};

use crate::identities::{same_dims, same_shape};
use crate::pass::{Miss, miss};
use crate::reshapes::{dims_of, is_reshape, reshaped, root};
use crate::rotary_tables::{Arrangement, Pairs, Table, holds_twice, once};

/// A formula and its parts. Data and tables enter alike, so that a match may call one by the other's name.
struct Spelling {
    pairs: Pairs,
    /// All components and the rotated ones, where they are rotated at once.
    whole: Option<[Pattern; 2]>,
    a: Pattern,
    b: Pattern,
    cos: Pattern,
    sin: Pattern,
    formula: Pattern,
}

fn is_concat(op: &Op) -> bool {
    matches!(op, Op::Concat(_))
}

static SPELLINGS: LazyLock<Vec<Spelling>> = LazyLock::new(|| {
    // One behind the other, or side by side along an axis of their own.
    let joined = |pairs: Pairs, first: &Pattern, second: &Pattern| match pairs {
        Pairs::Halves => Pattern::node(is_concat, &[first, second]),
        Pairs::Neighbours => {
            let [first, second] = [first, second].map(|part| Pattern::node(is_reshape, &[part]));
            Pattern::node(is_concat, &[&first, &second])
        }
    };
    let mut spellings = Vec::new();
    for pairs in [Pairs::Halves, Pairs::Neighbours] {
        let [a, b, cos, sin] = [(); 4].map(|()| Pattern::any());
        let formula = joined(pairs, &(&(&a * &cos) - &(&b * &sin)), &(&(&b * &cos) + &(&a * &sin)));
        spellings.push(Spelling { pairs, whole: None, a, b, cos, sin, formula });

        let [x, a, b, cos, sin] = [(); 5].map(|()| Pattern::any());
        let rotated = joined(pairs, &Pattern::either(&[&b.unary(ScalarOp::Neg), &(&b * -1.0)]), &a);
        let rotated = if pairs == Pairs::Neighbours { Pattern::node(is_reshape, &[&rotated]) } else { rotated };
        let formula = &(&x * &cos) + &(&rotated * &sin);
        spellings.push(Spelling { pairs, whole: Some([x, rotated]), a, b, cos, sin, formula });
    }
    spellings
});

/// The rotated value and the tables.
struct Rotation {
    pairs: Pairs,
    /// [.., D], or [.., D / 2, 2] where pairs have an axis of their own.
    x: ValueId,
    has_own_axis: bool,
    cos: ValueId,
    sin: ValueId,
    /// The tables hold each angle twice.
    twice: bool,
}

/// Recognises the rotation whose last operation is this node, or one with components that pass by.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let (Op::Concat(_) | Op::Pointwise(_), &[result]) = (&node.op, node.outputs.as_slice()) else { return Ok(false) };
    if passed_by(graph, position, patch)? {
        return Ok(true);
    }
    let found = SPELLINGS.iter().find_map(|spelling| {
        let found = spelling.formula.find(graph, result)?;
        Some((rotation(graph, spelling, &found)?, found))
    });
    let Some((rotation, found)) = found else { return Ok(false) };
    patch.set_origins(found.nodes().iter().copied());
    let y = rotated(graph, &rotation, patch)?;
    let y = reshaped(patch, y, &dims_of(patch, result)?)?;
    patch.replace(result, y);
    Ok(true)
}

/// The match, if its parts are what the formula calls them.
fn rotation(graph: &Graph<'_>, spelling: &Spelling, found: &Match) -> Option<Rotation> {
    let pairs = spelling.pairs;
    let [a, b, cos, sin] = [&spelling.a, &spelling.b, &spelling.cos, &spelling.sin].map(|part| found.value(part));
    let (a, b, cos, sin) = (a?, b?, cos?, sin?);
    let concat = found.nodes().iter().map(|&at| graph.node(at)).find(|node| is_concat(&node.op))?;
    if !joins_pairs(graph, concat, pairs) {
        return None;
    }
    // Of data and tables, data has the sizes of the result.
    let joined = dims(graph, concat.outputs[0])?;
    let is_data = |id: ValueId| {
        let own = dims(graph, id).and_then(<[Dim]>::split_last);
        own.is_some_and(|(_, leading)| joined.len() > leading.len() && same_dims(leading, &joined[..leading.len()]))
    };
    let Some([x, rotated]) = &spelling.whole else {
        let [(a, b), (cos, sin)] = if is_data(a) { [(a, b), (cos, sin)] } else { [(cos, sin), (a, b)] };
        let (x, has_own_axis) = components(graph, a, b, pairs).filter(|_| is_data(a))?;
        return Some(Rotation { pairs, x, has_own_axis, cos, sin, twice: false });
    };
    let (source, x, rotated) = (components(graph, a, b, pairs)?.0, found.value(x)?, found.value(rotated)?);
    let is_x = |id: ValueId| root(graph, id) == root(graph, source) && same_shape(graph, id, rotated);
    let (x, cos) = if is_x(x) { (x, cos) } else { (cos, x) };
    is_x(x).then_some(Rotation { pairs, x, has_own_axis: false, cos, sin, twice: true })
}

/// Are two values put together along the last axis, neighbours with an axis of their own?
fn joins_pairs(graph: &Graph<'_>, node: &Node, pairs: Pairs) -> bool {
    let &[Some(first), Some(second)] = node.inputs.as_slice() else { return false };
    let has_own_axis = |id: ValueId| {
        let inner = graph.producer(id).and_then(|(node, _)| node.inputs.first().copied().flatten());
        match (inner.and_then(|inner| dims(graph, inner)), dims(graph, id)) {
            (Some(inner), Some([leading @ .., last])) => last.as_constant() == Some(1) && same_dims(inner, leading),
            _ => false,
        }
    };
    let is_last = matches!(&node.op, Op::Concat(op) if is_last(graph, op.axis, first));
    is_last && (pairs == Pairs::Halves || has_own_axis(first) && has_own_axis(second))
}

/// The value whose first and second components of each pair these are, and whether pairs have an axis of their own.
fn components(graph: &Graph<'_>, a: ValueId, b: ValueId, pairs: Pairs) -> Option<(ValueId, bool)> {
    let (first, second) = (component(graph, a, pairs)?, component(graph, b, pairs)?);
    let is_pair = (first.x, first.has_own_axis) == (second.x, second.has_own_axis);
    (is_pair && !first.is_second && second.is_second).then_some((first.x, first.has_own_axis))
}

/// One component of each pair of x.
struct Component {
    x: ValueId,
    is_second: bool,
    has_own_axis: bool,
}

/// The component that a value is: a slice in itself, or picked from an axis of the pairs' own, which is gone then.
fn component(graph: &Graph<'_>, value: ValueId, pairs: Pairs) -> Option<Component> {
    let (node, _) = graph.producer(value)?;
    let first = node.inputs.first().copied().flatten()?;
    let (part, has_own_axis) = match &node.op {
        Op::Slice(_) => (part_of_last(graph, value)?, false),
        Op::Gather(op) if is_last(graph, op.axis, first) => {
            let index = graph.tensor(node.inputs.get(1).copied().flatten()?)?;
            let &[start] = index.constant_ints()?.as_slice() else { return None };
            (Part { x: first, start: if start < 0 { start + 2 } else { start }, step: 2, count: 1 }, true)
        }
        op if is_reshape(op) => (Part { step: 2, ..part_of_last(graph, first)? }, true),
        _ => return None,
    };
    let (size, leading) = dims(graph, part.x)?.split_last()?;
    if size.as_constant() != Some(2 * part.count) {
        return None;
    }
    if has_own_axis && !(part.count == 1 && dims(graph, value).is_some_and(|own| same_dims(own, leading))) {
        return None;
    }
    let expected = match pairs {
        Pairs::Halves => (1, part.count),
        Pairs::Neighbours => (2, 1),
    };
    let is_half = part.step == expected.0 && (part.start == 0 || part.start == expected.1);
    is_half.then_some(Component { x: part.x, is_second: part.start > 0, has_own_axis })
}

/// A part of a value along its last axis.
struct Part {
    x: ValueId,
    start: i64,
    step: i64,
    count: i64,
}

/// The part that a slice along the last axis alone takes.
fn part_of_last(graph: &Graph<'_>, value: ValueId) -> Option<Part> {
    let (node, _) = graph.producer(value).filter(|(node, _)| matches!(node.op, Op::Slice(_)))?;
    let x = node.inputs.first().copied().flatten()?;
    let list = |index: usize| graph.tensor(node.inputs.get(index).copied().flatten()?)?.constant_ints();
    let (&[start], &[axis]) = (list(1)?.as_slice(), list(3)?.as_slice()) else { return None };
    let step = match node.inputs.get(4).copied().flatten() {
        Some(_) => *list(4)?.first()?,
        None => 1,
    };
    let (size, count) = (dims(graph, x)?.last()?.as_constant()?, dims(graph, value)?.last()?.as_constant()?);
    let start = if start < 0 { start + size } else { start };
    (is_last(graph, axis, x) && step > 0).then_some(Part { x, start, step, count })
}

fn dims<'a>(graph: &Graph<'a>, id: ValueId) -> Option<&'a [Dim]> {
    graph.tensor(id)?.dims().ok()
}

fn is_last(graph: &Graph<'_>, axis: i64, x: ValueId) -> bool {
    axis == -1 || dims(graph, x).is_some_and(|dims| usize::try_from(axis).is_ok_and(|axis| axis + 1 == dims.len()))
}

/// The operator on x, in x's own sizes or with heads taken into the components.
fn rotated(graph: &Graph<'_>, rotation: &Rotation, patch: &mut Patch<'_>) -> Result<ValueId, Miss> {
    let mut sizes = dims_of(patch, rotation.x)?;
    if rotation.has_own_axis
        && let Some(two) = sizes.pop()
        && let Some(half) = sizes.last_mut()
    {
        *half = half.mul(&two);
    }
    let [mut cos, mut sin] = [rotation.cos, rotation.sin];
    if rotation.twice {
        if ![cos, sin].iter().all(|table| holds_twice(graph, *table, rotation.pairs)) {
            miss!("the angles of a pair are not certainly equal");
        }
        (cos, sin) = (once(patch, cos, rotation.pairs)?, once(patch, sin, rotation.pairs)?);
    }
    let (cos, sin) = (Table::of(patch, cos, &sizes)?, Table::of(patch, sin, &sizes)?);
    if cos.arrangement != sin.arrangement {
        miss!("the tables have different sizes");
    }
    let Arrangement { heads_axis, is_shared } = cos.arrangement;
    let (heads, sizes) = match (sizes.as_slice(), heads_axis) {
        ([batch, steps, heads, size], Some(2)) => {
            let Some(count) = heads.as_constant().and_then(|h| usize::try_from(h).ok()) else {
                miss!("the number of heads is not known");
            };
            (Some(count), vec![batch.clone(), steps.clone(), heads.mul(size)])
        }
        ([_, _, _], _) => (Some(1), sizes),
        _ => (None, sizes),
    };
    let x = reshaped(patch, rotation.x, &sizes)?;
    let mut inputs = vec![x, cos.value, sin.value];
    if is_shared {
        // Steps are counted from the first row, in every batch.
        inputs.push(patch.int_list(&[0]));
    }
    let op = RotaryEmbedding { heads, rotated: 0, interleaved: rotation.pairs == Pairs::Neighbours };
    Ok(patch.add_one(op, &inputs)?)
}

/// If components after the rotated ones are concatenated with them again, the operator can pass them through.
fn passed_by(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let &[Some(front), Some(back)] = node.inputs.as_slice() else { return Ok(false) };
    let Some((rotation, 0)) = graph.producer(front) else { return Ok(false) };
    let (Op::Concat(concat), Op::RotaryEmbedding(op)) = (&node.op, &rotation.op) else { return Ok(false) };
    let Some(&Some(x)) = rotation.inputs.first() else { return Ok(false) };
    let (Some(first), Some(rest)) = (part_of_last(graph, x), part_of_last(graph, back)) else { return Ok(false) };
    let Some(size) = dims(graph, first.x).and_then(|dims| dims.last()?.as_constant()) else { return Ok(false) };
    let is_whole = first.x == rest.x
        && (first.step, rest.step) == (1, 1)
        && (first.start, rest.start) == (0, first.count)
        && first.count + rest.count == size;
    if !is_whole || !is_last(graph, concat.axis, front) || op.rotated != 0 || op.heads.is_some_and(|heads| heads > 1) {
        return Ok(false);
    }
    let rotated = usize::try_from(first.count).unwrap_or(0);
    let mut inputs = rotation.inputs.clone();
    inputs[0] = Some(first.x);
    patch.set_origins(graph.producer_position(front).into_iter().chain([position]));
    let y = patch.add(RotaryEmbedding { rotated, ..op.clone() }, &inputs)?[0];
    patch.replace(node.outputs[0], y);
    // The rotation has an effect, because it refuses positions outside of the tables: it stays unless its result is
    // replaced.
    let [start, end, axis] = [0, first.count, -1].map(|entry| patch.int_list(&[entry]));
    let part = patch.add_one(Slice::default(), &[y, start, end, axis])?;
    patch.replace(front, part);
    Ok(true)
}
