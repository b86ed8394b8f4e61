//! Device memory: a pool, and buffers that streams allocate and free in the order of their work.

use std::sync::Arc;

use cudarc::driver::sys;

use crate::driver::context::Context;
use crate::driver::error::{DriverError, check};
use crate::driver::stream::Stream;

/// A pool of memory of one device. It keeps freed memory for the next allocation, until it is dropped.
#[derive(Debug)]
pub struct Pool {
    context: Arc<Context>,
    raw: sys::CUmemoryPool,
}

// SAFETY: the driver allows any thread to use a pool; the fields never change.
unsafe impl Send for Pool {}
// SAFETY: as above.
unsafe impl Sync for Pool {}

impl Pool {
    /// An empty pool.
    ///
    /// # Errors
    /// When the device has no pools.
    pub fn new(context: &Arc<Context>) -> Result<Arc<Self>, DriverError> {
        context.bind()?;
        if !context.info().has_pools {
            let reason = format!("{} has no memory pools", context.info().name);
            return Err(DriverError::Failed { call: "cuMemPoolCreate", reason });
        }
        // SAFETY: all fields of the structure may be zero.
        let mut properties: sys::CUmemPoolProps = unsafe { std::mem::zeroed() };
        properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
        properties.location.id = context.device();
        let mut raw = std::ptr::null_mut();
        // SAFETY: the properties are complete; the function stores the handle that the drop below destroys.
        check("cuMemPoolCreate", unsafe { sys::cuMemPoolCreate(&mut raw, &properties) })?;
        let pool = Arc::new(Self { context: context.clone(), raw });
        // Without a threshold, every synchronization would return free memory to the system.
        let mut threshold = u64::MAX;
        let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the attribute is a number of 64 bits.
        let set = unsafe { sys::cuMemPoolSetAttribute(raw, which, (&raw mut threshold).cast()) };
        check("cuMemPoolSetAttribute", set)?;
        Ok(pool)
    }

    /// Bytes of the buffers that are in use.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn used(&self) -> Result<u64, DriverError> {
        self.context.bind()?;
        let mut bytes = 0u64;
        let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
        // SAFETY: the attribute is a number of 64 bits.
        check("cuMemPoolGetAttribute", unsafe {
            sys::cuMemPoolGetAttribute(self.raw, which, (&raw mut bytes).cast())
        })?;
        Ok(bytes)
    }

    /// Returns all memory to the system that no buffer uses.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn trim(&self) -> Result<(), DriverError> {
        self.context.bind()?;
        // SAFETY: the pool exists.
        check("cuMemPoolTrimTo", unsafe { sys::cuMemPoolTrimTo(self.raw, 0) })
    }

    /// A buffer with unspecified contents, for work that a stream begins later. Its address is a multiple of 256 bytes.
    ///
    /// # Errors
    /// When the device has too little memory.
    pub fn allocate(self: &Arc<Self>, bytes: usize, stream: &Arc<Stream>) -> Result<DeviceBuffer, DriverError> {
        self.context.bind()?;
        let mut pointer = 0;
        // The driver refuses empty allocations.
        let size = bytes.max(1);
        // SAFETY: pool and stream exist; the function stores an address that the drop of the buffer frees.
        let allocate =
            |pointer: &mut u64| unsafe { sys::cuMemAllocFromPoolAsync(pointer, size, self.raw, stream.raw()) };
        let mut result = check("cuMemAllocFromPoolAsync", allocate(&mut pointer));
        if let Err(DriverError::OutOfMemory { .. }) = result {
            // Other streams may have freed memory that only becomes available when their work ends.
            stream.synchronize()?;
            self.trim()?;
            result = check("cuMemAllocFromPoolAsync", allocate(&mut pointer));
        }
        result.map_err(|error| error.for_bytes("device memory", bytes))?;
        Ok(DeviceBuffer { pointer, bytes, stream: stream.clone(), pool: self.clone() })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is that of the constructor, and buffers keep their pool.
            unsafe { sys::cuMemPoolDestroy(self.raw) };
        }
    }
}

/// A buffer of a pool. Dropping it frees it behind all work of its stream.
#[derive(Debug)]
pub struct DeviceBuffer {
    pointer: u64,
    bytes: usize,
    stream: Arc<Stream>,
    #[allow(dead_code, reason = "the pool must outlive its buffers")]
    pool: Arc<Pool>,
}

impl DeviceBuffer {
    /// Its address on the device.
    pub fn pointer(&self) -> u64 {
        self.pointer
    }

    /// Does this stream free it?
    pub fn is_of(&self, stream: &Arc<Stream>) -> bool {
        Arc::ptr_eq(&self.stream, stream)
    }

    /// Its length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        if self.stream.context().bind().is_ok() {
            // SAFETY: the address is that of the constructor. After an error the context has freed the memory.
            unsafe { sys::cuMemFreeAsync(self.pointer, self.stream.raw()) };
        }
    }
}

/// Copies between two ranges of device memory, which the caller checked.
///
/// # Errors
/// Errors of earlier work.
pub fn copy(stream: &Stream, from: u64, to: u64, bytes: usize) -> Result<(), DriverError> {
    if bytes == 0 {
        return Ok(());
    }
    stream.context().bind()?;
    // SAFETY: the driver checks both addresses; an error of a range is an error of the device's work.
    check("cuMemcpyDtoDAsync", unsafe { sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream.raw()) })
}
