//! Events: points in the work of a stream.

use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys;

use crate::driver::context::Context;
use crate::driver::error::{DriverError, check};
use crate::driver::stream::Stream;

/// An event.
#[derive(Debug)]
pub struct Event {
    context: Arc<Context>,
    raw: sys::CUevent,
}

// SAFETY: the driver allows any thread to use an event; the fields never change.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Sync for Event {}

impl Event {
    fn new(context: &Arc<Context>, flags: sys::CUevent_flags_enum) -> Result<Self, DriverError> {
        context.bind()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: a context is current; the function stores the handle that the drop below destroys.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut raw, flags as u32) })?;
        Ok(Self { context: context.clone(), raw })
    }

    /// An event that measures time.
    ///
    /// # Errors
    /// When the device supports no further event.
    pub fn timed(context: &Arc<Context>) -> Result<Self, DriverError> {
        Self::new(context, sys::CUevent_flags_enum::CU_EVENT_DEFAULT)
    }

    /// An event that only orders work.
    ///
    /// # Errors
    /// When the device supports no further event.
    pub fn untimed(context: &Arc<Context>) -> Result<Self, DriverError> {
        Self::new(context, sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING)
    }

    pub(super) fn raw(&self) -> sys::CUevent {
        self.raw
    }

    /// Moves the event to this point of a stream's work.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub fn record(&self, stream: &Stream) -> Result<(), DriverError> {
        self.context.bind()?;
        // SAFETY: event and stream exist.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.raw, stream.raw()) })
    }

    /// Waits until the device reaches the event; at once where it was never recorded.
    ///
    /// # Errors
    /// Errors of earlier work.
    pub fn synchronize(&self) -> Result<(), DriverError> {
        self.context.bind()?;
        // SAFETY: the event exists.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.raw) })
    }

    /// The time between two recorded events, which the device has reached.
    ///
    /// # Errors
    /// When an event was not recorded or does not measure time.
    pub fn elapsed(from: &Self, to: &Self) -> Result<Duration, DriverError> {
        from.context.bind()?;
        let mut milliseconds = 0f32;
        // SAFETY: both events exist; the function stores a number.
        check("cuEventElapsedTime", unsafe { sys::cuEventElapsedTime_v2(&mut milliseconds, from.raw, to.raw) })?;
        Ok(Duration::try_from_secs_f64(f64::from(milliseconds) * 1e-3).unwrap_or_default())
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is that of the constructor. The driver keeps the event until pending work has used it.
            unsafe { sys::cuEventDestroy_v2(self.raw) };
        }
    }
}
