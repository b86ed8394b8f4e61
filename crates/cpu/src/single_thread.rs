//! The calling thread as the only worker, for kernels that run inside of a kernel.

use crate::launch::Workers;

/// See the module documentation.
pub struct SingleThread;

impl Workers for SingleThread {
    fn count(&self) -> usize {
        1
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}
