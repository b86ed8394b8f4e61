//! `cuda.conv.mma`: convolution of f16 and bf16 as an implicit product on the tensor cores of compute capability 8.0 and later,
//! with an epilogue.
//!
//! Images stay in their layout, channels before spatial axes; up to three spatial axes, strides, dilations, any padding, and
//! groups of a few channels at least. Sums are in f32, over channels and taps in steps of 16. Recipes name the shape of a tile.

use sinter_backend::{Candidate, Code, KernelError, Numerics, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{Attr, Attribute, Attributes, DataType, Dim};
use sinter_ops::conv::Convolution;
use sinter_ops::{Op, OpKind};
use smallvec::{SmallVec, smallvec};

use crate::compile::compile;
use crate::epilogue::{Epilogue, Fused, is_wide};
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, Tensor};
use crate::matmul::cost::{self, Schedule};
use crate::matmul::mma::{OLDEST, is_aligned};
use crate::matmul::stacked::{Extent, Matrices, Side};
use crate::space::Space;
use crate::tactic::{CudaTactic, LAUNCH, refuse_unknown_sizes, refused};
use crate::target;
use crate::windows::{SPATIAL, Shape as WindowShape};

/// See the module documentation.
pub struct Mma;

const NAME: &str = "cuda.conv.mma";
/// Positions of a tile.
const COLUMNS: usize = 64;
/// Terms of a step.
const STEP: usize = 64;
/// Output channels of a group at least: fewer would leave most rows of a tile empty.
const LEAST_CHANNELS: i64 = 8;
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
        }
    }
}

/// A convolution with its epilogue.
#[derive(Clone, Debug)]
struct Convolved {
    op: Convolution,
    data_type: DataType,
    epilogue: Epilogue,
    /// Image, weights and bias in the region.
    operands: [Option<usize>; 3],
}

impl Convolved {
    fn of(region: &Region) -> Result<Self, Refusal> {
        refuse_unknown_sizes(region)?;
        let fused = Fused::of(region)?;
        let Op::Convolution(op) = &fused.node.op else { return Err(Refusal::OtherOperator) };
        let spatial = op.strides.len();
        if !(1..=SPATIAL).contains(&spatial) {
            return Err(Refusal::new(format!("takes at most {SPATIAL} spatial axes, not {spatial}")));
        }
        let weights = fused.input(1).ok_or_else(|| Refusal::new("takes weights"))?;
        let data_type = weights.data_type;
        if !matches!(data_type, DataType::F16 | DataType::Bf16) {
            return Err(Refusal::new(format!("takes f16 and bf16, not {data_type}")));
        }
        let channels = weights.dims().ok().and_then(|dims| dims.first()?.as_constant());
        let least = LEAST_CHANNELS * i64::try_from(op.groups).unwrap_or(i64::MAX);
        if channels.is_none_or(|channels| channels < least) {
            return Err(Refusal::new(format!("takes at least {LEAST_CHANNELS} output channels of a group")));
        }
        let columns: SmallVec<[usize; SPATIAL]> = (2..2 + spatial).collect();
        Ok(Self {
            op: op.clone(),
            data_type,
            epilogue: fused.epilogue(data_type, [&[1], &columns])?,
            operands: [fused.operand(0), fused.operand(1), fused.operand(2)],
        })
    }

    /// The sizes of the product at the optima.
    fn extent(&self, problem: &Problem<'_>) -> Option<Extent> {
        let fused = Fused::of(problem.region).ok()?;
        let number = |dim: &Dim| problem.sizing.evaluate(dim).map(|size| size.max(0) as f64);
        let ([images, channels, positions @ ..], [_, terms @ ..]) = (fused.result_dims(), fused.input(1)?.dims().ok()?)
        else {
            return None;
        };
        let product = |dims: &[Dim]| dims.iter().try_fold(1.0, |product, dim| Some(product * number(dim)?));
        let groups = self.op.groups.max(1) as f64;
        let m = number(channels)? / groups;
        Some(Extent { stacks: number(images)? * groups, m, n: product(positions)?, k: product(terms)? })
    }
}

impl Tactic for Mma {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Convolution]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let convolved = Convolved::of(problem.region)?;
        let chip = target::chip(&problem.target.isa).filter(|chip| chip.capability >= OLDEST);
        let chip = chip.ok_or_else(|| Refusal::new("needs compute capability 8.0"))?;
        let extent = convolved.extent(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let mut candidates: Vec<Candidate> = SHAPES
            .iter()
            .map(|shape| {
                let schedule = shape.schedule(problem.target, chip.shared_memory);
                let time = cost::nanoseconds(extent, schedule, convolved.data_type, problem.target);
                let mut candidate = Candidate::plain(self, Numerics::Reassociated, time + LAUNCH);
                candidate.recipe.parameters = shape.tile.to_attr();
                candidate
            })
            .collect();
        candidates.sort_by(|a, b| a.estimate.total_cmp(&b.estimate));
        candidates.truncate(most);
        Ok(candidates)
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        let kernel = self.kernel(recipe, region).map_err(|refusal| refused(NAME, &refusal))?;
        compile(&*kernel, &target.isa).map(Some)
    }
}

impl CudaTactic for Mma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        Ok(Box::new(MmaKernel { convolved: Convolved::of(region)?, shape: Shape::of(&recipe.parameters)? }))
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

impl Kernel for MmaKernel {
    fn configuration(&self) -> String {
        let Convolved { op, epilogue, .. } = &self.convolved;
        format!("{NAME} 1 {} {} {}", self.shape.tile.rows, op.strides.len(), epilogue.configuration())
    }

    fn source(&self) -> Source {
        let Shape { tile, warps, stages, resident } = self.shape;
        let constants = [
            ("TILE_ROWS", tile.rows),
            ("WARPS_DOWN", warps[0]),
            ("WARPS_ACROSS", warps[1]),
            ("STAGES", *stages),
            ("RESIDENT", *resident),
            ("SPATIAL_AXES", self.convolved.op.strides.len()),
        ];
        let mut generated = self.convolved.epilogue.generated();
        constants.iter().for_each(|(name, value)| generated.push_str(&format!("constexpr int {name} = {value};\n")));
        Source { generated, text: include_str!("mma.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["wide", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let Convolved { op, data_type, epilogue, operands } = &self.convolved;
        let given = |index: usize| operands[index].and_then(|operand| launch.inputs.get(operand).copied().flatten());
        let y = launch.output(0)?;
        let missing = || KernelError::Recipe("an operand of a convolution is left out".to_owned());
        let (x, w, bias) = (given(0).ok_or_else(missing)?, given(1).ok_or_else(missing)?, given(2));
        let mismatch = || KernelError::Recipe(format!("{:?} by {:?} is no {:?}", x.sizes, w.sizes, y.sizes));
        let ([n, c, input @ ..], [m, seen, taps @ ..], [y_n, y_m, output @ ..]) = (x.sizes, w.sizes, y.sizes) else {
            return Err(mismatch());
        };
        let groups = op.groups;
        let fits = n == y_n && m == y_m && groups > 0 && seen * groups == *c && m.is_multiple_of(groups);
        let is_own = |tensor: &Tensor<'_>| tensor.data_type == *data_type;
        let types = is_own(&x) && is_own(&w) && bias.as_ref().is_none_or(is_own) && y.data_type == epilogue.result;
        if !fits || !types || bias.is_some_and(|bias| bias.sizes != [*m]) {
            return Err(mismatch());
        }
        let Convolution { strides, dilations, padding, .. } = op;
        let windows = WindowShape { strides, dilations, padding, ceil: false }.words(input, taps, output)?;
        let placed = epilogue.place(&launch.inputs, y.sizes).ok_or_else(mismatch)?;
        if y.count() == 0 {
            return Ok(());
        }
        let (plane, positions) = (input.iter().product::<usize>(), output.iter().product::<usize>());
        let (rows, k) = (m / groups, seen * taps.iter().product::<usize>());
        let reach = taps.iter().zip(dilations).map(|(taps, dilation)| taps * dilation).max().unwrap_or(0);
        if [seen * plane, positions, k, reach].iter().any(|size| *size >= MOST) {
            return Err(KernelError::Recipe(format!("{:?} by {:?} has more than 2^30 elements", x.sizes, w.sizes)));
        }
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        // The stack is images and groups; rows of the epilogue's operands are channels, columns all spatial axes.
        let axis = |strides: &[i64], axis: usize| strides.get(axis).copied().unwrap_or(0);
        let beside = placed.iter().map(|placed| {
            let strides = &placed.strides;
            smallvec![axis(strides, 0), number(rows) * axis(strides, 1)]
        });
        let own = [smallvec![0, 1], smallvec![number(groups), 1]];
        let space =
            Space { sizes: smallvec![number(*n), number(groups)], strides: own.into_iter().chain(beside).collect() };
        let matrices = Matrices {
            sizes: [rows, positions, k],
            addresses: [w.address, x.address, y.address],
            rows: [k, plane, positions],
            elements: [rows * k, seen * plane],
            wide: is_wide(&y, [number(positions)]),
            stacks: n * groups,
            space,
        };
        let varies = |strides: &[i64]| i64::from(strides.iter().skip(2).any(|stride| *stride != 0));
        let beside = placed.iter().map(|placed| (placed, axis(&placed.strides, 1), varies(&placed.strides)));
        let mut words = matrices.words(epilogue, beside);
        words.extend_from_slice(&windows);
        words.push(bias.map_or(0, |bias| bias.address));
        let inner = |axes: usize| taps.iter().rev().take(axes).product::<usize>();
        words.extend([inner(SPATIAL), inner(2), inner(1)].map(divisor));
        let weights = Side { address: w.address, stride: k, size: rows * k, count: groups };
        let entry = if is_aligned(&weights) { WIDE } else { ANY };
        let tiles = rows.div_ceil(self.shape.tile.rows).checked_mul(positions.div_ceil(COLUMNS));
        let tiles = tiles.and_then(|tiles| tiles.checked_mul(n * groups)).and_then(|tiles| i32::try_from(tiles).ok());
        let tiles = tiles.ok_or_else(|| KernelError::Recipe(format!("too many tiles of {:?}", y.sizes)))?;
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
