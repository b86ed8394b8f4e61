//! Two products of the same rows whose sums meet in a pointwise program: the gated half of a feed-forward layer.
//!
//! A task computes the same panels of both products, tile by tile, and applies the program to a tile of rows while both
//! sums are in the nearest cache. The sums of one product lie in the task's scratch buffer, those of the other one in
//! the result: no intermediate matrix is ever stored. Both products are summed in the order of [`RowProduct`].

use std::ops::Range;

use crate::launch::{Scratch, Workers};
use crate::product::epilogue::Rest;
use crate::product::panel::WIDTH;
use crate::product::rows::{Output, RowProduct, RowTile, Rows, WORTH_SHARING, tiles};
use crate::tier::Tier;

/// See the module documentation.
pub struct GatedProduct<'a, 'e, R> {
    /// The product whose sums the program reads beside the others. It has no epilogue.
    pub beside: RowProduct<'a, 'e, R>,
    /// The product whose sums the program replaces. It has the sizes of the first, and no epilogue.
    pub product: RowProduct<'a, 'e, R>,
    /// The program.
    pub rest: &'a Rest<'e>,
    /// Allocator of the buffers for sums.
    pub scratch: &'a Scratch,
}

impl<R: Rows> GatedProduct<'_, '_, R> {
    /// Computes the result: row r at `r * step` of the second product.
    ///
    /// # Panics
    /// When `c` or a packed operand are too short, or the products have different sizes.
    pub fn compute(&self, tier: Tier, workers: &dyn Workers, c: &mut [f32]) {
        let (beside, product) = (&self.beside, &self.product);
        let sizes = |p: &RowProduct<'_, '_, R>| (p.a.count(), p.columns, p.a.taps() * p.a.inner(), p.blocks);
        assert_eq!(sizes(beside), sizes(product), "products of different sizes");
        let Some(target) = product.target(c) else { return };
        let (row_blocks, panel_blocks) = product.blocks();
        let rows = product.blocks.rows.min(product.a.count());
        let panels = product.blocks.panels.min(product.columns.div_ceil(WIDTH));
        let most = rows * panels * WIDTH;
        self.scratch.reserve::<f32>(workers.count(), most);
        let each = |task: usize| {
            // Blocks at the border are smaller; buffers of one size serve all tasks.
            let mut sums = self.scratch.allocate::<f32>(most);
            let first = task / panel_blocks * product.blocks.rows;
            let rows = first..product.a.count().min(first + product.blocks.rows);
            self.block(tier, rows, task % panel_blocks, (&target, &mut sums));
        };
        if 2 * product.work() < WORTH_SHARING || workers.count() < 2 {
            (0..row_blocks * panel_blocks).for_each(each);
        } else {
            workers.run(row_blocks * panel_blocks, &each);
        }
    }

    /// Computes a block of rows and panels; `sums` has memory for one product of them.
    fn block(&self, tier: Tier, rows: Range<usize>, panel_block: usize, (target, sums): (&Output, &mut [f32])) {
        let product = &self.product;
        let panels = product.panels_of(panel_block);
        let width = panels.len() * WIDTH;
        let beside = RowProduct { step: width, ..self.beside };
        let sums = beside.part(&rows, &panels, sums);
        let mut columns = self.rest.columns();
        for inner_block in product.inner_blocks() {
            for rows in tiles(tier, rows.clone()) {
                let tile = RowTile { rows: rows.clone(), panels: &panels, inner_block: &inner_block, target: &sums };
                beside.row_tile(tier, &tile, &mut []);
                let tile = RowTile { target, ..tile };
                product.row_tile(tier, &tile, &mut []);
                if inner_block.is_last {
                    product.apply(tier, self.rest, &tile, Some((&beside, &sums)), &mut columns);
                }
            }
        }
    }
}
