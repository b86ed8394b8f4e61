//! Products of stacked matrices as tensor-core kernels take them: from regions, at the optima, and at a launch.
//!
//! A list of numbers is a matrix of one row whose inner axis is k. Where the right operand is one matrix, the rows of all left
//! ones are those of one large matrix, so that tiles are full.

use sinter_backend::{KernelError, Problem, Refusal, Region};
use sinter_base::{DataType, Dim};
use sinter_ops::Op;
use smallvec::SmallVec;

use crate::epilogue::{Epilogue, is_wide};
use crate::fused::{Fused, Layout};
use crate::kernel::{Launch, Tensor};
use crate::matmul::matrices::Matrices;
use crate::space::{Axes, RANK, Space};
use crate::tactic::refuse_unknown_sizes;

/// A product with its epilogue.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// Type of the operands.
    pub(crate) data_type: DataType,
    /// Is k the inner axis in memory, of the left and of the right operand?
    pub(crate) inner: [bool; 2],
    pub(crate) epilogue: Epilogue,
    /// Is the right operand a weight?
    pub(crate) has_weights: bool,
    /// The operands in the region.
    operands: [usize; 2],
    /// Are they lists of numbers?
    lists: [bool; 2],
}

/// Sizes of a product at the optima.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extent {
    /// Matrices.
    pub(crate) stacks: f64,
    /// Rows of the result.
    pub(crate) m: f64,
    /// Columns of the result.
    pub(crate) n: f64,
    /// Terms of a sum.
    pub(crate) k: f64,
    /// Elements of the operands and of the result.
    pub(crate) elements: f64,
}

impl Extent {
    /// Of products whose operands are in memory as they are multiplied.
    pub(crate) fn of(stacks: f64, m: f64, n: f64, k: f64) -> Self {
        Self { stacks, m, n, k, elements: stacks * (m * k + k * n + m * n) }
    }
}

/// One operand at a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// Address of the first element.
    pub(crate) address: u64,
    /// Elements from one row in memory to the next.
    pub(crate) stride: usize,
    /// Elements of a matrix.
    pub(crate) size: usize,
    /// Matrices in memory.
    pub(crate) count: usize,
}

/// A product at a launch.
#[derive(Clone, Debug)]
pub(crate) struct Stacked {
    /// Matrices of the result.
    pub(crate) stacks: usize,
    /// Rows of each.
    pub(crate) m: usize,
    /// Columns of each.
    pub(crate) n: usize,
    /// Terms of a sum.
    pub(crate) k: usize,
    /// The left and the right operand.
    pub(crate) sides: [Side; 2],
    /// The structure `Matrices` of the text.
    pub(crate) words: SmallVec<[u64; 96]>,
}

/// Sizes of an operand: those of the stack, and of both axes in memory.
fn split<T: Clone>(sizes: &[T], one: T) -> Option<(&[T], T, T)> {
    match sizes {
        [] => None,
        [k] => Some((&[], one, k.clone())),
        [stack @ .., outer, inner] => Some((stack, outer.clone(), inner.clone())),
    }
}

/// Rows (or columns) and k of an operand, from both axes in memory.
fn oriented<T>((outer, inner): (T, T), k_is_inner: bool) -> (T, T) {
    if k_is_inner { (outer, inner) } else { (inner, outer) }
}

impl Product {
    /// Matches a region.
    ///
    /// # Errors
    /// When the region is no product of floats of 16 bits, or its epilogue does not fit.
    pub(crate) fn of(region: &Region) -> Result<Self, Refusal> {
        refuse_unknown_sizes(region)?;
        let fused = Fused::of(region)?;
        let Op::MatMul(op) = &fused.node.op else { return Err(Refusal::OtherOperator) };
        if fused.layout != Layout::First {
            return Err(Refusal::new("takes operands as they lie"));
        }
        let missing = || Refusal::new("takes two tensors");
        let types = [fused.input(0).ok_or_else(missing)?, fused.input(1).ok_or_else(missing)?];
        let data_type = types[0].data_type;
        if !matches!(data_type, DataType::F16 | DataType::Bf16) {
            return Err(Refusal::new(format!("takes f16 and bf16, not {data_type}")));
        }
        let lists = types.map(|ty| ty.dims().is_ok_and(|dims| dims.len() == 1));
        let operand = |input| fused.operand(input).ok_or_else(missing);
        let rank = fused.result_dims().len();
        if rank > RANK {
            return Err(Refusal::new(format!("takes at most {RANK} axes, not {rank}")));
        }
        // A list adds no axis to the result.
        let column: SmallVec<[usize; 1]> = rank.checked_sub(1).filter(|_| !lists[1]).into_iter().collect();
        let row = rank.checked_sub(1 + usize::from(!lists[1])).filter(|_| !lists[0]);
        let row: SmallVec<[usize; 1]> = row.into_iter().collect();
        Ok(Self {
            data_type,
            inner: [lists[0] || !op.transpose_a, lists[1] || op.transpose_b],
            epilogue: fused.epilogue(data_type, [&row, &column])?,
            has_weights: region.is_constant(operand(1)?),
            operands: [operand(0)?, operand(1)?],
            lists,
        })
    }

    /// The part of a configuration.
    pub(crate) fn configuration(&self) -> String {
        let [a, b] = self.inner.map(|inner| if inner { "t" } else { "n" });
        let weights = if self.has_weights { "w" } else { "" };
        format!("{a}{b}{weights} {}", self.epilogue.configuration())
    }

    /// The sizes at the optima.
    pub(crate) fn extent(&self, problem: &Problem<'_>) -> Option<Extent> {
        let fused = Fused::of(problem.region).ok()?;
        let number = |dim: &Dim| problem.sizing.evaluate(dim).map(|size| size.max(0) as f64);
        let dims = |input| fused.input(input)?.dims().ok();
        let (_, a_outer, a_inner) = split(dims(0)?, Dim::constant(1))?;
        let (b_stack, b_outer, b_inner) = split(dims(1)?, Dim::constant(1))?;
        let (m, k) = oriented((a_outer, a_inner), self.inner[0]);
        let (n, _) = oriented((b_outer, b_inner), self.inner[1]);
        let (m, n, k) = (number(&m)?, number(&n)?, number(&k)?);
        let sizes: Vec<f64> = fused.result_dims().iter().map(number).collect::<Option<_>>()?;
        let stacks = sizes.iter().product::<f64>() / (m * n).max(1.0);
        let is_one = b_stack.iter().all(|dim| dim.as_constant() == Some(1)) && self.inner[0];
        Some(if is_one { Extent::of(1.0, m * stacks, n, k) } else { Extent::of(stacks, m, n, k) })
    }

    /// The product of a launch; `None` where there is no result to compute.
    ///
    /// # Errors
    /// When the arguments do not fit.
    pub(crate) fn stacked(&self, launch: &Launch<'_>) -> Result<Option<Stacked>, KernelError> {
        let (a, b) = (launch.input(self.operands[0])?, launch.input(self.operands[1])?);
        let y = launch.output(0)?;
        let mismatch = || KernelError::Recipe(format!("{:?} times {:?} is no {:?}", a.sizes, b.sizes, y.sizes));
        let (a_stack, a_outer, a_inner) = split(a.sizes, 1).ok_or_else(mismatch)?;
        let (b_stack, b_outer, b_inner) = split(b.sizes, 1).ok_or_else(mismatch)?;
        let (m, k) = oriented((a_outer, a_inner), self.inner[0]);
        let (n, terms) = oriented((b_outer, b_inner), self.inner[1]);
        let axes = y.sizes.len();
        let lone = self.lists.iter().filter(|is_list| !**is_list).count();
        let stack = axes.checked_sub(lone).map(|axes| &y.sizes[..axes]).ok_or_else(mismatch)?;
        let ranks = [a.sizes.len() == 1, b.sizes.len() == 1] == self.lists;
        let types = a.data_type == self.data_type && b.data_type == self.data_type;
        let placed = self.epilogue.place(&launch.inputs, y.sizes).ok_or_else(mismatch)?;
        if !types || !ranks || y.data_type != self.epilogue.result || terms != k {
            return Err(mismatch());
        }
        let stacks: usize = stack.iter().product();
        if stacks * m * n != y.count() {
            return Err(mismatch());
        }
        Space::broadcast(stack, [a_stack, b_stack]).ok_or_else(mismatch)?;
        if y.count() == 0 {
            return Ok(None);
        }
        let side = |tensor: &Tensor<'_>, outer: usize, inner: usize| Side {
            address: tensor.address,
            stride: inner,
            size: outer * inner,
            count: tensor.count() / (outer * inner).max(1),
        };
        let sides = [side(&a, a_outer, a_inner), side(&b, b_outer, b_inner)];
        // Distances of the epilogue's operands along rows and columns; lists have no such axis.
        let column = |strides: &Axes| if self.lists[1] { 0 } else { strides.last().copied().unwrap_or(0) };
        let row_axis = if self.lists[0] { None } else { Some(stack.len()) };
        let row = |strides: &Axes| row_axis.and_then(|axis| strides.get(axis).copied()).unwrap_or(0);
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        // All rows as those of one matrix, where every operand of the epilogue follows.
        let rows = Space {
            sizes: stack.iter().chain([&m]).map(|size| number(*size)).collect(),
            strides: placed
                .iter()
                .map(|placed| placed.strides[..stack.len()].iter().copied().chain([row(&placed.strides)]).collect())
                .collect(),
        };
        let is_one = b_stack.iter().product::<usize>() == 1 && self.inner[0] && sides[0].count == stacks;
        let folded = rows.merged().filter(|rows| is_one && rows.sizes.len() == 1);
        let (space, stacks, m) = match &folded {
            Some(_) => (Space { sizes: Axes::from_slice(&[1]), strides: SmallVec::new() }, 1, m * stacks),
            None => {
                let strides = matrices_strides(stack, [a_stack, b_stack]);
                let beside = placed.iter().map(|placed| placed.strides[..stack.len()].iter().copied().collect());
                let sizes = stack.iter().map(|size| number(*size)).collect();
                let space = Space { sizes, strides: strides.into_iter().chain(beside).collect() };
                (space.merged().ok_or_else(mismatch)?, stacks, m)
            }
        };
        let list = Matrices {
            sizes: [m, n, k],
            addresses: [a.address, b.address, y.address],
            rows: [sides[0].stride, sides[1].stride, n],
            elements: [sides[0].size, sides[1].size, m * n],
            wide: is_wide(&y, [number(n)]),
            stacks,
            space,
        };
        let beside = placed.iter().enumerate().map(|(index, placed)| {
            let row = match &folded {
                Some(rows) => rows.strides.get(index).and_then(|strides| strides.first().copied()).unwrap_or(0),
                None => row(&placed.strides),
            };
            (placed, row, column(&placed.strides))
        });
        let words = list.words(&self.epilogue, beside);
        Ok(Some(Stacked { stacks, m, n, k, sides, words }))
    }
}

impl Stacked {
    /// Tiles of this shape in all matrices.
    ///
    /// # Errors
    /// When there are more than a grid has blocks.
    pub(crate) fn tiles(&self, rows: usize, columns: usize) -> Result<u32, KernelError> {
        let count = self.m.div_ceil(rows).checked_mul(self.n.div_ceil(columns));
        let count = count.and_then(|count| count.checked_mul(self.stacks));
        let blocks = count.and_then(|count| u32::try_from(count).ok()).filter(|count| i32::try_from(*count).is_ok());
        blocks.ok_or_else(|| KernelError::Recipe(format!("too many tiles of {} x {} results", self.m, self.n)))
    }
}

/// Matrices from one position of the stack to the next, by operand and axis.
fn matrices_strides(stack: &[usize], operands: [&[usize]; 2]) -> [Axes; 2] {
    operands.map(|own| {
        let strides = sinter_base::shape::broadcast_strides(own, stack);
        strides.iter().map(|stride| i64::try_from(*stride).unwrap_or(i64::MAX)).collect()
    })
}
