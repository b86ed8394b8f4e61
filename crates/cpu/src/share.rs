//! Parallel loops over a result: consecutive chunks, each written by one task.
//!
//! A result consists of units (planes, rows, elements) that are computed independently of each other, so chunk borders,
//! and with them the number of threads, have no influence on any element.

use std::sync::Mutex;

use crate::launch::Workers;

/// Operations below which waking the other workers costs more than it saves.
pub const WORTH_SHARING: usize = 16 * 1024;

/// Chunks per worker: enough that one late worker does not delay the others.
const CHUNKS_PER_WORKER: usize = 4;

/// Estimated operations of a result.
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

/// Number of chunks for a result of so many operations.
pub fn chunk_count(workers: &dyn Workers, operations: usize) -> usize {
    if operations < WORTH_SHARING || workers.count() < 2 { 1 } else { workers.count() * CHUNKS_PER_WORKER }
}

/// Calls `task(first unit, units)` for chunks of `data` that together are all of it. A unit has `unit` elements; the
/// last one may have fewer.
pub fn share<T: Send>(
    workers: &dyn Workers,
    data: &mut [T],
    unit: usize,
    cost: Cost,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let unit = unit.max(1);
    let each = units_per_chunk(workers, data.len().div_ceil(unit), cost.of(data.len()));
    hand_out(workers, data.chunks_mut(each * unit), |index, chunk| task(index * each, chunk));
}

/// As [`share`], in this number of chunks at most: for tasks whose first unit costs more than the others.
pub fn share_in<T: Send>(
    workers: &dyn Workers,
    data: &mut [T],
    unit: usize,
    chunks: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let unit = unit.max(1);
    let each = data.len().div_ceil(unit).div_ceil(chunks.max(1)).max(1);
    hand_out(workers, data.chunks_mut(each * unit), |index, chunk| task(index * each, chunk));
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
    let each = units_per_chunk(workers, first.len().div_ceil(units.0), cost.of(first.len()));
    let chunks = first.chunks_mut(each * units.0).zip(second.chunks_mut(each * units.1));
    hand_out(workers, chunks, |index, (first, second)| task(index * each, first, second));
}

fn units_per_chunk(workers: &dyn Workers, units: usize, operations: usize) -> usize {
    units.div_ceil(chunk_count(workers, operations)).max(1)
}

/// Calls `task(index, chunk)` for every chunk.
fn hand_out<P: Send>(
    workers: &dyn Workers,
    chunks: impl ExactSizeIterator<Item = P> + Send,
    task: impl Fn(usize, P) + Sync,
) {
    let tasks = chunks.len();
    let chunks = chunks.enumerate();
    if tasks < 2 {
        return chunks.for_each(|(index, chunk)| task(index, chunk));
    }
    // A task holds the lock only while it takes its chunk. A list of chunks would allocate memory in every launch.
    let chunks = Mutex::new(chunks);
    workers.run(tasks, &|_| {
        let next = chunks.lock().ok().and_then(|mut chunks| chunks.next());
        if let Some((index, chunk)) = next {
            task(index, chunk);
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
                share(&team, &mut data, unit, cost, |first, chunk| {
                    for (i, part) in chunk.chunks_mut(unit).enumerate() {
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
    fn little_work_is_one_chunk() {
        let team = Team::new(4);
        assert_eq!(chunk_count(&team, WORTH_SHARING - 1), 1);
        assert_eq!(chunk_count(&team, WORTH_SHARING), 4 * CHUNKS_PER_WORKER);
        assert_eq!(chunk_count(&crate::single_thread::SingleThread, usize::MAX), 1);
    }
}
