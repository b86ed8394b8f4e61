//! Real values to stored ones: `y = saturate(round(x / scale) + zero point)`.
//!
//! x: any float type or i32; scale: a float type, one value per tensor, per index of an axis or per block of an axis
//! (see [`Granularity`]); zero point: as many values of the result's type, optional, 0 by default. x and scale are
//! rounded to the type `precision` and divided in it. Integers round to nearest even and saturate, NaN counts as 0;
//! float types of at most eight bits take the quotient plus zero point rounded, beyond the range saturated or not.
//! Source: ONNX QuantizeLinear-25.

use sinter_base::minifloat::Overflow;
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
pub struct Quantize {
    /// Type of the result.
    pub data_type: DataType,
    /// Which elements share a scale.
    pub granularity: Granularity,
    /// To an 8-bit float: values beyond the range become the largest finite one instead of infinity or NaN.
    pub saturate: bool,
    /// Type of the division.
    pub precision: DataType,
}

impl Quantize {
    /// To this type, with one scale, divided in float32.
    pub fn plain(data_type: DataType) -> Self {
        Self { data_type, granularity: Granularity::Tensor, saturate: true, precision: DataType::F32 }
    }

    fn check_types(&self, inputs: &Operands<'_>) -> Result<(), InferError> {
        if !is_storage(self.data_type) || self.data_type.bits() > 16 {
            invalid!("values are not quantized to {}", self.data_type);
        }
        if !self.precision.is_float() || self.precision.bits() < 16 {
            invalid!("a division in {} is not possible", self.precision);
        }
        inputs.data_type_where(0, "a float type or i32", |t| t.is_float() || t == DataType::I32)?;
        inputs.data_type_where(1, "a float type or i32", |t| t.is_float() || t == DataType::I32)?;
        if inputs.has(2) {
            inputs.data_type_where(2, &self.data_type.to_string(), |t| t == self.data_type)?;
        }
        Ok(())
    }
}

impl Operator for Quantize {
    const NAME: &'static str = "Quantize";

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
        let quotients = xs.iter().zip(&positions).map(|(&v, &p)| {
            let quotient = self.precision.round(v) / self.precision.round(scales[p]);
            (self.precision.round(quotient), zeros.as_ref().map_or(0.0, |z| z[p]))
        });
        let y = match self.data_type.mini_float() {
            Some(format) => {
                let overflow = if self.saturate { Overflow::Saturate } else { Overflow::Special };
                let codes = quotients.map(|(q, zero)| format.encode(q + zero, overflow)).collect();
                Tensor::from_codes(self.data_type, x.sizes(), codes)?
            }
            None => {
                let rounded = |q: f64| if q.is_nan() { 0.0 } else { q.round_ties_even() };
                let values: Vec<f64> = quotients.map(|(q, zero)| rounded(q) + zero).collect();
                Tensor::from_floats(self.data_type, x.sizes(), &values)?
            }
        };
        Ok(vec![y.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 4)
    }

    fn examples() -> Vec<Example> {
        let per = |granularity, data_type| Quantize { granularity, ..Quantize::plain(data_type) };
        let wide = |example: Example, sizes: &[usize]| example.uniform(DataType::F32, sizes, -300.0, 300.0);
        let scales = |example: Example, sizes: &[usize]| example.uniform(DataType::F32, sizes, 0.25, 3.0);
        let zeros =
            |example: Example, data_type: DataType, sizes: &[usize]| example.uniform(data_type, sizes, 0.0, 3.0);
        let case = |name, op: Quantize, x: &[usize], scale: &[usize]| {
            let data_type = op.data_type;
            zeros(scales(wide(Example::new(name, op), x), scale), data_type, scale)
        };
        let float = |name, op: Quantize| scales(wide(Example::new(name, op), &[3, 7]), &[]);
        vec![
            case("u8, whole tensor", Quantize::plain(DataType::U8), &[2, 3, 5], &[]),
            case("i8, per axis", per(Granularity::Axis { axis: 1 }, DataType::I8), &[2, 5, 3], &[5]),
            case("i16, whole tensor", Quantize::plain(DataType::I16), &[17], &[]),
            case("u4, blocks", per(Granularity::Block { axis: 1, size: 4 }, DataType::U4), &[3, 10], &[3, 3]),
            case("i2, blocks", per(Granularity::Block { axis: 0, size: 2 }, DataType::I2), &[5, 3], &[3, 3]),
            float("f8e4m3fn", Quantize::plain(DataType::F8E4M3FN)),
            float("f8e5m2, not saturated", Quantize { saturate: false, ..Quantize::plain(DataType::F8E5M2) }),
            float("f4e2m1", Quantize::plain(DataType::F4E2M1)),
            scales(
                Example::new("from i32", Quantize::plain(DataType::U8)).uniform(DataType::I32, &[9], -50.0, 700.0),
                &[],
            ),
            float("half precision", Quantize { precision: DataType::F16, ..Quantize::plain(DataType::I8) }),
            case("nothing", per(Granularity::Axis { axis: 0 }, DataType::U8), &[0, 3], &[0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    fn run(op: &Quantize, x: &[f32], scale: f32, zero: Option<Tensor>) -> Vec<f64> {
        let x = Tensor::from_vec(&[x.len()], x.to_vec()).unwrap();
        let scale = Tensor::from_vec(&[], vec![scale]).unwrap();
        let inputs: Vec<&Tensor> = [Some(&x), Some(&scale), zero.as_ref()].into_iter().flatten().collect();
        reference_of(op, &inputs).unwrap()[0].to_floats()
    }

    #[test]
    fn rounds_to_even_and_saturates() {
        let zero = Tensor::from_vec(&[], vec![128u8]).unwrap();
        let found = run(&Quantize::plain(DataType::U8), &[0.0, 1.0, 3.0, 1e9, -1e9, f32::NAN], 2.0, Some(zero));
        assert_eq!(found, [128.0, 128.0, 130.0, 255.0, 0.0, 128.0]);
    }

    #[test]
    fn small_floats() {
        assert_eq!(run(&Quantize::plain(DataType::F8E4M3FN), &[17.0, 1e6], 1.0, None), [16.0, 448.0]);
        let open = Quantize { saturate: false, ..Quantize::plain(DataType::F8E5M2) };
        assert_eq!(run(&open, &[-1e6], 1.0, None), [f64::NEG_INFINITY]);
    }

    #[test]
    fn scales_must_fit_their_axis() {
        let op = Quantize { granularity: Granularity::Axis { axis: 0 }, ..Quantize::plain(DataType::I8) };
        let x = Tensor::from_vec(&[3], vec![0f32; 3]).unwrap();
        let scale = Tensor::from_vec(&[2], vec![1f32; 2]).unwrap();
        assert!(reference_of(&op, &[&x, &scale]).is_err());
    }
}
