//! `cuda.matmul.tiled`: a product of any element type by tiles in shared memory, without tensor cores.
//!
//! A block computes 64 x 64 elements of the result, a thread 4 x 4 of them. Both operands are read through strides, so that
//! transposed ones and stacks that broadcast need no copy. Sums run along k in order, in the type that carries the elements.

use sinter_backend::{Candidate, Code, KernelError, Numerics, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{DataType, Dim, TensorType};
use sinter_ops::OpKind;
use sinter_ops::matmul::MatMul;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source};
use crate::only_operator;
use crate::space::{Space, words};
use crate::tactic::{CudaTactic, LAUNCH, Speed, compiled, describe, estimate, refuse_unknown_sizes};
use crate::types::{Kind, element};

/// See the module documentation.
pub struct Tiled;

const NAME: &str = "cuda.matmul.tiled";
/// Terms of a step, and the nanoseconds that a block takes for one however many blocks there are; measured on an H200.
const STEP: usize = 16;
const STEP_TIME: f64 = 1_500.0;
/// Blocks of a multiprocessor that run together.
const RESIDENT: f64 = 4.0;

impl Tactic for Tiled {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::MatMul]
    }

    fn offer(&self, problem: &Problem<'_>, _most: usize) -> Result<Vec<Candidate>, Refusal> {
        let kernel = kernel(problem.region)?;
        let time = estimate(problem, Speed::PRODUCT).max(chain(problem).unwrap_or(0.0) + LAUNCH);
        let mut candidate = Candidate::plain(self, Numerics::Reassociated, time);
        describe(&mut candidate, problem.region, &*kernel);
        Ok(vec![candidate])
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }
}

impl CudaTactic for Tiled {
    fn kernel(&self, _recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        kernel(region)
    }
}

/// Nanoseconds of the steps that a multiprocessor takes one after the other, where there are too few tiles for the device; `None`
/// for sizes without a value at the optima.
fn chain(problem: &Problem<'_>) -> Option<f64> {
    let op = problem.region.only().and_then(|node| match &node.op {
        sinter_ops::Op::MatMul(op) => Some(op),
        _ => None,
    })?;
    let number = |dim: &Dim| problem.sizing.evaluate(dim).map(|size| usize::try_from(size).unwrap_or(0));
    let sizes = |ty: &TensorType| ty.dims().ok()?.iter().map(number).collect::<Option<SmallVec<[usize; 8]>>>();
    let operands = [sizes(problem.region.input(0)?)?, sizes(problem.region.input(1)?)?];
    let left = matrix(&operands[0], op.transpose_a, true)?;
    let right = matrix(&operands[1], op.transpose_b, false)?;
    let result: f64 = sizes(problem.region.output(0)?)?.iter().map(|size| *size as f64).product();
    let stacks = result / (left.rows * right.columns).max(1) as f64;
    let blocks = stacks * (left.rows.div_ceil(TILE) * right.columns.div_ceil(TILE)) as f64;
    let steps = left.columns.div_ceil(STEP) as f64;
    let waves = (blocks / (problem.target.units.max(1) as f64 * RESIDENT)).ceil();
    Some(waves * steps * STEP_TIME)
}

/// Rows and columns of a tile; `TILE` in `tiled.cu`.
const TILE: usize = 64;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, MatMul);
    refuse_unknown_sizes(region)?;
    match region.input(0).map(|ty| ty.data_type) {
        Some(data_type) if Kind::of(data_type).is_some() => Ok(Box::new(TiledKernel { op: op.clone(), data_type })),
        _ => Err(Refusal::new("takes numbers")),
    }
}

struct TiledKernel {
    op: MatMul,
    data_type: DataType,
}

/// Stacked matrices: sizes in front, rows, columns, and the distances of neighbours along both.
struct Matrix<'a> {
    batch: &'a [usize],
    rows: usize,
    columns: usize,
    strides: [usize; 2],
}

/// An operand; a list of numbers is a row on the left and a column on the right.
fn matrix(sizes: &[usize], transposed: bool, is_left: bool) -> Option<Matrix<'_>> {
    Some(match sizes {
        [] => return None,
        [k] if is_left => Matrix { batch: &[], rows: 1, columns: *k, strides: [0, 1] },
        [k] => Matrix { batch: &[], rows: *k, columns: 1, strides: [1, 0] },
        [batch @ .., a, b] if transposed => Matrix { batch, rows: *b, columns: *a, strides: [1, *b] },
        [batch @ .., a, b] => Matrix { batch, rows: *a, columns: *b, strides: [*b, 1] },
    })
}

impl Kernel for TiledKernel {
    fn configuration(&self) -> String {
        format!("{NAME} 1 {}", self.data_type)
    }

    fn source(&self) -> Source {
        let generated = format!("typedef {} T;\n", element(self.data_type).unwrap_or("void"));
        Source { generated, text: include_str!("tiled.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["product"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (a, b, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
        let mismatch = || KernelError::Recipe(format!("{:?} times {:?} is no {:?}", a.sizes, b.sizes, y.sizes));
        let left = matrix(a.sizes, self.op.transpose_a, true).ok_or_else(mismatch)?;
        let right = matrix(b.sizes, self.op.transpose_b, false).ok_or_else(mismatch)?;
        let lone = usize::from(a.sizes.len() > 1) + usize::from(b.sizes.len() > 1);
        let batch = y.sizes.len().checked_sub(lone).map(|batch| &y.sizes[..batch]).ok_or_else(mismatch)?;
        let (m, n, k) = (left.rows, right.columns, left.columns);
        let count = batch.iter().product::<usize>() * m * n;
        let types = [&a, &b, &y].iter().all(|tensor| tensor.data_type == self.data_type);
        let space = Space::broadcast(batch, [left.batch, right.batch]).ok_or_else(mismatch)?;
        if !types || right.rows != k || count != y.count() {
            return Err(mismatch());
        }
        if count == 0 {
            return Ok(());
        }
        let mut parameters: SmallVec<[u64; 48]> = SmallVec::new();
        parameters.extend([m, n, k].map(|size| size as u64));
        parameters.extend([a.address, b.address, y.address]);
        parameters.extend(left.strides.iter().chain(&right.strides).map(|stride| *stride as u64));
        let stacks: usize = batch.iter().product();
        parameters.extend([stacks as u64, space.sizes.len() as u64]);
        parameters.extend(words(&space.sizes));
        for (strides, size) in space.strides.iter().zip([m * k, k * n]) {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            parameters.extend(words(&strides.iter().map(|stride| stride * size).collect()));
        }
        let tiles = |size: usize| u32::try_from(size.div_ceil(TILE)).unwrap_or(u32::MAX);
        // The rows of tiles are the first axis of the grid, which may be the longest.
        let grid = [tiles(m), tiles(n).min(65_535), u32::try_from(stacks).unwrap_or(u32::MAX).min(65_535)];
        launch.sink.run(0, Geometry { grid, threads: 256, shared: 0 }, &parameters)
    }
}

#[cfg(test)]
mod tests {
    use sinter_backend::Sizing;
    use sinter_base::ValueType;
    use sinter_ops::{Body, InferContext};

    use super::*;
    use crate::target::Chip;

    fn expected(op: MatMul, a: [i64; 2], b: [i64; 2]) -> f64 {
        let mut body = Body::new();
        let ty = |sizes: [i64; 2]| ValueType::tensor(DataType::F16, sizes.map(Dim::from).to_vec());
        let inputs = [a, b].map(|sizes| Some(body.add_input(ty(sizes))));
        let y = body.add(op.into(), &inputs, &mut InferContext::default()).expect("a product");
        body.set_outputs(y.to_vec());
        let (region, target) = (Region::new(body), Chip::named("sm_90a").expect("a known target").typical());
        let problem = Problem { region: &region, target: &target, sizing: &Sizing::default() };
        Tiled.offer(&problem, 1).expect("an offer")[0].estimate
    }

    #[test]
    fn few_tiles_with_long_sums_take_long() {
        let plain = MatMul::default();
        // Sixteen blocks of eighty steps.
        assert!(expected(plain.clone(), [1, 1280], [1280, 1000]) > 100_000.0);
        let transposed = MatMul { transpose_a: true, transpose_b: true };
        let equal = expected(plain.clone(), [1, 1280], [1280, 1000]) - expected(transposed, [1280, 1], [1000, 1280]);
        assert!(equal.abs() < 1e-6, "{equal}");
        assert!(expected(plain.clone(), [64, 64], [64, 64]) < 10_000.0);
        // Many tiles: the arithmetic decides.
        assert!(expected(plain, [2048, 2048], [2048, 2048]) < 2e6);
    }
}
