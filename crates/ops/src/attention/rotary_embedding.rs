//! Rotation of pairs of components by an angle that depends on the position.
//!
//! For the first R of the D components of each head: `(a, b) -> (a cos - b sin, a sin + b cos)`, where the pair is
//! components i and R / 2 + i, or 2 i and 2 i + 1 when `interleaved`; the rest stays. Inputs: x [B, H, S, D], or
//! [B, S, H D] where the number of heads is given; cos and sin [rows, R / 2] with positions, else [B, S, R / 2];
//! positions [B, S] i64, optional, or [1]: that of the first step. Source: ONNX RotaryEmbedding-23; the single position
//! is that of ONNX Runtime's operator.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct RotaryEmbedding {
    /// Number of heads, for x of three dimensions.
    pub heads: Option<usize>,
    /// Number of components that are rotated; 0 for all.
    pub rotated: usize,
    /// Pairs are neighbours.
    pub interleaved: bool,
}

const POSITIONS: usize = 3;

impl RotaryEmbedding {
    /// Batch, length and size of a head.
    fn sizes<T: Clone>(&self, x: &[T], per_head: impl Fn(&T, usize) -> T) -> Result<[T; 3], InferError> {
        match (x, self.heads) {
            ([batch, _, length, size], _) => Ok([batch.clone(), length.clone(), size.clone()]),
            ([batch, length, hidden], Some(heads)) if heads > 0 => {
                Ok([batch.clone(), length.clone(), per_head(hidden, heads)])
            }
            ([_, _, _], heads) => invalid!("x of three dimensions needs the number of heads, found {heads:?}"),
            _ => Err(InferError::Rank { index: 0, expected: "3 or 4".to_owned(), found: x.len() }),
        }
    }
}

impl Operator for RotaryEmbedding {
    const NAME: &'static str = "RotaryEmbedding";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let x = inputs.dims(0)?;
        let [batch, length, size] = self.sizes(x, |hidden, heads| hidden.floor_div(&Dim::from(heads)))?;
        if let (3, Some(heads)) = (x.len(), self.heads) {
            cx.require_equal(&x[2].modulo(&Dim::from(heads)), &Dim::constant(0), "size of x left over by heads")?;
        }
        let rotated = if self.rotated == 0 { size } else { Dim::from(self.rotated) };
        cx.require_equal(&rotated.modulo(&Dim::constant(2)), &Dim::constant(0), "rotated components come in pairs")?;
        let half = rotated.floor_div(&Dim::constant(2));
        for (index, name) in [(1, "cos"), (2, "sin")] {
            inputs.data_type_where(index, &data_type.to_string(), |t| t == data_type)?;
            let table = inputs.dims_of_rank(index, if inputs.has(POSITIONS) { 2 } else { 3 })?;
            cx.require_equal(&table[table.len() - 1], &half, &format!("columns of {name} and half the components"))?;
            if let [rows, steps, _] = table {
                cx.require_equal(rows, &batch, &format!("batch of {name}"))?;
                cx.require_equal(steps, &length, &format!("steps of {name}"))?;
            }
        }
        if inputs.has(POSITIONS) {
            inputs.data_type_where(POSITIONS, "i64", |t| t == DataType::I64)?;
            match inputs.dims(POSITIONS)? {
                [one] => cx.require_equal(one, &Dim::constant(1), "a single position")?,
                [rows, steps] => {
                    cx.require_equal(rows, &batch, "batch of the positions")?;
                    cx.require_equal(steps, &length, "steps of the positions")?;
                }
                dims => {
                    let expected = "1 or 2".to_owned();
                    return Err(InferError::Rank { index: POSITIONS, expected, found: dims.len() });
                }
            }
        }
        Ok(vec![ValueType::tensor(data_type, x.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        crate::infer::result_sizes(self, inputs)?;
        let x = inputs.tensor(0)?;
        let [_, length, size] = self.sizes(x.sizes(), |hidden, heads| hidden / heads)?;
        let rotated = if self.rotated == 0 { size } else { self.rotated };
        if rotated > size {
            invalid!(eval: "{rotated} of {size} components cannot be rotated");
        }
        let half = rotated / 2;
        let (cos, sin) = (inputs.tensor(1)?.to_floats(), inputs.tensor(2)?.to_floats());
        let positions = inputs.optional_tensor(POSITIONS)?;
        let rows = cos.len().min(sin.len()).checked_div(half).unwrap_or(usize::MAX);
        // The row of the tables for a batch entry and a step.
        let row = |b: usize, s: usize| -> Result<usize, EvalError> {
            let row = match positions {
                None => i64::try_from(b * length + s).unwrap_or(i64::MAX),
                Some(p) if p.rank() == 1 => p.to_i64()[0].saturating_add(i64::try_from(s).unwrap_or(i64::MAX)),
                Some(p) => p.to_i64()[b * length + s],
            };
            match usize::try_from(row) {
                Ok(known) if known < rows => Ok(known),
                _ => invalid!(eval: "position {row} in tables of {rows} rows"),
            }
        };
        let mut y = x.to_floats();
        let heads = if x.rank() == 4 { x.sizes()[1] } else { self.heads.unwrap_or(1) };
        for (at, head) in y.chunks_exact_mut(size.max(1)).enumerate() {
            let (b, s) = if x.rank() == 4 {
                (at / (heads * length), at % length)
            } else {
                (at / (heads * length), at / heads % length)
            };
            let row = row(b, s)?;
            for i in 0..half {
                let (first, second) = if self.interleaved { (2 * i, 2 * i + 1) } else { (i, half + i) };
                let (c, d) = (cos[row * half + i], sin[row * half + i]);
                let (p, q) = (head[first], head[second]);
                head[first] = p * c - q * d;
                head[second] = p * d + q * c;
            }
        }
        Ok(vec![Tensor::from_floats(x.data_type(), x.sizes(), &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 3)
    }

    /// Positions may lie outside the tables.
    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let plain = RotaryEmbedding::default();
        let positions = Tensor::from_vec(&[2, 3], vec![0i64, 1, 2, 5, 3, 4]).expect("six positions");
        let partial = RotaryEmbedding { rotated: 4, interleaved: true, ..RotaryEmbedding::default() };
        let flat = RotaryEmbedding { heads: Some(2), ..RotaryEmbedding::default() };
        vec![
            Example::new("tables per step", plain.clone()).float(&[2, 4, 3, 8]).float(&[2, 3, 4]).float(&[2, 3, 4]),
            Example::new("positions", plain.clone())
                .float(&[2, 4, 3, 8])
                .float(&[6, 4])
                .float(&[6, 4])
                .tensor(positions.clone()),
            Example::new("some components, neighbours", partial)
                .float(&[2, 1, 3, 7])
                .float(&[6, 2])
                .float(&[6, 2])
                .tensor(positions),
            Example::new("three dimensions, one position", flat)
                .float(&[1, 5, 12])
                .float(&[9, 3])
                .float(&[9, 3])
                .ints(&[4]),
            Example::new("no steps", plain).float(&[1, 2, 0, 4]).float(&[1, 0, 2]).float(&[1, 0, 2]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn a_quarter_turn() {
        let x = Tensor::from_vec(&[1, 1, 1, 4], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        let cos = Tensor::from_vec(&[1, 1, 2], vec![0f32, 1.0]).unwrap();
        let sin = Tensor::from_vec(&[1, 1, 2], vec![1f32, 0.0]).unwrap();
        let run = |op: RotaryEmbedding| reference_of(&op, &[&x, &cos, &sin]).unwrap()[0].to_floats();
        assert_eq!(run(RotaryEmbedding::default()), [-3.0, 2.0, 1.0, 4.0]);
        assert_eq!(run(RotaryEmbedding { interleaved: true, ..RotaryEmbedding::default() }), [-2.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn positions_outside_the_tables_are_refused() {
        let x = Tensor::from_vec(&[1, 1, 1, 2], vec![1f32, 2.0]).unwrap();
        let table = Tensor::from_vec(&[3, 1], vec![1f32; 3]).unwrap();
        let at = |position: i64| {
            let positions = Tensor::from_vec(&[1, 1], vec![position]).unwrap();
            reference_of(&RotaryEmbedding::default(), &[&x, &table, &table, &positions])
        };
        assert!(at(2).is_ok());
        assert!(at(3).is_err());
        assert!(at(-1).is_err());
    }
}
