//! Transposed convolution: the gradient of a convolution with respect to its input, with groups.
//!
//! `y[n, m, o] = b[m] + sum over c, i, k with i s + k d - p = o of x[n, c, i] w[c, m mod (M / G), k]`, where c runs
//! over the channels of m's group. x: [N, C, spatial...]; w: [C, M / G, kernel...]; b: [M], optional; y: [N, M,
//! output...]. Elements: any float type.
//!
//! With stride s, dilation d, kernel k, output padding a and pads p, e an axis of size i becomes
//! `s (i - 1) + a + d (k - 1) + 1 - p - e`. Same padding gives `i s`; given output sizes hold as they are. In both
//! cases the pads follow from the output size: their sum is what the full size exceeds it by, at least 0, and an odd
//! element lies at the end for same-upper and at the beginning otherwise. Source: ONNX ConvTranspose-22.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::matmul::matmul::product_of;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};
use crate::window::Padding;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Deconvolution {
    /// Distance between the copies of the kernel, per spatial axis.
    pub strides: Vec<usize>,
    /// Distance between the elements of the kernel, per spatial axis.
    pub dilations: Vec<usize>,
    /// Elements that are cut from the borders of the full result.
    pub padding: Padding,
    /// Elements added at the end, per spatial axis.
    pub output_padding: Vec<usize>,
    /// Sizes of the result's spatial axes, where they do not follow from the padding.
    pub output_sizes: Option<Vec<usize>>,
    /// Number of groups G; channels of different groups do not mix.
    pub groups: usize,
}

impl Deconvolution {
    /// Stride 1, dilation 1, no padding, one group.
    pub fn plain(spatial: usize) -> Self {
        Self {
            strides: vec![1; spatial],
            dilations: vec![1; spatial],
            padding: Padding::zero(spatial),
            output_padding: vec![0; spatial],
            output_sizes: None,
            groups: 1,
        }
    }

    /// Size of an axis before anything is cut.
    fn full(&self, axis: usize, input: &Dim, kernel: &Dim) -> Dim {
        let one = Dim::constant(1);
        let span = kernel.sub(&one).mul(&self.dilations[axis].into()).add(&one);
        input.sub(&one).mul(&self.strides[axis].into()).add(&self.output_padding[axis].into()).add(&span)
    }

    fn output(&self, axis: usize, input: &Dim, kernel: &Dim) -> Result<Dim, InferError> {
        if let Some(sizes) = &self.output_sizes {
            return Ok(sizes[axis].into());
        }
        let size = match &self.padding {
            Padding::SameUpper | Padding::SameLower => return Ok(input.mul(&self.strides[axis].into())),
            Padding::Valid => self.full(axis, input, kernel),
            Padding::Explicit { begin, end } => match (begin.get(axis), end.get(axis)) {
                (Some(&b), Some(&e)) => self.full(axis, input, kernel).sub(&b.into()).sub(&e.into()),
                _ => invalid!("pads are given for {} spatial axes, axis {axis} has none", begin.len()),
            },
        };
        if size.upper_bound() < 0 {
            invalid!("spatial axis {axis}: the pads cut more than the whole result, {size} elements are left");
        }
        Ok(size)
    }

    /// Elements cut before the first element of the result.
    fn begin(&self, axis: usize, input: usize, kernel: usize, output: usize) -> i64 {
        match &self.padding {
            Padding::Explicit { begin, .. } if self.output_sizes.is_none() => begin[axis],
            Padding::Valid if self.output_sizes.is_none() => 0,
            other => {
                let full = self.full(axis, &input.into(), &kernel.into()).as_constant().unwrap_or(i64::MAX);
                let total = full.saturating_sub(i64::try_from(output).unwrap_or(i64::MAX)).max(0);
                if *other == Padding::SameUpper { total / 2 } else { total - total / 2 }
            }
        }
    }
}

impl Operator for Deconvolution {
    const NAME: &'static str = "Deconvolution";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "a float type", sinter_base::DataType::is_float)?;
        let data_type = inputs.same_data_type(0)?;
        let x = inputs.dims(0)?;
        if x.len() < 3 {
            return Err(InferError::Rank { index: 0, expected: "at least 3".to_owned(), found: x.len() });
        }
        let w = inputs.dims_of_rank(1, x.len())?;
        let spatial = x.len() - 2;
        let lengths = [
            self.strides.len(),
            self.dilations.len(),
            self.output_padding.len(),
            self.output_sizes.as_ref().map_or(spatial, Vec::len),
        ];
        if lengths.iter().any(|&l| l != spatial) || self.groups == 0 {
            invalid!("{spatial} spatial axes need lists of that length and at least one group; found {self:?}");
        }
        if self.strides.contains(&0) || self.dilations.contains(&0) {
            invalid!("strides and dilations must be at least 1; found {self:?}");
        }
        let groups = Dim::from(self.groups);
        cx.require_equal(&x[1], &w[0], "input channels and leading size of the weight")?;
        cx.require_equal(&x[1].modulo(&groups), &0i64.into(), "input channels must be a multiple of the groups")?;
        let channels = w[1].mul(&groups);
        if inputs.has(2) {
            cx.require_equal(&inputs.dims_of_rank(2, 1)?[0], &channels, "bias size and output channels")?;
        }
        let mut y = vec![x[0].clone(), channels];
        for i in 0..spatial {
            y.push(self.output(i, &x[i + 2], &w[i + 2])?);
        }
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        if y_sizes.contains(&0) {
            // The copies of a kernel would still be as many as its taps times the places of an image.
            return Ok(vec![Tensor::from_floats(x.data_type(), &y_sizes, &[])?.into()]);
        }
        let (xs, ws) = (x.to_floats(), w.to_floats());
        let bias = inputs.optional_tensor(2)?.map(Tensor::to_floats);
        let spatial = x.rank() - 2;
        let begins: Vec<i64> =
            (0..spatial).map(|i| self.begin(i, x.sizes()[i + 2], w.sizes()[i + 2], y_sizes[i + 2])).collect();
        let (group_inputs, group_outputs) = (x.sizes()[1] / self.groups, w.sizes()[1]);
        let (x_plane, y_plane): (usize, usize) = (x.sizes()[2..].iter().product(), y_sizes[2..].iter().product());
        let kernel = &w.sizes()[2..];
        let copies = group_outputs * kernel.iter().product::<usize>();
        let y_strides = shape::strides(&y_sizes[2..]);
        // Where the copy of each input element has each tap, if it is inside.
        let mut places = Vec::with_capacity(kernel.iter().product::<usize>() * x_plane);
        for_each_index(kernel, |tap| {
            for_each_index(&x.sizes()[2..], |at| {
                places.push((0..spatial).try_fold(0, |place, i| {
                    let moved = i64::try_from(at[i].checked_mul(self.strides[i])?).ok()?;
                    let offset = i64::try_from(tap[i].checked_mul(self.dilations[i])?).ok()?;
                    let moved = usize::try_from(moved.checked_add(offset)?.checked_sub(begins[i])?).ok()?;
                    (moved < y_sizes[i + 2]).then(|| place + moved * y_strides[i])
                }));
            });
        });

        let mut y = vec![0.0; y_sizes.iter().product()];
        for (index, target) in y.chunks_mut((group_outputs * y_plane).max(1)).enumerate() {
            let (n, group) = (index / self.groups, index % self.groups);
            // Each input element scales a copy of its kernel: x^T W, then every copy is added where it lies.
            let mut columns = vec![0.0; x_plane * group_inputs];
            let mut weights = Vec::with_capacity(group_inputs * copies);
            for c in 0..group_inputs {
                let from = (n * x.sizes()[1] + group * group_inputs + c) * x_plane;
                for (place, value) in xs[from..from + x_plane].iter().enumerate() {
                    columns[place * group_inputs + c] = *value;
                }
                let from = (group * group_inputs + c) * copies;
                weights.extend_from_slice(&ws[from..from + copies]);
            }
            let a = (columns, [1, x_plane, group_inputs]);
            let products = product_of(a, (weights, [1, group_inputs, copies]), false, cx)?;
            for (m, plane) in target.chunks_mut(y_plane.max(1)).enumerate() {
                plane.fill(bias.as_ref().map_or(0.0, |b| b[group * group_outputs + m]));
                for (tap, places) in places.chunks(x_plane.max(1)).enumerate() {
                    let copy = m * (copies / group_outputs) + tap;
                    for (at, place) in places.iter().enumerate() {
                        if let Some(place) = place {
                            plane[*place] += products[at * copies + copy];
                        }
                    }
                }
            }
        }
        Ok(vec![Tensor::from_floats(x.data_type(), &y_sizes, &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let kernel = inputs.dims(1).map_or_else(|_| Dim::constant(1), |w| shape::product(&w[1..]));
        let elements = inputs.optional_value(0).map_or_else(|| Dim::constant(0), count_of);
        Cost { operations: elements.mul(&kernel).mul(&Dim::constant(2)), ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let plain = Deconvolution::plain;
        let pads = Padding::Explicit { begin: vec![1, 0], end: vec![0, 2] };
        vec![
            Example::new("3x3, bias", plain(2)).float(&[1, 2, 4, 3]).float(&[2, 5, 3, 3]).float(&[5]),
            Example::new("no images", plain(2)).float(&[0, 2, 4, 3]).float(&[2, 5, 3, 3]),
            Example::new(
                "stride 2, output padding",
                Deconvolution { strides: vec![2, 3], output_padding: vec![1, 2], ..plain(2) },
            )
            .float(&[2, 3, 3, 4])
            .float(&[3, 2, 2, 3]),
            Example::new("pads, dilations", Deconvolution { padding: pads, dilations: vec![2, 1], ..plain(2) })
                .float(&[1, 3, 5, 4])
                .float(&[3, 2, 3, 2]),
            Example::new("grouped", Deconvolution { groups: 3, ..plain(2) }).float(&[1, 6, 3, 3]).float(&[6, 2, 2, 2]),
            Example::new("same upper", Deconvolution { strides: vec![2], padding: Padding::SameUpper, ..plain(1) })
                .float(&[1, 2, 5])
                .float(&[2, 3, 3]),
            Example::new("same lower", Deconvolution { strides: vec![2], padding: Padding::SameLower, ..plain(1) })
                .float(&[1, 2, 5])
                .float(&[2, 3, 5]),
            Example::new(
                "given sizes",
                Deconvolution { strides: vec![3, 2], output_sizes: Some(vec![10, 8]), ..plain(2) },
            )
            .float(&[1, 1, 3, 3])
            .float(&[1, 2, 3, 3]),
            Example::new("3-D", plain(3)).float(&[1, 1, 3, 4, 2]).float(&[1, 2, 2, 1, 3]),
            Example::new("no batch", plain(2)).float(&[0, 2, 4, 4]).float(&[2, 3, 3, 3]),
            Example::new("empty kernel", plain(2)).float(&[1, 2, 4, 3]).float(&[2, 5, 0, 3]).float(&[5]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    fn run(op: &Deconvolution, x: &[f32], w: &[f32]) -> Vec<f64> {
        let x = Tensor::from_vec(&[1, 1, x.len()], x.to_vec()).unwrap();
        let w = Tensor::from_vec(&[1, 1, w.len()], w.to_vec()).unwrap();
        reference_of(op, &[&x, &w]).unwrap()[0].to_floats()
    }

    #[test]
    fn copies_of_the_kernel_add_up() {
        let plain = Deconvolution::plain(1);
        assert_eq!(run(&plain, &[1.0, 2.0], &[1.0, 10.0, 100.0]), [1.0, 12.0, 120.0, 200.0]);
        let strided = Deconvolution { strides: vec![2], output_padding: vec![1], ..plain.clone() };
        assert_eq!(run(&strided, &[1.0, 2.0], &[1.0, 10.0]), [1.0, 10.0, 2.0, 20.0, 0.0]);
        let cut = Deconvolution { padding: Padding::Explicit { begin: vec![1], end: vec![0] }, ..plain };
        assert_eq!(run(&cut, &[1.0, 2.0], &[1.0, 10.0, 100.0]), [12.0, 120.0, 200.0]);
    }

    #[test]
    fn same_padding_cuts_the_odd_element_where_asked() {
        let op = |padding| Deconvolution { strides: vec![2], padding, ..Deconvolution::plain(1) };
        // The full result is 1 10 102 20 200.
        assert_eq!(run(&op(Padding::SameUpper), &[1.0, 2.0], &[1.0, 10.0, 100.0]), [1.0, 10.0, 102.0, 20.0]);
        assert_eq!(run(&op(Padding::SameLower), &[1.0, 2.0], &[1.0, 10.0, 100.0]), [10.0, 102.0, 20.0, 200.0]);
    }
}
