//! `cpu.movement.pad`: a border around a tensor, or a cut.
//!
//! A table per axis gives the source of each position of the result. The kernel converts the innermost padded axis once
//! into segments, which are runs of the source or of the fill value, and then writes each row of the result segment by
//! segment. Unpadded axes after it only enlarge the elements of a row.

use bytemuck::{Pod, Zeroable};
use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::strides;
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use sinter_ops::movement::pad::PadMode;
use smallvec::{SmallVec, smallvec};

use crate::arguments::{axes_in, integers, result};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const PAD: Row = Row {
    name: "cpu.movement.pad",
    roots: &[OpKind::Pad],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Pad);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(PadKernel { mode: op.mode })))
}

struct PadKernel {
    mode: PadMode,
}

/// Entry of a table for the fill value.
const FILLER: usize = usize::MAX;

impl PadKernel {
    /// Where each position of an axis of `size` elements comes from: an index or [`FILLER`].
    fn table<'r>(&self, size: usize, (begin, end): (i64, i64), scratch: &'r Scratch) -> ScratchBuffer<'r, usize> {
        let (first, last) = kept(size, (begin, end));
        let (size, begin, end, left) = (size as i128, i128::from(begin), i128::from(end), last - first + 1);
        let padded = usize::try_from(size + begin + end).unwrap_or(0);
        let source = |at: usize| -> usize {
            let position = at as i128 - begin;
            let inside = match self.mode {
                PadMode::Constant if !(0..size).contains(&position) => return FILLER,
                PadMode::Constant => position,
                PadMode::Edge => position.clamp(first, last),
                PadMode::Wrap => first + (position - first).rem_euclid(left),
                PadMode::Reflect if left == 1 => first,
                PadMode::Reflect => {
                    let phase = (position - first).rem_euclid(2 * left - 2);
                    first + phase.min(2 * left - 2 - phase)
                }
            };
            usize::try_from(inside).unwrap_or(FILLER)
        };
        scratch.list((0..padded).map(source))
    }
}

/// First and last element that negative pads leave: what the border repeats.
fn kept(size: usize, (begin, end): (i64, i64)) -> (i128, i128) {
    (i128::from(begin).min(0).abs(), size as i128 - 1 - i128::from(end).min(0).abs())
}

/// A stretch of one axis: consecutive elements from a source on, or the fill value.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Segment {
    length: usize,
    source: usize,
}

fn segments<'r>(table: &[usize], scratch: &'r Scratch) -> ScratchBuffer<'r, Segment> {
    let follows = |a: &usize, b: &usize| *b == if *a == FILLER { FILLER } else { a + 1 };
    let stretches = table.chunk_by(follows).map(|stretch| Segment { length: stretch.len(), source: stretch[0] });
    scratch.list_of(table.len(), stretches)
}

impl Kernel for PadKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, pads) = (launch.input(0)?, integers(launch.input(1)?, launch.scratch)?);
        let rank = x.sizes().len();
        let axes = match launch.optional(3) {
            Some(axes) => axes_in(&integers(axes, launch.scratch)?, rank)?,
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * axes.len() {
            refuse_data!("{} pads for {} axes", pads.len(), axes.len());
        }
        let width = element_bytes(x.data_type());
        let zero = [0u8; 8];
        let value = match launch.optional(2) {
            Some(value) if value.count() != 1 => refuse_data!("the padding value has {} elements", value.count()),
            Some(value) => value.bytes(),
            None => &zero[..width],
        };
        let mut borders: SmallVec<[(i64, i64); 6]> = smallvec![(0, 0); rank];
        for (k, &axis) in axes.iter().enumerate() {
            borders[axis] = (pads[k], pads[k + axes.len()]);
        }
        // Sizes before tables: an absurd pad must fail before memory is taken for it.
        let mut sizes = Sizes::new();
        for (&size, &(begin, end)) in x.sizes().iter().zip(&borders) {
            let padded = i64::try_from(size).ok().and_then(|s| s.checked_add(begin)?.checked_add(end));
            let Some(padded) = padded.and_then(|s| usize::try_from(s).ok()) else {
                refuse_data!("pads {begin} and {end} around {size} elements")
            };
            let (first, last) = kept(size, (begin, end));
            if self.mode != PadMode::Constant && last < first && padded > 0 {
                refuse_data!("pads {begin} and {end}: nothing is left of {size} elements to repeat");
            }
            sizes.push(padded);
        }
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        if y.count() == 0 {
            return Ok(());
        }
        // The axes behind the last padded one move as a whole.
        let padded = borders.iter().rposition(|&b| b != (0, 0)).map_or(0, |last| last + 1);
        let unit = x.sizes()[padded..].iter().product::<usize>() * width;
        let table = |axis: usize| self.table(x.sizes()[axis], borders[axis], scratch);
        let tables: SmallVec<[ScratchBuffer<'_, usize>; 6]> = (0..padded).map(table).collect();
        let Some((last, outer)) = tables.split_last() else {
            y.bytes().copy_from_slice(x.bytes());
            return Ok(());
        };
        let own: Sizes = strides(&x.sizes()[..padded]).iter().map(|s| s * unit).collect();
        let runs = segments(last, scratch);
        let mut filler = scratch.allocate::<u8>(last.len() * unit);
        filler.chunks_exact_mut(width).for_each(|element| element.copy_from_slice(value));
        let filler = &*filler;
        let source = x.bytes();
        let row = last.len() * unit;
        let work = y.count();
        share(workers, y.bytes(), row, Cost::InAll(work), |from, chunk| {
            for (at, row) in chunk.chunks_exact_mut(row).enumerate() {
                write_row(row, &runs, row_start(from + at, outer, &own), source, unit, filler);
            }
        });
        Ok(())
    }
}

/// Where a row of the source starts in bytes; `None` when the row is border.
fn row_start(mut row: usize, outer: &[ScratchBuffer<'_, usize>], steps: &[usize]) -> Option<usize> {
    let mut start = 0;
    for (table, step) in outer.iter().zip(steps).rev() {
        match table[row % table.len()] {
            FILLER => return None,
            at => start += at * step,
        }
        row /= table.len();
    }
    Some(start)
}

fn write_row(mut row: &mut [u8], runs: &[Segment], start: Option<usize>, source: &[u8], unit: usize, filler: &[u8]) {
    let Some(start) = start else {
        row.copy_from_slice(&filler[..row.len()]);
        return;
    };
    for run in runs {
        let (part, rest) = row.split_at_mut(run.length * unit);
        row = rest;
        match run.source {
            FILLER => part.copy_from_slice(&filler[..part.len()]),
            from => {
                let from = start + from * unit;
                part.copy_from_slice(&source[from..from + part.len()]);
            }
        }
    }
}
