//! `cuda.conv.mma`: convolution of f16 and bf16 as an implicit product on the tensor cores of compute capability 8.0 and later,
//! with an epilogue.
//!
//! Images have their channels in front of the spatial axes, results have them there or last; up to three spatial axes,
//! strides, dilations, any padding, and groups of a few channels at least. Sums are in f32, over channels and taps in steps of
//! 16. Recipes name the shape of a tile.

use sinter_backend::{Candidate, Code, KernelError, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{Attr, Attribute, Attributes};
use sinter_ops::OpKind;
use smallvec::smallvec;

use crate::conv::convolved::{Convolved, Given, row_stride};
use crate::epilogue::is_wide;
use crate::fused::Layout;
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, recipe};
use crate::matmul::cost::{Schedule, ranked};
use crate::matmul::matrices::Matrices;
use crate::matmul::mma::{OLDEST, is_aligned};
use crate::matmul::stacked::{Extent, Side};
use crate::space::Space;
use crate::tactic::{CudaTactic, compiled};
use crate::target;
use crate::windows::SPATIAL;

/// See the module documentation.
pub struct Mma;

const NAME: &str = "cuda.conv.mma";
/// Positions of a tile.
const COLUMNS: usize = 64;
/// Terms of a step.
const STEP: usize = 64;
/// Output channels of a group at least: fewer would leave most rows of a tile empty.
const LEAST_CHANNELS: usize = 8;
/// Elements of an image of a group, and terms of a sum, at most: the text counts them in 32 bits.
const MOST: usize = 1 << 30;

/// The shape of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Attributes)]
pub struct Tile {
    /// Output channels.
    pub rows: usize,
}

/// A tile with its warps along both axes, stages of the pipeline, and blocks of a multiprocessor.
#[derive(Debug)]
struct Shape {
    tile: Tile,
    warps: [usize; 2],
    stages: usize,
    resident: usize,
}

/// Every shape: a plan may name no other. The first one is that of a recipe without parameters.
const SHAPES: &[Shape] = &[
    Shape { tile: Tile { rows: 128 }, warps: [2, 2], stages: 3, resident: 2 },
    Shape { tile: Tile { rows: 64 }, warps: [2, 2], stages: 3, resident: 2 },
    Shape { tile: Tile { rows: 32 }, warps: [2, 2], stages: 3, resident: 4 },
];

impl Shape {
    fn of(parameters: &Attr) -> Result<&'static Self, Refusal> {
        if *parameters == Attr::Absent {
            return Ok(&SHAPES[0]);
        }
        let tile = Tile::from_attr(parameters).map_err(|error| Refusal::new(error.to_string()))?;
        let found = SHAPES.iter().find(|shape| shape.tile == tile);
        found.ok_or_else(|| Refusal::new(format!("has no tile of {} channels", tile.rows)))
    }

    /// Bytes of shared memory.
    fn shared(&self) -> usize {
        self.stages * (self.tile.rows + COLUMNS) * STEP * 2
    }

    fn schedule(&self, target: &Target, shared: usize) -> Schedule {
        // Gathering costs as much as multiplying.
        let whole = if target.isa == "sm_90a" { 0.15 } else { 0.3 };
        Schedule {
            rows: self.tile.rows as f64,
            columns: COLUMNS as f64,
            issued: COLUMNS as f64,
            split: 1.0,
            resident: self.resident.min(shared / self.shared()).max(1) as f64,
            stages: self.stages as f64,
            latency: 1_700.0,
            efficiency: whole * (self.tile.rows as f64 / 128.0).sqrt(),
            overhead: 1_500.0,
            rounds: self.tile.rows as f64 / 64.0,
            gathering: 0.0,
        }
    }
}

/// Matches a region of images with channels in front of the spatial axes.
fn matched(region: &Region) -> Result<Convolved, Refusal> {
    let convolved = Convolved::of(region)?;
    match convolved.layout {
        Layout::Last => return Err(Refusal::new("takes images with channels in front of the spatial axes")),
        Layout::Turned if convolved.op.groups > 1 => {
            return Err(Refusal::new("takes one group where only the result has its channels last"));
        }
        Layout::First | Layout::Turned => {}
    }
    match convolved.outputs() {
        0..LEAST_CHANNELS => Err(Refusal::new(format!("takes at least {LEAST_CHANNELS} output channels of a group"))),
        _ => Ok(convolved),
    }
}

/// The sizes of the product at the optima: rows are output channels, columns positions, and images and groups the stack.
fn extent(convolved: &Convolved, problem: &Problem<'_>) -> Option<Extent> {
    let counts = convolved.counts(problem)?;
    let (m, k) = (convolved.outputs() as f64, (convolved.inputs() * convolved.taps()) as f64);
    let stacks = counts.images * convolved.op.groups as f64;
    // Images are gathered for each tap.
    Some(Extent::of(stacks, m, counts.positions, k))
}

impl Tactic for Mma {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Convolution]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let convolved = matched(problem.region)?;
        let chip = target::chip(&problem.target.isa).filter(|chip| chip.capability >= OLDEST);
        let chip = chip.ok_or_else(|| Refusal::new("needs compute capability 8.0"))?;
        let extent = extent(&convolved, problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let shapes = SHAPES.iter().filter(|shape| shape.shared() <= chip.shared_memory);
        let ways = shapes.map(|shape| (shape.tile.to_attr(), shape.schedule(problem.target, chip.shared_memory)));
        Ok(ranked(self, (extent, convolved.data_type), problem.target, ways, most))
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }
}

impl CudaTactic for Mma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        Ok(Box::new(MmaKernel { convolved: matched(region)?, shape: Shape::of(&recipe.parameters)? }))
    }
}

struct MmaKernel {
    convolved: Convolved,
    shape: &'static Shape,
}

/// The functions of the text: weights in chunks, and by elements.
const WIDE: usize = 0;
const ANY: usize = 1;

/// The structure `Divisor` of the text: n / d = n factor >> shift for n < 2^31.
fn divisor(number: usize) -> u64 {
    let number = number.max(1) as u64;
    let shift = 31 + u64::from(number.next_power_of_two().trailing_zeros());
    let factor = (1u128 << shift).div_ceil(u128::from(number));
    u64::try_from(factor).unwrap_or(u64::MAX) | shift << 32
}

impl MmaKernel {
    fn is_turned(&self) -> bool {
        self.convolved.layout == Layout::Turned
    }
}

impl Kernel for MmaKernel {
    fn configuration(&self) -> String {
        let turned = if self.is_turned() { "nhwc " } else { "" };
        format!("{NAME} 2 {turned}{} {}", self.shape.tile.rows, self.convolved.configuration())
    }

    fn source(&self) -> Source {
        let Shape { tile, warps, stages, resident } = self.shape;
        let constants = [
            ("TILE_ROWS", tile.rows),
            ("WARPS_DOWN", warps[0]),
            ("WARPS_ACROSS", warps[1]),
            ("STAGES", *stages),
            ("RESIDENT", *resident),
        ];
        let mut generated = self.convolved.generated();
        constants.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr int {name} = {value};\n")));
        generated.push_str(&format!("constexpr bool TURNED = {};\n", self.is_turned()));
        Source { generated, text: include_str!("mma.cu"), contraction: Contraction::Off }
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
        let (groups, rows, seen) = (convolved.op.groups, convolved.outputs(), convolved.inputs());
        let (plane, positions) = (input.iter().product::<usize>(), output.iter().product::<usize>());
        let taps = &convolved.weights[2..];
        let k = seen * convolved.taps();
        let reach = taps.iter().zip(&convolved.op.dilations).map(|(taps, dilation)| taps * dilation).max().unwrap_or(0);
        if [seen * plane, positions, k, reach].iter().any(|size| *size >= MOST) {
            return Err(recipe(format!("{:?} by {:?} has more than 2^30 elements", x.sizes, convolved.weights)));
        }
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        // The stack is images and groups. Rows of the result are channels and columns all spatial axes, or the other way.
        let axis = |strides: &[i64], axis: usize| strides.get(axis).copied().unwrap_or(0);
        let channel = if self.is_turned() { y.sizes.len() - 1 } else { 1 };
        let beside = placed.iter().map(|placed| {
            let strides = &placed.strides;
            smallvec![axis(strides, 0), number(rows) * axis(strides, channel)]
        });
        let own = [smallvec![0, 1], smallvec![number(groups), 1]];
        let space = Space {
            sizes: smallvec![number(images), number(groups)],
            strides: own.into_iter().chain(beside).collect(),
        };
        let [m, n] = if self.is_turned() { [positions, rows] } else { [rows, positions] };
        let matrices = Matrices {
            sizes: [m, n, k],
            addresses: [w.address, x.address, y.address],
            rows: [k, plane, n],
            elements: [rows * k, seen * plane, m * n],
            wide: is_wide(&y, [number(n)]),
            stacks: images * groups,
            space,
        };
        let spatial = taps.len();
        let varies = |strides: &[i64]| i64::from(strides.iter().skip(2).any(|stride| *stride != 0));
        let beside = placed.iter().map(|placed| {
            let strides = &placed.strides;
            match self.is_turned() {
                true => (placed, row_stride(strides, y.sizes, 1..=spatial), axis(strides, channel)),
                false => (placed, axis(strides, channel), varies(strides)),
            }
        });
        let mut words = matrices.words(&convolved.epilogue, beside);
        words.extend_from_slice(&windows);
        words.push(bias);
        let inner = |axes: usize| taps.iter().rev().take(axes).product::<usize>();
        words.extend([inner(SPATIAL), inner(2), inner(1)].map(divisor));
        let weights = Side { address: w.address, stride: k, size: rows * k, count: groups };
        let entry = if is_aligned(&weights) { WIDE } else { ANY };
        let tiles = rows.div_ceil(self.shape.tile.rows).checked_mul(positions.div_ceil(COLUMNS));
        let tiles = tiles.and_then(|tiles| tiles.checked_mul(images * groups));
        let tiles = tiles.and_then(|tiles| i32::try_from(tiles).ok());
        let tiles = tiles.ok_or_else(|| recipe(format!("too many tiles of {:?}", y.sizes)))?;
        let [down, across] = self.shape.warps;
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let geometry = Geometry {
            grid: [tiles.unsigned_abs(), 1, 1],
            threads: small(32 * down * across),
            shared: small(self.shape.shared()),
        };
        launch.sink.run(entry, geometry, &words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_divide() {
        for by in [1usize, 2, 3, 7, 9, 25, 49, 64, 121, 1000, 65_537, (1 << 30) - 1] {
            let word = divisor(by);
            let (factor, shift) = (word & 0xFFFF_FFFF, word >> 32);
            for number in [0, 1, by - 1, by, by + 1, 12_345, 1 << 20, (1 << 30) + 1, (1 << 31) - 1] {
                let quotient = (number as u64 * factor) >> shift;
                assert_eq!(quotient, (number / by) as u64, "{number} / {by}");
            }
        }
    }
}
