//! `cuda.conv.mma.halo`: convolution of f16 and bf16 images of few channels, the first one of most networks, on the tensor cores of
//! compute capability 8.0 and later, with an epilogue.
//!
//! The image has its channels in front of one or two spatial axes, as networks are given it; the result has them last. A block brings
//! the part of the image that the windows of a tile meet to shared memory once, and multiplies from there: a term of the sums is a
//! tap, and two neighbours along a line are one word. The weights are packed, so that the channels of a tap are side by side. Sums are
//! in f32.
//! Recipes name the tile.

use sinter_backend::{Candidate, Code, KernelError, Numerics, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{Attr, Attribute, Attributes, Tensor};
use sinter_ops::OpKind;
use smallvec::smallvec;

use crate::conv::convolved::{Convolved, Counts, Given, row_stride, taps_first};
use crate::epilogue::is_wide;
use crate::fused::Layout;
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, recipe};
use crate::matmul::matrices::Matrices;
use crate::matmul::mma::OLDEST;
use crate::space::Space;
use crate::tactic::{CudaTactic, LAUNCH, cheapest, compiled, refused};
use crate::target;

/// See the module documentation.
pub struct MmaHalo;

const NAME: &str = "cuda.conv.mma.halo";
/// Threads and warps of a block.
const THREADS: usize = 128;
const WARPS: usize = 4;
/// Pixels of a line of a tile.
const COLUMN: usize = 16;
/// Terms of a step of the tensor cores, and channels of a block of fragments.
const STEP: usize = 16;
const BLOCK: usize = 16;
/// Pairs of taps at most, of all channels.
const MOST_PAIRS: usize = 256;
/// Strides and dilations at most.
const MOST_STEP: usize = 64;
/// Elements of the image of a tile at most: a thread holds as many as its registers have room for.
const MOST_HALO: usize = 24 * THREADS;
/// Pixels of an image along an axis, and of all results, at most: the text counts them in 32 bits.
const MOST: usize = 1 << 30;
/// Bytes of shared memory that the blocks of one multiprocessor have together.
const SHARED_OF_BLOCKS: usize = 160 << 10;
/// Pixels that are loaded at once.
const CHUNK: usize = 4;

/// The part of the result that a block computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Tile {
    /// Lines of sixteen pixels.
    pub lines: usize,
    /// Output channels.
    pub columns: usize,
}

/// Every tile: a plan may name no other. The first one is that of a recipe without parameters.
const TILES: &[Tile] = &[
    Tile { lines: 8, columns: 64 },
    Tile { lines: 4, columns: 64 },
    Tile { lines: 8, columns: 32 },
    Tile { lines: 4, columns: 32 },
];

/// A convolution of a few channels.
#[derive(Clone, Debug)]
struct Few {
    convolved: Convolved,
}

impl Few {
    fn of(region: &Region) -> Result<Self, Refusal> {
        let convolved = Convolved::of(region)?;
        if convolved.layout != Layout::Turned || convolved.op.groups > 1 {
            return Err(Refusal::new("takes images with channels in front, results with channels last, and one group"));
        }
        if convolved.op.strides.len() > 2 {
            return Err(Refusal::new("takes at most two spatial axes"));
        }
        let few = Self { convolved };
        let [_, _, along] = few.along(&few.convolved.op.dilations);
        if along != 1 {
            return Err(Refusal::new(format!("takes neighbouring taps of a line, not every {along}th pixel")));
        }
        let Convolved { op, .. } = &few.convolved;
        if let Some(far) = op.strides.iter().chain(&op.dilations).find(|step| **step > MOST_STEP) {
            return Err(Refusal::new(format!("takes steps of at most {MOST_STEP} pixels, not {far}")));
        }
        match few.pairs() {
            1..=MOST_PAIRS => Ok(few),
            pairs => Err(Refusal::new(format!("takes windows of at most {MOST_PAIRS} pairs of taps, not {pairs}"))),
        }
    }

    /// The two spatial axes of a list behind a number; an image of one axis has one line.
    fn along(&self, list: &[usize]) -> [usize; 3] {
        match *list {
            [down, across] => [0, down, across],
            [across] => [0, 1, across],
            _ => [0, 1, 1],
        }
    }

    /// Channels of the image, and taps of a window down and across.
    fn taps(&self) -> [usize; 3] {
        let [_, down, across] = self.along(&self.convolved.weights[2..]);
        [self.convolved.inputs(), down, across]
    }

    /// Pairs of taps: the last one of a line of odd length has one tap.
    fn pairs(&self) -> usize {
        let [channels, down, across] = self.taps();
        channels * down * across.div_ceil(2)
    }

    /// Steps of the tensor cores.
    fn steps(&self) -> usize {
        self.pairs().div_ceil(STEP / 2)
    }

    /// Lines and columns of the image that the windows of a tile meet.
    fn halo(&self, tile: Tile) -> [usize; 2] {
        let [_, down, across] = self.taps();
        let [_, stride_y, stride_x] = self.along(&self.convolved.op.strides);
        let [_, dilation, _] = self.along(&self.convolved.op.dilations);
        let lines = (tile.lines - 1) * stride_y + down.saturating_sub(1) * dilation + 1;
        [lines, (COLUMN - 1) * stride_x + across.next_multiple_of(2)]
    }

    /// Bytes of shared memory: the structure `Memory` of the text.
    fn shared(&self, tile: Tile) -> usize {
        let [lines, columns] = self.halo(tile);
        let [channels, ..] = self.taps();
        let [_, _, stride] = self.along(&self.convolved.op.strides);
        let copies = 1 + stride % 2;
        let copy = (channels * lines * columns.next_multiple_of(2)).next_multiple_of(64) + 32;
        let weights = tile.columns / BLOCK * self.steps() * 32 * 16;
        let staged = WARPS * 16 * (tile.columns + 8) * 2;
        (weights + staged + copies * copy * 2).next_multiple_of(16) + self.steps() * 8 * 8 + tile.columns * 4
    }

    /// Does the tile suit, on a chip with this much shared memory?
    fn takes(&self, tile: Tile, memory: usize) -> bool {
        let [channels, ..] = self.taps();
        let halo = self.halo(tile).iter().product::<usize>() * channels;
        halo <= MOST_HALO && self.shared(tile) <= memory
    }

    /// Blocks of a multiprocessor, of so many as registers have room for.
    fn resident(&self, tile: Tile) -> usize {
        let most = if tile.lines * tile.columns > 4 * 64 { 3 } else { 4 };
        (SHARED_OF_BLOCKS / self.shared(tile).max(1)).clamp(2, most)
    }

    /// Expected nanoseconds, without the launch.
    fn nanoseconds(&self, tile: Tile, counts: Counts, target: &Target) -> f64 {
        let [lines, columns] = self.halo(tile);
        let [channels, ..] = self.taps();
        let positions = (tile.lines * COLUMN) as f64;
        let tiles = (counts.images * (counts.positions / positions)).ceil();
        let tiles = tiles * self.convolved.outputs().div_ceil(tile.columns) as f64;
        let units = target.units.max(1) as f64;
        let products = positions * (tile.columns * self.steps() * STEP) as f64 / PRODUCTS;
        let copies = (channels * lines * columns) as f64 * COPY;
        let cycles = products + copies + positions * tile.columns as f64 * STORE;
        // Blocks that work at the same time hide what each waits for; one alone cannot.
        let own = (tiles / units).ceil();
        let turns = (own / self.resident(tile) as f64).ceil();
        let busy = (own * (cycles + SERIAL)).max(turns * (ALONE * cycles + SERIAL));
        let once = 2.0 * counts.elements / (target.bytes_per_second.max(1e11) * 1e-9 * STREAMED);
        START + (busy * CYCLE).max(once)
    }
}

/// Products of a multiprocessor in a cycle, in a loop that loads its fragments.
const PRODUCTS: f64 = 970.0;
/// Cycles of a multiprocessor to bring an element to shared memory, and to turn a sum into a result.
const COPY: f64 = 0.1;
const STORE: f64 = 0.07;
/// Cycles that a tile waits for itself, and how much slower a block is without others on its multiprocessor.
const SERIAL: f64 = 600.0;
const ALONE: f64 = 2.5;
/// Nanoseconds of a block until its weights and its first pixels are there.
const START: f64 = 1_300.0;
/// Nanoseconds of a cycle.
const CYCLE: f64 = 0.57;
/// Share of the memory's bandwidth.
const STREAMED: f64 = 0.8;

fn tile_of(parameters: &Attr) -> Result<Tile, Refusal> {
    if *parameters == Attr::Absent {
        return Ok(TILES[0]);
    }
    let tile = Tile::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
    match TILES.contains(&tile) {
        true => Ok(tile),
        false => Err(Refusal::new(format!("has no tile of {} lines of {} channels", tile.lines, tile.columns))),
    }
}

impl Tactic for MmaHalo {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Convolution]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let few = Few::of(problem.region)?;
        few.convolved.require_weights(problem.region)?;
        let chip = target::chip(&problem.target.isa).filter(|chip| chip.capability >= OLDEST);
        let chip = chip.ok_or_else(|| Refusal::new("needs compute capability 8.0"))?;
        let counts =
            few.convolved.counts(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let candidate = |tile: &Tile| {
            let time = few.nanoseconds(*tile, counts, problem.target);
            let mut candidate = Candidate::plain(self, Numerics::Reassociated, time + LAUNCH);
            candidate.recipe.parameters = tile.to_attr();
            candidate.packed = few.convolved.weights_operand().into_iter().collect();
            candidate
        };
        let tiles = TILES.iter().filter(|tile| few.takes(**tile, chip.shared_memory));
        let candidates = cheapest(tiles.map(candidate), most);
        match candidates.is_empty() {
            true => Err(Refusal::new("the windows of a tile meet too much of the image")),
            false => Ok(candidates),
        }
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }

    fn pack(&self, _: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        let few = Few::of(region).map_err(|refusal| refused(NAME, &refusal))?;
        match few.convolved.weights_operand() == Some(operand) {
            true => taps_first(weight),
            false => Err(recipe(format!("{NAME} does not pack operand {operand}"))),
        }
    }
}

impl CudaTactic for MmaHalo {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let (few, tile) = (Few::of(region)?, tile_of(&recipe.parameters)?);
        match few.takes(tile, usize::MAX) {
            true => Ok(Box::new(HaloKernel { few, tile })),
            false => Err(Refusal::new("the windows of a tile meet too much of the image")),
        }
    }
}

struct HaloKernel {
    few: Few,
    tile: Tile,
}

/// The functions of the text: pixels in chunks, and one by one.
const WIDE: usize = 0;
const ANY: usize = 1;

impl Kernel for HaloKernel {
    fn configuration(&self) -> String {
        let (Tile { lines, columns }, few) = (self.tile, &self.few);
        let [channels, down, across] = few.taps();
        let [_, stride_y, stride_x] = few.along(&few.convolved.op.strides);
        let [_, dilation, _] = few.along(&few.convolved.op.dilations);
        let window = format!("{channels}x{down}x{across}/{stride_y}x{stride_x}/{dilation}");
        format!("{NAME} 1 {lines}x{columns} {window} {}", few.convolved.configuration())
    }

    fn source(&self) -> Source {
        let few = &self.few;
        let [channels, down, across] = few.taps();
        let [_, stride_y, stride_x] = few.along(&few.convolved.op.strides);
        let [_, dilation, _] = few.along(&few.convolved.op.dilations);
        let constants = [
            ("LINES", self.tile.lines),
            ("COLUMNS", self.tile.columns),
            ("CHANNELS", channels),
            ("TAPS_Y", down),
            ("TAPS_X", across),
            ("STRIDE_Y", stride_y),
            ("STRIDE_X", stride_x),
            ("DILATION_Y", dilation),
            ("RESIDENT", few.resident(self.tile)),
        ];
        let mut generated = few.convolved.generated();
        constants.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr int {name} = {value};\n")));
        Source { generated, text: include_str!("mma_halo.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["wide", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (Tile { lines, columns }, few) = (self.tile, &self.few);
        let Given { x, w, y, bias, images, input, output, windows, placed } = few.convolved.given(launch)?;
        if y.count() == 0 {
            return Ok(());
        }
        let (channels, outputs) = (few.convolved.inputs(), few.convolved.outputs());
        let (plane, positions) = (input.iter().product::<usize>(), output.iter().product::<usize>());
        let reach = windows.iter().map(|word| word.cast_signed().unsigned_abs());
        if positions >= MOST || reach.into_iter().any(|word| word >= MOST as u64) {
            return Err(recipe(format!("{:?} has more than 2^30 pixels", y.sizes)));
        }
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let axis = |strides: &[i64], axis: usize| strides.get(axis).copied().unwrap_or(0);
        // The stack is images, rows are all spatial axes, and columns channels.
        let channel = y.sizes.len() - 1;
        let beside = placed.iter().map(|placed| smallvec![axis(&placed.strides, 0)]);
        let strides = [smallvec![1], smallvec![0]].into_iter().chain(beside).collect();
        let matrices = Matrices {
            sizes: [positions, outputs, few.steps() * STEP],
            addresses: [x.address, w.address, y.address],
            rows: [plane, 0, outputs],
            elements: [channels * plane, 0, positions * outputs],
            wide: is_wide(&y, [number(outputs)]),
            stacks: images,
            space: Space { sizes: smallvec![number(images)], strides },
        };
        let beside = placed.iter().map(|placed| {
            let strides = &placed.strides;
            (placed, row_stride(strides, y.sizes, 1..channel), axis(strides, channel))
        });
        let mut words = matrices.words(&few.convolved.epilogue, beside);
        let width = output.last().copied().unwrap_or(1);
        let across = width.div_ceil(COLUMN);
        let of_image = (positions / width.max(1)).div_ceil(lines) * across;
        let tiles = of_image.checked_mul(images).and_then(|tiles| i32::try_from(tiles).ok());
        let tiles = tiles.ok_or_else(|| recipe(format!("too many tiles of {:?}", y.sizes)))?.unsigned_abs();
        words.extend_from_slice(&windows);
        let has_wide_weights = w.address.is_multiple_of(16) && outputs.is_multiple_of(8);
        words.extend([bias, across as u64, of_image as u64, u64::from(tiles), u64::from(has_wide_weights)]);
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let columns = small(outputs.div_ceil(columns));
        // Blocks take tiles in turns, and load their weights once.
        let most = small(few.resident(self.tile) * launch.units.max(1)).div_ceil(columns).max(1);
        let turns = tiles.div_ceil(most);
        let geometry = Geometry {
            grid: [tiles.div_ceil(turns), columns, 1],
            threads: small(THREADS),
            shared: small(few.shared(self.tile)),
        };
        let is_wide = x.address.is_multiple_of(8) && input.last().is_some_and(|width| width.is_multiple_of(CHUNK));
        launch.sink.run(if is_wide { WIDE } else { ANY }, geometry, &words)
    }
}
