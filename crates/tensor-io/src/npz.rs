//! `.npz`: a zip archive of `.npy` arrays, stored or deflated.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;
use sinter_base::{Tensor, regular_file};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::array::{RawArray, encode};

/// A file of arrays that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NpzError {
    /// The file could not be opened, created or renamed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is damaged or holds what no tensor is.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the array's name.
        reason: String,
    },
}

/// Reads all arrays of a file, in the file's order, by name.
///
/// # Errors
/// When the file is missing or damaged, or its arrays together need more than `max_bytes`.
pub fn read_npz(path: &Path, max_bytes: usize) -> Result<Vec<(String, RawArray)>, NpzError> {
    let file = regular_file::open(path).map_err(|source| NpzError::Io { path: path.to_owned(), source })?;
    parse_npz(std::io::BufReader::new(file), path, max_bytes)
}

/// As [`read_npz`], from anywhere; errors call it `path`.
///
/// # Errors
/// As [`read_npz`].
pub fn parse_npz(
    archive: impl Read + Seek,
    path: &Path,
    max_bytes: usize,
) -> Result<Vec<(String, RawArray)>, NpzError> {
    let invalid = |reason: String| NpzError::Invalid { path: path.to_owned(), reason };
    let mut archive = ZipArchive::new(archive).map_err(|e| invalid(e.to_string()))?;
    let mut arrays = Vec::new();
    let mut left = max_bytes;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| invalid(e.to_string()))?;
        let member = entry.name().map_err(|e| invalid(e.to_string()))?.into_owned();
        let Some(name) = member.strip_suffix(".npy").map(str::to_owned) else { continue };
        let header = npyz::NpyHeader::from_reader(&mut entry).map_err(|e| invalid(format!("array '{name}': {e}")))?;
        let (array, length) =
            RawArray::from_header(&header, left).map_err(|reason| invalid(format!("array '{name}': {reason}")))?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        entry.take(limit).read_to_end(&mut bytes).map_err(|e| invalid(format!("array '{name}': {e}")))?;
        if bytes.len() != length {
            return Err(invalid(format!("array '{name}' has {} bytes, its header promises {length}", bytes.len())));
        }
        left = left.saturating_sub(length);
        arrays.push((name, array.with_bytes(bytes)));
    }
    Ok(arrays)
}

/// Writes tensors by name, stored, to a temporary file that is renamed when it is complete.
///
/// # Errors
/// When the file cannot be written; no partial file stays.
pub fn write_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), NpzError> {
    let partial = path.with_extension("npz.partial");
    let io = |source: std::io::Error| NpzError::Io { path: path.to_owned(), source };
    let written = write_to(&partial, tensors).and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|error| {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(&partial);
        io(error)
    })
}

fn write_to(path: &Path, tensors: &[(String, Tensor)]) -> std::io::Result<()> {
    let mut archive = ZipWriter::new(File::create(path)?);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for (name, tensor) in tensors {
        archive.start_file(format!("{name}.npy"), options)?;
        let (code, bytes) = encode(tensor);
        let type_str = code.parse().map_err(std::io::Error::other)?;
        let sizes: Vec<u64> = tensor.sizes().iter().map(|&s| u64::try_from(s).unwrap_or(u64::MAX)).collect();
        npyz::WriteOptions::new_header_only()
            .dtype(npyz::DType::Plain(type_str))
            .shape(&sizes)
            .writer(&mut archive)
            .write_header_only()?;
        archive.write_all(&bytes)?;
    }
    archive.finish()?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_base::DataType;

    #[test]
    fn every_type_survives_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all.npz");
        let tensors: Vec<(String, Tensor)> = DataType::ALL
            .iter()
            .map(|&t| {
                let tensor = match t {
                    DataType::String => Tensor::from_strings(&[2], vec!["ä".into(), String::new()]).unwrap(),
                    _ => Tensor::from_floats(t, &[3, 1], &[1.0, 1.0, 1.0]).unwrap(),
                };
                (format!("a/{t}:0"), tensor)
            })
            .collect();
        write_npz(&path, &tensors).unwrap();
        let read = read_npz(&path, 1 << 20).unwrap();
        assert_eq!(read.len(), tensors.len());
        for ((name, array), (wanted, tensor)) in read.iter().zip(&tensors) {
            assert_eq!(name, wanted);
            assert_eq!(&array.to_tensor(Some(tensor.data_type())).unwrap(), tensor);
        }
        assert!(read[0].1.to_tensor(Some(DataType::I64)).is_err());
    }

    #[test]
    fn sizes_beyond_the_limit_and_damage_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npz");
        write_npz(&path, &[("x".into(), Tensor::of_i64(&[1, 2, 3]))]).unwrap();
        assert!(read_npz(&path, 23).is_err());
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            assert!(matches!(read_npz(&path, 1 << 20), Err(NpzError::Invalid { .. })), "{cut}");
        }
        assert!(matches!(read_npz(&folder.path().join("none"), 1), Err(NpzError::Io { .. })));
    }
}
