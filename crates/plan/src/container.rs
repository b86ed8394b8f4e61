//! The file: a header, a table of sections, sections.
//!
//! ```text
//! 0    magic "SINTERPL", version, number of sections, length of the file
//! 24   one entry of 56 bytes per section: kind, reserved, offset, length, BLAKE3 hash
//! ..   since version 3: BLAKE3 of all that stands before, 32 bytes
//! ..   metadata (protobuf)
//! ..   since version 3: report (protobuf)
//! ..   weights, each at a multiple of 64 bytes, the section at a multiple of 4096
//! ```
//! All numbers are little-endian. A reader skips kinds that it does not know.
//!
//! The hash of a section is that of its bytes. That of the weights is, since version 3, the hash of the hashes of all
//! weights, which stand in the metadata: so the same weight is known by its hash in whatever plan it stands.

use std::io::{self, Read, Write};
use std::path::Path;

use blake3::Hash;
use bytes::Bytes;
use prost::Message;
use sinter_base::mapping::map_file;
use sinter_base::replace::replace;
use sinter_base::{DataType, Tensor, ValueType, regular_file};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::check::check;
use crate::codec;
use crate::error::PlanError;
use crate::hash::{hash, hash_all};
use crate::plan::{Plan, PlanWeight};
use crate::report_codec;
use crate::wire;

const MAGIC: [u8; 8] = *b"SINTERPL";

/// The format version that is written, and the newest that is read.
pub const VERSION: u32 = 3;

/// The first version with a report, a hash of the header and hashes of weights.
const REPORTING: u32 = 3;

/// Sections of the versions before; whoever makes one of a newer plan by changing its number is found out.
const OLD_SECTIONS: usize = 2;

const WEIGHT_ALIGNMENT: usize = 64;
const PAGE: usize = 4096;
const MAX_SECTIONS: usize = 64;
const HASH: usize = blake3::OUT_LEN;

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
    Report,
}

impl Kind {
    fn code(self) -> u32 {
        match self {
            Kind::Metadata => 1,
            Kind::Weights => 2,
            Kind::Report => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Metadata => "metadata",
            Kind::Weights => "weights",
            Kind::Report => "report",
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
    for weight in &plan.weights {
        for piece in [padding(position, WEIGHT_ALIGNMENT), weight.tensor().bytes()] {
            take(piece)?;
            position += piece.len();
        }
    }
    Ok(())
}

/// What the metadata say of the weights, all but their hashes, and the length of their section.
fn weight_records(plan: &Plan) -> (Vec<wire::Weight>, usize) {
    let mut length = 0;
    let record = |weight: &PlanWeight| {
        length += padding(length, WEIGHT_ALIGNMENT).len();
        let tensor = weight.tensor();
        let ty = sinter_base::TensorType::new(tensor.data_type(), tensor.sizes().into());
        let record = wire::Weight {
            name: weight.name.clone(),
            r#type: Some(codec::encode_type(&ty.into())),
            offset: wide(length),
            length: wide(tensor.bytes().len()),
            strings: tensor.strings().map(<[String]>::to_vec).unwrap_or_default(),
            hash: Vec::new(),
        };
        length += tensor.bytes().len();
        record
    };
    (plan.weights.iter().map(record).collect(), length)
}

/// Would a reader take the plan? Everything is read back but the elements of weights, which are gigabytes and stay what
/// they are.
///
/// # Errors
/// [`PlanError::Unreadable`] when no reader would.
fn check_readable(plan: &Plan) -> Result<(), PlanError> {
    let metadata = codec::encode(plan, weight_records(plan).0);
    let report = report_codec::encode(plan.report.as_ref());
    let again = assemble(metadata, &report, plan.weights.clone());
    again.map(drop).map_err(|error| PlanError::Unreadable(Box::new(error)))
}

/// Writes the file to a stream, weights from where they lie: they are walked twice, to hash and to write them, and never
/// copied into a second place in memory.
///
/// # Errors
/// As writing does.
pub fn write_to(plan: &Plan, to: &mut impl Write) -> io::Result<()> {
    let elements: Vec<&[u8]> = plan.weights.iter().map(|weight| weight.tensor().bytes()).collect();
    let hashes = hash_all(&elements);
    let (mut records, length) = weight_records(plan);
    records.iter_mut().zip(&hashes).for_each(|(record, hash)| record.hash = hash.as_bytes().to_vec());
    let metadata = codec::encode(plan, records).encode_to_vec();
    let report = report_codec::encode(plan.report.as_ref());
    let sections = [
        (Kind::Metadata, metadata.len(), WEIGHT_ALIGNMENT, blake3::hash(&metadata)),
        (Kind::Report, report.len(), WEIGHT_ALIGNMENT, blake3::hash(&report)),
        (Kind::Weights, length, PAGE, of_hashes(&hashes)),
    ];
    let start = size_of::<Header>() + sections.len() * size_of::<Entry>() + HASH;
    let mut offset = start;
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
    let mut head = header.as_bytes().to_vec();
    entries.iter().for_each(|entry| head.extend_from_slice(entry.as_bytes()));
    head.extend_from_slice(blake3::hash(&head).as_bytes());
    let mut position = 0;
    for (piece, alignment) in [(&head, 1), (&metadata, WEIGHT_ALIGNMENT), (&report, WEIGHT_ALIGNMENT)] {
        let padding = padding(position, alignment);
        to.write_all(padding)?;
        to.write_all(piece)?;
        position += padding.len() + piece.len();
    }
    to.write_all(padding(position, PAGE))?;
    stream_weights(plan, &mut |piece| to.write_all(piece))
}

/// The hash of the weights section, from those of the weights.
fn of_hashes(hashes: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hashes.iter().for_each(|hash| {
        hasher.update(hash.as_bytes());
    });
    hasher.finalize()
}

/// Writes a plan to a temporary file beside the target and renames it when it is complete and on disk.
///
/// # Errors
/// When the file cannot be written, or could not be opened again; no partial file stays.
pub fn write(path: &Path, plan: &Plan) -> Result<(), PlanError> {
    check_readable(plan)?;
    replace(path, |file| write_to(plan, file)).map_err(|source| PlanError::Io { path: path.to_owned(), source })
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
    let is_reporting = header.version.get() >= REPORTING;
    if is_reporting {
        check_head(&bytes, count)?;
    } else if count != OLD_SECTIONS {
        return Err(PlanError::damaged(format!("{count} sections in a plan of version {}", header.version)));
    }
    let metadata = Section::find(&bytes, entries, Kind::Metadata)?.checked()?;
    let weights = Section::find(&bytes, entries, Kind::Weights)?;
    let metadata = wire::Metadata::decode(metadata).map_err(|e| PlanError::damaged(e.to_string()))?;
    let records = metadata.weights.iter();
    let mut tensors = records.map(|record| weight(record, &weights.bytes)).collect::<Result<Vec<_>, _>>()?;
    if trust == Trust::Nothing && is_reporting {
        tensors = check_weights(&metadata.weights, tensors, &weights)?;
    } else if trust == Trust::Nothing {
        weights.checked()?;
    }
    let report = if is_reporting { Section::find(&bytes, entries, Kind::Report)?.checked()? } else { Bytes::new() };
    assemble(metadata, &report, tensors)
}

/// The plan of its sections, if it is one that can be run. A plan without a report has an empty one.
fn assemble(metadata: wire::Metadata, report: &[u8], weights: Vec<PlanWeight>) -> Result<Plan, PlanError> {
    let parts = codec::decode(metadata)?;
    let mut steps = 0;
    parts.graph.visit_steps(&mut |_| steps += 1);
    let plan = Plan {
        name: parts.name,
        target: parts.target,
        graph: parts.graph,
        inputs: parts.inputs,
        outputs: parts.outputs,
        weights,
        shapes: parts.shapes,
        guards: parts.guards,
        sealed: parts.sealed,
        report: report_codec::decode(report, steps)?,
    };
    check(&plan)?;
    Ok(plan)
}

/// Checks the hash behind the header and the table of sections.
fn check_head(bytes: &Bytes, sections: usize) -> Result<(), PlanError> {
    let length = size_of::<Header>().saturating_add(sections.saturating_mul(size_of::<Entry>()));
    let (head, rest) = bytes.split_at_checked(length).ok_or_else(|| PlanError::damaged("the section table is cut"))?;
    match rest.get(..HASH) {
        Some(hash) if hash == blake3::hash(head).as_bytes() => Ok(()),
        _ => Err(PlanError::Hash { section: "header" }),
    }
}

/// A section, and the hash that its entry names.
struct Section {
    bytes: Bytes,
    hash: [u8; HASH],
    kind: Kind,
}

impl Section {
    fn find(bytes: &Bytes, entries: &[Entry], kind: Kind) -> Result<Self, PlanError> {
        let entry = entries.iter().find(|e| e.kind.get() == kind.code());
        let entry = entry.ok_or_else(|| PlanError::damaged(format!("it has no {} section", kind.name())))?;
        let (offset, length) = (narrow(entry.offset.get())?, narrow(entry.length.get())?);
        let end = offset.checked_add(length).filter(|&end| end <= bytes.len());
        let end =
            end.ok_or_else(|| PlanError::damaged(format!("the {} section lies outside the file", kind.name())))?;
        Ok(Self { bytes: bytes.slice(offset..end), hash: entry.hash, kind })
    }

    fn damaged(&self) -> PlanError {
        PlanError::Hash { section: self.kind.name() }
    }

    /// The bytes, if they have the hash.
    fn checked(self) -> Result<Bytes, PlanError> {
        if *hash(&self.bytes).as_bytes() == self.hash { Ok(self.bytes) } else { Err(self.damaged()) }
    }
}

/// The weights with their hashes, if they have those that their records name.
fn check_weights(
    records: &[wire::Weight],
    weights: Vec<PlanWeight>,
    section: &Section,
) -> Result<Vec<PlanWeight>, PlanError> {
    let elements: Vec<&[u8]> = weights.iter().map(|weight| weight.tensor().bytes()).collect();
    // Weights that share bytes would take a reader longer than the file is long.
    if elements.iter().fold(0usize, |sum, part| sum.saturating_add(part.len())) > section.bytes.len() {
        return Err(PlanError::damaged("weights overlap"));
    }
    let hashes = hash_all(&elements);
    let is_named = |(record, hash): (&wire::Weight, &Hash)| record.hash == hash.as_bytes();
    if !records.iter().zip(&hashes).all(is_named) || *of_hashes(&hashes).as_bytes() != section.hash {
        return Err(section.damaged());
    }
    let checked = |(weight, hash): (PlanWeight, &Hash)| weight.checked(*hash.as_bytes());
    Ok(weights.into_iter().zip(&hashes).map(checked).collect())
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
    Ok(PlanWeight::new(record.name.clone(), tensor.map_err(|e| wrong(&e))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, BufferId, Graph, Home, PlanValue, PlanValueId, Port, Step, WeightId};
    use crate::report::{Refused, Report, Verification};
    use crate::shape_program::ShapeCompiler;
    use sinter_backend::{Recipe, Region, Target};
    use sinter_base::{Attr, Dim, KnownValue, TensorType};
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
            target: Target {
                bytes_per_second: 12e9,
                operations_per_second: vec![(DataType::F32, 8e10)],
                ..Target::unknown("cpu", "avx2", 2)
            },
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
            weights: vec![PlanWeight::new("w".to_owned(), Tensor::from_vec(&[3], vec![1f32, 2.0, 3.0]).unwrap())],
            shapes,
            guards: Vec::new(),
            sealed: None,
            report: Some(report()),
        }
    }

    fn report() -> Report {
        let verification = Verification { skipped: Some("verification is off".to_owned()), ..Verification::default() };
        let refused = Refused { steps: vec![0], refusals: vec![("cpu.t".into(), "no f32".into())] };
        Report { verification, passes: Vec::new(), refused: vec![refused] }
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
        let metadata = (24 + 3 * 56 + 32usize).next_multiple_of(WEIGHT_ALIGNMENT);
        assert_eq!(damaged(metadata + 5), [false, false], "in the metadata");
        let report = metadata + entry(&bytes, 0).length.get() as usize;
        assert_eq!(damaged(report.next_multiple_of(WEIGHT_ALIGNMENT) + 5), [false, false], "in the report");
        assert!(from_bytes(bytes.clone().into(), Trust::Nothing).unwrap().weights[0].hash().is_some());
        assert!(from_bytes(bytes.into(), Trust::Weights).unwrap().weights[0].hash().is_none(), "nobody checked it");
    }

    #[test]
    fn damage_behind_valid_hashes_is_noticed() {
        let mut cyclic = plan();
        cyclic.graph.steps[0].inputs[0] = Some(PlanValueId::new(2));
        assert!(matches!(from_bytes(to_bytes(&cyclic).into(), Trust::Nothing), Err(PlanError::Damaged(_))));
        let mut outside = plan();
        outside.graph.values[1].home = Home::Weight(WeightId::new(9));
        assert!(from_bytes(to_bytes(&outside).into(), Trust::Nothing).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        for plan in [&cyclic, &outside] {
            assert!(matches!(write(&path, plan), Err(PlanError::Unreadable(_))), "nobody could open it");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn contents_may_be_any_number() {
        let edges = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX].map(Dim::constant);
        let ty = TensorType::ranked(DataType::I64, vec![5i64.into()]).with_value(KnownValue::Ints(edges.to_vec()));
        let ty = ValueType::Tensor(ty);
        assert_eq!(codec::decode_type(&codec::encode_type(&ty), 0).unwrap(), ty);
    }

    /// An entry of the table.
    fn entry(bytes: &[u8], number: usize) -> Entry {
        Entry::read_from_bytes(&bytes[24 + number * 56..][..56]).unwrap()
    }

    /// The head with its hash computed anew.
    fn rehashed(mut bytes: Vec<u8>, change: impl Fn(&mut [u8])) -> Bytes {
        let head = 24 + 3 * 56;
        change(&mut bytes[..head]);
        let hash = blake3::hash(&bytes[..head]);
        bytes[head..head + HASH].copy_from_slice(hash.as_bytes());
        bytes.into()
    }

    #[test]
    fn a_report_is_part_of_the_plan_and_may_be_absent() {
        let bare = Plan { report: None, ..plan() };
        assert_eq!(from_bytes(to_bytes(&bare).into(), Trust::Nothing).unwrap(), bare);
        let mut wrong = plan();
        wrong.report.as_mut().unwrap().refused[0].steps[0] = 1;
        assert!(from_bytes(to_bytes(&wrong).into(), Trust::Nothing).is_err(), "there is no such step");
    }

    #[test]
    fn newer_versions_say_so_and_none_is_taken_for_another() {
        let version = |version: u8| {
            let mut bytes = to_bytes(&plan());
            bytes[8] = version;
            from_bytes(bytes.into(), Trust::Nothing)
        };
        assert!(matches!(version(4), Err(PlanError::Version { found: 4, .. })));
        assert!((0..=2).all(|older| version(older).is_err()));
        assert!(version(3).is_ok());
    }

    #[test]
    fn sections_that_are_hidden_or_doubled_are_noticed() {
        assert!(from_bytes(rehashed(to_bytes(&plan()), |_| ()), Trust::Nothing).is_ok());
        for number in 0..3 {
            let hidden = rehashed(to_bytes(&plan()), |head| head[24 + number * 56] = 99);
            assert!(matches!(from_bytes(hidden, Trust::Nothing), Err(PlanError::Damaged(_))), "section {number}");
        }
        let moved = rehashed(to_bytes(&plan()), |head| head[24 + 56 + 8] ^= 64);
        assert!(matches!(from_bytes(moved, Trust::Nothing), Err(PlanError::Hash { section: "report" })));
        let many = rehashed(to_bytes(&plan()), |head| head[12] = 200);
        assert!(from_bytes(many, Trust::Nothing).is_err());
    }
}
