//! Devices and their primary contexts.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys;
use cudarc::driver::sys::CUdevice_attribute as Attribute;

use crate::driver::error::{DriverError, check};
use crate::driver::library;

/// Properties of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Its unique identifier, as `nvidia-smi -L` shows it: `GPU-` or `MIG-` and 32 hexadecimal digits in five groups.
    pub uuid: String,
    /// Compute capability, 9 and 0 for an H200.
    pub capability: (u32, u32),
    /// Multiprocessors.
    pub multiprocessors: usize,
    /// Bytes of memory.
    pub memory: usize,
    /// Clock of the multiprocessors at most, in hertz.
    pub clock: u64,
    /// Clock of the memory at most, in hertz.
    pub memory_clock: u64,
    /// Width of the memory bus in bits.
    pub bus_width: u64,
    /// Bytes of the level 2 cache.
    pub cache: usize,
    /// Bytes of shared memory that a block may ask for.
    pub shared_memory: usize,
    /// Has the device memory pools?
    pub has_pools: bool,
}

/// The primary context of a device, which all users in this process share.
#[derive(Debug)]
pub struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    info: DeviceInfo,
}

// SAFETY: the driver allows any thread to use a context; the fields never change.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// The contexts of this process. They stay when their last user is gone: the driver takes a third of a second to make one.
static KEPT: Mutex<Vec<Arc<Context>>> = Mutex::new(Vec::new());

/// How many devices the driver offers to this process.
///
/// # Errors
/// When there is no driver or no device.
pub fn device_count() -> Result<usize, DriverError> {
    library::driver()?;
    let mut count = 0;
    // SAFETY: the driver is initialized; the function stores a number.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    match usize::try_from(count).unwrap_or(0) {
        0 => Err(DriverError::NoDevice { reason: "it counts 0 devices".to_owned() }),
        count => Ok(count),
    }
}

fn handle(ordinal: usize) -> Result<sys::CUdevice, DriverError> {
    let found = device_count()?;
    let number = i32::try_from(ordinal).ok().filter(|_| ordinal < found);
    let number = number.ok_or(DriverError::NoSuchDevice { wanted: ordinal, found })?;
    let mut device = 0;
    // SAFETY: the driver is initialized and has such a device.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, number) })?;
    Ok(device)
}

fn attribute(device: sys::CUdevice, attribute: Attribute) -> Result<u64, DriverError> {
    let mut value = 0;
    // SAFETY: the handle is that of a device; the function stores a number.
    check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) })?;
    Ok(u64::try_from(value).unwrap_or(0))
}

fn info(device: sys::CUdevice) -> Result<DeviceInfo, DriverError> {
    let of = |which| attribute(device, which);
    let small = |which| of(which).map(|value| u32::try_from(value).unwrap_or(u32::MAX));
    let size = |which| of(which).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
    let mut name = [0u8; 256];
    // SAFETY: the buffer has as many bytes as the call says, and the function ends the name with a zero.
    check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(name.as_mut_ptr().cast(), 256, device) })?;
    let mut memory = 0;
    // SAFETY: the function stores a number.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut memory, device) })?;
    let mut uuid = sys::CUuuid { bytes: [0; 16] };
    // SAFETY: the function stores sixteen bytes.
    check("cuDeviceGetUuid", unsafe { sys::cuDeviceGetUuid_v2(&mut uuid, device) })?;
    let name: Vec<u8> = name.into_iter().take_while(|byte| *byte != 0).collect();
    Ok(DeviceInfo {
        uuid: uuid_text(&uuid.bytes.map(|byte| byte as u8), name.windows(3).any(|word| word == b"MIG")),
        name: String::from_utf8_lossy(&name).into_owned(),
        capability: (
            small(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            small(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        multiprocessors: size(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        memory,
        // The driver counts clocks in kilohertz.
        clock: of(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)? * 1000,
        memory_clock: of(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)? * 1000,
        bus_width: of(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?,
        cache: size(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        shared_memory: size(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        has_pools: of(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED)? != 0,
    })
}

/// An identifier as text. The driver names an instance of a divided device after the profile of its division.
fn uuid_text(bytes: &[u8; 16], is_instance: bool) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    format!("{}-{}", if is_instance { "MIG" } else { "GPU" }, groups.join("-"))
}

/// The properties of a device, by its number.
///
/// # Errors
/// When there is no such device.
pub fn device_info(ordinal: usize) -> Result<DeviceInfo, DriverError> {
    info(handle(ordinal)?)
}

impl Context {
    /// The primary context of a device, by its number.
    ///
    /// # Errors
    /// When there is no such device, or it cannot be used.
    pub fn of(ordinal: usize) -> Result<Arc<Self>, DriverError> {
        let device = handle(ordinal)?;
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|context| context.device == device) {
            if kept[at].is_alive() {
                return Ok(kept[at].clone());
            }
            // Once all users of a lost context have dropped it, the driver makes a new one.
            kept.remove(at);
        }
        let info = info(device)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the handle is that of a device; the drop below releases what this call retains.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        let context = Arc::new(Self { device, raw, info });
        kept.push(context.clone());
        Ok(context)
    }

    /// Does the context still take calls?
    fn is_alive(&self) -> bool {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the context is current; the function stores two numbers.
        self.bind().is_ok() && check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) }).is_ok()
    }

    /// The properties of the device.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    pub(super) fn device(&self) -> sys::CUdevice {
        self.device
    }

    /// Makes the context current on this thread.
    pub(super) fn bind(&self) -> Result<(), DriverError> {
        let mut current = std::ptr::null_mut();
        // SAFETY: the driver is initialized; the function stores a handle or null.
        check("cuCtxGetCurrent", unsafe { sys::cuCtxGetCurrent(&mut current) })?;
        if current == self.raw {
            return Ok(());
        }
        // SAFETY: this object keeps the context alive.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }
}

/// Bytes of memory that the device of this number has free, whoever uses the rest.
///
/// # Errors
/// When there is no such device, or it is lost.
pub fn free_memory(ordinal: usize) -> Result<usize, DriverError> {
    Context::of(ordinal)?.bind()?;
    let (mut free, mut total) = (0, 0);
    // SAFETY: a context is current; the function stores two numbers.
    check("cuMemGetInfo", unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) })?;
    Ok(free)
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: releases what the constructor retained. An error means that the context is gone already.
        unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_as_those_of_nvidia_smi() {
        let bytes = std::array::from_fn(|index| u8::try_from(index * 17).expect("sixteen numbers"));
        assert_eq!(uuid_text(&bytes, false), "GPU-00112233-4455-6677-8899-aabbccddeeff");
        assert!(uuid_text(&bytes, true).starts_with("MIG-00112233"));
    }

    #[test]
    fn a_device_that_is_not_there_is_an_error_that_counts_those_there_are() {
        match (device_count(), Context::of(1000)) {
            (Ok(found), Err(error)) => assert_eq!(error, DriverError::NoSuchDevice { wanted: 1000, found }),
            (Err(none), Err(error)) => assert_eq!(error, none),
            (_, Ok(_)) => panic!("a thousand devices"),
        }
    }
}
