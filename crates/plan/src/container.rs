//! The file: a header, a table of sections, sections. It holds one or more programs: plans of one network, each for another
//! target, which share weights and machine code.
//!
//! ```text
//! 0    magic "SINTERPL", version, number of sections, length of the file
//! 24   one entry of 56 bytes per section: kind, program, offset, length, BLAKE3 hash
//! ..   since version 3: BLAKE3 of all that stands before, 32 bytes
//! ..   metadata (protobuf); since version 4: of each program
//! ..   since version 3: report (protobuf); since version 4: of each program
//! ..   since version 4: machine code, each piece at a multiple of 64 bytes
//! ..   weights, each at a multiple of 64 bytes, the section at a multiple of 4096
//! ```
//! All numbers are little-endian. A reader skips unknown kinds.
//!
//! The hash of a section covers its bytes. Since version 3, the hash of weights and of machine code covers the hashes
//! of all their pieces, in the order of the section; the metadata holds the hash of each piece. So a weight has the
//! same hash in every plan, and the file stores equal pieces once.

use blake3::Hash;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::PlanError;
use crate::plan::{Plan, Port};

pub(crate) const MAGIC: [u8; 8] = *b"SINTERPL";

/// The format version that the writer writes, and the newest that the reader reads.
pub const VERSION: u32 = 4;

/// The first version with a report, a hash of the header and hashes of weights.
pub(crate) const REPORTING: u32 = 3;

/// The first version with several programs and machine code.
pub(crate) const PROGRAMS: u32 = 4;

/// Number of sections of older versions. A newer plan with a changed version number has another one, and is refused.
pub(crate) const OLD_SECTIONS: usize = 2;
pub(crate) const REPORTING_SECTIONS: usize = 3;

pub(crate) const ALIGNMENT: usize = 64;
pub(crate) const PAGE: usize = 4096;
/// Limit on the programs of a file.
pub(crate) const MAX_PROGRAMS: usize = 16;
pub(crate) const MAX_SECTIONS: usize = 64;
pub(crate) const HASH: usize = blake3::OUT_LEN;

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) version: U32,
    pub(crate) sections: U32,
    pub(crate) length: U64,
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) kind: U32,
    pub(crate) program: U32,
    pub(crate) offset: U64,
    pub(crate) length: U64,
    pub(crate) hash: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Metadata,
    Weights,
    Report,
    Code,
}

impl Kind {
    pub(crate) fn code(self) -> u32 {
        match self {
            Kind::Metadata => 1,
            Kind::Weights => 2,
            Kind::Report => 3,
            Kind::Code => 4,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Metadata => "metadata",
            Kind::Weights => "weights",
            Kind::Report => "report",
            Kind::Code => "machine code",
        }
    }
}

pub(crate) fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

pub(crate) fn narrow(value: u64) -> Result<usize, PlanError> {
    usize::try_from(value).map_err(|_| PlanError::damaged(format!("{value} bytes")))
}

/// Zeros up to the next multiple of an alignment.
pub(crate) fn padding(position: usize, alignment: usize) -> &'static [u8] {
    static ZEROS: [u8; PAGE] = [0; PAGE];
    ZEROS.get(..position.next_multiple_of(alignment) - position).unwrap_or(&ZEROS)
}

/// The hash of a section of pieces, from those of the pieces.
pub(crate) fn of_hashes<'a>(hashes: impl Iterator<Item = &'a [u8]>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    hashes.for_each(|hash| {
        hasher.update(hash);
    });
    hasher.finalize()
}

/// Names and types of inputs and outputs.
pub(crate) type Interface<'a> = [Vec<(&'a str, String)>; 2];

pub(crate) fn interface(plan: &Plan) -> Interface<'_> {
    [&plan.inputs, &plan.outputs].map(|ports| {
        let port = |port: &'_ Port| {
            plan.graph.values.get(port.value.index()).map(|value| value.ty.to_string()).unwrap_or_default()
        };
        ports.iter().map(|own| (own.name.as_str(), port(own))).collect()
    })
}

/// # Errors
/// When there are none, too many, or they differ.
pub(crate) fn check_programs(interfaces: &[Interface<'_>]) -> Result<(), PlanError> {
    if interfaces.is_empty() || interfaces.len() > MAX_PROGRAMS {
        return Err(PlanError::damaged(format!("{} programs", interfaces.len())));
    }
    match interfaces.iter().any(|other| interfaces.first() != Some(other)) {
        true => Err(PlanError::damaged("its programs differ in inputs or outputs")),
        false => Ok(()),
    }
}
