//! `cuda.matmul.wgmma`: products of f16 and bf16 by the copy engine and the warpgroup products of compute capability 9.0, with
//! an epilogue.
//!
//! Sums are in f32. A product of few rows runs with its operands swapped, and with the blocks of a cluster sharing k, so that
//! all multiprocessors read the weights. Operands whose rows are not aligned to 16 bytes have no tensor map: a launch on such
//! runs the function of the older tier that the code contains too.

use sinter_backend::{Candidate, Code, KernelError, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_ops::OpKind;
use smallvec::{SmallVec, smallvec};

use crate::driver::tensor_map::{Swizzle, Tile as Copied};
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, TensorMap};
use crate::matmul::cost::ranked;
use crate::matmul::group_tile::{GROUP, ISA, STEP, Tile};
use crate::matmul::mma::is_aligned;
use crate::matmul::stacked::{Product, Side, Stacked};
use crate::tactic::{CudaTactic, compiled};

/// See the module documentation.
pub struct Wgmma;

const NAME: &str = "cuda.matmul.wgmma";
/// Sizes and coordinates of the copy engine at most.
const MOST: usize = 1 << 30;
/// Candidates of a product: the model is not exact, and more would take long to compile.
const MOST_CANDIDATES: usize = 12;

/// May a product run with this tile?
fn takes(tile: Tile, product: &Product) -> bool {
    let [a, b] = product.inner;
    let right = if tile.swapped { a } else { b };
    right || tile.width.is_multiple_of(GROUP)
}

impl Tactic for Wgmma {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::MatMul]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let product = Product::of(problem.region)?;
        if problem.target.isa != ISA {
            return Err(Refusal::new("needs compute capability 9.0"));
        }
        let extent = product.extent(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let tiles = Tile::all().filter(|tile| takes(*tile, &product) && tile.suits(extent));
        let ways = tiles.map(|tile| (tile.parameters(), tile.schedule(product.epilogue.wholes())));
        Ok(ranked(self, (extent, product.data_type), problem.target, ways, most.min(MOST_CANDIDATES)))
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }
}

impl CudaTactic for Wgmma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let (product, tile) = (Product::of(region)?, Tile::of_parameters(&recipe.parameters)?);
        match takes(tile, &product) {
            true => Ok(Box::new(WgmmaKernel { product, tile })),
            false => Err(Refusal::new("the right operand of the instruction is no panel of 64 rows")),
        }
    }
}

struct WgmmaKernel {
    product: Product,
    tile: Tile,
}

/// The functions of the text.
const TILES: usize = 0;
const ANY: usize = 1;
/// Rows and columns, threads and shared memory of the second one.
const SMALL: (usize, u32, u32) = (64, 128, 3 * 2 * 64 * 128);

impl WgmmaKernel {
    /// The map of an operand, whose tiles have this many rows.
    fn map(&self, stacked: &Stacked, side: usize, tile_rows: usize) -> Option<TensorMap> {
        let Side { address, stride, size, count } = stacked.sides[side];
        let rows = if side == 0 { stacked.m } else { stacked.n };
        let inner = self.product.inner[side];
        let (x, y) = if inner { (stacked.k, rows) } else { (rows, stacked.k) };
        let number = |value: usize| u32::try_from(value).ok();
        let tile = if inner { (STEP, tile_rows) } else { (GROUP, STEP) };
        // Where all rows count as those of one matrix, they are those of all matrices in memory.
        let (count, size) = if x * y > size { (1, x * y) } else { (count, size) };
        Some(TensorMap {
            data_type: self.product.data_type,
            address,
            sizes: smallvec![x as u64, y as u64, count as u64],
            strides: smallvec![stride as u64 * 2, size as u64 * 2],
            tile: Copied::Box(smallvec![number(tile.0)?, number(tile.1)?, 1]),
            swizzle: Swizzle::Bytes128,
        })
    }

    /// The maps of both operands, where the copy engine can describe them.
    fn maps(&self, stacked: &Stacked) -> Option<[TensorMap; 2]> {
        let (rows, columns) = self.tile.sides();
        let small = [stacked.m, stacked.n, stacked.k].iter().all(|size| *size < MOST);
        if !small || stacked.k == 0 || !stacked.sides.iter().all(is_aligned) {
            return None;
        }
        let maps = [self.map(stacked, 0, rows)?, self.map(stacked, 1, columns)?];
        maps.iter().all(|map| map.check().is_ok()).then_some(maps)
    }
}

impl Kernel for WgmmaKernel {
    fn configuration(&self) -> String {
        format!("{NAME} 2 {} {}", self.tile.configuration(), self.product.configuration())
    }

    fn source(&self) -> Source {
        let Product { data_type, inner, has_weights, .. } = self.product;
        let tile = self.tile.generated(data_type, inner, has_weights);
        let generated = self.product.epilogue.generated() + &tile;
        Source { generated, text: include_str!("wgmma.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["tiles", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let Some(stacked) = self.product.stacked(launch)? else { return Ok(()) };
        let Some(maps) = self.maps(&stacked) else {
            let (side, threads, shared) = SMALL;
            let geometry = Geometry { grid: [stacked.tiles(side, side)?, 1, 1], threads, shared };
            return launch.sink.run(ANY, geometry, &stacked.words);
        };
        let (rows, columns) = self.tile.sides();
        let tiles = stacked.tiles(rows, columns)?;
        let mut words: SmallVec<[u64; 160]> = SmallVec::new();
        for map in &maps {
            words.extend(launch.sink.encode(map)?);
        }
        words.extend_from_slice(&stacked.words);
        words.push(u64::from(tiles));
        // The structure is a multiple of its alignment.
        words.resize(words.len().next_multiple_of(8), 0);
        let (geometry, cooperation) = self.tile.geometry(tiles, launch.units);
        launch.sink.run_together(TILES, geometry, cooperation, &words)
    }
}
