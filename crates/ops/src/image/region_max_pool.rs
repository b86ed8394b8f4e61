//! Pools regions of feature maps to a fixed size by their largest elements (Fast R-CNN).
//!
//! Inputs: x: [N, C, H, W]; regions: [R, 5] as (sample, x1, y1, x2, y2), sample an integer below N. y: [R, C, output
//! height, output width]. The corners, scaled by `spatial_scale` and rounded half away from zero, are elements of the
//! region; one that ends before it begins has one element per axis. Of a region of `n` elements along an axis, cell `i`
//! of `m` has those from `floor(i n / m)` to `ceil((i + 1) n / m)`, the last excluded; a cell without elements inside
//! the map is 0. Elements: any float type. Source: ONNX MaxRoiPool-1..22 (Girshick 2015).

use std::ops::Range;

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct RegionMaxPool {
    /// Cells per column.
    pub output_height: usize,
    /// Cells per row.
    pub output_width: usize,
    /// From region coordinates to those of x.
    pub spatial_scale: f64,
}

/// Beyond this a coordinate is far outside of every map, and arithmetic on it stays exact.
const FAR: f64 = 1e9;

/// A region along one axis: its first element and how many it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    first: i64,
    count: i64,
}

impl Extent {
    /// The elements of a map of `size` that belong to a cell of `cells`.
    pub fn cell(self, cell: usize, cells: usize, size: usize) -> Range<usize> {
        let signed = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let (cell, cells, size) = (signed(cell), signed(cells).max(1), signed(size));
        let start = self.first.saturating_add(self.count.saturating_mul(cell) / cells);
        let over = self.count.saturating_mul(cell.saturating_add(1)).saturating_add(cells - 1) / cells;
        let inside = |place: i64| usize::try_from(place.clamp(0, size)).unwrap_or(0);
        inside(start)..inside(self.first.saturating_add(over))
    }
}

impl RegionMaxPool {
    /// The region between two corners along one axis. The product with the scale is rounded to the type of the corners,
    /// because half an element decides to which side it goes.
    pub fn extent(&self, low: f64, high: f64, data_type: DataType) -> Extent {
        let place = |corner: f64| {
            let scaled = data_type.round(corner * self.spatial_scale).round();
            // A NaN corner has no position; the first element is as good as any other.
            if scaled.is_nan() { 0 } else { scaled.clamp(-FAR, FAR) as i64 }
        };
        let (first, last) = (place(low), place(high));
        Extent { first, count: (last - first + 1).max(1) }
    }

    /// The sample of a region, if its index is valid.
    pub fn sample(number: f64, samples: usize) -> Option<usize> {
        (number >= 0.0 && number < samples as f64 && number.fract() == 0.0).then_some(number as usize)
    }
}

impl Operator for RegionMaxPool {
    const NAME: &'static str = "RegionMaxPool";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        inputs.data_type_where(1, &data_type.to_string(), |t| t == data_type)?;
        if self.output_height == 0 || self.output_width == 0 {
            invalid!("an output of {} x {} cells", self.output_height, self.output_width);
        }
        let (x, regions) = (inputs.dims_of_rank(0, 4)?, inputs.dims_of_rank(1, 2)?);
        cx.require_equal(&regions[1], &5i64.into(), "numbers of a region")?;
        let y = vec![regions[0].clone(), x[1].clone(), self.output_height.into(), self.output_width.into()];
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, regions) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let (values, data_type) = (x.to_floats(), x.data_type());
        let &[samples, channels, height, width] = x.sizes() else {
            invalid!(eval: "a feature map of sizes {:?}", x.sizes());
        };
        let mut y = Vec::new();
        for region in regions.to_floats().chunks_exact(5) {
            let Some(sample) = Self::sample(region[0], samples) else {
                invalid!(eval: "a region of sample {}, but there are {samples} samples", region[0]);
            };
            let columns = self.extent(region[1], region[3], data_type);
            let rows = self.extent(region[2], region[4], data_type);
            for channel in 0..channels {
                let map = &values[(sample * channels + channel) * height * width..][..height * width];
                for row in 0..self.output_height {
                    for column in 0..self.output_width {
                        let across = columns.cell(column, self.output_width, width);
                        let down = rows.cell(row, self.output_height, height);
                        let elements = down.flat_map(|r| across.clone().map(move |c| map[r * width + c]));
                        y.push(elements.reduce(f64::max).unwrap_or(0.0));
                    }
                }
            }
        }
        Ok(vec![Tensor::from_floats(data_type, &y_sizes, &y)?.into()])
    }

    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 16)
    }

    fn examples() -> Vec<Example> {
        let pool =
            |output_height, output_width, spatial_scale| RegionMaxPool { output_height, output_width, spatial_scale };
        let region = |values: &[f32]| {
            Tensor::from_vec(&[values.len() / 5, 5], values.to_vec()).expect("five numbers per region")
        };
        let regions = region(&[0., 0., 0., 7., 9., 1., 2.5, 1., 6., 4.25, 0., -3., -2., 15., 30., 1., 5., 5., 2., 2.]);
        let example = |name, op| Example::new(name, op).float(&[2, 3, 10, 8]).tensor(regions.clone());
        vec![
            example("cells that share elements", pool(3, 5, 1.0)),
            example("scaled", pool(2, 2, 0.5)),
            example("more cells than elements", pool(12, 11, 0.25)),
            Example::new("outside", pool(2, 2, 1.0)).float(&[1, 1, 3, 3]).tensor(region(&[0., 5., 5., 9., 9.])),
            Example::new("no regions", pool(2, 2, 1.0)).float(&[1, 2, 4, 4]).tensor(region(&[])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn cells_share_the_elements_between_them() {
        let op = RegionMaxPool { output_height: 1, output_width: 2, spatial_scale: 1.0 };
        let x = Tensor::from_vec(&[1, 1, 2, 4], vec![1f32, 5.0, 2.0, -1.0, 0.0, 3.0, 4.0, 9.0]).unwrap();
        // Columns 0 to 2: the middle one belongs to both cells.
        let region = |sample: f32| Tensor::from_vec(&[1, 5], vec![sample, 0.0, 0.0, 2.0, 1.0]).unwrap();
        assert_eq!(reference_of(&op, &[&x, &region(0.0)]).unwrap()[0].to_floats(), [5.0, 5.0]);
        // Columns 2 and 3 of row 1, from corners that are rounded half away from zero.
        let half = Tensor::from_vec(&[1, 5], vec![0f32, 1.5, 0.5, 3.4, 1.0]).unwrap();
        assert_eq!(reference_of(&op, &[&x, &half]).unwrap()[0].to_floats(), [4.0, 9.0]);
        for sample in [1.0, -1.0, 0.5, f32::NAN] {
            assert!(reference_of(&op, &[&x, &region(sample)]).is_err(), "{sample}");
        }
    }

    #[test]
    fn wild_corners_are_no_overflow() {
        let op = RegionMaxPool { output_height: 1, output_width: 1, spatial_scale: 1e30 };
        let extent = op.extent(f64::NEG_INFINITY, f64::MAX, DataType::F32);
        assert_eq!(extent.cell(0, 1, 7), 0..7);
        assert_eq!(op.extent(f64::NAN, f64::NAN, DataType::F32).cell(usize::MAX, 1, 7), 7..7);
    }
}
