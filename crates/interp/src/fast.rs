//! The fast judge: the same meaning as `reference`, for whole networks in reasonable time.
//!
//! Convolutions and matrix products go through blocked float64 products, pointwise programs run column by column.
//! Everything is still computed in float64 and rounded where the reference rounds; the test of this file holds it
//! against the reference. What is not sped up here runs as it is.

use rayon::prelude::*;
use sinter_base::shape::{self, broadcast_sizes, broadcast_strides, for_each_index};
use sinter_base::{DataType, Sizes, Tensor, Value};
use sinter_ops::conv::Convolution;
use sinter_ops::infer::result_sizes;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Pointwise, Program, Scalar, ScalarOp};
use sinter_ops::window::Axis;
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, Op};

use crate::product::{MatrixView, product};

/// Elements of a pointwise program computed together; its columns then stay in the cache.
const CHUNK: usize = 512;

/// Largest block of unfolded input windows, in elements.
const UNFOLDED: usize = 1 << 22;

/// Stands for an element of the padding: beyond every plane.
const PADDING: usize = usize::MAX;

/// See the module documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastEvaluator;

impl Evaluator for FastEvaluator {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let fast = match op {
            Op::Convolution(op) => convolution(op, inputs)?,
            Op::MatMul(op) => matmul(op, inputs)?,
            Op::Pointwise(op) => pointwise(op, inputs)?,
            Op::Transpose(op) => transpose(op, inputs)?,
            _ => None,
        };
        match fast {
            Some(results) => Ok(results),
            None => op.reference(inputs, cx),
        }
    }
}

fn convolution(op: &Convolution, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let (xs, ws) = (x.to_floats(), w.to_floats());
    if !x.data_type().is_float() && !sums_are_exact(&xs, &ws, w.count() / w.sizes()[0].max(1)) {
        return Ok(None);
    }
    let y_sizes = result_sizes(op, inputs)?.swap_remove(0);
    let spatial = x.rank() - 2;
    let axes: Vec<Axis<'_>> = (0..spatial)
        .map(|index| Axis {
            stride: op.strides[index],
            dilation: op.dilations[index],
            padding: &op.padding,
            index,
            ceil: false,
        })
        .collect();
    let begins: Vec<i64> = axes.iter().map(|a| a.begin(x.sizes()[a.index + 2], w.sizes()[a.index + 2])).collect();
    let bias = inputs.optional_tensor(2)?.map(Tensor::to_floats);
    let (group_inputs, outputs) = (w.sizes()[1], w.sizes()[0]);
    let group_outputs = outputs / op.groups.max(1);
    let kernel = &w.sizes()[2..];
    let taps: usize = kernel.iter().product();
    let window = group_inputs * taps;
    let (x_plane, y_plane): (usize, usize) = (x.sizes()[2..].iter().product(), y_sizes[2..].iter().product());
    let x_strides = shape::strides(&x.sizes()[2..]);
    let block = (UNFOLDED / window.max(1)).clamp(1, y_plane.max(1));
    let mut y = vec![0.0; y_sizes.iter().product()];
    for n in 0..x.sizes()[0] {
        let mut first = 0;
        while first < y_plane {
            let columns = block.min(y_plane - first);
            // Where each tap of each window lies inside a channel's plane; the same for all channels.
            let mut sources: Vec<usize> = Vec::with_capacity(taps * columns);
            let positions: Vec<Sizes> = (first..first + columns).map(|i| shape::unravel(i, &y_sizes[2..])).collect();
            for_each_index(kernel, |tap| {
                sources.extend(positions.iter().map(|at| {
                    let source = axes.iter().try_fold(0, |position, axis| {
                        let i = axis.index;
                        axis.source(at[i], tap[i], begins[i], x.sizes()[i + 2]).map(|p| position + p * x_strides[i])
                    });
                    source.unwrap_or(PADDING)
                }));
            });
            let mut unfolded = vec![0.0; window * columns];
            let mut block_y = vec![0.0; group_outputs * columns];
            for group in 0..op.groups {
                let channels = unfolded.par_chunks_mut((taps * columns).max(1)).enumerate();
                channels.for_each(|(channel, rows)| {
                    let start = (n * x.sizes()[1] + group * group_inputs + channel) * x_plane;
                    let plane = &xs[start..start + x_plane];
                    for (value, &source) in rows.iter_mut().zip(&sources) {
                        *value = plane.get(source).copied().unwrap_or(0.0);
                    }
                });
                let weights = MatrixView {
                    data: &ws,
                    offset: group * group_outputs * window,
                    row_stride: window,
                    column_stride: 1,
                };
                let windows = MatrixView { data: &unfolded, offset: 0, row_stride: columns, column_stride: 1 };
                product(group_outputs, columns, window, weights, windows, &mut block_y);
                for m in 0..group_outputs {
                    let channel = group * group_outputs + m;
                    let start = (n * outputs + channel) * y_plane + first;
                    let shift = bias.as_ref().map_or(0.0, |b| b[channel]);
                    for (target, value) in y[start..start + columns].iter_mut().zip(&block_y[m * columns..]) {
                        *target = value + shift;
                    }
                }
            }
            first += columns;
        }
    }
    Ok(Some(vec![rounded(x.data_type(), &y_sizes, &y)?]))
}

/// Whole-byte elements move one by one along an index that counts up.
fn transpose(op: &Transpose, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let x = inputs.tensor(0)?;
    let bits = x.data_type().bits();
    if x.data_type() == DataType::String || bits % 8 != 0 || x.count() == 0 {
        return Ok(None);
    }
    let width = bits / 8;
    let y_sizes = result_sizes(op, inputs)?.swap_remove(0);
    let strides = shape::strides(x.sizes());
    let order: Vec<usize> = op.permutation.clone().unwrap_or_else(|| (0..x.rank()).rev().collect());
    let steps: Vec<usize> = order.iter().map(|&axis| strides[axis] * width).collect();
    let bytes = x.bytes();
    let mut y = Vec::with_capacity(bytes.len());
    let Some((&inner, outer)) = y_sizes.split_last() else { return Ok(None) };
    let inner_step = steps.last().copied().unwrap_or(width);
    for_each_index(outer, |at| {
        let start: usize = at.iter().zip(&steps).map(|(i, step)| i * step).sum();
        if inner_step == width {
            y.extend_from_slice(&bytes[start..start + inner * width]);
            return;
        }
        for i in 0..inner {
            let from = start + i * inner_step;
            match bytes[from..from + width] {
                [a, b, c, d] => y.extend_from_slice(&[a, b, c, d]),
                ref element => y.extend_from_slice(element),
            }
        }
    });
    Ok(Some(vec![Tensor::from_bytes(x.data_type(), &y_sizes, y.into())?.into()]))
}

/// Are all sums of `terms` integer products, with anything of 32 bits added, exact in float64?
fn sums_are_exact(a: &[f64], b: &[f64], terms: usize) -> bool {
    let largest = |values: &[f64]| values.iter().fold(0f64, |m, v| m.max(v.abs()));
    largest(a) * largest(b) * terms as f64 + 2f64.powi(32) < 2f64.powi(53)
}

/// A float type rounds, an integer type wraps.
fn rounded(data_type: DataType, sizes: &[usize], values: &[f64]) -> Result<Value, EvalError> {
    if data_type.is_float() {
        return Ok(Tensor::from_floats(data_type, sizes, values)?.into());
    }
    let integers: Vec<i128> = values.iter().map(|&v| v as i128).collect();
    Ok(Tensor::from_ints(data_type, sizes, &integers)?.into())
}

fn matmul(op: &MatMul, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
    let (a, b) = (inputs.tensor(0)?, inputs.tensor(1)?);
    if a.rank() < 2 || b.rank() < 2 {
        return Ok(None);
    }
    let y_sizes = result_sizes(op, inputs)?.swap_remove(0);
    let (batch, matrix) = y_sizes.split_at(y_sizes.len() - 2);
    let (m, n) = (matrix[0], matrix[1]);
    let k = a.sizes()[a.rank() - if op.transpose_a { 2 } else { 1 }];
    let strides = |rows: usize, columns: usize, transposed: bool| if transposed { (1, rows) } else { (columns, 1) };
    let (a_batch, b_batch) =
        (broadcast_strides(&a.sizes()[..a.rank() - 2], batch), broadcast_strides(&b.sizes()[..b.rank() - 2], batch));
    let (af, bf) = (a.to_floats(), b.to_floats());
    if !a.data_type().is_float() && !sums_are_exact(&af, &bf, k) {
        return Ok(None);
    }
    let mut y = vec![0.0; y_sizes.iter().product()];
    let mut targets = y.chunks_mut((m * n).max(1));
    for_each_index(batch, |at| {
        let Some(target) = targets.next() else { return };
        let view = |data, index: usize, size: usize, (row_stride, column_stride)| MatrixView {
            data,
            offset: index * size,
            row_stride,
            column_stride,
        };
        let a_view = view(&af, shape::ravel(at, &a_batch), m * k, strides(m, k, op.transpose_a));
        let b_view = view(&bf, shape::ravel(at, &b_batch), k * n, strides(k, n, op.transpose_b));
        product(m, n, k, a_view, b_view, target);
    });
    Ok(Some(vec![rounded(a.data_type(), &y_sizes, &y)?]))
}

/// Programs whose values all fit a float64 exactly: 64-bit integers need their 128 bits.
fn fits_float64(program: &Program) -> bool {
    let fits = |t: DataType| t.is_float() || t != DataType::String && t.bits() <= 32;
    program
        .steps()
        .iter()
        .all(|step| fits(step.data_type()) && !matches!(step, Step::Apply { compute, .. } if !fits(*compute)))
}

fn pointwise(op: &Pointwise, inputs: &Arguments<'_>) -> Result<Option<Vec<Value>>, EvalError> {
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
    let operands: Vec<(Vec<f64>, Option<Sizes>)> = tensors
        .iter()
        .map(|t| {
            let strides = (t.sizes() != sizes.as_slice()).then(|| broadcast_strides(t.sizes(), &sizes));
            (t.to_floats(), strides)
        })
        .collect();
    let results = op.program.results();
    let mut columns: Vec<Vec<f64>> = vec![vec![0.0; count]; results.len()];
    let chunks = count.div_ceil(CHUNK);
    let computed: Vec<Vec<Vec<f64>>> = (0..chunks)
        .into_par_iter()
        .map(|chunk| {
            let range = chunk * CHUNK..count.min((chunk + 1) * CHUNK);
            let steps = chunk_steps(&op.program, &operands, &sizes, range);
            results.iter().map(|&r| steps[r].clone()).collect()
        })
        .collect();
    for (chunk, values) in computed.into_iter().enumerate() {
        for (column, part) in columns.iter_mut().zip(values) {
            column[chunk * CHUNK..chunk * CHUNK + part.len()].copy_from_slice(&part);
        }
    }
    let types = op.program.result_types();
    let tensor = |(column, ty): (&Vec<f64>, DataType)| -> Result<Value, EvalError> {
        if ty.mini_float().is_some() {
            let scalars: Vec<Scalar> = column.iter().map(|&v| Scalar::Float(v)).collect();
            return Ok(sinter_ops::pointwise::operator::from_scalars(ty, &sizes, &scalars)?.into());
        }
        rounded(ty, &sizes, column)
    };
    columns.iter().zip(types).map(tensor).collect::<Result<Vec<_>, _>>().map(Some)
}

fn chunk_steps(
    program: &Program,
    operands: &[(Vec<f64>, Option<Sizes>)],
    sizes: &[usize],
    range: std::ops::Range<usize>,
) -> Vec<Vec<f64>> {
    let mut steps: Vec<Vec<f64>> = Vec::with_capacity(program.steps().len());
    for step in program.steps() {
        let column = match step {
            Step::Input { index, .. } => match &operands[*index] {
                (values, None) => values[range.clone()].to_vec(),
                (values, Some(strides)) => {
                    range.clone().map(|i| values[shape::ravel(&shape::unravel(i, sizes), strides)]).collect()
                }
            },
            Step::Constant { value, .. } => vec![value.float(); range.len()],
            Step::Apply { op, compute, args } if is_plain(*op, *compute) => {
                let (a, b) = (&steps[args[0]], &steps[args[args.len() - 1]]);
                plain_column(*op, *compute, a, b)
            }
            Step::Apply { op, compute, args } => {
                let scalar = |position: usize, i: usize| {
                    let value = steps[position][i];
                    // Integers travel as whole floats; scalar operations want them as integers.
                    if program.steps()[position].data_type().is_float() {
                        Scalar::Float(value)
                    } else {
                        Scalar::Int(value as i128)
                    }
                };
                (0..range.len())
                    .map(|i| match args.as_slice() {
                        [a] => op.evaluate(*compute, &[scalar(*a, i)]).float(),
                        [a, b] => op.evaluate(*compute, &[scalar(*a, i), scalar(*b, i)]).float(),
                        [a, b, c] => op.evaluate(*compute, &[scalar(*a, i), scalar(*b, i), scalar(*c, i)]).float(),
                        _ => f64::NAN,
                    })
                    .collect()
            }
        };
        steps.push(column);
    }
    steps
}

/// Operations that are one float64 instruction and a rounding: most of what networks do.
fn is_plain(op: ScalarOp, compute: DataType) -> bool {
    let wide = matches!(compute, DataType::F32 | DataType::F64);
    wide && matches!(op, ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul | ScalarOp::Div | ScalarOp::Max | ScalarOp::Min)
}

fn plain_column(op: ScalarOp, compute: DataType, a: &[f64], b: &[f64]) -> Vec<f64> {
    let both = |f: fn(f64, f64) -> f64| a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect::<Vec<f64>>();
    let keep_nan = |a: f64, b: f64, other: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { other };
    let mut column = match op {
        ScalarOp::Add => both(|a, b| a + b),
        ScalarOp::Sub => both(|a, b| a - b),
        ScalarOp::Mul => both(|a, b| a * b),
        ScalarOp::Div => both(|a, b| a / b),
        ScalarOp::Max => a.iter().zip(b).map(|(&a, &b)| keep_nan(a, b, a.max(b))).collect(),
        _ => a.iter().zip(b).map(|(&a, &b)| keep_nan(a, b, a.min(b))).collect(),
    };
    if compute == DataType::F32 {
        column.iter_mut().for_each(|v| *v = f64::from(*v as f32));
    }
    column
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::{Tolerance, compare};
    use sinter_ops::{Operator, ReferenceEvaluator};

    /// Every example of the operators that are sped up, against the reference.
    #[test]
    fn agrees_with_the_reference() {
        let examples =
            [Convolution::examples(), MatMul::examples(), Pointwise::examples(), Transpose::examples()].concat();
        for (seed, example) in (0u64..).zip(examples) {
            let values = example.values(seed);
            let run = |evaluator: &dyn Evaluator| {
                evaluator.evaluate(&example.op, &Arguments::new(&values), &EvalContext::new(evaluator)).unwrap()
            };
            let tolerance = Tolerance { relative: 1e-6, absolute: 1e-7 };
            for (fast, slow) in run(&FastEvaluator).iter().zip(&run(&ReferenceEvaluator)) {
                compare(fast, slow, tolerance)
                    .unwrap_or_else(|e| panic!("{} {}: {e}", example.op.name(), example.name));
            }
        }
    }

    #[test]
    fn large_pointwise_programs_run_in_chunks() {
        use sinter_ops::pointwise::Expr;
        let (x, y) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
        let op = Expr::into_pointwise(&[x.binary(ScalarOp::Less, &y).select(&(&x + &y), &x), x.clone()]).unwrap();
        let a = Tensor::from_vec(&[3, 1031], (0..3093).map(|i| (i % 17) as f32).collect()).unwrap();
        let b = Tensor::from_vec(&[1031], (0..1031).map(|i| (i % 5) as f32).collect()).unwrap();
        let values = [Some(a.into()), Some(b.into())];
        let inputs = Arguments::new(&values);
        let fast = pointwise(&op, &inputs).unwrap().unwrap();
        assert_eq!(fast, op.reference(&inputs, &EvalContext::new(&ReferenceEvaluator)).unwrap());
    }
}
