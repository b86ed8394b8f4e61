//! Modules: loaded machine code, its functions, and their launch.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
        let (mut offset, mut parameters) = (0, 0);
        // SAFETY: the function exists; the call stores two numbers.
        let found = unsafe { sys::cuFuncGetParamInfo(raw, 0, &mut offset, &mut parameters) };
        check("cuFuncGetParamInfo", found)?;
        let allowed = AtomicU32::new(FREE_SHARED);
        let mut function = Function { module: self.clone(), raw, parameters, allowed, waits: false };
        // The architecture of the source: the driver may have compiled PTX of an older one for this device.
        let source = function.attribute(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PTX_VERSION)?;
        let machine = function.attribute(sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_BINARY_VERSION)?;
        function.waits = source.min(machine) >= WAITS_FROM;
        Ok(function)
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

/// How the blocks of a launch work together, and how the launch follows the work before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperation {
    /// Neighbouring blocks along the first axis that run at once and read each other's shared memory; 1 for none.
    pub cluster: u32,
    /// May blocks start while the kernel before is still running? The code waits for its results itself, by
    /// `griddepcontrol.wait`. Without effect where the work before is no kernel, or the code is for a device that knows no
    /// such instruction.
    pub overlaps: bool,
}

impl Default for Cooperation {
    fn default() -> Self {
        Self { cluster: 1, overlaps: false }
    }
}

impl Cooperation {
    /// The attributes of the driver; `used` of them count.
    fn attributes(self) -> ([sys::CUlaunchAttribute; 2], u32) {
        use sys::CUlaunchAttributeID_enum as Id;
        let attribute = |id, value| sys::CUlaunchAttribute { id, pad: [0; 4], value };
        let cluster = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x: self.cluster.max(1), y: 1, z: 1 };
        let overlaps = sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: i32::from(self.overlaps) };
        let cluster =
            attribute(Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, sys::CUlaunchAttributeValue { clusterDim: cluster });
        let overlaps = attribute(Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, overlaps);
        match (self.cluster > 1, self.overlaps) {
            (true, overlapping) => ([cluster, overlaps], 1 + u32::from(overlapping)),
            (false, overlapping) => ([overlaps, cluster], u32::from(overlapping)),
        }
    }
}

/// Bytes of shared memory that a launch may have without asking.
const FREE_SHARED: u32 = 48 << 10;

/// A function of a module.
#[derive(Debug)]
pub struct Function {
    module: Arc<Module>,
    raw: sys::CUfunction,
    /// Bytes of its only parameter.
    parameters: usize,
    /// Bytes of shared memory that launches may have.
    allowed: AtomicU32,
    /// Does the code wait for the kernel before?
    waits: bool,
}

/// The compute capability from which on code waits for the kernel before (`include/previous.cuh`), as the driver counts it.
const WAITS_FROM: usize = 90;

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
        if bytes <= self.allowed.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.module.context.bind()?;
        let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let number = i32::try_from(bytes).unwrap_or(i32::MAX);
        // SAFETY: the function exists; the driver checks the number.
        check("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(self.raw, which, number) })?;
        self.allowed.fetch_max(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Launches the function, whose only parameter is a structure of these words.
    ///
    /// # Errors
    /// Errors of earlier work, and a geometry or a number of words that the function does not take.
    pub fn launch(
        &self,
        stream: &Stream,
        geometry: Geometry,
        cooperation: Cooperation,
        words: &[u64],
    ) -> Result<(), DriverError> {
        self.allow_shared(geometry.shared)?;
        self.module.context.bind()?;
        let Geometry { grid: [x, y, z], threads, shared } = geometry;
        let (stream, follows_kernel) = stream.raw_for_kernel();
        let overlaps = cooperation.overlaps && self.waits && follows_kernel;
        let (mut attributes, used) = Cooperation { overlaps, ..cooperation }.attributes();
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: shared,
            hStream: stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: used,
        };
        let bytes = std::mem::size_of_val(words);
        if bytes != self.parameters {
            let reason = format!("{bytes} bytes of parameters for a function that takes {}", self.parameters);
            return Err(DriverError::Failed { call: "cuLaunchKernelEx", reason });
        }
        let mut parameters = [words.as_ptr().cast_mut().cast()];
        // SAFETY: the function has one parameter, of as many bytes as the words have; the list of attributes has `used`
        // entries. The driver copies both before it returns.
        let result = unsafe { sys::cuLaunchKernelEx(&config, self.raw, parameters.as_mut_ptr(), std::ptr::null_mut()) };
        check("cuLaunchKernelEx", result)
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

    #[test]
    fn a_launch_says_only_what_it_asks_for() {
        use sys::CUlaunchAttributeID_enum as Id;
        let ids = |cluster, overlaps| {
            let (attributes, used) = Cooperation { cluster, overlaps }.attributes();
            attributes.iter().take(used as usize).map(|attribute| attribute.id).collect::<Vec<_>>()
        };
        let (cluster, overlap) =
            (Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
        assert_eq!(ids(1, false), []);
        assert_eq!(ids(4, false), [cluster]);
        assert_eq!(ids(1, true), [overlap]);
        assert_eq!(ids(4, true), [cluster, overlap]);
    }
}
