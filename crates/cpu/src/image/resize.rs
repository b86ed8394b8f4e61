//! `cpu.image.resize_separable`: resizing by weighted sums, one axis after the other.
//!
//! Weights of several axes multiply, so the axes may be done one at a time: 2n instead of n^2 products per element for
//! n neighbours. Axes that shrink most come first, which leaves less for the others to do. An inner axis that stays as
//! it is makes each pass a sum of whole rows. Also nearest neighbours of crops, which may lie outside.

use std::borrow::Cow;

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region, Workers};
use sinter_base::{DataType, Sizes, View};
use sinter_ops::image::Resize;

use crate::elements::floats;
use crate::image::resize_plan::{ResizePlan, Resized, Wanted};
use crate::number::{Formula, Number, evaluate, given};
use crate::only_operator;
use crate::share::share;
use crate::tactic::{Row, Speed};
use crate::target::placed;

/// See the module documentation.
pub const SEPARABLE: Row = Row {
    name: "cpu.image.resize_separable",
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Resize);
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::String) | None => Err(Refusal::new("strings have no weighted sums")),
        Some(_) => Ok(Loaded::Views(Box::new(Separable { op: op.clone() }))),
    }
}

struct Separable {
    op: Resize,
}

/// The operands that say what is wanted.
pub fn wanted(launch: &Launch<'_, '_>) -> Wanted {
    let list = |index: usize| launch.optional(index).map(floats).unwrap_or_default();
    let sizes = launch.optional(3).map(|v: View<'_>| v.elements::<i64>().to_vec()).unwrap_or_default();
    Wanted { region: list(1), scales: list(2), sizes }
}

impl Kernel for Separable {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let plan = ResizePlan::new(&self.op, x.sizes(), &wanted(launch))?;
        let leaves = plan.axes.iter().any(|axis| axis.taps.iter().any(Option::is_none));
        if leaves && !x.data_type().is_float() && !x.data_type().is_integer() {
            return Err(KernelError::Data(format!("a crop of {} elements leaves the input", x.data_type())));
        }
        let workers = launch.workers;
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
        evaluate(&passes, &[Some(x)], &mut y, workers)
    }
}

struct Passes<'a> {
    plan: &'a ResizePlan,
    input: Sizes,
    extrapolation: f64,
    /// Results are integers, rounded to even.
    whole: bool,
}

/// Resizes one axis of `x`: [outer, input, inner] to `y`: [outer, output, inner].
fn pass<T: Number>(resized: &Resized, input: usize, inner: usize, x: &[T], y: &mut [T], workers: &dyn Workers) {
    let taps: Vec<Vec<(usize, T)>> = resized
        .taps
        .iter()
        .map(|taps| taps.iter().flatten().map(|&(from, weight)| (from, T::of(weight))).collect())
        .collect();
    let output = taps.len();
    let work = taps.first().map_or(1, Vec::len) + 1;
    if inner == 1 {
        share(workers, y, output, work, |first, piece| {
            for (row, source) in piece.chunks_exact_mut(output).zip(x[first * input..].chunks_exact(input)) {
                for (y, taps) in row.iter_mut().zip(&taps) {
                    *y = taps.iter().fold(T::default(), |sum, &(from, weight)| sum + weight * source[from]);
                }
            }
        });
        return;
    }
    share(workers, y, inner, work, |first, piece| {
        for (i, row) in piece.chunks_exact_mut(inner).enumerate() {
            let (outer, at) = ((first + i) / output, (first + i) % output);
            row.fill(T::default());
            for &(from, weight) in &taps[at] {
                let source = &x[(outer * input + from) * inner..][..inner];
                row.iter_mut().zip(source).for_each(|(y, &v)| *y += weight * v);
            }
        }
    });
}

impl Formula for Passes<'_> {
    fn compute<T: Number>(
        &self,
        inputs: &[Option<Cow<'_, [T]>>],
        y: &mut [T],
        workers: &dyn Workers,
    ) -> Result<(), KernelError> {
        let mut sizes = self.input.clone();
        let mut axes: Vec<&Resized> = self.plan.axes.iter().collect();
        let growth = |resized: &Resized| resized.taps.len() as f64 / self.input[resized.axis] as f64;
        axes.sort_by(|a, b| growth(a).total_cmp(&growth(b)));
        let mut source = Cow::Borrowed(given(inputs, 0));
        let count = axes.len();
        for (turn, resized) in axes.into_iter().enumerate() {
            let (input, inner) = (sizes[resized.axis], sizes[resized.axis + 1..].iter().product());
            sizes[resized.axis] = resized.taps.len();
            if turn + 1 == count {
                pass(resized, input, inner, &source, y, workers);
            } else {
                let mut next = vec![T::default(); sizes.iter().product()];
                pass(resized, input, inner, &source, &mut next, workers);
                source = Cow::Owned(next);
            }
        }
        if count == 0 {
            y.copy_from_slice(&source);
        }
        if self.whole {
            y.iter_mut().for_each(|v| *v = T::of(v.wide().round_ties_even()));
        }
        for resized in &self.plan.axes {
            let inner: usize = self.plan.sizes[resized.axis + 1..].iter().product();
            for outer in y.chunks_exact_mut(resized.taps.len() * inner) {
                for (part, taps) in outer.chunks_exact_mut(inner).zip(&resized.taps) {
                    if taps.is_none() {
                        part.fill(T::of(self.extrapolation));
                    }
                }
            }
        }
        Ok(())
    }
}
