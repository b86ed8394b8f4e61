//! Launches of one kernel on a stream.

use std::sync::Arc;

use sinter_backend::KernelError;

use crate::driver::{DeviceBuffer, Stream};
use crate::kernel::{Cooperation, Geometry, Sink, recipe};
use crate::machine::{CudaKernel, CudaMachine};

/// The functions of one kernel on the stream.
pub(crate) struct OnStream<'a> {
    pub(crate) kernel: &'a CudaKernel,
    pub(crate) stream: &'a Arc<Stream>,
    pub(crate) machine: &'a CudaMachine,
    /// Memory of the work that is being recorded, if any.
    pub(crate) recording: &'a mut Option<Vec<Arc<DeviceBuffer>>>,
    /// Scratch memory of this launch: the stream frees it behind the launch.
    pub(crate) scratch: Vec<DeviceBuffer>,
}

impl Sink for OnStream<'_> {
    fn run_together(
        &mut self,
        entry: usize,
        geometry: Geometry,
        cooperation: Cooperation,
        words: &[u64],
    ) -> Result<(), KernelError> {
        let function = self.kernel.functions.get(entry);
        let function = function.ok_or_else(|| recipe(format!("the kernel has no function {entry}")))?;
        Ok(function.launch(self.stream, geometry, cooperation, words)?)
    }

    fn scratch(&mut self, bytes: usize) -> Result<u64, KernelError> {
        let buffer = allocate(self.machine, self.stream, self.recording.is_some(), bytes)?;
        let address = buffer.pointer();
        match self.recording {
            Some(recording) => recording.push(Arc::new(buffer)),
            None => self.scratch.push(buffer),
        }
        Ok(address)
    }
}

/// Memory of a stream.
///
/// # Errors
/// When the device has too little.
pub(crate) fn allocate(
    machine: &CudaMachine,
    stream: &Arc<Stream>,
    is_recording: bool,
    bytes: usize,
) -> Result<DeviceBuffer, KernelError> {
    if !is_recording {
        return Ok(machine.pool().allocate(bytes, stream)?);
    }
    // The stream would record the allocation.
    let buffer = machine.pool().allocate(bytes, machine.weights())?;
    machine.weights().synchronize()?;
    Ok(buffer)
}
