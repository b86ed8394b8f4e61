//! Convolution over any number of spatial axes, with groups.
//!
//! `y[n, m, o] = b[m] + sum over c, k of x[n, g C/G + c, o s + k d - p] w[m, c, k]`, where `g = m / (M / G)`.
//! x: [N, C, spatial...]; w: [M, C / G, kernel...]; b: [M], optional; y: [N, M, output...] (see [`crate::window`]).
//! Elements: any float type, or integers with wrapping sums (i32 for the integer forms). Source: ONNX Conv-22.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};
use crate::window::{Axis, Padding};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Convolution {
    /// Distance between windows, per spatial axis.
    pub strides: Vec<usize>,
    /// Distance between the elements of a window, per spatial axis.
    pub dilations: Vec<usize>,
    /// Border.
    pub padding: Padding,
    /// Number of groups G; channels of different groups do not mix.
    pub groups: usize,
}

impl Convolution {
    /// Stride 1, dilation 1, no padding, one group.
    pub fn plain(spatial: usize) -> Self {
        Self { strides: vec![1; spatial], dilations: vec![1; spatial], padding: Padding::zero(spatial), groups: 1 }
    }

    fn axis(&self, index: usize) -> Axis<'_> {
        Axis {
            stride: self.strides[index],
            dilation: self.dilations[index],
            padding: &self.padding,
            index,
            ceil: false,
        }
    }

    /// The results in floats or in integers; `values` holds the elements of x, w and bias.
    fn sums<T: Copy + Default>(
        &self,
        x: &Tensor,
        w: &Tensor,
        y_sizes: &[usize],
        values: (&[T], &[T], Option<&[T]>),
        step: impl Fn(T, T, T) -> T,
    ) -> Vec<T> {
        let (xs, ws, bias) = values;
        let (x_strides, w_strides) = (shape::strides(x.sizes()), shape::strides(w.sizes()));
        let spatial = x.rank() - 2;
        let begins: Vec<i64> = (0..spatial).map(|i| self.axis(i).begin(x.sizes()[i + 2], w.sizes()[i + 2])).collect();
        let (group_inputs, group_outputs) = (w.sizes()[1], w.sizes()[0] / self.groups);

        let mut y = Vec::new();
        for_each_index(y_sizes, |at| {
            let (n, m) = (at[0], at[1]);
            let mut sum = bias.map_or_else(T::default, |b| b[m]);
            // One pass over the kernel [C / G, kernel...] of output channel m.
            for_each_index(&w.sizes()[1..], |tap| {
                let channel = m / group_outputs * group_inputs + tap[0];
                let mut x_at = n * x_strides[0] + channel * x_strides[1];
                for i in 0..spatial {
                    match self.axis(i).source(at[i + 2], tap[i + 1], begins[i], x.sizes()[i + 2]) {
                        Some(position) => x_at += position * x_strides[i + 2],
                        None => return,
                    }
                }
                sum = step(sum, xs[x_at], ws[m * w_strides[0] + shape::ravel(tap, &w_strides[1..])]);
            });
            y.push(sum);
        });
        y
    }
}

impl Operator for Convolution {
    const NAME: &'static str = "Convolution";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "a numeric type", |t| t.is_float() || t.is_integer())?;
        let data_type = inputs.same_data_type(0)?;
        // The weights' rank is that of the input and of the result, if nothing else is known.
        let x = match (inputs.dims(0), inputs.dims(1)) {
            (Err(InferError::Unranked(_)), Ok(w)) if w.len() >= 3 => {
                let size = |axis| if axis == 1 { w[0].clone() } else { cx.fresh("convolved") };
                return Ok(vec![ValueType::tensor(data_type, (0..w.len()).map(size).collect())]);
            }
            (x, _) => x?,
        };
        if x.len() < 3 {
            return Err(InferError::Rank { index: 0, expected: "at least 3".to_owned(), found: x.len() });
        }
        let w = inputs.dims_of_rank(1, x.len())?;
        let spatial = x.len() - 2;
        if self.strides.len() != spatial || self.dilations.len() != spatial || self.groups == 0 {
            invalid!(
                "{spatial} spatial axes need as many strides and dilations, and at least one group; found {self:?}"
            );
        }
        let groups = Dim::from(self.groups);
        cx.require_equal(&x[1], &w[1].mul(&groups), "input channels and groups times weight channels")?;
        cx.require_equal(&w[0].modulo(&groups), &Dim::constant(0), "output channels must be a multiple of the groups")?;
        if inputs.has(2) {
            cx.require_equal(&inputs.dims_of_rank(2, 1)?[0], &w[0], "bias size and output channels")?;
        }
        let mut y = vec![x[0].clone(), w[0].clone()];
        let none = Dim::constant(0);
        for (i, (input, kernel)) in x[2..].iter().zip(&w[2..]).enumerate() {
            let size = self.axis(i).output(input, kernel)?;
            if size == none && *input != none {
                invalid!(
                    "spatial axis {i}: a kernel of {kernel} elements fits nowhere into the padded input of {input}"
                );
            }
            y.push(size);
        }
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let bias = inputs.optional_tensor(2)?;
        let y = if x.data_type().is_float() {
            let bias = bias.map(Tensor::to_floats);
            let sums =
                self.sums(x, w, &y_sizes, (&x.to_floats(), &w.to_floats(), bias.as_deref()), |sum, a, b| sum + a * b);
            Tensor::from_floats(x.data_type(), &y_sizes, &sums)?
        } else {
            let bias = bias.map(Tensor::to_ints);
            let step = |sum: i128, a: i128, b: i128| sum.wrapping_add(a.wrapping_mul(b));
            let sums = self.sums(x, w, &y_sizes, (&x.to_ints(), &w.to_ints(), bias.as_deref()), step);
            Tensor::from_ints(x.data_type(), &y_sizes, &sums)?
        };
        Ok(vec![y.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let window = inputs.dims(1).map_or_else(|_| Dim::constant(1), |w| shape::product(&w[1..]));
        let operations = count_of(&outputs[0]).mul(&window).mul(&Dim::constant(2));
        Cost { operations, ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let plain = Convolution::plain;
        let pads = |begin: &[i64], end: &[i64]| Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() };
        vec![
            Example::new("1x1", plain(2)).float(&[2, 5, 3, 7]).float(&[4, 5, 1, 1]),
            Example::new("3x3, bias, pads on all sides", Convolution { padding: pads(&[1, 0], &[2, 1]), ..plain(2) })
                .float(&[1, 3, 6, 5])
                .float(&[7, 3, 3, 3])
                .float(&[7]),
            Example::new("strided, dilated", Convolution { strides: vec![2, 3], dilations: vec![2, 1], ..plain(2) })
                .float(&[1, 2, 11, 10])
                .float(&[3, 2, 3, 2]),
            Example::new("grouped", Convolution { groups: 2, ..plain(2) }).float(&[1, 6, 5, 5]).float(&[4, 3, 3, 3]),
            Example::new("depthwise, same", Convolution { groups: 5, padding: Padding::SameUpper, ..plain(2) })
                .float(&[2, 5, 7, 4])
                .float(&[5, 1, 3, 2]),
            Example::new("1-D, same lower", Convolution { padding: Padding::SameLower, ..plain(1) })
                .float(&[1, 2, 13])
                .float(&[3, 2, 4]),
            Example::new("3-D", plain(3)).float(&[1, 2, 4, 5, 3]).float(&[3, 2, 2, 3, 1]),
            Example::new("integers", Convolution { padding: Padding::SameUpper, ..plain(2) })
                .uniform(DataType::I32, &[1, 3, 5, 4], -255.0, 255.0)
                .uniform(DataType::I32, &[2, 3, 3, 3], -128.0, 127.0),
            Example::new("no batch", plain(2)).float(&[0, 2, 4, 4]).float(&[3, 2, 3, 3]),
            // Nothing is summed; the bias is all there is.
            Example::new("empty windows", plain(2)).float(&[2, 3, 4, 3]).float(&[5, 3, 0, 2]).float(&[5]),
            Example::new("empty windows, grouped", Convolution { groups: 2, padding: Padding::SameUpper, ..plain(1) })
                .float(&[1, 4, 6])
                .float(&[6, 2, 0]),
            Example::new("empty windows, depthwise", Convolution { groups: 3, ..plain(2) })
                .float(&[1, 3, 4, 4])
                .float(&[3, 1, 3, 0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    #[test]
    fn a_window_of_ones_sums_its_neighbourhood() {
        let x = Tensor::from_vec(&[1, 1, 3, 3], (1..=9).map(|v| v as f32).collect()).unwrap();
        let w = Tensor::from_vec(&[1, 1, 2, 2], vec![1f32; 4]).unwrap();
        let y = reference_of(&Convolution::plain(2), &[&x, &w]).unwrap();
        assert_eq!(y[0], Tensor::from_vec(&[1, 1, 2, 2], vec![12f32, 16.0, 24.0, 28.0]).unwrap());
    }

    #[test]
    fn strings_have_no_sums() {
        let words = Tensor::from_strings(&[1, 1, 1], vec!["3".to_owned()]).unwrap();
        assert!(reference_of(&Convolution::plain(1), &[&words, &words]).is_err());
    }

    #[test]
    fn groups_do_not_mix() {
        let op = Convolution { groups: 2, ..Convolution::plain(1) };
        let x = Tensor::from_vec(&[1, 2, 2], vec![1f32, 2.0, 10.0, 20.0]).unwrap();
        let w = Tensor::from_vec(&[2, 1, 1], vec![3f32, 5.0]).unwrap();
        let b = Tensor::from_vec(&[2], vec![0f32, 1.0]).unwrap();
        let y = reference_of(&op, &[&x, &w, &b]).unwrap();
        assert_eq!(y[0].to_floats(), [3.0, 6.0, 51.0, 101.0]);
    }

    #[test]
    fn integer_sums_are_exact_and_wrap() {
        let x = Tensor::from_vec(&[1, 1, 2], vec![i32::MAX, 1]).unwrap();
        let w = Tensor::from_vec(&[1, 1, 2], vec![i32::MAX, 3]).unwrap();
        // (2^31 - 1)^2 = 2^62 - 2^32 + 1 is 1 modulo 2^32.
        assert_eq!(reference_of(&Convolution::plain(1), &[&x, &w]).unwrap()[0].to_i64(), [4]);
    }

    #[test]
    fn the_rank_of_the_weights_is_that_of_the_result() {
        let open = ValueType::unranked(DataType::F32);
        let w = ValueType::tensor(DataType::F32, [8i64, 2, 5].map(Dim::constant).to_vec());
        let y = infer_of(&Convolution::plain(1), &[&open, &w]).unwrap();
        assert_eq!(y[0].to_string(), "f32[?convolved1, 8, ?convolved2]");
        assert!(matches!(infer_of(&Convolution::plain(1), &[&open, &open]), Err(InferError::Unranked(_))));
    }

    #[test]
    fn wrong_channels_and_kernels_are_refused() {
        let x = Tensor::from_vec(&[1, 2, 2], vec![0f32; 4]).unwrap();
        for sizes in [[1, 3, 1], [1, 2, 3]] {
            let w = Tensor::from_vec(&sizes, vec![0f32; sizes.iter().product()]).unwrap();
            assert!(reference_of(&Convolution::plain(1), &[&x, &w]).is_err(), "{sizes:?}");
        }
    }
}
