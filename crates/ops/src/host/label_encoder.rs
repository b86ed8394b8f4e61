//! Each element replaced by the value that belongs to it.
//!
//! Inputs: x; keys [n] of its type; values [n] of any type; default, one element of the values' type. The value beside
//! the last key that equals the element, or the default. Float keys match bit for bit equal numbers, and NaN any NaN.
//! Source: ONNX LabelEncoder-4 of ai.onnx.ml.

use std::collections::HashMap;

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;
use crate::sequence::combine;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct LabelEncoder {}

/// An element that can be compared with others of its type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Text(String),
    Int(i128),
    Float(u64),
}

fn keys(tensor: &Tensor) -> Vec<Key> {
    let float = |v: f64| match v {
        v if v.is_nan() => Key::Float(f64::NAN.to_bits()),
        // Both zeros are the same number.
        0.0 => Key::Float(0),
        v => Key::Float(v.to_bits()),
    };
    match tensor.data_type() {
        DataType::String => tensor.strings().unwrap_or_default().iter().cloned().map(Key::Text).collect(),
        t if t.is_float() => tensor.to_floats().into_iter().map(float).collect(),
        _ => tensor.to_ints().into_iter().map(Key::Int).collect(),
    }
}

impl LabelEncoder {
    fn result_type(&self, inputs: &Operands<'_>) -> Result<DataType, InferError> {
        let x = inputs.data_type(0)?;
        inputs.data_type_where(1, &x.to_string(), |t| t == x)?;
        let values = inputs.data_type(2)?;
        inputs.data_type_where(3, &values.to_string(), |t| t == values)
    }
}

impl Operator for LabelEncoder {
    const NAME: &'static str = "LabelEncoder";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = self.result_type(inputs)?;
        let (known, values) = (inputs.dims_of_rank(1, 1)?, inputs.dims_of_rank(2, 1)?);
        cx.require_equal(&known[0], &values[0], "number of keys and values")?;
        cx.require_equal(&inputs.tensor(3)?.shape.count()?, &Dim::constant(1), "elements of the default")?;
        Ok(vec![ValueType::tensor(data_type, inputs.dims(0)?.to_vec())])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(self.result_type(inputs)?)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, values, default) = (inputs.tensor(0)?, inputs.tensor(2)?, inputs.tensor(3)?);
        let known = keys(inputs.tensor(1)?);
        if values.count() != known.len() || default.count() != 1 {
            invalid!(eval: "{} keys, {} values, {} defaults", known.len(), values.count(), default.count());
        }
        let count = known.len();
        let places: HashMap<Key, usize> = known.into_iter().enumerate().map(|(at, key)| (key, at)).collect();
        let table = combine::concatenate(&[values, &default.reshaped(&[1])?], 0)?;
        let found = keys(x);
        let y =
            table.rearranged(x.sizes(), |i| Some(found.get(i).and_then(|k| places.get(k)).copied().unwrap_or(count)));
        Ok(vec![y?.into()])
    }

    fn examples() -> Vec<Example> {
        let texts = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            Tensor::from_strings(&[texts.len()], texts).expect("as many strings as elements")
        };
        let floats = |values: &[f32]| Tensor::from_vec(&[values.len()], values.to_vec()).expect("one dimension");
        let op = LabelEncoder {};
        vec![
            Example::new("text to integers", op.clone())
                .tensor(texts(&["b", "a", "z"]))
                .tensor(texts(&["a", "b"]))
                .ints(&[5, 6])
                .ints(&[-1]),
            Example::new("floats with NaN to text", op.clone())
                .tensor(floats(&[f32::NAN, 1.5, 2.0]))
                .tensor(floats(&[1.5, f32::NAN]))
                .tensor(texts(&["x", "y"]))
                .tensor(texts(&["none"])),
            Example::new("repeated key", op.clone()).ints(&[1, 2]).ints(&[1, 1]).ints(&[10, 20]).ints(&[0]),
            Example::new("nothing", op).ints(&[]).ints(&[1]).ints(&[2]).ints(&[3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn the_last_key_wins() {
        let x = Tensor::of_i64(&[1, 2, 3]);
        let (known, values) = (Tensor::of_i64(&[1, 3, 1]), Tensor::of_i64(&[10, 30, 11]));
        let run = |default: &[i64]| reference_of(&LabelEncoder {}, &[&x, &known, &values, &Tensor::of_i64(default)]);
        assert_eq!(run(&[-1]).unwrap()[0].to_i64(), [11, -1, 30]);
        assert!(run(&[1, 2]).is_err());
        let zeros = Tensor::from_vec(&[1], vec![-0.0f32]).unwrap();
        let zero = Tensor::from_vec(&[1], vec![0.0f32]).unwrap();
        let one = Tensor::of_i64(&[1]);
        let found = reference_of(&LabelEncoder {}, &[&zeros, &zero, &one, &Tensor::of_i64(&[0])]).unwrap();
        assert_eq!(found[0].to_i64(), [1]);
    }
}
