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
    /// For each of its elements; of two results, for those of the first, or of the second where the first has none.
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
    let chunks = data.chunks_mut(each * unit);
    hand_out(workers, chunks.len(), chunks, |index, chunk| task(index * each, chunk));
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
    let chunks = data.chunks_mut(each * unit);
    hand_out(workers, chunks.len(), chunks, |index, chunk| task(index * each, chunk));
}

/// Calls `task(unit, first, second)` for every unit of two results, which have `units.0` and `units.1` elements in each.
/// Where a unit has no elements in one of them, the task gets an empty slice there.
pub fn share_both<T: Send, U: Send>(
    workers: &dyn Workers,
    (first, second): (&mut [T], &mut [U]),
    units: (usize, usize),
    cost: Cost,
    task: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let (count, elements) = match units {
        (0, 0) => return,
        (0, unit) => (second.len() / unit, second.len()),
        (unit, _) => (first.len() / unit, first.len()),
    };
    let each = units_per_chunk(workers, count, cost.of(elements));
    let chunks = chunks_or_empty(first, each * units.0).zip(chunks_or_empty(second, each * units.1));
    hand_out(workers, count.div_ceil(each), chunks, |index, (first, second)| {
        let pairs = chunks_or_empty(first, units.0).zip(chunks_or_empty(second, units.1));
        for (unit, (first, second)) in pairs.take(each.min(count - index * each)).enumerate() {
            task(index * each + unit, first, second);
        }
    });
}

/// Chunks of `length` elements, followed by empty ones without end.
fn chunks_or_empty<T>(data: &mut [T], length: usize) -> impl Iterator<Item = &mut [T]> {
    data.chunks_mut(length.max(1)).chain(std::iter::repeat_with(|| &mut [][..]))
}

fn units_per_chunk(workers: &dyn Workers, units: usize, operations: usize) -> usize {
    units.div_ceil(chunk_count(workers, operations)).max(1)
}

/// Calls `task(index, chunk)` for the first `tasks` chunks.
fn hand_out<P: Send>(
    workers: &dyn Workers,
    tasks: usize,
    chunks: impl Iterator<Item = P> + Send,
    task: impl Fn(usize, P) + Sync,
) {
    let chunks = chunks.take(tasks).enumerate();
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
        for units in [(3, 1), (1, 3), (0, 3), (3, 0)] {
            let (mut first, mut second) = (vec![0usize; 10_000 * units.0], vec![0usize; 10_000 * units.1]);
            share_both(&team, (&mut first, &mut second), units, Cost::PerElement(1), |unit, first, second| {
                assert_eq!((first.len(), second.len()), units);
                first.iter_mut().chain(second).for_each(|v| *v += 1 + unit);
            });
            let of = |values: &[usize], unit: usize| values.iter().enumerate().all(|(i, &v)| v == 1 + i / unit);
            assert!(of(&first, units.0.max(1)) && of(&second, units.1.max(1)), "{units:?}");
        }
        // Units without elements in both results are none.
        share_both(&team, (&mut [0u8; 0], &mut [0u8; 0]), (0, 0), Cost::PerElement(1), |_, _, _| panic!("no unit"));
    }

    #[test]
    fn little_work_is_one_chunk() {
        let team = Team::new(4);
        assert_eq!(chunk_count(&team, WORTH_SHARING - 1), 1);
        assert_eq!(chunk_count(&team, WORTH_SHARING), 4 * CHUNKS_PER_WORKER);
        assert_eq!(chunk_count(&crate::single_thread::SingleThread, usize::MAX), 1);
    }
}
