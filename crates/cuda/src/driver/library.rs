//! The shared libraries: asked for once, before any of their functions is called.

use std::sync::OnceLock;

use cudarc::driver::sys;
use cudarc::nvrtc::sys as nvrtc;

use crate::driver::error::{DriverError, Version, check};

/// The oldest driver with all functions that the program calls: the second form of `cuEventElapsedTime` is the newest one.
pub const OLDEST_DRIVER: Version = Version { major: 12, minor: 8 };

/// The names under which a library is looked for.
fn names(libraries: &[&str]) -> String {
    let mut names: Vec<String> = libraries.iter().flat_map(|name| cudarc::get_lib_name_candidates(name)).collect();
    // The other names are those of old versions.
    names.retain(|name| !name.chars().any(|c| c.is_ascii_digit()) || name.ends_with(".1") || name.ends_with(".13"));
    names.join(", ")
}

/// The version of a driver, in whose numbers 13000 is 13.0.
fn version_of(number: i32) -> Version {
    let number = u32::try_from(number).unwrap_or(0);
    Version { major: number / 1000, minor: number % 1000 / 10 }
}

/// The version of the driver of this machine.
///
/// # Errors
/// When the machine has no driver, or an old one, or the driver does not start.
pub fn driver() -> Result<Version, DriverError> {
    static DRIVER: OnceLock<Result<Version, DriverError>> = OnceLock::new();
    DRIVER.get_or_init(start).clone()
}

fn start() -> Result<Version, DriverError> {
    // SAFETY: the function loads a library; the CUDA driver may be loaded at any time.
    if !unsafe { sys::is_culib_present() } {
        return Err(DriverError::NoLibrary { looked_for: names(&["cuda", "nvcuda"]) });
    }
    let mut number = 0;
    // SAFETY: the library is present; the function stores a number.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&mut number) })?;
    let found = version_of(number);
    if found < OLDEST_DRIVER {
        return Err(DriverError::OldDriver { found, needed: OLDEST_DRIVER });
    }
    // SAFETY: the library is present; 0 is the only value of the flags.
    match check("cuInit", unsafe { sys::cuInit(0) }) {
        Ok(()) => Ok(found),
        Err(DriverError::Failed { reason, .. }) => Err(DriverError::NoDevice { reason }),
        Err(error) => Err(error),
    }
}

/// The version of the run-time compiler of this machine.
///
/// # Errors
/// When the machine has none.
pub fn compiler() -> Result<Version, DriverError> {
    static COMPILER: OnceLock<Result<Version, DriverError>> = OnceLock::new();
    let find = || {
        // SAFETY: the function loads a library; the compiler may be loaded at any time.
        if !unsafe { nvrtc::is_culib_present() } {
            return Err(DriverError::NoCompiler { looked_for: names(&["nvrtc"]) });
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the library is present; the function stores two numbers.
        unsafe { nvrtc::nvrtcVersion(&mut major, &mut minor) };
        Ok(Version { major: u32::try_from(major).unwrap_or(0), minor: u32::try_from(minor).unwrap_or(0) })
    };
    COMPILER.get_or_init(find).clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_both_numbers() {
        assert_eq!(version_of(13_000), Version { major: 13, minor: 0 });
        assert_eq!(version_of(12_080).to_string(), "12.8");
        assert!(version_of(11_080) < OLDEST_DRIVER && version_of(13_000) >= OLDEST_DRIVER);
    }

    #[test]
    fn a_machine_without_a_driver_says_which_libraries_it_lacks() {
        match driver() {
            Ok(version) => assert!(version >= OLDEST_DRIVER),
            Err(DriverError::NoLibrary { looked_for }) => {
                assert!(looked_for.contains("libcuda.so") || cfg!(not(target_os = "linux")), "{looked_for}");
            }
            Err(error) => {
                assert!(matches!(error, DriverError::NoDevice { .. } | DriverError::OldDriver { .. }), "{error}")
            }
        }
        if let Err(error) = compiler() {
            assert!(error.to_string().contains("nvrtc"), "{error}");
        }
    }
}
