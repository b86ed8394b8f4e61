//! `cpu.trees.walk`: decision trees, each row of x walked down every tree.
//!
//! Nodes, leaves and their weights are read and checked for every launch, since they are operands; rows are shared
//! between threads.

use std::sync::Mutex;

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region, Room, Rooms};
use sinter_base::View;
use sinter_ops::OpKind;
use sinter_ops::classical::{Aggregate, ScoreTransform, TreeEnsemble};

use crate::elements::{Numbers, load, store_real};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::values::data;

/// See the module documentation.
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
    Ok(Loaded::Views(Box::new(Walk { op })))
}

/// Operations per score, about: a walk from root to leaf.
const WORK: usize = 64;
/// Columns of the table of nodes.
const COLUMNS: usize = 7;
/// The comparison by membership.
const MEMBER: i64 = 6;

struct Walk {
    op: TreeEnsemble,
}

fn floats<'r>(view: View<'_>, rooms: &'r Rooms) -> Result<Room<'r, f64>, KernelError> {
    match load(view, rooms) {
        Numbers::Floats(values) => Ok(values),
        Numbers::Ints(_) => Err(data(format!("{} where floats are expected", view.data_type()))),
    }
}

/// The operands beside x.
struct Forest<'a> {
    nodes: &'a [i64],
    splits: Room<'a, f64>,
    /// The members of all sets, one after the other, NaN between them.
    members: Room<'a, f64>,
    /// Of each node, where its set begins and ends.
    sets: Room<'a, [usize; 2]>,
    leaves: &'a [i64],
    targets: &'a [i64],
    weights: Room<'a, f64>,
    roots: &'a [i64],
}

impl<'a> Forest<'a> {
    fn of<'r: 'a, 'v: 'a>(launch: &Launch<'r, 'v>) -> Result<Self, KernelError> {
        let rooms = launch.rooms;
        let ints = |index: usize| launch.input(index).map(|v| v.elements::<i64>());
        let nodes = ints(1)?;
        let members = launch.optional(3).map_or_else(|| Ok(rooms.take(0)), |view| floats(view, rooms))?;
        let mut start = 0;
        let sets = rooms.list(nodes.chunks_exact(COLUMNS).map(|node| {
            if node[1] != MEMBER {
                return [0; 2];
            }
            let rest = members.get(start..).unwrap_or_default();
            let length = rest.iter().position(|v| v.is_nan()).unwrap_or(rest.len());
            let set = [start, start + length];
            start += length + 1;
            set
        }));
        let (splits, weights) = (floats(launch.input(2)?, rooms)?, floats(launch.input(6)?, rooms)?);
        Ok(Self { nodes, splits, members, sets, leaves: ints(4)?, targets: ints(5)?, weights, roots: ints(7)? })
    }

    /// Where a node leads: position, and whether that is a leaf's.
    fn next(&self, node: usize, x: &[f64]) -> Result<(i64, bool), KernelError> {
        let row = &self.nodes[node * COLUMNS..(node + 1) * COLUMNS];
        let value = usize::try_from(row[0]).ok().and_then(|feature| x.get(feature)).copied();
        let value = value.ok_or_else(|| data(format!("feature {} of {}", row[0], x.len())))?;
        let split = self.splits[node];
        let holds = match row[1] {
            0 => value <= split,
            1 => value < split,
            2 => value >= split,
            3 => value > split,
            4 => value == split,
            5 => value != split,
            MEMBER => {
                let [start, end] = self.sets[node];
                self.members.get(start..end).unwrap_or_default().contains(&value)
            }
            other => return Err(data(format!("comparison {other} is unknown"))),
        };
        let takes_first = holds || value.is_nan() && row[6] != 0;
        Ok(if takes_first { (row[2], row[3] != 0) } else { (row[4], row[5] != 0) })
    }

    /// The leaf that x reaches from a root.
    fn leaf(&self, root: i64, x: &[f64]) -> Result<i64, KernelError> {
        let count = self.splits.len().min(self.sets.len());
        let mut at = root;
        // No path is longer than there are nodes.
        for _ in 0..=count {
            let node = usize::try_from(at).ok().filter(|node| *node < count);
            let (next, is_leaf) = self.next(node.ok_or_else(|| data(format!("node {at} of {count}")))?, x)?;
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
            let range = start..start.checked_add(count)?;
            Some(self.targets.get(range.clone())?.iter().copied().zip(self.weights.get(range)?.iter().copied()))
        });
        found.ok_or_else(|| data(format!("leaf {leaf} of {}", self.leaves.len() / 2)))
    }
}

impl Walk {
    /// Scores of one row before the base values; `reached` is room for a mark per score.
    fn scores(
        &self,
        forest: &Forest<'_>,
        x: &[f64],
        scores: &mut [f64],
        reached: &mut [u8],
    ) -> Result<(), KernelError> {
        reached.fill(0);
        scores.fill(0.0);
        for root in forest.roots {
            for (target, weight) in forest.entries(forest.leaf(*root, x)?)? {
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
    // Where no score stands out each is one half, as ONNX Runtime has it.
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
        let (workers, rooms) = (launch.workers, launch.rooms);
        let (x, forest) = (floats(x, rooms)?, Forest::of(launch)?);
        let base = launch.optional(8).map_or_else(|| Ok(rooms.take(0)), |view| floats(view, rooms))?;
        let targets = self.op.targets;
        let mut y = rooms.filled(rows * targets, 0.0);
        let failure: Mutex<Option<KernelError>> = Mutex::new(None);
        rooms.reserve::<u8>(workers.count(), targets);
        share(workers, &mut y, targets, Cost::PerElement(WORK), |first, part| {
            let mut reached = rooms.take(targets);
            for (at, scores) in part.chunks_mut(targets).enumerate() {
                let row = (first + at) * features;
                if let Err(error) = self.scores(&forest, &x[row..row + features], scores, &mut reached) {
                    failure.lock().ok().and_then(|mut slot| slot.replace(error));
                    return;
                }
                scores.iter_mut().zip(&*base).for_each(|(s, b)| *s += b);
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
