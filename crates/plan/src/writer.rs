//! Writing plan files.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use blake3::Hash;
use prost::Message;
use sinter_backend::Code;
use sinter_base::TensorType;
use sinter_base::replace::replace;
use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U32;

use crate::codec;
use crate::container::{
    ALIGNMENT, Entry, HASH, Header, Kind, MAGIC, PAGE, VERSION, check_programs, interface, of_hashes, padding, wide,
};
use crate::error::PlanError;
use crate::hash::hash_all;
use crate::plan::{Plan, PlanWeight};
use crate::reader::assemble;
use crate::report_codec;
use crate::wire;

/// A section of pieces that several programs may share.
#[derive(Default)]
struct Pieces<'a> {
    pieces: Vec<&'a [u8]>,
    hashes: Vec<Hash>,
    /// The offset of each piece, by its hash.
    offsets: HashMap<Hash, usize>,
    length: usize,
}

impl<'a> Pieces<'a> {
    /// Adds pieces; returns the offset and hash of each.
    fn add(&mut self, pieces: &[&'a [u8]]) -> Vec<(usize, Hash)> {
        let hashes = hash_all(pieces);
        let place = |(piece, hash): (&&'a [u8], Hash)| {
            let offset = *self.offsets.entry(hash).or_insert_with(|| {
                let offset = self.length.next_multiple_of(ALIGNMENT);
                self.length = offset + piece.len();
                self.pieces.push(piece);
                self.hashes.push(hash);
                offset
            });
            (offset, hash)
        };
        pieces.iter().zip(hashes).map(place).collect()
    }

    /// Hands the section to a writer.
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut position = 0;
        for piece in &self.pieces {
            for bytes in [padding(position, ALIGNMENT), piece] {
                to.write_all(bytes)?;
                position += bytes.len();
            }
        }
        Ok(())
    }
}

fn weight_record(weight: &PlanWeight, offset: usize, hash: &[u8]) -> wire::Weight {
    let tensor = weight.tensor();
    let ty = TensorType::new(tensor.data_type(), tensor.sizes().into());
    wire::Weight {
        name: weight.name.clone(),
        r#type: Some(codec::encode_type(&ty.into())),
        offset: wide(offset),
        length: wide(tensor.bytes().len()),
        strings: tensor.strings().map(<[String]>::to_vec).unwrap_or_default(),
        hash: hash.to_vec(),
    }
}

fn code_record(code: &Code, offset: usize, hash: &[u8]) -> wire::Code {
    wire::Code { offset: wide(offset), length: wide(code.0.len()), hash: hash.to_vec() }
}

/// Would a reader accept the plan? The writer reads back everything but weights and machine code, whose bytes it does
/// not change.
///
/// # Errors
/// [`PlanError::Unreadable`] when a reader would refuse it.
fn check_readable(plan: &Plan) -> Result<(), PlanError> {
    let weights = plan.weights.iter().map(|weight| weight_record(weight, 0, &[])).collect();
    let code = plan.code.iter().map(|code| code_record(code, 0, &[])).collect();
    let metadata = codec::encode(plan, weights, code);
    let report = report_codec::encode(plan.report.as_ref());
    let again = assemble(&metadata, &report, plan.weights.clone(), plan.code.clone());
    again.map(drop).map_err(|error| PlanError::Unreadable(Box::new(error)))
}

/// The whole file as bytes. Equal plans give equal bytes.
pub fn to_bytes(plan: &Plan) -> Vec<u8> {
    programs_to_bytes(&[plan])
}

/// As [`to_bytes`], for a file of several programs.
pub fn programs_to_bytes(programs: &[&Plan]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing to memory cannot fail.
    let _ = write_to(programs, &mut bytes);
    bytes
}

/// Writes the file to a stream. It reads the weights twice, to hash and to write them, and makes no copy of them.
///
/// # Errors
/// Errors of the stream.
pub fn write_to(programs: &[&Plan], to: &mut impl Write) -> io::Result<()> {
    let (mut weights, mut code) = (Pieces::default(), Pieces::default());
    let mut sections = Vec::new();
    for plan in programs {
        let placed = weights.add(&plan.weights.iter().map(|weight| weight.tensor().bytes()).collect::<Vec<_>>());
        let weight =
            |(weight, (offset, hash)): (&PlanWeight, (usize, Hash))| weight_record(weight, offset, hash.as_bytes());
        let weight_records = plan.weights.iter().zip(placed).map(weight).collect();
        let placed = code.add(&plan.code.iter().map(|code| code.0.as_ref()).collect::<Vec<_>>());
        let piece = |(code, (offset, hash)): (&Code, (usize, Hash))| code_record(code, offset, hash.as_bytes());
        let code_records = plan.code.iter().zip(placed).map(piece).collect();
        let metadata = codec::encode(plan, weight_records, code_records).encode_to_vec();
        sections.push((Kind::Metadata, sections.len() / 2, metadata));
        sections.push((Kind::Report, sections.len() / 2, report_codec::encode(plan.report.as_ref())));
    }
    let hashes = |pieces: &Pieces<'_>| of_hashes(pieces.hashes.iter().map(|hash| hash.as_bytes().as_slice()));
    let described =
        sections.iter().map(|(kind, program, bytes)| (*kind, *program, bytes.len(), ALIGNMENT, blake3::hash(bytes)));
    let pieces = [
        (Kind::Code, 0, code.length, ALIGNMENT, hashes(&code)),
        (Kind::Weights, 0, weights.length, PAGE, hashes(&weights)),
    ];
    let mut offset = size_of::<Header>() + (sections.len() + pieces.len()) * size_of::<Entry>() + HASH;
    let mut entries = Vec::new();
    for (kind, program, length, alignment, hash) in described.chain(pieces) {
        offset = offset.next_multiple_of(alignment);
        entries.push(Entry {
            kind: kind.code().into(),
            program: U32::new(u32::try_from(program).unwrap_or(u32::MAX)),
            offset: wide(offset).into(),
            length: wide(length).into(),
            hash: *hash.as_bytes(),
        });
        offset += length;
    }
    let header = Header {
        magic: MAGIC,
        version: VERSION.into(),
        sections: U32::new(u32::try_from(entries.len()).unwrap_or(0)),
        length: wide(offset).into(),
    };
    let mut head = header.as_bytes().to_vec();
    entries.iter().for_each(|entry| head.extend_from_slice(entry.as_bytes()));
    head.extend_from_slice(blake3::hash(&head).as_bytes());
    to.write_all(&head)?;
    let mut position = head.len();
    for (_, _, bytes) in &sections {
        let padding = padding(position, ALIGNMENT);
        to.write_all(padding)?;
        to.write_all(bytes)?;
        position += padding.len() + bytes.len();
    }
    to.write_all(padding(position, ALIGNMENT))?;
    code.write(to)?;
    position = position.next_multiple_of(ALIGNMENT) + code.length;
    to.write_all(padding(position, PAGE))?;
    weights.write(to)
}

/// Writes a plan to a temporary file beside the target and renames it when it is complete and on disk.
///
/// # Errors
/// When the file cannot be written, or could not be opened again; no partial file stays.
pub fn write(path: &Path, plan: &Plan) -> Result<(), PlanError> {
    write_programs(path, &[plan])
}

/// As [`write`], for a file of several programs: plans of one network, the preferred one first.
///
/// # Errors
/// As [`write`], and when there is none, or they differ in inputs or outputs.
pub fn write_programs(path: &Path, programs: &[&Plan]) -> Result<(), PlanError> {
    programs.iter().try_for_each(|plan| check_readable(plan))?;
    let interfaces: Vec<_> = programs.iter().map(|plan| interface(plan)).collect();
    check_programs(&interfaces).map_err(|error| PlanError::Unreadable(Box::new(error)))?;
    replace(path, |file| write_to(programs, file)).map_err(|source| PlanError::Io { path: path.to_owned(), source })
}
