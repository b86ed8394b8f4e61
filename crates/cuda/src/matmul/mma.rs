//! `cuda.matmul.mma`: products of f16 and bf16 on the tensor cores of compute capability 8.0 and later, with an epilogue.
//!
//! Warps copy tiles of both operands to shared memory while they multiply earlier ones (`cp.async`, `ldmatrix`, `mma.sync`).
//! Sums are in f32, along k in steps of 16. Rows that are aligned to 16 bytes are copied in chunks, others by elements, so
//! that every shape runs. Recipes name the shape of a tile.

use sinter_backend::{Candidate, Code, KernelError, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{Attr, Attribute, Attributes};
use sinter_ops::OpKind;

use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source};
use crate::matmul::cost::{Schedule, ranked};
use crate::matmul::stacked::{Product, Side};
use crate::tactic::{CudaTactic, compiled};
use crate::target;

/// See the module documentation.
pub struct Mma;

const NAME: &str = "cuda.matmul.mma";
/// The first compute capability with these instructions.
pub(crate) const OLDEST: (u32, u32) = (8, 0);
/// Terms of a step, and elements of a row of a tile in shared memory.
const STEP: usize = 64;
/// Rows of a panel.
const PANEL: usize = 64;
/// Bytes of a chunk.
const CHUNK: u64 = 16;

/// The shape of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Tile {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

/// A tile with all that follows from it: warps along both axes, stages of the pipeline, blocks of a multiprocessor.
pub(crate) struct Shape {
    pub(crate) tile: Tile,
    warps: [usize; 2],
    stages: usize,
    resident: usize,
}

const fn shape(rows: usize, columns: usize, warps: [usize; 2], stages: usize, resident: usize) -> Shape {
    Shape { tile: Tile { rows, columns }, warps, stages, resident }
}

/// Every shape: a plan may name no other. The first one is that of a recipe without parameters.
pub(crate) const SHAPES: &[Shape] = &[
    shape(128, 128, [2, 2], 3, 2),
    shape(128, 256, [2, 4], 3, 1),
    shape(64, 128, [2, 2], 3, 2),
    shape(64, 64, [2, 2], 3, 3),
    shape(32, 64, [1, 2], 4, 4),
];

impl Shape {
    pub(crate) fn of(parameters: &Attr) -> Result<&'static Self, Refusal> {
        if *parameters == Attr::Absent {
            return Ok(&SHAPES[0]);
        }
        let tile = Tile::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
        let found = SHAPES.iter().find(|shape| shape.tile == tile);
        found.ok_or_else(|| Refusal::new(format!("has no tile of {} x {}", tile.rows, tile.columns)))
    }

    /// May a product run with this tile? Where k is not the inner axis, panels have 64 rows.
    fn takes(&self, product: &Product) -> bool {
        let Tile { rows, columns } = self.tile;
        let fits = |inner: bool, size: usize| inner || size.is_multiple_of(PANEL);
        fits(product.inner[0], rows) && fits(product.inner[1], columns)
    }

    /// Bytes of shared memory.
    pub(crate) fn shared(&self) -> usize {
        self.stages * (self.tile.rows + self.tile.columns) * STEP * 2
    }

    pub(crate) fn threads(&self) -> usize {
        32 * self.warps[0] * self.warps[1]
    }

    /// The constants of the generated header.
    pub(crate) fn generated(&self) -> String {
        let Self { tile, warps, stages, resident } = self;
        let constants = [
            ("TILE_ROWS", tile.rows),
            ("TILE_COLUMNS", tile.columns),
            ("WARPS_DOWN", warps[0]),
            ("WARPS_ACROSS", warps[1]),
            ("STAGES", *stages),
            ("RESIDENT", *resident),
        ];
        constants.iter().map(|(name, value)| format!("constexpr int {name} = {value};\n")).collect()
    }

    /// How it computes, on a chip with this much shared memory, where the epilogue has so many operands as large as the result.
    pub(crate) fn schedule(&self, target: &Target, shared: usize, wholes: usize) -> Schedule {
        let Tile { rows, columns } = self.tile;
        // These instructions reach a part of what the chip's own ones reach.
        let whole = if target.isa == "sm_90a" { 0.37 } else { 0.75 };
        // Small tiles of a warp load more fragments than they multiply.
        let area = (rows * columns / (self.warps[0] * self.warps[1])) as f64;
        Schedule {
            rows: rows as f64,
            columns: columns as f64,
            issued: columns as f64,
            split: 1.0,
            resident: self.resident.min(shared / self.shared()).max(1) as f64,
            stages: self.stages as f64,
            latency: 1_700.0,
            efficiency: whole * (area / 4096.0).sqrt().clamp(0.4, 1.0),
            overhead: 1_000.0,
            rounds: area / 1024.0 * (1.0 + 1.5 * wholes as f64),
            gathering: 0.0,
        }
    }
}

impl Tactic for Mma {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::MatMul]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let product = Product::of(problem.region)?;
        let chip = target::chip(&problem.target.isa).filter(|chip| chip.capability >= OLDEST);
        let chip = chip.ok_or_else(|| Refusal::new("needs compute capability 8.0"))?;
        let extent = product.extent(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let fits = |shape: &&Shape| shape.shared() <= chip.shared_memory && shape.takes(&product);
        let shapes = SHAPES.iter().filter(fits);
        let wholes = product.epilogue.wholes();
        let ways =
            shapes.map(|shape| (shape.tile.to_attr(), shape.schedule(problem.target, chip.shared_memory, wholes)));
        Ok(ranked(self, (extent, product.data_type), problem.target, ways, most))
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }
}

impl CudaTactic for Mma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let (product, shape) = (Product::of(region)?, Shape::of(&recipe.parameters)?);
        match shape.takes(&product) {
            true => Ok(Box::new(MmaKernel { product, shape })),
            false => Err(Refusal::new("a tile of the recipe is no panel of 64 rows")),
        }
    }
}

struct MmaKernel {
    product: Product,
    shape: &'static Shape,
}

/// The functions of the text: copies in chunks, and by elements.
const WIDE: usize = 0;
const ANY: usize = 1;

/// May rows of this operand be copied in chunks?
pub(crate) fn is_aligned(side: &Side) -> bool {
    let fits = |elements: usize| (elements as u64 * 2).is_multiple_of(CHUNK);
    side.address.is_multiple_of(CHUNK) && fits(side.stride) && fits(side.size)
}

impl Kernel for MmaKernel {
    fn configuration(&self) -> String {
        let Tile { rows, columns } = self.shape.tile;
        format!("{NAME} 2 {rows}x{columns} {}", self.product.configuration())
    }

    fn source(&self) -> Source {
        let [a, b] = self.product.inner;
        let inner = format!("constexpr bool A_INNER = {a}, B_INNER = {b};\n");
        let generated = self.product.epilogue.generated() + &self.shape.generated() + &inner;
        Source { generated, text: include_str!("mma.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["wide", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let Some(stacked) = self.product.stacked(launch)? else { return Ok(()) };
        let Tile { rows, columns } = self.shape.tile;
        let blocks = stacked.tiles(rows, columns)?;
        let entry = if stacked.sides.iter().all(is_aligned) { WIDE } else { ANY };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let geometry =
            Geometry { grid: [blocks, 1, 1], threads: small(self.shape.threads()), shared: small(self.shape.shared()) };
        launch.sink.run(entry, geometry, &stacked.words)
    }
}
