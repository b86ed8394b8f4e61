//! The `k` largest or smallest elements along an axis, with their positions.
//!
//! Inputs: data of any numeric type; k: [1] i64. Results: values and, i64, positions along the axis. Equal elements come
//! in the order of their positions; NaN counts as larger than every number. Unless `sorted` any order is right; the
//! reference sorts. Source: ONNX TopK-24.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::axes::{axis_of, int_values, list_length, numeric};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::index::order::Ordered;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct TopK {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The largest elements, else the smallest.
    pub largest: bool,
    /// Best first.
    pub sorted: bool,
}

impl Operator for TopK {
    const NAME: &'static str = "TopK";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a number", |t| t != DataType::String)?;
        let mut dims = inputs.dims(0)?.to_vec();
        let axis = axis_of(self.axis, dims.len())?;
        cx.require_equal(&list_length(inputs, 1)?, &1i64.into(), "number of k")?;
        dims[axis] = match inputs.ints(1) {
            Some([k]) if k.upper_bound() < 0 || k.sub(&dims[axis]).lower_bound() > 0 => {
                invalid!("the {k} best of {} elements do not exist", dims[axis])
            }
            Some([k]) => k.clone(),
            _ => cx.fresh("k"),
        };
        Ok(vec![ValueType::tensor(data_type, dims.clone()), ValueType::tensor(DataType::I64, dims)])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a number", |t| t != DataType::String)?;
        Ok(vec![ValueType::unranked(data_type), ValueType::unranked(DataType::I64)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, k) = (numeric(inputs.tensor(0)?)?, int_values(inputs.tensor(1)?)?);
        let axis = axis_of(self.axis, x.rank())?;
        let length = x.sizes()[axis];
        let k = match k[..] {
            [k] => usize::try_from(k).ok().filter(|&k| k <= length),
            _ => None,
        };
        let Some(k) = k else { invalid!(eval: "the {:?} best of {length} elements do not exist", inputs.tensor(1)?) };
        let inner = x.sizes()[axis + 1..].iter().product::<usize>();
        let mut sizes = x.sizes().to_vec();
        sizes[axis] = k;
        let elements = Ordered::of(x);
        let outer = x.sizes()[..axis].iter().product::<usize>();
        let mut positions = vec![0usize; outer * k * inner];
        for o in 0..outer {
            for i in 0..inner {
                let at = |p: usize| (o * length + p) * inner + i;
                let mut order: Vec<usize> = (0..length).collect();
                order.sort_by(|&a, &b| {
                    let ascending = elements.compare(at(a), at(b));
                    if self.largest { ascending.reverse() } else { ascending }
                });
                for (rank, position) in order.into_iter().take(k).enumerate() {
                    positions[(o * k + rank) * inner + i] = position;
                }
            }
        }
        let values =
            x.rearranged(&sizes, |flat| Some((flat / inner / k * length + positions[flat]) * inner + flat % inner))?;
        let positions = positions.into_iter().map(|p| i64::try_from(p).unwrap_or(i64::MAX)).collect();
        Ok(vec![values.into(), Tensor::from_vec(&sizes, positions)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let operations = inputs.optional_value(0).map_or_else(|| 0i64.into(), count_of);
        Cost { operations, ..Cost::elementwise(inputs, outputs, 0) }
    }

    fn examples() -> Vec<Example> {
        let op = |axis, largest| TopK { axis, largest, sorted: true };
        vec![
            Example::new("largest", op(-1, true)).float(&[3, 31]).ints(&[5]),
            Example::new("smallest", op(-1, false)).float(&[3, 7]).ints(&[7]),
            Example::new("first axis", op(0, true)).float(&[11, 3]).ints(&[2]),
            Example::new("ties", op(1, true)).uniform(DataType::I32, &[2, 17, 2], 0.0, 3.0).ints(&[6]),
            Example::new("none", op(0, true)).float(&[5]).ints(&[0]),
            Example::new("no rows", op(1, false)).float(&[0, 5]).ints(&[3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn ties_keep_their_order() {
        let x = Tensor::from_vec(&[5], vec![1f32, 3.0, f32::NAN, 3.0, 0.0]).unwrap();
        let run = |largest, k: i64| {
            let op = TopK { axis: 0, largest, sorted: true };
            reference_of(&op, &[&x, &Tensor::of_i64(&[k])]).map(|y| y[1].to_i64())
        };
        assert_eq!(run(true, 3).unwrap(), [2, 1, 3]);
        assert_eq!(run(false, 4).unwrap(), [4, 0, 1, 3]);
        assert!(run(true, 6).is_err());
        assert!(run(true, -1).is_err());
    }
}
