//! `cpu.movement.concat`: tensors one after the other along an axis, by runs of everything behind the axis. Operands
//! and result may be buffer aliases, in rows of any length.

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::view::element_bytes;
use sinter_base::{Sizes, View};
use sinter_ops::OpKind;
use sinter_ops::movement::Concat;
use smallvec::SmallVec;

use crate::arguments::{axis_in, result};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::rows::Source;
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const CONCAT: Row = Row {
    name: "cpu.movement.concat",
    roots: &[OpKind::Concat],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Concat);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(ConcatKernel { op: op.clone() })))
}

struct ConcatKernel {
    op: Concat,
}

impl Kernel for ConcatKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let inputs =
            (0..launch.inputs.len()).map(|i| launch.input(i)).collect::<Result<SmallVec<[View<'_>; 8]>, _>>()?;
        let Some(first) = inputs.first() else { refuse_data!("nothing to concatenate") };
        let axis = axis_in(self.op.axis, first.sizes().len())?;
        let mut sizes = Sizes::from_slice(first.sizes());
        for other in &inputs[1..] {
            let fits = other.sizes().len() == sizes.len()
                && (0..sizes.len()).all(|a| a == axis || other.sizes()[a] == sizes[a]);
            if !fits {
                refuse_data!("sizes {:?} and {:?} along axis {axis}", first.sizes(), other.sizes());
            }
            sizes[axis] += other.sizes()[axis];
        }
        let width = element_bytes(first.data_type());
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        let (work, rows) = (y.count(), y.rows());
        if work == 0 {
            return Ok(());
        }
        let outer: usize = sizes[..axis].iter().product();
        let runs: SmallVec<[(Source<'_>, usize); 8]> =
            inputs.iter().map(|input| (Source::of(*input), input.count() / outer * width)).collect();
        let row = work / outer * width;
        let (bytes, workers) = (y.span_bytes(), launch.workers);
        match rows {
            None => {
                share(workers, bytes, width, Cost::InAll(work), |first, chunk| fill(&runs, row, first * width, chunk))
            }
            Some(rows) => {
                let (inner, step) = (rows.inner * width, rows.step * width);
                share(workers, bytes, step, Cost::InAll(work), |first, chunk| {
                    for (at, target) in chunk.chunks_mut(step).enumerate() {
                        fill(&runs, row, (first + at) * inner, &mut target[..inner]);
                    }
                });
            }
        }
        Ok(())
    }

    fn stride_support(&self, _: End) -> StrideSupport {
        StrideSupport::Always
    }
}

/// Writes the bytes of the result from index `at` on; a run is the part of an operand in each row.
fn fill(runs: &[(Source<'_>, usize)], row: usize, at: usize, mut target: &mut [u8]) {
    let (mut outer, mut skipped) = (at / row, at % row);
    while !target.is_empty() {
        for (source, run) in runs {
            if skipped >= *run {
                skipped -= run;
                continue;
            }
            let (chunk, rest) = target.split_at_mut(target.len().min(run - skipped));
            source.copy(outer * run + skipped, chunk);
            (target, skipped) = (rest, 0);
        }
        outer += 1;
    }
}
