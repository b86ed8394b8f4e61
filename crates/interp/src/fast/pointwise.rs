//! Pointwise programs, column by column: a few hundred elements of every step at a time, which then stay in the cache.

use std::ops::Range;

use rayon::prelude::*;
use sinter_base::shape::{self, broadcast_sizes, broadcast_strides};
use sinter_base::{DataType, Floats, Sizes, Tensor, Value};
use sinter_ops::pointwise::operator::from_scalars;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::scalar::{Class, float_op};
use sinter_ops::pointwise::{Pointwise, Program, Scalar, ScalarOp};
use sinter_ops::{Arguments, EvalError};

use crate::fast::rounded;

/// Elements that are computed together.
const CHUNK: usize = 512;

/// Programs whose values all fit a float64 exactly: 64-bit integers need their 128 bits.
fn fits_float64(program: &Program) -> bool {
    let fits = |t: DataType| t.is_float() || t != DataType::String && t.bits() <= 32;
    program
        .steps()
        .iter()
        .all(|step| fits(step.data_type()) && !matches!(step, Step::Apply { compute, .. } if !fits(*compute)))
}

/// An operand and its strides under broadcasting.
struct Operand<'a> {
    elements: Floats<'a>,
    strides: Option<Sizes>,
}

impl<'a> Operand<'a> {
    fn new(tensor: &'a Tensor, sizes: &[usize]) -> Self {
        let strides = (tensor.sizes() != sizes).then(|| broadcast_strides(tensor.sizes(), sizes));
        Self { elements: Floats::of(tensor), strides }
    }

    /// The elements of a range of the result.
    fn load(&self, sizes: &[usize], range: Range<usize>, column: &mut Vec<f64>) {
        match (&self.elements, &self.strides) {
            (Floats::Single(values), None) => column.extend(values[range].iter().copied().map(f64::from)),
            (Floats::Double(values), None) => column.extend_from_slice(&values[range]),
            (Floats::Single(values), Some(strides)) => {
                for_each_row(sizes, strides, range, |start, step, count| {
                    column.extend((0..count).map(|i| f64::from(values[start + i * step])));
                });
            }
            (Floats::Double(values), Some(strides)) => {
                for_each_row(sizes, strides, range, |start, step, count| {
                    column.extend((0..count).map(|i| values[start + i * step]));
                });
            }
        }
    }
}

/// Visits the parts of rows, along the last axis, that a range of elements covers: (position, stride, elements).
fn for_each_row(sizes: &[usize], strides: &[usize], range: Range<usize>, mut visit: impl FnMut(usize, usize, usize)) {
    let (Some(&inner), Some(&step)) = (sizes.last(), strides.last()) else { return visit(0, 0, range.len()) };
    let mut at = range.start;
    while at < range.end {
        let count = (inner - at % inner).min(range.end - at);
        visit(shape::ravel(&shape::unravel(at, sizes), strides), step, count);
        at += count;
    }
}

/// A part of one result.
enum Part<'a> {
    F32(&'a mut [f32]),
    Wide(&'a mut [f64]),
}

/// A result while it is computed.
enum Column {
    F32(Vec<f32>),
    Wide(Vec<f64>),
}

impl Column {
    fn new(data_type: DataType, count: usize) -> Self {
        if data_type == DataType::F32 { Column::F32(vec![0.0; count]) } else { Column::Wide(vec![0.0; count]) }
    }

    fn parts(&mut self) -> Vec<Part<'_>> {
        match self {
            Column::F32(values) => values.chunks_mut(CHUNK).map(Part::F32).collect(),
            Column::Wide(values) => values.chunks_mut(CHUNK).map(Part::Wide).collect(),
        }
    }

    fn into_value(self, data_type: DataType, sizes: &[usize]) -> Result<Value, EvalError> {
        match self {
            Column::F32(values) => Ok(Tensor::from_vec(sizes, values)?.into()),
            Column::Wide(values) if data_type.mini_float().is_some() => {
                let scalars: Vec<Scalar> = values.into_iter().map(Scalar::Float).collect();
                Ok(from_scalars(data_type, sizes, &scalars)?.into())
            }
            Column::Wide(values) => rounded(data_type, sizes, &values),
        }
    }
}

/// `None` for programs and sizes for which the reference is as fast.
pub(super) fn pointwise(op: &Pointwise, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    if !fits_float64(&op.program) || inputs.is_empty() {
        return Ok(None);
    }
    let tensors = (0..inputs.len()).map(|i| inputs.tensor(i)).collect::<Result<Vec<_>, _>>()?;
    let shapes: Vec<&[usize]> = tensors.iter().map(|t| t.sizes()).collect();
    let Some(sizes) = broadcast_sizes(&shapes) else { return Ok(None) };
    let count = shape::element_count(&sizes).unwrap_or(0);
    if count < CHUNK {
        return Ok(None);
    }
    let operands: Vec<Operand<'_>> = tensors.iter().map(|tensor| Operand::new(tensor, &sizes)).collect();
    let types = op.program.result_types();
    let mut columns: Vec<Column> = types.iter().map(|ty| Column::new(*ty, count)).collect();
    let mut chunks: Vec<Vec<Part<'_>>> = (0..count.div_ceil(CHUNK)).map(|_| Vec::new()).collect();
    for column in &mut columns {
        for (chunk, part) in chunks.iter_mut().zip(column.parts()) {
            chunk.push(part);
        }
    }
    let scratch = || vec![Vec::with_capacity(CHUNK); op.program.steps().len()];
    chunks.into_par_iter().enumerate().for_each_init(scratch, |steps, (chunk, parts)| {
        let range = chunk * CHUNK..count.min((chunk + 1) * CHUNK);
        compute(&op.program, &operands, &sizes, range, steps);
        for (part, &result) in parts.into_iter().zip(op.program.results()) {
            match part {
                Part::F32(part) => part.iter_mut().zip(&steps[result]).for_each(|(to, &v)| *to = v as f32),
                Part::Wide(part) => part.copy_from_slice(&steps[result]),
            }
        }
    });
    columns.into_iter().zip(types).map(|(column, ty)| column.into_value(ty, &sizes)).collect::<Result<_, _>>().map(Some)
}

/// Computes every step of a program for a range of elements.
fn compute(program: &Program, operands: &[Operand<'_>], sizes: &[usize], range: Range<usize>, steps: &mut [Vec<f64>]) {
    let types: Vec<DataType> = program.steps().iter().map(Step::data_type).collect();
    for (position, step) in program.steps().iter().enumerate() {
        let (done, rest) = steps.split_at_mut(position);
        let Some(column) = rest.first_mut() else { return };
        column.clear();
        match step {
            Step::Input { index, .. } => operands[*index].load(sizes, range.clone(), column),
            Step::Constant { value, .. } => column.resize(range.len(), value.float()),
            Step::Apply { op, compute, args } => {
                let wide = |t: DataType| matches!(t, DataType::F32 | DataType::F64);
                let arguments: Vec<&[f64]> = args.iter().map(|&arg| done[arg].as_slice()).collect();
                let floats = args.iter().all(|&arg| types[arg].is_float());
                let known = apply_floats(*op, *compute, &arguments, floats && wide(*compute), column);
                if !known {
                    apply(*op, *compute, &arguments, args.iter().map(|&arg| types[arg].is_float()), column);
                }
            }
        }
    }
}

/// The most frequent operations, computed without a temporary value per element; false for other operations.
/// `wide`: all arguments and the compute type are floats, of 32 bits or more where they are rounded to.
fn apply_floats(op: ScalarOp, compute: DataType, args: &[&[f64]], wide: bool, column: &mut Vec<f64>) -> bool {
    let truth = |b: bool| f64::from(u8::from(b));
    let keep_nan = |a: f64, b: f64, other: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { other };
    match (op, args) {
        (ScalarOp::Select, [c, a, b]) => {
            column.extend(c.iter().zip(*a).zip(*b).map(|((&c, &a), &b)| if c != 0.0 { a } else { b }));
            return true;
        }
        (ScalarOp::And, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| truth(a != 0.0 && b != 0.0))),
        (ScalarOp::Or, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| truth(a != 0.0 || b != 0.0))),
        (ScalarOp::Cast(_), [a]) if matches!(compute, DataType::F32 | DataType::F64) => column.extend_from_slice(a),
        (ScalarOp::Cast(_), _) => return false,
        _ if !wide => return false,
        (ScalarOp::Add, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| a + b)),
        (ScalarOp::Sub, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| a - b)),
        (ScalarOp::Mul, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| a * b)),
        (ScalarOp::Div, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| a / b)),
        (ScalarOp::Max, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| keep_nan(a, b, a.max(b)))),
        (ScalarOp::Min, [a, b]) => column.extend(a.iter().zip(*b).map(|(&a, &b)| keep_nan(a, b, a.min(b)))),
        (ScalarOp::Equal, [a, b]) => column.extend(a.iter().zip(*b).map(|(a, b)| truth(a == b))),
        (ScalarOp::Less, [a, b]) => column.extend(a.iter().zip(*b).map(|(a, b)| truth(a < b))),
        (ScalarOp::LessOrEqual, [a, b]) => column.extend(a.iter().zip(*b).map(|(a, b)| truth(a <= b))),
        (_, [a]) if matches!(op.class(), Class::Unary | Class::FloatUnary) => {
            column.extend(a.iter().map(|&a| float_op(op, a, 0.0)));
        }
        (_, [a, b]) if op.class() == Class::Binary => {
            column.extend(a.iter().zip(*b).map(|(&a, &b)| float_op(op, a, b)));
        }
        _ => return false,
    }
    if op.result_type(compute) == DataType::F32 {
        column.iter_mut().for_each(|v| *v = f64::from(*v as f32));
    }
    true
}

/// Any operation, as the reference does it. Integers travel as whole floats; scalar operations take them as integers.
fn apply(
    op: ScalarOp,
    compute: DataType,
    args: &[&[f64]],
    are_floats: impl Iterator<Item = bool>,
    column: &mut Vec<f64>,
) {
    let are_floats: Vec<bool> = are_floats.collect();
    let scalar = |position: usize, i: usize| {
        let value = args[position][i];
        if are_floats[position] { Scalar::Float(value) } else { Scalar::Int(value as i128) }
    };
    let count = args.first().map_or(0, |column| column.len());
    column.extend((0..count).map(|i| match args.len() {
        1 => op.evaluate(compute, &[scalar(0, i)]).float(),
        2 => op.evaluate(compute, &[scalar(0, i), scalar(1, i)]).float(),
        _ => op.evaluate(compute, &[scalar(0, i), scalar(1, i), scalar(2, i)]).float(),
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_ops::pointwise::Expr;
    use sinter_ops::{EvalContext, Operator, ReferenceEvaluator};

    /// Every operation over more than one chunk, with broadcast operands, against the reference.
    #[test]
    fn every_operation_on_floats_agrees_with_the_reference() {
        let (x, y) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
        let a = Tensor::from_vec(&[3, 1031], (0..3093).map(|i| (i % 171) as f32 * 0.07 - 5.0).collect()).unwrap();
        let b = Tensor::from_vec(&[3, 1], vec![-1.5f32, 0.0, 2.0]).unwrap();
        let values = [Some(a.into()), Some(b.into())];
        let inputs = Arguments::new(&values);
        for op in ScalarOp::ALL.iter().copied() {
            let result = match op.class() {
                Class::Unary | Class::FloatUnary => x.unary(op),
                Class::FloatTest => x.unary(op).select(&x, &y),
                Class::Binary => x.binary(op, &y),
                Class::Comparison => x.binary(op, &y).select(&x, &y),
                _ => continue,
            };
            let op = Expr::into_pointwise(&[result, x.clone(), y.clone()]).unwrap();
            let fast = pointwise(&op, &inputs).unwrap().unwrap();
            let slow = op.reference(&inputs, &EvalContext::new(&ReferenceEvaluator)).unwrap();
            for (fast, slow) in fast.iter().zip(&slow) {
                let bits = |v: &Value| -> Vec<u64> {
                    v.as_tensor()
                        .unwrap()
                        .to_floats()
                        .iter()
                        .map(|v| if v.is_nan() { 1 } else { v.to_bits() })
                        .collect()
                };
                assert_eq!(bits(fast), bits(slow), "{op:?}");
            }
        }
    }
}
