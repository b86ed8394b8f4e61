//! Merges the projections of one operand that attention reads: `x Wq + bq`, `x Wk + bk` and `x Wv + bv` become slices
//! of `x [Wq Wk Wv] + [bq bk bv]`.
//!
//! One product takes one launch in place of three, reads x once and divides better among the units of a device. Each
//! element of its result is the same sum of products as before. A projection without a bias gets zeros for one where
//! another has a bias. The slices cost nothing, because attention reads rows of a joint projection in place on every
//! device; readers of other kinds may need copies of the slices, so this pass merges operands of one attention only:
//! all three, or two where the third is made of another operand. Does not fire
//! * where a projection has further readers, or is a result;
//! * where a matrix of weights has further readers, since the plan would hold it twice;
//! * in bodies of control flow and on sizes that only a run determines, where the builder copies slices.

use std::collections::HashSet;

use sinter_base::Tensor;
use sinter_ir::pattern::{Term, application};
use sinter_ir::{Graph, Patch};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Concat, Expand, Slice};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::pass::{Miss, miss};

/// Merges projections that one attention reads.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    if !matches!(node.op, Op::Attention(_)) {
        return Ok(false);
    }
    let operands = node.inputs.iter().take(3).flatten();
    let all: SmallVec<[Projection; 3]> = operands.filter_map(|id| Projection::of(graph, *id)).collect();
    // At most one group of three operands has two or more.
    let siblings_of = |key| all.iter().filter(move |one| one.key() == key);
    let Some(first) = all.iter().find(|one| siblings_of(one.key()).count() > 1) else { return Ok(false) };
    if graph.keeps_inputs() {
        miss!("the builder copies slices in bodies of control flow");
    }
    if !has_known_sizes(graph, first.result) {
        miss!("sizes of {} are not known before a run", graph.ty(first.result));
    }
    let mut merged: SmallVec<[&Projection; 3]> = SmallVec::new();
    let mut reason = None;
    for projection in siblings_of(first.key()) {
        match projection.check(graph) {
            Ok(()) => merged.push(projection),
            Err(miss) => reason = Some(miss),
        }
    }
    match reason {
        Some(miss) if merged.len() < 2 => Err(miss),
        _ => merge(graph, &merged, patch).map(|()| true),
    }
}

/// `x W + bias`, or `x W`.
struct Projection {
    result: ValueId,
    x: ValueId,
    weight: ValueId,
    transpose_b: bool,
    bias: Option<ValueId>,
    /// Columns of W as the product takes it.
    columns: i64,
    /// Positions of the product and of the sum with the bias.
    product: usize,
    sum: Option<usize>,
}

impl Projection {
    fn of(graph: &Graph<'_>, result: ValueId) -> Option<Self> {
        let biased = biased(graph, result);
        let (value, bias) = biased.map_or((result, None), |(product, bias)| (product, Some(bias)));
        let (node, _) = graph.producer(value)?;
        let Op::MatMul(MatMul { transpose_a: false, transpose_b }) = node.op else { return None };
        let &[Some(x), Some(weight)] = node.inputs.as_slice() else { return None };
        let is_projection = graph.weight(weight).is_some() && graph.weight(x).is_none();
        let is_matrix = graph.tensor(weight)?.shape.rank() == Some(2) && graph.tensor(x)?.shape.rank() >= Some(2);
        let columns = graph.tensor(value)?.dims().ok()?.last()?.as_constant()?;
        let product = graph.producer_position(value)?;
        let sum = bias.and_then(|_| graph.producer_position(result));
        (is_projection && is_matrix && columns > 0).then_some(Self {
            result,
            x,
            weight,
            transpose_b,
            bias,
            columns,
            product,
            sum,
        })
    }

    /// One product can compute projections with equal keys.
    fn key(&self) -> (ValueId, bool) {
        (self.x, self.transpose_b)
    }

    fn check(&self, graph: &Graph<'_>) -> Result<(), Miss> {
        let product = graph.node(self.product).outputs[0];
        if ![self.result, product].into_iter().all(|id| graph.has_one_use(id)) {
            miss!("a projection has further readers");
        }
        if graph.users(self.weight).len() > 1 {
            miss!("a matrix of weights has further readers");
        }
        Ok(())
    }
}

/// The product and the constant vector, one number for each column, whose sum a value is.
fn biased(graph: &Graph<'_>, sum: ValueId) -> Option<(ValueId, ValueId)> {
    let made = application(graph, sum).filter(|made| made.op == ScalarOp::Add)?;
    let [Term::Value(a), Term::Value(b)] = made.args[..] else { return None };
    let (product, bias) = if graph.weight(b).is_some() { (a, b) } else { (b, a) };
    graph.weight(bias)?;
    let (matrix, vector) = (graph.tensor(product)?, graph.tensor(bias)?);
    let is_typed = [matrix, vector].iter().all(|ty| ty.data_type == made.compute);
    let columns = matrix.dims().ok()?.last()?.as_constant()?;
    let is_vector = matches!(vector.dims().ok()?, [size] if size.as_constant() == Some(columns));
    (is_typed && is_vector && made.compute.is_float()).then_some((product, bias))
}

/// Do the sizes follow from those of the network's inputs?
fn has_known_sizes(graph: &Graph<'_>, id: ValueId) -> bool {
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok()).unwrap_or_default();
    let known: HashSet<&str> =
        graph.body().inputs().iter().flat_map(|input| dims(*input)).filter_map(|dim| dim.as_symbol()).collect();
    let mut is_known = true;
    dims(id).iter().for_each(|dim| dim.visit_symbols(&mut |name| is_known &= known.contains(name)));
    is_known
}

fn merge(graph: &Graph<'_>, merged: &[&Projection], patch: &mut Patch<'_>) -> Result<(), Miss> {
    let Some(Projection { result, x, transpose_b, .. }) = merged.first() else { return Ok(()) };
    let ty = graph.ty(*result).data_type();
    patch.set_origins(merged.iter().map(|projection| projection.product));
    let weights: SmallVec<[Option<ValueId>; 3]> = merged.iter().map(|projection| Some(projection.weight)).collect();
    let weight = patch.folded(Concat { axis: if *transpose_b { 0 } else { 1 } }, &weights)?;
    let product = MatMul { transpose_a: false, transpose_b: *transpose_b };
    let mut joint = patch.add_one(product, &[*x, weight])?;
    if merged.iter().any(|projection| projection.bias.is_some()) {
        patch.set_origins(merged.iter().filter_map(|projection| projection.sum));
        let mut biases: SmallVec<[Option<ValueId>; 3]> = SmallVec::new();
        for projection in merged {
            biases.push(Some(match projection.bias {
                Some(bias) => bias,
                None => {
                    let zero = patch.constant(Tensor::scalar(ty, 0.0));
                    let columns = patch.int_list(&[projection.columns]);
                    patch.folded(Expand::default(), &[Some(zero), Some(columns)])?
                }
            }));
        }
        let bias = patch.folded(Concat { axis: 0 }, &biases)?;
        let sum = &Expr::input(0, ty) + &Expr::input(1, ty);
        let op = Expr::into_pointwise(&[sum]).map_err(|e| Miss(e.to_string()))?;
        joint = patch.add_one(op, &[joint, bias])?;
    }
    let mut start = 0;
    for projection in merged {
        patch.set_origins([projection.product].into_iter().chain(projection.sum));
        let end = start + projection.columns;
        let [starts, ends, axes] = [start, end, -1].map(|number| patch.int_list(&[number]));
        let slice = patch.add_one(Slice::default(), &[joint, starts, ends, axes])?;
        patch.replace(projection.result, slice);
        start = end;
    }
    Ok(())
}
