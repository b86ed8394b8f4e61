//! `cpu.index.unique`: the different elements, or slices along an axis.
//!
//! Elements become keys, slices lists of keys; a sort brings equal ones together, the first occurrence of each foremost.

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region, Target};
use sinter_base::view::element_bytes;
use sinter_ops::index::Unique;

use crate::arguments::{Lines, axis_in, result};
use crate::index::keys::keys;
use crate::movement::takes_views;
use crate::only_operator;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const UNIQUE: Row =
    Row { name: "cpu.index.unique", numerics: Numerics::Exact, in_place: &[], speed: Speed::SCALAR, kernel };

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Unique);
    takes_views(region)?;
    Ok(Loaded::Views(Box::new(UniqueKernel { op: op.clone() })))
}

struct UniqueKernel {
    op: Unique,
}

/// The classes of equal slices.
struct Classes {
    /// First slice of each class.
    first: Vec<usize>,
    /// Number of slices in each.
    count: Vec<usize>,
    /// Class of every slice.
    of: Vec<usize>,
}

/// Classes of `slices` lists of `length` keys, in ascending order, or in that of their first slices.
fn classes(keys: &[i64], slices: usize, length: usize, sorted: bool) -> Classes {
    let slice = |k: usize| &keys[k * length..(k + 1) * length];
    let mut order: Vec<usize> = (0..slices).collect();
    // Positions break ties: the first occurrence leads its class.
    order.sort_unstable_by(|&a, &b| slice(a).cmp(slice(b)).then(a.cmp(&b)));
    let mut result = Classes { first: Vec::new(), count: Vec::new(), of: vec![0; slices] };
    for &k in &order {
        match (result.first.last(), result.count.last_mut()) {
            (Some(&first), Some(count)) if slice(first) == slice(k) => *count += 1,
            _ => {
                result.first.push(k);
                result.count.push(1);
            }
        }
        result.of[k] = result.first.len() - 1;
    }
    if sorted {
        return result;
    }
    let mut by_first: Vec<usize> = (0..result.first.len()).collect();
    by_first.sort_unstable_by_key(|&class| result.first[class]);
    let mut renamed = vec![0; by_first.len()];
    by_first.iter().enumerate().for_each(|(new, &old)| renamed[old] = new);
    Classes {
        first: by_first.iter().map(|&class| result.first[class]).collect(),
        count: by_first.iter().map(|&class| result.count[class]).collect(),
        of: result.of.iter().map(|&class| renamed[class]).collect(),
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
        let mut all = keys(x);
        if outer > 1 {
            // Slices side by side.
            let source = |at: usize| {
                let (k, o, i) = (at / (outer * inner), at / inner % outer, at % inner);
                all[(o * length + k) * inner + i]
            };
            all = (0..all.len()).map(source).collect();
        }
        let classes = classes(&all, length, outer * inner, self.op.sorted);
        let mut sizes = axis.map_or_else(|| vec![0], |_| x.sizes().to_vec());
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

fn write(target: &mut Target<'_>, list: &[usize]) -> Result<(), KernelError> {
    let mut y = result(target, &[list.len()])?;
    for (entry, &value) in y.elements::<i64>().iter_mut().zip(list) {
        *entry = i64::try_from(value).unwrap_or(i64::MAX);
    }
    Ok(())
}
