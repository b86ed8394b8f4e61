//! A sequence written into a cache at a position of its own per batch entry.
//!
//! Inputs: cache `[batch, .., capacity, ..]` of any type; update of the same sizes but along the axis, where it is no
//! longer; positions: [batch] i64, left out for zeros. `y = cache`, then along the axis
//! `y[b, .., positions[b] + s, ..] = update[b, .., s, ..]`; `circular` wraps around at the capacity, otherwise a position
//! beyond it is an error. Source: ONNX TensorScatter-24.

use sinter_base::shape::{for_each_index, ravel, strides};
use sinter_base::{Attributes, Dim, Value, ValueType};

use crate::axes::{axis_of, int_values, is_index_type};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::index::scatter::ScatterReduction;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct TensorScatter {
    /// Axis of the sequence, not the first; negative counts from the end.
    pub axis: i64,
    /// Wrap around at the capacity.
    pub circular: bool,
}

impl TensorScatter {
    fn sequence_axis(&self, rank: usize) -> Result<usize, InferError> {
        match axis_of(self.axis, rank)? {
            0 => invalid!("axis 0 is the batch and cannot be the sequence"),
            axis => Ok(axis),
        }
    }
}

impl Operator for TensorScatter {
    const NAME: &'static str = "TensorScatter";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type(0)?;
        inputs.data_type_where(1, data_type.name(), |t| t == data_type)?;
        let cache = inputs.dims(0)?;
        let axis = self.sequence_axis(cache.len())?;
        for (position, (own, update)) in cache.iter().zip(inputs.dims_of_rank(1, cache.len())?).enumerate() {
            if position != axis {
                cx.require_equal(own, update, "sizes of cache and update")?;
            } else if update.sub(own).lower_bound() > 0 {
                invalid!("an update of {update} steps does not fit a cache of {own}");
            }
        }
        if inputs.has(2) {
            inputs.data_type_where(2, "i32 or i64", is_index_type)?;
            cx.require_equal(&inputs.dims_of_rank(2, 1)?[0], &cache[0], "write positions and batch entries")?;
        }
        Ok(vec![ValueType::tensor(data_type, cache.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (cache, update) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = self.sequence_axis(cache.rank())?;
        let fits = update.rank() == cache.rank()
            && (0..cache.rank()).all(|a| match a == axis {
                true => update.sizes()[a] <= cache.sizes()[a],
                false => update.sizes()[a] == cache.sizes()[a],
            });
        if !fits {
            invalid!(eval: "an update of sizes {:?} for a cache of sizes {:?}", update.sizes(), cache.sizes());
        }
        let batch = cache.sizes()[0];
        let positions = match inputs.optional_tensor(2)? {
            Some(positions) => int_values(positions)?,
            None => vec![0; batch],
        };
        if positions.len() != batch {
            invalid!(eval: "{} write positions for {batch} batch entries", positions.len());
        }
        let capacity = cache.sizes()[axis];
        let (own, signed) = (strides(cache.sizes()), i64::try_from(capacity).unwrap_or(i64::MAX));
        let mut targets = Vec::with_capacity(update.count());
        let mut outside = None;
        for_each_index(update.sizes(), |at| {
            let step = positions[at[0]].saturating_add(i64::try_from(at[axis]).unwrap_or(i64::MAX));
            let step = if self.circular { step.rem_euclid(signed) } else { step };
            let target = usize::try_from(step).ok().filter(|&s| s < capacity).unwrap_or_else(|| {
                outside = Some(step);
                0
            });
            targets.push(ravel(at, &own) - at[axis] * own[axis] + target * own[axis]);
        });
        if let Some(step) = outside {
            invalid!(eval: "step {step} lies outside a cache of {capacity}");
        }
        Ok(vec![ScatterReduction::None.apply(cache, update, &targets)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        // The cache is updated in place.
        let update = Cost::elementwise(&Operands::new(&[inputs.optional_value(1)]), &[], 0).bytes;
        Cost { operations: Dim::constant(0), bytes: update.mul(&Dim::constant(2)) }
    }

    fn examples() -> Vec<Example> {
        let op = |axis, circular| TensorScatter { axis, circular };
        vec![
            Example::new("heads", op(-2, false)).float(&[2, 3, 7, 4]).float(&[2, 3, 1, 4]).ints(&[6, 0]),
            Example::new("several steps", op(1, false)).float(&[2, 5, 3]).float(&[2, 2, 3]).ints(&[1, 3]),
            Example::new("circular", op(-2, true)).float(&[2, 5, 3]).float(&[2, 3, 3]).ints(&[4, 9]),
            Example::new("from the start", op(1, false)).float(&[1, 5]).float(&[1, 5]),
            Example::new("no steps", op(1, false)).float(&[2, 5]).float(&[2, 0]).ints(&[0, 5]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;
    use sinter_base::Tensor;

    #[test]
    fn each_entry_has_its_own_position() {
        let cache = Tensor::from_vec(&[2, 3], vec![0i64; 6]).unwrap();
        let update = Tensor::from_vec(&[2, 2], vec![1i64, 2, 3, 4]).unwrap();
        let run = |circular, positions: &[i64]| {
            let op = TensorScatter { axis: 1, circular };
            reference_of(&op, &[&cache, &update, &Tensor::of_i64(positions)]).map(|y| y[0].to_i64())
        };
        assert_eq!(run(false, &[0, 1]).unwrap(), [1, 2, 0, 0, 3, 4]);
        assert_eq!(run(true, &[2, 4]).unwrap(), [2, 0, 1, 0, 3, 4]);
        assert!(run(false, &[0, 2]).is_err());
        assert!(run(false, &[-1, 0]).is_err());
    }
}
