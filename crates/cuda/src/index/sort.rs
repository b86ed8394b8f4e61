//! Sorting of lines of positions by a bitonic network; see `sort.cuh`. Steps of short distance are done in shared memory, one
//! launch for all of a stage, the others by a launch each.

use sinter_backend::KernelError;
use sinter_base::Dim;

use crate::kernel::{Geometry, Launch};

/// The words of `Sorting` in `sort.cuh`, which come first in the parameters of a kernel that sorts.
pub(crate) const WORDS: usize = 6;
const RUN: usize = 4;
const DISTANCE: usize = 5;

/// Positions that a block sorts; `CHUNK` in `sort.cuh`.
const CHUNK: usize = 1024;
/// Threads of a block; `SORTERS` there.
const THREADS: u32 = 256;
/// Bytes of a position.
const POSITION: usize = 8;

/// Lines to sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sorting {
    pub(crate) lines: usize,
    pub(crate) length: usize,
}

/// The functions `sort_first`, `sort_far` and `sort_near` of a kernel, as the positions of its entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SortEntries {
    pub(crate) first: usize,
    pub(crate) far: usize,
    pub(crate) near: usize,
}

/// Bytes of scratch memory for lines of so many elements in all: each is filled up to at most twice its length.
pub(crate) fn workspace(elements: &Dim) -> Dim {
    elements.mul(&Dim::from(2 * POSITION))
}

impl Sorting {
    fn padded(self) -> usize {
        if self.length == 0 { 0 } else { self.length.next_power_of_two() }
    }

    /// Bytes of the positions.
    pub(crate) fn bytes(self) -> usize {
        self.lines.saturating_mul(self.padded()).saturating_mul(POSITION)
    }

    /// The words of the description.
    pub(crate) fn words(self, positions: u64) -> [u64; WORDS] {
        [self.lines as u64, self.length as u64, self.padded() as u64, positions, 0, 0]
    }

    /// Launches all steps.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub(crate) fn run(
        self,
        launch: &mut Launch<'_>,
        entries: SortEntries,
        parameters: &mut [u64],
    ) -> Result<(), KernelError> {
        let (padded, count) = (self.padded(), self.lines.saturating_mul(self.padded()));
        if count == 0 {
            return Ok(());
        }
        let blocks = u32::try_from(count.div_ceil(CHUNK)).unwrap_or(u32::MAX).min(1 << 20);
        let chunks = Geometry { grid: [blocks, 1, 1], threads: THREADS, shared: 0 };
        launch.sink.run(entries.first, chunks, parameters)?;
        let mut run = 2 * CHUNK;
        while run <= padded {
            parameters[RUN] = run as u64;
            let mut distance = run / 2;
            while distance >= CHUNK {
                parameters[DISTANCE] = distance as u64;
                launch.each(entries.far, count / 2, parameters)?;
                distance /= 2;
            }
            launch.sink.run(entries.near, chunks, parameters)?;
            run *= 2;
        }
        Ok(())
    }
}
