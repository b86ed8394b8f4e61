//! The blocked f32 product `C = A B (+ what C holds)`, shared by matrix products and convolutions.
//!
//! C is cut into blocks of rows and columns, one task each. A task packs strips of A and B for a block of the inner
//! dimension that fits the L2 cache and runs the microkernel over the tiles of its block. [`Source`] reads A and B: a
//! strided matrix, or windows of an image that are never materialized. The order of sums depends on sizes only, never
//! on the number of threads.

use std::sync::Mutex;

use smallvec::SmallVec;

use crate::launch::{Scratch, Workers};
use crate::matmul::microkernel::{MAX_TILE, Tile, tile_product};
use crate::tier::Tier;

/// Inner dimension of one packed block: a strip of B of this depth stays in the L1 cache.
const DEPTH: usize = 256;
/// Rows of C per task, about.
const BLOCK_ROWS: usize = 112;
/// Columns of C per task, about.
const BLOCK_COLUMNS: usize = 256;
/// Most locks on parts of C: few enough for the stack.
const LOCKS: usize = 64;

/// A matrix that can write parts of itself.
pub trait Source: Sync {
    /// Writes `count` consecutive elements of the column or row with index `lane` (see [`Product`]), at inner positions
    /// `first..first + count`, with a stride of `step` elements into `target`.
    fn pack(&self, lane: usize, first: usize, count: usize, target: &mut [f32], step: usize);
}

/// Elements of a slice with a stride along lanes and along the inner dimension.
pub struct Strided<'a> {
    /// The elements.
    pub data: &'a [f32],
    /// Distance between lanes: rows of A, columns of B.
    pub lane: usize,
    /// Distance along the inner dimension.
    pub inner: usize,
}

impl Source for Strided<'_> {
    #[inline]
    fn pack(&self, lane: usize, first: usize, count: usize, target: &mut [f32], step: usize) {
        let start = lane * self.lane + first * self.inner;
        // Nothing is read where there is nothing to sum.
        let source = self.data.get(start..).unwrap_or_default().iter().step_by(self.inner.max(1));
        target.iter_mut().step_by(step).zip(source).take(count).for_each(|(t, s)| *t = *s);
    }
}

/// A product to compute. Lanes of `a` are rows of C, lanes of `b` are columns.
pub struct Product<'a> {
    /// Rows of C.
    pub rows: usize,
    /// Columns of C.
    pub columns: usize,
    /// Terms per element.
    pub inner: usize,
    /// Left operand.
    pub a: &'a dyn Source,
    /// Right operand.
    pub b: &'a dyn Source,
    /// Added to every element of a row.
    pub row_bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Computes C, row-major without gaps.
    ///
    /// # Panics
    /// When `c` has another length than rows times columns.
    pub fn compute(&self, tier: Tier, workers: &dyn Workers, scratch: &Scratch, c: &mut [f32]) {
        assert_eq!(c.len(), self.rows * self.columns, "the result has another size");
        if c.is_empty() {
            return;
        }
        let tile = Tile::of(tier);
        let block_rows = BLOCK_ROWS.next_multiple_of(tile.rows).min(self.rows.next_multiple_of(tile.rows));
        let row_blocks = self.rows.div_ceil(block_rows);
        let column_blocks = self.columns.div_ceil(BLOCK_COLUMNS);
        // Row blocks are separate memory. Column blocks of a row block share its rows and run one after the other,
        // unless there are fewer row blocks than workers.
        let split_columns = row_blocks < 2 * workers.count() && column_blocks > 1;
        let widest = self.columns.min(BLOCK_COLUMNS);
        let depth = self.inner.min(DEPTH);
        let a_len = block_rows * depth;
        let b_len = widest.next_multiple_of(tile.columns) * depth;
        // A task's strips of A and B, and its block of C where columns are split.
        let needed = a_len + b_len + if split_columns { block_rows * widest } else { 0 };
        scratch.reserve::<f32>(workers.count(), needed);
        if !split_columns {
            let bands = Mutex::new(c.chunks_mut(block_rows * self.columns).enumerate());
            workers.run(row_blocks, &|_| {
                let next = bands.lock().ok().and_then(|mut bands| bands.next());
                let Some((band, rows)) = next else { return };
                let mut buffer = scratch.allocate(needed);
                let strips = buffer.split_at_mut(a_len);
                for block in 0..column_blocks {
                    let first = (band * block_rows, block * BLOCK_COLUMNS);
                    self.block(tier, first, (&mut *strips.0, &mut *strips.1), &mut |i, j, value| {
                        store(&mut rows[i * self.columns + j..], value);
                    });
                }
            });
            return;
        }
        let grouped = row_blocks.div_ceil(LOCKS);
        let bands = c.chunks_mut(grouped * block_rows * self.columns).map(Mutex::new);
        let bands: SmallVec<[Mutex<&mut [f32]>; LOCKS]> = bands.collect();
        workers.run(row_blocks * column_blocks, &|task| {
            let (band, block) = (task / column_blocks, task % column_blocks);
            // Computes into a separate buffer, then copies under the band's lock: columns of several tasks lie in the
            // same rows.
            let first = block * BLOCK_COLUMNS;
            let width = BLOCK_COLUMNS.min(self.columns - first);
            let height = block_rows.min(self.rows - band * block_rows);
            let mut buffer = scratch.allocate(needed);
            let (a_strips, rest) = buffer.split_at_mut(a_len);
            let (b_strips, apart) = rest.split_at_mut(b_len);
            let apart = &mut apart[..width * height];
            self.block(tier, (band * block_rows, first), (a_strips, b_strips), &mut |i, j, value| {
                store(&mut apart[i * width + j - first..], value);
            });
            if let Ok(mut rows) = bands[band / grouped].lock() {
                for (i, row) in apart.chunks(width).enumerate() {
                    let at = (band % grouped * block_rows + i) * self.columns + first;
                    rows[at..at + width].copy_from_slice(row);
                }
            }
        });
    }

    /// One block of C; `put(row in the block, column, values)` takes segments of rows, each one or more times: the
    /// first call replaces, later calls add.
    fn block(
        &self,
        tier: Tier,
        (first_row, first_column): (usize, usize),
        (a_strips, b_strips): (&mut [f32], &mut [f32]),
        put: &mut dyn FnMut(usize, usize, RowSegment<'_>),
    ) {
        let tile = Tile::of(tier);
        let rows = (self.rows - first_row).min(BLOCK_ROWS.next_multiple_of(tile.rows));
        let columns = (self.columns - first_column).min(BLOCK_COLUMNS);
        for first in (0..self.inner.max(1)).step_by(DEPTH) {
            let depth = DEPTH.min(self.inner - first.min(self.inner));
            pack_strips(self.a, first_row, rows, first, depth, tile.rows, a_strips);
            pack_strips(self.b, first_column, columns, first, depth, tile.columns, b_strips);
            for (bj, j) in (0..columns).step_by(tile.columns).enumerate() {
                let b = &b_strips[bj * depth * tile.columns..];
                for (bi, i) in (0..rows).step_by(tile.rows).enumerate() {
                    let a = &a_strips[bi * depth * tile.rows..];
                    let mut c = [0.0; MAX_TILE];
                    tile_product(tier, depth, a, b, &mut c);
                    let width = tile.columns.min(columns - j);
                    for row in 0..tile.rows.min(rows - i) {
                        let values = &c[row * tile.columns..row * tile.columns + width];
                        let base = match (first, self.row_bias) {
                            (0, Some(bias)) => Base::Constant(bias[first_row + i + row]),
                            (0, None) => Base::Constant(0.0),
                            _ => Base::Earlier,
                        };
                        put(i + row, first_column + j, RowSegment { values, base });
                    }
                }
            }
        }
    }
}

/// The initial value of a segment of a row.
#[derive(Clone, Copy)]
enum Base {
    Constant(f32),
    Earlier,
}

struct RowSegment<'a> {
    values: &'a [f32],
    base: Base,
}

#[inline]
fn store(target: &mut [f32], segment: RowSegment<'_>) {
    let pairs = target.iter_mut().zip(segment.values);
    match segment.base {
        Base::Constant(base) => pairs.for_each(|(t, v)| *t = base + v),
        Base::Earlier => pairs.for_each(|(t, v)| *t += v),
    }
}

/// Packs lanes `first_lane..first_lane + lanes` in strips of `width`; missing lanes of the last strip are zero.
fn pack_strips(
    source: &dyn Source,
    first_lane: usize,
    lanes: usize,
    first: usize,
    depth: usize,
    width: usize,
    strips: &mut [f32],
) {
    for (strip, lane) in (0..lanes).step_by(width).enumerate() {
        let target = &mut strips[strip * depth * width..(strip + 1) * depth * width];
        for offset in 0..width {
            if lane + offset < lanes {
                source.pack(first_lane + lane + offset, first, depth, &mut target[offset.min(depth * width)..], width);
            } else {
                target.iter_mut().skip(offset).step_by(width).for_each(|t| *t = 0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::team::Team;

    /// Odd sizes around every block edge, against a plain product in f64.
    #[test]
    fn products_of_all_shapes() {
        let team = Team::new(2);
        let sizes = [
            (1, 1, 1),
            (1, 300, 5),
            (13, 33, 257),
            (15, 31, 512),
            (130, 7, 3),
            (225, 270, 40),
            (4, 4, 0),
            (112, 256, 300),
        ];
        for tier in Tier::ALL.iter().copied().filter(|t| *t <= Tier::detected()) {
            for (rows, columns, inner) in sizes {
                let value = |seed: usize, i: usize| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0;
                let a: Vec<f32> = (0..rows * inner).map(|i| value(1, i)).collect();
                let b: Vec<f32> = (0..inner * columns).map(|i| value(2, i)).collect();
                let bias: Vec<f32> = (0..rows).map(|i| value(3, i)).collect();
                let mut c = vec![f32::NAN; rows * columns];
                Product {
                    rows,
                    columns,
                    inner,
                    a: &Strided { data: &a, lane: inner, inner: 1 },
                    b: &Strided { data: &b, lane: 1, inner: columns },
                    row_bias: Some(&bias),
                }
                .compute(tier, &team, &Scratch::default(), &mut c);
                for i in 0..rows {
                    for j in 0..columns {
                        let terms = (0..inner).map(|p| f64::from(a[i * inner + p]) * f64::from(b[p * columns + j]));
                        let exact = f64::from(bias[i]) + terms.sum::<f64>();
                        let found = f64::from(c[i * columns + j]);
                        assert!(
                            (found - exact).abs() < 1e-5 * (inner as f64).sqrt().max(1.0),
                            "{tier:?} {rows}x{columns}x{inner} ({i}, {j}): {found} {exact}"
                        );
                    }
                }
            }
        }
    }
}
