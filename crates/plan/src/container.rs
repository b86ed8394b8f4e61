//! The file: a header, a table of sections, sections.
//!
//! ```text
//! 0    magic "SINTERPL", version, number of sections, length of the file
//! 24   one entry of 56 bytes per section: kind, reserved, offset, length, BLAKE3 hash
//! ..   metadata (protobuf)
//! ..   weights, each at a multiple of 64 bytes, the section at a multiple of 4096
//! ```
//! All numbers are little-endian. A reader skips kinds that it does not know.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use bytes::Bytes;
use prost::Message;
use sinter_base::mapping::map_file;
use sinter_base::{DataType, Tensor, ValueType, regular_file};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::check::check;
use crate::codec;
use crate::error::PlanError;
use crate::hash::hash;
use crate::plan::{Plan, PlanWeight};
use crate::wire;

const MAGIC: [u8; 8] = *b"SINTERPL";

/// The format version that is written, and the newest that is read.
pub const VERSION: u32 = 2;

const WEIGHT_ALIGNMENT: usize = 64;
const PAGE: usize = 4096;
const MAX_SECTIONS: usize = 64;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    sections: U32,
    length: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Entry {
    kind: U32,
    reserved: U32,
    offset: U64,
    length: U64,
    hash: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Metadata,
    Weights,
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Kind::Metadata => 1,
            Kind::Weights => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Metadata => "metadata",
            Kind::Weights => "weights",
        }
    }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn narrow(value: u64) -> Result<usize, PlanError> {
    usize::try_from(value).map_err(|_| PlanError::damaged(format!("{value} bytes")))
}

/// The whole file as bytes. The same plan always gives the same bytes.
pub fn to_bytes(plan: &Plan) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_to(plan, &mut bytes);
    bytes
}

/// Zeros up to the next multiple of an alignment.
fn padding(position: usize, alignment: usize) -> &'static [u8] {
    static ZEROS: [u8; PAGE] = [0; PAGE];
    ZEROS.get(..position.next_multiple_of(alignment) - position).unwrap_or(&ZEROS)
}

/// Hands the weights section to `take`, piece by piece, as it lies in the file.
fn stream_weights(plan: &Plan, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut position = 0;
    for PlanWeight { tensor, .. } in &plan.weights {
        for piece in [padding(position, WEIGHT_ALIGNMENT), tensor.bytes()] {
            take(piece)?;
            position += piece.len();
        }
    }
    Ok(())
}

/// Writes the file to a stream, weights from where they lie: they are walked twice, to hash and to write them, and never
/// copied into a second place in memory.
///
/// # Errors
/// As writing does.
pub fn write_to(plan: &Plan, to: &mut impl Write) -> io::Result<()> {
    let mut records = Vec::new();
    let mut length = 0;
    for PlanWeight { name, tensor } in &plan.weights {
        length += padding(length, WEIGHT_ALIGNMENT).len();
        let ty = sinter_base::TensorType::new(tensor.data_type(), tensor.sizes().into());
        records.push(wire::Weight {
            name: name.clone(),
            r#type: Some(codec::encode_type(&ty.into())),
            offset: wide(length),
            length: wide(tensor.bytes().len()),
            strings: tensor.strings().map(<[String]>::to_vec).unwrap_or_default(),
        });
        length += tensor.bytes().len();
    }
    let mut hasher = blake3::Hasher::new();
    stream_weights(plan, &mut |piece| {
        hasher.update(piece);
        Ok(())
    })?;
    let metadata = codec::encode(plan, records).encode_to_vec();
    let sections = [
        (Kind::Metadata, metadata.len(), WEIGHT_ALIGNMENT, blake3::hash(&metadata)),
        (Kind::Weights, length, PAGE, hasher.finalize()),
    ];
    let mut offset = size_of::<Header>() + sections.len() * size_of::<Entry>();
    let mut entries = Vec::new();
    for (kind, length, alignment, hash) in &sections {
        offset = offset.next_multiple_of(*alignment);
        entries.push(Entry {
            kind: kind.code().into(),
            reserved: 0.into(),
            offset: wide(offset).into(),
            length: wide(*length).into(),
            hash: *hash.as_bytes(),
        });
        offset += length;
    }
    let header = Header {
        magic: MAGIC,
        version: VERSION.into(),
        sections: U32::new(u32::try_from(sections.len()).unwrap_or(0)),
        length: wide(offset).into(),
    };
    to.write_all(header.as_bytes())?;
    entries.iter().try_for_each(|e| to.write_all(e.as_bytes()))?;
    let position = size_of::<Header>() + entries.len() * size_of::<Entry>();
    let start = position.next_multiple_of(WEIGHT_ALIGNMENT);
    to.write_all(padding(position, WEIGHT_ALIGNMENT))?;
    to.write_all(&metadata)?;
    to.write_all(padding(start + metadata.len(), PAGE))?;
    stream_weights(plan, &mut |piece| to.write_all(piece))
}

/// Writes a plan to a temporary file beside the target and renames it when it is complete and on disk.
///
/// # Errors
/// When the file cannot be written; no partial file stays.
pub fn write(path: &Path, plan: &Plan) -> Result<(), PlanError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = Path::new(&partial);
    let written = File::create(partial)
        .and_then(|mut file| write_to(plan, &mut file).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(partial, path));
    written.map_err(|source| {
        // The error that matters is the first one.
        let _ = std::fs::remove_file(partial);
        PlanError::Io { path: path.to_owned(), source }
    })
}

/// What is checked when a plan is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The hash of every section.
    Nothing,
    /// Every hash but that of the weights, which may be gigabytes.
    Weights,
}

/// Does the file start like a plan? A file that cannot be read does not.
pub fn is_plan(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    regular_file::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

/// Maps and reads a plan file. Weights stay in the mapping.
///
/// # Errors
/// When the file cannot be opened or is no intact plan.
pub fn read(path: &Path, trust: Trust) -> Result<Plan, PlanError> {
    let bytes = map_file(path).map_err(|source| PlanError::Io { path: path.to_owned(), source })?;
    from_bytes(bytes, trust)
}

/// Reads a plan from memory.
///
/// # Errors
/// When the bytes are no intact plan.
pub fn from_bytes(bytes: Bytes, trust: Trust) -> Result<Plan, PlanError> {
    let (header, rest) = Header::read_from_prefix(&bytes)
        .map_err(|_| PlanError::NotAPlan(format!("it has only {} bytes", bytes.len())))?;
    if header.magic != MAGIC {
        return Err(PlanError::NotAPlan("it starts with other bytes".to_owned()));
    }
    if header.version.get() == 0 || header.version.get() > VERSION {
        return Err(PlanError::Version { found: header.version.get(), newest: VERSION });
    }
    if narrow(header.length.get())? != bytes.len() {
        return Err(PlanError::damaged(format!("{} bytes, {} expected", bytes.len(), header.length)));
    }
    let count = usize::try_from(header.sections.get()).unwrap_or(usize::MAX);
    if count > MAX_SECTIONS {
        return Err(PlanError::damaged(format!("{count} sections")));
    }
    let (entries, _) = <[Entry]>::ref_from_prefix_with_elems(rest, count)
        .map_err(|_| PlanError::damaged("the section table is cut"))?;
    let metadata = section(&bytes, entries, Kind::Metadata, true)?;
    let weights = section(&bytes, entries, Kind::Weights, trust == Trust::Nothing)?;
    let metadata = wire::Metadata::decode(metadata).map_err(|e| PlanError::damaged(e.to_string()))?;
    let tensors = metadata.weights.iter().map(|record| weight(record, &weights)).collect::<Result<Vec<_>, _>>()?;
    let parts = codec::decode(metadata)?;
    let plan = Plan {
        name: parts.name,
        device: parts.device,
        graph: parts.graph,
        inputs: parts.inputs,
        outputs: parts.outputs,
        weights: tensors,
        shapes: parts.shapes,
        guards: parts.guards,
        sealed: parts.sealed,
    };
    check(&plan)?;
    Ok(plan)
}

fn section(bytes: &Bytes, entries: &[Entry], kind: Kind, check: bool) -> Result<Bytes, PlanError> {
    let entry = entries.iter().find(|e| e.kind.get() == kind.code());
    let entry = entry.ok_or_else(|| PlanError::damaged(format!("it has no {} section", kind.name())))?;
    let (offset, length) = (narrow(entry.offset.get())?, narrow(entry.length.get())?);
    let end = offset.checked_add(length).filter(|&end| end <= bytes.len());
    let end = end.ok_or_else(|| PlanError::damaged(format!("the {} section lies outside the file", kind.name())))?;
    let section = bytes.slice(offset..end);
    if check && *hash(&section).as_bytes() != entry.hash {
        return Err(PlanError::Hash { section: kind.name() });
    }
    Ok(section)
}

fn weight(record: &wire::Weight, section: &Bytes) -> Result<PlanWeight, PlanError> {
    let wrong = |reason: &dyn std::fmt::Display| PlanError::damaged(format!("weight '{}': {reason}", record.name));
    let ty = codec::decode_type(record.r#type.as_ref().ok_or_else(|| wrong(&"it has no type"))?, 0)?;
    let ValueType::Tensor(ty) = ty else { return Err(wrong(&"it is no tensor")) };
    let sizes = ty.shape.sizes().ok_or_else(|| wrong(&"its sizes are open"))?;
    let tensor = if ty.data_type == DataType::String {
        Tensor::from_strings(&sizes, record.strings.clone())
    } else {
        let (offset, length) = (narrow(record.offset)?, narrow(record.length)?);
        let end = offset.checked_add(length).filter(|&end| end <= section.len());
        let end = end.ok_or_else(|| wrong(&"it lies outside its section"))?;
        Tensor::from_bytes(ty.data_type, &sizes, section.slice(offset..end))
    };
    Ok(PlanWeight { name: record.name.clone(), tensor: tensor.map_err(|e| wrong(&e))? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, BufferId, Graph, Home, PlanValue, PlanValueId, Port, Step, WeightId};
    use crate::shape_program::ShapeCompiler;
    use sinter_backend::{Device, Recipe, Region};
    use sinter_base::{Attr, Dim};
    use sinter_ops::pointwise::Expr;

    /// y = x + w for a symbolic x.
    fn plan() -> Plan {
        let (n, f32) = (Dim::symbol("batch size"), DataType::F32);
        let ty = ValueType::tensor(f32, vec![n.clone(), Dim::constant(3)]);
        let add = Expr::into_pointwise(&[&Expr::input(0, f32) + &Expr::input(1, f32)]).unwrap();
        let types = [Some(ty.clone()), Some(ValueType::tensor(f32, vec![Dim::constant(3)]))];
        let region = Region::single(add.into(), &types, vec![ty.clone()]);
        let mut compiler = ShapeCompiler::default();
        let slots = [compiler.dim(&n), compiler.dim(&Dim::constant(3))];
        let (shapes, register) = compiler.finish();
        let sizes = Some(slots.map(&register).to_vec());
        let value = |ty: &ValueType, sizes, home| PlanValue { ty: ty.clone(), sizes, home };
        let id = PlanValueId::new;
        Plan {
            name: "test".to_owned(),
            device: Device { back_end: "cpu".to_owned(), tier: "avx2".to_owned(), threads: 2 },
            graph: Graph {
                values: vec![
                    value(&ty, sizes.clone(), Home::Input),
                    value(types[1].as_ref().unwrap(), None, Home::Weight(WeightId::new(0))),
                    value(&ty, sizes, Home::Arena(BufferId::new(0))),
                ],
                inputs: vec![id(0)],
                outputs: vec![id(2)],
                steps: vec![Step {
                    action: Action::Kernel {
                        recipe: Recipe { tactic: "cpu.pointwise.program".to_owned(), parameters: Attr::Int(3) },
                        region,
                        in_place: vec![(0, 0)],
                        packed: Vec::new(),
                        workspace: None,
                    },
                    inputs: vec![Some(id(0)), Some(id(1))],
                    outputs: vec![id(2)],
                    origins: vec!["Add 'a'".to_owned()],
                }],
            },
            inputs: vec![Port { name: "x".to_owned(), value: id(0), default: None }],
            outputs: vec![Port { name: "y".to_owned(), value: id(2), default: None }],
            weights: vec![PlanWeight {
                name: "w".to_owned(),
                tensor: Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0]).unwrap(),
            }],
            shapes,
            guards: Vec::new(),
            sealed: None,
        }
    }

    #[test]
    fn plans_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        write(&path, &plan()).unwrap();
        assert_eq!(read(&path, Trust::Nothing).unwrap(), plan());
        assert_eq!(to_bytes(&plan()), std::fs::read(&path).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file stays");
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let bytes = to_bytes(&plan());
        for at in (0..bytes.len()).filter(|at| *at < 600 || at % 97 == 0 || *at + 12 >= bytes.len()) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            // Padding between sections belongs to none.
            if let Ok(read) = from_bytes(damaged.into(), Trust::Nothing) {
                assert_eq!(read, plan(), "byte {at}");
            }
        }
        for length in [0, 7, 24, 80, 200, bytes.len() - 1] {
            assert!(from_bytes(Bytes::copy_from_slice(&bytes[..length]), Trust::Nothing).is_err());
        }
    }

    #[test]
    fn weights_may_be_trusted_and_nothing_else() {
        let bytes = to_bytes(&plan());
        let damaged = |at: usize| {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            [Trust::Nothing, Trust::Weights].map(|trust| from_bytes(damaged.clone().into(), trust).is_ok())
        };
        assert_eq!(damaged(bytes.len() - 1), [false, true], "in the weights");
        assert_eq!(damaged(24 + 2 * 56 + 64), [false, false], "in the metadata");
    }

    #[test]
    fn damage_behind_valid_hashes_is_noticed() {
        let mut cyclic = plan();
        cyclic.graph.steps[0].inputs[0] = Some(PlanValueId::new(2));
        assert!(matches!(from_bytes(to_bytes(&cyclic).into(), Trust::Nothing), Err(PlanError::Damaged(_))));
        let mut outside = plan();
        outside.graph.values[1].home = Home::Weight(WeightId::new(9));
        assert!(from_bytes(to_bytes(&outside).into(), Trust::Nothing).is_err());
    }

    #[test]
    fn newer_versions_say_so() {
        let mut bytes = to_bytes(&plan());
        bytes[8] = 3;
        assert!(matches!(from_bytes(bytes.into(), Trust::Nothing), Err(PlanError::Version { found: 3, .. })));
    }
}
