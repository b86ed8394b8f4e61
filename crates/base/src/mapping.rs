//! Read-only file mappings: the runtime reads weights from the mapped file without copying them.
#![allow(unsafe_code, reason = "mapping a file is unsafe: another process may change it while it is mapped")]

use std::io;
use std::path::Path;

use bytes::Bytes;

use crate::regular_file;

/// Maps a whole regular file; an empty file gives no bytes.
///
/// # Errors
/// As opening, measuring and mapping the file do.
pub fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = regular_file::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only. A file that is truncated while it is mapped ends the process with
    // SIGBUS, as for every program that maps its inputs; no Rust value other than bytes is ever read from it.
    let mapping = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Bytes::from_owner(mapping))
}
