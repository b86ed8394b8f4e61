//! Files of input and output values: an `.npz` by name, or a folder of `input_K.pb` / `output_K.pb` by position, in the
//! layout of the ONNX test data, which also holds sequences and optionals.

use std::io::Write;
use std::path::{Path, PathBuf};

use sinter_base::replace::replace;
use sinter_base::{Tensor, Value, one_line, regular_file};
use sinter_import_onnx::test_data::{decode_value, encode_value};
use sinter_tensor_io::{NpzError, read_npz, write_npz};

use crate::internals::source::Declared;

/// The files of a folder to read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `input_K.pb`
    Input,
    /// `output_K.pb`
    Output,
}

impl Role {
    fn stem(self) -> &'static str {
        match self {
            Role::Input => "input",
            Role::Output => "output",
        }
    }
}

/// Values that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// The `.npz` file.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// The system cannot open, create or rename a file or folder.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("{path}: {}", one_line(reason))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The damage.
        reason: String,
    },
    /// The contents are intact and not what the model declares.
    #[error("{path}: {}", one_line(reason))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The name, the value found and the one expected.
        reason: String,
    },
}

/// Reads values for declared inputs or outputs. The result omits values that the file does not have.
///
/// # Errors
/// When the file is missing, damaged, larger than `max_bytes`, or has a name or type that is not declared.
pub fn read(
    path: &Path,
    role: Role,
    declared: &[Declared],
    max_bytes: usize,
) -> Result<Vec<(String, Value)>, ValuesError> {
    if path.is_dir() {
        read_folder(path, role, declared, max_bytes)
    } else {
        read_archive(path, role, declared, max_bytes)
    }
}

fn read_archive(
    path: &Path,
    role: Role,
    declared: &[Declared],
    max_bytes: usize,
) -> Result<Vec<(String, Value)>, ValuesError> {
    let mismatch = |reason: String| ValuesError::Mismatch { path: path.to_owned(), reason };
    let mut values = Vec::new();
    for (name, array) in read_npz(path, max_bytes)? {
        let Some(port) = declared.iter().find(|d| d.name == name) else {
            let known: Vec<&str> = declared.iter().map(|d| d.name.as_str()).collect();
            return Err(mismatch(format!("there is no {} '{name}'; there is {}", role.stem(), known.join(", "))));
        };
        let Some(ty) = port.ty.as_tensor() else {
            let hint = format!("{} '{name}' is a {}, which needs a folder of .pb files", role.stem(), port.ty);
            return Err(mismatch(hint));
        };
        let tensor = array
            .into_tensor(Some(ty.data_type))
            .map_err(|reason| mismatch(format!("{} '{name}' ({ty}): {reason}", role.stem())))?;
        values.push((name, Value::Tensor(tensor)));
    }
    Ok(values)
}

fn read_folder(
    path: &Path,
    role: Role,
    declared: &[Declared],
    max_bytes: usize,
) -> Result<Vec<(String, Value)>, ValuesError> {
    let mut values = Vec::new();
    let mut left = max_bytes;
    for (position, port) in declared.iter().enumerate() {
        let file = path.join(format!("{}_{position}.pb", role.stem()));
        if !file.exists() {
            continue;
        }
        let io = |source| ValuesError::Io { path: file.clone(), source };
        let damaged = |reason: String| ValuesError::Damaged { path: file.clone(), reason };
        let length = std::fs::metadata(&file).map_err(io)?.len();
        left = usize::try_from(length)
            .ok()
            .and_then(|length| left.checked_sub(length))
            .ok_or_else(|| damaged(format!("it has {length} bytes, more than the {left} allowed")))?;
        let bytes = regular_file::read(&file).map_err(io)?;
        values.push((port.name.clone(), decode_value(bytes.into(), &port.ty).map_err(damaged)?));
    }
    let extra = path.join(format!("{}_{}.pb", role.stem(), declared.len()));
    if extra.exists() {
        let reason = format!("there are only {} {}s", declared.len(), role.stem());
        return Err(ValuesError::Mismatch { path: extra, reason });
    }
    Ok(values)
}

/// Does this name mean an archive? Any other name means a folder.
pub fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "npz")
}

/// Writes named values: to an archive when the name ends in `.npz`, else into a folder, which it creates when missing. Each
/// file appears complete or not at all.
///
/// # Errors
/// When a file cannot be written, or an archive cannot hold a sequence or optional.
pub fn write(path: &Path, role: Role, values: &[(String, Value)]) -> Result<(), ValuesError> {
    if is_archive(path) {
        for (position, (name, _)) in values.iter().enumerate() {
            if values.iter().take(position).any(|(other, _)| other == name) {
                let reason = format!("two {}s have the name '{name}'; a folder holds both", role.stem());
                return Err(ValuesError::Mismatch { path: path.to_owned(), reason });
            }
        }
        let tensors: Result<Vec<(String, Tensor)>, ValuesError> = values
            .iter()
            .map(|(name, value)| match value {
                Value::Tensor(tensor) => Ok((name.clone(), tensor.clone())),
                other => {
                    let reason = format!("{} '{name}' is a {}, which needs a folder", role.stem(), other.value_type());
                    Err(ValuesError::Mismatch { path: path.to_owned(), reason })
                }
            })
            .collect();
        return Ok(write_npz(path, &tensors?)?);
    }
    let io = |path: &Path, source| ValuesError::Io { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(|e| io(path, e))?;
    for (position, (name, value)) in values.iter().enumerate() {
        let file = path.join(format!("{}_{position}.pb", role.stem()));
        replace(&file, |partial| partial.write_all(&encode_value(name, value))).map_err(|e| io(&file, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_base::{DataType, ValueType};

    fn declared() -> Vec<Declared> {
        let list = ValueType::Sequence(Box::new(ValueType::unranked(DataType::I64)));
        vec![
            Declared { name: "x".into(), ty: ValueType::unranked(DataType::F32) },
            Declared { name: "list".into(), ty: list.clone() },
            Declared { name: "none".into(), ty: ValueType::Optional(Box::new(list)) },
        ]
    }

    fn values() -> Vec<(String, Value)> {
        let list = Value::sequence_of(DataType::I64, vec![Tensor::of_i64(&[1, 2]), Tensor::of_i64(&[])]);
        let list_type = declared()[1].ty.clone();
        vec![
            ("x".into(), Tensor::from_vec(&[2], vec![1.5f32, -2.0]).unwrap().into()),
            ("list".into(), list),
            ("none".into(), Value::Optional { element: list_type, item: None }),
        ]
    }

    #[test]
    fn a_folder_holds_every_kind_of_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        write(&path, Role::Output, &values()).unwrap();
        assert_eq!(read(&path, Role::Output, &declared(), 1 << 20).unwrap(), values());
        assert_eq!(read(&path, Role::Input, &declared(), 1 << 20).unwrap(), []);
        assert!(matches!(read(&path, Role::Output, &declared(), 10), Err(ValuesError::Damaged { .. })));
        assert!(matches!(read(&path, Role::Output, &declared()[..2], 1 << 20), Err(ValuesError::Mismatch { .. })));
    }

    #[test]
    fn an_archive_holds_tensors_of_the_declared_names_and_types() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.npz");
        assert!(matches!(write(&path, Role::Output, &values()), Err(ValuesError::Mismatch { .. })));
        assert!(!path.exists());
        let twice = [values().swap_remove(0), values().swap_remove(0)];
        let error = write(&path, Role::Output, &twice).unwrap_err().to_string();
        assert!(error.contains("two outputs have the name 'x'") && !path.exists(), "{error}");
        write(&path, Role::Input, &values()[..1]).unwrap();
        assert_eq!(read(&path, Role::Input, &declared(), 1 << 20).unwrap(), values()[..1]);
        let wrong = [Declared { name: "x".into(), ty: ValueType::unranked(DataType::I64) }];
        let error = read(&path, Role::Input, &wrong, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("expected i64, found f32"), "{error}");
        let other = [Declared { name: "y".into(), ty: ValueType::unranked(DataType::F32) }];
        let error = read(&path, Role::Input, &other, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("there is no input 'x'; there is y"), "{error}");
    }
}
