//! Reads x: [N, C, spatial...] at the positions of a grid: [N, output..., axes].
//!
//! y: [N, C, output...]. A position lists coordinates in -1..=1, last spatial axis first. Of an axis of n elements g
//! means element `(g + 1) (n - 1) / 2` with aligned corners, else `((g + 1) n - 1) / 2`, rounded to the grid's type.
//! The element is the nearest one (ties to even), or linear or cubic (a = -0.75) in the neighbours on every axis.
//!
//! Outside, elements are 0, or those of the border (nearest and linear move the position to the border, cubic only its
//! neighbours, as PyTorch has it), or those of the image mirrored at its borders, which pass through the outermost
//! elements with aligned corners and half an element beyond them otherwise.
//! Elements: x of any numeric type, grid of any float type. Source: ONNX GridSample-22.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::image::resize_axis::cubic;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// How elements around a position are combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub enum GridInterpolation {
    /// The nearest one.
    Nearest,
    /// Two neighbours on every axis.
    Linear,
    /// Four neighbours on every axis.
    Cubic,
}

/// Values outside of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub enum GridPadding {
    /// Zeros.
    Zeros,
    /// The nearest element.
    Border,
    /// The mirrored image.
    Reflection,
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct GridSample {
    /// Combination of elements.
    pub interpolation: GridInterpolation,
    /// Values outside of the image.
    pub padding: GridPadding,
    /// -1 and 1 are the centres of the outermost elements, not their outer edges.
    pub align_corners: bool,
}

impl GridSample {
    /// Where the image ends on an axis.
    fn borders(&self, size: usize) -> (f64, f64) {
        if self.align_corners { (0.0, size as f64 - 1.0) } else { (-0.5, size as f64 - 0.5) }
    }

    /// Mirrors a coordinate at the borders of an axis until it lies between them.
    fn reflected(&self, at: f64, size: usize) -> f64 {
        let (low, high) = self.borders(size);
        let range = high - low;
        if range <= 0.0 {
            return low;
        }
        if (low..=high).contains(&at) {
            return at;
        }
        let (beyond, from_low) = if at < low { (low - at, true) } else { (at - high, false) };
        let turns = (beyond / range).trunc();
        let rest = beyond - turns * range;
        if (turns % 2.0 == 0.0) == from_low { low + rest } else { high - rest }
    }

    /// An element's index on its axis; `None` for a zero.
    fn index(&self, at: f64, size: usize) -> Option<usize> {
        let last = size as f64 - 1.0;
        let inside = match self.padding {
            GridPadding::Zeros if !(0.0..=last).contains(&at) => return None,
            GridPadding::Zeros | GridPadding::Border => at,
            GridPadding::Reflection => self.reflected(at, size).trunc(),
        };
        Some(inside.clamp(0.0, last.max(0.0)) as usize)
    }

    /// Weighted elements of one axis for a coordinate.
    fn taps(&self, coordinate: f64, size: usize, grid_type: DataType) -> Vec<(Option<usize>, f64)> {
        let full = size as f64;
        let place = if self.align_corners {
            (coordinate + 1.0) / 2.0 * (full - 1.0)
        } else {
            ((coordinate + 1.0) * full - 1.0) / 2.0
        };
        let mut place = grid_type.round(place);
        if self.interpolation == GridInterpolation::Nearest {
            place = place.round_ties_even();
        }
        let (low, high) = self.borders(size);
        match self.padding {
            // Cubic weights keep the distance to the true position; with unaligned corners the half elements at the
            // borders are inside.
            GridPadding::Border if self.interpolation == GridInterpolation::Cubic => {}
            GridPadding::Border if place < low || place > high => place = place.clamp(0.0, (full - 1.0).max(0.0)),
            GridPadding::Reflection => place = self.reflected(place, size),
            _ => {}
        }
        let floor = place.floor();
        let share = place - floor;
        match self.interpolation {
            GridInterpolation::Nearest => vec![(self.index(place.trunc(), size), 1.0)],
            GridInterpolation::Linear => {
                vec![(self.index(floor, size), 1.0 - share), (self.index(floor + 1.0, size), share)]
            }
            GridInterpolation::Cubic => [-1.0, 0.0, 1.0, 2.0]
                .map(|step: f64| (self.index(floor + step, size), cubic(step - share, -0.75)))
                .to_vec(),
        }
    }
}

impl Operator for GridSample {
    const NAME: &'static str = "GridSample";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a numeric type", |t| t != DataType::String)?;
        inputs.data_type_where(1, "a float type", DataType::is_float)?;
        let x = inputs.dims(0)?;
        if x.len() < 3 {
            return Err(InferError::Rank { index: 0, expected: "at least 3".to_owned(), found: x.len() });
        }
        let grid = inputs.dims_of_rank(1, x.len())?;
        cx.require_equal(&x[0], &grid[0], "batch of the image and of the grid")?;
        cx.require_equal(&grid[x.len() - 1], &(x.len() - 2).into(), "coordinates of a position and spatial axes")?;
        let y = x[..2].iter().chain(&grid[1..x.len() - 1]).cloned().collect();
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, grid) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let (values, positions) = (x.to_floats(), grid.to_floats());
        let image = &x.sizes()[2..];
        if image.contains(&0) {
            // Nothing to read: zeros.
            return Ok(vec![x.rearranged(&y_sizes, |_| None)?.into()]);
        }
        let spatial = image.len();
        let strides = shape::strides(image);
        let image_count: usize = image.iter().product();
        let output_strides = shape::strides(&y_sizes[2..]);
        let output_count: usize = y_sizes[2..].iter().product();
        let mut y = Vec::new();
        for_each_index(&y_sizes, |at| {
            let plane = (at[0] * y_sizes[1] + at[1]) * image_count;
            let from = (at[0] * output_count + shape::ravel(&at[2..], &output_strides)) * spatial;
            // Coordinates come last spatial axis first.
            let taps: Vec<Vec<(Option<usize>, f64)>> = (0..spatial)
                .map(|axis| self.taps(positions[from + spatial - 1 - axis], image[axis], grid.data_type()))
                .collect();
            let counts: Vec<usize> = taps.iter().map(Vec::len).collect();
            let mut sum = 0.0;
            for_each_index(&counts, |pick| {
                let (mut weight, mut place) = (1.0, plane);
                for (axis, &p) in pick.iter().enumerate() {
                    let Some(index) = taps[axis][p].0 else { return };
                    weight *= taps[axis][p].1;
                    place += index * strides[axis];
                }
                sum += weight * values[place];
            });
            y.push(sum);
        });
        Ok(vec![Tensor::from_floats(x.data_type(), &y_sizes, &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let per_element = match self.interpolation {
            GridInterpolation::Nearest => 4,
            GridInterpolation::Linear => 16,
            GridInterpolation::Cubic => 64,
        };
        Cost::elementwise(inputs, outputs, per_element)
    }

    fn examples() -> Vec<Example> {
        use GridInterpolation::{Cubic, Linear, Nearest};
        use GridPadding::{Border, Reflection, Zeros};
        let of = |interpolation, padding, align_corners| GridSample { interpolation, padding, align_corners };
        let example = |name, op: GridSample, x: &[usize], grid: &[usize]| {
            Example::new(name, op).float(x).uniform(DataType::F32, grid, -1.6, 1.6)
        };
        vec![
            example("linear, zeros", of(Linear, Zeros, false), &[2, 3, 5, 4], &[2, 3, 6, 2]),
            example("linear, border", of(Linear, Border, true), &[1, 2, 4, 7], &[1, 5, 3, 2]),
            example("linear, reflection", of(Linear, Reflection, false), &[1, 1, 3, 3], &[1, 4, 4, 2]),
            example("nearest, zeros", of(Nearest, Zeros, true), &[1, 2, 5, 5], &[1, 4, 3, 2]),
            example("nearest, reflection", of(Nearest, Reflection, true), &[1, 2, 5, 5], &[1, 4, 3, 2]),
            example("cubic, zeros", of(Cubic, Zeros, false), &[1, 2, 5, 6], &[1, 3, 3, 2]),
            example("cubic, border", of(Cubic, Border, false), &[1, 1, 4, 4], &[1, 5, 2, 2]),
            example("3-D", of(Linear, Zeros, true), &[1, 2, 3, 4, 5], &[1, 2, 3, 2, 3]),
            example("1-D", of(Linear, Border, false), &[2, 1, 7], &[2, 5, 1]),
            example("no positions", of(Linear, Zeros, false), &[1, 2, 3, 3], &[1, 0, 4, 2]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    fn at(padding: GridPadding, align_corners: bool, grid: &[f32]) -> Vec<f64> {
        let op = GridSample { interpolation: GridInterpolation::Linear, padding, align_corners };
        let x = Tensor::from_vec(&[1, 1, 3], vec![1f32, 3.0, 7.0]).unwrap();
        let grid = Tensor::from_vec(&[1, grid.len(), 1], grid.to_vec()).unwrap();
        reference_of(&op, &[&x, &grid]).unwrap()[0].to_floats()
    }

    #[test]
    fn positions_between_and_outside() {
        assert_eq!(at(GridPadding::Zeros, true, &[-1.0, 0.5, 1.5]), [1.0, 5.0, 3.5]);
        assert_eq!(at(GridPadding::Border, true, &[-2.0, 9.0]), [1.0, 7.0]);
        assert_eq!(at(GridPadding::Reflection, true, &[1.5, -2.0]), [5.0, 3.0]);
        assert_eq!(at(GridPadding::Zeros, false, &[-1.0, 0.0]), [0.5, 3.0]);
    }
}
