//! `cpu.sequence.split` and `cpu.sequence.concat`: a tensor cut into a list, and a list joined to a tensor.
//!
//! Both see a tensor as [outer, axis, inner]: a piece of the axis is one run of elements per outer position.

use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{Tensor, Value};
use sinter_ops::OpKind;
use sinter_ops::sequence::{ConcatFromSequence, SplitToSequence};

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{axis_of, data, optional_tensor, sequence, tensor};

/// A tensor cut into a list.
pub const SPLIT: Row = Row {
    name: "cpu.sequence.split",
    roots: &[OpKind::SplitToSequence],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: split_kernel,
};
/// A list joined to a tensor.
pub const CONCAT: Row = Row {
    name: "cpu.sequence.concat",
    roots: &[OpKind::ConcatFromSequence],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel: concat_kernel,
};

fn split_kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, SplitToSequence).clone();
    Ok(Loaded::Values(Box::new(Split { op })))
}

fn concat_kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, ConcatFromSequence).clone();
    Ok(Loaded::Values(Box::new(Concat { op })))
}

struct Split {
    op: SplitToSequence,
}

/// Sizes of the pieces of an axis of this length.
fn piece_sizes(split: &Tensor, total: usize) -> Result<Vec<usize>, KernelError> {
    let given = split.to_i64();
    if let ([size], 0) = (given.as_slice(), split.rank()) {
        let size = usize::try_from(*size).ok().filter(|s| *s > 0);
        let size = size.ok_or_else(|| data(format!("pieces of size {}", given[0])))?;
        let mut sizes = vec![size; total / size];
        sizes.extend(Some(total % size).filter(|rest| *rest > 0));
        return Ok(sizes);
    }
    let sizes: Option<Vec<usize>> = given.iter().map(|&s| usize::try_from(s).ok()).collect();
    let adds_up = |sizes: &Vec<usize>| sizes.iter().try_fold(0usize, |a, &s| a.checked_add(s)) == Some(total);
    sizes.filter(adds_up).ok_or_else(|| data(format!("pieces of sizes {given:?} do not make up {total}")))
}

impl ValueKernel for Split {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let x = tensor(inputs, 0)?;
        let axis = axis_of(self.op.axis, x.rank())?;
        let total = x.sizes()[axis];
        let inner: usize = x.sizes()[axis + 1..].iter().product();
        let split = optional_tensor(inputs, 1)?;
        let pieces = split.map_or_else(|| Ok(vec![1; total]), |split| piece_sizes(split, total))?;
        let drops_axis = split.is_none() && !self.op.keep_axis;
        let mut start = 0;
        let mut items = Vec::with_capacity(pieces.len());
        for size in pieces {
            let mut sizes = x.sizes().to_vec();
            sizes[axis] = size;
            if drops_axis {
                sizes.remove(axis);
            }
            let run = (size * inner).max(1);
            let piece = x.rearranged(&sizes, |i| Some((i / run * total + start) * inner + i % run));
            items.push(piece.map_err(data)?);
            start += size;
        }
        Ok(vec![Value::sequence_of(x.data_type(), items)])
    }
}

struct Concat {
    op: ConcatFromSequence,
}

impl ValueKernel for Concat {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (_, items) = sequence(inputs, 0)?;
        let tensors: Vec<&Tensor> = items.iter().filter_map(Value::as_tensor).collect();
        if tensors.len() != items.len() {
            return Err(data("only tensors can be joined"));
        }
        let first = *tensors.first().ok_or_else(|| data("an empty sequence cannot be joined"))?;
        let axis = axis_of(self.op.axis, first.rank() + usize::from(self.op.new_axis))?;
        // Lengths along the axis, and the sizes that all must share.
        let parts = tensors.iter().map(|t| {
            let mut sizes = t.sizes().to_vec();
            if self.op.new_axis {
                sizes.insert(axis.min(sizes.len()), 1);
            }
            sizes
        });
        let parts: Vec<Vec<usize>> = parts.collect();
        let mut sizes = parts[0].clone();
        for part in &parts {
            let agrees = part.len() == sizes.len() && (0..part.len()).all(|i| i == axis || part[i] == sizes[i]);
            if !agrees {
                return Err(data(format!("sizes {part:?} and {:?} differ beside axis {axis}", parts[0])));
            }
        }
        sizes[axis] = parts.iter().map(|p| p[axis]).sum();
        let inner: usize = sizes[axis + 1..].iter().product();
        // For every position of the axis: where its run starts in the flat concatenation, and the distance to the next
        // outer position's.
        let mut places = Vec::with_capacity(sizes[axis]);
        let mut before = 0;
        for (part, tensor) in parts.iter().zip(&tensors) {
            places.extend((0..part[axis]).map(|at| (before + at * inner, part[axis] * inner)));
            before += tensor.count();
        }
        let flat = Tensor::flat_concat(&tensors).map_err(data)?;
        let joined = flat.rearranged(&sizes, |i| {
            let (run, within) = (i / inner, i % inner);
            let (start, step) = places[run % places.len()];
            Some(start + run / places.len() * step + within)
        });
        Ok(vec![joined.map_err(data)?.into()])
    }
}
