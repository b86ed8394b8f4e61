//! Decision trees, each row of x walked down every tree; rows are shared between threads.
//!
//! `cpu.trees.packed` takes nodes and sets as the plan packs them, so that a launch reads only the nodes of its paths.
//! `cpu.trees.walk` takes any operands, and looks for the sets of all nodes in every launch.

use std::sync::Mutex;

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Dim, Tensor, View};
use sinter_ops::OpKind;
use sinter_ops::classical::tree_ensemble::{BASE, LEAVES, MEMBER, MEMBERS, NODES, ROOTS, SPLITS, TARGETS, WEIGHTS};
use sinter_ops::classical::{Aggregate, ScoreTransform, TreeEnsemble};

use crate::elements::{Numbers, load, store_real};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer};
use crate::only_operator;
use crate::packed::{Fit, PackedRow, no_extra, one_recipe};
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::values::data;

/// Nodes and sets of the plan.
pub const PACKED: PackedRow = PackedRow {
    name: "cpu.trees.packed",
    roots: &[OpKind::TreeEnsemble],
    // Of the operands, only the nodes of the paths are read.
    speed: Speed { per_byte: 0.01, ..Speed::SCALAR },
    extra: no_extra,
    recipes: one_recipe,
    fit: |region, _| fit(region),
    pack,
};

/// Any operands.
pub const TREES: Row = Row {
    name: "cpu.trees.walk",
    roots: &[OpKind::TreeEnsemble],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, TreeEnsemble).clone();
    Ok(Loaded::Kernel(Box::new(Walk { op, is_packed: false })))
}

fn fit(region: &Region) -> Result<Fit, Refusal> {
    let op = only_operator!(region, TreeEnsemble).clone();
    let packed = if region.input(MEMBERS).is_some() { vec![NODES, MEMBERS] } else { vec![NODES] };
    let kernel = Loaded::Kernel(Box::new(Walk { op, is_packed: true }));
    Ok(Fit { kernel, packed, workspace: Dim::constant(0), in_place: Vec::new() })
}

/// Estimated operations per score: a walk from root to leaf.
const WORK: usize = 64;
/// Columns of the table of nodes; packed tables have one more, the index of the node's set.
const COLUMNS: usize = 7;
/// Nodes with the indices of their sets; sets with a table in front: how many they are, then where each of them begins
/// among the members, and where the last one ends.
fn pack(_: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
    let failed = |e: sinter_base::TensorError| data(e.to_string());
    if operand == NODES {
        let (mut nodes, mut sets) = (Vec::with_capacity(weight.count() / COLUMNS * (COLUMNS + 1)), 0i64..);
        for node in weight.elements::<i64>().map_err(failed)?.chunks_exact(COLUMNS) {
            nodes.extend_from_slice(node);
            nodes.push(if node.get(1) == Some(&MEMBER) { sets.next().unwrap_or(0) } else { 0 });
        }
        return Tensor::from_vec(&[nodes.len()], nodes).map_err(failed);
    }
    let values = weight.to_floats();
    let mut starts = vec![0.0];
    let mut members = Vec::with_capacity(values.len());
    for set in values.split_inclusive(|v| v.is_nan()) {
        members.extend(set.iter().filter(|v| !v.is_nan()));
        starts.push(members.len() as f64);
    }
    let packed = [&[(starts.len() - 1) as f64], &starts[..], &members].concat();
    Tensor::from_vec(&[packed.len()], packed).map_err(failed)
}

struct Walk {
    op: TreeEnsemble,
    /// Are nodes and sets as [`pack`] makes them?
    is_packed: bool,
}

/// Numbers of a float type, read where they lie if they are f32 or f64.
enum Reals<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    Loaded(ScratchBuffer<'a, f64>),
}

impl<'a> Reals<'a> {
    fn of(view: View<'a>, scratch: &'a Scratch) -> Result<Self, KernelError> {
        match view.data_type() {
            DataType::F32 => Ok(Self::F32(view.elements())),
            DataType::F64 => Ok(Self::F64(view.elements())),
            other => match load(view, scratch) {
                Numbers::Floats(values) => Ok(Self::Loaded(values)),
                Numbers::Ints(_) => Err(data(format!("{other} where floats are expected"))),
            },
        }
    }

    fn get(&self, index: usize) -> Option<f64> {
        match self {
            Self::F32(values) => values.get(index).copied().map(f64::from),
            Self::F64(values) => values.get(index).copied(),
            Self::Loaded(values) => values.get(index).copied(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Loaded(values) => values.len(),
        }
    }
}

/// Which members are in the set of a node.
enum Sets<'a> {
    /// The members of all sets one after the other, NaN between them, and of each node where its set begins and ends.
    Listed { members: Reals<'a>, bounds: ScratchBuffer<'a, [usize; 2]> },
    /// As [`pack`] makes them.
    Packed(Reals<'a>),
}

/// The operands beside x.
struct Forest<'a> {
    nodes: &'a [i64],
    columns: usize,
    splits: Reals<'a>,
    sets: Option<Sets<'a>>,
    leaves: &'a [i64],
    targets: &'a [i64],
    weights: Reals<'a>,
    roots: &'a [i64],
}

/// Where the sets of all nodes begin and end.
fn bounds<'a>(nodes: &[i64], members: &Reals<'_>, scratch: &'a Scratch) -> ScratchBuffer<'a, [usize; 2]> {
    let mut start = 0;
    scratch.list(nodes.chunks_exact(COLUMNS).map(|node| {
        if node[1] != MEMBER {
            return [0; 2];
        }
        let is_inside = |at: &usize| members.get(*at).is_some_and(|member| !member.is_nan());
        let set = [start, (start..).find(|at| !is_inside(at)).unwrap_or(start)];
        start = set[1] + 1;
        set
    }))
}

impl<'a> Forest<'a> {
    fn of<'r: 'a, 'v: 'a>(launch: &Launch<'r, 'v>, is_packed: bool) -> Result<Self, KernelError> {
        let scratch = launch.scratch;
        let ints = |index: usize| launch.input(index).map(|v| v.elements::<i64>());
        let reals = |index: usize| launch.input(index).and_then(|view| Reals::of(view, scratch));
        let nodes = ints(NODES)?;
        let sets = match launch.optional(MEMBERS).map(|view| Reals::of(view, scratch)).transpose()? {
            None => None,
            Some(members) if is_packed => Some(Sets::Packed(members)),
            Some(members) => Some(Sets::Listed { bounds: bounds(nodes, &members, scratch), members }),
        };
        Ok(Self {
            nodes,
            columns: if is_packed { COLUMNS + 1 } else { COLUMNS },
            splits: reals(SPLITS)?,
            sets,
            leaves: ints(LEAVES)?,
            targets: ints(TARGETS)?,
            weights: reals(WEIGHTS)?,
            roots: ints(ROOTS)?,
        })
    }

    /// Is the value in the set of a node?
    fn is_member(&self, node: usize, row: &[i64], value: f64) -> bool {
        let among = |members: &Reals<'_>, mut range: std::ops::Range<usize>| {
            range.any(|at| members.get(at).is_some_and(|member| member == value))
        };
        match &self.sets {
            None => false,
            Some(Sets::Listed { members, bounds }) => {
                bounds.get(node).is_some_and(|&[start, end]| among(members, start..end))
            }
            Some(Sets::Packed(packed)) => {
                let number = |at: usize| packed.get(at).map_or(0, |number| number as usize);
                let (sets, set) = (number(0), row.get(COLUMNS).map_or(0, |set| *set as usize));
                let first = sets.saturating_add(2);
                let bound = |at: usize| first.saturating_add(number(at)).min(packed.count());
                set < sets && among(packed, bound(set + 1)..bound(set + 2))
            }
        }
    }

    /// Where a node leads: position, and whether that is a leaf's.
    fn next(&self, node: usize, x: impl Fn(usize) -> Option<f64>) -> Result<(i64, bool), KernelError> {
        let row = &self.nodes[node * self.columns..(node + 1) * self.columns];
        let value = usize::try_from(row[0]).ok().and_then(x);
        let value = value.ok_or_else(|| data(format!("feature {} is not in x", row[0])))?;
        let split = self.splits.get(node).unwrap_or(f64::NAN);
        let holds = match row[1] {
            0 => value <= split,
            1 => value < split,
            2 => value >= split,
            3 => value > split,
            4 => value == split,
            5 => value != split,
            MEMBER => self.is_member(node, row, value),
            other => return Err(data(format!("comparison {other} is unknown"))),
        };
        let takes_first = holds || value.is_nan() && row[6] != 0;
        Ok(if takes_first { (row[2], row[3] != 0) } else { (row[4], row[5] != 0) })
    }

    /// The leaf that x reaches from a root.
    fn leaf(&self, root: i64, x: impl Fn(usize) -> Option<f64>) -> Result<i64, KernelError> {
        let count = self.splits.count().min(self.nodes.len() / self.columns);
        let mut at = root;
        // No path is longer than there are nodes.
        for _ in 0..=count {
            let node = usize::try_from(at).ok().filter(|node| *node < count);
            let (next, is_leaf) = self.next(node.ok_or_else(|| data(format!("node {at} of {count}")))?, &x)?;
            if is_leaf {
                return Ok(next);
            }
            at = next;
        }
        Err(data(format!("the nodes below root {root} form a circle")))
    }

    /// The entries of a leaf.
    fn entries(&self, leaf: i64) -> Result<impl Iterator<Item = (i64, f64)>, KernelError> {
        let found = usize::try_from(leaf).ok().and_then(|leaf| {
            let row = self.leaves.get(leaf.checked_mul(2)?..)?.get(..2)?;
            let (start, count) = (usize::try_from(row[0]).ok()?, usize::try_from(row[1]).ok()?);
            let range = start..start.checked_add(count).filter(|end| *end <= self.weights.count())?;
            let weights = range.clone().filter_map(|at| self.weights.get(at));
            Some(self.targets.get(range)?.iter().copied().zip(weights))
        });
        found.ok_or_else(|| data(format!("leaf {leaf} of {}", self.leaves.len() / 2)))
    }
}

impl Walk {
    /// Scores of one row before the base values; `reached` has space for a mark per score.
    fn scores(
        &self,
        forest: &Forest<'_>,
        x: impl Fn(usize) -> Option<f64>,
        scores: &mut [f64],
        reached: &mut [u8],
    ) -> Result<(), KernelError> {
        reached.fill(0);
        scores.fill(0.0);
        for root in forest.roots {
            for (target, weight) in forest.entries(forest.leaf(*root, &x)?)? {
                let known = usize::try_from(target).ok().filter(|t| *t < scores.len());
                let at = known.ok_or_else(|| data(format!("target {target} of {}", scores.len())))?;
                scores[at] = match self.op.aggregate {
                    _ if reached[at] == 0 => weight,
                    Aggregate::Sum | Aggregate::Average => scores[at] + weight,
                    Aggregate::Smallest => scores[at].min(weight),
                    Aggregate::Largest => scores[at].max(weight),
                };
                reached[at] = 1;
            }
        }
        if self.op.aggregate == Aggregate::Average {
            let trees = forest.roots.len().max(1) as f64;
            scores.iter_mut().for_each(|s| *s /= trees);
        }
        Ok(())
    }

    fn transform(&self, scores: &mut [f64]) {
        match self.op.transform {
            ScoreTransform::Keep => {}
            ScoreTransform::Logistic => scores.iter_mut().for_each(|s| *s = 0.5 + 0.5 * (0.5 * *s).tanh()),
            ScoreTransform::Probit => scores.iter_mut().for_each(|s| *s = probit(*s)),
            ScoreTransform::Softmax => softmax(scores, |_| false),
            ScoreTransform::SoftmaxNonZero => softmax(scores, |s| s.abs() <= 1e-7),
        }
    }
}

/// Softmax in which scores that are `left_out` only shrink.
fn softmax(scores: &mut [f64], left_out: impl Fn(f64) -> bool) {
    let most = scores.iter().fold(f64::NEG_INFINITY, |most, s| most.max(*s));
    let mut total = 0.0;
    for score in scores.iter_mut() {
        *score = if left_out(*score) { *score * (-most).exp() } else { (*score - most).exp() };
        total += *score;
    }
    // If all scores are equal, each probability is one half, as in ONNX Runtime.
    scores.iter_mut().for_each(|s| *s = if total == 0.0 { 0.5 } else { *s / total });
}

/// Inverse of the normal distribution by Winitzki's approximation of the inverse error function, which the operator
/// prescribes.
fn probit(probability: f64) -> f64 {
    const A: f64 = 0.147;
    let x = 2.0 * probability - 1.0;
    let log = (1.0 - x * x).ln();
    let half = 2.0 / (std::f64::consts::PI * A) + log / 2.0;
    ((half * half - log / A).sqrt() - half).sqrt().copysign(x) * std::f64::consts::SQRT_2
}

impl Kernel for Walk {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let &[rows, features] = x.sizes() else { return Err(data(format!("x of sizes {:?}", x.sizes()))) };
        let (workers, scratch) = (launch.workers, launch.scratch);
        let (x, forest) = (Reals::of(x, scratch)?, Forest::of(launch, self.is_packed)?);
        let base = launch.optional(BASE).map(|view| Reals::of(view, scratch)).transpose()?;
        let targets = self.op.targets;
        let mut y = scratch.filled(rows * targets, 0.0);
        let failure: Mutex<Option<KernelError>> = Mutex::new(None);
        scratch.reserve::<u8>(workers.count(), targets);
        share(workers, &mut y, targets, Cost::PerElement(WORK), |first, part| {
            let mut reached = scratch.allocate(targets);
            for (at, scores) in part.chunks_mut(targets).enumerate() {
                let row = (first + at) * features;
                let feature = |feature: usize| if feature < features { x.get(row + feature) } else { None };
                if let Err(error) = self.scores(&forest, feature, scores, &mut reached) {
                    failure.lock().ok().and_then(|mut slot| slot.replace(error));
                    return;
                }
                if let Some(base) = &base {
                    scores.iter_mut().enumerate().for_each(|(i, s)| *s += base.get(i).unwrap_or(0.0));
                }
                self.transform(scores);
            }
        });
        if let Some(error) = failure.into_inner().ok().flatten() {
            return Err(error);
        }
        store_real(&y, launch.output(0));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::ValueType;
    use sinter_ops::{Op, Operator};

    use super::*;

    /// The region of an example, and its operands.
    fn example() -> (Region, Vec<Option<Tensor>>) {
        let example = TreeEnsemble::examples().into_iter().next().expect("an example");
        let Op::TreeEnsemble(op) = &example.op else { panic!("an example of another operator") };
        let values: Vec<_> = example.values(0).into_iter().map(|v| v.and_then(|v| v.as_tensor().cloned())).collect();
        let ty = |t: &Tensor| ValueType::tensor(t.data_type(), t.sizes().iter().map(|&s| Dim::from(s)).collect());
        let types: Vec<_> = values.iter().map(|v| v.as_ref().map(ty)).collect();
        let y = ValueType::tensor(DataType::F32, vec![Dim::constant(5), Dim::from(op.targets)]);
        (Region::single(op.clone().into(), &types, vec![y]), values)
    }

    #[test]
    fn nodes_know_their_sets() {
        let (region, values) = example();
        let fit = fit(&region).unwrap();
        assert_eq!(fit.packed, [NODES, MEMBERS]);
        let packed = |operand: usize| pack(&region, operand, values[operand].as_ref().unwrap()).unwrap();
        let nodes = packed(NODES);
        let numbers: Vec<i64> = nodes.to_i64().chunks_exact(COLUMNS + 1).map(|node| node[COLUMNS]).collect();
        assert_eq!((nodes.count(), numbers), (3 * (COLUMNS + 1), vec![0, 0, 0]));
        // One set of two members.
        assert_eq!(packed(MEMBERS).to_floats(), [1.0, 0.0, 2.0, 1.0, 0.5]);
        let two = Tensor::from_vec(&[5], vec![1f32, f32::NAN, 2.0, 3.0, f32::NAN]).unwrap();
        assert_eq!(pack(&region, MEMBERS, &two).unwrap().to_floats(), [2.0, 0.0, 1.0, 3.0, 1.0, 2.0, 3.0]);
        let mut nodes = vec![0i64; 3 * COLUMNS];
        (nodes[1], nodes[2 * COLUMNS + 1]) = (MEMBER, MEMBER);
        let nodes = pack(&region, NODES, &Tensor::from_vec(&[3, COLUMNS], nodes).unwrap()).unwrap().to_i64();
        assert_eq!([nodes[7], nodes[15], nodes[23]], [0, 0, 1]);
    }
}
