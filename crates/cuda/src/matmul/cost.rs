//! A cost model of products by tiles, good enough to rank recipes: the waves of blocks, and the time of one block, which the
//! tensor cores or the copies of its operands bound.
//!
//! The constants are measured on an H200; other chips have other figures of their target.

use sinter_backend::Target;
use sinter_base::DataType;

use crate::matmul::stacked::Extent;

/// How blocks compute a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Rows of a tile.
    pub(crate) rows: f64,
    /// Columns of a tile.
    pub(crate) columns: f64,
    /// Columns that the tensor cores take the time of.
    pub(crate) issued: f64,
    /// Blocks that share a tile, each with a part of k.
    pub(crate) split: f64,
    /// Blocks of a multiprocessor at once.
    pub(crate) resident: f64,
    /// Share of the tensor cores' peak.
    pub(crate) efficiency: f64,
    /// Nanoseconds of a block before its first and after its last product.
    pub(crate) overhead: f64,
}

/// Terms of a step.
const STEP: f64 = 64.0;
/// How much more bytes than the memory the second-level cache brings.
const CACHE: f64 = 1.2;
/// Nanoseconds of a step at least: waiting for a barrier, and the latency of a product.
const STEP_LEAST: f64 = 100.0;
/// Nanoseconds in which a multiprocessor stores a byte of results, and exchanges one of partial sums.
const STORE: f64 = 1.0 / 60.0;

/// Expected nanoseconds, without the launch.
pub(crate) fn nanoseconds(extent: Extent, schedule: Schedule, data_type: DataType, target: &Target) -> f64 {
    let Extent { stacks, m, n, k } = extent;
    let Schedule { rows, columns, issued, split, resident, efficiency, overhead } = schedule;
    let units = target.units.max(1) as f64;
    let peak = target.peak(data_type).unwrap_or(1e12) * efficiency * 1e-9;
    let bytes = target.bytes_per_second.max(1e11) * 1e-9;
    let blocks = stacks * (m / rows).ceil().max(1.0) * (n / columns).ceil().max(1.0) * split;
    let together = resident.min((blocks / units).ceil()).max(1.0);
    let waves = (blocks / (units * together)).ceil().max(1.0);
    let steps = (k / STEP).ceil().max(1.0);
    let products = together * 2.0 * rows * issued * STEP / peak;
    let copies = together * 2.0 * (rows + columns) * STEP / (bytes * CACHE / units);
    let results = together * rows * columns * 2.0 * STORE * if split > 1.0 { 2.0 } else { 1.0 };
    let block = (steps / split).ceil() * products.max(copies).max(STEP_LEAST) + overhead + results;
    let once = 2.0 * stacks * (m * k + k * n + m * n) / bytes;
    (waves * block).max(once)
}
