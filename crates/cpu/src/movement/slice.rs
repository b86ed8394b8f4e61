//! `cpu.movement.slice`: a regular part of a tensor, as a strided copy with steps of either sign.

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::Sizes;
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use smallvec::SmallVec;

use crate::arguments::{axes_in, integers, result};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::rows::walks;
use crate::movement::strided::{Walk, copy};
use crate::movement::takes_views;
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const SLICE: Row = Row {
    name: "cpu.movement.slice",
    roots: &[OpKind::Slice],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, Slice);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(SliceKernel)))
}

struct SliceKernel;

/// First element, distance and number of elements taken from an axis.
fn taken(size: usize, start: i64, end: i64, step: i64) -> Result<(isize, isize, usize), KernelError> {
    // In 128 bits nothing overflows, whatever the bounds.
    let (size, start, end, step) = (size as i128, i128::from(start), i128::from(end), i128::from(step));
    let from_front = |at: i128| if at < 0 { at + size } else { at };
    let (start, end) = (from_front(start), from_front(end));
    let (start, distance) = match step {
        0 => refuse_data!("a slice has step 0"),
        1.. => (start.clamp(0, size), end.clamp(0, size) - start.clamp(0, size)),
        _ => {
            let start = start.clamp(0, (size - 1).max(0));
            (start, if size == 0 { 0 } else { start - end.clamp(-1, size - 1) })
        }
    };
    let count = (distance.max(0) + step.abs() - 1) / step.abs();
    // A single element needs no step, which may be far too long for addresses.
    let step = if count > 1 { step } else { 0 };
    // All three lie within the size of the axis by now.
    Ok((start as isize, step as isize, count as usize))
}

impl Kernel for SliceKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let scratch = launch.scratch;
        let given = |index: usize| launch.optional(index).map(|view| integers(view, scratch)).transpose();
        let (starts, ends) = (integers(launch.input(1)?, scratch)?, integers(launch.input(2)?, scratch)?);
        let axes = match given(3)? {
            Some(axes) => axes_in(&axes, x.sizes().len())?,
            None if starts.len() > x.sizes().len() => refuse_data!("{} starts for {:?}", starts.len(), x.sizes()),
            None => (0..starts.len()).collect(),
        };
        let steps = given(4)?;
        let step_count = steps.as_deref().map_or(starts.len(), <[i64]>::len);
        if ends.len() != starts.len() || axes.len() != starts.len() || step_count != starts.len() {
            refuse_data!("{} starts, {} ends, {} axes, {step_count} steps", starts.len(), ends.len(), axes.len());
        }
        let mut walks = walks(x);
        let own: SmallVec<[isize; 8]> = walks.iter().map(|walk| walk.stride).collect();
        let mut first = 0isize;
        for (k, &axis) in axes.iter().enumerate() {
            let (start, step, count) =
                taken(x.sizes()[axis], starts[k], ends[k], steps.as_deref().map_or(1, |steps| steps[k]))?;
            // Only a tensor without elements can have strides so long that these saturate.
            first = start.saturating_mul(own[axis]).saturating_add(first);
            walks[axis] = Walk { size: count, stride: step.saturating_mul(own[axis]) };
        }
        let sizes: Sizes = walks.iter().map(|a| a.size).collect();
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        copy(launch.workers, x.span_bytes(), element_bytes(x.data_type()), first, &walks, y.bytes())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        if end == End::Operand(0) { StrideSupport::LastAxis } else { StrideSupport::Contiguous }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_axis() {
        assert_eq!(taken(5, 1, 4, 2).unwrap(), (1, 2, 2));
        assert_eq!(taken(5, -2, i64::MAX, 1).unwrap(), (3, 1, 2));
        assert_eq!(taken(5, -1, i64::MIN, -1).unwrap(), (4, -1, 5));
        assert_eq!(taken(5, 4, 1, 1).unwrap().2, 0);
        assert_eq!(taken(0, 0, i64::MIN, i64::MIN).unwrap().2, 0);
        assert_eq!(taken(5, 0, 5, i64::MAX).unwrap(), (0, 0, 1));
        assert!(taken(5, 0, 5, 0).is_err());
    }
}
