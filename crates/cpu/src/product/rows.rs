//! The loops around the microkernels: `C = A B`, cut into tasks, cache blocks and tiles.
//!
//! The loops read A in place through [`Rows`]; B is packed in panels. A task owns a block of rows and columns of C. It
//! splits the inner dimension into blocks so that the panels stay in the L2 cache while it loops over the rows; for one
//! tile of rows, which stays in the L1 cache, it computes all panels of the block. Block borders, and with them the
//! results, depend on sizes only, never on the number of threads.
#![allow(unsafe_code, reason = "tasks write disjoint tiles of one result")]

use std::ops::Range;

use smallvec::SmallVec;

use crate::launch::Workers;
use crate::pointwise::column::Column;
use crate::product::blocks::Blocks;
use crate::product::epilogue::{Epilogue, Rest};
use crate::product::panel::WIDTH;
use crate::product::tile::{MAX_PANELS, MAX_ROWS, Start, Tap, Tile, panels_for, row_steps};
use crate::tier::Tier;

/// Multiply-adds below which a task is not worth sharing.
pub(super) const WORTH_SHARING: usize = 64 * 1024;
/// Most taps of one tile: their list lies on the stack.
const STACK_TAPS: usize = 64;

/// The left operand: `count` rows, each the concatenation of `taps` slices of `inner` elements.
pub trait Rows: Sync {
    /// Where a row begins.
    type Position: Copy;
    /// Number of rows.
    fn count(&self) -> usize;
    /// Slices per row.
    fn taps(&self) -> usize;
    /// Elements per slice.
    fn inner(&self) -> usize;
    /// Where this row begins.
    fn position(&self, row: usize) -> Self::Position;
    /// The slice of a row at a tap; at least `inner` elements.
    fn slice(&self, position: Self::Position, tap: usize) -> &[f32];
}

/// A matrix whose rows lie `step` elements apart, or a block of its rows.
pub struct Matrix<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Index of the row at the start of `data`; callers do not request rows before it.
    pub first: usize,
    /// Number of rows of the whole matrix.
    pub rows: usize,
    /// Elements per row.
    pub inner: usize,
    /// Distance between rows.
    pub step: usize,
}

impl Rows for Matrix<'_> {
    type Position = usize;

    fn count(&self) -> usize {
        self.rows
    }

    fn taps(&self) -> usize {
        1
    }

    fn inner(&self) -> usize {
        self.inner
    }

    #[inline]
    fn position(&self, row: usize) -> usize {
        (row - self.first) * self.step
    }

    #[inline]
    fn slice(&self, position: usize, _tap: usize) -> &[f32] {
        &self.data[position..position + self.inner]
    }
}

/// A product to compute.
pub struct RowProduct<'a, 'e, R> {
    /// Left operand.
    pub a: &'a R,
    /// Right operand in panels, inner dimension `taps * inner`.
    pub b: &'a [f32],
    /// Columns of B and C.
    pub columns: usize,
    /// Distance between rows of C.
    pub step: usize,
    /// The epilogue of the sums.
    pub epilogue: &'a Epilogue<'e>,
    /// How it is cut.
    pub blocks: Blocks,
}

/// The result, or a block of it, shared by tasks that write disjoint tiles.
pub(super) struct Output {
    start: *mut f32,
    length: usize,
    /// The row and the column of the product at `start`; tasks compute none before them.
    origin: (usize, usize),
}

// SAFETY: tasks write disjoint tiles, see `RowProduct::compute`.
unsafe impl Sync for Output {}

/// A block of the inner dimension: some taps, or some elements of the only one.
pub(super) struct InnerBlock {
    taps: Range<usize>,
    elements: Range<usize>,
    is_first: bool,
    pub(super) is_last: bool,
}

/// A tile of rows, to be done with all panels of a block.
pub(super) struct RowTile<'a> {
    pub(super) rows: Range<usize>,
    pub(super) panels: &'a Range<usize>,
    pub(super) inner_block: &'a InnerBlock,
    pub(super) target: &'a Output,
}

/// The tiles of some rows. A tile of more rows than are left repeats the last row; a smaller kernel would rarely help.
pub(super) fn tiles(tier: Tier, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut row = rows.start;
    std::iter::from_fn(move || {
        let left = rows.end.checked_sub(row).filter(|left| *left > 0)?;
        let count = *row_steps(tier).iter().find(|&&s| s <= left).unwrap_or(&1);
        row += count;
        Some(row - count..row)
    })
}

impl<R: Rows> RowProduct<'_, '_, R> {
    /// Computes C: row r at `r * step`.
    ///
    /// # Panics
    /// When `c` or the packed operand are too short.
    pub fn compute(&self, tier: Tier, workers: &dyn Workers, c: &mut [f32]) {
        let Some(target) = self.target(c) else { return };
        let (row_blocks, panel_blocks) = self.blocks();
        let each = |task: usize| self.task(tier, task / panel_blocks, task % panel_blocks, &target);
        if self.work() < WORTH_SHARING || workers.count() < 2 {
            (0..row_blocks * panel_blocks).for_each(each);
        } else {
            workers.run(row_blocks * panel_blocks, &each);
        }
    }

    /// The memory of the result; `None` when it has no elements.
    ///
    /// # Panics
    /// When it or the packed operand are too short.
    pub(super) fn target(&self, c: &mut [f32]) -> Option<Output> {
        let (rows, columns) = (self.a.count(), self.columns);
        if rows == 0 || columns == 0 {
            return None;
        }
        assert!(c.len() >= (rows - 1) * self.step + columns && columns <= self.step, "the result has another size");
        let packed = columns.div_ceil(WIDTH) * WIDTH * self.a.taps() * self.a.inner();
        assert!(self.b.len() >= packed, "the packed operand has another size");
        Some(Output { start: c.as_mut_ptr(), length: c.len(), origin: (0, 0) })
    }

    /// The memory of some rows and panels of the result, which holds nothing else; the distance between its rows is the
    /// product's.
    ///
    /// # Panics
    /// When it or the packed operand are too short.
    pub(super) fn part(&self, rows: &Range<usize>, panels: &Range<usize>, c: &mut [f32]) -> Output {
        let first = panels.start * WIDTH;
        let columns = self.columns.min(panels.end * WIDTH).saturating_sub(first);
        assert!(rows.end <= self.a.count(), "rows beyond the left operand");
        assert!(rows.is_empty() || c.len() >= (rows.len() - 1) * self.step + columns, "the part has another size");
        let packed = self.columns.div_ceil(WIDTH) * WIDTH * self.a.taps() * self.a.inner();
        assert!(self.b.len() >= packed, "the packed operand has another size");
        Output { start: c.as_mut_ptr(), length: c.len(), origin: (rows.start, first) }
    }

    /// Computes some rows into memory of their own, on the calling thread.
    ///
    /// # Panics
    /// When the memory or the packed operand are too short.
    pub fn compute_rows(&self, tier: Tier, rows: Range<usize>, c: &mut [f32]) {
        assert!(self.columns <= self.step, "the result has another size");
        let target = self.part(&rows, &(0..self.columns.div_ceil(WIDTH)), c);
        for panel_block in 0..self.blocks().1 {
            self.block(tier, rows.clone(), panel_block, &target);
        }
    }

    /// The panels of a block.
    pub(super) fn panels_of(&self, panel_block: usize) -> Range<usize> {
        let panels = self.columns.div_ceil(WIDTH);
        panel_block * self.blocks.panels..panels.min((panel_block + 1) * self.blocks.panels)
    }

    /// Multiply-adds.
    pub(super) fn work(&self) -> usize {
        self.a.count() * self.columns * (self.a.taps() * self.a.inner()).max(1)
    }

    /// Blocks of rows and of panels.
    pub(super) fn blocks(&self) -> (usize, usize) {
        (self.a.count().div_ceil(self.blocks.rows), self.columns.div_ceil(WIDTH).div_ceil(self.blocks.panels))
    }

    /// One block of rows and panels.
    pub(super) fn task(&self, tier: Tier, row_block: usize, panel_block: usize, target: &Output) {
        let rows = row_block * self.blocks.rows..self.a.count().min((row_block + 1) * self.blocks.rows);
        self.block(tier, rows, panel_block, target);
    }

    /// Blocks of the inner dimension.
    pub(super) fn inner_blocks(&self) -> impl Iterator<Item = InnerBlock> {
        let (taps, inner, most) = (self.a.taps(), self.a.inner(), self.blocks.inner);
        let taps_each = if taps > 1 { (most / inner.max(1)).clamp(1, STACK_TAPS) } else { 1 };
        let elements_each = if taps > 1 { inner.max(1) } else { most };
        (0..taps.max(1)).step_by(taps_each).flat_map(move |tap| {
            (0..inner.max(1)).step_by(elements_each).map(move |first| InnerBlock {
                taps: tap..taps.min(tap + taps_each),
                elements: first..inner.min(first + elements_each),
                is_first: tap + first == 0,
                is_last: tap + taps_each >= taps && first + elements_each >= inner,
            })
        })
    }

    /// Computes some rows of one block of panels. No other thread may compute them meanwhile.
    pub(super) fn block(&self, tier: Tier, rows: Range<usize>, panel_block: usize, target: &Output) {
        let panels = self.panels_of(panel_block);
        let mut columns = self.epilogue.rest.as_ref().map(Rest::columns);
        let columns = columns.as_deref_mut().unwrap_or_default();
        for inner_block in self.inner_blocks() {
            for rows in tiles(tier, rows.clone()) {
                let tile = RowTile { rows, panels: &panels, inner_block: &inner_block, target };
                self.row_tile(tier, &tile, columns);
            }
        }
    }

    /// The rows of a tile at some taps.
    fn taps(&self, tile: &RowTile<'_>) -> impl Iterator<Item = Tap<'_>> {
        let (row, count, elements) = (tile.rows.start, tile.rows.len(), tile.inner_block.elements.clone());
        let positions: [R::Position; MAX_ROWS] = std::array::from_fn(|r| self.a.position(row + r.min(count - 1)));
        let slice = move |tap: usize, r: usize| &self.a.slice(positions[r], tap)[elements.start..];
        let inner = tile.inner_block.elements.len();
        tile.inner_block.taps.clone().map(move |tap| Tap::new(count, inner, |r| slice(tap, r)))
    }

    /// All panels of the block for one tile of rows.
    pub(super) fn row_tile(&self, tier: Tier, tile: &RowTile<'_>, columns: &mut [Column]) {
        match self.taps(tile).next() {
            Some(tap) if tile.inner_block.taps.len() == 1 => self.panels(tier, tile, &[tap], columns),
            _ => self.row_tile_of_taps(tier, tile, columns),
        }
    }

    /// A function of its own: the list of taps is pages of stack, which matrices need not touch.
    #[inline(never)]
    fn row_tile_of_taps(&self, tier: Tier, tile: &RowTile<'_>, columns: &mut [Column]) {
        let mut taps: SmallVec<[Tap<'_>; STACK_TAPS]> = SmallVec::new();
        taps.extend(self.taps(tile));
        self.panels(tier, tile, &taps, columns);
    }

    fn panels(&self, tier: Tier, tile: &RowTile<'_>, taps: &[Tap<'_>], program_columns: &mut [Column]) {
        let RowTile { rows, panels, inner_block, target } = tile;
        let (row, count) = (rows.start, rows.len());
        let depth = self.a.taps() * self.a.inner();
        let skipped = (inner_block.taps.start * self.a.inner() + inner_block.elements.start) * WIDTH;
        let panel_step = depth * WIDTH;
        let mut panel = panels.start;
        while panel < panels.end {
            let taken = panels_for(tier, count, panels.end - panel);
            let first = panel * WIDTH;
            let width = (taken * WIDTH).min(self.columns - first);
            let padded = taken * WIDTH;
            let mut columns;
            let start = match self.epilogue.bias {
                _ if !inner_block.is_first => Start::Earlier,
                Some(bias) if width == padded => Start::Columns(&bias[first..first + width]),
                Some(bias) => {
                    columns = [0f32; MAX_PANELS * WIDTH];
                    columns[..width].copy_from_slice(&bias[first..first + width]);
                    Start::Columns(&columns)
                }
                None => Start::Zero,
            };
            let tile = Tile {
                taps,
                b: &self.b[panel * panel_step + skipped..],
                panel_step,
                start,
                clamp: if inner_block.is_last { self.epilogue.clamp } else { (f32::NEG_INFINITY, f32::INFINITY) },
            };
            let at = (row - target.origin.0) * self.step + first - target.origin.1;
            assert!(at + (count - 1) * self.step + width <= target.length, "a tile outside the result");
            if width == padded {
                // SAFETY: the tile lies inside the result, checked above; tasks have disjoint blocks of rows and
                // panels, and a task does its tiles one after the other.
                unsafe { tile.compute(tier, count, taken, target.start.add(at), self.step) };
            } else {
                self.narrow_tile(&tile, tier, count, width, at, target);
            }
            panel += taken;
        }
        if inner_block.is_last
            && let Some(rest) = &self.epilogue.rest
        {
            self.apply(tier, rest, tile, None, program_columns);
        }
    }

    /// Applies a program to the finished sums of a tile, row by row over all its panels, beside those of another product if
    /// the program has two.
    pub(super) fn apply(
        &self,
        tier: Tier,
        rest: &Rest<'_>,
        tile: &RowTile<'_>,
        other: Option<(&Self, &Output)>,
        columns: &mut [Column],
    ) {
        let first = tile.panels.start * WIDTH;
        let width = self.columns.min(tile.panels.end * WIDTH).saturating_sub(first);
        for row in tile.rows.clone() {
            let at = |product: &Self, target: &Output| {
                let at = (row - target.origin.0) * product.step + first - target.origin.1;
                assert!(at + width <= target.length, "a tile outside the result");
                at
            };
            // SAFETY: the row lies inside its memory, checked above; the tile is finished, no other reference to it exists,
            // and a task has its own rows and panels.
            let values = unsafe {
                let start = tile.target.start.add(at(self, tile.target));
                std::slice::from_raw_parts_mut(start, width)
            };
            let beside = other.map_or(&[][..], |(other, target)| {
                // SAFETY: as above, for the other product.
                unsafe { std::slice::from_raw_parts(target.start.add(at(other, target)), width) }
            });
            rest.apply_beside(tier, (row, first), values, beside, columns);
        }
    }

    /// A tile whose last panel is wider than the result: computed in a separate buffer, then copied.
    #[inline(never)]
    fn narrow_tile(&self, tile: &Tile<'_>, tier: Tier, count: usize, width: usize, at: usize, target: &Output) {
        let taken = width.div_ceil(WIDTH);
        let padded = taken * WIDTH;
        let mut apart = [0f32; MAX_ROWS * MAX_PANELS * WIDTH];
        // SAFETY: rows of the tile inside the result, see `row_tile`; no other thread uses them meanwhile.
        let row = |r: usize| unsafe { std::slice::from_raw_parts_mut(target.start.add(at + r * self.step), width) };
        if matches!(tile.start, Start::Earlier) {
            (0..count).for_each(|r| apart[r * padded..r * padded + width].copy_from_slice(row(r)));
        }
        // SAFETY: `apart` has room for the largest tile.
        unsafe { tile.compute(tier, count, taken, apart.as_mut_ptr(), padded) };
        (0..count).for_each(|r| row(r).copy_from_slice(&apart[r * padded..r * padded + width]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::panel::{pack, packed_len};
    use crate::team::Team;

    fn value(seed: usize, i: usize) -> f32 {
        ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0
    }

    /// Odd sizes around every block edge, against a plain product in f64.
    #[test]
    fn products_of_all_shapes() {
        let team = Team::new(2);
        let sizes = [
            (1, 1, 1),
            (1, 300, 5),
            (3, 130, 17),
            (13, 33, 257),
            (15, 31, 800),
            (97, 160, 3),
            (100, 49, 1600),
            (4, 4, 0),
            (7, 64, 64),
        ];
        for tier in Tier::ALL.iter().copied().filter(|t| *t <= Tier::detected()) {
            for (rows, columns, inner) in sizes {
                let a: Vec<f32> = (0..rows * inner).map(|i| value(1, i)).collect();
                let b: Vec<f32> = (0..inner * columns).map(|i| value(2, i)).collect();
                let bias: Vec<f32> = (0..columns).map(|i| value(3, i)).collect();
                let mut packed = vec![f32::NAN; packed_len(inner, columns)];
                pack(inner, columns, |k| (&b[k * columns..], 1), &mut packed);
                let step = columns + 3;
                let mut c = vec![7.5; rows * step];
                let epilogue = Epilogue { bias: Some(&bias), clamp: (-3.0, 1e9), rest: None };
                let a_rows = Matrix { data: &a, first: 0, rows, inner, step: inner };
                for blocks in Blocks::all() {
                    c.fill(7.5);
                    let product = RowProduct { a: &a_rows, b: &packed, columns, step, epilogue: &epilogue, blocks };
                    product.compute(tier, &team, &mut c);
                    for i in 0..rows {
                        for j in 0..columns {
                            let terms = (0..inner).map(|p| f64::from(a[i * inner + p]) * f64::from(b[p * columns + j]));
                            let exact = (f64::from(bias[j]) + terms.sum::<f64>()).max(-3.0);
                            let found = f64::from(c[i * step + j]);
                            assert!(
                                (found - exact).abs() < 1e-5 * (inner as f64).sqrt().max(1.0),
                                "{tier:?} {rows}x{columns}x{inner} in {blocks:?} ({i}, {j}): {found} {exact}"
                            );
                        }
                        let beyond = &c[i * step + columns..(i + 1) * step];
                        assert!(beyond.iter().all(|v| *v == 7.5), "wrote beyond a row");
                    }
                }
            }
        }
    }
}
