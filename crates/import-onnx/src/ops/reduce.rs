//! Reductions: ReduceSum and its nine relatives of versions 1..20, ArgMax-1..13, ArgMin-1..13, Softmax-1..13,
//! LogSoftmax-1..13, Hardmax-1..13, CumSum-11..14, CumProd-26.

use sinter_base::Dim;
use sinter_ir::Handle;
use sinter_ops::movement::{Reshape, Shape};
use sinter_ops::reduce::{ArgReduce, Cumulative, Reduce, ReduceKind, Softmax};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;
use crate::ops::expressions::{elementwise, equal};
use crate::ops::index::along_axis_of;
use crate::ops::sizes::{flattened, list_input, positions, size_of_axis};

/// A reduction: axes are an attribute before version 18 (ReduceSum: 13), an input since.
fn reduce(cx: &mut NodeContext<'_, '_>, kind: ReduceKind) -> Imported {
    let x = cx.input(0)?;
    let axes = list_input(cx, "axes", 1);
    let op = Reduce {
        kind,
        keep_dims: cx.flag("keepdims", true),
        noop_with_empty_axes: cx.flag("noop_with_empty_axes", false),
    };
    cx.add_optional(op, &[Some(x), axes])
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $function:ident => $kind:ident;)*) => {$(
        $(#[$doc])*
        pub fn $function(cx: &mut NodeContext<'_, '_>) -> Imported {
            reduce(cx, ReduceKind::$kind)
        }
    )*};
}

reductions! {
    /// ReduceSum.
    sum => Sum;
    /// ReduceMean.
    mean => Mean;
    /// ReduceProd.
    product => Product;
    /// ReduceMax.
    max => Max;
    /// ReduceMin.
    min => Min;
    /// ReduceL1.
    l1 => L1;
    /// ReduceL2.
    l2 => L2;
    /// ReduceLogSum.
    log_sum => LogSum;
    /// ReduceLogSumExp.
    log_sum_exp => LogSumExp;
    /// ReduceSumSquare.
    sum_square => SumSquare;
}

fn arg_reduce(cx: &mut NodeContext<'_, '_>, largest: bool) -> Imported {
    let x = cx.input(0)?;
    let op = ArgReduce {
        largest,
        axis: cx.int("axis", 0),
        keep_dims: cx.flag("keepdims", true),
        select_last: cx.flag("select_last_index", false),
    };
    cx.add_all(op, &[x])
}

/// ArgMax.
pub fn arg_max(cx: &mut NodeContext<'_, '_>) -> Imported {
    arg_reduce(cx, true)
}

/// ArgMin.
pub fn arg_min(cx: &mut NodeContext<'_, '_>) -> Imported {
    arg_reduce(cx, false)
}

/// Work along one axis. Before version 13 the default axis is 1 and the tensor counts as a matrix with all axes from
/// `axis` on as columns.
fn along_axis(
    cx: &mut NodeContext<'_, '_>,
    work: impl FnOnce(&mut NodeContext<'_, '_>, Handle, i64) -> Result<Handle, Problem>,
) -> Imported {
    let x = cx.input(0)?;
    if cx.version >= 13 {
        let axis = cx.int("axis", -1);
        return Ok(vec![work(cx, x, axis)?]);
    }
    let axis = cx.int("axis", 1);
    // The last axis alone needs no matrix.
    let last = cx.rank(x).is_ok_and(|rank| cx.axis(axis, rank).is_ok_and(|position| position + 1 == rank));
    if axis == -1 || last {
        return Ok(vec![work(cx, x, -1)?]);
    }
    let matrix = flattened(cx, x, axis)?;
    let y = work(cx, matrix, -1)?;
    let shape = cx.add(Shape::default(), &[x])?;
    cx.add_all(Reshape { allow_zero: true }, &[y, shape])
}

/// Softmax.
pub fn softmax(cx: &mut NodeContext<'_, '_>) -> Imported {
    along_axis(cx, |cx, x, axis| cx.add(Softmax { axis, log: false }, &[x]))
}

/// LogSoftmax.
pub fn log_softmax(cx: &mut NodeContext<'_, '_>) -> Imported {
    along_axis(cx, |cx, x, axis| cx.add(Softmax { axis, log: true }, &[x]))
}

/// Hardmax: one at the first largest element, zero elsewhere.
pub fn hardmax(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    // A line without elements has no largest one, and no result either.
    if cx.dims(x).is_ok_and(|dims| dims.contains(&Dim::constant(0))) {
        return Ok(vec![x]);
    }
    along_axis(cx, |cx, x, axis| {
        let best = cx.add(ArgReduce { largest: true, axis, keep_dims: true, select_last: false }, &[x])?;
        let size = size_of_axis(cx, x, axis)?;
        let line = positions(cx, size)?;
        let line = along_axis_of(cx, line, x, axis)?;
        let to = cx.data_type(x)?;
        elementwise(cx, [best, line], |[best, position]| equal(&best, &position).cast(to))
    })
}

fn cumulative(cx: &mut NodeContext<'_, '_>, product: bool) -> Imported {
    let (x, axis) = (cx.input(0)?, cx.input(1)?);
    let op = Cumulative { product, exclusive: cx.flag("exclusive", false), reverse: cx.flag("reverse", false) };
    cx.add_all(op, &[x, axis])
}

/// CumSum.
pub fn cum_sum(cx: &mut NodeContext<'_, '_>) -> Imported {
    cumulative(cx, false)
}

/// CumProd.
pub fn cum_prod(cx: &mut NodeContext<'_, '_>) -> Imported {
    cumulative(cx, true)
}
