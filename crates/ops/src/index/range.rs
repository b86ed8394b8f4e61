//! Evenly spaced numbers.
//!
//! `y_k = start + k delta` for `k` in `0..max(0, ceil((limit - start) / delta))`. Inputs: start, limit, delta, one number
//! each, of one type. A delta of 0 is an error. Source: ONNX Range-11.

use sinter_base::types::MAX_KNOWN_ELEMENTS;
use sinter_base::{Attributes, DataType, Dim, KnownValue, Tensor, TensorType, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Range {}

/// More elements than any tensor can have; keeps the reference from counting to infinity.
const LIMIT: f64 = 1e15;

fn float_count(start: f64, limit: f64, delta: f64) -> Result<usize, InferError> {
    let count = ((limit - start) / delta).ceil();
    if delta == 0.0 || count.is_nan() || count >= LIMIT {
        invalid!("the range from {start} to {limit} by {delta} has no sensible length");
    }
    Ok(if count > 0.0 { count as usize } else { 0 })
}

impl Operator for Range {
    const NAME: &'static str = "Range";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a number", |t| t != DataType::String && t != DataType::Bool)?;
        inputs.same_data_type(0)?;
        for index in 0..3 {
            let dims = inputs.dims(index)?;
            cx.require_equal(&sinter_base::shape::product(dims), &1i64.into(), "elements of a bound")?;
        }
        let single = |index: usize| match inputs.ints(index) {
            Some([value]) => Some(value),
            _ => None,
        };
        let zero = Dim::constant(0);
        if let (Some(start), Some(limit), Some(delta)) = (single(0), single(1), single(2)) {
            if *delta == zero {
                invalid!("a range with steps of 0");
            }
            // The direction must be decided.
            if delta.lower_bound() > 0 || delta.upper_bound() < 0 {
                let count = limit.sub(start).ceil_div(delta).maximum(&zero);
                let known = count.as_constant().and_then(|c| usize::try_from(c).ok());
                let ty = TensorType::ranked(data_type, vec![count]);
                return Ok(vec![match known {
                    Some(count) if count <= MAX_KNOWN_ELEMENTS => {
                        let values = (0..count).map(|k| start.add(&delta.mul(&Dim::from(k)))).collect();
                        ty.with_value(KnownValue::Ints(values)).into()
                    }
                    _ => ty.into(),
                }]);
            }
        }
        if let (Some([start]), Some([limit]), Some([delta])) = (inputs.floats(0), inputs.floats(1), inputs.floats(2)) {
            let count = float_count(*start, *limit, *delta)?;
            return Ok(vec![ValueType::tensor(data_type, vec![Dim::from(count)])]);
        }
        Ok(vec![ValueType::tensor(data_type, vec![cx.fresh("range")])])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        // The bounds are single numbers whatever their rank; only the length is dynamic.
        Ok(vec![ValueType::unranked(inputs.same_data_type(0)?)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let data_type = inputs.tensor(0)?.data_type();
        if data_type.is_float() {
            let bounds = (0..3).map(|i| Ok(inputs.tensor(i)?.to_floats())).collect::<Result<Vec<_>, EvalError>>()?;
            let [[start], [limit], [delta]] = [&bounds[0][..], &bounds[1][..], &bounds[2][..]] else {
                invalid!(eval: "each bound of a range is one number")
            };
            let count = float_count(*start, *limit, *delta)?;
            let values: Vec<f64> = (0..count).map(|k| start + k as f64 * delta).collect();
            return Ok(vec![Tensor::from_floats(data_type, &[count], &values)?.into()]);
        }
        let bounds = (0..3).map(|i| Ok(inputs.tensor(i)?.to_ints())).collect::<Result<Vec<_>, EvalError>>()?;
        let [[start], [limit], [delta]] = [&bounds[0][..], &bounds[1][..], &bounds[2][..]] else {
            invalid!(eval: "each bound of a range is one number")
        };
        let (distance, delta) = if *delta < 0 { (start - limit, *delta) } else { (limit - start, *delta) };
        if delta == 0 {
            invalid!(eval: "a range with steps of 0");
        }
        let stride = delta.abs();
        let count = (distance.max(0) + stride - 1) / stride;
        let values: Vec<i128> = (0..count).map(|k| start + k * delta).collect();
        Ok(vec![Tensor::from_ints(data_type, &[values.len()], &values)?.into()])
    }

    fn examples() -> Vec<Example> {
        let number = |data_type, value| Tensor::scalar(data_type, value);
        let range = |name, data_type, start, limit, delta| {
            Example::new(name, Range::default())
                .tensor(number(data_type, start))
                .tensor(number(data_type, limit))
                .tensor(number(data_type, delta))
        };
        vec![
            range("positions", DataType::I64, 0.0, 17.0, 1.0),
            range("steps", DataType::I32, 3.0, 20.0, 5.0),
            range("downward", DataType::I64, 5.0, -4.0, -2.0),
            range("floats", DataType::F32, 0.0, 1.0, 0.3),
            range("empty", DataType::I64, 5.0, 5.0, 1.0),
            range("wrong way", DataType::F32, 0.0, 3.0, -1.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    fn run(data_type: DataType, start: f64, limit: f64, delta: f64) -> Result<Vec<f64>, EvalError> {
        let number = |v| Tensor::scalar(data_type, v);
        reference_of(&Range {}, &[&number(start), &number(limit), &number(delta)]).map(|y| y[0].to_floats())
    }

    #[test]
    fn ranges_by_hand() {
        assert_eq!(run(DataType::I64, 1.0, 8.0, 3.0).unwrap(), [1.0, 4.0, 7.0]);
        assert_eq!(run(DataType::I64, 5.0, 1.0, -2.0).unwrap(), [5.0, 3.0]);
        assert_eq!(run(DataType::F64, 0.0, 1.0, 0.5).unwrap(), [0.0, 0.5]);
        assert_eq!(run(DataType::I64, 1.0, 0.0, 1.0).unwrap(), [0.0; 0]);
        assert!(run(DataType::I64, 0.0, 1.0, 0.0).is_err());
        assert!(run(DataType::F32, 0.0, f64::INFINITY, 1.0).is_err());
    }

    #[test]
    fn a_symbolic_length() {
        let number = |value: Dim| -> ValueType {
            TensorType::ranked(DataType::I64, Vec::new()).with_value(KnownValue::Ints(vec![value])).into()
        };
        let y = infer_of(&Range {}, &[&number(0i64.into()), &number(Dim::symbol("S")), &number(1i64.into())]).unwrap();
        assert_eq!(y[0].to_string(), "i64[S]");
    }
}
