//! `cuda.matmul.wgmma`: products of f16 and bf16 by the copy engine and the warpgroup products of compute capability 9.0, with
//! an epilogue.
//!
//! Sums are in f32. A product of few rows runs with its operands swapped, and with the blocks of a cluster sharing k, so that
//! all multiprocessors read the weights. Operands whose rows are not aligned to 16 bytes have no tensor map: a launch on such
//! runs the function of the older tier that the code contains too.

use std::fmt::Write;

use sinter_backend::{Candidate, Code, KernelError, Numerics, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{Attr, Attribute, Attributes, DataType};
use sinter_ops::OpKind;
use smallvec::{SmallVec, smallvec};

use crate::compile::compile;
use crate::driver::tensor_map::{Swizzle, Tile as Copied};
use crate::kernel::{Contraction, Cooperation, Geometry, Kernel, Launch, Source, TensorMap};
use crate::matmul::cost::{self, Schedule};
use crate::matmul::mma::is_aligned;
use crate::matmul::stacked::{Extent, Product, Side, Stacked};
use crate::tactic::{CudaTactic, LAUNCH, refused};

/// See the module documentation.
pub struct Wgmma;

const NAME: &str = "cuda.matmul.wgmma";
/// The only target with these instructions.
const ISA: &str = "sm_90a";
/// Terms of a step.
const STEP: usize = 64;
/// Rows of a warpgroup.
const GROUP: usize = 64;
/// Bytes of shared memory of a block at most, and of all blocks of a multiprocessor.
const MOST_SHARED: usize = 227 << 10;
/// Bytes that a warp stages in its epilogue.
const STAGED: usize = 2048;
/// Bytes to align the tiles, and those of the barriers.
const SLACK: usize = 1024 + 256;
/// Sizes and coordinates of the copy engine at most.
const MOST: usize = 1 << 30;

/// How blocks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Tile {
    /// Warpgroups that multiply: 64 rows of the instruction's left operand each.
    pub groups: usize,
    /// Rows of its right operand.
    pub width: usize,
    /// Stages of the pipeline.
    pub stages: usize,
    /// Blocks of a cluster that share k.
    pub split: usize,
    /// Is the left operand of the instruction the right one of the product?
    pub swapped: bool,
}

impl Default for Tile {
    fn default() -> Self {
        Self { groups: 2, width: 128, stages: 4, split: 1, swapped: false }
    }
}

impl Tile {
    /// Every tile: a plan may name no other.
    fn all() -> impl Iterator<Item = Self> {
        let forms = [1, 2].into_iter().flat_map(|groups| [false, true].map(|swapped| (groups, swapped)));
        let widths = forms.flat_map(|(groups, swapped)| {
            let widths: &[usize] = if swapped { &[8, 16, 32, 64, 128] } else { &[64, 128, 256] };
            widths.iter().map(move |width| (groups, swapped, *width))
        });
        let splits = widths.flat_map(|form| [1, 2, 4, 8].into_iter().map(move |split| (form, split)));
        let stages = splits.flat_map(|form| [3, 4, 8].into_iter().map(move |stages| (form, stages)));
        let tiles =
            stages.map(|(((groups, swapped, width), split), stages)| Self { groups, width, stages, split, swapped });
        tiles.filter(|tile| tile.is_sound())
    }

    fn is_sound(self) -> bool {
        let Self { groups, width, stages, split, .. } = self;
        // Wide tiles need two warpgroups, and have no room for an exchange.
        let wide = width < 256 || (groups == 2 && split == 1);
        let exchanged = split == 1 || groups * GROUP * width * 4 <= stages * self.stage();
        wide && exchanged && self.shared() <= MOST_SHARED && (stages != 3 || width == 256)
    }

    fn parameters(self) -> Attr {
        if self == Self::default() { Attr::Absent } else { self.to_attr() }
    }

    fn of_parameters(parameters: &Attr) -> Result<Self, Refusal> {
        if *parameters == Attr::Absent {
            return Ok(Self::default());
        }
        let tile = Self::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
        let found = Self::all().any(|known| known == tile);
        if found { Ok(tile) } else { Err(Refusal::new(format!("has no tile {parameters}"))) }
    }

    /// Bytes of a stage.
    fn stage(self) -> usize {
        (self.groups * GROUP + self.width) * STEP * 2
    }

    /// Bytes of shared memory.
    fn shared(self) -> usize {
        self.stages * self.stage() + self.groups * 4 * STAGED + SLACK
    }

    /// Rows and columns of the result.
    fn sides(self) -> (usize, usize) {
        let height = self.groups * GROUP;
        if self.swapped { (self.width, height) } else { (height, self.width) }
    }

    fn threads(self) -> usize {
        128 * (self.groups + 1)
    }

    /// Do the multiplying warpgroups need registers of the copying one?
    fn spares_registers(self) -> bool {
        self.groups * self.width > 256
    }

    /// Blocks of a multiprocessor at once.
    fn resident(self) -> usize {
        let registers = if self.groups * self.width > 256 { 1 } else { 2 };
        (MOST_SHARED / self.shared()).min(registers).max(1)
    }

    /// May a product run with this tile?
    fn takes(self, product: &Product) -> bool {
        let [a, b] = product.inner;
        let right = if self.swapped { a } else { b };
        right || self.width.is_multiple_of(GROUP)
    }

    /// Is it worth trying for these sizes?
    fn suits(self, Extent { m, n, k, .. }: Extent) -> bool {
        let steps = (k / STEP as f64).ceil();
        let (rows, columns) = self.sides();
        let is_covered = |tile: usize, size: f64, least: f64| tile as f64 <= least || (tile as f64) < 2.0 * size;
        let divides = self.split == 1 || steps >= 2.0 * self.split as f64;
        let deep = self.stages < 8 || steps / self.split as f64 > 4.0;
        let swap = !self.swapped || m <= 512.0;
        divides
            && deep
            && swap
            && is_covered(rows, m, if self.swapped { 8.0 } else { 64.0 })
            && is_covered(columns, n, 64.0)
    }

    fn schedule(self) -> Schedule {
        let (rows, columns) = self.sides();
        // The instruction reads 64 rows of its left operand, however few it has on the right.
        let issued = if self.swapped {
            columns as f64 * (self.width.max(32) as f64 / self.width as f64)
        } else {
            columns as f64
        };
        Schedule {
            rows: rows as f64,
            columns: columns as f64,
            issued,
            split: self.split as f64,
            resident: self.resident() as f64,
            stages: self.stages as f64,
            latency: 900.0,
            efficiency: 0.75,
            overhead: 800.0,
        }
    }
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
        let tiles = Tile::all().filter(|tile| tile.takes(&product) && tile.suits(extent));
        let time = |tile: Tile| cost::nanoseconds(extent, tile.schedule(), product.data_type, problem.target);
        let mut ranked: Vec<(f64, Tile)> = tiles.map(|tile| (time(tile), tile)).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let candidate = |(time, tile): (f64, Tile)| {
            let mut candidate = Candidate::plain(self, Numerics::Reassociated, time + LAUNCH);
            candidate.recipe.parameters = tile.parameters();
            candidate
        };
        Ok(ranked.into_iter().take(most.min(MOST_CANDIDATES)).map(candidate).collect())
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        let kernel = self.kernel(recipe, region).map_err(|refusal| refused(NAME, &refusal))?;
        compile(&*kernel, &target.isa).map(Some)
    }
}

/// Candidates of a product: the model is not exact, and more would take long to compile.
const MOST_CANDIDATES: usize = 12;

impl CudaTactic for Wgmma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let (product, tile) = (Product::of(region)?, Tile::of_parameters(&recipe.parameters)?);
        match tile.takes(&product) {
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

/// The function `multiply_groups`: one instruction on all sums of a thread.
fn instruction(width: usize, data_type: DataType, [left, right]: [bool; 2]) -> String {
    let sums = width / 2;
    let name = if data_type == DataType::Bf16 { "bf16" } else { "f16" };
    let places: Vec<String> = (0..sums).map(|at| format!("%{at}")).collect();
    let operands: Vec<String> = (0..sums).map(|at| format!("\"+f\"(s[{at}])")).collect();
    let [left, right] = [left, right].map(|inner| u8::from(!inner));
    let (places, operands) = (places.join(", "), operands.join(", "));
    let call = format!("wgmma.mma_async.sync.aligned.m64n{width}k16.f32.{name}.{name}");
    let mut text = String::new();
    let _ = writeln!(text, "inline void multiply_groups(float (&s)[{sums}], u64 left, u64 right) {{");
    let _ = writeln!(text, "    asm volatile(\"{{\\n.reg .pred adds;\\nsetp.eq.u32 adds, 0, 0;\\n\"");
    let _ =
        writeln!(text, "        \"{call} {{{places}}}, %{sums}, %{}, adds, 1, 1, {left}, {right};\\n}}\"", sums + 1);
    let _ = writeln!(text, "        : {operands} : \"l\"(left), \"l\"(right));\n}}");
    text
}

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

    /// The maps of the left and the right operand of the instruction, where the copy engine can describe both.
    fn maps(&self, stacked: &Stacked) -> Option<[TensorMap; 2]> {
        let (rows, columns) = self.tile.sides();
        let small = [stacked.m, stacked.n, stacked.k].iter().all(|size| *size < MOST);
        if !small || stacked.k == 0 || !stacked.sides.iter().all(is_aligned) {
            return None;
        }
        let maps = [self.map(stacked, 0, rows)?, self.map(stacked, 1, columns)?];
        let [a, b] = maps;
        let maps = if self.tile.swapped { [b, a] } else { [a, b] };
        maps.iter().all(|map| map.check().is_ok()).then_some(maps)
    }
}

impl Kernel for WgmmaKernel {
    fn configuration(&self) -> String {
        let Tile { groups, width, stages, split, swapped } = self.tile;
        let form = format!("{}x{width}x{stages}.{split}{}", groups * GROUP, if swapped { "s" } else { "" });
        format!("{NAME} 1 {form} {}", self.product.configuration())
    }

    fn source(&self) -> Source {
        let tile = self.tile;
        let [a, b] = self.product.inner;
        let inner = if tile.swapped { [b, a] } else { [a, b] };
        let mut generated = self.product.generated();
        let constants = [
            ("GROUPS", tile.groups),
            ("WIDTH", tile.width),
            ("STAGES", tile.stages),
            ("SPLIT", tile.split),
            ("RESIDENT", tile.resident()),
        ];
        constants.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr int {name} = {value};\n")));
        let flags = [
            ("SWAPPED", tile.swapped),
            ("SPARES_REGISTERS", tile.spares_registers()),
            ("WEIGHTS", self.product.has_weights),
        ];
        flags.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr bool {name} = {value};\n")));
        generated.push_str(&instruction(tile.width, self.product.data_type, inner));
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
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let split = small(self.tile.split);
        let together = small(launch.units.max(1) * self.tile.resident());
        // Blocks that share a tile take one tile; others take tiles in turns.
        let blocks = if split > 1 { tiles.saturating_mul(split) } else { tiles.min(together) };
        let mut words: SmallVec<[u64; 160]> = SmallVec::new();
        for map in &maps {
            words.extend(launch.sink.encode(map)?);
        }
        words.extend_from_slice(&stacked.words);
        words.push(u64::from(tiles));
        // The structure is a multiple of its alignment.
        words.resize(words.len().next_multiple_of(8), 0);
        let geometry =
            Geometry { grid: [blocks, 1, 1], threads: small(self.tile.threads()), shared: small(self.tile.shared()) };
        // A grid that fills the device leaves no room for the next one.
        let cooperation = Cooperation { cluster: split, overlaps: blocks <= small(launch.units) };
        launch.sink.run_together(TILES, geometry, cooperation, &words)
    }
}
