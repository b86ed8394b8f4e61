//! `cuda.attention.wgmma`: attention of f16 and bf16 by the copy engine and the warpgroup products of compute capability 9.0.
//!
//! Operands are read in place, with heads in front of positions or inside of rows, and a mask once. Scores and sums are in
//! f32, and stay in registers. A launch on operands that have no tensor map, because their rows are not aligned to 16 bytes, runs
//! the function of the older tier that the code contains too.

use std::fmt::Write;

use sinter_backend::{
    Candidate, Code, End, KernelError, Problem, Recipe, Refusal, Region, StrideSupport, Tactic, Target,
};
use sinter_base::view::element_bytes;
use sinter_base::{Attr, Attribute, Attributes, DataType};
use sinter_ops::OpKind;
use smallvec::{SmallVec, smallvec};

use crate::attention::cost::{self, Schedule};
use crate::attention::flash::{Attended, Extent, Flash, MaskForm, Parts, candidate};
use crate::attention::mma::{Tile as Fallback, blocks, join};
use crate::attention::operands::Heads;
use crate::driver::tensor_map::{Swizzle, Tile as Copied};
use crate::kernel::{Contraction, Cooperation, Geometry, Kernel, Launch, Source, TensorMap};
use crate::tactic::{CudaTactic, compiled};

/// See the module documentation.
pub struct Wgmma;

const NAME: &str = "cuda.attention.wgmma";
/// The only target with these instructions.
const ISA: &str = "sm_90a";
/// Queries of a warpgroup.
const GROUP: usize = 64;
/// Elements of a panel in shared memory.
const PANEL: usize = 64;
/// Bytes of shared memory of a block at most, and of all blocks of a multiprocessor.
const MOST_SHARED: usize = 227 << 10;
/// Bytes to align the tiles, and those of the barriers.
const SLACK: usize = 1024 + 256;
/// Bytes of keys and values that stay in the second-level cache.
const CACHE: usize = 24 << 20;
/// Candidates at most: the model is not exact, and more would take long to compile.
const MOST_CANDIDATES: usize = 6;

/// How blocks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Tile {
    /// Warpgroups with 64 queries each.
    pub groups: usize,
    /// Keys of a step.
    pub keys: usize,
    /// Stages of the pipeline.
    pub stages: usize,
    /// Do the warpgroups start their products in turns, so that one multiplies while another computes exponentials?
    pub ordered: bool,
}

impl Tile {
    /// Every tile: a plan may name no other.
    fn all(flash: &Flash) -> impl Iterator<Item = Self> {
        let forms = [(1, false), (2, false), (2, true), (3, false), (3, true)];
        let keys = forms.into_iter().flat_map(|form| [64, 128].map(|keys| (form, keys)));
        let tiles = keys.map(|((groups, ordered), keys)| Self { groups, keys, stages: 2, ordered });
        tiles.filter(|tile| tile.is_sound(flash))
    }

    /// Do registers and shared memory suffice?
    fn is_sound(self, flash: &Flash) -> bool {
        let Self { groups, keys, .. } = self;
        let [_, value_size] = flash.rounded();
        // Scores, their powers, and sums of a thread.
        let registers = keys / 2 + keys / 4 + value_size / 2;
        let beside = if flash.mask == MaskForm::None { 0 } else { 20 };
        let most = [0, 180, 180, 130][groups];
        let is_spare = flash.mask != MaskForm::Tile || groups < 3;
        registers + beside <= most && is_spare && self.shared(flash) <= MOST_SHARED
    }

    /// The tile of a recipe without parameters.
    fn usual(flash: &Flash) -> Option<Self> {
        Self::all(flash).next()
    }

    fn of_parameters(parameters: &Attr, flash: &Flash) -> Result<Self, Refusal> {
        if *parameters == Attr::Absent {
            return Self::usual(flash).ok_or_else(|| Refusal::new("has no tile for rows of this size"));
        }
        let tile = Self::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
        let found = Self::all(flash).any(|known| known == tile);
        if found { Ok(tile) } else { Err(Refusal::new(format!("has no tile {parameters}"))) }
    }

    /// Bytes of shared memory: queries, results in memory of their own or not, and stages of keys, values and the mask.
    fn shared_with(self, flash: &Flash, results_apart: bool) -> usize {
        let Self { groups, keys, stages, .. } = self;
        let [head, value] = flash.rounded().map(|size| size.div_ceil(PANEL));
        let queries = groups * GROUP;
        let mask = match flash.mask {
            MaskForm::None => 0,
            MaskForm::Row => keys * 4,
            MaskForm::Tile => queries * keys * element_bytes(flash.mask_type),
        };
        let line = PANEL * 2;
        let panels = if results_apart { head + value } else { head.max(value) };
        queries * panels * line + stages * (keys * (head + value) * line + mask) + SLACK
    }

    /// Do results have memory of their own, so that the queries of the next item come while they are stored? Where that costs
    /// a block, they have not.
    fn stages_results(self, flash: &Flash) -> bool {
        let most = |apart| (MOST_SHARED / self.shared_with(flash, apart)).min(self.most_resident(flash));
        most(true) == most(false)
    }

    fn shared(self, flash: &Flash) -> usize {
        self.shared_with(flash, self.stages_results(flash))
    }

    /// Blocks of a multiprocessor at once, by registers.
    fn most_resident(self, flash: &Flash) -> usize {
        match self.groups {
            1 if flash.mask == MaskForm::None && self.keys + flash.rounded()[1] <= 128 => 3,
            1 => 2,
            _ => 1,
        }
    }

    fn threads(self) -> usize {
        128 * (self.groups + 1)
    }

    /// Blocks of a multiprocessor at once.
    fn resident(self, flash: &Flash) -> usize {
        (MOST_SHARED / self.shared(flash)).clamp(1, self.most_resident(flash))
    }

    /// Is it worth trying for these sizes?
    fn suits(self, extent: &Extent) -> bool {
        let covered = |tile: usize, size: f64| tile == 64 || (tile as f64) < 2.0 * size;
        covered(self.groups * GROUP, extent.length) && covered(self.keys, extent.total)
    }

    /// How it computes: factors that fit the times of an H200.
    fn schedule(self, flash: &Flash) -> Schedule {
        let Self { groups, keys, ordered, .. } = self;
        let resident = self.resident(flash);
        // What overlaps in a block, and with other blocks.
        let overlap = match (groups, keys) {
            (3, 128..) => 0.96,
            (3, _) => 1.09,
            (2, 128..) => 1.05,
            (2, _) => 1.18,
            _ if resident == 1 => 1.4,
            _ => 0.94,
        };
        let turns = if groups > 1 && !ordered { 1.03 } else { 1.0 };
        let powers = if flash.mask == MaskForm::None { 1.66 } else { 2.0 };
        let share = keys as f64 / 128.0;
        Schedule {
            queries: (groups * GROUP) as f64,
            keys: keys as f64,
            parts: 1.0,
            packs_heads: false,
            resident: resident as f64,
            products: 0.68 * overlap * turns,
            powers: powers * overlap * turns,
            beside: 105.0,
            lone: share * (1_100.0 + 100.0 * groups as f64),
            overhead: 1_000.0,
            start: 590.0 + 345.0 * groups as f64,
        }
    }
}

impl Tactic for Wgmma {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Attention]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let flash = Flash::of(problem.region)?;
        if problem.target.isa != ISA {
            return Err(Refusal::new("needs compute capability 9.0"));
        }
        let extent = flash.extent(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let time = |tile: Tile| cost::nanoseconds(extent, tile.schedule(&flash), flash.data_type, problem.target);
        let tiles = Tile::all(&flash).filter(|tile| tile.suits(&extent));
        let mut ranked: Vec<(f64, Tile)> = tiles.map(|tile| (time(tile), tile)).collect();
        if ranked.is_empty() {
            return Err(Refusal::new("has no tile for rows of this size"));
        }
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        let offers = ranked.into_iter().take(most.min(MOST_CANDIDATES)).map(|(time, tile)| {
            candidate(self, problem.region, &WgmmaKernel { flash: flash.clone(), tile }, (tile.to_attr(), time))
        });
        Ok(offers.collect())
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }
}

impl CudaTactic for Wgmma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let flash = Flash::of(region)?;
        let tile = Tile::of_parameters(&recipe.parameters, &flash)?;
        Ok(Box::new(WgmmaKernel { flash, tile }))
    }
}

struct WgmmaKernel {
    flash: Flash,
    tile: Tile,
}

/// The functions of the text.
const TILES: usize = 0;
const ANY: usize = 1;
const JOIN: usize = 2;

/// The functions `multiply_scores` and `multiply_values`: one instruction on all scores, or sums, of a thread.
fn instructions(keys: usize, value_size: usize, data_type: DataType) -> String {
    let name = if data_type == DataType::Bf16 { "bf16" } else { "f16" };
    let places = |count: usize| (0..count).map(|at| format!("%{at}")).collect::<Vec<_>>().join(", ");
    let operands = |count: usize| (0..count).map(|at| format!("\"+f\"(s[{at}])")).collect::<Vec<_>>().join(", ");
    let call = |width: usize| format!("wgmma.mma_async.sync.aligned.m64n{width}k16.f32.{name}.{name}");
    let mut text = String::new();
    // The first product of a tile replaces the scores.
    let sums = keys / 2;
    let _ = writeln!(text, "inline void multiply_scores(float (&s)[{sums}], u64 left, u64 right, int adds) {{");
    let _ = writeln!(text, "    asm volatile(\"{{\\n.reg .pred adds;\\nsetp.ne.b32 adds, %{}, 0;\\n\"", sums + 2);
    let _ = writeln!(
        text,
        "        \"{} {{{}}}, %{sums}, %{}, adds, 1, 1, 0, 0;\\n}}\"",
        call(keys),
        places(sums),
        sums + 1
    );
    let _ = writeln!(text, "        : {} : \"l\"(left), \"l\"(right), \"r\"(adds));\n}}", operands(sums));
    // Values have their terms in rows.
    let sums = value_size / 2;
    let _ = writeln!(text, "inline void multiply_values(float (&s)[{sums}], u32 a, u32 b, u32 c, u32 d, u64 right) {{");
    let _ = writeln!(text, "    asm volatile(\"{{\\n.reg .pred adds;\\nsetp.eq.u32 adds, 0, 0;\\n\"");
    let left = (sums..sums + 4).map(|at| format!("%{at}")).collect::<Vec<_>>().join(", ");
    let _ = writeln!(
        text,
        "        \"{} {{{}}}, {{{left}}}, %{}, adds, 1, 1, 1;\\n}}\"",
        call(value_size),
        places(sums),
        sums + 4
    );
    let _ = writeln!(text, "        : {} : \"r\"(a), \"r\"(b), \"r\"(c), \"r\"(d), \"l\"(right));\n}}", operands(sums));
    text
}

impl WgmmaKernel {
    /// The map of an operand or a result, for tiles of this many rows.
    fn map(&self, heads: &Heads, rows: usize) -> Option<TensorMap> {
        let Heads { address, sizes: [batch, count, length, size], strides: [of_batch, of_head, of_row] } = *heads;
        let rows = u32::try_from(rows).ok()?;
        Some(TensorMap {
            data_type: self.flash.data_type,
            address,
            sizes: smallvec![size as u64, length as u64, count as u64, batch as u64],
            strides: [of_row, of_head, of_batch].iter().map(|stride| *stride as u64 * 2).collect(),
            tile: Copied::Box(smallvec![64, rows, 1, 1]),
            swizzle: Swizzle::Bytes128,
        })
    }

    /// The map of a mask with an element for each query; any valid one for others.
    fn mask_map(&self, attended: &Attended, other: &TensorMap) -> Option<TensorMap> {
        if self.flash.mask != MaskForm::Tile {
            return Some(other.clone());
        }
        let operands = &attended.operands;
        let [of_batch, of_head, of_query, of_key] = operands.mask.strides;
        if of_query == 0 || of_key != 1 {
            return None;
        }
        let bytes = |elements: usize| (elements * element_bytes(self.flash.mask_type)) as u64;
        // An axis along which the mask is repeated has one position.
        let axis = |stride: usize, size: usize| match stride {
            0 => (1, bytes(of_query)),
            stride => (size as u64, bytes(stride)),
        };
        // Rows of a tile are 128 bytes, or as many as there are keys.
        let is_bool = self.flash.mask_type == DataType::Bool;
        let row = if is_bool { self.tile.keys } else { 2 * PANEL / element_bytes(self.flash.mask_type) };
        let row = u32::try_from(row).ok()?;
        let ((heads, of_head), (batch, of_batch)) = (axis(of_head, operands.heads), axis(of_batch, operands.batch));
        Some(TensorMap {
            data_type: if is_bool { DataType::U8 } else { self.flash.mask_type },
            address: operands.mask.address,
            sizes: smallvec![operands.mask.covered as u64, operands.length as u64, heads, batch],
            strides: smallvec![bytes(of_query), of_head, of_batch],
            tile: Copied::Box(smallvec![row, 64, 1, 1]),
            swizzle: if is_bool && row == 64 { Swizzle::Bytes64 } else { Swizzle::Bytes128 },
        })
    }

    /// The maps of queries, keys, values, results and the mask, where the copy engine can describe all.
    fn maps(&self, attended: &Attended) -> Option<[TensorMap; 5]> {
        let Attended { k, v, operands, .. } = attended;
        let keys = self.tile.keys;
        let [q, y] = [self.map(&operands.q, GROUP)?, self.map(&operands.y, GROUP)?];
        let mask = self.mask_map(attended, &q)?;
        let maps = [q, self.map(k, keys)?, self.map(v, keys)?, y, mask];
        maps.iter().all(|map| map.check().is_ok()).then_some(maps)
    }
}

impl Kernel for WgmmaKernel {
    fn configuration(&self) -> String {
        let Tile { groups, keys, stages, ordered } = self.tile;
        let turns = if ordered { "t" } else { "" };
        format!("{NAME} 1 {}x{keys}x{stages}{turns} {}", groups * GROUP, self.flash.configuration())
    }

    fn source(&self) -> Source {
        let Tile { groups, keys, stages, ordered } = self.tile;
        let mut generated = self.flash.generated();
        let constants = [
            ("GROUPS", groups),
            ("KEYS", keys),
            ("STAGES", stages),
            ("RESIDENT", self.tile.resident(&self.flash)),
            ("ANY_KEYS", Fallback::usual(&self.flash).keys),
        ];
        constants.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr int {name} = {value};\n")));
        let apart = self.tile.stages_results(&self.flash);
        generated.push_str(&format!("constexpr bool ORDERED = {ordered}, STAGES_RESULTS = {apart};\n"));
        generated.push_str(&instructions(keys, self.flash.rounded()[1], self.flash.data_type));
        Source { generated, text: include_str!("wgmma.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["tiles", "any", "join"]
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        self.flash.stride_support(end)
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let attended = self.flash.operands(launch)?;
        join(launch, JOIN, &attended)?;
        let operands = &attended.operands;
        if operands.batch * operands.heads * operands.length == 0 {
            return Ok(());
        }
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let own = self.flash.words(launch, &attended, Parts::WHOLE);
        let Some(maps) = self.maps(&attended) else {
            let tile = Fallback::usual(&self.flash);
            let geometry = Geometry {
                grid: [blocks(operands, tile.queries(), 1)?, 1, 1],
                threads: small(tile.threads()),
                shared: small(tile.shared(&self.flash)),
            };
            return launch.sink.run(ANY, geometry, &own);
        };
        let stacks = operands.heads * operands.batch;
        let items = operands.length.div_ceil(self.tile.groups * GROUP).checked_mul(stacks);
        let items = items.and_then(|items| i32::try_from(items).ok()).map(i32::unsigned_abs);
        let too_many = || KernelError::Recipe(format!("too many tiles of {} queries", operands.length));
        let items = items.ok_or_else(too_many)?;
        let grid = items.min(small(launch.units.max(1) * self.tile.resident(&self.flash)));
        let mut words: SmallVec<[u64; 160]> = SmallVec::new();
        for map in &maps {
            words.extend(launch.sink.encode(map)?);
        }
        words.extend_from_slice(&own);
        let head_bytes = 2 * operands.total * (operands.size + operands.value_size);
        // Queries of a causal attention differ in work: the longest of many heads come first, as many as the cache holds.
        let together = if self.flash.is_causal() { (CACHE / head_bytes.max(1)).clamp(1, stacks) } else { 1 };
        words.extend([u64::from(items), together as u64]);
        // The structure is a multiple of its alignment.
        words.resize(words.len().next_multiple_of(8), 0);
        let geometry = Geometry {
            grid: [grid, 1, 1],
            threads: small(self.tile.threads()),
            shared: small(self.tile.shared(&self.flash)),
        };
        // A grid that fills the device leaves no room for the next one.
        let cooperation = Cooperation { cluster: 1, overlaps: items <= small(launch.units) };
        launch.sink.run_together(TILES, geometry, cooperation, &words)
    }
}
