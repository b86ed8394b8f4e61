//! Decision trees whose leaves are aggregated per target.
//!
//! Inputs: x [N, F]; nodes [M, 7] i64, rows of (feature, comparison, where true leads, is that a leaf, where false
//! leads, is that a leaf, does NaN count as true); splits [M]; members [K], the sets of the membership nodes in order,
//! each followed by a NaN, optional; leaves [L, 2] i64, rows of (first entry, number of entries); targets of the
//! entries [E] i64; weights of the entries [E]; roots [T] i64, positions of nodes; base values [targets], optional.
//! Comparisons of the feature with the split: 0 `<=`, 1 `<`, 2 `>=`, 3 `>`, 4 `==`, 5 `!=`, 6 membership. Result:
//! [N, targets], the aggregate over all trees plus the base value, transformed. Source: ONNX TreeEnsemble-5,
//! TreeEnsembleRegressor-3 of ai.onnx.ml.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// How the weights that reach a target become its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum Aggregate {
    /// Their sum.
    #[default]
    Sum,
    /// Their sum divided by the number of trees.
    Average,
    /// The smallest; 0 without any.
    Smallest,
    /// The largest; 0 without any.
    Largest,
}

/// The transformation of the scores of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum ScoreTransform {
    /// Nothing.
    #[default]
    Keep,
    /// e^s divided by the sum over the row.
    Softmax,
    /// 1 / (1 + e^-s).
    Logistic,
    /// As the softmax, over the scores that are not 0; only zeros give one half each.
    SoftmaxNonZero,
    /// Inverse of the normal distribution.
    Probit,
}

impl ScoreTransform {
    /// Transforms the scores of one row.
    pub fn apply(self, scores: &mut [f64]) {
        match self {
            ScoreTransform::Keep => {}
            ScoreTransform::Logistic => scores.iter_mut().for_each(|s| *s = 1.0 / (1.0 + (-*s).exp())),
            ScoreTransform::Probit => scores.iter_mut().for_each(|s| *s = probit(*s)),
            ScoreTransform::Softmax | ScoreTransform::SoftmaxNonZero => {
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let zero = |s: f64| self == ScoreTransform::SoftmaxNonZero && s.abs() <= 1e-7;
                scores.iter_mut().for_each(|s| *s = if zero(*s) { *s * (-most).exp() } else { (*s - most).exp() });
                let total: f64 = scores.iter().sum();
                // Only zeros: no score stands out, and each is one half as ONNX Runtime has it.
                scores.iter_mut().for_each(|s| *s = if total == 0.0 { 0.5 } else { *s / total });
            }
        }
    }
}

/// The number below which a normally distributed one falls with this probability, by the approximation of the inverse
/// error function that ONNX Runtime and the reference of ONNX use (Winitzki 2008).
fn probit(probability: f64) -> f64 {
    let x = 2.0 * probability - 1.0;
    let log = (1.0 - x * x).ln();
    let (a, b) = (2.0 / (std::f64::consts::PI * 0.147) + 0.5 * log, log / 0.147);
    let inverse = ((a * a - b).sqrt() - a).sqrt();
    std::f64::consts::SQRT_2 * if x < 0.0 { -inverse } else { inverse }
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct TreeEnsemble {
    /// Number of targets.
    pub targets: usize,
    /// How weights become a score.
    pub aggregate: Aggregate,
    /// The transformation of the scores.
    pub transform: ScoreTransform,
}

/// Number of the comparison by membership.
pub const MEMBER: i64 = 6;

/// Position of the input that is the table of nodes.
pub const NODES: usize = 1;
/// Position of the input that is what nodes compare with.
pub const SPLITS: usize = 2;
/// Position of the input that is the sets of nodes that compare by membership.
pub const MEMBERS: usize = 3;
/// Position of the input that is the table of leaves.
pub const LEAVES: usize = 4;
/// Position of the input that is what leaves add to.
pub const TARGETS: usize = 5;
/// Position of the input that is what leaves add.
pub const WEIGHTS: usize = 6;
/// Position of the input that is where trees begin.
pub const ROOTS: usize = 7;
/// Position of the input that is what scores begin with.
pub const BASE: usize = 8;

/// The inputs beside x as numbers.
struct Trees {
    nodes: Vec<i64>,
    splits: Vec<f64>,
    /// For each node the set that it tests; empty for other comparisons.
    sets: Vec<Vec<f64>>,
    leaves: Vec<i64>,
    targets: Vec<i64>,
    weights: Vec<f64>,
    roots: Vec<i64>,
}

impl Trees {
    fn new(inputs: &Arguments<'_>) -> Result<Self, EvalError> {
        let nodes = inputs.tensor(NODES)?.to_i64();
        let members = inputs.optional_tensor(MEMBERS)?.map(Tensor::to_floats).unwrap_or_default();
        let mut sets = members.split(|v| v.is_nan()).map(<[f64]>::to_vec);
        let sets = nodes
            .chunks_exact(7)
            .map(|row| if row[1] == MEMBER { sets.next().unwrap_or_default() } else { Vec::new() })
            .collect();
        Ok(Self {
            nodes,
            sets,
            splits: inputs.tensor(SPLITS)?.to_floats(),
            leaves: inputs.tensor(LEAVES)?.to_i64(),
            targets: inputs.tensor(TARGETS)?.to_i64(),
            weights: inputs.tensor(WEIGHTS)?.to_floats(),
            roots: inputs.tensor(ROOTS)?.to_i64(),
        })
    }

    /// The entries (target, weight) of the leaf that a row reaches from a root.
    fn reached(&self, root: i64, x: &[f64]) -> Result<Vec<(i64, f64)>, EvalError> {
        let mut at = root;
        // A path visits a node at most once.
        for _ in 0..=self.splits.len() {
            let position = usize::try_from(at).ok().filter(|p| *p < self.splits.len());
            let Some(position) = position else { invalid!(eval: "node {at} of {}", self.splits.len()) };
            let row = &self.nodes[position * 7..position * 7 + 7];
            let Some(&value) = usize::try_from(row[0]).ok().and_then(|f| x.get(f)) else {
                invalid!(eval: "feature {} of {}", row[0], x.len());
            };
            let split = self.splits[position];
            let holds = match row[1] {
                0 => value <= split,
                1 => value < split,
                2 => value >= split,
                3 => value > split,
                4 => value == split,
                5 => value != split,
                MEMBER => self.sets[position].contains(&value),
                other => invalid!(eval: "comparison {other} is unknown"),
            };
            let holds = holds || (value.is_nan() && row[6] != 0);
            let (next, leaf) = if holds { (row[2], row[3]) } else { (row[4], row[5]) };
            if leaf == 0 {
                at = next;
                continue;
            }
            let range = usize::try_from(next).ok().and_then(|leaf| {
                let row = self.leaves.get(leaf * 2..leaf * 2 + 2)?;
                let start = usize::try_from(row[0]).ok()?;
                Some(start..start.checked_add(usize::try_from(row[1]).ok()?)?)
            });
            let entries = range.and_then(|r| Some(self.targets.get(r.clone())?.iter().zip(self.weights.get(r)?)));
            let Some(entries) = entries else { invalid!(eval: "leaf {next} of {}", self.leaves.len() / 2) };
            return Ok(entries.map(|(target, weight)| (*target, *weight)).collect());
        }
        invalid!(eval: "the nodes below root {root} form a circle")
    }
}

impl Operator for TreeEnsemble {
    const NAME: &'static str = "TreeEnsemble";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        for index in [SPLITS, MEMBERS, WEIGHTS, BASE] {
            if inputs.has(index) || matches!(index, SPLITS | WEIGHTS) {
                inputs.data_type_where(index, "a float type", DataType::is_float)?;
            }
        }
        for index in [NODES, LEAVES, TARGETS, ROOTS] {
            inputs.data_type_where(index, "i64", |t| t == DataType::I64)?;
        }
        let (nodes, leaves) = (inputs.dims_of_rank(NODES, 2)?, inputs.dims_of_rank(LEAVES, 2)?);
        cx.require_equal(&nodes[1], &Dim::constant(7), "columns of the nodes")?;
        cx.require_equal(&leaves[1], &Dim::constant(2), "columns of the leaves")?;
        cx.require_equal(&nodes[0], &inputs.dims_of_rank(SPLITS, 1)?[0], "number of nodes and splits")?;
        let entries = &inputs.dims_of_rank(TARGETS, 1)?[0];
        cx.require_equal(entries, &inputs.dims_of_rank(WEIGHTS, 1)?[0], "number of targets and weights")?;
        if inputs.has(BASE) {
            let base = &inputs.dims_of_rank(BASE, 1)?[0];
            cx.require_equal(base, &Dim::from(self.targets), "number of base values")?;
        }
        Ok(vec![ValueType::tensor(data_type, vec![inputs.dims_of_rank(0, 2)?[0].clone(), Dim::from(self.targets)])])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let x = inputs.tensor(0)?;
        let (values, features) = (x.to_floats(), x.sizes()[1]);
        let trees = Trees::new(inputs)?;
        let base = inputs.optional_tensor(BASE)?.map(Tensor::to_floats).unwrap_or_else(|| vec![0.0; self.targets]);
        let mut y = Vec::with_capacity(x.sizes()[0] * self.targets);
        for row in 0..x.sizes()[0] {
            let own = &values[row * features..(row + 1) * features];
            let mut scores: Vec<Option<f64>> = vec![None; self.targets];
            for &root in &trees.roots {
                for (target, weight) in trees.reached(root, own)? {
                    let Some(score) = usize::try_from(target).ok().and_then(|t| scores.get_mut(t)) else {
                        invalid!(eval: "target {target} of {}", self.targets);
                    };
                    *score = Some(match (self.aggregate, *score) {
                        (_, None) => weight,
                        (Aggregate::Sum | Aggregate::Average, Some(s)) => s + weight,
                        (Aggregate::Smallest, Some(s)) => s.min(weight),
                        (Aggregate::Largest, Some(s)) => s.max(weight),
                    });
                }
            }
            let share = if self.aggregate == Aggregate::Average { trees.roots.len().max(1) as f64 } else { 1.0 };
            let mut scores: Vec<f64> = scores.iter().zip(&base).map(|(s, b)| s.unwrap_or(0.0) / share + b).collect();
            self.transform.apply(&mut scores);
            y.extend(scores);
        }
        Ok(vec![Tensor::from_floats(x.data_type(), &sizes, &y)?.into()])
    }

    /// A path per row and tree, taken as eight comparisons.
    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let first = |index: usize| inputs.dims(index).ok().and_then(|d| d.first().cloned());
        let (rows, trees) = (first(0), first(ROOTS));
        let paths = rows.unwrap_or_else(|| Dim::constant(1)).mul(&trees.unwrap_or_else(|| Dim::constant(1)));
        Cost { operations: paths.mul(&Dim::constant(8)), ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let op = |aggregate, transform| TreeEnsemble { targets: 2, aggregate, transform };
        let plain = op(Aggregate::Sum, ScoreTransform::Keep);
        vec![
            two_trees("sum", plain.clone(), 5),
            two_trees("average", op(Aggregate::Average, ScoreTransform::Logistic), 3),
            two_trees("smallest", op(Aggregate::Smallest, ScoreTransform::Softmax), 4),
            two_trees("largest", op(Aggregate::Largest, ScoreTransform::SoftmaxNonZero), 2),
            two_trees("no rows", plain, 0),
        ]
    }
}

/// A tree that tests feature 0 and, where that fails, feature 1 for membership; and one of a single test.
fn two_trees(name: &'static str, op: TreeEnsemble, rows: usize) -> Example {
    let nodes = [[0, 0, 0, 1, 1, 0, 0], [1, MEMBER, 1, 1, 2, 1, 0], [1, 3, 3, 1, 0, 1, 1]];
    let nodes = Tensor::from_vec(&[3, 7], nodes.concat()).expect("three rows");
    let leaves = Tensor::from_vec(&[4, 2], vec![0i64, 1, 1, 2, 3, 1, 4, 1]).expect("four rows");
    let floats = |values: &[f32]| Tensor::from_vec(&[values.len()], values.to_vec()).expect("one dimension");
    Example::new(name, op)
        .uniform(DataType::F32, &[rows, 2], -1.0, 1.0)
        .tensor(nodes)
        .tensor(floats(&[0.25, 0.0, -0.5]))
        .tensor(floats(&[1.0, 0.5, f32::NAN]))
        .tensor(leaves)
        .ints(&[0, 0, 1, 1, 1])
        .tensor(floats(&[0.5, 0.25, 0.75, -1.0, 2.0]))
        .ints(&[0, 2])
        .tensor(floats(&[0.0, 0.125]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    fn scores(aggregate: Aggregate, row: [f32; 2]) -> Vec<f64> {
        let op = TreeEnsemble { targets: 2, aggregate, transform: ScoreTransform::Keep };
        let mut inputs = two_trees("by hand", op.clone(), 0).values(0);
        inputs[0] = Some(Tensor::from_vec(&[1, 2], row.to_vec()).unwrap().into());
        let results = op.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator)).unwrap();
        results[0].as_tensor().unwrap().to_floats()
    }

    #[test]
    fn paths_by_hand() {
        // Leaf 0 of the first tree, leaf 3 of the second.
        assert_eq!(scores(Aggregate::Sum, [0.0, 0.0]), [0.5, 2.125]);
        // Membership: leaf 1, then leaf 3.
        assert_eq!(scores(Aggregate::Sum, [1.0, 0.5]), [0.25, 2.875]);
        // No member: leaf 2, then leaf 0.
        assert_eq!(scores(Aggregate::Sum, [1.0, -1.0]), [0.5, -0.875]);
        // NaN: the first test fails without tracking, the last holds with it.
        assert_eq!(scores(Aggregate::Largest, [f32::NAN, f32::NAN]), [0.0, 2.125]);
        assert_eq!(scores(Aggregate::Average, [1.0, 0.5]), [0.125, 1.5]);
    }

    #[test]
    fn transforms() {
        let apply = |transform: ScoreTransform, scores: [f64; 2]| {
            let mut scores = scores;
            transform.apply(&mut scores);
            scores
        };
        assert_eq!(apply(ScoreTransform::Softmax, [3.0, 3.0]), [0.5, 0.5]);
        assert_eq!(apply(ScoreTransform::SoftmaxNonZero, [0.0, 3.0]), [0.0, 1.0]);
        assert_eq!(apply(ScoreTransform::Logistic, [0.0, f64::INFINITY]), [0.5, 1.0]);
        assert!(apply(ScoreTransform::Probit, [0.5, 0.9])[1] > 1.2);
    }
}
