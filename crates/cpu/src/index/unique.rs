//! `cpu.index.unique`: the different elements, or slices along an axis.
//!
//! Elements become keys, slices lists of keys; a sort brings equal ones together, the first occurrence of each
//! foremost.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use sinter_ops::index::Unique;

use crate::arguments::{Lines, axis_in, result};
use crate::index::keys::keys;
use crate::launch::{Kernel, Launch, Loaded, Output, Scratch, ScratchBuffer};
use crate::movement::takes_views;
use crate::only_operator;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const UNIQUE: Row = Row {
    name: "cpu.index.unique",
    roots: &[OpKind::Unique],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Unique);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(UniqueKernel { op: op.clone() })))
}

struct UniqueKernel {
    op: Unique,
}

/// The classes of equal slices.
struct Classes<'r> {
    /// First slice of each class.
    first: ScratchBuffer<'r, usize>,
    /// Number of slices in each.
    count: ScratchBuffer<'r, usize>,
    /// Class of every slice.
    of: ScratchBuffer<'r, usize>,
}

/// Classes of `slices` lists of `length` keys, in ascending order, or in that of their first slices.
fn classes<'r>(keys: &[i64], slices: usize, length: usize, sorted: bool, scratch: &'r Scratch) -> Classes<'r> {
    let slice = |k: usize| &keys[k * length..(k + 1) * length];
    let mut order = scratch.list(0..slices);
    // Positions break ties: the first occurrence leads its class.
    order.sort_unstable_by(|&a, &b| slice(a).cmp(slice(b)).then(a.cmp(&b)));
    let mut result =
        Classes { first: scratch.allocate(slices), count: scratch.allocate(slices), of: scratch.allocate(slices) };
    let mut found = 0;
    for group in order.chunk_by(|&a, &b| slice(a) == slice(b)) {
        (result.first[found], result.count[found]) = (group[0], group.len());
        group.iter().for_each(|&k| result.of[k] = found);
        found += 1;
    }
    result.first.truncate(found);
    result.count.truncate(found);
    if sorted {
        return result;
    }
    let mut by_first = scratch.list(0..found);
    by_first.sort_unstable_by_key(|&class| result.first[class]);
    let mut renamed = scratch.allocate(found);
    by_first.iter().enumerate().for_each(|(new, &old)| renamed[old] = new);
    Classes {
        first: scratch.list(by_first.iter().map(|&class| result.first[class])),
        count: scratch.list(by_first.iter().map(|&class| result.count[class])),
        of: scratch.list(result.of.iter().map(|&class| renamed[class])),
    }
}

impl Kernel for UniqueKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let (lines, axis) = match self.op.axis {
            Some(axis) => {
                let axis = axis_in(axis, x.sizes().len())?;
                (Lines::along(x.sizes(), axis), Some(axis))
            }
            None => (Lines { outer: 1, length: x.count(), inner: 1 }, None),
        };
        let Lines { outer, length, inner } = lines;
        let scratch = launch.scratch;
        let mut all = keys(x, scratch);
        if outer > 1 {
            // Slices side by side.
            let source = |at: usize| {
                let (k, o, i) = (at / (outer * inner), at / inner % outer, at % inner);
                all[(o * length + k) * inner + i]
            };
            all = scratch.list((0..all.len()).map(source));
        }
        let classes = classes(&all, length, outer * inner, self.op.sorted, scratch);
        let mut sizes = axis.map_or_else(|| Sizes::from_slice(&[0]), |_| Sizes::from_slice(x.sizes()));
        sizes[axis.unwrap_or(0)] = classes.first.len();
        let width = element_bytes(x.data_type());
        let run = inner * width;
        let source = x.bytes();
        {
            let mut y = result(&mut launch.outputs[0], &sizes)?;
            if run > 0 && !classes.first.is_empty() {
                for (at, part) in y.bytes().chunks_exact_mut(run).enumerate() {
                    let (o, class) = (at / classes.first.len(), at % classes.first.len());
                    let start = (o * length + classes.first[class]) * run;
                    part.copy_from_slice(&source[start..start + run]);
                }
            }
        }
        for (target, list) in launch.outputs[1..].iter_mut().zip([&classes.first, &classes.of, &classes.count]) {
            write(target, list)?;
        }
        Ok(())
    }
}

fn write(target: &mut Output<'_>, list: &[usize]) -> Result<(), KernelError> {
    let mut y = result(target, &[list.len()])?;
    for (entry, &value) in y.elements::<i64>().iter_mut().zip(list) {
        *entry = i64::try_from(value).unwrap_or(i64::MAX);
    }
    Ok(())
}
