//! The grid of positions of an affine transformation, as [`GridSample`](crate::image::GridSample) reads it.
//!
//! Inputs: theta: [N, d, d + 1] with d = 2 or 3; size: [d + 2] i64, the N, C and spatial sizes of the image to be read.
//! y: [N, spatial..., d]: `y[n, i...] = theta[n] (c, 1)`, where c lists the coordinates of position i, last axis first:
//! `-1 + 2 i / (s - 1)` on an axis of s elements with aligned corners (-1 for s = 1), else `(2 i + 1) / s - 1`.
//! Elements: any float type. Source: ONNX AffineGrid-20.

use sinter_base::shape::for_each_index;
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct AffineGrid {
    /// -1 and 1 are the centres of the outermost elements, not their outer edges.
    pub align_corners: bool,
}

impl AffineGrid {
    fn coordinate(&self, index: usize, size: usize) -> f64 {
        let (i, s) = (index as f64, size as f64);
        match (self.align_corners, size) {
            (true, 0 | 1) => -1.0,
            (true, _) => -1.0 + 2.0 * i / (s - 1.0),
            (false, _) => (2.0 * i + 1.0) / s - 1.0,
        }
    }
}

impl Operator for AffineGrid {
    const NAME: &'static str = "AffineGrid";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        inputs.data_type_where(1, "i64", |t| t == DataType::I64)?;
        let theta = inputs.dims_of_rank(0, 3)?;
        let length = &inputs.dims_of_rank(1, 1)?[0];
        let from_theta = theta[1].as_constant().or_else(|| theta[2].as_constant().map(|v| v.saturating_sub(1)));
        let Some(axes) = from_theta.or_else(|| length.as_constant().map(|v| v.saturating_sub(2))) else {
            return self.unranked(inputs);
        };
        if !(2..=3).contains(&axes) {
            invalid!("a transformation of {axes} axes; only 2 and 3 are possible");
        }
        cx.require_equal(&theta[1], &axes.into(), "rows of the transformation")?;
        cx.require_equal(&theta[2], &(axes + 1).into(), "columns of the transformation")?;
        cx.require_equal(length, &(axes + 2).into(), "entries of the image size")?;
        let mut y = vec![theta[0].clone()];
        match inputs.ints(1) {
            Some(size) if size.len() > 2 => {
                cx.require_equal(&size[0], &theta[0], "batch of the image size and of the transformation")?;
                y.extend(size[2..].iter().cloned());
            }
            _ => y.extend((0..axes).map(|_| cx.fresh("grid"))),
        }
        y.push(axes.into());
        if let Some(negative) = y.iter().find(|d: &&Dim| d.upper_bound() < 0) {
            invalid!("an axis of {negative} elements");
        }
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let theta = inputs.tensor(0)?;
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let values = theta.to_floats();
        let axes = y_sizes.len() - 2;
        let spatial = &y_sizes[1..=axes];
        let mut y = Vec::new();
        for_each_index(&y_sizes, |at| {
            let row = (at[0] * axes + at[axes + 1]) * (axes + 1);
            // Column 0 multiplies the coordinate of the last axis.
            let coordinate = |column: usize| self.coordinate(at[axes - column], spatial[axes - 1 - column]);
            let linear: f64 = (0..axes).map(|column| values[row + column] * coordinate(column)).sum();
            y.push(linear + values[row + axes]);
        });
        Ok(vec![Tensor::from_floats(theta.data_type(), &y_sizes, &y)?.into()])
    }

    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 8)
    }

    fn examples() -> Vec<Example> {
        let of = |align_corners| AffineGrid { align_corners };
        vec![
            Example::new("2-D", of(false)).float(&[2, 2, 3]).ints(&[2, 3, 5, 6]),
            Example::new("2-D, corners", of(true)).float(&[1, 2, 3]).ints(&[1, 1, 4, 7]),
            Example::new("3-D", of(false)).float(&[2, 3, 4]).ints(&[2, 1, 4, 3, 5]),
            Example::new("3-D, corners, one layer", of(true)).float(&[1, 3, 4]).ints(&[1, 2, 1, 3, 2]),
            Example::new("no batch", of(false)).float(&[0, 2, 3]).ints(&[0, 1, 2, 2]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn coordinates_come_last_axis_first() {
        let theta = Tensor::from_vec(&[1, 2, 3], vec![1f32, 0.0, 0.0, 0.0, 2.0, 0.5]).unwrap();
        let size = Tensor::of_i64(&[1, 1, 1, 2]);
        let y = reference_of(&AffineGrid { align_corners: true }, &[&theta, &size]).unwrap();
        // x runs from -1 to 1; the single row has y = -1, doubled and moved by one half.
        assert_eq!((y[0].sizes(), y[0].to_floats()), (&[1, 1, 2, 2][..], vec![-1.0, -1.5, 1.0, -1.5]));
    }
}
