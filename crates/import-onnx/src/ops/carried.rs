//! Bodies whose results feed their own inputs: importing them until the types of carried values are stable.

use std::collections::HashSet;
use std::ops::Range;

use sinter_base::{Shape, TensorType, ValueType};
use sinter_ir::{Handle, Scoped};

use crate::context::NodeContext;
use crate::error::Problem;

/// Every failed comparison opens at least one more dimension or rank; more rounds than this mean that none is stable.
const MAX_ROUNDS: usize = 256;

/// A function that adds the nodes of a body: from its inputs to its results.
pub type Fill<'f, 'a, 'm> = &'f mut dyn FnMut(&mut NodeContext<'a, 'm>, &[Handle]) -> Result<Vec<Handle>, Problem>;

/// A body with inputs of these types, filled by a function.
///
/// # Errors
/// As the function.
pub fn body<'a, 'm>(
    cx: &mut NodeContext<'a, 'm>,
    types: &[ValueType],
    fill: Fill<'_, 'a, 'm>,
) -> Result<Scoped, Problem> {
    cx.builder().open_scope();
    let inputs: Vec<Handle> = types.iter().map(|ty| cx.builder().add_scope_input(ty.clone())).collect();
    match fill(cx, &inputs) {
        Ok(outputs) => Ok(cx.builder().close_scope(&outputs)),
        Err(problem) => {
            cx.builder().abandon_scope();
            Err(problem)
        }
    }
}

/// A body whose inputs `carried` are fed by its own results from `first_result` on. Their types are widened until every
/// result fits the input that it feeds; contents are dropped from the start.
///
/// # Errors
/// As the function, or when a result has another kind or element type than the input that it feeds.
pub fn stable_body<'a, 'm>(
    cx: &mut NodeContext<'a, 'm>,
    types: &[ValueType],
    carried: Range<usize>,
    first_result: usize,
    fill: Fill<'_, 'a, 'm>,
) -> Result<Scoped, Problem> {
    let mut types = types.to_vec();
    for ty in types.get_mut(carried.clone()).unwrap_or_default() {
        *ty = sinter_ops::control::join::without_contents(ty);
    }
    // Dimensions that were opened here: anything fits them.
    let mut open = HashSet::new();
    for _ in 0..MAX_ROUNDS {
        let guards = cx.builder().infer.guards.len();
        let scoped = body(cx, &types, fill)?;
        let results = scoped.body.output_types();
        let mut stable = true;
        let inputs = types.get_mut(carried.clone()).unwrap_or_default();
        for (position, (input, result)) in inputs.iter_mut().zip(results.iter().skip(first_result)).enumerate() {
            match widen(cx, input, result, &mut open) {
                Ok(None) => {}
                Ok(Some(wider)) => {
                    *input = wider;
                    stable = false;
                }
                Err(()) => {
                    return Err(cx.problem(format!("carried value {position} starts as {input} and becomes {result}")));
                }
            }
        }
        if stable {
            return Ok(scoped);
        }
        // The guards of the discarded body are valid only for its narrower types.
        cx.builder().infer.guards.truncate(guards);
    }
    Err(cx.problem("the types of the carried values do not settle"))
}

/// `None` when the result fits the input; otherwise a wider type for the input.
fn widen(
    cx: &mut NodeContext<'_, '_>,
    input: &ValueType,
    result: &ValueType,
    open: &mut HashSet<String>,
) -> Result<Option<ValueType>, ()> {
    match (input, result) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) if a.data_type == b.data_type => {
            let (x, y) = match (&a.shape, &b.shape) {
                (Shape::Unranked, _) => return Ok(None),
                (Shape::Ranked(x), Shape::Ranked(y)) if x.len() == y.len() => (x, y),
                _ => return Ok(Some(ValueType::unranked(a.data_type))),
            };
            let mut wider = x.clone();
            let mut changed = false;
            for (dim, other) in wider.iter_mut().zip(y) {
                if dim != other && !dim.as_symbol().is_some_and(|name| open.contains(name)) {
                    *dim = cx.fresh_dim("carried");
                    open.extend(dim.as_symbol().map(str::to_owned));
                    changed = true;
                }
            }
            Ok(changed.then(|| TensorType::ranked(a.data_type, wider).into()))
        }
        (ValueType::Sequence(a), ValueType::Sequence(b)) => {
            Ok(widen(cx, a, b, open)?.map(|inner| ValueType::Sequence(Box::new(inner))))
        }
        (ValueType::Optional(a), ValueType::Optional(b)) => {
            Ok(widen(cx, a, b, open)?.map(|inner| ValueType::Optional(Box::new(inner))))
        }
        _ => Err(()),
    }
}

/// The captured values of a body, after the values that are fed.
pub fn with_captures(fed: Vec<Option<Handle>>, scoped: &Scoped) -> Vec<Option<Handle>> {
    fed.into_iter().chain(scoped.captures.iter().copied().map(Some)).collect()
}
