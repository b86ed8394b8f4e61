//! `cpu.image.resize_separable`: resizing by weighted sums, one axis after the other.
//!
//! Weights of several axes multiply, so the kernel resizes one axis at a time: 2n instead of n^2 products per element
//! for n neighbours. Axes that shrink most come first, which reduces the work of the others. If an inner axis is not
//! resized, each pass is a sum of whole rows. Also nearest neighbours of crops, which may lie outside.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes, View};
use sinter_ops::OpKind;
use sinter_ops::image::Resize;
use smallvec::SmallVec;

use crate::elements::floats;
use crate::image::resize_plan::{Requested, ResizePlan, Resized};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer, Workers};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::target::placed;

/// See the module documentation.
pub const SEPARABLE: Row = Row {
    name: "cpu.image.resize_separable",
    roots: &[OpKind::Resize],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Resize);
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::String) | None => Err(Refusal::new("strings have no weighted sums")),
        Some(_) => Ok(Loaded::Kernel(Box::new(Separable { op: op.clone() }))),
    }
}

struct Separable {
    op: Resize,
}

/// The plan for the operands of a launch.
///
/// # Errors
/// When they do not fit.
pub fn plan_of<'r>(op: &Resize, launch: &Launch<'r, '_>) -> Result<ResizePlan<'r>, KernelError> {
    let scratch = launch.scratch;
    let list = |index: usize| launch.optional(index).map(|view| floats(view, scratch));
    let (region, scales) = (list(1), list(2));
    let requested = Requested {
        region: region.as_deref().unwrap_or_default(),
        scales: scales.as_deref().unwrap_or_default(),
        sizes: launch.optional(3).map_or(&[], |v: View<'_>| v.elements::<i64>()),
    };
    ResizePlan::new(op, launch.input(0)?.sizes(), requested, scratch)
}

impl Kernel for Separable {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let plan = plan_of(&self.op, launch)?;
        let leaves = plan.axes.iter().any(Resized::leaves);
        if leaves && !x.data_type().is_float() && !x.data_type().is_integer() {
            return Err(KernelError::Data(format!("a crop of {} elements leaves the input", x.data_type())));
        }
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = placed(&mut launch.outputs[0], &plan.sizes)?;
        if y.count() == 0 {
            return Ok(());
        }
        let passes = Passes {
            plan: &plan,
            input: Sizes::from_slice(x.sizes()),
            extrapolation: self.op.extrapolation,
            whole: !x.data_type().is_float(),
        };
        evaluate(&passes, &[Some(x)], &mut y, workers, scratch)
    }
}

struct Passes<'a, 'r> {
    plan: &'a ResizePlan<'r>,
    input: Sizes,
    extrapolation: f64,
    /// Results are integers, rounded to even.
    whole: bool,
}

/// Resizes one axis of `x`: [outer, input, inner] to `y`: [outer, output, inner].
fn pass<T: Number>(
    resized: &Resized<'_>,
    (input, inner): (usize, usize),
    x: &[T],
    y: &mut [T],
    workers: &dyn Workers,
    scratch: &Scratch,
) {
    let weights = scratch.list(resized.weights().iter().map(|&weight| T::of(weight)));
    let (sources, weights) = (resized.sources(), &*weights);
    let output = resized.output();
    let taps = |at: usize| sources[resized.taps(at)].iter().zip(&weights[resized.taps(at)]);
    let work = resized.taps(0).len() + 1;
    if inner == 1 {
        share(workers, y, output, Cost::PerElement(work), |first, chunk| {
            for (row, source) in chunk.chunks_exact_mut(output).zip(x[first * input..].chunks_exact(input)) {
                for (at, y) in row.iter_mut().enumerate() {
                    *y = taps(at).fold(T::default(), |sum, (&from, &weight)| sum + weight * source[from]);
                }
            }
        });
        return;
    }
    share(workers, y, inner, Cost::PerElement(work), |first, chunk| {
        for (i, row) in chunk.chunks_exact_mut(inner).enumerate() {
            let (outer, at) = ((first + i) / output, (first + i) % output);
            row.fill(T::default());
            for (&from, &weight) in taps(at) {
                let source = &x[(outer * input + from) * inner..][..inner];
                row.iter_mut().zip(source).for_each(|(y, &v)| *y += weight * v);
            }
        }
    });
}

impl Formula for Passes<'_, '_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let Means { workers, scratch } = means;
        let mut sizes = self.input.clone();
        let mut axes: SmallVec<[&Resized<'_>; 4]> = self.plan.axes.iter().collect();
        let growth = |resized: &Resized<'_>| resized.output() as f64 / self.input[resized.axis] as f64;
        axes.sort_by(|a, b| growth(a).total_cmp(&growth(b)));
        let (x, mut intermediate): (&[T], Option<ScratchBuffer<'_, T>>) = (inputs.given(0), None);
        let count = axes.len();
        for (turn, resized) in axes.into_iter().enumerate() {
            let (input, inner) = (sizes[resized.axis], sizes[resized.axis + 1..].iter().product());
            sizes[resized.axis] = resized.output();
            let source = intermediate.as_deref().unwrap_or(x);
            if turn + 1 == count {
                pass(resized, (input, inner), source, y, workers, scratch);
            } else {
                let mut next = scratch.allocate(sizes.iter().product());
                pass(resized, (input, inner), source, &mut next, workers, scratch);
                intermediate = Some(next);
            }
        }
        if count == 0 {
            y.copy_from_slice(x);
        }
        if self.whole {
            y.iter_mut().for_each(|v| *v = T::of(v.wide().round_ties_even()));
        }
        for resized in &self.plan.axes {
            let inner: usize = self.plan.sizes[resized.axis + 1..].iter().product();
            if !resized.leaves() {
                continue;
            }
            for outer in y.chunks_exact_mut(resized.output() * inner) {
                for (at, part) in outer.chunks_exact_mut(inner).enumerate() {
                    if resized.is_outside(at) {
                        part.fill(T::of(self.extrapolation));
                    }
                }
            }
        }
        Ok(())
    }
}
