//! Sections of a plan file: finding them, and checking their hashes.

use blake3::Hash;
use bytes::Bytes;

use crate::container::{Entry, HASH, Kind, narrow, of_hashes};
use crate::error::PlanError;
use crate::hash::{hash, hash_all};

/// A range of a section.
pub(crate) fn piece(section: &Bytes, offset: u64, length: u64) -> Result<Bytes, PlanError> {
    let (offset, length) = (narrow(offset)?, narrow(length)?);
    let end = offset.checked_add(length).filter(|&end| end <= section.len());
    let end = end.ok_or_else(|| PlanError::damaged("it lies outside its section"))?;
    Ok(section.slice(offset..end))
}

/// A section, and the hash that its entry names.
pub(crate) struct Section {
    pub(crate) bytes: Bytes,
    hash: [u8; HASH],
    kind: Kind,
}

impl Section {
    pub(crate) fn find(bytes: &Bytes, entries: &[Entry], kind: Kind, program: usize) -> Result<Self, PlanError> {
        let is_it = |entry: &&Entry| {
            entry.kind.get() == kind.code() && usize::try_from(entry.program.get()).is_ok_and(|own| own == program)
        };
        let entry = entries.iter().find(is_it);
        let entry = entry.ok_or_else(|| PlanError::damaged(format!("it has no {} section", kind.name())))?;
        let section = piece(bytes, entry.offset.get(), entry.length.get());
        let outside = |_| PlanError::damaged(format!("the {} section lies outside the file", kind.name()));
        Ok(Self { bytes: section.map_err(outside)?, hash: entry.hash, kind })
    }

    pub(crate) fn damaged(&self) -> PlanError {
        PlanError::Hash { section: self.kind.name() }
    }

    pub(crate) fn check(&self) -> Result<(), PlanError> {
        if *hash(&self.bytes).as_bytes() == self.hash { Ok(()) } else { Err(self.damaged()) }
    }

    /// The bytes, after a check of their hash.
    pub(crate) fn checked(self) -> Result<Bytes, PlanError> {
        self.check()?;
        Ok(self.bytes)
    }

    /// Checks that all pieces have the hashes of their records, and the section the hash of those. Equal records name
    /// one shared piece.
    pub(crate) fn check_pieces<'a>(
        &self,
        is_shared: bool,
        records: impl Iterator<Item = (u64, u64, &'a [u8])>,
    ) -> Result<(), PlanError> {
        let mut pieces: Vec<(u64, u64, &[u8])> = records.collect();
        pieces.sort_unstable();
        if is_shared {
            pieces.dedup();
        }
        // A file whose pieces overlap could cost a reader far more time than its length suggests.
        let mut end = 0;
        let mut bytes = Vec::with_capacity(pieces.len());
        for (offset, length, _) in &pieces {
            if *offset < end {
                return Err(PlanError::damaged(format!("pieces of the {} section overlap", self.kind.name())));
            }
            end = offset.saturating_add(*length);
            bytes.push(piece(&self.bytes, *offset, *length)?);
        }
        let bytes: Vec<&[u8]> = bytes.iter().map(Bytes::as_ref).collect();
        let is_named = |((_, _, hash), found): (&(u64, u64, &[u8]), Hash)| *hash == found.as_bytes();
        let hashes = pieces.iter().map(|(_, _, hash)| *hash);
        match pieces.iter().zip(hash_all(&bytes)).all(is_named) && *of_hashes(hashes).as_bytes() == self.hash {
            true => Ok(()),
            false => Err(self.damaged()),
        }
    }
}
