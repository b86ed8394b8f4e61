//! Streams: the ordered work of a device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::sys;

use crate::driver::context::Context;
use crate::driver::error::{DriverError, check};
use crate::driver::event::Event;

/// A stream. It does not wait for the default stream.
#[derive(Debug)]
pub struct Stream {
    context: Arc<Context>,
    raw: sys::CUstream,
    /// Was a kernel the latest work?
    ends_with_kernel: AtomicBool,
}

// SAFETY: the driver allows any thread to use a stream; the handle never changes.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    /// A new stream.
    ///
    /// # Errors
    /// When the device supports no further stream.
    pub fn new(context: &Arc<Context>) -> Result<Arc<Self>, DriverError> {
        context.bind()?;
        let mut raw = std::ptr::null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: a context is current; the function stores the handle that the drop below destroys.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut raw, flags) })?;
        Ok(Arc::new(Self { context: context.clone(), raw, ends_with_kernel: AtomicBool::new(false) }))
    }

    /// Its context.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The handle, for work that is no kernel.
    pub(super) fn raw(&self) -> sys::CUstream {
        self.ends_with_kernel.store(false, Ordering::Relaxed);
        self.raw
    }

    /// The handle, for a kernel, and whether a kernel was the latest work.
    pub(super) fn raw_for_kernel(&self) -> (sys::CUstream, bool) {
        (self.raw, self.ends_with_kernel.swap(true, Ordering::Relaxed))
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// Errors of the work.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        self.context.bind()?;
        // SAFETY: the stream exists.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw()) })
    }

    /// Lets later work wait for an event of any stream.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub fn wait_for(&self, event: &Event) -> Result<(), DriverError> {
        self.context.bind()?;
        // SAFETY: stream and event exist.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(self.raw(), event.raw(), 0) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is that of the constructor. The driver lets pending work end.
            unsafe { sys::cuStreamDestroy_v2(self.raw) };
        }
    }
}
