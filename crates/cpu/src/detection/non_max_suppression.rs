//! `cpu.detection.non_max_suppression`: keeps boxes; each kept box removes worse boxes that overlap it too much.
//!
//! Every batch entry and class is a task: it sorts its boxes by score and tests each against the kept boxes, which are
//! few.

use bytemuck::{Pod, Zeroable};
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::detection::NonMaxSuppression;

use crate::elements::floats;
use crate::launch::{Kernel, Launch, Loaded};
use crate::only_operator;
use crate::share::{Cost, share_both};
use crate::tactic::{Row, Speed};
use crate::target::placed;

/// See the module documentation.
pub const NON_MAX_SUPPRESSION: Row = Row {
    name: "cpu.detection.non_max_suppression",
    roots: &[OpKind::NonMaxSuppression],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, NonMaxSuppression);
    Ok(Loaded::Kernel(Box::new(Suppression { op: op.clone() })))
}

struct Suppression {
    op: NonMaxSuppression,
}

/// A box: its extent on both axes, and its area.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Extent {
    low: [f64; 2],
    high: [f64; 2],
    area: f64,
}

impl Extent {
    fn new(numbers: &[f64], centered: bool) -> Self {
        let [a, b, c, d] = [numbers[0], numbers[1], numbers[2], numbers[3]];
        let (low, high) = if centered {
            ([a - c / 2.0, b - d / 2.0], [a + c / 2.0, b + d / 2.0])
        } else {
            ([a.min(c), b.min(d)], [a.max(c), b.max(d)])
        };
        Self { low, high, area: (high[0] - low[0]) * (high[1] - low[1]) }
    }

    /// Is the intersection over union larger than the limit?
    fn overlaps(&self, other: &Self, limit: f64) -> bool {
        let shared = |axis: usize| self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis]);
        let (first, second) = (shared(0), shared(1));
        if first <= 0.0 || second <= 0.0 || self.area <= 0.0 || other.area <= 0.0 {
            return false;
        }
        let intersection = first * second;
        // Compared in f32, the type of the limit: a quotient that equals it there does not exceed it.
        f64::from((intersection / (self.area + other.area - intersection)) as f32) > limit
    }
}

/// Moves the kept boxes of one class to the front of `order` and returns their number: at most `most` boxes that score
/// more than `exceeded` and overlap no better one.
fn keep(order: &mut [usize], boxes: &[Extent], scores: &[f64], most: usize, limit: f64, exceeded: f64) -> usize {
    let mut candidates = 0;
    for index in (0..scores.len()).filter(|&i| scores[i] > exceeded) {
        order[candidates] = index;
        candidates += 1;
    }
    // Equal scores stay in order of their indices.
    order[..candidates].sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut chosen = 0;
    for at in 0..candidates {
        if chosen >= most {
            break;
        }
        let candidate = order[at];
        if !order[..chosen].iter().any(|&better| boxes[candidate].overlaps(&boxes[better], limit)) {
            order[chosen] = candidate;
            chosen += 1;
        }
    }
    chosen
}

/// A number that may be left out.
fn number(launch: &Launch<'_, '_>, index: usize) -> Result<Option<f64>, KernelError> {
    match launch.optional(index).map(|view| floats(view, launch.scratch)).as_deref() {
        None => Ok(None),
        Some(&[value]) => Ok(Some(value)),
        Some(values) => Err(KernelError::Data(format!("operand {index} has {} elements instead of 1", values.len()))),
    }
}

impl Kernel for Suppression {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (boxes, scores) = (launch.input(0)?, launch.input(1)?);
        let (batch, classes, count) = match (boxes.sizes(), scores.sizes()) {
            (&[n, b, 4], &[m, c, s]) if n == m && b == s => (n, c, b),
            (boxes, scores) => {
                return Err(KernelError::Data(format!("boxes of sizes {boxes:?}, scores of sizes {scores:?}")));
            }
        };
        let most = number(launch, 2)?.unwrap_or(0.0).max(0.0) as usize;
        let limit = number(launch, 3)?.unwrap_or(0.0);
        let exceeded = number(launch, 4)?.unwrap_or(f64::NEG_INFINITY);
        let scratch = launch.scratch;
        let (boxes, scores) = (floats(boxes, scratch), floats(scores, scratch));
        let extents = scratch.list(boxes.chunks_exact(4).map(|b| Extent::new(b, self.op.centered)));
        let tasks = batch * classes;
        // The number of kept boxes of every class, and the boxes.
        let (mut kept, mut order) = (scratch.filled(tasks, 0usize), scratch.allocate::<usize>(tasks * count));
        share_both(
            launch.workers,
            (&mut order, &mut kept),
            (count, 1),
            Cost::PerElement(count),
            |task, order, kept| {
                let own = &extents[task / classes * count..][..count];
                kept[0] = keep(order, own, &scores[task * count..][..count], most, limit, exceeded);
            },
        );
        let sizes = [kept.iter().sum(), 3];
        let mut y = placed(&mut launch.outputs[0], &sizes)?;
        let mut rows = y.elements::<i64>().chunks_exact_mut(3);
        for (task, (order, &kept)) in order.chunks_exact(count.max(1)).zip(&*kept).enumerate() {
            for (&index, row) in order[..kept].iter().zip(&mut rows) {
                row.copy_from_slice(&[task / classes, task % classes, index].map(|v| v as i64));
            }
        }
        Ok(())
    }
}
