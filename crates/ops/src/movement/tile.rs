//! A tensor repeated along its axes.
//!
//! `y[i] = x[i mod sizes]`, size `d * repeats` along each axis. Inputs: data of any type; repeats: [rank] i64, none
//! negative. Source: ONNX Tile-13.

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{Attributes, Dim, Sizes, Value, ValueType};

use crate::axes::{int_values, list_length};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::movement::known::{moved, sizes_of};
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Tile {}

/// Flat position in the input of element `flat` of the result.
fn source(input_sizes: &[usize], result_sizes: &[usize], flat: usize) -> usize {
    let at: Sizes = unravel(flat, result_sizes).iter().zip(input_sizes).map(|(i, size)| i % size.max(&1)).collect();
    ravel(&at, &strides(input_sizes))
}

impl Operator for Tile {
    const NAME: &'static str = "Tile";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let dims = data.dims()?;
        cx.require_equal(&list_length(inputs, 1)?, &Dim::from(dims.len()), "repeats and dimensions")?;
        let mut result = Vec::with_capacity(dims.len());
        for (axis, size) in dims.iter().enumerate() {
            result.push(match inputs.ints(1).and_then(|repeats| repeats.get(axis)) {
                Some(repeat) if repeat.upper_bound() < 0 => invalid!("axis {axis} is repeated {repeat} times"),
                Some(repeat) => size.mul(repeat),
                None => cx.fresh("tile"),
            });
        }
        let own = sizes_of(data);
        Ok(vec![moved(data, result, |sizes, i| own.as_ref().map(|own| source(own, sizes, i))).into()])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let repeats = int_values(inputs.tensor(1)?)?;
        if repeats.len() != x.rank() {
            invalid!(eval: "{} repeats for a tensor of {} dimensions", repeats.len(), x.rank());
        }
        let mut sizes = Sizes::new();
        for (&size, &repeat) in x.sizes().iter().zip(&repeats) {
            match usize::try_from(repeat).ok().and_then(|r| size.checked_mul(r)) {
                Some(size) => sizes.push(size),
                None => invalid!(eval: "an axis of {size} elements is repeated {repeat} times"),
            }
        }
        Ok(vec![x.rearranged(&sizes, |i| Some(source(x.sizes(), &sizes, i)))?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 0)
    }

    fn examples() -> Vec<Example> {
        let op = Tile::default();
        vec![
            Example::new("matrix", op.clone()).float(&[2, 3]).ints(&[2, 2]),
            Example::new("one axis", op.clone()).float(&[3, 1, 5]).ints(&[1, 7, 1]),
            Example::new("never", op.clone()).float(&[3, 2]).ints(&[0, 2]),
            Example::new("no elements", op.clone()).float(&[0, 2]).ints(&[3, 2]),
            Example::new("scalar", op).float(&[]).ints(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;
    use sinter_base::Tensor;

    #[test]
    fn repeats_by_hand() {
        let x = Tensor::from_vec(&[2, 2], vec![1i64, 2, 3, 4]).unwrap();
        let y = reference_of(&Tile {}, &[&x, &Tensor::of_i64(&[1, 2])]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_i64()), (&[2, 4][..], vec![1, 2, 1, 2, 3, 4, 3, 4]));
        assert!(reference_of(&Tile {}, &[&x, &Tensor::of_i64(&[1, -2])]).is_err());
        assert!(reference_of(&Tile {}, &[&x, &Tensor::of_i64(&[1])]).is_err());
    }
}
