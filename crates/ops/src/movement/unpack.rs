//! Bytes as the smaller elements that lie packed in them.
//!
//! x: [..., n] of u8; y: [..., n * 8 / bits] of a type below eight bits. The low bits of a byte come first, as ONNX packs
//! its own types: y has the bytes of x, and its last axis is longer. Source: the packed weights of ONNX Runtime's
//! MatMulNBits.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Unpack {
    /// Element type of the result.
    pub to: DataType,
}

impl Unpack {
    /// Elements in a byte.
    ///
    /// # Errors
    /// When the type is not packed.
    pub fn per_byte(&self) -> Result<usize, InferError> {
        if !self.to.is_packed() {
            invalid!("{} has no elements that share a byte", self.to);
        }
        Ok(8 / self.to.bits())
    }
}

impl Operator for Unpack {
    const NAME: &'static str = "Unpack";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "u8", |t| t == DataType::U8)?;
        let per_byte = Dim::from(self.per_byte()?);
        let mut dims = inputs.dims(0)?.to_vec();
        match dims.last_mut() {
            Some(last) => *last = last.mul(&per_byte),
            None => invalid!("a single byte has no axis for its elements"),
        }
        Ok(vec![ValueType::tensor(self.to, dims)])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "u8", |t| t == DataType::U8)?;
        self.per_byte()?;
        Ok(vec![ValueType::unranked(self.to)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        Ok(vec![Tensor::from_bytes(self.to, &sizes, inputs.tensor(0)?.shared_bytes())?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 0)
    }

    fn examples() -> Vec<Example> {
        let bytes = |name, to| Example::new(name, Unpack { to }).uniform(DataType::U8, &[3, 5], 0.0, 255.0);
        vec![
            bytes("two to a byte", DataType::U4),
            bytes("four to a byte", DataType::U2),
            bytes("signed", DataType::I4),
            bytes("small floats", DataType::F4E2M1),
            Example::new("nothing", Unpack { to: DataType::U4 }).uniform(DataType::U8, &[2, 0], 0.0, 1.0),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn low_bits_first() {
        let x = Tensor::from_vec(&[2, 1], vec![0x21u8, 0xFE]).unwrap();
        let unpacked = |to| reference_of(&Unpack { to }, &[&x]).map(|mut y| y.swap_remove(0));
        let y = unpacked(DataType::U4).unwrap();
        assert_eq!((y.sizes(), y.to_i64()), (&[2, 2][..], vec![1, 2, 14, 15]));
        assert_eq!(unpacked(DataType::I4).unwrap().to_i64(), [1, 2, -2, -1]);
        assert_eq!(unpacked(DataType::U2).unwrap().to_i64(), [1, 0, 2, 0, 2, 3, 3, 3]);
        assert!(unpacked(DataType::U8).is_err());
    }
}
