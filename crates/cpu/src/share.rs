//! Sharing one result among the workers: consecutive pieces of it, each written by one task.
//!
//! A result is a row of units (a plane, a row, an element) that are computed independently of each other, so where the
//! pieces begin, and with it the number of threads, has no influence on any element.

use std::sync::Mutex;

use sinter_backend::Workers;

/// Operations below which waking the other workers costs more than it saves.
pub const WORTH_SHARING: usize = 16 * 1024;

/// Pieces per worker: enough that one late worker does not hold up the others.
const PIECES: usize = 4;

/// Calls `task(first unit, units)` for pieces of `data` that together are all of it. A unit has `unit` elements, each of
/// which takes about `work` operations.
pub fn share<T: Send>(
    workers: &dyn Workers,
    data: &mut [T],
    unit: usize,
    work: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let unit = unit.max(1);
    let units = data.len() / unit;
    if units == 0 {
        return;
    }
    let per_piece = units_per_piece(workers, units, data.len().saturating_mul(work));
    let tasks = data.len().div_ceil(per_piece * unit);
    // The lock is held only while a task takes its piece: a list of pieces would be memory taken in every launch.
    let pieces = Mutex::new(data.chunks_mut(per_piece * unit).enumerate());
    workers.run(tasks, &|_| {
        let next = pieces.lock().ok().and_then(|mut pieces| pieces.next());
        if let Some((index, piece)) = next {
            task(index * per_piece, piece);
        }
    });
}

/// As [`share`] for two results of as many units each, of `units.0` and `units.1` elements.
pub fn share_both<T: Send, U: Send>(
    workers: &dyn Workers,
    (first, second): (&mut [T], &mut [U]),
    units: (usize, usize),
    work: usize,
    task: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let (first_unit, second_unit) = (units.0.max(1), units.1.max(1));
    let count = (first.len() / first_unit).min(second.len() / second_unit);
    if count == 0 {
        return;
    }
    let per_piece = units_per_piece(workers, count, first.len().saturating_mul(work));
    let pieces = first.chunks_mut(per_piece * first_unit).zip(second.chunks_mut(per_piece * second_unit));
    let tasks = pieces.len();
    let pieces = Mutex::new(pieces.enumerate());
    workers.run(tasks, &|_| {
        let next = pieces.lock().ok().and_then(|mut pieces| pieces.next());
        if let Some((index, (first, second))) = next {
            task(index * per_piece, first, second);
        }
    });
}

fn units_per_piece(workers: &dyn Workers, units: usize, operations: usize) -> usize {
    let pieces = if operations < WORTH_SHARING { 1 } else { workers.count() * PIECES };
    units.div_ceil(pieces.clamp(1, units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::team::Team;

    #[test]
    fn every_unit_is_written_once() {
        let team = Team::new(3);
        for (units, unit) in [(0, 4), (1, 1), (7, 3), (1000, 50), (50_000, 1)] {
            let mut data = vec![0usize; units * unit];
            share(&team, &mut data, unit, 1, |first, piece| {
                for (i, part) in piece.chunks_mut(unit).enumerate() {
                    part.iter_mut().for_each(|v| *v += first + i + 1);
                }
            });
            assert!(data.chunks(unit).enumerate().all(|(i, part)| part.iter().all(|&v| v == i + 1)));
        }
    }

    #[test]
    fn two_results_stay_side_by_side() {
        let team = Team::new(2);
        let (mut wide, mut narrow) = (vec![0usize; 30_000], vec![0usize; 10_000]);
        share_both(&team, (&mut wide, &mut narrow), (3, 1), 1, |first, wide, narrow| {
            assert_eq!(wide.len(), 3 * narrow.len());
            wide.iter_mut().enumerate().for_each(|(i, v)| *v = first + i / 3);
            narrow.iter_mut().enumerate().for_each(|(i, v)| *v = first + i);
        });
        assert!(wide.iter().enumerate().all(|(i, &v)| v == i / 3));
        assert!(narrow.iter().enumerate().all(|(i, &v)| v == i));
    }
}
