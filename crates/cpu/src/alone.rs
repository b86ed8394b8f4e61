//! The calling thread alone as workers, for kernels inside of kernels.

use crate::launch::Workers;

/// See the module documentation.
pub struct Alone;

impl Workers for Alone {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}
