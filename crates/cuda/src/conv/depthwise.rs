//! `cuda.conv.depthwise.nhwc`: convolution of every channel by itself, of f16 and bf16 images with the channels last, with an
//! epilogue.
//!
//! A thread computes neighbouring channels of a tile of pixels, so that it reads a pixel once for all of its windows. Recipes name
//! the tile: large ones read the image fewer times, small ones are more threads, which together wait for the memory only once.
//! The weights are packed, so that the channels of a tap are side by side. Sums are in f32.

use sinter_backend::{
    Candidate, Code, End, KernelError, Numerics, Problem, Recipe, Refusal, Region, StrideSupport, Tactic, Target,
};
use sinter_base::{Attr, Attribute, Attributes, Dim, Tensor};
use sinter_ops::OpKind;
use smallvec::smallvec;

use crate::conv::convolved::{Convolved, Counts, Given, row_stride, taps_first};
use crate::epilogue::is_wide;
use crate::fused::{Fused, Layout};
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, recipe};
use crate::matmul::matrices::Matrices;
use crate::space::Space;
use crate::tactic::{CudaTactic, LAUNCH, cheapest, compiled, refused};

/// See the module documentation.
pub struct Depthwise;

const NAME: &str = "cuda.conv.depthwise.nhwc";
/// Channels of an image are a multiple of this where threads take several at once.
const CHUNK: usize = 8;
/// Taps of a window along an axis at most, and lines and columns of the image that a tile meets at most, where a thread sums by
/// lines.
const MOST_TAPS: usize = 7;
const MOST_MET: usize = 32;
/// Taps that are loaded at once of larger windows.
const GROUP: usize = 4;
/// Threads of a block.
const THREADS: usize = 128;

/// The part of the result that a thread computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Tile {
    /// Channels.
    pub channels: usize,
    /// Pixels of a line.
    pub pixels: usize,
    /// Lines.
    pub lines: usize,
}

const fn tile(channels: usize, pixels: usize, lines: usize) -> Tile {
    Tile { channels, pixels, lines }
}

/// Every tile: a plan may name no other. The first one is that of a recipe without parameters.
const TILES: &[Tile] = &[
    tile(2, 1, 1),
    tile(2, 2, 1),
    tile(4, 2, 1),
    tile(2, 2, 2),
    tile(2, 4, 1),
    tile(4, 4, 1),
    tile(4, 2, 2),
    tile(2, 4, 2),
    tile(4, 4, 2),
];

/// Windows along one axis: taps, stride, and dilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Along {
    taps: usize,
    stride: usize,
    dilation: usize,
}

impl Along {
    /// Lines or columns of the image from the first to the last one that windows of so many neighbouring results meet.
    fn reach(self, results: usize) -> usize {
        let last = (results - 1).saturating_mul(self.stride);
        last.saturating_add(self.taps.saturating_sub(1).saturating_mul(self.dilation)).saturating_add(1)
    }

    /// How many of them a window meets.
    fn met(self, results: usize) -> usize {
        let Self { taps, stride, dilation } = self;
        let meets = |at: &usize| (0..results).any(|i| (0..taps).any(|tap| i * stride + tap * dilation == *at));
        (0..self.reach(results)).filter(meets).count()
    }
}

/// Windows along a column and along a line.
type Both = [Along; 2];

fn windows(convolved: &Convolved) -> Both {
    let Convolved { op, weights, .. } = convolved;
    let spatial = op.strides.len();
    // An image of one axis has one line.
    let along = |axis: Option<usize>| {
        axis.map_or(Along { taps: 1, stride: 1, dilation: 1 }, |axis| Along {
            taps: weights[2 + axis],
            stride: op.strides[axis],
            dilation: op.dilations[axis],
        })
    };
    [along(spatial.checked_sub(2)), along(spatial.checked_sub(1))]
}

impl Tile {
    fn of(parameters: &Attr) -> Result<Self, Refusal> {
        if *parameters == Attr::Absent {
            return Ok(TILES[0]);
        }
        let tile = Self::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
        match TILES.contains(&tile) {
            true => Ok(tile),
            false => Err(Refusal::new(format!("has no tile of {} x {} x {}", tile.lines, tile.pixels, tile.channels))),
        }
    }

    /// Does a thread sum by lines of the image, which it keeps in registers?
    fn is_by_lines(self, [down, across]: Both) -> bool {
        let fits = |along: Along, results| along.taps <= MOST_TAPS && along.reach(results) <= MOST_MET;
        fits(down, self.lines) && fits(across, self.pixels)
    }

    /// Blocks of a multiprocessor at least: fewer for a thread that needs more registers.
    fn resident(self, [down, across]: Both) -> usize {
        let by_tap = match down.taps * across.taps {
            0..=9 => 1,
            10..=25 => 2,
            _ => 3,
        };
        match self.channels * self.pixels * self.lines * by_tap {
            0..=16 => 4,
            17..=32 => 3,
            _ => 2,
        }
    }

    /// Is the tile of use?
    fn suits(self, windows: Both, channels: usize) -> bool {
        let shares_lines = self.lines == 1 || self.is_by_lines(windows);
        // Threads take one channel each where the channels are no multiple of eight.
        shares_lines && (channels.is_multiple_of(CHUNK) || self.channels == TILES[0].channels)
    }
}

/// Nanoseconds from a load of a thread to its use, beyond those of a launch.
const LATENCY: f64 = 300.0;
/// Cycles of a thread from one instruction to the next, where it is alone.
const SERIAL: f64 = 2.0;
/// Nanoseconds of a cycle.
const CYCLE: f64 = 0.57;
/// Instructions of a thread besides those for its pixels.
const ONCE: f64 = 100.0;
/// Instructions of an operation of the epilogue.
const OPERATION: f64 = 12.0;
/// Bytes that the first-level cache of a multiprocessor gives in a cycle.
const CACHE: f64 = 64.0;
/// Share of the memory's bandwidth.
const STREAMED: f64 = 0.8;

/// Sizes at the optima, and operations of the epilogue.
#[derive(Clone, Copy, Debug)]
struct Work {
    channels: usize,
    images: f64,
    /// Of the result.
    height: f64,
    width: f64,
    /// Elements of all operands and results.
    elements: f64,
    operations: f64,
}

impl Work {
    fn of(convolved: &Convolved, problem: &Problem<'_>) -> Option<Self> {
        let Counts { images, elements, .. } = convolved.counts(problem)?;
        let fused = Fused::of(problem.region).ok()?;
        let number = |dim: &Dim| problem.sizing.evaluate(dim).map(|size| size.max(0) as f64);
        let [_, spatial @ .., _] = fused.result_dims() else { return None };
        let width = spatial.last().map_or(Some(1.0), number)?;
        let height = spatial.iter().rev().nth(1).map_or(Some(1.0), number)?;
        let operations = fused.behind.map_or(0, |(op, _)| op.program.operation_count()) as f64;
        Some(Self { channels: convolved.weights[0], images, height, width, elements, operations })
    }
}

/// Expected nanoseconds of a launch, without its start: the memory, the instructions, or the first-level cache bounds the
/// throughput, and the first thread's loads and instructions come before.
fn nanoseconds(tile: Tile, windows: Both, work: Work, target: &Target) -> f64 {
    let Work { channels, images, height, width, elements, operations } = work;
    let [down, across] = windows;
    let own = if channels.is_multiple_of(CHUNK) { tile.channels } else { 1 };
    let [n, pixels, lines] = [own, tile.pixels, tile.lines].map(|size| size as f64);
    let taps = (down.taps * across.taps) as f64;
    let (met, kept) = match tile.is_by_lines(windows) {
        true => (down.met(tile.lines) * across.met(tile.pixels), taps),
        false => (down.taps * across.taps * tile.pixels * tile.lines, taps * lines),
    };
    let (met, results) = (met as f64, n * pixels * lines);
    let loads = met * (5.0 + 1.3 * n) + kept * (2.0 + n);
    let instructions = ONCE + loads + results * (taps + 2.0 + OPERATION * operations) + 6.0 * pixels * lines;
    let units = target.units.max(1) as f64;
    let threads = images * (height / lines).ceil() * (width / pixels).ceil() * (channels as f64 / n);
    let warps = (threads / 32.0 / (4.0 * units)).ceil();
    // Few warps hide less of what each waits for.
    let waiting = match tile.resident(windows) {
        0..=2 => 1.5,
        3 => 1.25,
        _ => 1.15,
    };
    let issued = warps * instructions * waiting * CYCLE;
    let cached = threads * met * n * 2.0 / (units * CACHE) * CYCLE;
    let memory = 2.0 * elements / (target.bytes_per_second.max(1e11) * 1e-9 * STREAMED);
    LATENCY + instructions * SERIAL * CYCLE + issued.max(cached).max(memory)
}

fn matched(region: &Region) -> Result<Convolved, Refusal> {
    let convolved = Convolved::of(region)?;
    let is_depthwise = convolved.inputs() == 1 && convolved.outputs() == 1 && convolved.op.groups > 1;
    if !is_depthwise || convolved.layout != Layout::Last {
        return Err(Refusal::new("takes one channel of each group, and channels last"));
    }
    if convolved.op.strides.len() > 2 {
        return Err(Refusal::new("takes at most two spatial axes"));
    }
    Ok(convolved)
}

impl Tactic for Depthwise {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Convolution]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let convolved = matched(problem.region)?;
        convolved.require_weights(problem.region)?;
        let work = Work::of(&convolved, problem);
        let work = work.ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let windows = windows(&convolved);
        let tiles = TILES.iter().filter(|tile| tile.suits(windows, work.channels));
        let candidate = |tile: &Tile| {
            let time = nanoseconds(*tile, windows, work, problem.target);
            let mut candidate = Candidate::plain(self, Numerics::Reassociated, time + LAUNCH);
            candidate.recipe.parameters = tile.to_attr();
            candidate.packed = convolved.weights_operand().into_iter().collect();
            candidate
        };
        Ok(cheapest(tiles.map(candidate), most))
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }

    fn pack(&self, _: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        let convolved = matched(region).map_err(|refusal| refused(NAME, &refusal))?;
        match convolved.weights_operand() == Some(operand) {
            true => taps_first(weight),
            false => Err(recipe(format!("{NAME} does not pack operand {operand}"))),
        }
    }
}

impl CudaTactic for Depthwise {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let (convolved, tile) = (matched(region)?, Tile::of(&recipe.parameters)?);
        match tile.suits(windows(&convolved), convolved.weights[0]) {
            true => Ok(Box::new(DepthwiseKernel { convolved, tile })),
            false => Err(Refusal::new(format!("the windows are too large for tiles of {} lines", tile.lines))),
        }
    }
}

struct DepthwiseKernel {
    convolved: Convolved,
    tile: Tile,
}

/// The functions of the text: channels in chunks, and one by one.
const WIDE: usize = 0;
const ANY: usize = 1;

/// The structure `Divisor` of the text.
fn divisor(by: usize) -> u64 {
    let by = u32::try_from(by).unwrap_or(u32::MAX).max(1);
    u64::from(by) | u64::from(u32::MAX / by) << 32
}

impl Kernel for DepthwiseKernel {
    fn configuration(&self) -> String {
        let Tile { channels, pixels, lines } = self.tile;
        let along = |Along { taps, stride, dilation }: Along| format!("{taps}/{stride}/{dilation}");
        let [down, across] = windows(&self.convolved).map(along);
        format!("{NAME} 2 {lines}x{pixels}x{channels} {down} {across} {}", self.convolved.configuration())
    }

    fn source(&self) -> Source {
        let Tile { channels, pixels, lines } = self.tile;
        let both = windows(&self.convolved);
        let [down, across] = both;
        let constants = [
            ("TAPS_Y", down.taps),
            ("STRIDE_Y", down.stride),
            ("DILATION_Y", down.dilation),
            ("TAPS_X", across.taps),
            ("STRIDE_X", across.stride),
            ("DILATION_X", across.dilation),
            ("CHANNELS", channels),
            ("PIXELS", pixels),
            ("LINES", lines),
            ("GROUP", across.taps.clamp(1, GROUP)),
            ("THREADS", THREADS),
            ("RESIDENT", self.tile.resident(both)),
        ];
        let mut generated = self.convolved.generated();
        constants.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr int {name} = {value};\n")));
        generated.push_str(&format!("constexpr bool BY_LINES = {};\n", self.tile.is_by_lines(both)));
        Source { generated, text: include_str!("depthwise.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["wide", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let convolved = &self.convolved;
        let Given { x, w, y, bias, images, input, output, windows, placed } = convolved.given(launch)?;
        if y.count() == 0 {
            return Ok(());
        }
        let channels = convolved.weights[0];
        let pixels = images * output.iter().product::<usize>();
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let is_far = windows.iter().any(|word| i32::try_from(word.cast_signed()).is_err());
        if is_far || [x.count(), y.count()].iter().any(|count| i32::try_from(*count).is_err()) {
            return Err(recipe(format!("{:?} has more than 2^31 elements", x.sizes)));
        }
        let strides = std::iter::repeat_with(|| smallvec![0]).take(2 + placed.len()).collect();
        let chunks = is_wide(&x, [number(channels)]) && [w.address, bias].iter().all(|at| at.is_multiple_of(16));
        let matrices = Matrices {
            sizes: [pixels, channels, convolved.taps()],
            addresses: [x.address, w.address, y.address],
            rows: [channels, channels, channels],
            elements: [0, 0, 0],
            wide: chunks && channels.is_multiple_of(CHUNK) && is_wide(&y, [number(channels)]),
            stacks: 1,
            space: Space { sizes: smallvec![1], strides },
        };
        let beside: Vec<_> = placed
            .iter()
            .map(|placed| {
                let column = placed.strides.last().copied().unwrap_or(0);
                (placed, row_stride(&placed.strides, y.sizes, 0..=input.len()), column)
            })
            .collect();
        let wide =
            matrices.wide && beside.iter().all(|(placed, row, column)| placed.is_wide(*row, *column, &smallvec![]));
        let mut words = matrices.words(&convolved.epilogue, beside);
        words.extend_from_slice(&windows);
        let width = output.last().copied().unwrap_or(1).max(1);
        let height = output.iter().rev().nth(1).copied().unwrap_or(1);
        let (across, down) = (width.div_ceil(self.tile.pixels), height.div_ceil(self.tile.lines));
        let chunks = if wide { channels / self.tile.channels } else { channels };
        let work = images * down * across * chunks;
        words.extend([bias, work as u64, divisor(chunks), divisor(across), divisor(down)]);
        // Small blocks spread evenly where there are few.
        let threads = if work < THREADS * 2 * launch.units.max(1) { THREADS / 2 } else { THREADS };
        let blocks = i32::try_from(work).ok().and_then(|_| u32::try_from(work.div_ceil(threads)).ok());
        let blocks = blocks.ok_or_else(|| recipe(format!("too many tiles of {:?}", y.sizes)))?;
        let threads = u32::try_from(threads).unwrap_or(u32::MAX);
        let geometry = Geometry { grid: [blocks, 1, 1], threads, shared: 0 };
        launch.sink.run(if wide { WIDE } else { ANY }, geometry, &words)
    }

    fn stride_support(&self, _: End) -> StrideSupport {
        StrideSupport::Contiguous
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Chip;

    const SAME: Along = Along { taps: 3, stride: 1, dilation: 1 };

    #[test]
    fn tiles_meet_columns_of_the_image() {
        assert_eq!((SAME.reach(4), SAME.met(4)), (6, 6));
        let apart = Along { stride: 2, dilation: 4, ..SAME };
        // 0, 4, 8 and 2, 6, 10.
        assert_eq!((apart.reach(2), apart.met(2)), (11, 6));
        let skipping = Along { taps: 1, stride: 3, dilation: 1 };
        assert_eq!((skipping.reach(3), skipping.met(3)), (7, 3));
    }

    #[test]
    fn divisors_divide() {
        for by in [1usize, 2, 3, 7, 9, 64, 121, 1000, 65_537, (1 << 30) - 1, 1 << 30] {
            let word = divisor(by);
            let (by, factor) = (word & 0xFFFF_FFFF, word >> 32);
            for number in [0, 1, by - 1, by, by + 1, 2 * by, 12_345, 1 << 20, (1 << 30) + 1, (1 << 31) - 1] {
                let least = (number * factor) >> 32;
                let quotient = if number - least * by < by { least } else { least + 1 };
                assert_eq!(quotient, number / by, "{number} / {by}");
            }
        }
    }

    #[test]
    fn one_image_wants_small_tiles_and_many_want_large_ones() {
        let target = Chip::named("sm_90a").map(Chip::typical).expect("a known target");
        let time = |tile, images: f64| {
            let elements = 2.0 * images * 56.0 * 56.0 * 96.0;
            let work = Work { channels: 96, images, height: 56.0, width: 56.0, elements, operations: 1.0 };
            nanoseconds(tile, [SAME; 2], work, &target)
        };
        let (small, large) = (tile(2, 2, 1), tile(4, 4, 2));
        assert!(time(small, 1.0) < time(large, 1.0));
        assert!(time(large, 128.0) < time(small, 128.0));
    }
}
