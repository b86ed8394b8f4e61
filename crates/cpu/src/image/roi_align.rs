//! `cpu.image.roi_align`: regions of feature maps pooled to a fixed size.
//!
//! The rows and columns that the points of a region lie between are the same for all channels: they are found once per
//! region, and a region is one task.

use bytemuck::{Pod, Zeroable};
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::image::{RegionPooling, RoiAlign};

use crate::arguments::integers;
use crate::launch::{Kernel, Launch, Loaded};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const ROI_ALIGN: Row = Row {
    name: "cpu.image.roi_align",
    roots: &[OpKind::RoiAlign],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, RoiAlign);
    Ok(Loaded::Kernel(Box::new(Align { op: op.clone() })))
}

struct Align {
    op: RoiAlign,
}

/// More points than this per cell and axis mean a damaged region, not a large one.
const MAX_POINTS: f64 = 65536.0;

/// A point between two elements of an axis, the second with this share.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Point {
    low: usize,
    high: usize,
    share: f64,
}

impl Point {
    /// Outside: zero.
    const NOWHERE: Self = Self { low: usize::MAX, high: usize::MAX, share: 0.0 };
}

/// The cells of a region along one axis.
#[derive(Clone, Copy, Debug)]
struct Cells {
    start: f64,
    /// Of one cell.
    extent: f64,
    /// Points per cell.
    points: usize,
}

impl Cells {
    /// The points of a cell on an axis of `size` elements.
    fn points_of(self, cell: usize, size: usize) -> impl ExactSizeIterator<Item = Point> {
        let start = self.start + cell as f64 * self.extent;
        let point = move |i: usize| {
            let at = start + (i as f64 + 0.5) * self.extent / self.points as f64;
            if !(at >= -1.0 && at <= size as f64) || size == 0 {
                return Point::NOWHERE;
            }
            let at = at.max(0.0);
            let low = at as usize;
            // Beyond the last element there is nothing to lean towards.
            if low + 1 < size {
                Point { low, high: low + 1, share: at - low as f64 }
            } else {
                Point { low: size - 1, high: size - 1, share: 0.0 }
            }
        };
        (0..self.points).map(point)
    }
}

struct Problem<'a> {
    op: &'a RoiAlign,
    /// Samples, channels, height and width.
    x: [usize; 4],
    samples: &'a [i64],
}

impl Problem<'_> {
    fn cells(&self, low: f64, high: f64, cells: usize) -> Result<Cells, KernelError> {
        let offset = if self.op.half_pixel { 0.5 } else { 0.0 };
        let (start, end) = (low * self.op.spatial_scale - offset, high * self.op.spatial_scale - offset);
        let whole = if self.op.half_pixel { end - start } else { (end - start).max(1.0) };
        let extent = whole / cells as f64;
        let points = if self.op.sampling_ratio == 0 { extent.ceil() } else { self.op.sampling_ratio as f64 };
        if points.is_nan() || points > MAX_POINTS {
            return Err(KernelError::Data(format!("a region from {low} to {high} has {points} points per cell")));
        }
        Ok(Cells { start, extent, points: points.max(0.0) as usize })
    }

    fn cell<T: Number>(&self, map: &[T], rows: &[Point], columns: &[Point]) -> T {
        let width = self.x[3];
        let (mut sum, mut largest) = (0.0f64, f64::NEG_INFINITY);
        for row in rows {
            for column in columns {
                if row.low == usize::MAX || column.low == usize::MAX {
                    largest = largest.max(0.0);
                    continue;
                }
                let (Point { low: y0, high: y1, share: v }, Point { low: x0, high: x1, share: u }) = (*row, *column);
                let at = |y: usize, x: usize| map[y * width + x].wide();
                let upper = [(1.0 - v) * (1.0 - u) * at(y0, x0), (1.0 - v) * u * at(y0, x1)];
                let lower = [v * (1.0 - u) * at(y1, x0), v * u * at(y1, x1)];
                sum += upper[0] + upper[1] + lower[0] + lower[1];
                largest = upper.into_iter().chain(lower).fold(largest, f64::max);
            }
        }
        let count = rows.len() * columns.len();
        T::of(match self.op.pooling {
            RegionPooling::Average => sum / count.max(1) as f64,
            RegionPooling::Max if count == 0 => 0.0,
            RegionPooling::Max => largest,
        })
    }
}

impl Formula for Problem<'_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let Means { workers, scratch } = means;
        let (x, regions) = (inputs.given(0), inputs.given(1));
        let [batch, channels, height, width] = self.x;
        let (cell_rows, cell_columns) = (self.op.output_height, self.op.output_width);
        let located = |(region, &sample): (&[T], &i64)| {
            let outside = || KernelError::Data(format!("a region of sample {sample}, but there are {batch} samples"));
            let sample = usize::try_from(sample).ok().filter(|&s| s < batch).ok_or_else(outside)?;
            let rows = self.cells(region[1].wide(), region[3].wide(), cell_rows)?;
            Ok((sample, rows, self.cells(region[0].wide(), region[2].wide(), cell_columns)?))
        };
        // Every region is checked before any is read, and the most points of one that a task will list are found.
        let mut most = (0, 0);
        for region in regions.chunks_exact(4).zip(self.samples) {
            let (_, rows, columns) = located(region)?;
            most = (rows.points.max(most.0), columns.points.max(most.1));
        }
        let (most_rows, most_columns) = (most.0, most.1 * cell_columns);
        scratch.reserve::<Point>(2 * workers.count(), most_rows.max(most_columns));
        let (plane, map) = (cell_rows * cell_columns, height * width);
        share(workers, y, channels * plane, Cost::PerElement(16), |first, chunk| {
            let points = || scratch.allocate::<Point>(most_rows.max(most_columns));
            let (mut row_points, mut column_points) = (points(), points());
            let own = regions.chunks_exact(4).zip(self.samples).skip(first);
            for (y, region) in chunk.chunks_exact_mut(channels * plane).zip(own) {
                let Ok((sample, rows, columns)) = located(region) else { continue };
                let points = (0..cell_columns).flat_map(|c| columns.points_of(c, width));
                column_points.iter_mut().zip(points).for_each(|(place, point)| *place = point);
                for row in 0..cell_rows {
                    row_points.iter_mut().zip(rows.points_of(row, height)).for_each(|(place, point)| *place = point);
                    for (channel, y) in y.chunks_exact_mut(plane).enumerate() {
                        let from = (sample * channels + channel) * map;
                        let source = &x[from..from + map];
                        for (column, y) in y[row * cell_columns..][..cell_columns].iter_mut().enumerate() {
                            let points = &column_points[column * columns.points..][..columns.points];
                            *y = self.cell(source, &row_points[..rows.points], points);
                        }
                    }
                }
            }
        });
        Ok(())
    }
}

impl Kernel for Align {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, regions) = (launch.input(0)?, launch.input(1)?);
        let samples = integers(launch.input(2)?, launch.scratch)?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let &[batch, channels, height, width] = x.sizes() else {
            return Err(KernelError::Data(format!("a feature map of sizes {:?}", x.sizes())));
        };
        let problem = Problem { op: &self.op, x: [batch, channels, height, width], samples: &samples };
        evaluate(&problem, &[Some(x), Some(regions)], launch.output(0), workers, scratch)
    }
}
