//! `cpu.movement.concat`: tensors one after the other along an axis, by runs of everything behind the axis.

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region};
use sinter_base::view::element_bytes;
use sinter_base::{Sizes, View};
use sinter_ops::movement::Concat;
use smallvec::SmallVec;

use crate::arguments::{axis_in, result};
use crate::movement::takes_views;
use crate::pieces::for_each_piece;
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const CONCAT: Row =
    Row { name: "cpu.movement.concat", numerics: Numerics::Exact, in_place: &[], speed: Speed::STREAMING, kernel };

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Concat);
    takes_views(region)?;
    Ok(Loaded::Views(Box::new(ConcatKernel { op: op.clone() })))
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
        let outer: usize = sizes[..axis].iter().product();
        let workers = launch.workers;
        let mut bytes = y.bytes();
        if outer == 1 {
            // Whole tensors behind each other.
            for input in &inputs {
                let source = input.bytes();
                let (part, rest) = bytes.split_at_mut(source.len());
                bytes = rest;
                for_each_piece(workers, part, 1, source.len() / width, |from, piece| {
                    piece.copy_from_slice(&source[from..from + piece.len()]);
                });
            }
            return Ok(());
        }
        let row = bytes.len() / outer.max(1);
        let work = bytes.len() / width;
        for_each_piece(workers, bytes, row, work, |from, piece| {
            for (at, mut row) in piece.chunks_exact_mut(row).enumerate() {
                for input in &inputs {
                    let run = input.bytes().len() / outer;
                    let start = (from + at) * run;
                    let (part, rest) = row.split_at_mut(run);
                    part.copy_from_slice(&input.bytes()[start..start + run]);
                    row = rest;
                }
            }
        });
        Ok(())
    }
}
