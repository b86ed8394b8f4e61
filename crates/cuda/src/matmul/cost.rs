//! A cost model of products by tiles, good enough to rank recipes: the waves of blocks, and the time of one block, which the
//! tensor cores or the copies of its operands bound.
//!
//! The constants are measured on an H200; other chips have other figures of their target.

use sinter_backend::{Candidate, Numerics, Tactic, Target};
use sinter_base::{Attr, DataType};

use crate::matmul::stacked::Extent;
use crate::tactic::{LAUNCH, cheapest};

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
    /// Stages of the pipeline.
    pub(crate) stages: f64,
    /// Nanoseconds from the start of a copy to its use.
    pub(crate) latency: f64,
    /// Share of the tensor cores' peak.
    pub(crate) efficiency: f64,
    /// Nanoseconds of a block before its first and after its last product.
    pub(crate) overhead: f64,
    /// How often a warp turns 16 rows and 64 columns of sums into results.
    pub(crate) rounds: f64,
    /// Nanoseconds in which a block gathers the images of a step, where that takes longer than their bytes.
    pub(crate) gathering: f64,
}

/// Terms of a step.
const STEP: f64 = 64.0;
/// How much more bytes than the memory the second-level cache brings.
const CACHE: f64 = 2.4;
/// Nanoseconds of a step at least: waiting for a barrier, and the latency of a product.
const STEP_LEAST: f64 = 100.0;
/// Nanoseconds of an exchange of sums, for each halving of k.
const EXCHANGE: f64 = 700.0;
/// Share of the memory's bandwidth that products reach.
const STREAMED: f64 = 0.85;
/// Nanoseconds in which a multiprocessor turns a sum into a byte of results, and exchanges a byte of partial sums.
const STORE: f64 = 1.0 / 40.0;
/// Nanoseconds of a warp for 16 rows and 64 columns of results, however many warps there are.
const ROUND: f64 = 700.0;

/// The candidates of a tactic for a product of these sizes and of this type, the cheapest first: a way is the parameters of a
/// recipe, and how blocks compute with it.
pub(crate) fn ranked(
    tactic: &dyn Tactic,
    (extent, data_type): (Extent, DataType),
    target: &Target,
    ways: impl Iterator<Item = (Attr, Schedule)>,
    most: usize,
) -> Vec<Candidate> {
    let candidate = |(parameters, schedule)| {
        let time = nanoseconds(extent, schedule, data_type, target);
        let mut candidate = Candidate::plain(tactic, Numerics::Reassociated, time + LAUNCH);
        candidate.recipe.parameters = parameters;
        candidate
    };
    cheapest(ways.map(candidate), most)
}

/// Expected nanoseconds, without the launch.
fn nanoseconds(extent: Extent, schedule: Schedule, data_type: DataType, target: &Target) -> f64 {
    let Extent { stacks, m, n, k, elements } = extent;
    let Schedule { rows, columns, issued, split, resident, stages, latency, efficiency, overhead, rounds, gathering } =
        schedule;
    let units = target.units.max(1) as f64;
    let peak = target.peak(data_type).unwrap_or(1e12) * efficiency * 1e-9;
    let bytes = target.bytes_per_second.max(1e11) * 1e-9;
    let blocks = stacks * (m / rows).ceil().max(1.0) * (n / columns).ceil().max(1.0) * split;
    // Blocks of a cluster must be neighbours, so that some multiprocessors stay without one.
    let usable = units * (1.0 - 0.03 * split.log2() * (1.0 + split.log2()) / 2.0);
    let together = resident.min((blocks / usable).ceil()).max(1.0);
    let waves = (blocks / (usable * together)).ceil().max(1.0);
    let steps = (k / STEP).ceil().max(1.0);
    let products = together * 2.0 * rows * issued * STEP / peak;
    let copies = together * 2.0 * (rows + columns) * STEP / (bytes * CACHE / units);
    let results = together * rows * columns * 2.0 * STORE * if split > 1.0 { 2.0 } else { 1.0 };
    let results = results.max(ROUND * rounds / split);
    let step = products.max(copies).max(together * gathering).max(STEP_LEAST).max(latency / stages);
    let sums = waves * ((steps / split).ceil() * step + results);
    let once = 2.0 * elements / (bytes * STREAMED);
    sums.max(once) + (overhead + EXCHANGE * split.log2()) * waves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Chip;

    /// Tiles of 128 x 128 in one block of a multiprocessor.
    const PLAIN: Schedule = Schedule {
        rows: 128.0,
        columns: 128.0,
        issued: 128.0,
        split: 1.0,
        resident: 1.0,
        stages: 4.0,
        latency: 900.0,
        efficiency: 0.75,
        overhead: 800.0,
        rounds: 2.0,
        gathering: 0.0,
    };

    fn time(m: f64, n: f64, k: f64, schedule: Schedule) -> f64 {
        let target = Chip::named("sm_90a").map(Chip::typical).expect("a known target");
        nanoseconds(Extent::of(1.0, m, n, k), schedule, DataType::F16, &target)
    }

    #[test]
    fn large_products_want_large_tiles_and_few_rows_want_many_blocks() {
        let wide = Schedule { columns: 256.0, issued: 256.0, ..PLAIN };
        let split = Schedule { split: 4.0, ..PLAIN };
        assert!(time(4096.0, 4096.0, 4096.0, wide) < time(4096.0, 4096.0, 4096.0, PLAIN));
        assert!(time(4096.0, 4096.0, 4096.0, PLAIN) < time(4096.0, 4096.0, 4096.0, split));
        assert!(time(128.0, 1024.0, 8192.0, split) < time(128.0, 1024.0, 8192.0, PLAIN));
        let deep = Schedule { stages: 8.0, ..PLAIN };
        assert!(time(64.0, 1024.0, 8192.0, deep) <= time(64.0, 1024.0, 8192.0, PLAIN));
        // 32 clusters of four do not all find neighbours.
        assert!(time(128.0, 4096.0, 1024.0, split) > time(128.0, 3072.0, 1024.0, split) * 1.3);
    }

    #[test]
    fn no_time_is_below_that_of_the_memory() {
        let memory = 2.0 * 4096.0 * 4096.0 / 4_800.0;
        for schedule in [PLAIN, Schedule { split: 8.0, resident: 2.0, ..PLAIN }] {
            assert!(time(1.0, 4096.0, 4096.0, schedule) > memory);
        }
    }
}
