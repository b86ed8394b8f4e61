//! Deformable convolution: every element of a window is read at its own learned offset, and weighted.
//!
//! `y[n, m, o] = b[m] + sum over c, k of w[m, c, k] mask[n, g, k, o] x[n, c, o s + k d - p + offset[n, g, k, :, o]]`,
//! where g is the offset group of channel c; positions between elements are interpolated linearly on every axis,
//! elements outside count as zero. x: [N, C, spatial...]; w: [M, C / G, kernel...]; offset: [N, groups * kernel
//! elements * axes, output...]; b: [M], optional; mask: [N, groups * kernel elements, output...], optional, 1 by
//! default. Elements: any float type. Source: ONNX DeformConv-22 (Dai et al. 2017; Zhu et al. 2018).

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
pub struct DeformableConvolution {
    /// Distance between windows, per spatial axis.
    pub strides: Vec<usize>,
    /// Distance between the elements of a window, per spatial axis.
    pub dilations: Vec<usize>,
    /// Border.
    pub padding: Padding,
    /// Number of groups G of the weight.
    pub groups: usize,
    /// Number of groups of channels with offsets of their own.
    pub offset_groups: usize,
}

impl DeformableConvolution {
    /// Stride 1, dilation 1, no padding, one group of each kind.
    pub fn plain(spatial: usize) -> Self {
        Self {
            strides: vec![1; spatial],
            dilations: vec![1; spatial],
            padding: Padding::zero(spatial),
            groups: 1,
            offset_groups: 1,
        }
    }

    fn axis(&self, index: usize) -> Axis<'_> {
        let (stride, dilation) = (self.strides[index], self.dilations[index]);
        Axis { stride, dilation, padding: &self.padding, index, ceil: false }
    }
}

/// The value between the elements of one channel at a position, linear on every axis, zero outside.
fn interpolated(channel: &[f64], sizes: &[usize], strides: &[usize], position: &[f64]) -> f64 {
    let mut sum = 0.0;
    for_each_index(&vec![2; sizes.len()], |corner| {
        let (mut weight, mut flat) = (1.0, 0);
        for i in 0..sizes.len() {
            let low = position[i].floor();
            let share = position[i] - low;
            weight *= if corner[i] == 1 { share } else { 1.0 - share };
            let at = low + corner[i] as f64;
            if !(at >= 0.0 && at < sizes[i] as f64) {
                return;
            }
            flat += at as usize * strides[i];
        }
        sum += weight * channel[flat];
    });
    sum
}

impl Operator for DeformableConvolution {
    const NAME: &'static str = "DeformableConvolution";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let data_type = inputs.same_data_type(0)?;
        let x = inputs.dims(0)?;
        if x.len() < 3 {
            return Err(InferError::Rank { index: 0, expected: "at least 3".to_owned(), found: x.len() });
        }
        let (w, offset) = (inputs.dims_of_rank(1, x.len())?, inputs.dims_of_rank(2, x.len())?);
        let spatial = x.len() - 2;
        let lists_fit = self.strides.len() == spatial && self.dilations.len() == spatial;
        if !lists_fit || self.groups == 0 || self.offset_groups == 0 {
            invalid!("{spatial} spatial axes need as many strides and dilations, and groups of at least 1: {self:?}");
        }
        let (groups, offset_groups) = (Dim::from(self.groups), Dim::from(self.offset_groups));
        let zero = Dim::constant(0);
        cx.require_equal(&x[1], &w[1].mul(&groups), "input channels and groups times weight channels")?;
        cx.require_equal(&w[0].modulo(&groups), &zero, "output channels must be a multiple of the groups")?;
        cx.require_equal(&x[1].modulo(&offset_groups), &zero, "channels must be a multiple of the offset groups")?;
        let taps = shape::product(&w[2..]).mul(&offset_groups);
        cx.require_equal(&offset[1], &taps.mul(&spatial.into()), "channels of the offsets")?;
        cx.require_equal(&offset[0], &x[0], "batch of the offsets")?;
        if inputs.has(3) {
            cx.require_equal(&inputs.dims_of_rank(3, 1)?[0], &w[0], "bias size and output channels")?;
        }
        let mut y = vec![x[0].clone(), w[0].clone()];
        for i in 0..spatial {
            let size = self.axis(i).output(&x[i + 2], &w[i + 2])?;
            cx.require_equal(&offset[i + 2], &size, "output size and size of the offsets")?;
            y.push(size);
        }
        if inputs.has(4) {
            let mask = inputs.dims_of_rank(4, x.len())?;
            cx.require_equal(&mask[0], &x[0], "batch of the mask")?;
            cx.require_equal(&mask[1], &taps, "channels of the mask")?;
            for i in 2..x.len() {
                cx.require_equal(&mask[i], &y[i], "output size and size of the mask")?;
            }
        }
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, w) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let (xs, ws, offsets) = (x.to_floats(), w.to_floats(), inputs.tensor(2)?.to_floats());
        let bias = inputs.optional_tensor(3)?.map(Tensor::to_floats);
        let mask = inputs.optional_tensor(4)?.map(Tensor::to_floats);
        let image = &x.sizes()[2..];
        let (spatial, image_strides) = (image.len(), shape::strides(image));
        let image_count: usize = image.iter().product();
        let kernel_strides = shape::strides(&w.sizes()[2..]);
        let (kernel_count, output_count) =
            (w.sizes()[2..].iter().product::<usize>(), y_sizes[2..].iter().product::<usize>());
        let output_strides = shape::strides(&y_sizes[2..]);
        let begins: Vec<i64> = (0..spatial).map(|i| self.axis(i).begin(image[i], w.sizes()[i + 2])).collect();
        let (channels, group_inputs, group_outputs) = (x.sizes()[1], w.sizes()[1], (w.sizes()[0] / self.groups).max(1));
        let offset_channels = (channels / self.offset_groups).max(1);

        let mut y = Vec::new();
        let mut position = vec![0.0; spatial];
        for_each_index(&y_sizes, |at| {
            let (n, m) = (at[0], at[1]);
            let output = shape::ravel(&at[2..], &output_strides);
            let mut sum = bias.as_ref().map_or(0.0, |b| b[m]);
            for_each_index(&w.sizes()[1..], |tap| {
                let channel = m / group_outputs * group_inputs + tap[0];
                let kernel = shape::ravel(&tap[1..], &kernel_strides);
                // Which (sample, offset group, kernel element) this is.
                let place = (n * self.offset_groups + channel / offset_channels) * kernel_count + kernel;
                for i in 0..spatial {
                    let regular = self.axis(i).padded_position(at[i + 2], tap[i + 1]).saturating_sub(begins[i]);
                    position[i] = regular as f64 + offsets[(place * spatial + i) * output_count + output];
                }
                let from = (n * channels + channel) * image_count;
                let value = interpolated(&xs[from..from + image_count], image, &image_strides, &position);
                let scale = mask.as_ref().map_or(1.0, |v| v[place * output_count + output]);
                sum += value * scale * ws[(m * group_inputs + tap[0]) * kernel_count + kernel];
            });
            y.push(sum);
        });
        Ok(vec![Tensor::from_floats(x.data_type(), &y_sizes, &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let window = inputs.dims(1).map_or_else(|_| Dim::constant(1), |w| shape::product(&w[1..]));
        // Four corners of each position, and the product itself.
        let operations = count_of(&outputs[0]).mul(&window).mul(&Dim::constant(10));
        Cost { operations, ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let plain = DeformableConvolution::plain;
        let pads = Padding::Explicit { begin: vec![1, 0], end: vec![0, 1] };
        vec![
            Example::new("3x3, bias, mask", plain(2))
                .float(&[1, 2, 5, 6])
                .float(&[3, 2, 3, 3])
                .float(&[1, 18, 3, 4])
                .float(&[3])
                .float(&[1, 9, 3, 4]),
            Example::new("pads, no mask", DeformableConvolution { padding: pads, ..plain(2) })
                .float(&[2, 1, 4, 4])
                .float(&[1, 1, 2, 2])
                .float(&[2, 8, 4, 4]),
            Example::new("both kinds of groups", DeformableConvolution { groups: 2, offset_groups: 2, ..plain(2) })
                .float(&[1, 4, 4, 3])
                .float(&[2, 2, 2, 2])
                .float(&[1, 16, 3, 2]),
            Example::new(
                "strided, dilated",
                DeformableConvolution { strides: vec![2, 1], dilations: vec![1, 2], ..plain(2) },
            )
            .float(&[1, 2, 6, 5])
            .float(&[2, 2, 2, 2])
            .float(&[1, 8, 3, 3])
            .absent()
            .float(&[1, 4, 3, 3]),
            Example::new("far offsets", plain(1)).float(&[1, 1, 5]).float(&[1, 1, 2]).uniform(
                DataType::F32,
                &[1, 2, 4],
                -6.0,
                6.0,
            ),
            Example::new("no batch", plain(2)).float(&[0, 1, 3, 3]).float(&[1, 1, 2, 2]).float(&[0, 8, 2, 2]),
            Example::new("empty windows", plain(2))
                .float(&[1, 2, 3, 3])
                .float(&[3, 2, 0, 2])
                .float(&[1, 0, 4, 2])
                .float(&[3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn offsets_move_the_place_of_reading() {
        let x = Tensor::from_vec(&[1, 1, 3], vec![1f32, 3.0, 7.0]).unwrap();
        let w = Tensor::from_vec(&[1, 1, 1], vec![2f32]).unwrap();
        let offset = Tensor::from_vec(&[1, 1, 3], vec![0.5f32, -1.0, 0.25]).unwrap();
        let y = reference_of(&DeformableConvolution::plain(1), &[&x, &w, &offset]).unwrap();
        // Between 1 and 3; at 1; a quarter beyond the last element.
        assert_eq!(y[0].to_floats(), [4.0, 2.0, 10.5]);
    }
}
