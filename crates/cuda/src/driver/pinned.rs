//! Pinned memory of the host, which the device copies without the help of the processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::sys;

use crate::driver::context::Context;
use crate::driver::error::{DriverError, check};

/// Pinned bytes. The device may be reading or writing them: only [`crate::driver::Staging`], which waits for its own
/// copies, looks into them.
#[derive(Debug)]
pub struct Pinned {
    context: Arc<Context>,
    pointer: *mut u8,
    bytes: usize,
}

// SAFETY: the memory belongs to this object alone; any thread may use it.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Allocates zeroed bytes.
    ///
    /// # Errors
    /// When the host has too little memory.
    pub fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, DriverError> {
        context.bind()?;
        let mut pointer = std::ptr::null_mut();
        // 2: the device may access the memory by its own address.
        // SAFETY: a context is current; the function stores the address that the drop below frees.
        let result = unsafe { sys::cuMemHostAlloc(&mut pointer, bytes.max(1), 2) };
        check("cuMemHostAlloc", result).map_err(|error| error.for_bytes("pinned memory of the host", bytes))?;
        let pinned = Self { context: context.clone(), pointer: pointer.cast(), bytes };
        // SAFETY: the allocation has so many bytes.
        unsafe { std::ptr::write_bytes(pinned.pointer, 0, bytes.max(1)) };
        Ok(pinned)
    }

    pub(super) fn pointer(&self) -> *mut u8 {
        self.pointer
    }

    /// Their number.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Their address on the device.
    fn device_pointer(&self) -> Result<u64, DriverError> {
        self.context.bind()?;
        let mut pointer = 0;
        // SAFETY: the memory is pinned and mapped; the function stores an address.
        let result = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut pointer, self.pointer.cast(), 0) };
        check("cuMemHostGetDevicePointer", result)?;
        Ok(pointer)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the address is that of the constructor. The driver waits for copies of this memory.
            unsafe { sys::cuMemFreeHost(self.pointer.cast()) };
        }
    }
}

/// A word that kernels set when they meet data that their operator refuses, such as an index out of range.
#[derive(Debug)]
pub struct FaultWord {
    memory: Pinned,
    address: u64,
}

impl FaultWord {
    /// A word without a fault.
    ///
    /// # Errors
    /// When the host has too little memory.
    pub fn new(context: &Arc<Context>) -> Result<Self, DriverError> {
        let memory = Pinned::new(context, 4)?;
        Ok(Self { address: memory.device_pointer()?, memory })
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The fault that kernels set since the last call, 0 for none. Complete only after the stream was synchronized.
    pub fn take(&self) -> u32 {
        // SAFETY: the memory has four bytes at an address that is aligned for pages, lives as long as this object, and
        // is accessed by this function and by atomic operations of the device only.
        let word = unsafe { AtomicU32::from_ptr(self.memory.pointer().cast()) };
        word.swap(0, Ordering::SeqCst)
    }
}
