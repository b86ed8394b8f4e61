//! Pools regions of feature maps to a fixed size, reading between elements (Mask R-CNN).
//!
//! Inputs: x: [N, C, H, W]; regions: [R, 4] as (x1, y1, x2, y2); samples: [R], integers below N, the map of each
//! region. y: [R, C, output height, output width]. A region is scaled by `spatial_scale` and moved by -1/2 with
//! `half_pixel`; without, it is at least 1 wide and high. It is divided into output cells, and each cell into
//! `ceil(region / output)` points per axis, or `sampling_ratio` of them if that is not 0. Each point is interpolated
//! linearly from its four neighbours; coordinates are clamped to the map, and points more than one element outside are
//! zero. The cell is the mean of its points, or for the maximum the largest weighted neighbour of any point, as ONNX
//! defines it. Elements: any float type. Source: ONNX RoiAlign-10..22 (He et al. 2017).

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};

/// The reduction of the points of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub enum RegionPooling {
    /// Their mean.
    Average,
    /// The largest weighted neighbour.
    Max,
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct RoiAlign {
    /// The reduction of the points of a cell.
    pub pooling: RegionPooling,
    /// Cells per column.
    pub output_height: usize,
    /// Cells per row.
    pub output_width: usize,
    /// Points per cell and axis; 0 for as many as the cell has elements.
    pub sampling_ratio: usize,
    /// From region coordinates to those of x.
    pub spatial_scale: f64,
    /// Element centres lie at one half.
    pub half_pixel: bool,
}

/// More points than this per cell and axis mean a damaged region, not a large one.
const MAX_POINTS: f64 = 65536.0;

/// A feature map of one channel.
struct Map<'a> {
    values: &'a [f64],
    height: usize,
    width: usize,
}

/// Points of one cell along one axis.
#[derive(Clone, Copy)]
struct Span {
    start: f64,
    extent: f64,
    points: usize,
}

impl Span {
    /// Low and high neighbour of each point with the share of the high one; `None` for a point that is zero.
    fn neighbours(self, size: usize) -> Vec<Option<(usize, usize, f64)>> {
        let neighbours = |point: usize| {
            let at = self.start + (point as f64 + 0.5) * self.extent / self.points as f64;
            if at.is_nan() || at < -1.0 || at > size as f64 || size == 0 {
                return None;
            }
            let low = at.max(0.0) as usize;
            let last = low + 1 >= size;
            Some(if last { (size - 1, size - 1, 0.0) } else { (low, low + 1, at.max(0.0) - low as f64) })
        };
        (0..self.points).map(neighbours).collect()
    }
}

impl RoiAlign {
    fn cell(&self, map: &Map<'_>, rows: Span, columns: Span) -> f64 {
        let (mut sum, mut largest) = (0.0, f64::NEG_INFINITY);
        let columns = columns.neighbours(map.width);
        let rows = rows.neighbours(map.height);
        let at = |y: usize, x: usize| map.values[y * map.width + x];
        for row in &rows {
            for column in &columns {
                let weighted = match (*row, *column) {
                    (Some((y0, y1, v)), Some((x0, x1, u))) => [
                        (1.0 - v) * (1.0 - u) * at(y0, x0),
                        (1.0 - v) * u * at(y0, x1),
                        v * (1.0 - u) * at(y1, x0),
                        v * u * at(y1, x1),
                    ],
                    _ => [0.0; 4],
                };
                sum += weighted.iter().sum::<f64>();
                largest = weighted.iter().copied().fold(largest, f64::max);
            }
        }
        let count = rows.len() * columns.len();
        match self.pooling {
            RegionPooling::Average => sum / count.max(1) as f64,
            RegionPooling::Max if count == 0 => 0.0,
            RegionPooling::Max => largest,
        }
    }
}

impl Operator for RoiAlign {
    const NAME: &'static str = "RoiAlign";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        inputs.data_type_where(1, &data_type.to_string(), |t| t == data_type)?;
        inputs.data_type_where(2, "an integer type", DataType::is_integer)?;
        if self.output_height == 0 || self.output_width == 0 {
            invalid!("an output of {} x {} cells", self.output_height, self.output_width);
        }
        let (x, regions) = (inputs.dims_of_rank(0, 4)?, inputs.dims_of_rank(1, 2)?);
        cx.require_equal(&regions[1], &4i64.into(), "coordinates of a region")?;
        cx.require_equal(&inputs.dims_of_rank(2, 1)?[0], &regions[0], "regions and samples")?;
        let y = vec![regions[0].clone(), x[1].clone(), self.output_height.into(), self.output_width.into()];
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let (values, regions, samples) = (x.to_floats(), inputs.tensor(1)?.to_floats(), inputs.tensor(2)?.to_i64());
        let &[batch, channels, height, width] = x.sizes() else {
            invalid!(eval: "a feature map of sizes {:?}", x.sizes());
        };
        let offset = if self.half_pixel { 0.5 } else { 0.0 };
        let mut y = Vec::new();
        for (region, &sample) in regions.chunks_exact(4).zip(&samples) {
            let Some(sample) = usize::try_from(sample).ok().filter(|&s| s < batch) else {
                invalid!(eval: "a region of sample {sample}, but there are {batch} samples");
            };
            // The first cell along an axis.
            let first = |low: f64, high: f64, cells: usize| -> Result<Span, EvalError> {
                let (start, end) = (low * self.spatial_scale - offset, high * self.spatial_scale - offset);
                let whole = if self.half_pixel { end - start } else { (end - start).max(1.0) };
                let extent = whole / cells as f64;
                let points = if self.sampling_ratio == 0 { extent.ceil() } else { self.sampling_ratio as f64 };
                if points.is_nan() || points > MAX_POINTS {
                    invalid!(eval: "region {region:?} has {points} points per cell");
                }
                Ok(Span { start, extent, points: points.max(0.0) as usize })
            };
            let rows = first(region[1], region[3], self.output_height)?;
            let columns = first(region[0], region[2], self.output_width)?;
            let moved = |span: Span, cell: usize| Span { start: span.start + cell as f64 * span.extent, ..span };
            for channel in 0..channels {
                let from = (sample * channels + channel) * height * width;
                let map = Map { values: &values[from..from + height * width], height, width };
                for row in 0..self.output_height {
                    for column in 0..self.output_width {
                        y.push(self.cell(&map, moved(rows, row), moved(columns, column)));
                    }
                }
            }
        }
        Ok(vec![Tensor::from_floats(x.data_type(), &y_sizes, &y)?.into()])
    }

    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let points = i64::try_from(self.sampling_ratio.clamp(2, 64)).unwrap_or(2);
        Cost::elementwise(inputs, outputs, 16 * points * points)
    }

    fn examples() -> Vec<Example> {
        let usual = RoiAlign {
            pooling: RegionPooling::Average,
            output_height: 3,
            output_width: 2,
            sampling_ratio: 2,
            spatial_scale: 1.0,
            half_pixel: true,
        };
        let region = |values: &[f32]| {
            Tensor::from_vec(&[values.len() / 4, 4], values.to_vec()).expect("four numbers per region")
        };
        let boxes = region(&[0.0, 0.0, 9.0, 9.0, 2.5, 1.0, 7.0, 4.25, -3.0, -2.0, 15.0, 30.0]);
        let example =
            |name, op: RoiAlign| Example::new(name, op).float(&[2, 3, 10, 8]).tensor(boxes.clone()).ints(&[0, 1, 0]);
        vec![
            example("average", usual.clone()),
            example("as many points as elements", RoiAlign { sampling_ratio: 0, ..usual.clone() }),
            example("without half pixels", RoiAlign { half_pixel: false, ..usual.clone() }),
            example("largest", RoiAlign { pooling: RegionPooling::Max, ..usual.clone() }),
            example("scaled", RoiAlign { spatial_scale: 0.5, output_height: 1, output_width: 7, ..usual.clone() }),
            Example::new("no regions", usual).float(&[1, 2, 4, 4]).tensor(region(&[])).ints(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn one_cell_with_one_point() {
        let op = RoiAlign {
            pooling: RegionPooling::Average,
            output_height: 1,
            output_width: 1,
            sampling_ratio: 1,
            spatial_scale: 1.0,
            half_pixel: false,
        };
        let x = Tensor::from_vec(&[1, 1, 2, 2], vec![0f32, 1.0, 2.0, 3.0]).unwrap();
        let region = Tensor::from_vec(&[1, 4], vec![0f32, 0.0, 1.0, 1.0]).unwrap();
        // The point lies in the middle of the four elements.
        let y = reference_of(&op, &[&x, &region, &Tensor::of_i64(&[0])]).unwrap();
        assert_eq!(y[0].to_floats(), [1.5]);
        assert!(reference_of(&op, &[&x, &region, &Tensor::of_i64(&[1])]).is_err());
    }
}
