//! The same elements in the same order under another shape.
//!
//! Inputs: data of any type; shape: [rank] i64. An entry -1 takes what is left; an entry 0 keeps the input's size at
//! that position unless `allow_zero`. Source: ONNX Reshape-25.

use sinter_base::shape::product;
use sinter_base::{Attributes, DataType, Dim, TensorType, Truth, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Reshape {
    /// An entry 0 means size 0 instead of "keep".
    pub allow_zero: bool,
}

impl Reshape {
    /// Dimensions after reshaping `data` to the known entries of `target`.
    fn target_dims(&self, data: &TensorType, target: &[Dim], cx: &mut InferContext) -> Result<Vec<Dim>, InferError> {
        let (zero, minus_one) = (Dim::constant(0), Dim::constant(-1));
        let mut dims = Vec::with_capacity(target.len());
        for (position, entry) in target.iter().enumerate() {
            if *entry == zero && !self.allow_zero {
                match data.dims()?.get(position) {
                    Some(kept) => dims.push(kept.clone()),
                    None => invalid!("entry {position} of the shape is 0, but the input has no such axis"),
                }
            } else if entry.upper_bound() < -1 {
                invalid!("entry {position} of the shape is {entry}");
            } else {
                dims.push(entry.clone());
            }
        }
        let open: Vec<usize> = (0..dims.len()).filter(|&i| dims[i] == minus_one).collect();
        match open.as_slice() {
            [] => {
                if let Ok(count) = data.shape.count() {
                    cx.require_equal(&count, &product(&dims), "elements before and after reshaping")?;
                }
            }
            &[at] => {
                dims[at] = Dim::constant(1);
                let rest = product(&dims);
                let Ok(count) = data.shape.count() else {
                    dims[at] = cx.fresh("reshape");
                    return Ok(dims);
                };
                if rest.equals(&zero) == Truth::Yes {
                    invalid!("-1 cannot be resolved beside a size of 0 in {target:?}");
                }
                cx.require_equal(&count.modulo(&rest), &zero, "elements left over by reshaping")?;
                dims[at] = count.floor_div(&rest);
            }
            _ => invalid!("more than one -1 among the entries of the shape"),
        }
        Ok(dims)
    }
}

impl Operator for Reshape {
    const NAME: &'static str = "Reshape";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        inputs.data_type_where(1, "i64", |t| t == DataType::I64)?;
        let shape = inputs.dims_of_rank(1, 1)?;
        let dims = match (inputs.ints(1), shape[0].as_constant()) {
            (Some(target), _) => self.target_dims(data, target, cx)?,
            // The entries are known only at run time; their number tells the rank.
            (None, Some(rank)) => (0..rank).map(|_| cx.fresh("reshape")).collect(),
            (None, None) => return self.unranked(inputs),
        };
        let mut ty = TensorType::ranked(data.data_type, dims);
        ty.value = data.value.clone();
        Ok(vec![ty.into()])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        Ok(vec![inputs.tensor(0)?.reshaped(&sizes)?.into()])
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::new("flatten", Reshape::default()).float(&[2, 3, 4]).ints(&[-1]),
            Example::new("keep and infer", Reshape::default()).float(&[2, 3, 4]).ints(&[0, -1, 2]),
            Example::new("zero means zero", Reshape { allow_zero: true }).float(&[0, 3]).ints(&[3, 0]),
            Example::new("scalar", Reshape::default()).float(&[1, 1]).ints(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::{KnownValue, Tensor};

    fn shape_of(sizes: &[usize], target: &[i64]) -> Result<Vec<usize>, EvalError> {
        let x = Tensor::from_vec(sizes, vec![0f32; sizes.iter().product()])?;
        Ok(reference_of(&Reshape::default(), &[&x, &Tensor::of_i64(target)])?[0].sizes().to_vec())
    }

    #[test]
    fn special_entries() {
        assert_eq!(shape_of(&[2, 3, 4], &[0, -1]).unwrap(), [2, 12]);
        assert_eq!(shape_of(&[2, 3], &[3, 2]).unwrap(), [3, 2]);
        assert!(shape_of(&[2, 3], &[4, -1]).is_err());
        assert!(shape_of(&[2, 3], &[-1, -1]).is_err());
        assert!(shape_of(&[2, 3], &[7]).is_err());
        assert!(shape_of(&[2, 3], &[2, 3, 0]).is_err());
    }

    #[test]
    fn symbolic_sizes_pass_through() {
        let (n, s) = (Dim::symbol("N"), Dim::symbol("S"));
        let x = ValueType::tensor(DataType::F32, vec![n.clone(), s, Dim::constant(768)]);
        let entries = vec![n, Dim::constant(-1), Dim::constant(12), Dim::constant(64)];
        let shape = TensorType::ranked(DataType::I64, vec![Dim::constant(4)]).with_value(KnownValue::Ints(entries));
        let y = infer_of(&Reshape::default(), &[&x, &shape.into()]).unwrap();
        assert_eq!(y[0].to_string(), "f32[N, S, 12, 64]");
    }
}
