//! `.npz`: a zip archive of `.npy` arrays, stored or deflated.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use npyz::WriterBuilder;
use sinter_base::allocation::attempt;
use sinter_base::replace::replace;
use sinter_base::{Tensor, one_line, regular_file};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::array::{Extent, RawArray, encode};
use crate::header::Header;

/// A file of arrays that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NpzError {
    /// The file could not be opened, made or replaced.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is one array without a name (`.npy`).
    #[error("{path} is a single array (.npy); an archive of arrays by name (.npz) is needed")]
    Single {
        /// The file.
        path: PathBuf,
    },
    /// The system has not so much memory.
    #[error("{path}: array '{}': the system gives no {bytes} bytes of memory", one_line(array))]
    Memory {
        /// The file.
        path: PathBuf,
        /// Name of the array.
        array: String,
        /// Bytes needed.
        bytes: usize,
    },
    /// The file is damaged, or holds an array that is no tensor.
    #[error("{path}: {}", one_line(reason))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The problem, with the array's name.
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
    mut archive: impl Read + Seek,
    path: &Path,
    max_bytes: usize,
) -> Result<Vec<(String, RawArray)>, NpzError> {
    let invalid = |reason: String| NpzError::Invalid { path: path.to_owned(), reason };
    let mut start = Vec::new();
    archive.by_ref().take(6).read_to_end(&mut start).map_err(|e| invalid(e.to_string()))?;
    if start == b"\x93NUMPY" {
        return Err(NpzError::Single { path: path.to_owned() });
    }
    if !start.starts_with(b"PK") {
        return Err(invalid("it does not start like an .npz file, which is a zip archive".to_owned()));
    }
    let mut archive = ZipArchive::new(archive).map_err(|e| invalid(e.to_string()))?;
    if archive.has_duplicate_names() {
        return Err(invalid("two of its arrays have one name".to_owned()));
    }
    let mut arrays = Vec::new();
    let mut left = max_bytes;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| invalid(e.to_string()))?;
        let member = entry.name().map_err(|e| invalid(e.to_string()))?.into_owned();
        let Some(name) = member.strip_suffix(".npy").map(str::to_owned) else { continue };
        let of_array = |reason: String| invalid(format!("array '{name}': {reason}"));
        let header = Header::read(&mut entry).map_err(of_array)?;
        let (array, Extent { stored, memory }) = RawArray::from_header(header, left).map_err(of_array)?;
        let mut bytes = Vec::new();
        let limit = u64::try_from(stored).unwrap_or(u64::MAX);
        let read = attempt(|| entry.by_ref().take(limit).read_to_end(&mut bytes));
        read.map_err(|error| match error.kind() {
            ErrorKind::OutOfMemory => NpzError::Memory { path: path.to_owned(), array: name.clone(), bytes: stored },
            _ => of_array(error.to_string()),
        })?;
        if bytes.len() != stored {
            return Err(invalid(format!("array '{name}' has {} bytes, its header promises {stored}", bytes.len())));
        }
        // The checksum is compared where the data ends, so that this also finds damage.
        if entry.read(&mut [0]).map_err(|e| of_array(e.to_string()))? > 0 {
            return Err(invalid(format!("array '{name}' has more than the {stored} bytes that its header promises")));
        }
        left = left.saturating_sub(memory);
        arrays.push((name, array.with_bytes(bytes)));
    }
    Ok(arrays)
}

/// Writes tensors by name, uncompressed, and replaces the file atomically.
///
/// # Errors
/// When the file cannot be written.
pub fn write_npz(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), NpzError> {
    replace(path, |file| write_to(file, tensors)).map_err(|source| NpzError::Io { path: path.to_owned(), source })
}

fn write_to(file: &mut File, tensors: &[(String, Tensor)]) -> std::io::Result<()> {
    let mut archive = ZipWriter::new(file);
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
    archive.finish().map(drop).map_err(Into::into)
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
        for ((name, array), (expected, tensor)) in read.iter().zip(&tensors) {
            assert_eq!(name, expected);
            assert_eq!(&array.to_tensor(Some(tensor.data_type())).unwrap(), tensor);
        }
        assert!(read[0].1.to_tensor(Some(DataType::I64)).is_err());
    }

    /// An archive of arrays with untrusted headers.
    fn archive(arrays: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in arrays {
            archive.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    fn array(header: &str, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
    }

    fn plain(code: &str, sizes: &str, data: &[u8]) -> Vec<u8> {
        array(&format!("{{'descr': '{code}', 'fortran_order': False, 'shape': {sizes}}}"), data)
    }

    fn parse(bytes: Vec<u8>) -> Result<Vec<(String, RawArray)>, String> {
        parse_npz(std::io::Cursor::new(bytes), Path::new("x.npz"), 1 << 20).map_err(|e| e.to_string())
    }

    fn refusal(array: &[u8]) -> String {
        parse(archive(&[("x", array)])).unwrap_err()
    }

    /// Nothing in the file, and yet memory for every element.
    #[test]
    fn texts_count_with_what_they_take_in_memory() {
        for code in ["|S0", "<U0"] {
            let error = refusal(&plain(code, "(999999999999, 3)", &[]));
            assert!(error.contains("[999999999999, 3] need more than the 1048576 bytes"), "{error}");
            let read = parse(archive(&[("x", &plain(code, "(2, 3)", &[]))])).unwrap();
            assert_eq!(read[0].1.to_tensor(None).unwrap().strings().unwrap(), [""; 6]);
        }
        assert!(refusal(&plain("|S1", "(50000,)", &[65; 50000])).contains("1048576 bytes"));
    }

    #[test]
    fn sizes_whose_product_has_no_number_are_errors() {
        assert!(refusal(&plain("<f4", "(9999999999, 9999999999)", &[])).contains("1048576 bytes"));
        assert!(refusal(&array(&"[".repeat(60), &[])).contains("array 'x'"));
    }

    #[test]
    fn more_bytes_than_promised_and_names_given_twice_are_errors() {
        assert!(refusal(&plain("|u1", "(2,)", &[1, 2, 3])).contains("more than the 2 bytes"));
        assert!(refusal(&plain("|u1", "(4,)", &[1, 2, 3])).contains("has 3 bytes"));
        let one = plain("|u1", "(1,)", &[1]);
        // The writer refuses it, others do not.
        let mut bytes = archive(&[("x", &one), ("y", &one)]);
        while let Some(at) = bytes.windows(5).position(|name| name == b"y.npy") {
            bytes[at] = b'x';
        }
        assert!(parse(bytes).unwrap_err().contains("two of its arrays have one name"));
    }

    #[test]
    fn codes_beyond_their_type_are_refused() {
        let tensor = |elements: &[u8], ty| {
            let bytes = plain("|u1", &format!("({},)", elements.len()), elements);
            parse(archive(&[("x", &bytes)])).unwrap().swap_remove(0).1.into_tensor(Some(ty))
        };
        // Minus one as a code, and sign extended.
        assert_eq!(tensor(&[7, 15, 0xFF], DataType::I4).unwrap().to_floats(), [7.0, -1.0, -1.0]);
        assert_eq!(tensor(&[15, 0], DataType::U4).unwrap().to_floats(), [15.0, 0.0]);
        assert!(tensor(&[0, 16], DataType::I4).unwrap_err().contains("element 1 is 16, which is no i4"));
        assert!(tensor(&[0xF7], DataType::I4).is_err() && tensor(&[0xFF], DataType::U4).is_err());
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
        std::fs::write(&path, array("{}", &[])).unwrap();
        assert!(matches!(read_npz(&path, 1), Err(NpzError::Single { .. })));
        std::fs::write(&path, "x = 1").unwrap();
        assert!(read_npz(&path, 1).unwrap_err().to_string().contains("does not start like an .npz file"));
    }
}
