//! `cuda.attention.mma`: attention of f16 and bf16 on the tensor cores of compute capability 8.0 and later.
//!
//! A block keeps a tile of queries and goes through the keys; scores and sums are in f32, and stay in registers. Queries of
//! heads that share keys fill a tile together. Where there are few queries, warps share the keys of a tile; where there are
//! few of many keys, blocks share the keys and a second function adds their sums. Recipes name all of that.

use sinter_backend::{
    Candidate, Code, End, KernelError, Problem, Recipe, Refusal, Region, StrideSupport, Tactic, Target,
};
use sinter_base::{Attr, Attribute, Attributes, Dim};
use sinter_ops::OpKind;
use sinter_ops::operator::count_of;

use crate::attention::cost::{self, Schedule};
use crate::attention::flash::{Attended, Extent, Flash, Parts, candidate};
use crate::attention::operands::Operands;
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source};
use crate::matmul::mma::OLDEST;
use crate::tactic::{CudaTactic, compiled};
use crate::target;

/// See the module documentation.
pub struct Mma;

const NAME: &str = "cuda.attention.mma";
/// Queries of a warp.
const ROWS: usize = 16;
/// Elements of a panel in shared memory.
const PANEL: usize = 64;
/// Elements of a row above which registers hold fewer scores.
const WIDE: usize = 128;
/// Candidates with split keys, at most.
const MOST_SPLIT: usize = 2;

/// How blocks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Tile {
    /// Warps of a block.
    pub warps: usize,
    /// Those that share sixteen queries, and take the keys of a step in parts.
    pub sharers: usize,
    /// Keys of a step.
    pub keys: usize,
    /// Blocks that share the keys of a tile of queries.
    pub parts: usize,
}

impl Tile {
    /// The tile of a recipe without parameters.
    pub(crate) fn usual(flash: &Flash) -> Self {
        let widest = flash.sizes[0].max(flash.sizes[1]);
        Self { warps: 4, sharers: 1, keys: if widest > WIDE { 32 } else { 64 }, parts: 1 }
    }

    /// Every tile: a plan may name no other.
    fn all(flash: &Flash) -> impl Iterator<Item = Self> {
        let usual = Self::usual(flash);
        let few = Self { sharers: 4, keys: 64, ..usual };
        let forms = [usual, Self { warps: 8, ..usual }, few];
        let tiles = forms.into_iter().flat_map(|tile| [1, 2, 4, 8, 16, 32].map(|parts| Self { parts, ..tile }));
        tiles.filter(|tile| tile.parts == 1 || tile.warps == 4)
    }

    fn of_parameters(parameters: &Attr, flash: &Flash) -> Result<Self, Refusal> {
        if *parameters == Attr::Absent {
            return Ok(Self::usual(flash));
        }
        let tile = Self::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
        let found = Self::all(flash).any(|known| known == tile);
        if found { Ok(tile) } else { Err(Refusal::new(format!("has no tile {parameters}"))) }
    }

    /// Queries of a block.
    pub(crate) fn queries(self) -> usize {
        self.warps / self.sharers * ROWS
    }

    /// Stages of the pipeline: few queries wait for memory alone.
    fn stages(self) -> usize {
        if self.sharers > 1 { 3 } else { 2 }
    }

    /// Threads of a block.
    pub(crate) fn threads(self) -> usize {
        self.warps * 32
    }

    /// Bytes of shared memory: queries or results, and stages of keys and values.
    pub(crate) fn shared(self, flash: &Flash) -> usize {
        let panels = flash.rounded().map(|size| size.div_ceil(PANEL));
        let line = PANEL * 2;
        (self.queries() * panels[0].max(panels[1]) + self.stages() * self.keys * (panels[0] + panels[1])) * line
    }

    /// Blocks of a multiprocessor at once, by registers.
    fn resident(self, flash: &Flash) -> usize {
        let widest = flash.sizes[0].max(flash.sizes[1]);
        if widest > WIDE || self.warps > 4 { 1 } else { 2 }
    }

    /// Is it worth trying for these sizes?
    fn suits(self, extent: &Extent) -> bool {
        let rows = extent.length * extent.heads / extent.key_heads;
        let is_long = self.parts == 1 || extent.total >= (2 * self.parts * self.keys) as f64;
        is_long && (self.sharers == 1 || rows <= (4 * ROWS) as f64)
    }

    fn schedule(self, flash: &Flash, target: &Target, shared: usize) -> Schedule {
        // These instructions reach a part of what the chip's own ones reach.
        let products = if target.isa == "sm_90a" { 3.3 } else { 1.8 };
        Schedule {
            queries: self.queries() as f64,
            keys: self.keys as f64,
            parts: self.parts as f64,
            packs_heads: true,
            resident: self.resident(flash).min(shared / self.shared(flash)).max(1) as f64,
            products,
            powers: 0.5,
            beside: 50.0,
            lone: if self.sharers > 1 { 900.0 } else { 1_800.0 },
            overhead: 1_500.0,
            start: 1_000.0,
        }
    }
}

impl Tactic for Mma {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Attention]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let flash = Flash::of(problem.region)?;
        let chip = target::chip(&problem.target.isa).filter(|chip| chip.capability >= OLDEST);
        let chip = chip.ok_or_else(|| Refusal::new("needs compute capability 8.0"))?;
        let extent = flash.extent(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let fits = |tile: &Tile| tile.shared(&flash) <= chip.shared_memory && tile.suits(&extent);
        let mut ranked: Vec<(f64, Tile)> = Tile::all(&flash)
            .filter(fits)
            .map(|tile| {
                let schedule = tile.schedule(&flash, problem.target, chip.shared_memory);
                (cost::nanoseconds(extent, schedule, flash.data_type, problem.target), tile)
            })
            .collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut split = 0;
        ranked.retain(|(_, tile)| {
            split += usize::from(tile.parts > 1);
            tile.parts == 1 || split <= MOST_SPLIT
        });
        let offers = ranked.into_iter().take(most).map(|(time, tile)| {
            candidate(self, problem.region, &MmaKernel::new(&flash, tile, problem.region), (tile.to_attr(), time))
        });
        Ok(offers.collect())
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }
}

impl CudaTactic for Mma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let flash = Flash::of(region)?;
        let tile = Tile::of_parameters(&recipe.parameters, &flash)?;
        Ok(Box::new(MmaKernel::new(&flash, tile, region)))
    }
}

struct MmaKernel {
    flash: Flash,
    tile: Tile,
    workspace: Dim,
}

/// The functions of the text.
const ATTEND: usize = 0;
const ADD: usize = 1;
const JOIN: usize = 2;
/// Bytes of the largest score and the sum of powers of a row.
const TOTALS: usize = 8;

/// Numbers of partial sums of all queries: rows, and the numbers of each.
fn partial(rows: usize, flash: &Flash) -> usize {
    rows.saturating_mul(flash.rounded()[1]).saturating_mul(4)
}

impl MmaKernel {
    fn new(flash: &Flash, tile: Tile, region: &Region) -> Self {
        // Bytes of partial sums and totals for each row of the result.
        let row = tile.parts * (partial(1, flash) + TOTALS);
        let rows = region.body().output_types().first().map(count_of).unwrap_or_else(|| Dim::constant(0));
        let rows = rows.floor_div(&Dim::from(flash.sizes[1]));
        let workspace = if tile.parts > 1 { rows.mul(&Dim::from(row)) } else { Dim::constant(0) };
        Self { flash: flash.clone(), tile, workspace }
    }
}

/// Copies past and new keys and values to where the results are.
///
/// # Errors
/// Errors of earlier work.
pub(crate) fn join(launch: &mut Launch<'_>, entry: usize, attended: &Attended) -> Result<(), KernelError> {
    for join in &attended.joined {
        let (words, count) = join.words();
        launch.each(entry, count, &words)?;
    }
    Ok(())
}

/// Blocks for tiles of this many queries of the heads that share keys.
///
/// # Errors
/// When there are more than a grid has.
pub(crate) fn blocks(operands: &Operands, queries: usize, parts: usize) -> Result<u32, KernelError> {
    let Operands { batch, heads, key_heads, length, .. } = *operands;
    let tiles = (heads / key_heads.max(1) * length).div_ceil(queries);
    let count = tiles
        .checked_mul(parts)
        .and_then(|count| count.checked_mul(batch))
        .and_then(|count| count.checked_mul(key_heads).and_then(|count| i32::try_from(count).ok()));
    let too_many = || KernelError::Recipe(format!("too many tiles of {batch} x {heads} x {length} queries"));
    Ok(count.ok_or_else(too_many)?.unsigned_abs())
}

impl Kernel for MmaKernel {
    fn configuration(&self) -> String {
        let Tile { warps, sharers, keys, .. } = self.tile;
        format!("{NAME} 1 {warps}.{sharers}x{keys} {}", self.flash.configuration())
    }

    fn source(&self) -> Source {
        let Tile { warps, sharers, keys, .. } = self.tile;
        let constants = [
            ("WARPS", warps),
            ("SHARERS", sharers),
            ("KEYS", keys),
            ("STAGES", self.tile.stages()),
            ("RESIDENT", self.tile.resident(&self.flash)),
        ];
        let mut generated = self.flash.generated();
        constants.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr int {name} = {value};\n")));
        Source { generated, text: include_str!("mma.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["attend", "add", "join"]
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        self.flash.stride_support(end)
    }

    fn workspace(&self) -> Dim {
        self.workspace.clone()
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let attended = self.flash.operands(launch)?;
        join(launch, JOIN, &attended)?;
        let operands = &attended.operands;
        let rows = operands.batch * operands.heads * operands.length;
        if rows == 0 {
            return Ok(());
        }
        let mut parts = Parts { count: self.tile.parts, ..Parts::WHOLE };
        if parts.count > 1 {
            let sums = parts.count.saturating_mul(partial(rows, &self.flash));
            parts.sums = launch.scratch(sums.saturating_add(parts.count * rows * TOTALS))?;
            parts.totals = parts.sums + sums as u64;
        }
        let words = self.flash.words(launch, &attended, parts);
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let geometry = Geometry {
            grid: [blocks(operands, self.tile.queries(), parts.count)?, 1, 1],
            threads: small(self.tile.threads()),
            shared: small(self.tile.shared(&self.flash)),
        };
        launch.sink.run(ATTEND, geometry, &words)?;
        if parts.count > 1 { launch.each(ADD, rows * 32, &words) } else { Ok(()) }
    }
}
