//! Sharing the work on one result: it is cut into pieces of whole units, one task each.
//!
//! Every piece depends on the operands only, so results do not depend on the number of threads.

use std::sync::Mutex;

use sinter_backend::Workers;

/// Elements of work below which waking the other workers costs more than it saves.
pub const WORTH_SHARING: usize = 16 * 1024;

/// How many pieces `work` elements deserve: some per worker, so that a slow thread delays nobody.
pub fn piece_count(workers: &dyn Workers, work: usize) -> usize {
    if work < WORTH_SHARING || workers.count() < 2 { 1 } else { workers.count() * 4 }
}

/// Calls `each(first unit, piece)` for pieces of whole units of `unit` elements that cover the target; `work` is the
/// number of elements touched in all.
pub fn for_each_piece<T: Send>(
    workers: &dyn Workers,
    target: &mut [T],
    unit: usize,
    work: usize,
    each: impl Fn(usize, &mut [T]) + Sync,
) {
    if target.is_empty() || unit == 0 {
        return;
    }
    let units = target.len() / unit;
    let tasks = piece_count(workers, work).min(units);
    if tasks < 2 {
        return each(0, target);
    }
    let units_each = units.div_ceil(tasks);
    let tasks = target.len().div_ceil(units_each * unit);
    // The lock is held only while a task takes its piece: a list of pieces would be memory taken in every launch.
    let pieces = Mutex::new(target.chunks_mut(units_each * unit).enumerate());
    workers.run(tasks, &|_| {
        let next = pieces.lock().ok().and_then(|mut pieces| pieces.next());
        if let Some((index, piece)) = next {
            each(index * units_each, piece);
        }
    });
}

/// The calling thread alone, for kernels inside of kernels.
pub struct Alone;

impl Workers for Alone {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

/// The unsigned type of a width in bytes under a name, for code that moves elements without looking at them.
#[macro_export]
macro_rules! by_width {
    ($width:expr, $t:ident => $body:expr) => {
        match $width {
            1 => {
                type $t = u8;
                $body
            }
            2 => {
                type $t = u16;
                $body
            }
            4 => {
                type $t = u32;
                $body
            }
            _ => {
                type $t = u64;
                $body
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::team::Team;

    #[test]
    fn every_unit_is_visited_once() {
        let team = Team::new(3);
        for units in [0, 1, 5, 40_000] {
            let mut target = vec![0usize; units * 3];
            for_each_piece(&team, &mut target, 3, units * 3, |first, piece| {
                for (i, unit) in piece.chunks_exact_mut(3).enumerate() {
                    unit.iter_mut().for_each(|u| *u += first + i + 1);
                }
            });
            assert!(target.iter().enumerate().all(|(i, &u)| u == i / 3 + 1));
        }
    }
}
