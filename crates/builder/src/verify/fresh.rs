//! Random operands for a region, of every storage type: the reference executor's values come from few inputs, and those
//! of early layers may be zero over wide ranges.
//!
//! Floats are of unit scale. Floats of 16 bits include subnormal ones, and a second set is subnormal throughout, since
//! larger numbers would hide them. Integers, and floats of 8 bits and fewer, take every code. Operands that an operator
//! uses as an index, a size or an axis keep the reference executor's values.

use sinter_base::shape::element_count;
use sinter_base::{DataType, Tensor, Value, ValueType};
use sinter_ops::{Body, Node, Op, ValueId};

use crate::verify::reference::{random_bits, unit_variance};

/// The distribution of floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    Unit,
    /// Floats of 16 bits are subnormal; others are of unit scale.
    Subnormal,
}

/// Largest factor of a product of integers wider than codes: the difference of two codes, and a bit.
const FACTOR: i128 = 511;
/// One number of 16 bits in so many is subnormal.
const SUBNORMAL_OF: u64 = 5;

/// An operand of a region.
pub(crate) struct Known<'a> {
    /// The reference executor's value.
    pub(crate) value: &'a Value,
    /// Weights keep their values.
    pub(crate) is_weight: bool,
}

/// Random values for the operands of a region, by index, with these types; `types` has one for each operand that is
/// present. `None` where no operand would be random, or an operand that keeps its value has other sizes.
pub(crate) fn operands(
    body: &Body,
    known: &[Option<Known<'_>>],
    types: &[ValueType],
    spread: Spread,
) -> Option<Vec<Option<Value>>> {
    let mut any = false;
    let mut given = types.iter().zip(body.inputs());
    let mut fresh = Vec::with_capacity(known.len());
    for (stream, known) in (0u64..).zip(known) {
        let Some(Known { value, is_weight }) = known else {
            fresh.push(None);
            continue;
        };
        let (ty, id) = given.next()?;
        let is_fresh = !*is_weight && takes_any(body, *id);
        let made = if is_fresh { numbers(ty, stream, spread, is_factor(body)) } else { None };
        any |= made.is_some();
        fresh.push(Some(match made {
            Some(value) => value,
            None if is_of(value, ty) => (*value).clone(),
            None => return None,
        }));
    }
    any.then_some(fresh)
}

/// Has any of these types subnormal numbers that matter?
pub(crate) fn has_subnormals(types: &[ValueType]) -> bool {
    types.iter().any(|ty| matches!(ty.data_type(), DataType::F16 | DataType::Bf16))
}

fn is_of(value: &Value, ty: &ValueType) -> bool {
    let (Some(tensor), Some(ty)) = (value.as_tensor(), ty.as_tensor()) else { return value.value_type() == *ty };
    tensor.data_type() == ty.data_type && ty.shape.sizes().as_deref() == Some(tensor.sizes())
}

/// Do all readers of a value compute with it, so that any number is valid?
fn takes_any(body: &Body, id: ValueId) -> bool {
    let is_float = body.ty(id).data_type().is_float();
    let takes = |node: &Node, position: usize| match &node.op {
        Op::Pointwise(_) | Op::MatMul(_) | Op::Einsum(_) | Op::Convolution(_) | Op::Deconvolution(_) => true,
        Op::Concat(_) | Op::Quantize(_) | Op::Dequantize(_) | Op::BitCast(_) | Op::Unpack(_) => true,
        Op::Transpose(_) | Op::Reshape(_) | Op::Expand(_) | Op::Slice(_) | Op::Pad(_) | Op::Tile(_) => position == 0,
        Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Gather(_) | Op::GatherElements(_) | Op::GatherNd(_) => position == 0,
        Op::Reduce(_) | Op::ArgReduce(_) | Op::TopK(_) | Op::Cumulative(_) | Op::Pool(_) => position == 0,
        // Nearly all floats are plain numbers.
        _ => is_float,
    };
    body.nodes().iter().all(|node| {
        let read = node.inputs.iter().enumerate().filter(|(_, input)| **input == Some(id));
        read.into_iter().all(|(position, _)| takes(node, position))
    })
}

/// Does the body have products? The reference executor sums them in float64; products of full 32 bits would take too
/// long, and do not occur.
fn is_factor(body: &Body) -> bool {
    body.nodes().iter().any(|node| matches!(node.op, Op::MatMul(_) | Op::Convolution(_) | Op::Deconvolution(_)))
}

/// Random numbers; `None` for a type without numbers, or dynamic sizes.
fn numbers(ty: &ValueType, stream: u64, spread: Spread, is_factor: bool) -> Option<Value> {
    let ty = ty.as_tensor()?;
    let sizes = ty.shape.sizes()?;
    let count = element_count(&sizes)? as u64;
    let data_type = ty.data_type;
    let bits = |index: u64| random_bits(stream, index);
    let tensor = match data_type {
        DataType::F32 | DataType::F64 => {
            let numbers: Vec<f64> = (0..count).map(|index| unit_variance(stream, index)).collect();
            Tensor::from_floats(data_type, &sizes, &numbers)
        }
        DataType::F16 | DataType::Bf16 => {
            let number = |index: u64| {
                let is_small = spread == Spread::Subnormal || index % SUBNORMAL_OF == SUBNORMAL_OF - 1;
                if is_small { subnormal(data_type, bits(index)) } else { unit_variance(stream, index) }
            };
            Tensor::from_floats(data_type, &sizes, &(0..count).map(number).collect::<Vec<f64>>())
        }
        // Scales: powers of two around 1.
        DataType::F8E8M0 => {
            let numbers: Vec<f64> = (0..count).map(|index| 2f64.powi((bits(index) % 9) as i32 - 4)).collect();
            Tensor::from_floats(data_type, &sizes, &numbers)
        }
        other if other.is_float() => {
            let format = other.mini_float()?;
            let codes = finite_codes(other.bits(), |code| format.decode(code).is_finite());
            let codes = (0..count).map(|index| codes[(bits(index) % codes.len() as u64) as usize]).collect();
            Tensor::from_codes(other, &sizes, codes)
        }
        DataType::Bool => {
            let truths: Vec<i128> = (0..count).map(|index| i128::from(bits(index) >> 63)).collect();
            Tensor::from_ints(data_type, &sizes, &truths)
        }
        other => {
            let (low, high) = other.integer_range()?;
            let most = if is_factor && other.bits() > 8 { FACTOR } else { i128::MAX };
            let (low, high) = (low.max(-most), high.min(most));
            let range = (high - low) as u128 + 1;
            let number = |index: u64| low + (u128::from(bits(index)) % range) as i128;
            Tensor::from_ints(other, &sizes, &(0..count).map(number).collect::<Vec<i128>>())
        }
    };
    tensor.ok().map(Value::Tensor)
}

fn finite_codes(bits: usize, is_finite: impl Fn(u8) -> bool) -> Vec<u8> {
    let last = if bits >= 8 { u8::MAX } else { (1 << bits) - 1 };
    (0..=last).filter(|code| is_finite(*code)).collect()
}

/// A number below the smallest normal one, not zero.
fn subnormal(data_type: DataType, bits: u64) -> f64 {
    let (digits, unit) = if data_type == DataType::F16 { (10, 2f64.powi(-24)) } else { (7, 2f64.powi(-133)) };
    let size = (bits % ((1 << digits) - 1) + 1) as f64 * unit;
    if bits >> 63 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sinter_ops::InferContext;
    use sinter_ops::index::Gather;
    use sinter_ops::pointwise::{Expr, ScalarOp};

    use super::*;

    fn fresh(data_type: DataType, spread: Spread) -> Tensor {
        let ty = ValueType::tensor(data_type, vec![4096i64.into()]);
        numbers(&ty, 1, spread, false).and_then(|value| value.as_tensor().cloned()).expect("numbers")
    }

    #[test]
    fn every_code_is_there() {
        for (data_type, count) in [(DataType::I8, 256), (DataType::U8, 256), (DataType::I4, 16), (DataType::Bool, 2)] {
            let codes: BTreeSet<i128> = fresh(data_type, Spread::Unit).to_ints().into_iter().collect();
            assert_eq!(codes.len(), count, "{data_type}");
        }
        let eight: BTreeSet<u64> =
            fresh(DataType::F8E4M3FN, Spread::Unit).to_floats().into_iter().map(f64::to_bits).collect();
        assert_eq!(eight.len(), 254, "all but two NaN");
        let wide = fresh(DataType::I32, Spread::Unit).to_ints();
        assert!(wide.iter().any(|v| *v > 1 << 29) && wide.iter().any(|v| *v < -(1 << 29)));
    }

    #[test]
    fn numbers_of_sixteen_bits_are_subnormal_too() {
        for (data_type, smallest) in [(DataType::F16, 2f64.powi(-14)), (DataType::Bf16, 2f64.powi(-126))] {
            let small = |spread| {
                let numbers = fresh(data_type, spread).to_floats();
                assert!(numbers.iter().all(|v| *v != 0.0 && v.is_finite()));
                numbers.iter().filter(|v| v.abs() < smallest).count()
            };
            assert_eq!((small(Spread::Unit), small(Spread::Subnormal)), (819, 4096), "{data_type}");
        }
    }

    #[test]
    fn indices_stay() {
        let mut body = Body::new();
        let mut cx = InferContext::default();
        let x = body.add_input(ValueType::tensor(DataType::I8, vec![5i64.into()]));
        let at = body.add_input(ValueType::tensor(DataType::I64, vec![3i64.into()]));
        let y = body.add(Gather { axis: 0 }.into(), &[Some(x), Some(at)], &mut cx).unwrap()[0];
        let neg = Expr::into_pointwise(&[Expr::input(0, DataType::I8).unary(ScalarOp::Neg)]).unwrap();
        let y = body.add(neg.into(), &[Some(y)], &mut cx).unwrap()[0];
        body.set_outputs(vec![y]);
        let (zeros, at) = (Tensor::from_ints(DataType::I8, &[5], &[0; 5]).unwrap(), Tensor::of_i64(&[0, 4, 2]));
        let values: [Value; 2] = [zeros.into(), at.into()];
        let known: Vec<_> = values.iter().map(|value| Some(Known { value, is_weight: false })).collect();
        let fresh = operands(&body, &known, &body.input_types(), Spread::Unit).unwrap();
        assert_ne!(fresh[0], Some(values[0].clone()));
        assert_eq!(fresh[1], Some(values[1].clone()));
        let other = [body.input_types()[0].clone(), ValueType::tensor(DataType::I64, vec![4i64.into()])];
        assert!(operands(&body, &known, &other, Spread::Unit).is_none(), "there are no other indices");
    }
}
