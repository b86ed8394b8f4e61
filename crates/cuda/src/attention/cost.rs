//! A cost model of attention by tiles, good enough to rank recipes: the waves of blocks, and the time of one block, which its
//! products, its exponentials or the copies of keys and values bound.
//!
//! The constants are measured on an H200; other chips have other figures of their target.

use sinter_backend::Target;
use sinter_base::DataType;

use crate::attention::flash::Extent;

/// How blocks compute attention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// Queries of a block.
    pub(crate) queries: f64,
    /// Keys of a step.
    pub(crate) keys: f64,
    /// Blocks that share the keys of a tile of queries.
    pub(crate) parts: f64,
    /// Does a tile take queries of several heads that share keys?
    pub(crate) packs_heads: bool,
    /// Blocks of a multiprocessor at once.
    pub(crate) resident: f64,
    /// Time of the products for each of what the tensor cores' peak takes, as far as nothing hides it.
    pub(crate) products: f64,
    /// Time of the softmax for each of what its exponentials take.
    pub(crate) powers: f64,
    /// Nanoseconds of a step beside.
    pub(crate) beside: f64,
    /// Nanoseconds of a step of a block that has the multiprocessor for itself, at least.
    pub(crate) lone: f64,
    /// Nanoseconds of a tile of queries before its first and after its last product.
    pub(crate) overhead: f64,
    /// Nanoseconds until the first tile.
    pub(crate) start: f64,
}

/// Exponentials of a multiprocessor per cycle for each multiply-add of its tensor cores: 16 beside 2,048.
const POWERS: f64 = 16.0 / 2048.0;
/// How much more bytes than the memory the second-level cache brings.
const CACHE: f64 = 1.6;
/// Share of the memory's bandwidth that rows reach.
const STREAMED: f64 = 0.7;
/// Nanoseconds of the second launch that adds parts.
const ADDING: f64 = 3_000.0;
/// Bytes of a partial sum, stored and loaded.
const PART: f64 = 8.0;

/// Expected nanoseconds, without the launch.
pub(crate) fn nanoseconds(extent: Extent, schedule: Schedule, data_type: DataType, target: &Target) -> f64 {
    let Extent { batch, heads, key_heads, length, total, sizes, seen, mask_bytes } = extent;
    let Schedule { queries, keys, parts, packs_heads, resident, products, powers, beside, lone, overhead, start } =
        schedule;
    let units = target.units.max(1) as f64;
    let peak = target.peak(data_type).unwrap_or(1e12) * 1e-9;
    let bytes = target.bytes_per_second.max(1e11) * 1e-9;
    let width = (sizes[0] + sizes[1]) as f64;
    let (rows, stacks) =
        if packs_heads { (length * heads / key_heads, batch * key_heads) } else { (length, batch * heads) };
    let blocks = stacks * (rows / queries).ceil().max(1.0) * parts;
    let together = resident.min((blocks / units).ceil()).max(1.0);
    let waves = (blocks / (units * together)).ceil().max(1.0);
    // A tile on the diagonal is half empty.
    let diagonal = if seen < 1.0 { 0.5 } else { 0.0 };
    let steps = (total * seen / keys / parts + diagonal).ceil().max(1.0);
    let multiplied = products * 2.0 * queries * keys * width / peak;
    let softmax = powers * queries * keys / (peak / 2.0 * POWERS);
    let copies = 2.0 * keys * width / (bytes * CACHE / units);
    let mask = mask_bytes * queries * keys / (bytes * CACHE / units);
    let busy = together * (multiplied + softmax).max(copies + mask) + beside;
    let computed = start + waves * (steps * busy.max(lone) + overhead);
    let rows_once = 2.0 * batch * (heads * length + key_heads * total) * width;
    let masks_once = mask_bytes * batch * length * total;
    let split = if parts > 1.0 {
        ADDING + batch * heads * length * sizes[1] as f64 * parts * PART / (bytes * STREAMED)
    } else {
        0.0
    };
    computed.max(start + (rows_once + masks_once) / (bytes * STREAMED)) + split
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Chip;

    const PLAIN: Schedule = Schedule {
        queries: 64.0,
        keys: 64.0,
        parts: 1.0,
        packs_heads: true,
        resident: 2.0,
        products: 3.3,
        powers: 0.5,
        beside: 0.0,
        lone: 1_500.0,
        overhead: 1_500.0,
        start: 500.0,
    };

    fn time(batch: f64, length: f64, total: f64, schedule: Schedule) -> f64 {
        let target = Chip::named("sm_90a").map(Chip::typical).expect("a known target");
        let extent = Extent {
            batch,
            heads: 16.0,
            key_heads: 16.0,
            length,
            total,
            sizes: [128, 128],
            seen: 1.0,
            mask_bytes: 0.0,
        };
        nanoseconds(extent, schedule, DataType::F16, &target)
    }

    #[test]
    fn few_queries_of_many_keys_are_split() {
        let split = Schedule { parts: 8.0, ..PLAIN };
        assert!(time(1.0, 1.0, 8192.0, split) < time(1.0, 1.0, 8192.0, PLAIN));
        assert!(time(1.0, 1.0, 128.0, split) > time(1.0, 1.0, 128.0, PLAIN));
        assert!(time(8.0, 1024.0, 1024.0, split) > time(8.0, 1024.0, 1024.0, PLAIN));
    }

    #[test]
    fn no_time_is_below_that_of_the_memory() {
        let rows = 2.0 * 16.0 * (1.0 + 65_536.0) * 256.0 / 4_800.0;
        assert!(time(1.0, 1.0, 65_536.0, Schedule { parts: 64.0, ..PLAIN }) > rows);
    }
}
