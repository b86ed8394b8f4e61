//! The machine code of a kernel as plans carry it: the configuration that it was compiled for, and its image.

use bytes::Bytes;
use sinter_backend::{Code, KernelError};

/// The first bytes, with the version of this format.
const MAGIC: &[u8; 16] = b"sinter cuda  2.\n";

/// Code of an image for a configuration.
pub fn pack(configuration: &str, image: &[u8]) -> Code {
    let mut bytes = Vec::with_capacity(MAGIC.len() + 8 + configuration.len() + image.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&(configuration.len() as u64).to_le_bytes());
    bytes.extend_from_slice(configuration.as_bytes());
    bytes.extend_from_slice(image);
    Code(Bytes::from(bytes))
}

/// The image of code for this configuration.
///
/// # Errors
/// When the code is damaged, or was compiled for another configuration.
pub fn unpack<'c>(code: &'c Code, configuration: &str) -> Result<&'c [u8], KernelError> {
    let parts = || {
        let rest = code.0.strip_prefix(MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
    };
    match parts() {
        None => Err(KernelError::Recipe("the code is no CUDA module of this version".to_owned())),
        Some((found, image)) if found == configuration.as_bytes() => Ok(image),
        Some((found, _)) => {
            let found: String = String::from_utf8_lossy(found).chars().take(200).collect();
            Err(KernelError::Recipe(format!("the code was compiled for '{found}', not for '{configuration}'")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_reads_back_for_its_own_configuration_only() {
        let code = pack("a.b f32", b"image");
        assert_eq!(unpack(&code, "a.b f32"), Ok(&b"image"[..]));
        let error = unpack(&code, "a.b f16").expect_err("another configuration").to_string();
        assert!(error.contains("a.b f32") && error.contains("a.b f16"), "{error}");
        for length in 0..code.0.len() - b"image".len() {
            assert!(unpack(&Code(code.0.slice(..length)), "a.b f32").is_err(), "{length} bytes");
        }
        let mut long = code.0.to_vec();
        long[16..24].fill(0xFF);
        assert!(unpack(&Code(long.into()), "a.b f32").is_err());
    }
}
