//! Sizes as run-time values: how import functions say "the size of this axis" without knowing it.

use sinter_base::{DataType, Dim};
use sinter_ir::Handle;
use sinter_ops::movement::{Concat, Reshape, Shape};
use sinter_ops::pointwise::Expr;
use sinter_ops::reduce::{Reduce, ReduceKind};

use crate::context::NodeContext;
use crate::error::Problem;
use crate::ops::expressions::elementwise;

/// One entry of a shape to be built.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// This number.
    Constant(i64),
    /// The size of an axis, times and divided by constants.
    Axis {
        /// The axis; negative counts from the end.
        axis: i64,
        /// Factor.
        times: i64,
        /// Divisor.
        over: i64,
    },
}

impl Entry {
    /// The size of an axis as it is.
    pub const fn axis(axis: i64) -> Self {
        Entry::Axis { axis, times: 1, over: 1 }
    }
}

/// The size of one axis, as a list of one.
///
/// # Errors
/// When the value is no tensor.
pub fn size_of_axis(cx: &mut NodeContext<'_, '_>, value: Handle, axis: i64) -> Result<Handle, Problem> {
    let end = if axis == -1 { None } else { Some(axis.saturating_add(1)) };
    let known = cx.dims(value).ok().and_then(|dims| {
        let position = cx.axis(axis, dims.len()).ok()?;
        dims.get(position)?.as_constant()
    });
    match known {
        Some(size) => Ok(cx.int_list(&[size])),
        None => cx.add(Shape { start: axis, end }, &[value]),
    }
}

/// The shape with these entries, axes being those of `value`.
///
/// # Errors
/// When the value is no tensor.
pub fn shape_of_entries(cx: &mut NodeContext<'_, '_>, value: Handle, entries: &[Entry]) -> Result<Handle, Problem> {
    let mut parts = Vec::with_capacity(entries.len());
    for &entry in entries {
        parts.push(match entry {
            Entry::Constant(number) => cx.int_list(&[number]),
            Entry::Axis { axis, times, over } => {
                let part = size_of_axis(cx, value, axis)?;
                scaled(cx, part, times, over)?
            }
        });
    }
    // A shape of constants is one constant.
    let constants: Option<Vec<i64>> =
        parts.iter().map(|&part| cx.constant_ints(part).and_then(|list| list.first().copied())).collect();
    match constants {
        Some(constants) => Ok(cx.int_list(&constants)),
        None => cx.add(Concat { axis: 0 }, &parts),
    }
}

/// A list of one number, times and divided by constants.
fn scaled(cx: &mut NodeContext<'_, '_>, number: Handle, times: i64, over: i64) -> Result<Handle, Problem> {
    if times == 1 && over == 1 {
        return Ok(number);
    }
    if let Some([known]) = cx.constant_ints(number).as_deref() {
        let result = known.saturating_mul(times).checked_div(over).unwrap_or(0);
        return Ok(cx.int_list(&[result]));
    }
    elementwise(cx, [number], |[number]| match (times, over) {
        (_, 1) => &number * &integer(times),
        (1, _) => &number / &integer(over),
        _ => &(&number * &integer(times)) / &integer(over),
    })
}

/// `a + b` of lists of one number, a constant where both are.
///
/// # Errors
/// When an operand is no tensor of i64.
pub fn sum_of(cx: &mut NodeContext<'_, '_>, a: Handle, b: Handle) -> Result<Handle, Problem> {
    match (cx.constant_ints(a).as_deref(), cx.constant_ints(b).as_deref()) {
        (Some([a]), Some([b])) => {
            let result = a.saturating_add(*b);
            Ok(cx.int_list(&[result]))
        }
        _ => elementwise(cx, [a, b], |[a, b]| &a + &b),
    }
}

/// The value under the shape with these entries.
///
/// # Errors
/// When the counts of elements differ for all sizes.
pub fn reshaped_to(cx: &mut NodeContext<'_, '_>, value: Handle, entries: &[Entry]) -> Result<Handle, Problem> {
    let shape = shape_of_entries(cx, value, entries)?;
    cx.add(Reshape { allow_zero: true }, &[value, shape])
}

/// The single element of a tensor as a scalar.
///
/// # Errors
/// When the tensor certainly has another number of elements.
pub fn as_scalar(cx: &mut NodeContext<'_, '_>, value: Handle) -> Result<Handle, Problem> {
    if cx.rank(value).is_ok_and(|rank| rank == 0) {
        return Ok(value);
    }
    let shape = cx.int_list(&[]);
    cx.add(Reshape::default(), &[value, shape])
}

/// A tensor as a list, its elements in row-major order.
///
/// # Errors
/// When the value is no tensor.
pub fn as_list(cx: &mut NodeContext<'_, '_>, value: Handle) -> Result<Handle, Problem> {
    if cx.rank(value).is_ok_and(|rank| rank == 1) {
        return Ok(value);
    }
    let shape = cx.int_list(&[-1]);
    cx.add(Reshape::default(), &[value, shape])
}

/// A matrix with the axes before `axis` as rows and the others as columns.
///
/// # Errors
/// When the axis does not exist.
pub fn flattened(cx: &mut NodeContext<'_, '_>, value: Handle, axis: i64) -> Result<Handle, Problem> {
    let dims = cx.dims(value).ok();
    if let Some(dims) = &dims {
        let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
        if !(-rank..=rank).contains(&axis) {
            return Err(cx.problem(format!("axis {axis} does not exist in a tensor of {rank} dimensions")));
        }
        let position = usize::try_from(if axis < 0 { axis + rank } else { axis }).unwrap_or(0);
        let count = |dims: Option<&[Dim]>| dims.and_then(|d| sinter_base::shape::product(d).as_constant());
        let (rows, columns) = (count(dims.get(..position)), count(dims.get(position..)));
        let shape = match (rows, columns) {
            (Some(rows), Some(columns)) => Some([rows, columns]),
            (None, Some(columns)) if columns > 0 => Some([-1, columns]),
            (Some(rows), None) if rows > 0 => Some([rows, -1]),
            _ => None,
        };
        if let Some(shape) = shape {
            let shape = cx.int_list(&shape);
            return cx.add(Reshape { allow_zero: true }, &[value, shape]);
        }
    }
    let rows = cx.add(Shape { start: 0, end: Some(axis) }, &[value])?;
    let columns = cx.add(Shape { start: axis, end: None }, &[value])?;
    let rows = cx.add(Reduce::new(ReduceKind::Product, true), &[rows])?;
    let columns = cx.add(Reduce::new(ReduceKind::Product, true), &[columns])?;
    let shape = cx.add(Concat { axis: 0 }, &[rows, columns])?;
    cx.add(Reshape { allow_zero: true }, &[value, shape])
}

/// A list that older versions give as an attribute and newer ones as an input.
pub fn list_input(cx: &mut NodeContext<'_, '_>, attribute: &str, index: usize) -> Option<Handle> {
    match cx.ints(attribute) {
        Some(values) => Some(cx.int_list(&values)),
        None => cx.optional(index),
    }
}

/// `0, 1, .., count - 1` as i64, for a count given as a list of one.
///
/// # Errors
/// When the count is no single number.
pub fn positions(cx: &mut NodeContext<'_, '_>, count: Handle) -> Result<Handle, Problem> {
    let limit = as_scalar(cx, count)?;
    let (zero, one) = (cx.scalar(DataType::I64, 0.0)?, cx.scalar(DataType::I64, 1.0)?);
    cx.add(sinter_ops::index::Range::default(), &[zero, limit, one])
}

/// A constant of type i64 in an expression, exact for every value.
pub fn integer(value: i64) -> Expr {
    let constant = |value: f64| Expr::constant(DataType::I64, value);
    let high = i32::try_from(value >> 32).unwrap_or(0);
    let low = u32::try_from(value & i64::from(u32::MAX)).unwrap_or(0);
    match i32::try_from(value) {
        Ok(small) => constant(f64::from(small)),
        // Floats carry 53 bits only: the halves are joined as integers.
        Err(_) => &(&constant(f64::from(high)) * &constant(4_294_967_296.0)) + &constant(f64::from(low)),
    }
}
