//! Copies from a strided source into a contiguous result, any element type: the work behind transposes, slices,
//! expanded and tiled tensors.
//!
//! The copy first merges contiguous axes. It then copies rows of the innermost axis: as whole runs where the source is
//! contiguous, as fills where the stride is 0, else element by element. Where another axis than the innermost is
//! contiguous in the source, it walks the two axes in square tiles, so that it uses every cache line of the source
//! completely while it is in the cache.

use std::sync::Mutex;

use bytemuck::Pod;
use sinter_backend::KernelError;
use sinter_base::Sizes;
use sinter_base::shape::unravel;
use smallvec::SmallVec;

use crate::launch::Workers;
use crate::share::chunk_count;
use crate::{by_width, refuse_data};

/// Side of a tile in elements: a cache line of f32 and more.
const TILE: usize = 32;

/// One axis of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Elements along it.
    pub size: usize,
    /// Distance in the source between neighbours, in elements.
    pub stride: isize,
}

/// The axes of a walk.
pub type Walks = SmallVec<[Walk; 8]>;

impl Walk {
    /// An axis of this size and stride.
    pub fn new(size: usize, stride: usize) -> Self {
        Self { size, stride: stride.cast_signed() }
    }
}

/// Copies elements of `width` bytes from `source`, beginning at element `start`, along `axes`, outermost first.
///
/// # Errors
/// When the axes lead outside of the source, or the target has another size.
pub fn copy(
    workers: &dyn Workers,
    source: &[u8],
    width: usize,
    start: isize,
    axes: &[Walk],
    target: &mut [u8],
) -> Result<(), KernelError> {
    let sizes: Sizes = axes.iter().map(|a| a.size).collect();
    let count = sinter_base::shape::element_count(&sizes);
    if count.and_then(|c| c.checked_mul(width)) != Some(target.len()) {
        refuse_data!("elements of sizes {sizes:?} into {} bytes", target.len());
    }
    if target.is_empty() {
        return Ok(());
    }
    let (mut low, mut high) = (start, start);
    for axis in axes {
        let reach = isize::try_from(axis.size - 1).ok().and_then(|last| last.checked_mul(axis.stride));
        let Some(reach) = reach else { refuse_data!("an axis of {} elements is too long", axis.size) };
        (low, high) = (low.saturating_add(reach.min(0)), high.saturating_add(reach.max(0)));
    }
    let elements = source.len() / width;
    if low < 0 || high.unsigned_abs() >= elements {
        refuse_data!("elements {low} to {high} of a tensor of {elements}");
    }
    let axes = merged(axes);
    by_width!(width, T => {
        shared(workers, bytemuck::cast_slice::<u8, T>(source), start, &axes, bytemuck::cast_slice_mut(target));
    });
    Ok(())
}

/// The same walk with as few axes as possible.
fn merged(axes: &[Walk]) -> Walks {
    let mut result = Walks::new();
    for &axis in axes.iter().filter(|a| a.size != 1) {
        match result.last_mut() {
            Some(last) if last.stride == axis.stride * axis.size.cast_signed() => {
                *last = Walk { size: last.size * axis.size, stride: axis.stride };
            }
            _ => result.push(axis),
        }
    }
    result
}

/// Cuts the walk along its outermost axes.
fn shared<T: Pod + Send + Sync>(workers: &dyn Workers, source: &[T], start: isize, axes: &[Walk], target: &mut [T]) {
    let tasks = chunk_count(workers, target.len());
    if tasks < 2 || axes.is_empty() {
        return serial(source, start, axes, target);
    }
    // Whole outer axes until there is an axis whose ranges make enough tasks.
    let (mut depth, mut lead) = (0, 1);
    while depth + 1 < axes.len() && lead * axes[depth].size < tasks {
        lead *= axes[depth].size;
        depth += 1;
    }
    let cut = axes[depth];
    let chunk = cut.size.div_ceil(tasks.div_ceil(lead)).max(1);
    let below: usize = axes[depth + 1..].iter().map(|a| a.size).product();
    let chunks = cut.size.div_ceil(chunk);
    let outer_sizes: Sizes = axes[..depth].iter().map(|axis| axis.size).collect();
    // Tasks take the parts of the result one after the other; a list of them would allocate memory in every launch.
    let rest = Mutex::new((0, target));
    workers.run(lead * chunks, &|_| {
        let Some((job, size, part)) = rest.lock().ok().map(|mut rest| {
            let job = rest.0;
            let size = chunk.min(cut.size - job % chunks * chunk);
            let (part, later) = std::mem::take(&mut rest.1).split_at_mut(size * below);
            *rest = (job + 1, later);
            (job, size, part)
        }) else {
            return;
        };
        let place = unravel(job / chunks, &outer_sizes);
        let outer: isize = place.iter().zip(axes).map(|(&i, axis)| i.cast_signed() * axis.stride).sum();
        let first = (job % chunks * chunk).cast_signed() * cut.stride;
        let mut own = Walks::from_slice(&axes[depth..]);
        own[0].size = size;
        serial(source, start + outer + first, &own, part);
    });
}

/// Calls `visit(row number, source position)` for every position of the axes in row-major order.
fn for_each_row(axes: &[Walk], start: isize, mut visit: impl FnMut(usize, isize)) {
    let rows: usize = axes.iter().map(|a| a.size).product();
    let mut index: Sizes = axes.iter().map(|_| 0).collect();
    let mut position = start;
    for row in 0..rows {
        visit(row, position);
        for (at, axis) in index.iter_mut().zip(axes).rev() {
            *at += 1;
            position += axis.stride;
            if *at < axis.size {
                break;
            }
            position -= axis.stride * axis.size.cast_signed();
            *at = 0;
        }
    }
}

/// An element of the source; the walk was checked to stay inside.
#[inline(always)]
fn at(position: isize) -> usize {
    position.cast_unsigned()
}

fn serial<T: Pod>(source: &[T], start: isize, axes: &[Walk], target: &mut [T]) {
    let Some((&inner, outer)) = axes.split_last() else {
        target[0] = source[at(start)];
        return;
    };
    let row_of = |target: &mut [T], row: usize| -> std::ops::Range<usize> {
        debug_assert!((row + 1) * inner.size <= target.len());
        row * inner.size..(row + 1) * inner.size
    };
    match inner.stride {
        1 => for_each_row(outer, start, |row, position| {
            let range = row_of(target, row);
            target[range].copy_from_slice(&source[at(position)..at(position) + inner.size]);
        }),
        0 => for_each_row(outer, start, |row, position| {
            let range = row_of(target, row);
            target[range].fill(source[at(position)]);
        }),
        stride => match outer.iter().rposition(|a| a.stride.abs() == 1 && a.size >= 4) {
            Some(contiguous) => tiled(source, start, outer, contiguous, inner, target),
            None => for_each_row(outer, start, |row, mut position| {
                let range = row_of(target, row);
                for slot in &mut target[range] {
                    *slot = source[at(position)];
                    position += stride;
                }
            }),
        },
    }
}

/// Square tiles over the innermost axis and the one that is contiguous in the source.
fn tiled<T: Pod>(source: &[T], start: isize, outer: &[Walk], contiguous: usize, inner: Walk, target: &mut [T]) {
    let rows = outer[contiguous];
    let row_step: usize = outer[contiguous + 1..].iter().map(|a| a.size).product::<usize>() * inner.size;
    // Rows of the axes before and between: positions in the target follow from the row number.
    let (before, between) = (&outer[..contiguous], &outer[contiguous + 1..]);
    let block = rows.size * row_step;
    for_each_row(before, start, |first, position| {
        for_each_row(between, position, |second, position| {
            let origin = first * block + second * inner.size;
            for top in (0..rows.size).step_by(TILE) {
                for left in (0..inner.size).step_by(TILE) {
                    let width = TILE.min(inner.size - left);
                    for row in top..rows.size.min(top + TILE) {
                        let from = origin + row * row_step + left;
                        let mut position =
                            position + row.cast_signed() * rows.stride + left.cast_signed() * inner.stride;
                        for slot in &mut target[from..from + width] {
                            *slot = source[at(position)];
                            position += inner.stride;
                        }
                    }
                }
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::team::Team;

    /// By definition: every element on its own.
    fn plain(source: &[u32], start: isize, axes: &[Walk]) -> Vec<u32> {
        let sizes: Sizes = axes.iter().map(|a| a.size).collect();
        let mut result = Vec::new();
        sinter_base::shape::for_each_index(&sizes, |index| {
            let offset: isize = index.iter().zip(axes).map(|(&i, a)| i.cast_signed() * a.stride).sum();
            result.push(source[at(start + offset)]);
        });
        result
    }

    #[test]
    fn every_kind_of_walk_matches_the_definition() {
        let source: Vec<u32> = (0..80_000).collect();
        let team = Team::new(3);
        let walk = |size: usize, stride: isize| Walk { size, stride };
        let cases: Vec<(isize, Vec<Walk>)> = vec![
            (7, vec![]),
            (0, vec![walk(40, 1000), walk(900, 1)]),
            (5, vec![walk(300, 1), walk(200, 320)]),
            (0, vec![walk(3, 20_000), walk(100, 1), walk(7, 100), walk(9, 1000)]),
            (0, vec![walk(50, 1), walk(3, 0), walk(41, 60)]),
            (0, vec![walk(30, 7), walk(1000, 0)]),
            (70_000, vec![walk(70, -1000), walk(500, -2)]),
            (999, vec![walk(1000, -1), walk(60, 1000)]),
            (0, vec![walk(2, 0), walk(20_000, 1)]),
            (0, vec![walk(5, 3), walk(0, 1)]),
        ];
        for (start, axes) in cases {
            let expected = plain(&source, start, &axes);
            let mut found = vec![0u32; expected.len()];
            let bytes = bytemuck::cast_slice_mut(&mut found);
            copy(&team, bytemuck::cast_slice(&source), 4, start, &axes, bytes).unwrap();
            assert_eq!(found, expected, "{start} {axes:?}");
        }
    }

    #[test]
    fn walks_outside_are_refused() {
        let source = [0u8; 10];
        let mut target = [0u8; 4];
        let axes = [Walk { size: 4, stride: 3 }];
        assert!(copy(&crate::single_thread::SingleThread, &source, 1, 0, &axes, &mut target).is_ok());
        assert!(copy(&crate::single_thread::SingleThread, &source, 1, 1, &axes, &mut target).is_err());
        assert!(copy(&crate::single_thread::SingleThread, &source, 1, -1, &axes, &mut target).is_err());
    }
}
