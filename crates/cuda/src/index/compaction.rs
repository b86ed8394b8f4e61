//! The numbers of the elements that a condition selects; see `compact.cuh`.

use sinter_backend::KernelError;
use sinter_base::Dim;

use crate::kernel::{Geometry, Launch};

/// Words of `Compaction` in `compact.cuh`.
pub(crate) const WORDS: usize = 4;

/// Elements of a segment; `SEGMENT` in `compact.cuh`.
const SEGMENT: usize = 2048;
/// Threads of a block; `COMPACTORS` there.
pub(crate) const THREADS: u32 = 256;
/// Bytes of a count.
const COUNT: usize = 8;

/// Elements to select of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compaction {
    pub(crate) length: usize,
}

/// Bytes of scratch memory for so many elements.
pub(crate) fn workspace(elements: &Dim) -> Dim {
    elements.ceil_div(&Dim::from(SEGMENT)).add(&Dim::constant(1)).mul(&Dim::from(COUNT))
}

/// The geometry of a kernel with a block for each of these.
pub(crate) fn blocks(count: usize) -> Geometry {
    let blocks = u32::try_from(count).unwrap_or(u32::MAX).clamp(1, 1 << 20);
    Geometry { grid: [blocks, 1, 1], threads: THREADS, shared: 0 }
}

impl Compaction {
    pub(crate) fn segments(self) -> usize {
        self.length.div_ceil(SEGMENT)
    }

    /// Bytes of the counts.
    pub(crate) fn bytes(self) -> usize {
        (self.segments() + 1) * COUNT
    }

    /// The words of the description: counts, and the address of the total, 0 for none.
    pub(crate) fn words(self, counts: u64, total: u64) -> [u64; WORDS] {
        [self.length as u64, self.segments() as u64, counts, total]
    }

    /// Launches the functions that count, add up and number.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub(crate) fn run(self, launch: &mut Launch<'_>, entries: [usize; 3], words: &[u64]) -> Result<(), KernelError> {
        let [count, add_up, number] = entries;
        launch.sink.run(count, blocks(self.segments()), words)?;
        launch.sink.run(add_up, blocks(1), words)?;
        launch.sink.run(number, blocks(self.segments()), words)
    }
}
