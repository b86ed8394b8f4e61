//! Attention from its parts: `softmax(scale q k^T + mask) v`, in any exporter's spelling.
//!
//! The factor may stand on the scores, on q, on k or on several of them; masks are added or chosen by a condition, also
//! in another grouping of batches and heads ([`crate::heads`]); keys come transposed by a node of their own or by the
//! product's flag, and may be repeated for the query heads that share them; the softmax may be computed in a wider
//! type. Operands of three dimensions are taken as one head each. Source: Vaswani et al. 2017. Does not fire when the
//! weights have other readers, when batches broadcast, or when scores or weights are quantized in between: the operator
//! cannot express that rounding, and omitting it would change the results.

use sinter_base::{DataType, Dim, Truth};
use sinter_ir::pattern::{Application, Term, application};
use sinter_ir::{Graph, Patch};
use sinter_ops::attention::Attention;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::{Op, ValueId};

use crate::heads::{Heads, matrices, unrepeated};
use crate::identities::{same_dims, same_shape};
use crate::pass::{Miss, miss};
use crate::reshapes::{dims_of, is_reshape};

/// Recognises the attention whose last operation is this product.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let Op::MatMul(MatMul { transpose_a: false, transpose_b }) = node.op else { return Ok(false) };
    let &[Some(weights), Some(values)] = node.inputs.as_slice() else { return Ok(false) };
    let guarded = guarded(graph, weights);
    let (guard, weights) = (guarded.map(|_| weights), guarded.unwrap_or(weights));
    let narrowed = cast(graph, weights);
    let (narrow, weights) = (narrowed.map(|_| weights), narrowed.unwrap_or(weights));
    if let Some(inner) = quantized(graph, weights)
        && graph.producer(inner).is_some_and(|(node, _)| matches!(node.op, Op::Softmax(_)))
    {
        miss!("its weights are quantized between softmax and product");
    }
    let Some((softmax, 0)) = graph.producer(weights) else { return Ok(false) };
    let Op::Softmax(op) = &softmax.op else { return Ok(false) };
    let rank = graph.tensor(weights).and_then(|ty| ty.shape.rank()).unwrap_or(0);
    let is_last = op.axis == -1 || usize::try_from(op.axis).is_ok_and(|axis| axis + 1 == rank);
    let Some(&Some(scores)) = softmax.inputs.first().filter(|_| is_last && !op.log) else { return Ok(false) };
    let mut parts = Parts::new(graph, position, weights, patch)?;
    parts.nodes.extend([guard, narrow].into_iter().flatten().filter_map(|id| graph.producer_position(id)));
    let Some(product) = parts.peel(scores, patch)? else { miss!("the scores are no product of matrices") };
    // A guard reads the weights twice.
    let is_read = |id: ValueId, times: usize| graph.users(id).len() == times && !graph.is_result(id);
    let is_used_once = is_read(narrow.unwrap_or(weights), if guard.is_some() { 2 } else { 1 })
        && guard.is_none_or(|guard| is_read(guard, 1))
        && narrow.is_none_or(|_| is_read(weights, 1));
    if !is_used_once {
        miss!("the weights are read elsewhere too");
    }
    let (q, k) = parts.operands(product, patch)?;
    let v = if transpose_b { swapped(patch, values)? } else { values };
    patch.set_origins(parts.nodes.clone());
    let mut operands = [q, k, v];
    for operand in &mut operands {
        *operand = parts.heads.operand(patch, *operand)?;
    }
    let [q, mut k, mut v] = operands;
    check(patch, q, k, v)?;
    if let (Some(keys), Some(values)) = (unrepeated(graph, patch, k)?, unrepeated(graph, patch, v)?) {
        (k, v) = (keys, values);
    }
    let mask = parts.mask(patch)?;
    let own_type = patch.ty(q).data_type();
    let result_type = graph.ty(node.outputs[0]).data_type();
    if own_type != result_type {
        miss!("q is of type {own_type}, the result of type {result_type}");
    }
    let softmax_type = Some(graph.ty(weights).data_type()).filter(|softmax| *softmax != own_type);
    let attention = Attention { scale: Some(parts.scale), softmax_type, ..Attention::default() };
    let mut inputs = vec![Some(q), Some(k), Some(v)];
    inputs.extend(mask.map(Some));
    let results = patch.add(attention, &inputs)?;
    let mut y = parts.heads.restored(patch, results[0], node.outputs[0])?;
    if let Some((own, required)) = stretched(graph, patch, y, node.outputs[0]) {
        miss!("a mask of {required} rows stretches {own} queries where they are one");
    }
    if guard.is_some() {
        let own = Expr::input(0, patch.ty(y).data_type());
        let zero_for_nan = own.unary(ScalarOp::IsNan).select(&own.same(0.0), &own);
        let op = Expr::into_pointwise(&[zero_for_nan]).map_err(|e| Miss(e.to_string()))?;
        y = patch.add_one(op, &[y])?;
    }
    patch.replace(node.outputs[0], y);
    Ok(true)
}

/// A size that attention takes from the queries and the formula from a mask.
fn stretched(graph: &Graph<'_>, patch: &Patch<'_>, y: ValueId, result: ValueId) -> Option<(Dim, Dim)> {
    let (own, required) = (patch.ty(y).as_tensor()?.dims().ok()?, graph.tensor(result)?.dims().ok()?);
    let mut sizes = own.iter().zip(required);
    let is_dynamic_in_one =
        |(own, required): &(&Dim, &Dim)| own.as_constant().is_some() != required.as_constant().is_some();
    sizes.find(is_dynamic_in_one).map(|(own, required)| (own.clone(), required.clone()))
}

/// The value that is quantized and dequantized here.
fn quantized(graph: &Graph<'_>, value: ValueId) -> Option<ValueId> {
    let (node, _) = graph.producer(value).filter(|(node, _)| matches!(node.op, Op::Dequantize(_)))?;
    let (node, _) = graph.producer(node.inputs[0]?).filter(|(node, _)| matches!(node.op, Op::Quantize(_)))?;
    node.inputs[0]
}

/// The value that is converted from one float type to another here.
fn cast(graph: &Graph<'_>, value: ValueId) -> Option<ValueId> {
    let made = application(graph, value).filter(|made| matches!(made.op, ScalarOp::Cast(_)))?;
    let [Term::Value(x)] = made.args[..] else { return None };
    [x, value].iter().all(|id| graph.ty(*id).data_type().is_float()).then_some(x)
}

/// The weights under `select(is_nan(weights), 0, weights)`, by which exporters give rows without any key the result 0.
/// Such a row of weights is NaN as a whole, and so is its row of the result, where the same guard does the same.
fn guarded(graph: &Graph<'_>, value: ValueId) -> Option<ValueId> {
    let guard = application(graph, value).filter(|made| made.op == ScalarOp::Select)?;
    let [Term::Value(condition), Term::Number(0.0), Term::Value(weights)] = guard.args[..] else { return None };
    let test = application(graph, condition).filter(|made| made.op == ScalarOp::IsNan)?;
    (test.args[..] == [Term::Value(weights)]).then_some(weights)
}

/// The last two axes swapped.
fn swapped(patch: &mut Patch<'_>, x: ValueId) -> Result<ValueId, Miss> {
    let last = matrices(patch, x)?.0.len();
    let permutation = (0..last).chain([last + 1, last]).collect();
    Ok(patch.add_one(Transpose { permutation: Some(permutation) }, &[x])?)
}

/// The operator requires equal batches, and one head of keys and values for each of the queries or for all of them.
fn check(patch: &Patch<'_>, q: ValueId, k: ValueId, v: ValueId) -> Result<(), Miss> {
    let [q, k, v] = [dims_of(patch, q)?, dims_of(patch, k)?, dims_of(patch, v)?];
    let equal = |a: &Dim, b: &Dim| a.equals(b) == Truth::Yes;
    for axis in 0..2 {
        let is_shared = axis == 1 && k[axis].as_constant() == Some(1);
        if !equal(&k[axis], &v[axis]) || !is_shared && !equal(&q[axis], &k[axis]) {
            miss!("batches or heads {}, {} and {} are not certainly equal", q[axis], k[axis], v[axis]);
        }
    }
    if k[2].equals(&v[2]) != Truth::Yes {
        miss!("{} keys and {} values", k[2], v[2]);
    }
    Ok(())
}

/// A mask of the scores.
struct Mask {
    value: ValueId,
    meaning: Meaning,
    /// The leading axes of the scores.
    grouping: Vec<Dim>,
}

#[derive(Clone, Copy, PartialEq)]
enum Meaning {
    /// Added after multiplication by this factor.
    Added(f64),
    /// True keeps the score, false gives minus infinity.
    Condition,
}

/// The parts between the weights and the product of q and k.
struct Parts<'g, 'a> {
    graph: &'g Graph<'a>,
    scale: f64,
    masks: Vec<Mask>,
    heads: Heads,
    nodes: Vec<usize>,
}

impl<'g, 'a> Parts<'g, 'a> {
    fn new(graph: &'g Graph<'a>, position: usize, weights: ValueId, patch: &Patch<'_>) -> Result<Self, Miss> {
        let nodes = graph.producer_position(weights).into_iter().chain([position]).collect();
        Ok(Self { graph, scale: 1.0, masks: Vec::new(), heads: Heads::of(patch, weights)?, nodes })
    }

    /// The product under factors and masks.
    fn peel(&mut self, mut scores: ValueId, patch: &mut Patch<'_>) -> Result<Option<ValueId>, Miss> {
        // Each step goes up one node.
        loop {
            let Some((node, _)) = self.graph.producer(scores) else { return Ok(None) };
            self.nodes.extend(self.graph.producer_position(scores));
            if matches!(node.op, Op::MatMul(_)) {
                return Ok(Some(scores));
            }
            if quantized(self.graph, scores).is_some() {
                miss!("its scores are quantized between product and softmax");
            }
            if is_reshape(&node.op) {
                let Some(inner) = node.inputs.first().copied().flatten() else { return Ok(None) };
                if !self.heads.regroup(patch, inner, scores)? {
                    miss!("the scores are reshaped by more than their batches");
                }
                scores = inner;
                continue;
            }
            if let Some(inner) = cast(self.graph, scores) {
                scores = inner;
                continue;
            }
            let Some(made) = application(self.graph, scores) else { return Ok(None) };
            let next = match self.factor(&made) {
                Some((x, factor)) => {
                    self.scale *= factor;
                    Some(x)
                }
                None => self.take_mask(&made, scores, patch)?,
            };
            match next {
                Some(next) => scores = next,
                None => return Ok(None),
            }
        }
    }

    fn number(&self, term: Term) -> Option<f64> {
        match term {
            Term::Number(value) => Some(value),
            Term::Value(id) => self.graph.uniform(id),
        }
    }

    /// `x * number` or `x / number`.
    fn factor(&self, made: &Application) -> Option<(ValueId, f64)> {
        let [a, b] = made.args[..] else { return None };
        match (made.op, a, b) {
            (ScalarOp::Mul, Term::Value(x), factor) if self.number(factor).is_some() => Some((x, self.number(factor)?)),
            (ScalarOp::Mul, factor, Term::Value(x)) => Some((x, self.number(factor)?)),
            (ScalarOp::Div, Term::Value(x), divisor) => Some((x, 1.0 / self.number(divisor)?)),
            _ => None,
        }
    }

    /// Is this the side with the product? Masks have none above them within a few nodes.
    fn leads_to_product(&self, value: ValueId) -> bool {
        let mut at = value;
        for _ in 0..8 {
            let Some((node, _)) = self.graph.producer(at) else { return false };
            if matches!(node.op, Op::MatMul(_)) {
                return true;
            }
            if is_reshape(&node.op) {
                let Some(inner) = node.inputs.first().copied().flatten() else { return false };
                at = inner;
                continue;
            }
            let Some(made) = application(self.graph, at) else { return false };
            let next = made.args.iter().find_map(|arg| match arg {
                Term::Value(id) if self.number(*arg).is_none() && self.same_rank(*id, at) => Some(*id),
                _ => None,
            });
            match next {
                Some(next) => at = next,
                None => return false,
            }
        }
        false
    }

    fn same_rank(&self, a: ValueId, b: ValueId) -> bool {
        let rank = |id: ValueId| self.graph.tensor(id).and_then(|ty| ty.shape.rank());
        rank(a) == rank(b)
    }

    /// The scores without the mask that this operation, whose result is given, puts on them.
    fn take_mask(
        &mut self,
        made: &Application,
        result: ValueId,
        patch: &mut Patch<'_>,
    ) -> Result<Option<ValueId>, Miss> {
        let (scores, value, meaning) = match (made.op, &made.args[..]) {
            (ScalarOp::Add, &[Term::Value(a), Term::Value(b)]) => {
                // A bias may be a product too, but is smaller.
                let is_scores = |x: ValueId, other: ValueId| {
                    self.leads_to_product(x) && (same_shape(self.graph, x, result) || !self.leads_to_product(other))
                };
                let (scores, mask) = if is_scores(a, b) { (a, b) } else { (b, a) };
                (scores, mask, Meaning::Added(self.scale))
            }
            (ScalarOp::Select, &[Term::Value(condition), Term::Value(scores), other])
                if self.number(other) == Some(f64::NEG_INFINITY) =>
            {
                (scores, condition, Meaning::Condition)
            }
            (ScalarOp::Select, &[Term::Value(condition), then, otherwise]) => {
                // The value that replaces the scores is so low that adding it has the same effect.
                let compute = made.compute;
                let low = |term: Term| self.number(term).filter(|v| *v <= -1e4);
                let zero = Expr::constant(compute, 0.0);
                let chosen = Expr::input(0, DataType::Bool);
                let (scores, added) = match (then, otherwise) {
                    (Term::Value(scores), other) if low(other).is_some() => {
                        let other = Expr::constant(compute, low(other).unwrap_or(f64::NEG_INFINITY));
                        (scores, chosen.select(&zero, &other))
                    }
                    (other, Term::Value(scores)) if low(other).is_some() => {
                        let other = Expr::constant(compute, low(other).unwrap_or(f64::NEG_INFINITY));
                        (scores, chosen.select(&other, &zero))
                    }
                    _ => miss!("a condition chooses between scores and something that is no low number"),
                };
                let op = Expr::into_pointwise(&[added]).map_err(|e| Miss(e.to_string()))?;
                (scores, patch.add_one(op, &[condition])?, Meaning::Added(self.scale))
            }
            _ => return Ok(None),
        };
        let grouping = matrices(patch, result)?.0;
        if !same_dims(&grouping, &matrices(patch, scores)?.0) {
            miss!("the scores broadcast to a mask");
        }
        self.masks.push(Mask { value, meaning, grouping });
        Ok(Some(scores))
    }

    /// q and k without the factors on them, k with its keys in rows.
    fn operands(&mut self, product: ValueId, patch: &mut Patch<'_>) -> Result<(ValueId, ValueId), Miss> {
        let Some((node, _)) = self.graph.producer(product) else { miss!("no product") };
        let (Op::MatMul(op), &[Some(a), Some(b)]) = (&node.op, node.inputs.as_slice()) else { miss!("no product") };
        let (a, b) = (self.unscaled(a), self.unscaled(b));
        let rank = dims_of(patch, product)?.len();
        if dims_of(patch, a)?.len() != rank || dims_of(patch, b)?.len() != rank {
            miss!("its operands have different numbers of dimensions");
        }
        let q = if op.transpose_a { swapped(patch, a)? } else { a };
        let k = if op.transpose_b { b } else { swapped(patch, b)? };
        Ok((q, k))
    }

    fn unscaled(&mut self, value: ValueId) -> ValueId {
        match application(self.graph, value).and_then(|made| self.factor(&made)) {
            Some((x, factor)) if self.same_rank(x, value) => {
                self.scale *= factor;
                self.nodes.extend(self.graph.producer_position(value));
                x
            }
            _ => value,
        }
    }

    /// All masks as one.
    fn mask(&self, patch: &mut Patch<'_>) -> Result<Option<ValueId>, Miss> {
        let mut whole: Option<ValueId> = None;
        let added = self.masks.iter().find(|mask| mask.meaning != Meaning::Condition);
        for mask in &self.masks {
            let own_type = patch.ty(mask.value).data_type();
            let own = match (mask.meaning, added) {
                (Meaning::Added(1.0), _) | (Meaning::Condition, None) => None,
                (Meaning::Added(factor), _) => Some(&Expr::input(0, own_type) * factor),
                (Meaning::Condition, Some(added)) => {
                    let data_type = patch.ty(added.value).data_type();
                    let [none, all] = [0.0, f64::NEG_INFINITY].map(|value| Expr::constant(data_type, value));
                    Some(Expr::input(0, own_type).select(&none, &all))
                }
            };
            let own = match own {
                None => mask.value,
                Some(own) => {
                    let op = Expr::into_pointwise(&[own]).map_err(|e| Miss(e.to_string()))?;
                    patch.add_one(op, &[mask.value])?
                }
            };
            let own = self.heads.mask(patch, own, &mask.grouping)?;
            whole = Some(match whole {
                None => own,
                Some(other) => {
                    let [first, second] = [other, own].map(|id| patch.ty(id).data_type());
                    let sum = match first == DataType::Bool {
                        true => Expr::input(0, first).binary(ScalarOp::And, &Expr::input(1, second)),
                        false => &Expr::input(0, first) + &Expr::input(1, second),
                    };
                    let op = Expr::into_pointwise(&[sum]).map_err(|e| Miss(e.to_string()))?;
                    patch.add_one(op, &[other, own])?
                }
            });
        }
        whole.map(|whole| self.heads.joined_mask(patch, whole)).transpose()
    }
}
