//! Tactics for MatMul.
//!
//! `cpu.matmul.blocked.f32` computes each matrix of the batch by the blocked product; `cpu.matmul.generic` supports
//! every other element type by plain loops in f64 or wrapping 64-bit integers.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::{broadcast_strides, for_each_index, ravel};
use sinter_base::{DataType, Sizes, View};
use sinter_ops::OpKind;
use sinter_ops::matmul::MatMul;

use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded};
use crate::matmul::gemm::{Product, Strided};
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::tier::Tier;

/// f32 through the blocked product.
pub const BLOCKED: Row = Row {
    name: "cpu.matmul.blocked.f32",
    roots: &[OpKind::MatMul],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel: blocked,
};

/// Any other numeric type.
pub const GENERIC: Row = Row {
    name: "cpu.matmul.generic",
    roots: &[OpKind::MatMul],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel: generic,
};

fn blocked(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, MatMul);
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::F32) => Ok(Loaded::Kernel(Box::new(Blocked { op: op.clone(), tier: Tier::in_use() }))),
        other => Err(Refusal::new(format!("element type {other:?} instead of f32"))),
    }
}

fn generic(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, MatMul);
    Ok(Loaded::Kernel(Box::new(Generic { op: op.clone() })))
}

/// The sizes of a batched product.
struct Geometry {
    batch: Sizes,
    a_batch: Sizes,
    b_batch: Sizes,
    rows: usize,
    columns: usize,
    inner: usize,
    /// Distances between rows of A and along its inner dimension.
    a: (usize, usize),
    /// Distances between columns of B and along its inner dimension.
    b: (usize, usize),
}

impl Geometry {
    fn of(op: &MatMul, a: &[usize], b: &[usize]) -> Result<Self, KernelError> {
        let scalar = || KernelError::Data("an operand of a matrix product is a scalar".to_owned());
        let (a_batch, rows, inner, a_strides) = match *a {
            [] => return Err(scalar()),
            [k] => (&a[..0], 1, k, (k, 1)),
            [.., k, m] if op.transpose_a => (&a[..a.len() - 2], m, k, (1, m)),
            [.., m, k] => (&a[..a.len() - 2], m, k, (k, 1)),
        };
        let (b_batch, b_inner, columns, b_strides) = match *b {
            [] => return Err(scalar()),
            [k] => (&b[..0], k, 1, (1, 1)),
            [.., n, k] if op.transpose_b => (&b[..b.len() - 2], k, n, (k, 1)),
            [.., k, n] => (&b[..b.len() - 2], k, n, (1, n)),
        };
        let batch = sinter_base::shape::broadcast_sizes(&[a_batch, b_batch]).filter(|_| inner == b_inner);
        let batch = batch.ok_or_else(|| KernelError::Data(format!("sizes {a:?} and {b:?} cannot be multiplied")))?;
        Ok(Self {
            a_batch: broadcast_strides(a_batch, &batch),
            b_batch: broadcast_strides(b_batch, &batch),
            batch,
            rows,
            columns,
            inner,
            a: a_strides,
            b: b_strides,
        })
    }

    /// Calls `each(start of a, start of b, position in the batch)` for every matrix.
    fn for_each(&self, mut each: impl FnMut(usize, usize, usize)) {
        let mut position = 0;
        for_each_index(&self.batch, |at| {
            let a = ravel(at, &self.a_batch) * self.rows * self.inner;
            let b = ravel(at, &self.b_batch) * self.inner * self.columns;
            each(a, b, position);
            position += 1;
        });
    }
}

struct Blocked {
    op: MatMul,
    tier: Tier,
}

impl Kernel for Blocked {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (a, b) = (launch.input(0)?, launch.input(1)?);
        let geometry = Geometry::of(&self.op, a.sizes(), b.sizes())?;
        let (a, b) = (a.elements::<f32>(), b.elements::<f32>());
        let (workers, scratch) = (launch.workers, launch.scratch);
        let c = launch.output(0).elements::<f32>();
        let matrix = geometry.rows * geometry.columns;
        geometry.for_each(|a_start, b_start, position| {
            Product {
                rows: geometry.rows,
                columns: geometry.columns,
                inner: geometry.inner,
                a: &Strided { data: a.get(a_start..).unwrap_or_default(), lane: geometry.a.0, inner: geometry.a.1 },
                b: &Strided { data: b.get(b_start..).unwrap_or_default(), lane: geometry.b.0, inner: geometry.b.1 },
                row_bias: None,
            }
            .compute(self.tier, workers, scratch, &mut c[position * matrix..(position + 1) * matrix]);
        });
        Ok(())
    }
}

struct Generic {
    op: MatMul,
}

impl Kernel for Generic {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (a, b): (View<'_>, View<'_>) = (launch.input(0)?, launch.input(1)?);
        let geometry = Geometry::of(&self.op, a.sizes(), b.sizes())?;
        let Geometry { rows, columns, inner, a: a_step, b: b_step, .. } = geometry;
        let scratch = launch.scratch;
        let mut c = Numbers::like(a.data_type(), geometry.batch.iter().product::<usize>() * rows * columns, scratch);
        match (load(a, scratch), load(b, scratch), &mut c) {
            (Numbers::Floats(a), Numbers::Floats(b), Numbers::Floats(c)) => geometry.for_each(|a0, b0, position| {
                for (at, c) in c[position * rows * columns..].iter_mut().take(rows * columns).enumerate() {
                    let (i, j) = (at / columns, at % columns);
                    let term = |p| a[a0 + i * a_step.0 + p * a_step.1] * b[b0 + j * b_step.0 + p * b_step.1];
                    *c = (0..inner).map(term).sum();
                }
            }),
            (Numbers::Ints(a), Numbers::Ints(b), Numbers::Ints(c)) => geometry.for_each(|a0, b0, position| {
                for (at, c) in c[position * rows * columns..].iter_mut().take(rows * columns).enumerate() {
                    let (i, j) = (at / columns, at % columns);
                    *c = (0..inner).fold(0i64, |sum, p| {
                        let (a, b) = (a[a0 + i * a_step.0 + p * a_step.1], b[b0 + j * b_step.0 + p * b_step.1]);
                        sum.wrapping_add(a.wrapping_mul(b))
                    });
                }
            }),
            _ => return Err(KernelError::Data("operands of different kinds".to_owned())),
        }
        store(&c, launch.output(0));
        Ok(())
    }
}
