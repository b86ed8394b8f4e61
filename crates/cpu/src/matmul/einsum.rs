//! `cpu.matmul.einsum`: sums of products written as an equation.
//!
//! Two f32 operands that share all summed labels become a batch of matrix products: strided copies permute their axes
//! into the order batch, own, summed (unless they have it already), the blocked product multiplies them, and another
//! copy permutes the result. Everything else is summed term by term in f64 or wrapping integers.

use bytemuck::Pod;
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::{element_count, strides, unravel};
use sinter_base::{DataType, Sizes, View};
use sinter_ops::OpKind;
use smallvec::{SmallVec, smallvec};

use crate::arguments::result;
use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer, Workers};
use crate::matmul::equation::{ByLabel, Equation, Label, Labels};
use crate::matmul::gemm::{Product, Strided};
use crate::movement::strided::{Walk, Walks, copy};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::tier::Tier;
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const EINSUM: Row = Row {
    name: "cpu.matmul.einsum",
    roots: &[OpKind::Einsum],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Einsum);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(EinsumKernel { equation: op.equation.clone(), tier: Tier::in_use() })))
}

struct EinsumKernel {
    equation: String,
    tier: Tier,
}

/// Distance in an operand between neighbours along a label: a label twice walks the diagonal, a size of 1 stands still.
fn stride_of(labels: &[Label], sizes: &[usize], label: Label) -> usize {
    let own = strides(sizes);
    (0..labels.len()).filter(|&axis| labels[axis] == label && sizes[axis] != 1).map(|axis| own[axis]).sum()
}

/// The axes of a batch of matrix products.
struct Matrices {
    batch: Labels,
    rows: Labels,
    columns: Labels,
    inner: Labels,
}

impl Matrices {
    /// The roles of the labels of two operands; `None` when a label is summed that only one of them has.
    fn of(equation: &Equation) -> Option<Self> {
        let [a, b] = &equation.inputs[..] else { return None };
        let kept = |on_a: bool, on_b: bool| -> Labels {
            let output = equation.output.iter().copied();
            output.filter(|label| a.contains(label) == on_a && b.contains(label) == on_b).collect()
        };
        let mut inner = Labels::new();
        for label in a.iter().chain(b).filter(|label| !equation.output.contains(label)) {
            if !a.contains(label) || !b.contains(label) {
                return None;
            }
            if !inner.contains(label) {
                inner.push(*label);
            }
        }
        Some(Self { batch: kept(true, true), rows: kept(true, false), columns: kept(false, true), inner })
    }
}

/// An operand with its axes in another order.
enum Packed<'a> {
    AsItIs(&'a [f32]),
    Copied(ScratchBuffer<'a, f32>),
}

impl Packed<'_> {
    fn elements(&self) -> &[f32] {
        match self {
            Packed::AsItIs(elements) => elements,
            Packed::Copied(elements) => elements,
        }
    }
}

fn packed<'a>(
    x: View<'a>,
    axes: &[Walk],
    workers: &dyn Workers,
    scratch: &'a Scratch,
) -> Result<Packed<'a>, KernelError> {
    let sizes: Sizes = axes.iter().map(|a| a.size).collect();
    let natural = strides(&sizes);
    let in_order = axes.iter().zip(&natural).all(|(a, &s)| a.size == 1 || a.stride == s.cast_signed());
    let elements = x.elements::<f32>();
    let Some(count) = element_count(&sizes) else { refuse_data!("a product over sizes {sizes:?} is too large") };
    if in_order && count == elements.len() {
        return Ok(Packed::AsItIs(elements));
    }
    let mut target = scratch.allocate::<f32>(count);
    copy(workers, x.bytes(), 4, 0, axes, bytemuck::cast_slice_mut(&mut target))?;
    Ok(Packed::Copied(target))
}

impl EinsumKernel {
    /// Two f32 operands by matrix products, into `y`.
    fn multiply(
        &self,
        workers: &dyn Workers,
        (matrices, equation): (&Matrices, &Equation),
        sizes: &ByLabel,
        operands: &[View<'_>],
        y: &mut [f32],
        scratch: &Scratch,
    ) -> Result<(), KernelError> {
        let size = |label: &Label| sizes.get(*label).unwrap_or(1);
        let count = |labels: &[Label]| labels.iter().map(size).product::<usize>();
        let pack = |which: usize, own: &[Label]| {
            let (labels, operand) = (&equation.inputs[which], operands[which]);
            let order = matrices.batch.iter().chain(own).chain(&matrices.inner);
            let axes: Walks =
                order.map(|label| Walk::new(size(label), stride_of(labels, operand.sizes(), *label))).collect();
            packed(operand, &axes, workers, scratch)
        };
        let (a, b) = (pack(0, &matrices.rows)?, pack(1, &matrices.columns)?);
        let (rows, columns, inner) = (count(&matrices.rows), count(&matrices.columns), count(&matrices.inner));
        let product = |batch: usize, c: &mut [f32]| {
            let matrix = |lanes: usize| batch * lanes * inner..(batch + 1) * lanes * inner;
            Product {
                rows,
                columns,
                inner,
                a: &Strided { data: &a.elements()[matrix(rows)], lane: inner, inner: 1 },
                b: &Strided { data: &b.elements()[matrix(columns)], lane: inner, inner: 1 },
                row_bias: None,
            }
            .compute(self.tier, workers, scratch, c);
        };
        let multiply = |c: &mut [f32]| {
            if rows * columns > 0 {
                c.chunks_exact_mut(rows * columns).enumerate().for_each(|(batch, c)| product(batch, c));
            }
        };
        let order: Labels = matrices.batch.iter().chain(&matrices.rows).chain(&matrices.columns).copied().collect();
        if order == equation.output {
            multiply(y);
            return Ok(());
        }
        let mut c = scratch.allocate::<f32>(y.len());
        multiply(&mut c);
        let made: Sizes = order.iter().map(size).collect();
        let steps = strides(&made);
        let walk = |label: &Label| {
            let step = order.iter().position(|other| other == label).map_or(0, |axis| steps[axis]);
            Walk::new(size(label), step)
        };
        let axes: Walks = equation.output.iter().map(walk).collect();
        copy(workers, bytemuck::cast_slice(&c), 4, 0, &axes, bytemuck::cast_slice_mut(y))
    }
}

/// Distances along some axes, by operand.
type Steps = SmallVec<[Sizes; 4]>;

/// Terms of the sum for every element of the result.
struct Terms {
    /// Sizes of the result.
    outer: Sizes,
    /// Distances along the result's axes, by operand.
    outer_steps: Steps,
    /// Sizes of the summed axes.
    inner: Sizes,
    /// Distances along the summed axes, by operand.
    inner_steps: Steps,
}

impl Terms {
    fn of(equation: &Equation, sizes: &ByLabel, operands: &[View<'_>]) -> Self {
        let summed: Labels = sizes.labels().filter(|label| !equation.output.contains(label)).collect();
        let of = |labels: &[Label]| -> (Sizes, Steps) {
            let steps = equation
                .inputs
                .iter()
                .zip(operands)
                .map(|(own, operand)| labels.iter().map(|&label| stride_of(own, operand.sizes(), label)).collect());
            (labels.iter().map(|&label| sizes.get(label).unwrap_or(1)).collect(), steps.collect())
        };
        let ((outer, outer_steps), (inner, inner_steps)) = (of(&equation.output), of(&summed));
        Self { outer, outer_steps, inner, inner_steps }
    }

    /// Element `flat` of the result.
    fn sum<T: Pod>(
        &self,
        flat: usize,
        operands: &[ScratchBuffer<'_, T>],
        (zero, one): (T, T),
        add: impl Fn(T, T) -> T,
        multiply: impl Fn(T, T) -> T,
    ) -> T {
        let at = unravel(flat, &self.outer);
        let mut positions: Sizes =
            self.outer_steps.iter().map(|steps| at.iter().zip(steps).map(|(i, s)| i * s).sum()).collect();
        let mut index: Sizes = smallvec![0; self.inner.len()];
        let mut total = zero;
        for _ in 0..self.inner.iter().product() {
            let factors = operands.iter().zip(&positions).map(|(x, &at)| x[at]);
            total = add(total, factors.fold(one, &multiply));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                let turn = index[axis] == self.inner[axis];
                for (position, steps) in positions.iter_mut().zip(&self.inner_steps) {
                    *position += steps[axis];
                    if turn {
                        *position -= steps[axis] * self.inner[axis];
                    }
                }
                if !turn {
                    break;
                }
                index[axis] = 0;
            }
        }
        total
    }
}

impl Kernel for EinsumKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let operands =
            (0..launch.inputs.len()).map(|i| launch.input(i)).collect::<Result<SmallVec<[View<'_>; 4]>, _>>()?;
        let all: SmallVec<[&[usize]; 4]> = operands.iter().map(View::sizes).collect();
        let equation = Equation::of(&self.equation, &all.iter().map(|s| s.len()).collect::<Sizes>())?;
        let sizes = equation.sizes(&all)?;
        let result_sizes: Sizes = equation.output.iter().map(|&label| sizes.get(label).unwrap_or(1)).collect();
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = result(&mut launch.outputs[0], &result_sizes)?;
        if operands.iter().any(|x| x.data_type() != y.data_type()) {
            refuse_data!("operands of different types");
        }
        if y.data_type() == DataType::F32
            && let Some(matrices) = Matrices::of(&equation)
        {
            return self.multiply(workers, (&matrices, &equation), &sizes, &operands, y.elements::<f32>(), scratch);
        }
        let terms = Terms::of(&equation, &sizes, &operands);
        let work = y.count().saturating_mul(terms.inner.iter().product());
        let (mut floats, mut ints): (SmallVec<[_; 4]>, SmallVec<[_; 4]>) = (SmallVec::new(), SmallVec::new());
        for operand in &operands {
            match load(*operand, scratch) {
                Numbers::Floats(values) => floats.push(values),
                Numbers::Ints(values) => ints.push(values),
            }
        }
        let mut numbers = Numbers::like(y.data_type(), y.count(), scratch);
        match &mut numbers {
            Numbers::Floats(y) => share(workers, y, 1, Cost::InAll(work), |from, chunk| {
                for (at, y) in chunk.iter_mut().enumerate() {
                    *y = terms.sum(from + at, &floats, (0.0, 1.0), |a, b| a + b, |a, b| a * b);
                }
            }),
            Numbers::Ints(y) => share(workers, y, 1, Cost::InAll(work), |from, chunk| {
                for (at, y) in chunk.iter_mut().enumerate() {
                    *y = terms.sum(from + at, &ints, (0, 1), i64::wrapping_add, i64::wrapping_mul);
                }
            }),
        }
        store(&numbers, &mut y);
        Ok(())
    }
}
