//! Sharing results among the workers: consecutive pieces, each written by one task.
//!
//! A result is a row of units (a plane, a row, an element) that are computed independently of each other, so where the
//! pieces begin, and with it the number of threads, has no influence on any element.

use std::sync::Mutex;

use crate::launch::Workers;

/// Operations below which waking the other workers costs more than it saves.
pub const WORTH_SHARING: usize = 16 * 1024;

/// Pieces per worker: enough that one late worker does not hold up the others.
const PIECES: usize = 4;

/// Operations that a result takes, about.
#[derive(Clone, Copy, Debug)]
pub enum Cost {
    /// For each of its elements; of two results, for those of the first.
    PerElement(usize),
    /// All together.
    InAll(usize),
}

impl Cost {
    fn of(self, elements: usize) -> usize {
        match self {
            Cost::PerElement(operations) => elements.saturating_mul(operations),
            Cost::InAll(operations) => operations,
        }
    }
}

/// How many pieces so many operations deserve.
pub fn piece_count(workers: &dyn Workers, operations: usize) -> usize {
    if operations < WORTH_SHARING || workers.count() < 2 { 1 } else { workers.count() * PIECES }
}

/// Calls `task(first unit, units)` for pieces of `data` that together are all of it. A unit has `unit` elements; the last
/// one may have fewer.
pub fn share<T: Send>(
    workers: &dyn Workers,
    data: &mut [T],
    unit: usize,
    cost: Cost,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let unit = unit.max(1);
    let each = units_per_piece(workers, data.len().div_ceil(unit), cost.of(data.len()));
    hand_out(workers, data.chunks_mut(each * unit), |index, piece| task(index * each, piece));
}

/// As [`share`] for two results of as many units each, of `units.0` and `units.1` elements.
pub fn share_both<T: Send, U: Send>(
    workers: &dyn Workers,
    (first, second): (&mut [T], &mut [U]),
    units: (usize, usize),
    cost: Cost,
    task: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let units = (units.0.max(1), units.1.max(1));
    let each = units_per_piece(workers, first.len().div_ceil(units.0), cost.of(first.len()));
    let pieces = first.chunks_mut(each * units.0).zip(second.chunks_mut(each * units.1));
    hand_out(workers, pieces, |index, (first, second)| task(index * each, first, second));
}

fn units_per_piece(workers: &dyn Workers, units: usize, operations: usize) -> usize {
    units.div_ceil(piece_count(workers, operations)).max(1)
}

/// Calls `task(number, piece)` for every piece.
fn hand_out<P: Send>(
    workers: &dyn Workers,
    pieces: impl ExactSizeIterator<Item = P> + Send,
    task: impl Fn(usize, P) + Sync,
) {
    let tasks = pieces.len();
    let pieces = pieces.enumerate();
    if tasks < 2 {
        return pieces.for_each(|(index, piece)| task(index, piece));
    }
    // The lock is held only while a task takes its piece: a list of pieces would be memory taken in every launch.
    let pieces = Mutex::new(pieces);
    workers.run(tasks, &|_| {
        let next = pieces.lock().ok().and_then(|mut pieces| pieces.next());
        if let Some((index, piece)) = next {
            task(index, piece);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::team::Team;

    #[test]
    fn every_unit_is_written_once() {
        let team = Team::new(3);
        for (units, unit) in [(0, 4), (1, 1), (7, 3), (1000, 50), (40_000, 3), (50_000, 1)] {
            for cost in [Cost::PerElement(1), Cost::InAll(WORTH_SHARING)] {
                let mut data = vec![0usize; units * unit];
                share(&team, &mut data, unit, cost, |first, piece| {
                    for (i, part) in piece.chunks_mut(unit).enumerate() {
                        part.iter_mut().for_each(|v| *v += first + i + 1);
                    }
                });
                assert!(data.chunks(unit).enumerate().all(|(i, part)| part.iter().all(|&v| v == i + 1)));
            }
        }
    }

    #[test]
    fn two_results_stay_side_by_side() {
        let team = Team::new(2);
        let (mut wide, mut narrow) = (vec![0usize; 30_000], vec![0usize; 10_000]);
        share_both(&team, (&mut wide, &mut narrow), (3, 1), Cost::PerElement(1), |first, wide, narrow| {
            assert_eq!(wide.len(), 3 * narrow.len());
            wide.iter_mut().enumerate().for_each(|(i, v)| *v = first + i / 3);
            narrow.iter_mut().enumerate().for_each(|(i, v)| *v = first + i);
        });
        assert!(wide.iter().enumerate().all(|(i, &v)| v == i / 3));
        assert!(narrow.iter().enumerate().all(|(i, &v)| v == i));
    }

    #[test]
    fn little_work_is_one_piece() {
        let team = Team::new(4);
        assert_eq!(piece_count(&team, WORTH_SHARING - 1), 1);
        assert_eq!(piece_count(&team, WORTH_SHARING), 4 * PIECES);
        assert_eq!(piece_count(&crate::alone::Alone, usize::MAX), 1);
    }
}
