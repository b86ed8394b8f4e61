//! `cpu.image.region_max_pool`: the largest elements of regions of feature maps; a region is one task.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::image::RegionMaxPool;

use crate::launch::{Kernel, Launch, Loaded};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const REGION_MAX_POOL: Row = Row {
    name: "cpu.image.region_max_pool",
    roots: &[OpKind::RegionMaxPool],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, RegionMaxPool);
    Ok(Loaded::Kernel(Box::new(RegionMaxPoolKernel { op: op.clone() })))
}

struct RegionMaxPoolKernel {
    op: RegionMaxPool,
}

struct Problem<'a> {
    op: &'a RegionMaxPool,
    /// Samples, channels, height and width.
    x: [usize; 4],
    data_type: DataType,
}

impl Formula for Problem<'_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let (x, regions) = (inputs.given(0), inputs.given(1));
        let [samples, channels, height, width] = self.x;
        let (cell_rows, cell_columns) = (self.op.output_height, self.op.output_width);
        // Every region is checked before any is read.
        let sample_of = |region: &[T]| RegionMaxPool::sample(region[0].wide(), samples);
        if let Some(region) = regions.chunks_exact(5).find(|region| sample_of(region).is_none()) {
            refuse_data!("a region of sample {}, but there are {samples} samples", region[0].wide());
        }
        let (plane, map) = (cell_rows * cell_columns, height * width);
        share(means.workers, y, channels * plane, Cost::PerElement(16), |first, chunk| {
            for (y, region) in chunk.chunks_exact_mut(channels * plane).zip(regions.chunks_exact(5).skip(first)) {
                let corner = |index: usize| region[index].wide();
                let columns = self.op.extent(corner(1), corner(3), self.data_type);
                let rows = self.op.extent(corner(2), corner(4), self.data_type);
                let Some(sample) = sample_of(region) else { continue };
                for row in 0..cell_rows {
                    let down = rows.cell(row, cell_rows, height);
                    for column in 0..cell_columns {
                        let across = columns.cell(column, cell_columns, width);
                        for channel in 0..channels {
                            let from = (sample * channels + channel) * map;
                            let mut largest: Option<T> = None;
                            for r in down.clone() {
                                for &v in &x[from + r * width..][across.clone()] {
                                    // The first comparison with a NaN fails, and what is no NaN takes its place.
                                    if largest.is_none_or(|known| v > known || known.wide().is_nan()) {
                                        largest = Some(v);
                                    }
                                }
                            }
                            y[channel * plane + row * cell_columns + column] = largest.unwrap_or_default();
                        }
                    }
                }
            }
        });
        Ok(())
    }
}

impl Kernel for RegionMaxPoolKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, regions) = (launch.input(0)?, launch.input(1)?);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let &[samples, channels, height, width] = x.sizes() else {
            refuse_data!("a feature map of sizes {:?}", x.sizes());
        };
        let problem = Problem { op: &self.op, x: [samples, channels, height, width], data_type: x.data_type() };
        evaluate(&problem, &[Some(x), Some(regions)], launch.output(0), workers, scratch)
    }
}
