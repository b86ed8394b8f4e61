//! The same bits read as another element type.
//!
//! Both types have the same width; strings have none. Source: ONNX BitCast-26.

use sinter_base::{Attributes, DataType, Dim, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct BitCast {
    /// Element type of the result.
    pub to: DataType,
}

impl BitCast {
    fn check(&self, from: DataType) -> Result<(), InferError> {
        if from.bits() != self.to.bits() || from == DataType::String {
            invalid!("{from} of {} bits cannot be read as {} of {} bits", from.bits(), self.to, self.to.bits());
        }
        Ok(())
    }
}

impl Operator for BitCast {
    const NAME: &'static str = "BitCast";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs.data_type(0)?)?;
        Ok(vec![ValueType::tensor(self.to, inputs.dims(0)?.to_vec())])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs.data_type(0)?)?;
        Ok(vec![ValueType::unranked(self.to)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![inputs.tensor(0)?.bit_cast(self.to)?.into()])
    }

    fn cost(&self, _inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        Cost { operations: Dim::constant(0), bytes: Dim::constant(0) }
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::new("float to integer", BitCast { to: DataType::I32 }).float(&[3, 5]),
            Example::new("signed to unsigned", BitCast { to: DataType::U8 }).uniform(DataType::I8, &[7], -128.0, 127.0),
            Example::new("half formats", BitCast { to: DataType::Bf16 }).uniform(DataType::F16, &[3], -1.0, 1.0),
            Example::new("no elements", BitCast { to: DataType::U32 }).float(&[0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;
    use sinter_base::Tensor;

    #[test]
    fn bits_stay() {
        let x = Tensor::from_vec(&[2], vec![1f32, -0.0]).unwrap();
        let y = reference_of(&BitCast { to: DataType::U32 }, &[&x]).unwrap().swap_remove(0);
        assert_eq!(y.to_i64(), [0x3F80_0000, 0x8000_0000]);
        assert!(reference_of(&BitCast { to: DataType::U64 }, &[&x]).is_err());
    }
}
