//! Graphs: recorded work of a stream.

use std::sync::Arc;

use cudarc::driver::sys;

use crate::driver::context::Context;
use crate::driver::error::{DriverError, check};
use crate::driver::stream::Stream;

/// Recorded work, ready to run.
#[derive(Debug)]
pub struct Graph {
    context: Arc<Context>,
    raw: sys::CUgraphExec,
}

// SAFETY: one owner uses the graph at a time; the driver does not tie graphs to threads.
unsafe impl Send for Graph {}

/// Lets a stream record work instead of executing it. Other streams and threads are not affected.
///
/// # Errors
/// Errors of earlier work.
pub fn begin(stream: &Stream) -> Result<(), DriverError> {
    stream.context().bind()?;
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    // SAFETY: the stream exists.
    check("cuStreamBeginCapture", unsafe { sys::cuStreamBeginCapture_v2(stream.raw(), mode) })
}

/// Ends recording, and discards a recording that failed.
///
/// # Errors
/// When the stream records nothing, or a recorded call failed.
pub fn end(stream: &Stream) -> Result<Graph, DriverError> {
    stream.context().bind()?;
    let mut graph = std::ptr::null_mut();
    // SAFETY: the stream exists; the function stores a handle or null.
    check("cuStreamEndCapture", unsafe { sys::cuStreamEndCapture(stream.raw(), &mut graph) })?;
    let mut raw = std::ptr::null_mut();
    // SAFETY: the graph exists; the function stores the handle that the drop below destroys.
    let result = check("cuGraphInstantiate", unsafe { sys::cuGraphInstantiateWithFlags(&mut raw, graph, 0) });
    // SAFETY: the graph exists, and the executable one does not need it.
    unsafe { sys::cuGraphDestroy(graph) };
    result.map(|()| Graph { context: stream.context().clone(), raw })
}

impl Graph {
    /// Executes the work on a stream.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub fn launch(&self, stream: &Stream) -> Result<(), DriverError> {
        self.context.bind()?;
        // SAFETY: graph and stream exist.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.raw, stream.raw()) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is that of the constructor. The driver lets pending work end.
            unsafe { sys::cuGraphExecDestroy(self.raw) };
        }
    }
}
