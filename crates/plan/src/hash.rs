//! BLAKE3 of many byte ranges, on several cores. Threads hash the subtrees of a large range, which gives the same hash
//! (section 2.1 of the BLAKE3 paper).

use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};
use blake3::{Hash, Hasher};

/// Bytes that one thread hashes at a time: a subtree, hence a power of two; less does not pay for a thread.
const PIECE: usize = 4 << 20;

/// A small range, or a subtree of a large one.
struct Piece<'a> {
    /// Start of the subtree; `None` for a small range.
    offset: Option<usize>,
    bytes: &'a [u8],
    value: OnceLock<ChainingValue>,
}

impl Piece<'_> {
    fn value(&self) -> ChainingValue {
        *self.value.get_or_init(|| match self.offset {
            None => blake3::hash(self.bytes).into(),
            Some(offset) => {
                let offset = u64::try_from(offset).unwrap_or(u64::MAX);
                Hasher::new().set_input_offset(offset).update(self.bytes).finalize_non_root()
            }
        })
    }
}

/// The hash of one range.
pub(crate) fn hash(bytes: &[u8]) -> Hash {
    hash_all(&[bytes]).pop().unwrap_or_else(|| blake3::hash(bytes))
}

/// The hash of every range, on as many threads as the process may use.
pub(crate) fn hash_all(ranges: &[&[u8]]) -> Vec<Hash> {
    let mut pieces = Vec::new();
    for range in ranges {
        match halves(range) {
            None => pieces.push(Piece { offset: None, bytes: range, value: OnceLock::new() }),
            Some(_) => cut(0, range, &mut pieces),
        }
    }
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            piece.value();
        }
    };
    let bytes = ranges.iter().fold(0usize, |sum, range| sum.saturating_add(range.len()));
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(bytes.div_ceil(PIECE)).min(pieces.len());
    thread::scope(|scope| {
        for _ in 1..threads {
            // If the system provides no thread, hashing only takes longer.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut values = pieces.iter().map(Piece::value);
    let of_range = |range: &&[u8]| match halves(range) {
        None => values.next().unwrap_or_default().into(),
        Some((left, right)) => merge_subtrees_root(&merged(left, &mut values), &merged(right, &mut values), Mode::Hash),
    };
    ranges.iter().map(of_range).collect()
}

/// Both subtrees of a range that is larger than a piece.
fn halves(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    if bytes.len() <= PIECE {
        return None;
    }
    let left = left_subtree_len(u64::try_from(bytes.len()).ok()?);
    bytes.split_at_checked(usize::try_from(left).ok()?)
}

fn cut<'a>(offset: usize, bytes: &'a [u8], pieces: &mut Vec<Piece<'a>>) {
    match halves(bytes) {
        None => pieces.push(Piece { offset: Some(offset), bytes, value: OnceLock::new() }),
        Some((left, right)) => {
            cut(offset, left, pieces);
            cut(offset.saturating_add(left.len()), right, pieces);
        }
    }
}

/// The value of a subtree from the values of its pieces.
fn merged(bytes: &[u8], values: &mut dyn Iterator<Item = ChainingValue>) -> ChainingValue {
    match halves(bytes) {
        None => values.next().unwrap_or_default(),
        Some((left, right)) => merge_subtrees_non_root(&merged(left, values), &merged(right, values), Mode::Hash),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_one_thread() {
        let bytes: Vec<u8> =
            (0u32..(5 * PIECE + 4321) as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in [0, 1, 5000, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 1024, bytes.len()] {
            assert_eq!(hash(&bytes[..length]), blake3::hash(&bytes[..length]), "{length} bytes");
        }
        let ranges = [&bytes[..7], &bytes[7..PIECE + 100], &[], &bytes[PIECE..], &bytes[..PIECE]];
        assert_eq!(hash_all(&ranges), ranges.map(blake3::hash));
    }
}
