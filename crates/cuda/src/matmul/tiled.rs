//! `cuda.matmul.tiled`: a product of any element type by tiles in shared memory, without tensor cores.
//!
//! A block computes 64 x 64 elements of the result, a thread 4 x 4 of them. Both operands are read through strides, so that
//! transposed ones and stacks that broadcast need no copy. Sums run along k in order, in the type that carries the elements.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::matmul::MatMul;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source};
use crate::only_operator;
use crate::space::{Space, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::{Kind, element};

/// See the module documentation.
pub const TILED: Row = Row {
    name: "cuda.matmul.tiled",
    roots: &[OpKind::MatMul],
    numerics: Numerics::Reassociated,
    speed: Speed::PRODUCT,
    kernel,
};

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
        format!("cuda.matmul.tiled 1 {}", self.data_type)
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
