//! The discrete Fourier transform along one axis.
//!
//! Inputs: signal `[.., n, .., c]` of any float type, whose last axis holds the real part (`c` = 1) or real and imaginary
//! parts (`c` = 2); length: one integer, left out for the axis' own size; axis: one integer, left out for -2. The signal
//! is cut or filled with zeros to the length `L`. Forward: `Y_k = sum_j x_j e^(-2 pi i j k / L)`. Inverse: the conjugate
//! sum, divided by `L`. `onesided`: the forward transform keeps bins `0..=L / 2`; the inverse one takes these bins of a
//! conjugate-symmetric spectrum and gives a real signal (`c` = 1), with `L = 2 (n - 1)` when left out. Otherwise the
//! result has `c` = 2. Source: ONNX DFT-20.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::axes::{axis_of, int_values, list_length, numeric};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Dft {
    /// The inverse transform.
    pub inverse: bool,
    /// Only the first half of the spectrum is kept (forward) or given (inverse).
    pub onesided: bool,
}

type Complex = (f64, f64);

fn multiply(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

impl Dft {
    fn real_result(&self) -> bool {
        self.inverse && self.onesided
    }

    fn axis(&self, axis: i64, rank: usize) -> Result<usize, InferError> {
        let position = axis_of(axis, rank)?;
        if position + 1 == rank {
            invalid!("axis {axis} holds the parts of the numbers and cannot be transformed");
        }
        Ok(position)
    }

    /// Size along the transformed axis, from the length of the transform.
    fn bins(&self, length: &Dim) -> Dim {
        if self.onesided && !self.inverse {
            length.floor_div(&Dim::constant(2)).add(&Dim::constant(1))
        } else {
            length.clone()
        }
    }

    fn default_length(&self, size: &Dim) -> Dim {
        if self.real_result() { size.sub(&Dim::constant(1)).mul(&Dim::constant(2)) } else { size.clone() }
    }

    /// One line of the full transform; `turns` holds the powers of the root of unity.
    fn line(&self, x: &[Complex], turns: &[Complex], bins: usize) -> Vec<Complex> {
        let length = turns.len();
        let scale = if self.inverse { 1.0 / length as f64 } else { 1.0 };
        let bin = |k: usize| {
            let sum = x.iter().enumerate().fold((0.0, 0.0), |sum: Complex, (j, &value)| {
                let term = multiply(value, turns[(j * k) % length]);
                (sum.0 + term.0, sum.1 + term.1)
            });
            (sum.0 * scale, sum.1 * scale)
        };
        (0..bins).map(bin).collect()
    }

    /// The whole conjugate-symmetric spectrum of a real signal from its first half.
    fn unfolded(half: &[Complex], length: usize) -> Vec<Complex> {
        let given = |k: usize| half.get(k).copied().unwrap_or((0.0, 0.0));
        (0..length)
            .map(|k| {
                let mirror = (length - k) % length;
                let value = if k <= length / 2 { given(k) } else { given(mirror) };
                match k.cmp(&mirror) {
                    // The middle and the first bin of a real signal are real.
                    std::cmp::Ordering::Equal => (value.0, 0.0),
                    std::cmp::Ordering::Less => value,
                    std::cmp::Ordering::Greater => (value.0, -value.1),
                }
            })
            .collect()
    }
}

fn check_types(inputs: &Operands<'_>) -> Result<DataType, InferError> {
    let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
    for index in 1..3 {
        if inputs.has(index) {
            inputs.data_type_where(index, "an integer type", DataType::is_integer)?;
        }
    }
    Ok(data_type)
}

impl Operator for Dft {
    const NAME: &'static str = "Dft";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = check_types(inputs)?;
        let mut dims = inputs.dims(0)?.to_vec();
        let rank = dims.len();
        if rank < 2 {
            return Err(InferError::Rank { index: 0, expected: "at least 2".to_owned(), found: rank });
        }
        for index in 1..3 {
            if inputs.has(index) {
                cx.require_equal(&list_length(inputs, index)?, &Dim::constant(1), "numbers of one parameter")?;
            }
        }
        if let Some(parts) = dims[rank - 1].as_constant()
            && parts != 1
            && parts != 2
        {
            invalid!("the last axis has {parts} elements, 1 (real) or 2 (complex) are needed");
        }
        let single = |index: usize| inputs.ints(index).and_then(<[Dim]>::first);
        let axis = if inputs.has(2) { single(2).and_then(Dim::as_constant) } else { Some(-2) };
        match axis {
            Some(axis) => {
                let axis = self.axis(axis, rank)?;
                let length = match (inputs.has(1), single(1)) {
                    (false, _) => self.default_length(&dims[axis]),
                    (true, Some(length)) => length.clone(),
                    (true, None) => cx.fresh("dft"),
                };
                if length.upper_bound() < 1 {
                    invalid!("a transform of length {length}");
                }
                dims[axis] = self.bins(&length);
            }
            None => dims.iter_mut().take(rank - 1).for_each(|d| *d = cx.fresh("dft")),
        }
        dims[rank - 1] = Dim::constant(if self.real_result() { 1 } else { 2 });
        Ok(vec![ValueType::tensor(data_type, dims)])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(check_types(inputs)?)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1, 2]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = numeric(inputs.tensor(0)?)?;
        let single = |index: usize| -> Result<Option<i64>, EvalError> {
            Ok(inputs.optional_tensor(index)?.map(int_values).transpose()?.and_then(|list| list.first().copied()))
        };
        let rank = x.rank();
        let parts = x.sizes().last().copied().unwrap_or(0);
        if rank < 2 || !(1..=2).contains(&parts) {
            invalid!(eval: "a signal of sizes {:?} has no last axis of 1 or 2 parts", x.sizes());
        }
        let axis = self.axis(single(2)?.unwrap_or(-2), rank)?;
        let size = x.sizes()[axis];
        let length = single(1)?.or_else(|| self.default_length(&Dim::from(size)).as_constant()).unwrap_or(0);
        let Some(length) = usize::try_from(length).ok().filter(|&l| l > 0) else {
            invalid!(eval: "a transform of length {length}")
        };
        let Some(bins) = self.bins(&Dim::from(length)).as_constant().and_then(|b| usize::try_from(b).ok()) else {
            invalid!(eval: "a transform of length {length} is too long")
        };
        let sign = if self.inverse { 1.0 } else { -1.0 };
        let turns: Vec<Complex> = (0..length)
            .map(|k| {
                let (sine, cosine) = (sign * std::f64::consts::TAU * k as f64 / length as f64).sin_cos();
                (cosine, sine)
            })
            .collect();
        let inner: usize = x.sizes()[axis + 1..rank - 1].iter().product();
        let outer: usize = x.sizes()[..axis].iter().product();
        let result_parts = if self.real_result() { 1 } else { 2 };
        let mut sizes = x.sizes().to_vec();
        (sizes[axis], sizes[rank - 1]) = (bins, result_parts);
        let elements = x.to_floats();
        let mut y = vec![0.0; outer * bins * inner * result_parts];
        for o in 0..outer {
            for i in 0..inner {
                let mut line: Vec<Complex> = (0..size.min(length))
                    .map(|j| {
                        let at = ((o * size + j) * inner + i) * parts;
                        (elements[at], if parts == 2 { elements[at + 1] } else { 0.0 })
                    })
                    .collect();
                if self.real_result() {
                    line = Self::unfolded(&line, length);
                }
                for (k, value) in self.line(&line, &turns, bins).into_iter().enumerate() {
                    let at = ((o * bins + k) * inner + i) * result_parts;
                    y[at] = value.0;
                    if result_parts == 2 {
                        y[at + 1] = value.1;
                    }
                }
            }
        }
        Ok(vec![Tensor::from_floats(x.data_type(), &sizes, &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        // As a fast transform of about a thousand points: five operations per point and level.
        let operations = outputs.first().map_or_else(|| Dim::constant(0), count_of).mul(&Dim::constant(50));
        Cost { operations, ..Cost::elementwise(inputs, outputs, 0) }
    }

    fn examples() -> Vec<Example> {
        let op = |inverse, onesided| Dft { inverse, onesided };
        let number = |value: f64| Tensor::scalar(DataType::I64, value);
        vec![
            Example::new("real", op(false, false)).float(&[2, 16, 1]),
            Example::new("complex, odd length", op(false, false)).float(&[3, 13, 2]),
            Example::new("onesided", op(false, true)).float(&[2, 15, 1]),
            Example::new("inverse", op(true, false)).float(&[1, 12, 2]),
            Example::new("inverse, onesided", op(true, true)).float(&[2, 9, 2]),
            Example::new("longer, other axis", op(false, true))
                .float(&[5, 3, 1])
                .tensor(number(8.0))
                .tensor(number(0.0)),
            Example::new("shorter", op(false, false)).float(&[1, 11, 2]).tensor(number(7.0)),
            Example::new("no signals", op(false, false)).float(&[0, 4, 1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    fn close(found: &Tensor, expected: &[f64]) {
        let found = found.to_floats();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    #[test]
    fn transforms_by_hand() {
        let x = Tensor::from_vec(&[1, 4, 1], vec![1f64, 2.0, 3.0, 4.0]).unwrap();
        let y = reference_of(&Dft::default(), &[&x]).unwrap().swap_remove(0);
        close(&y, &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0, -2.0, -2.0]);
        let back = reference_of(&Dft { inverse: true, onesided: false }, &[&y]).unwrap().swap_remove(0);
        close(&back, &[1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0]);
        let half = reference_of(&Dft { inverse: false, onesided: true }, &[&x]).unwrap().swap_remove(0);
        close(&half, &[10.0, 0.0, -2.0, 2.0, -2.0, 0.0]);
        let back = reference_of(&Dft { inverse: true, onesided: true }, &[&half]).unwrap().swap_remove(0);
        assert_eq!(back.sizes(), [1, 4, 1]);
        close(&back, &[1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn sizes() {
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), Dim::constant(16), Dim::constant(1)]);
        assert_eq!(infer_of(&Dft { inverse: false, onesided: true }, &[&x]).unwrap()[0].to_string(), "f32[N, 9, 2]");
        let bad = ValueType::tensor(DataType::F32, vec![Dim::constant(16), Dim::constant(3)]);
        assert!(infer_of(&Dft::default(), &[&bad]).is_err());
    }
}
