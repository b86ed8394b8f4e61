//! The operators that are copies: which elements of the source lie where in the result.

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::shape::strides;
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;

use crate::kernel::{Kernel, Launch, Source};
use crate::movement::copy::{Copy, ENTRIES, run, source};
use crate::only_operator;
use crate::space::{Axes, RANK};
use crate::tactic::{Row, Speed, refuse_unknown_ranks, refuse_unknown_sizes};
use crate::types::moved;

const fn row(
    name: &'static str,
    roots: &'static [OpKind],
    kernel: fn(&Region) -> Result<Box<dyn Kernel>, Refusal>,
) -> Row {
    Row { name, roots, numerics: Numerics::Exact, speed: Speed::STREAMING, kernel }
}

/// Axes that are merged, split, added or removed, or another type of the same bits: the elements stay in order.
pub const RESHAPE: Row =
    row("cuda.movement.reshape", &[OpKind::Reshape, OpKind::Squeeze, OpKind::Unsqueeze, OpKind::BitCast], reshape);
/// Axes in another order.
pub const TRANSPOSE: Row = row("cuda.movement.transpose", &[OpKind::Transpose], transpose);
/// Parts of constant starts and steps.
pub const SLICE: Row = row("cuda.movement.slice", &[OpKind::Slice], slice);
/// Axes of one element, repeated.
pub const EXPAND: Row = row("cuda.movement.expand", &[OpKind::Expand], expand);
/// Whole axes, repeated.
pub const TILE: Row = row("cuda.movement.tile", &[OpKind::Tile], tile);
/// Tensors one after the other: a copy for each.
pub const CONCAT: Row = Row {
    speed: Speed { launches: 2.0, ..Speed::STREAMING },
    ..row("cuda.movement.concat", &[OpKind::Concat], concat)
};

/// Where the elements of the result come from.
enum Move {
    /// The same order.
    Reshape,
    /// By axis of the result, that of the source.
    Transpose(Vec<usize>),
    /// By axis, first element and step.
    Slice(Vec<(i64, i64)>),
    Expand,
    Tile,
    /// Along this axis.
    Concat(usize),
}

struct MoveKernel {
    tactic: &'static str,
    which: Move,
    bytes: usize,
}

/// The kernel of a move of the region's first operand.
fn of(region: &Region, tactic: &'static str, which: Move) -> Result<Box<dyn Kernel>, Refusal> {
    // The sizes of the launch say all.
    refuse_unknown_ranks(region)?;
    let types = region.body().input_types().into_iter().chain(region.body().output_types());
    let rank = types.filter_map(|ty| ty.as_tensor()?.dims().ok().map(<[_]>::len)).max().unwrap_or(0);
    // Each repeated axis is two.
    let most = if matches!(which, Move::Tile) { RANK / 2 } else { RANK };
    if rank > most {
        return Err(Refusal::new(format!("takes at most {most} axes, not {rank}")));
    }
    let data_type = region.body().output_types().first().map(|ty| ty.data_type());
    let bytes = data_type.map_or(0, element_bytes);
    match moved(bytes) {
        Some(_) => Ok(Box::new(MoveKernel { tactic, which, bytes })),
        None => Err(Refusal::new("strings are not for this kernel")),
    }
}

fn reshape(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    match region.only().map(|node| node.op.kind()) {
        Some(OpKind::Reshape | OpKind::Squeeze | OpKind::Unsqueeze | OpKind::BitCast) => {
            of(region, RESHAPE.name, Move::Reshape)
        }
        _ => Err(Refusal::OtherOperator),
    }
}

pub(crate) fn rank_of(region: &Region) -> Result<usize, Refusal> {
    let dims = region.input(0).and_then(|ty| ty.dims().ok());
    dims.map(<[_]>::len).ok_or_else(|| Refusal::new("takes tensors of known rank"))
}

fn transpose(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Transpose);
    let rank = rank_of(region)?;
    let permutation = op.permutation.clone().unwrap_or_else(|| (0..rank).rev().collect());
    of(region, TRANSPOSE.name, Move::Transpose(permutation))
}

/// The constant contents of an operand; the default where it is left out.
pub(crate) fn constants(
    region: &Region,
    operand: usize,
    default: impl FnOnce() -> Vec<i64>,
) -> Result<Vec<i64>, Refusal> {
    match region.input(operand) {
        None => Ok(default()),
        Some(ty) => ty.constant_ints().ok_or_else(|| Refusal::new(format!("operand {operand} is no constant"))),
    }
}

fn slice(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    only_operator!(region, Slice);
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    let starts = constants(region, 1, Vec::new)?;
    let axes = constants(region, 3, || (0..i64::try_from(starts.len()).unwrap_or(0)).collect())?;
    let steps = constants(region, 4, || vec![1; starts.len()])?;
    let mut parts = vec![(0, 1); rank];
    for ((axis, start), step) in axes.iter().zip(&starts).zip(&steps) {
        let axis = axis_of(*axis, rank).map_err(|error| Refusal::new(error.to_string()))?;
        parts[axis] = (*start, *step);
    }
    of(region, SLICE.name, Move::Slice(parts))
}

fn expand(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    only_operator!(region, Expand);
    of(region, EXPAND.name, Move::Expand)
}

fn tile(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    only_operator!(region, Tile);
    of(region, TILE.name, Move::Tile)
}

fn concat(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Concat);
    let axis = axis_of(op.axis, rank_of(region)?).map_err(|error| Refusal::new(error.to_string()))?;
    of(region, CONCAT.name, Move::Concat(axis))
}

pub(crate) fn number(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(crate) fn axes(sizes: &[usize]) -> Axes {
    sizes.iter().map(|size| number(*size)).collect()
}

/// The error of sizes that do not belong together.
fn mismatch(x: &[usize], y: &[usize]) -> KernelError {
    KernelError::Recipe(format!("a move of {x:?} to {y:?}"))
}

impl Move {
    /// The copy of the only operand.
    fn copy(&self, x: &[usize], y: &[usize]) -> Result<Copy, KernelError> {
        let (own, target) = (axes(&strides(x)), axes(&strides(y)));
        let mismatch = || mismatch(x, y);
        let equal_rank = x.len() == y.len();
        let (from, first) = match self {
            Self::Reshape | Self::Concat(_) => {
                let count: usize = x.iter().product();
                if count != y.iter().product::<usize>() {
                    return Err(mismatch());
                }
                let one = || Axes::from_slice(&[1]);
                return Ok(Copy { sizes: axes(&[count]), strides: [one(), one()], first: [0, 0] });
            }
            Self::Transpose(permutation) => {
                let moves = permutation.iter().zip(y).all(|(axis, size)| x.get(*axis) == Some(size));
                if !moves || !equal_rank {
                    return Err(mismatch());
                }
                (permutation.iter().map(|axis| own[*axis]).collect(), 0)
            }
            Self::Slice(parts) => {
                if !equal_rank || parts.len() != x.len() {
                    return Err(mismatch());
                }
                let (mut from, mut first) = (Axes::new(), 0i64);
                for (axis, (&(start, step), &stride)) in parts.iter().zip(&own).enumerate() {
                    let (size, count) = (number(x[axis]), number(y[axis]));
                    let start = if start < 0 { start.saturating_add(size) } else { start };
                    let start = start.clamp(0, if step < 0 { (size - 1).max(0) } else { size });
                    // A single element needs no step, which may be far too long.
                    let step = if count > 1 { step } else { 0 };
                    let last = step.checked_mul((count - 1).max(0)).and_then(|way| way.checked_add(start));
                    if count > 0 && last.is_none_or(|last| !(0..size).contains(&last)) {
                        return Err(mismatch());
                    }
                    first += start * stride;
                    from.push(step * stride);
                }
                (from, first)
            }
            Self::Expand => {
                let lead = y.len().checked_sub(x.len()).ok_or_else(mismatch)?;
                if x.iter().zip(&y[lead..]).any(|(own, size)| own != size && *own != 1) {
                    return Err(mismatch());
                }
                (axes(&sinter_base::shape::broadcast_strides(x, y)), 0)
            }
            Self::Tile => {
                let (mut sizes, mut from, mut to) = (Axes::new(), Axes::new(), Axes::new());
                for (axis, (&size, &whole)) in x.iter().zip(y).enumerate() {
                    let repeats = whole.checked_div(size).unwrap_or(0);
                    if repeats * size != whole || !equal_rank {
                        return Err(mismatch());
                    }
                    sizes.extend([number(repeats), number(size)]);
                    from.extend([0, own[axis]]);
                    to.extend([target[axis] * number(size), target[axis]]);
                }
                return Ok(Copy { sizes, strides: [from, to], first: [0, 0] });
            }
        };
        Ok(Copy { sizes: axes(y), strides: [from, target], first: [first, 0] })
    }
}

impl Kernel for MoveKernel {
    fn configuration(&self) -> String {
        format!("{} 1 {}", self.tactic, self.bytes)
    }

    fn source(&self) -> Source {
        source(self.bytes)
    }

    fn entries(&self) -> &'static [&'static str] {
        ENTRIES
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let y = launch.output(0)?;
        if element_bytes(y.data_type) != self.bytes {
            return Err(KernelError::Recipe(format!("{} takes no {}", self.tactic, y.data_type)));
        }
        let Move::Concat(axis) = self.which else {
            let x = launch.input(0)?;
            let copy = self.which.copy(x.sizes, y.sizes)?;
            return run(launch, copy, &x, &y);
        };
        let target = axes(&strides(y.sizes));
        let mut at = 0;
        for index in 0..launch.inputs.len() {
            let x = launch.input(index)?;
            let fits = x.sizes.len() == y.sizes.len()
                && (0..y.sizes.len()).all(|other| other == axis || x.sizes[other] == y.sizes[other]);
            if !fits || axis >= y.sizes.len() || at + x.sizes[axis] > y.sizes[axis] {
                return Err(mismatch(x.sizes, y.sizes));
            }
            let strides = [axes(&strides(x.sizes)), target.clone()];
            let copy = Copy { sizes: axes(x.sizes), strides, first: [0, number(at) * target[axis]] };
            run(launch, copy, &x, &y)?;
            at += x.sizes[axis];
        }
        Ok(())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        match end {
            // The other operands are lists of sizes.
            End::Operand(index) if index > 0 && !matches!(self.which, Move::Concat(_)) => StrideSupport::Contiguous,
            _ => StrideSupport::Always,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_moves() {
        let list = |list: &[i64]| Axes::from_slice(list);
        let copy = Move::Transpose(vec![1, 0]).copy(&[2, 3], &[3, 2]).expect("a transposition");
        assert_eq!((copy.strides[0].clone(), copy.strides[1].clone()), (list(&[1, 3]), list(&[2, 1])));
        let copy = Move::Slice(vec![(-2, 1), (4, -2)]).copy(&[5, 6], &[2, 3]).expect("a part");
        assert_eq!((copy.first, copy.strides[0].clone()), ([3 * 6 + 4, 0], list(&[6, -2])));
        assert!(Move::Slice(vec![(0, 1)]).copy(&[5], &[6]).is_err());
        assert!(Move::Slice(vec![(0, i64::MAX)]).copy(&[5], &[2]).is_err());
        let copy = Move::Expand.copy(&[3, 1], &[2, 3, 4]).expect("a broadcast");
        assert_eq!(copy.strides[0], list(&[0, 1, 0]));
        let copy = Move::Tile.copy(&[2, 3], &[4, 3]).expect("twice as many");
        assert_eq!((copy.sizes, copy.strides[1].clone()), (list(&[2, 2, 1, 3]), list(&[6, 3, 3, 1])));
        assert!(Move::Expand.copy(&[3], &[4]).is_err() && Move::Reshape.copy(&[3], &[4]).is_err());
    }
}
