//! Batched sibling products: several products of the same rows in one dispatch of the team, with an optional prologue.
//!
//! Tasks of one block of rows run one after the other, whichever product they belong to, because the rows are in the
//! cache then. A prologue, which is a program or another kernel, may compute the rows: a task computes a block of rows
//! in its scratch buffer and all products of the block. Such blocks are shorter, so that they stay in the nearer caches
//! and every worker gets some; rows that fit into one block are all computed first, and the tasks of the products
//! follow. No result depends on the borders of blocks of rows.

use std::ops::Range;

use sinter_backend::KernelError;
use smallvec::SmallVec;

use crate::launch::{Launch, Scratch, Workers};
use crate::product::blocks::Blocks;
use crate::product::epilogue::{Plan, Rest};
use crate::product::rows::{Matrix, Output, RowProduct, Rows, WORTH_SHARING};
use crate::tier::Tier;

/// Elements of a block of rows that a prologue computes: half of a second-level cache of 512 KiB.
const MADE_ELEMENTS: usize = 64 * 1024;
/// Blocks for each worker: a block reads all weights, and one late worker should not delay the others.
const BLOCKS_PER_WORKER: usize = 2;
/// Rows of the largest tile.
const TILE_ROWS: usize = 8;

/// Rows that a prologue computes.
pub trait MadeRows: Sync {
    /// Number of rows.
    fn count(&self) -> usize;

    /// Elements of a row.
    fn inner(&self) -> usize;

    /// Allocator of the buffers for blocks.
    fn scratch(&self) -> &Scratch;

    /// Computes some rows, one after the other.
    fn make(&self, tier: Tier, rows: Range<usize>, made: &mut [f32]);
}

/// Rows per block, for so many rows of so many elements: as many blocks for each worker, so that none waits for the last one.
fn block_of(rows: usize, inner: usize, workers: usize) -> usize {
    let fitting = (MADE_ELEMENTS / inner.max(1)).min(Blocks::default().rows) / TILE_ROWS * TILE_ROWS;
    let least = rows.div_ceil(fitting.max(TILE_ROWS)).max(BLOCKS_PER_WORKER * workers);
    let block = rows.div_ceil(least.next_multiple_of(workers.max(1)));
    block.next_multiple_of(TILE_ROWS).max(TILE_ROWS)
}

/// Reserves scratch memory for the blocks of all threads.
pub fn reserve(scratch: &Scratch, workers: &dyn Workers, rows: usize, inner: usize) {
    scratch.reserve::<f32>(workers.count(), block_of(rows, inner, workers.count()).min(rows) * inner);
}

/// A pointwise program that computes rows from the rows of an operand.
pub struct Prologue<'a> {
    /// The elements of the operand.
    pub data: &'a [f32],
    /// Elements per row.
    pub inner: usize,
    /// Distance between rows.
    step: usize,
    /// Number of rows.
    pub rows: usize,
    rest: Rest<'a>,
    scratch: &'a Scratch,
}

impl<'a> Prologue<'a> {
    /// Binds the operands of a launch; operand `source` holds the source rows.
    ///
    /// # Errors
    /// When an operand's sizes do not follow those of the rows.
    pub fn bind<'s: 'a, 'b: 'a>(plan: &'s Plan, source: usize, launch: &Launch<'a, 'b>) -> Result<Self, KernelError> {
        let view = launch.input(source)?;
        let sizes = view.sizes();
        let (data, inner) = (view.span::<f32>(), sizes.last().copied().unwrap_or(1));
        let missing = || KernelError::Recipe("a buffer alias whose rows are no rows of its base buffer".to_owned());
        let step = view.step_of(inner).ok_or_else(missing)?;
        let rest = plan.bind(launch, sizes)?.rest;
        let rest = rest.ok_or_else(|| KernelError::Recipe("a prologue without a program".to_owned()))?;
        let rows = sizes.iter().rev().skip(1).product();
        reserve(launch.scratch, launch.workers, rows, inner);
        Ok(Self { data, inner, step, rows, rest, scratch: launch.scratch })
    }
}

impl MadeRows for Prologue<'_> {
    fn count(&self) -> usize {
        self.rows
    }

    fn inner(&self) -> usize {
        self.inner
    }

    fn scratch(&self) -> &Scratch {
        self.scratch
    }

    fn make(&self, tier: Tier, rows: Range<usize>, made: &mut [f32]) {
        let mut columns = self.rest.columns();
        for (row, values) in rows.zip(made.chunks_exact_mut(self.inner.max(1))) {
            values.copy_from_slice(&self.data[row * self.step..][..self.inner]);
            self.rest.apply(tier, row, 0, values, &mut columns);
        }
    }
}

/// One of the sibling products, and the memory of its result.
type Branch<'a, 'e, 'c, R> = (RowProduct<'a, 'e, R>, &'c mut [f32]);

/// Computes all products. The rows of `made`, if any, replace the left operands of the products.
///
/// # Panics
/// When a result or a packed operand is too short, or `made` has other sizes than the left operands.
pub fn compute<'a, 'e: 'a, 'c, R: Rows + 'a>(
    branches: impl Iterator<Item = Branch<'a, 'e, 'c, R>>,
    made: Option<&dyn MadeRows>,
    tier: Tier,
    workers: &dyn Workers,
) {
    let branches: SmallVec<[(RowProduct<'a, 'e, R>, Output); 4]> =
        branches.filter_map(|(product, c)| product.target(c).map(|target| (product, target))).collect();
    let is_small = branches.iter().map(|(product, _)| product.work()).sum::<usize>() < WORTH_SHARING;
    let run = |tasks: usize, each: &(dyn Fn(usize) + Sync)| match is_small || workers.count() < 2 {
        true => (0..tasks).for_each(each),
        false => workers.run(tasks, each),
    };
    let Some(source) = made else { return by_panels(&branches, tier, &run) };
    let same = |product: &RowProduct<'_, '_, R>| {
        (product.a.count(), product.a.taps() * product.a.inner()) == (source.count(), source.inner())
    };
    assert!(branches.iter().all(|(product, _)| same(product)), "the prologue computes rows of other sizes");
    if branches.is_empty() {
        return;
    }
    let (count, inner) = (source.count(), source.inner());
    let block = block_of(count, inner, workers.count());
    if count <= block && !is_small {
        let mut made = source.scratch().allocate::<f32>(count * inner);
        source.make(tier, 0..count, &mut made);
        let a = Matrix { data: &made, first: 0, rows: count, inner, step: inner };
        let of_made = |(RowProduct { b, columns, step, epilogue, blocks, .. }, target)| {
            (RowProduct { a: &a, b, columns, step, epilogue, blocks }, target)
        };
        let branches: SmallVec<[(RowProduct<'_, 'e, Matrix<'_>>, Output); 4]> =
            branches.into_iter().map(of_made).collect();
        return by_panels(&branches, tier, &run);
    }
    run(count.div_ceil(block), &|task| {
        let rows = task * block..count.min((task + 1) * block);
        let mut made = source.scratch().allocate::<f32>(rows.len() * inner);
        source.make(tier, rows.clone(), &mut made);
        let a = Matrix { data: &made, first: rows.start, rows: count, inner, step: inner };
        for (product, target) in &branches {
            let RowProduct { b, columns, step, epilogue, blocks, .. } = *product;
            let product = RowProduct { a: &a, b, columns, step, epilogue, blocks };
            for panel_block in 0..product.blocks().1 {
                product.block(tier, rows.clone(), panel_block, target);
            }
        }
    });
}

/// Runs a number of tasks.
type Run<'r> = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + 'r;

/// Computes all products of rows that lie in memory; a task is a block of rows and panels.
fn by_panels<R: Rows>(branches: &[(RowProduct<'_, '_, R>, Output)], tier: Tier, run: &Run<'_>) {
    let row_blocks = branches.iter().map(|(product, _)| product.blocks().0).max().unwrap_or(0);
    let panel_blocks = branches.iter().map(|(product, _)| product.blocks().1).sum::<usize>();
    run(row_blocks * panel_blocks, &|task| {
        let (row_block, mut panel_block) = (task / panel_blocks, task % panel_blocks);
        for (product, target) in branches {
            let (own_rows, own_panels) = product.blocks();
            if panel_block < own_panels {
                if row_block < own_rows {
                    product.task(tier, row_block, panel_block, target);
                }
                return;
            }
            panel_block -= own_panels;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_get_as_many_blocks_of_rows() {
        let blocks = |rows: usize, inner, workers| rows.div_ceil(block_of(rows, inner, workers));
        assert_eq!(blocks(128, 3072, 2), 8);
        assert_eq!(blocks(128, 768, 2), 4);
        assert_eq!(blocks(1, 768, 2), 1);
        assert_eq!(blocks(0, 0, 1), 0);
        for workers in 1..9 {
            assert_eq!(blocks(8 * 5 * 7 * 9 * 64, 4096, workers) % workers, 0, "{workers}");
        }
    }
}
