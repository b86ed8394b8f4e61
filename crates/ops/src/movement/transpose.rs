//! Axes in another order.
//!
//! `y[i_p0, i_p1, ..] = x[i_0, i_1, ..]`: axis `k` of the result is axis `permutation[k]` of the input. Any element
//! type. Source: ONNX Transpose-25.

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{Attributes, Sizes, Value, ValueType};

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
pub struct Transpose {
    /// For each axis of the result the axis of the input; left out: all axes in reverse order.
    pub permutation: Option<Vec<usize>>,
}

impl Transpose {
    /// Moves axis 1, the channels, behind all others.
    pub fn to_channels_last(rank: usize) -> Self {
        Self { permutation: Some(std::iter::once(0).chain(2..rank).chain([1]).collect()) }
    }

    /// Moves the last axis before the spatial ones: the inverse of [`Transpose::to_channels_last`].
    pub fn to_channels_first(rank: usize) -> Self {
        Self { permutation: Some([0, rank - 1].into_iter().chain(1..rank - 1).collect()) }
    }

    /// The permutation for a rank.
    fn of_rank(&self, rank: usize) -> Result<Vec<usize>, InferError> {
        let Some(permutation) = &self.permutation else { return Ok((0..rank).rev().collect()) };
        let mut sorted = permutation.clone();
        sorted.sort_unstable();
        if sorted.iter().copied().eq(0..rank) {
            Ok(permutation.clone())
        } else {
            invalid!("{permutation:?} is no permutation of the axes of a tensor of {rank} dimensions")
        }
    }
}

/// Flat position in the input of element `flat` of the result.
fn source(permutation: &[usize], input_strides: &[usize], result_sizes: &[usize], flat: usize) -> usize {
    let at = unravel(flat, result_sizes);
    let moved: Sizes = permutation.iter().map(|&axis| input_strides[axis]).collect();
    ravel(&at, &moved)
}

impl Operator for Transpose {
    const NAME: &'static str = "Transpose";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let dims = data.dims()?;
        let permutation = self.of_rank(dims.len())?;
        let result = permutation.iter().map(|&axis| dims[axis].clone()).collect();
        let own = sizes_of(data).map(|sizes| strides(&sizes));
        let ty = moved(data, result, |sizes, i| own.as_ref().map(|own| source(&permutation, own, sizes, i)));
        Ok(vec![ty.into()])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let permutation = self.of_rank(x.rank())?;
        let sizes: Sizes = permutation.iter().map(|&axis| x.sizes()[axis]).collect();
        let own = strides(x.sizes());
        Ok(vec![x.rearranged(&sizes, |i| Some(source(&permutation, &own, &sizes, i)))?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 0)
    }

    fn examples() -> Vec<Example> {
        let by = |permutation: &[usize]| Transpose { permutation: Some(permutation.to_vec()) };
        vec![
            Example::new("reverse", Transpose::default()).float(&[2, 3, 5]),
            Example::new("matrix", by(&[1, 0])).float(&[17, 33]),
            Example::new("channels last", by(&[0, 2, 3, 1])).float(&[2, 3, 5, 7]),
            Example::new("heads", by(&[0, 2, 1, 3])).float(&[1, 7, 4, 8]),
            Example::new("bytes", by(&[1, 0, 2])).uniform(sinter_base::DataType::U8, &[3, 2, 13], 0.0, 255.0),
            Example::new("no elements", by(&[1, 0])).float(&[0, 3]),
            Example::new("scalar", Transpose::default()).float(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;
    use sinter_base::{DataType, Tensor};

    #[test]
    fn axes_move_as_listed() {
        let x = Tensor::from_ints(DataType::I4, &[2, 1, 3], &[1, 2, 3, 4, 5, 6]).unwrap();
        let op = Transpose { permutation: Some(vec![2, 0, 1]) };
        let y = reference_of(&op, &[&x]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_i64()), (&[3, 2, 1][..], vec![1, 4, 2, 5, 3, 6]));
        assert!(reference_of(&Transpose { permutation: Some(vec![0, 0, 1]) }, &[&x]).is_err());
        assert!(reference_of(&Transpose { permutation: Some(vec![0, 1]) }, &[&x]).is_err());
    }
}
