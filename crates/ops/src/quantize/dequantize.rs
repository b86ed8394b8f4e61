//! Stored values to real ones: `y = (x - zero point) * scale`.
//!
//! x: an integer type of at most 32 bits or a float type of at most eight; scale: a float type, one value per tensor,
//! per index of an axis or per block of an axis (see [`Granularity`]); zero point: as many values of x's type,
//! optional, 0 by default. The result is computed in at least float32 and rounded once. Source: ONNX
//! DequantizeLinear-25.

use sinter_base::quantization::Granularity;
use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};
use crate::quantize::parameters::{check_parameters, is_storage, parameter_positions};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Dequantize {
    /// Type of the result.
    pub data_type: DataType,
    /// Which elements share a scale.
    pub granularity: Granularity,
}

impl Dequantize {
    fn check_types(&self, inputs: &Operands<'_>) -> Result<(), InferError> {
        if !self.data_type.is_float() || self.data_type.bits() < 16 {
            invalid!("values are not dequantized to {}", self.data_type);
        }
        let x = inputs.data_type_where(0, "an integer type or a float type of at most eight bits", is_storage)?;
        inputs.data_type_where(1, "a float type", DataType::is_float)?;
        if inputs.has(2) {
            inputs.data_type_where(2, &x.to_string(), |t| t == x)?;
        }
        Ok(())
    }
}

impl Operator for Dequantize {
    const NAME: &'static str = "Dequantize";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.check_types(inputs)?;
        check_parameters(self.granularity, inputs, cx)?;
        Ok(vec![ValueType::tensor(self.data_type, inputs.dims(0)?.to_vec())])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.check_types(inputs)?;
        Ok(vec![ValueType::unranked(self.data_type)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, scale) = (inputs.tensor(0)?, inputs.tensor(1)?);
        crate::infer::result_sizes(self, inputs)?;
        let positions = parameter_positions(self.granularity, x.sizes(), scale.sizes());
        let (xs, scales) = (x.to_floats(), scale.to_floats());
        let zeros = inputs.optional_tensor(2)?.map(Tensor::to_floats);
        let real = |(&v, &p): (&f64, &usize)| (v - zeros.as_ref().map_or(0.0, |z| z[p])) * scales[p];
        let y: Vec<f64> = xs.iter().zip(&positions).map(real).collect();
        Ok(vec![Tensor::from_floats(self.data_type, x.sizes(), &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 2)
    }

    fn examples() -> Vec<Example> {
        let to = |data_type, granularity| Dequantize { data_type, granularity };
        let case = |name, op: Dequantize, stored: DataType, x: &[usize], scale: &[usize]| {
            Example::new(name, op)
                .uniform(stored, x, -8.0, 7.0)
                .uniform(DataType::F32, scale, 0.01, 1.0)
                .uniform(stored, scale, 0.0, 1.0)
        };
        let whole = to(DataType::F32, Granularity::Tensor);
        let axis = |axis| to(DataType::F32, Granularity::Axis { axis });
        let block = |axis, size| to(DataType::F32, Granularity::Block { axis, size });
        vec![
            Example::new("u8, whole tensor", whole.clone())
                .uniform(DataType::U8, &[2, 3, 5], 0.0, 255.0)
                .uniform(DataType::F32, &[], 0.01, 1.0)
                .uniform(DataType::U8, &[], 100.0, 150.0),
            case("i8, per axis", axis(1), DataType::I8, &[2, 5, 3], &[5]),
            case("i4, blocks", block(1, 4), DataType::I4, &[3, 10], &[3, 3]),
            case("i16, first axis", axis(0), DataType::I16, &[4, 3], &[4]),
            Example::new("i32 without zero point", whole.clone()).uniform(DataType::I32, &[11], -1e6, 1e6).uniform(
                DataType::F32,
                &[],
                0.001,
                0.01,
            ),
            Example::new("u2, blocks", block(0, 2)).uniform(DataType::U2, &[5, 3], 0.0, 3.0).uniform(
                DataType::F32,
                &[3, 3],
                0.5,
                1.0,
            ),
            Example::new("f8e4m3fn", whole.clone()).uniform(DataType::F8E4M3FN, &[3, 4], -400.0, 400.0).uniform(
                DataType::F32,
                &[],
                0.01,
                1.0,
            ),
            Example::new("f4e2m1 with f8e8m0 scales", block(1, 2))
                .uniform(DataType::F4E2M1, &[2, 4], -6.0, 6.0)
                .uniform(DataType::F8E8M0, &[2, 2], 0.25, 4.0),
            Example::new("to half", to(DataType::F16, Granularity::Tensor))
                .uniform(DataType::I8, &[7], -128.0, 127.0)
                .uniform(DataType::F16, &[], 0.01, 1.0),
            case("nothing", axis(0), DataType::I8, &[0, 3], &[0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn zero_point_first_scale_second() {
        let x = Tensor::from_vec(&[2, 2], vec![0u8, 128, 255, 130]).unwrap();
        let scale = Tensor::from_vec(&[2], vec![2f32, 0.5]).unwrap();
        let zero = Tensor::from_vec(&[2], vec![128u8, 120]).unwrap();
        let op = Dequantize { data_type: DataType::F32, granularity: Granularity::Axis { axis: 0 } };
        assert_eq!(reference_of(&op, &[&x, &scale, &zero]).unwrap()[0].to_floats(), [-256.0, 0.0, 67.5, 5.0]);
    }
}
