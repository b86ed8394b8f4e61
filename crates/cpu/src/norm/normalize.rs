//! `cpu.norm.normalize`: every form of normalization by a measure of the input itself.
//!
//! Where groups are rows of neighbours, a task measures a row and scales it while it is in the cache. Other shapes take
//! two passes: measure all groups, then scale all rows. Sums run in short chunks in the element type whose totals are
//! added in f64; the variance is taken around the mean, not as a difference of squares, which would cancel. f32 is
//! computed as it is, every other float type in f64.

use bytemuck::{Pod, Zeroable};
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, View};
use sinter_ops::OpKind;
use sinter_ops::norm::{Measure, Normalize};

use crate::elements::{floats, store_floats};
use crate::launch::{Kernel, Launch, Loaded, Operand, Scratch, ScratchBuffer, Workers};
use crate::norm::groups::Groups;
use crate::number::{Number, sum_of};
use crate::only_operator;
use crate::share::{Cost, share, share_both};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const NORMALIZE: Row = Row {
    name: "cpu.norm.normalize",
    roots: &[OpKind::Normalize],
    numerics: Numerics::Reassociated,
    in_place: &[(0, 0)],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Normalize);
    Ok(Loaded::Kernel(Box::new(NormalizeKernel { op: op.clone() })))
}

pub(super) struct NormalizeKernel {
    pub(super) op: Normalize,
}

/// The statistics of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Measured {
    /// To subtract.
    pub(super) shift: f64,
    /// To multiply by afterwards.
    pub(super) scale: f64,
    /// To report: mean and variance, or one number.
    report: [f64; 2],
}

/// The sum on which a measure other than the deviation is based.
fn power<T: Number>(measure: &Measure, v: T) -> T {
    match measure {
        Measure::Norm { order } if *order == 1.0 => T::of(v.wide().abs()),
        Measure::Norm { order } if *order != 2.0 => T::of(v.wide().abs().powf(*order)),
        _ => v * v,
    }
}

impl NormalizeKernel {
    fn deviation(&self, mean: f64, squares: f64, count: f64) -> Measured {
        let variance = squares / count;
        Measured { shift: mean, scale: 1.0 / (variance + self.op.epsilon).sqrt(), report: [mean, variance] }
    }

    /// From the sum of powers.
    fn magnitude(&self, sum: f64, count: f64) -> Measured {
        match self.op.measure {
            Measure::Norm { order } => {
                let norm = if order == 2.0 { sum.sqrt() } else { sum.powf(1.0 / order) };
                // A group of zeros gives zeros.
                Measured { shift: 0.0, scale: if norm == 0.0 { 0.0 } else { 1.0 / norm }, report: [norm, 0.0] }
            }
            _ => {
                let mean = sum / count;
                Measured { shift: 0.0, scale: 1.0 / (mean + self.op.epsilon).sqrt(), report: [mean, 0.0] }
            }
        }
    }

    /// A group that is one run of neighbours.
    #[inline(always)]
    pub(super) fn row<T: Number>(&self, x: &[T]) -> Measured {
        let count = x.len() as f64;
        if self.op.measure == Measure::Deviation {
            let mean = sum_of(x, |v| v) / count;
            let centre = T::of(mean);
            return self.deviation(mean, sum_of(x, |v| (v - centre) * (v - centre)), count);
        }
        self.magnitude(sum_of(x, |v| power(&self.op.measure, v)), count)
    }

    /// A group that is several rows.
    fn rows<T: Number>(&self, x: &[T], start: usize, rows: &[usize], length: usize) -> Measured {
        let count = (rows.len() * length) as f64;
        let sum = |term: &dyn Fn(&[T]) -> f64| rows.iter().map(|r| term(&x[start + r..][..length])).sum::<f64>();
        if self.op.measure == Measure::Deviation {
            let mean = sum(&|row| sum_of(row, |v| v)) / count;
            let centre = T::of(mean);
            return self.deviation(mean, sum(&|row| sum_of(row, |v| (v - centre) * (v - centre))), count);
        }
        self.magnitude(sum(&|row| sum_of(row, |v| power(&self.op.measure, v))), count)
    }

    /// As many groups as a row has elements; each takes one element of every row. `statistics` has space for their sums
    /// and their means.
    fn columns<T: Number>(
        &self,
        x: &[T],
        start: usize,
        rows: &[usize],
        measured: &mut [Measured],
        statistics: &mut [f64],
    ) {
        let (length, count) = (measured.len(), rows.len() as f64);
        let (sums, means) = statistics.split_at_mut(length);
        sums.fill(0.0);
        for row in rows {
            let row = &x[start + row..][..length];
            if self.op.measure == Measure::Deviation {
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v.wide());
            } else {
                sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += power(&self.op.measure, v.wide()));
            }
        }
        if self.op.measure != Measure::Deviation {
            measured.iter_mut().zip(sums).for_each(|(m, sum)| *m = self.magnitude(*sum, count));
            return;
        }
        means.iter_mut().zip(&*sums).for_each(|(mean, sum)| *mean = sum / count);
        sums.fill(0.0);
        for row in rows {
            for ((sum, v), mean) in sums.iter_mut().zip(&x[start + row..][..length]).zip(&*means) {
                *sum += (v.wide() - mean) * (v.wide() - mean);
            }
        }
        for ((m, mean), sum) in measured.iter_mut().zip(means).zip(sums) {
            *m = self.deviation(*mean, *sum, count);
        }
    }

    /// Writes the result, from `x` or in place from the contents of `y`, and returns the statistics.
    fn compute<'r, T: Number>(
        &self,
        groups: &Groups,
        x: Option<&[T]>,
        y: &mut [T],
        (workers, scratch): (&dyn Workers, &'r Scratch),
    ) -> ScratchBuffer<'r, Measured> {
        let mut measured = scratch.filled(groups.count(), Measured::default());
        if y.is_empty() {
            // Statistics of nothing are as undefined as those of 0 / 0.
            measured.iter_mut().for_each(|m| *m = self.row::<T>(&[]));
            return measured;
        }
        if groups.are_rows() {
            let length = groups.elements();
            share_both(workers, (y, &mut measured), (length, 1), Cost::PerElement(4), |at, row, measured| {
                let source = x.map(|x| &x[at * length..(at + 1) * length]);
                let m = self.row(source.unwrap_or(row));
                scale(row, source, T::of(m.shift), T::of(m.scale));
                measured[0] = m;
            });
            return measured;
        }
        let ((length, together), blocks) = (groups.row(), groups.blocks(scratch));
        let unit = if together { 1 } else { length };
        {
            let source = x.unwrap_or(y);
            scratch.reserve::<f64>(workers.count(), 2 * unit);
            share(workers, &mut measured, unit, Cost::PerElement(groups.elements()), |first, chunk| {
                let mut statistics = scratch.allocate(2 * unit);
                for (block, measured) in blocks.starts[first..].iter().zip(chunk.chunks_exact_mut(unit)) {
                    match measured {
                        [m] if together => *m = self.rows(source, *block, &blocks.rows, length),
                        columns => self.columns(source, *block, &blocks.rows, columns, &mut statistics),
                    }
                }
            });
        }
        let of_rows = groups.block_of_rows(scratch);
        share(workers, y, length, Cost::PerElement(2), |first, chunk| {
            for (i, row) in chunk.chunks_exact_mut(length).enumerate() {
                let source = x.map(|x| &x[(first + i) * length..(first + i + 1) * length]);
                let block = &measured[of_rows[first + i] * unit..][..unit];
                match block {
                    [m] if together => scale(row, source, T::of(m.shift), T::of(m.scale)),
                    columns => {
                        if let Some(source) = source {
                            row.copy_from_slice(source);
                        }
                        for (y, m) in row.iter_mut().zip(columns) {
                            *y = (*y - T::of(m.shift)) * T::of(m.scale);
                        }
                    }
                }
            }
        });
        measured
    }
}

/// `row = (source - shift) * factor`, with the row itself for a source that is in place.
#[inline(always)]
pub(super) fn scale<T: Number>(row: &mut [T], source: Option<&[T]>, shift: T, factor: T) {
    match source {
        Some(source) => row.iter_mut().zip(source).for_each(|(y, &v)| *y = (v - shift) * factor),
        None => row.iter_mut().for_each(|y| *y = (*y - shift) * factor),
    }
}

impl Kernel for NormalizeKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let scratch = launch.scratch;
        let means = (launch.workers, scratch);
        let x = match launch.inputs.first() {
            Some(Operand::InPlace(_)) => None,
            _ => Some(launch.input(0)?),
        };
        let (first, statistics) = match launch.outputs.split_first_mut() {
            Some((first, statistics)) => (first.view(), statistics),
            None => return Err(KernelError::Recipe("normalization without a result".to_owned())),
        };
        let groups = Groups::new(first.sizes(), &self.op.axes, self.op.groups)?;
        let measured = if first.data_type() == DataType::F32 {
            let x = x.map(|x: View<'_>| x.elements::<f32>());
            self.compute(&groups, x, first.elements::<f32>(), means)
        } else {
            let mut y = floats(x.unwrap_or(first.as_view()), scratch);
            let measured = self.compute::<f64>(&groups, None, &mut y, means);
            store_floats(&y, first);
            measured
        };
        for (which, target) in statistics.iter_mut().enumerate().take(2) {
            let values = scratch.list(measured.iter().map(|m| m.report[which]));
            store_floats(&values, target.view());
        }
        Ok(())
    }
}
