//! Modules: loaded machine code, its functions, and their launch.

use std::ffi::CString;
use std::sync::Arc;

use cudarc::driver::sys;

use crate::driver::context::Context;
use crate::driver::error::{DriverError, check};
use crate::driver::stream::Stream;

/// Loaded machine code.
#[derive(Debug)]
pub struct Module {
    context: Arc<Context>,
    raw: sys::CUmodule,
}

// SAFETY: the driver allows any thread to use a module; the fields never change.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads a cubin or PTX text; the driver compiles the latter.
    ///
    /// # Errors
    /// When the image is for another device, or damaged.
    pub fn load(context: &Arc<Context>, image: &[u8]) -> Result<Arc<Self>, DriverError> {
        context.bind()?;
        // The driver finds the length of an image itself: PTX ends with a zero, and a cubin is an ELF file, whose header
        // counts its tables. An image that ends early must not lead the driver beyond its end.
        if !is_elf(image) && image.contains(&0)
            || is_elf(image) && elf_length(image).is_none_or(|end| end > image.len())
        {
            let reason = "the image is neither PTX nor a whole cubin".to_owned();
            return Err(DriverError::Failed { call: "cuModuleLoadData", reason });
        }
        let mut ended = Vec::with_capacity(image.len() + 1);
        ended.extend_from_slice(image);
        ended.push(0);
        let mut raw = std::ptr::null_mut();
        // SAFETY: the image ends as the driver expects; the function stores the handle that the drop below unloads.
        check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut raw, ended.as_ptr().cast()) })?;
        Ok(Arc::new(Self { context: context.clone(), raw }))
    }

    /// A function by its name.
    ///
    /// # Errors
    /// When there is none.
    pub fn function(self: &Arc<Self>, name: &str) -> Result<Function, DriverError> {
        self.context.bind()?;
        let missing = |_| DriverError::Failed { call: "cuModuleGetFunction", reason: format!("a zero in '{name}'") };
        let text = CString::new(name).map_err(missing)?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: the module exists and the name ends with a zero.
        check("cuModuleGetFunction", unsafe { sys::cuModuleGetFunction(&mut raw, self.raw, text.as_ptr()) })?;
        Ok(Function { module: self.clone(), raw })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.bind().is_ok() {
            // SAFETY: the handle is that of the constructor, and functions keep their module.
            unsafe { sys::cuModuleUnload(self.raw) };
        }
    }
}

fn is_elf(image: &[u8]) -> bool {
    image.starts_with(b"\x7fELF")
}

/// The end of the last table or section that the header of a 64-bit ELF file names; `None` for a damaged one.
fn elf_length(image: &[u8]) -> Option<usize> {
    let word = |at: usize| -> Option<usize> {
        let bytes: [u8; 8] = image.get(at..at.checked_add(8)?)?.try_into().ok()?;
        usize::try_from(u64::from_le_bytes(bytes)).ok()
    };
    let half = |at: usize| -> Option<usize> {
        let bytes: [u8; 2] = image.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(usize::from(u16::from_le_bytes(bytes)))
    };
    let int = |at: usize| -> Option<u32> {
        let bytes: [u8; 4] = image.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    // Offsets of the fields in the header and in the entries of its two tables (System V ABI, object files).
    let (segments, segment_size, segment_count) = (word(0x20)?, half(0x36)?, half(0x38)?);
    let (sections, section_size, section_count) = (word(0x28)?, half(0x3A)?, half(0x3C)?);
    let mut end = segments.checked_add(segment_size.checked_mul(segment_count)?)?;
    end = end.max(sections.checked_add(section_size.checked_mul(section_count)?)?);
    for entry in 0..segment_count {
        let at = segments.checked_add(entry.checked_mul(segment_size)?)?;
        end = end.max(word(at.checked_add(0x08)?)?.checked_add(word(at.checked_add(0x20)?)?)?);
    }
    for entry in 0..section_count {
        let at = sections.checked_add(entry.checked_mul(section_size)?)?;
        // Sections without bits in the file: empty ones, and zeroed memory.
        if !matches!(int(at.checked_add(0x04)?)?, 0 | 8) {
            end = end.max(word(at.checked_add(0x18)?)?.checked_add(word(at.checked_add(0x20)?)?)?);
        }
    }
    Some(end)
}

/// Blocks, threads of each, and their shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block along the first axis.
    pub threads: u32,
    /// Bytes of shared memory beyond those that the code declares.
    pub shared: u32,
}

/// A function of a module.
#[derive(Debug)]
pub struct Function {
    module: Arc<Module>,
    raw: sys::CUfunction,
}

// SAFETY: the driver allows any thread to use a function; the fields never change.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Function {
    fn attribute(&self, which: sys::CUfunction_attribute) -> Result<usize, DriverError> {
        self.module.context.bind()?;
        let mut value = 0;
        // SAFETY: the function exists; the call stores a number.
        check("cuFuncGetAttribute", unsafe { sys::cuFuncGetAttribute(&mut value, which, self.raw) })?;
        Ok(usize::try_from(value).unwrap_or(0))
    }

    /// Threads of a block at most.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn most_threads(&self) -> Result<usize, DriverError> {
        self.attribute(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)
    }

    /// Allows launches with this many bytes of shared memory.
    ///
    /// # Errors
    /// When the device has less.
    pub fn allow_shared(&self, bytes: u32) -> Result<(), DriverError> {
        self.module.context.bind()?;
        let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: the function exists; the driver checks the number.
        check("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(self.raw, which, bytes) })
    }

    /// Launches the function, whose only parameter is a structure of these words.
    ///
    /// # Errors
    /// Errors of earlier work, and a geometry or a number of words that the function does not take.
    pub fn launch(&self, stream: &Stream, geometry: Geometry, words: &[u64]) -> Result<(), DriverError> {
        self.module.context.bind()?;
        let Geometry { grid: [x, y, z], threads, shared } = geometry;
        let mut bytes = std::mem::size_of_val(words);
        // The tags of `cuLaunchKernel`: the buffer of the parameters, its size, the end of the list.
        let mut extra: [*mut std::ffi::c_void; 5] = [
            std::ptr::without_provenance_mut(1),
            words.as_ptr().cast_mut().cast(),
            std::ptr::without_provenance_mut(2),
            (&raw mut bytes).cast(),
            std::ptr::null_mut(),
        ];
        // SAFETY: the buffer has as many bytes as the list says, and the driver copies it before it returns. It refuses
        // buffers of another size than the function's parameters.
        let result = unsafe {
            sys::cuLaunchKernel(
                self.raw,
                x,
                y,
                z,
                threads,
                1,
                1,
                shared,
                stream.raw(),
                std::ptr::null_mut(),
                extra.as_mut_ptr(),
            )
        };
        check("cuLaunchKernel", result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_ends_early_is_found_by_its_header() {
        let mut image = vec![0u8; 0x40];
        image[..4].copy_from_slice(b"\x7fELF");
        // One section header of 64 bytes at offset 0x80, whose section has 16 bytes at 0x70.
        image[0x28] = 0x80;
        (image[0x3A], image[0x3C]) = (0x40, 1);
        assert_eq!(elf_length(&image), None, "the section header is missing");
        image.resize(0xC0, 0);
        (image[0x80 + 0x04], image[0x80 + 0x18], image[0x80 + 0x20]) = (1, 0x70, 0x10);
        assert_eq!(elf_length(&image), Some(0xC0));
        image[0x80 + 0x20..0x80 + 0x28].fill(0xFF);
        assert_eq!(elf_length(&image), None, "an overflow");
    }
}
