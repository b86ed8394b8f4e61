//! The run-time compiler: CUDA C++ to machine code, with all headers in memory.

use std::ffi::{CStr, CString, c_char};

use cudarc::nvrtc::sys as nvrtc;

use crate::driver::error::DriverError;
use crate::driver::library;

/// A compiled source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Machine code for the target.
    pub cubin: Vec<u8>,
    /// The same as PTX text.
    pub ptx: Vec<u8>,
    /// Warnings, if any.
    pub log: String,
}

/// A program of the compiler, destroyed with this object.
struct Program(nvrtc::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the handle is that of the constructor.
        unsafe { nvrtc::nvrtcDestroyProgram(&mut self.0) };
    }
}

/// Text with a zero at its end.
fn text(source: &str, target: &str) -> Result<CString, DriverError> {
    CString::new(source).map_err(|_| refused(target, "the source contains a zero".to_owned()))
}

fn refused(target: &str, log: String) -> DriverError {
    DriverError::Refused { target: target.to_owned(), log }
}

type SizeOf = unsafe fn(nvrtc::nvrtcProgram, *mut usize) -> nvrtc::nvrtcResult;
type Get = unsafe fn(nvrtc::nvrtcProgram, *mut c_char) -> nvrtc::nvrtcResult;

impl Program {
    /// An output of the compiler, empty where there is none.
    fn output(&self, size_of: SizeOf, get: Get) -> Vec<u8> {
        let mut size = 0;
        // SAFETY: the program exists; the function stores a number.
        if unsafe { size_of(self.0, &mut size) } != nvrtc::nvrtcResult::NVRTC_SUCCESS {
            return Vec::new();
        }
        let mut bytes = vec![0u8; size];
        // SAFETY: the function writes as many bytes as it said.
        match unsafe { get(self.0, bytes.as_mut_ptr().cast()) } {
            nvrtc::nvrtcResult::NVRTC_SUCCESS => bytes,
            _ => Vec::new(),
        }
    }

    /// An output that is text.
    fn text(&self, size_of: SizeOf, get: Get) -> Vec<u8> {
        let mut bytes = self.output(size_of, get);
        bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
        bytes
    }
}

/// Compiles a source for a target, `sm_90a` say. `headers` are names and texts for `#include`.
///
/// # Errors
/// When the machine has no compiler, or the compiler refuses the source.
pub fn compile(
    source: &str,
    headers: &[(&str, &str)],
    target: &str,
    options: &[&str],
) -> Result<Compiled, DriverError> {
    library::compiler()?;
    let name = c"kernel.cu";
    let source = text(source, target)?;
    let names = headers.iter().map(|(name, _)| text(name, target)).collect::<Result<Vec<_>, _>>()?;
    let texts = headers.iter().map(|(_, header)| text(header, target)).collect::<Result<Vec<_>, _>>()?;
    let pointers = |list: &[CString]| list.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    let (name_pointers, text_pointers) = (pointers(&names), pointers(&texts));
    let count = i32::try_from(headers.len()).unwrap_or(0);
    let mut raw = std::ptr::null_mut();
    // SAFETY: all texts end with a zero and live to the end of this function; both lists have `count` entries.
    let created = unsafe {
        nvrtc::nvrtcCreateProgram(
            &mut raw,
            source.as_ptr(),
            name.as_ptr(),
            count,
            text_pointers.as_ptr(),
            name_pointers.as_ptr(),
        )
    };
    if created != nvrtc::nvrtcResult::NVRTC_SUCCESS {
        return Err(refused(target, words(created)));
    }
    let program = Program(raw);
    let options =
        std::iter::once(format!("--gpu-architecture={target}")).chain(options.iter().map(|o| (*o).to_owned()));
    let options = options.map(|option| text(&option, target)).collect::<Result<Vec<_>, _>>()?;
    let option_pointers = pointers(&options);
    let count = i32::try_from(options.len()).unwrap_or(0);
    // SAFETY: the program exists; the list has `count` texts that end with a zero.
    let result = unsafe { nvrtc::nvrtcCompileProgram(program.0, count, option_pointers.as_ptr()) };
    let log = program.text(nvrtc::nvrtcGetProgramLogSize, nvrtc::nvrtcGetProgramLog);
    let log = String::from_utf8_lossy(&log).trim().to_owned();
    if result != nvrtc::nvrtcResult::NVRTC_SUCCESS {
        let log = if log.is_empty() { words(result) } else { log };
        return Err(refused(target, log));
    }
    Ok(Compiled {
        cubin: program.output(nvrtc::nvrtcGetCUBINSize, nvrtc::nvrtcGetCUBIN),
        ptx: program.text(nvrtc::nvrtcGetPTXSize, nvrtc::nvrtcGetPTX),
        log,
    })
}

/// The compiler's description of a result.
fn words(result: nvrtc::nvrtcResult) -> String {
    // SAFETY: the function returns a constant string.
    let text = unsafe { nvrtc::nvrtcGetErrorString(result) };
    if text.is_null() {
        return format!("{result:?}");
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a skipped test says so")]
mod tests {
    use super::*;

    #[test]
    fn sources_compile_and_errors_have_places() {
        let source = "#include \"two.h\"\nextern \"C\" __global__ void twice(float* x) { *x *= TWO; }";
        match compile(source, &[("two.h", "#define TWO 2.0f")], "sm_80", &[]) {
            Ok(compiled) => {
                assert!(compiled.cubin.starts_with(b"\x7fELF"));
                assert!(String::from_utf8_lossy(&compiled.ptx).contains("twice"));
                let error = compile(source, &[("two.h", "")], "sm_80", &[]).expect_err("TWO is not defined");
                assert!(matches!(&error, DriverError::Refused { log, .. } if log.contains("kernel.cu(2)")), "{error}");
            }
            Err(error @ DriverError::NoCompiler { .. }) => println!("skipped: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}
