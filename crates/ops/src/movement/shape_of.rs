//! The sizes of a tensor as a tensor.
//!
//! `y = sizes(x)[start..end]`, i64. Negative positions count from the end; both are clamped to `0..=rank`. Source: ONNX
//! Shape-25.

use sinter_base::{Attributes, DataType, Dim, KnownValue, Tensor, TensorType, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Shape {
    /// First axis.
    pub start: i64,
    /// Axis after the last one; left out: up to the last.
    pub end: Option<i64>,
}

impl Shape {
    /// The part of the sizes that it returns.
    pub fn part<'a, T>(&self, sizes: &'a [T]) -> &'a [T] {
        let rank = i64::try_from(sizes.len()).unwrap_or(i64::MAX);
        let clamp = |at: i64| {
            let at = if at < 0 { at.saturating_add(rank) } else { at };
            usize::try_from(at.clamp(0, rank)).unwrap_or(0)
        };
        let (start, end) = (clamp(self.start), clamp(self.end.unwrap_or(rank)));
        &sizes[start.min(end)..end]
    }
}

impl Operator for Shape {
    const NAME: &'static str = "Shape";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let Ok(dims) = data.dims() else {
            return Ok(vec![ValueType::tensor(DataType::I64, vec![cx.fresh("rank")])]);
        };
        let part = self.part(dims).to_vec();
        let ty = TensorType::ranked(DataType::I64, vec![Dim::from(part.len())]);
        Ok(vec![ty.with_value(KnownValue::Ints(part)).into()])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let sizes = self.part(x.sizes()).iter().map(|&size| i64::try_from(size).unwrap_or(i64::MAX));
        Ok(vec![Tensor::of_i64(&sizes.collect::<Vec<_>>()).into()])
    }

    fn cost(&self, _inputs: &Operands<'_>, _outputs: &[ValueType]) -> Cost {
        Cost { operations: Dim::constant(0), bytes: Dim::constant(0) }
    }

    fn examples() -> Vec<Example> {
        vec![
            Example::new("all", Shape::default()).float(&[2, 3, 5]),
            Example::new("from the end", Shape { start: -2, end: None }).float(&[2, 3, 5]),
            Example::new("part", Shape { start: 1, end: Some(-1) }).float(&[2, 3, 5]),
            Example::new("empty part", Shape { start: 2, end: Some(1) }).float(&[2, 3, 5]),
            Example::new("scalar", Shape::default()).float(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    #[test]
    fn parts_are_clamped() {
        let x = Tensor::from_vec(&[2, 3, 4], vec![0f32; 24]).unwrap();
        let part = |start, end| reference_of(&Shape { start, end }, &[&x]).unwrap()[0].to_i64();
        assert_eq!(part(0, None), [2, 3, 4]);
        assert_eq!(part(-1, None), [4]);
        assert_eq!(part(-100, Some(-1)), [2, 3]);
        assert_eq!(part(2, Some(1)), [0i64; 0]);
    }

    #[test]
    fn symbolic_sizes_become_contents() {
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), Dim::constant(3)]);
        let y = infer_of(&Shape::default(), &[&x]).unwrap();
        assert_eq!(y[0].as_tensor().unwrap().ints().unwrap(), [Dim::symbol("N"), Dim::constant(3)]);
        let y = infer_of(&Shape::default(), &[&ValueType::unranked(DataType::F32)]).unwrap();
        assert_eq!(y[0].to_string(), "i64[?rank1]");
    }
}
