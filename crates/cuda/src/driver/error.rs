//! Errors of the driver, by their consequence for the caller.

use std::ffi::CStr;

use cudarc::driver::sys;
use sinter_backend::KernelError;

/// Why a call of the driver failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// The machine has no CUDA driver.
    #[error(
        "this machine has no CUDA driver: none of the libraries {looked_for} can be loaded; install the NVIDIA driver"
    )]
    NoLibrary {
        /// The names of the library.
        looked_for: String,
    },
    /// The machine has no run-time compiler, which builds need and runs do not.
    #[error(
        "this machine has no CUDA run-time compiler: none of the libraries {looked_for} can be loaded; install NVRTC of \
         CUDA 13, or build the plan elsewhere"
    )]
    NoCompiler {
        /// The names of the library.
        looked_for: String,
    },
    /// The driver is installed, and finds no device that it may use.
    #[error("the CUDA driver finds no device: {reason}")]
    NoDevice {
        /// The driver's own words.
        reason: String,
    },
    /// The driver finds fewer devices.
    #[error("there is no CUDA device {wanted}: the driver finds {found}, counted from 0")]
    NoSuchDevice {
        /// Number of the device.
        wanted: usize,
        /// Number of devices.
        found: usize,
    },
    /// The driver lacks functions that this program needs.
    #[error("the CUDA driver is for CUDA {found}, and CUDA {needed} or later is needed: update the NVIDIA driver")]
    OldDriver {
        /// Its version.
        found: Version,
        /// The oldest version that suffices.
        needed: Version,
    },
    /// The device or the host has too little memory.
    #[error("{call}: {what}")]
    OutOfMemory {
        /// The function of the driver.
        call: &'static str,
        /// The allocation.
        what: String,
    },
    /// The context of the device is destroyed, with all memory: by a kernel that failed, or by the device.
    #[error("{call}: {reason}")]
    Lost {
        /// The function of the driver that reported it, which may be a later one than the failing one.
        call: &'static str,
        /// The driver's own words.
        reason: String,
    },
    /// Any other failure.
    #[error("{call}: {reason}")]
    Failed {
        /// The function of the driver.
        call: &'static str,
        /// The driver's own words.
        reason: String,
    },
    /// The run-time compiler refuses a source.
    #[error("the CUDA run-time compiler refuses the kernel for {target}:\n{log}")]
    Refused {
        /// The compute capability.
        target: String,
        /// The messages of the compiler.
        log: String,
    },
}

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl From<DriverError> for KernelError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::OutOfMemory { what, .. } => Self::Memory(what),
            DriverError::Lost { .. } => Self::Lost(error.to_string()),
            DriverError::Refused { .. } => Self::Recipe(error.to_string()),
            other => Self::Device(other.to_string()),
        }
    }
}

/// The driver's name and description of a result.
fn words(result: sys::CUresult) -> String {
    let text = |get: unsafe fn(sys::CUresult, *mut *const std::ffi::c_char) -> sys::CUresult| {
        let mut text = std::ptr::null();
        // SAFETY: the function stores a pointer to a constant string, or null.
        let found = unsafe { get(result, &mut text) } == sys::CUresult::CUDA_SUCCESS && !text.is_null();
        // SAFETY: as above.
        found.then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    let name = text(sys::cuGetErrorName).unwrap_or_else(|| format!("{result:?}"));
    format!("{name} ({})", text(sys::cuGetErrorString).unwrap_or_else(|| "no description".to_owned()))
}

/// Does a result destroy the context, so that every later call fails?
fn is_fatal(result: sys::CUresult) -> bool {
    use sys::CUresult::{
        CUDA_ERROR_ASSERT, CUDA_ERROR_CONTEXT_IS_DESTROYED, CUDA_ERROR_DEINITIALIZED, CUDA_ERROR_ECC_UNCORRECTABLE,
        CUDA_ERROR_EXTERNAL_DEVICE, CUDA_ERROR_HARDWARE_STACK_ERROR, CUDA_ERROR_ILLEGAL_ADDRESS,
        CUDA_ERROR_ILLEGAL_INSTRUCTION, CUDA_ERROR_INVALID_ADDRESS_SPACE, CUDA_ERROR_INVALID_PC,
        CUDA_ERROR_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_TIMEOUT, CUDA_ERROR_MISALIGNED_ADDRESS,
        CUDA_ERROR_NVLINK_UNCORRECTABLE,
    };
    matches!(
        result,
        CUDA_ERROR_ASSERT
            | CUDA_ERROR_CONTEXT_IS_DESTROYED
            | CUDA_ERROR_DEINITIALIZED
            | CUDA_ERROR_ECC_UNCORRECTABLE
            | CUDA_ERROR_EXTERNAL_DEVICE
            | CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUDA_ERROR_ILLEGAL_ADDRESS
            | CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUDA_ERROR_INVALID_PC
            | CUDA_ERROR_LAUNCH_FAILED
            | CUDA_ERROR_LAUNCH_TIMEOUT
            | CUDA_ERROR_MISALIGNED_ADDRESS
            | CUDA_ERROR_NVLINK_UNCORRECTABLE
    )
}

/// The result of a function of the driver.
pub(super) fn check(call: &'static str, result: sys::CUresult) -> Result<(), DriverError> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            Err(DriverError::OutOfMemory { call, what: "an object of the CUDA driver".to_owned() })
        }
        result if is_fatal(result) => Err(DriverError::Lost { call, reason: words(result) }),
        result => Err(DriverError::Failed { call, reason: words(result) }),
    }
}

impl DriverError {
    /// The same error; a lack of memory concerns this many bytes.
    pub(super) fn for_bytes(self, place: &str, bytes: usize) -> Self {
        match self {
            Self::OutOfMemory { call, .. } => {
                Self::OutOfMemory { call, what: format!("a block of {bytes} bytes of {place}") }
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences_reach_the_caller() {
        let error = |error: DriverError| KernelError::from(error);
        let memory = DriverError::OutOfMemory { call: "cuMemAllocAsync", what: "a block".to_owned() };
        assert_eq!(
            error(memory.for_bytes("device memory", 7)),
            KernelError::Memory("a block of 7 bytes of device memory".into())
        );
        let lost = DriverError::Lost { call: "cuLaunchKernel", reason: "gone".to_owned() };
        assert_eq!(error(lost), KernelError::Lost("cuLaunchKernel: gone".into()));
        assert!(matches!(error(DriverError::NoDevice { reason: String::new() }), KernelError::Device(_)));
        assert!(
            is_fatal(sys::CUresult::CUDA_ERROR_ILLEGAL_ADDRESS) && !is_fatal(sys::CUresult::CUDA_ERROR_INVALID_VALUE)
        );
    }
}
