//! Attention from its parts: `softmax(scale q k^T + mask) v`, in any exporter's spelling.
//!
//! The factor may stand on the scores, on q, on k or on several of them; masks are added or chosen by a condition; keys
//! come transposed by a node of their own or by the product's flag. Operands of three dimensions are taken as one head
//! each. Source: Vaswani et al. 2017. Does not fire when the weights are read elsewhere too, or when batches broadcast.

use sinter_base::{Dim, Truth};
use sinter_ir::pattern::{Application, Term, application};
use sinter_ir::{Graph, Patch};
use sinter_ops::attention::Attention;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::{Reshape, Transpose, Unsqueeze};
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::{Op, ValueId};

use crate::pass::{Miss, miss};
use crate::reshapes::target;

/// Recognises the attention whose last operation is this product.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let Op::MatMul(MatMul { transpose_a: false, transpose_b }) = node.op else { return Ok(false) };
    let &[Some(weights), Some(values)] = node.inputs.as_slice() else { return Ok(false) };
    let guarded = guarded(graph, weights);
    let (guard, weights) = (guarded.map(|_| weights), guarded.unwrap_or(weights));
    let Some((softmax, 0)) = graph.producer(weights) else { return Ok(false) };
    let Op::Softmax(op) = &softmax.op else { return Ok(false) };
    let rank = graph.tensor(weights).and_then(|ty| ty.shape.rank()).unwrap_or(0);
    let is_last = op.axis == -1 || usize::try_from(op.axis).is_ok_and(|axis| axis + 1 == rank);
    let Some(&Some(scores)) = softmax.inputs.first().filter(|_| is_last && !op.log) else { return Ok(false) };
    let mut parts = Parts::new(graph, position, weights);
    parts.nodes.extend(guard.and_then(|guard| graph.producer_position(guard)));
    let Some(product) = parts.peel(scores, patch)? else { miss!("the scores are no product of matrices") };
    if rank != 3 && rank != 4 {
        miss!("its operands have {rank} dimensions");
    }
    let is_used_once = match guard {
        None => graph.has_one_use(weights),
        Some(guard) => graph.has_one_use(guard) && graph.users(weights).len() == 2 && !graph.is_result(weights),
    };
    if !is_used_once {
        miss!("the weights are read elsewhere too");
    }
    let (q, k) = parts.operands(product, patch)?;
    let v = if transpose_b { swapped(patch, values, rank)? } else { values };
    patch.set_origins(parts.nodes.clone());
    let [q, k, v] = [four(patch, q)?, four(patch, k)?, four(patch, v)?];
    check(patch, q, k, v)?;
    let mask = parts.mask(patch, rank)?;
    let attention = Attention { scale: Some(parts.scale), ..Attention::default() };
    let mut inputs = vec![Some(q), Some(k), Some(v)];
    inputs.extend(mask.map(Some));
    let results = patch.add(attention, &inputs)?;
    let mut y = results[0];
    if rank == 3 {
        let dims = |id: ValueId, patch: &Patch<'_>| dims_of(patch, id);
        let (from, to) = (dims(y, patch)?, dims(node.outputs[0], patch)?);
        let Some(entries) = target(&from, &to) else { miss!("the sizes of the result are not decided") };
        let shape = patch.int_list(&entries);
        y = patch.add_one(Reshape::default(), &[y, shape])?;
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

/// The weights under `select(is_nan(weights), 0, weights)`, by which exporters give rows without any key the result 0.
/// Such a row of weights is NaN as a whole, and so is its row of the result, where the same guard does the same.
fn guarded(graph: &Graph<'_>, value: ValueId) -> Option<ValueId> {
    let guard = application(graph, value).filter(|made| made.op == ScalarOp::Select)?;
    let [Term::Value(condition), Term::Number(0.0), Term::Value(weights)] = guard.args[..] else { return None };
    let test = application(graph, condition).filter(|made| made.op == ScalarOp::IsNan)?;
    (test.args[..] == [Term::Value(weights)]).then_some(weights)
}

fn dims_of(patch: &Patch<'_>, id: ValueId) -> Result<Vec<Dim>, Miss> {
    match patch.ty(id).as_tensor().and_then(|ty| ty.dims().ok()) {
        Some(dims) => Ok(dims.to_vec()),
        None => miss!("a rank is not known"),
    }
}

/// The last two axes swapped.
fn swapped(patch: &mut Patch<'_>, x: ValueId, rank: usize) -> Result<ValueId, Miss> {
    let Some(last) = rank.checked_sub(2) else { miss!("an operand has {rank} dimensions") };
    let permutation = (0..last).chain([last + 1, last]).collect();
    Ok(patch.add_one(Transpose { permutation: Some(permutation) }, &[x])?)
}

/// An operand of three dimensions with one head.
fn four(patch: &mut Patch<'_>, x: ValueId) -> Result<ValueId, Miss> {
    match dims_of(patch, x)?.len() {
        4 => Ok(x),
        3 => {
            let axes = patch.int_list(&[1]);
            Ok(patch.add_one(Unsqueeze::default(), &[x, axes])?)
        }
        rank => miss!("an operand has {rank} dimensions"),
    }
}

/// The operator wants equal batches and heads, where a product would broadcast.
fn check(patch: &Patch<'_>, q: ValueId, k: ValueId, v: ValueId) -> Result<(), Miss> {
    let [q, k, v] = [dims_of(patch, q)?, dims_of(patch, k)?, dims_of(patch, v)?];
    for axis in 0..2 {
        if q[axis].equals(&k[axis]) != Truth::Yes || k[axis].equals(&v[axis]) != Truth::Yes {
            miss!("batches or heads {}, {} and {} are not certainly equal", q[axis], k[axis], v[axis]);
        }
    }
    if k[2].equals(&v[2]) != Truth::Yes {
        miss!("{} keys and {} values", k[2], v[2]);
    }
    Ok(())
}

/// A mask still to be multiplied by a factor that stands behind it.
enum Mask {
    /// Added.
    Added { value: ValueId, factor: f64 },
    /// True takes part, everything else is minus infinity.
    Condition(ValueId),
}

/// What is found on the way from the weights up to the product of q and k.
struct Parts<'g, 'a> {
    graph: &'g Graph<'a>,
    scale: f64,
    masks: Vec<Mask>,
    nodes: Vec<usize>,
}

impl<'g, 'a> Parts<'g, 'a> {
    fn new(graph: &'g Graph<'a>, position: usize, weights: ValueId) -> Self {
        let nodes = graph.producer_position(weights).into_iter().chain([position]).collect();
        Self { graph, scale: 1.0, masks: Vec::new(), nodes }
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
            let Some(made) = application(self.graph, scores) else { return Ok(None) };
            let next = match self.factor(&made) {
                Some((x, factor)) => {
                    self.scale *= factor;
                    Some(x)
                }
                None => self.take_mask(&made, patch)?,
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
            let Some(made) = application(self.graph, at) else { return false };
            let next = made.args.iter().find_map(|arg| match arg {
                Term::Value(id) if self.number(*arg).is_none() && self.same_rank(*id, value) => Some(*id),
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

    fn take_mask(&mut self, made: &Application, patch: &mut Patch<'_>) -> Result<Option<ValueId>, Miss> {
        match (made.op, &made.args[..]) {
            (ScalarOp::Add, &[Term::Value(a), Term::Value(b)]) => {
                let (scores, mask) = if self.leads_to_product(a) { (a, b) } else { (b, a) };
                self.masks.push(Mask::Added { value: mask, factor: self.scale });
                Ok(Some(scores))
            }
            (ScalarOp::Select, &[Term::Value(condition), Term::Value(scores), other])
                if self.number(other) == Some(f64::NEG_INFINITY) =>
            {
                self.masks.push(Mask::Condition(condition));
                Ok(Some(scores))
            }
            (ScalarOp::Select, &[Term::Value(condition), then, otherwise]) => {
                // What is put in the scores' place is so low that adding it does the same.
                let compute = made.compute;
                let low = |term: Term| self.number(term).filter(|v| *v <= -1e4);
                let zero = Expr::constant(compute, 0.0);
                let chosen = Expr::input(0, sinter_base::DataType::Bool);
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
                let value = patch.add_one(op, &[condition])?;
                self.masks.push(Mask::Added { value, factor: self.scale });
                Ok(Some(scores))
            }
            _ => Ok(None),
        }
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
        let q = if op.transpose_a { swapped(patch, a, rank)? } else { a };
        let k = if op.transpose_b { b } else { swapped(patch, b, rank)? };
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
    fn mask(&self, patch: &mut Patch<'_>, rank: usize) -> Result<Option<ValueId>, Miss> {
        let mut whole: Option<ValueId> = None;
        for mask in &self.masks {
            let mut own = match *mask {
                Mask::Condition(condition) if self.masks.len() > 1 => {
                    let _ = condition;
                    miss!("it has several masks, one of them a condition");
                }
                Mask::Condition(condition) => condition,
                Mask::Added { value, factor: 1.0 } => value,
                Mask::Added { value, factor } => {
                    let data_type = patch.ty(value).data_type();
                    let scaled = &Expr::input(0, data_type) * factor;
                    let op = Expr::into_pointwise(&[scaled]).map_err(|e| Miss(e.to_string()))?;
                    patch.add_one(op, &[value])?
                }
            };
            if rank == 3 && dims_of(patch, own)?.len() == 3 {
                own = four(patch, own)?;
            }
            whole = Some(match whole {
                None => own,
                Some(other) => {
                    let data_type = patch.ty(own).data_type();
                    let sum = &Expr::input(0, data_type) + &Expr::input(1, data_type);
                    let op = Expr::into_pointwise(&[sum]).map_err(|e| Miss(e.to_string()))?;
                    patch.add_one(op, &[other, own])?
                }
            });
        }
        Ok(whole)
    }
}
