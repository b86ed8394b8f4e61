//! Compilation of kernels: headers, options, and a memory of the latest results, since many regions have one kernel.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use sinter_backend::{Code, KernelError};

use crate::code;
use crate::driver::{self, DriverError};
use crate::kernel::{Contraction, Kernel, Source};

/// Headers of all kernels.
const HEADERS: &[(&str, &str)] = &[
    ("previous.cuh", include_str!("include/previous.cuh")),
    ("types.cuh", include_str!("include/types.cuh")),
    ("math.cuh", include_str!("include/math.cuh")),
    ("lines.cuh", include_str!("include/lines.cuh")),
    ("sort.cuh", include_str!("include/sort.cuh")),
    ("compact.cuh", include_str!("include/compact.cuh")),
    ("parameters.cuh", include_str!("include/parameters.cuh")),
    ("indices.cuh", include_str!("include/indices.cuh")),
    ("groups.cuh", include_str!("include/groups.cuh")),
    ("windows.cuh", include_str!("include/windows.cuh")),
    ("tensor_cores.cuh", include_str!("include/tensor_cores.cuh")),
    ("hopper.cuh", include_str!("include/hopper.cuh")),
    ("matrices.cuh", include_str!("include/matrices.cuh")),
    ("sync_product.cuh", include_str!("include/sync_product.cuh")),
    ("sync_convolution.cuh", include_str!("include/sync_convolution.cuh")),
    ("group_product.cuh", include_str!("include/group_product.cuh")),
    ("attention.cuh", include_str!("include/attention.cuh")),
    ("join.cuh", include_str!("include/join.cuh")),
    ("sync_attention.cuh", include_str!("include/sync_attention.cuh")),
];

/// Results that are kept.
const MOST: usize = 4096;

/// Hash of target and source.
type Key = blake3::Hash;

/// The results of this process. They depend on the key alone, so that no caller can tell whether it was compiled again.
static KNOWN: LazyLock<Mutex<HashMap<Key, Code>>> = LazyLock::new(Mutex::default);

/// Compiles a kernel for a target, `sm_90a` say.
///
/// # Errors
/// When the machine has no compiler, or the compiler refuses the source.
pub fn compile(kernel: &dyn Kernel, target: &str) -> Result<Code, KernelError> {
    let configuration = kernel.configuration();
    let source = kernel.source();
    let mut hasher = blake3::Hasher::new();
    for part in [target, &configuration, &source.generated, source.text] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let key = hasher.finalize();
    if let Some(known) = lock().get(&key) {
        return Ok(known.clone());
    }
    let compiled = image(&source, target).map_err(|error| KernelError::from(error).at(&configuration))?;
    let code = code::pack(&configuration, &compiled.cubin);
    let mut known = lock();
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(key, code.clone());
    Ok(code)
}

fn lock() -> std::sync::MutexGuard<'static, HashMap<Key, Code>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The output of the compiler for a source.
///
/// # Errors
/// See [`compile`].
pub fn image(source: &Source, target: &str) -> Result<driver::Compiled, DriverError> {
    image_with(source, target, &[])
}

/// The same with further options.
///
/// # Errors
/// See [`compile`].
pub fn image_with(source: &Source, target: &str, more: &[&str]) -> Result<driver::Compiled, DriverError> {
    let contraction = match source.contraction {
        Contraction::Off => "--fmad=false",
        Contraction::On => "--fmad=true",
    };
    // No fast mathematics: divisions and roots are rounded correctly, and subnormal numbers stay.
    let usual = ["--std=c++17", "-default-device", contraction, "--ftz=false", "--prec-div=true", "--prec-sqrt=true"];
    let options: Vec<&str> = usual.iter().chain(more).copied().collect();
    let mut headers = HEADERS.to_vec();
    headers.push(("generated.cuh", &source.generated));
    driver::compile(source.text, &headers, target, &options)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Kernels that do some work before they wait, in the loops that these files include.
    const WAIT_LATER: [(&str, &str); 3] =
        [("attention/wgmma.cu", "tiles"), ("conv/wgmma.cu", "tiles"), ("matmul/wgmma.cu", "tiles")];

    /// A kernel that did not wait would read results that are not there yet.
    #[test]
    fn every_kernel_waits_for_the_one_before() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = 0;
        for folder in std::fs::read_dir(&source).unwrap().filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
            for file in std::fs::read_dir(folder.path()).unwrap().filter_map(Result::ok) {
                let path = file.path();
                if path.extension().is_none_or(|extension| extension != "cu") {
                    continue;
                }
                let name = path.strip_prefix(&source).unwrap().to_string_lossy().replace('\\', "/");
                let text = std::fs::read_to_string(&path).unwrap();
                for kernel in text.split("extern \"C\" __global__ void").skip(1) {
                    let (head, body) = kernel.split_once(" {").unwrap();
                    let waits = body.trim_start().starts_with("follow_previous();");
                    let later = WAIT_LATER
                        .iter()
                        .any(|(file, function)| name == *file && head.contains(&format!(" {function}(")));
                    assert!(waits != later, "{name}: {head}");
                    found += 1;
                }
            }
        }
        assert!(found > 100, "{found} kernels");
        for text in [include_str!("include/group_product.cuh"), include_str!("attention/wgmma.cu")] {
            assert!(text.contains("    wait_for_previous();"));
        }
    }
}
