//! Files that make later builds faster: [`timings`] of kernels and [`verifications`] of plans.
//!
//! Both are text: a first line with kind, version and the BLAKE3 hash of all other bytes, then one JSON object per
//! line, sorted. A build writes the file under a temporary name and renames it, so that no reader sees half a file; the
//! build keeps the records that the file held before, so that several builds share one.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sinter_base::regular_file;
use sinter_base::replace::replace;

/// The format version that is written and read.
const VERSION: u32 = 1;
/// Larger files are refused: real caches stay far smaller.
const MAX_BYTES: u64 = 1 << 30;

/// A cache that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The file cannot be read or written.
    #[error("cache '{}': {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's kind of error.
        kind: ErrorKind,
        /// The system's reason.
        reason: String,
    },
    /// The file is not a cache of this kind; the build does not touch it.
    #[error("'{}' is not a cache of {kind}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The expected kind.
        kind: &'static str,
    },
    /// Another version of this library wrote the file.
    #[error("cache '{}' has format version {found}, this program reads {VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file was changed or cut off.
    #[error("cache '{}' is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The sign of the damage.
        reason: String,
    },
}

fn io(path: &Path, error: &std::io::Error) -> CacheError {
    CacheError::Io { path: path.to_owned(), kind: error.kind(), reason: error.to_string() }
}

/// Reads the records of a cache; none where the file does not exist yet.
pub(crate) fn read<R: DeserializeOwned>(path: &Path, kind: &'static str) -> Result<Vec<R>, CacheError> {
    let file = match regular_file::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(path, &error)),
    };
    let damaged = |reason: String| CacheError::Damaged { path: path.to_owned(), reason };
    let foreign = || CacheError::Foreign { path: path.to_owned(), kind };
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| io(path, &e))?;
    if read as u64 > MAX_BYTES {
        return Err(damaged(format!("it is larger than {MAX_BYTES} bytes")));
    }
    let end = bytes.iter().take(256).position(|b| *b == b'\n').ok_or_else(foreign)?;
    let (head, body) = bytes.split_at(end);
    let head = std::str::from_utf8(head).map_err(|_| foreign())?;
    let head = head.strip_prefix("sinter ").and_then(|rest| rest.strip_prefix(kind)).ok_or_else(foreign)?;
    let mut words = head.split_whitespace();
    let version = words.next().and_then(|word| word.parse().ok()).ok_or_else(foreign)?;
    if version != VERSION {
        return Err(CacheError::Version { path: path.to_owned(), found: version });
    }
    let body = body.get(1..).unwrap_or_default();
    if words.next() != Some(blake3::hash(body).to_hex().as_str()) {
        return Err(damaged("its contents do not match its checksum".to_owned()));
    }
    let lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).zip(2..);
    lines
        .map(|(line, number)| serde_json::from_slice(line).map_err(|e| damaged(format!("line {number}: {e}"))))
        .collect()
}

/// Writes the records of a cache, whole or not at all.
pub(crate) fn write<R: Serialize>(path: &Path, kind: &'static str, records: &[R]) -> Result<(), CacheError> {
    let mut lines = Vec::new();
    for record in records {
        lines.push(serde_json::to_string(record).map_err(|e| io(path, &e.into()))?);
    }
    lines.sort_unstable();
    let mut body = lines.join("\n");
    body.push('\n');
    let head = format!("sinter {kind} {VERSION} {}\n", blake3::hash(body.as_bytes()).to_hex());
    replace(path, |file| {
        file.write_all(head.as_bytes())?;
        file.write_all(body.as_bytes())
    })
    .map_err(|error| io(path, &error))
}
