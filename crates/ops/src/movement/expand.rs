//! A tensor broadcast to a shape.
//!
//! Inputs: data of any type; shape: [k] i64. The result has the broadcast of the data's shape and the given one (both
//! ways, so an entry 1 keeps the data's size). Source: ONNX Expand-13; ConstantOfShape-25 is the expansion of a scalar.

use sinter_base::shape::{broadcast_sizes, broadcast_strides, ravel, unravel};
use sinter_base::{Attributes, Dim, Value, ValueType};

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
pub struct Expand {}

impl Operator for Expand {
    const NAME: &'static str = "Expand";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let dims = data.dims()?;
        let length = list_length(inputs, 1)?;
        let result = match (inputs.ints(1), length.as_constant().and_then(|l| usize::try_from(l).ok())) {
            (Some(target), _) => {
                if let Some(entry) = target.iter().find(|entry| entry.upper_bound() < 0) {
                    invalid!("a tensor cannot be expanded to size {entry}");
                }
                cx.broadcast(&[dims, target])?
            }
            (None, Some(length)) => {
                let rank = dims.len().max(length);
                let one = Dim::constant(1);
                (0..rank)
                    .map(|axis| match (axis + dims.len()).checked_sub(rank).map(|own| &dims[own]) {
                        // A size that is certainly not 1 stays.
                        Some(size) if size.equals(&one) == sinter_base::Truth::No => size.clone(),
                        _ => cx.fresh("expand"),
                    })
                    .collect()
            }
            (None, None) => return self.unranked(inputs),
        };
        let own = sizes_of(data);
        let ty = moved(data, result, |sizes, i| {
            own.as_ref().map(|own| ravel(&unravel(i, sizes), &broadcast_strides(own, sizes)))
        });
        Ok(vec![ty.into()])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, target) = (inputs.tensor(0)?, int_values(inputs.tensor(1)?)?);
        let sizes: Result<Vec<usize>, _> = target.iter().map(|&entry| usize::try_from(entry)).collect();
        let Ok(entries) = sizes else { invalid!(eval: "a tensor cannot be expanded to {target:?}") };
        let Some(sizes) = broadcast_sizes(&[x.sizes(), &entries]) else {
            invalid!(eval: "sizes {:?} and {entries:?} do not broadcast", x.sizes())
        };
        let strides = broadcast_strides(x.sizes(), &sizes);
        Ok(vec![x.rearranged(&sizes, |i| Some(ravel(&unravel(i, &sizes), &strides)))?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 0)
    }

    fn examples() -> Vec<Example> {
        let op = Expand::default();
        vec![
            Example::new("rows", op.clone()).float(&[1, 5]).ints(&[3, 5]),
            Example::new("new axes", op.clone()).float(&[3, 1]).ints(&[2, 1, 7]),
            Example::new("shorter shape", op.clone()).float(&[2, 3, 1]).ints(&[5]),
            Example::new("scalar", op.clone()).float(&[]).ints(&[3, 4]),
            Example::new("to nothing", op.clone()).float(&[1, 3]).ints(&[0, 3]),
            Example::new("unchanged", op).float(&[2, 3]).ints(&[1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::{DataType, KnownValue, Tensor, TensorType};

    #[test]
    fn broadcasts_both_ways() {
        let x = Tensor::from_vec(&[2, 1], vec![1i64, 2]).unwrap();
        let y = reference_of(&Expand {}, &[&x, &Tensor::of_i64(&[2])]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_i64()), (&[2, 2][..], vec![1, 1, 2, 2]));
        assert!(reference_of(&Expand {}, &[&x, &Tensor::of_i64(&[3, 1])]).is_err());
        assert!(reference_of(&Expand {}, &[&x, &Tensor::of_i64(&[-1])]).is_err());
    }

    #[test]
    fn open_shapes() {
        let x = ValueType::tensor(DataType::F32, vec![Dim::constant(3), Dim::constant(1)]);
        let known = TensorType::ranked(DataType::I64, vec![Dim::constant(3)]).with_value(KnownValue::Ints(vec![
            Dim::symbol("N"),
            Dim::constant(1),
            Dim::symbol("S"),
        ]));
        assert_eq!(infer_of(&Expand {}, &[&x, &known.into()]).unwrap()[0].to_string(), "f32[N, 3, S]");
        // A slice of a table of 512 fits only sizes that the table has.
        let cut = ValueType::tensor(DataType::F32, vec![Dim::symbol("S").minimum(&Dim::constant(512))]);
        let whole = TensorType::ranked(DataType::I64, vec![Dim::constant(1)])
            .with_value(KnownValue::Ints(vec![Dim::symbol("S")]))
            .into();
        let mut cx = InferContext::default();
        let types = Expand {}.infer(&Operands::new(&[Some(&cut), Some(&whole)]), &mut cx).unwrap();
        assert_eq!((types[0].to_string().as_str(), cx.guards.len()), ("f32[S]", 1));
        let open = ValueType::tensor(DataType::I64, vec![Dim::constant(2)]);
        assert_eq!(infer_of(&Expand {}, &[&x, &open]).unwrap()[0].to_string(), "f32[3, ?expand1]");
        let open = ValueType::tensor(DataType::I64, vec![Dim::symbol("K")]);
        assert_eq!(infer_of(&Expand {}, &[&x, &open]).unwrap()[0].to_string(), "f32[..]");
    }
}
