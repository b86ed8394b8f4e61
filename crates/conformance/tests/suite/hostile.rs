//! Damaged and hostile model files: an error or a network, never a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use sinter_import_onnx::decode::decode_binary;
use sinter_import_onnx::{ImportOptions, import_model};

const MUTATIONS: usize = 20_000;

/// splitmix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// One change of a kind that files suffer: flipped bits, other bytes, cuts, repeated and removed pieces.
fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let length = bytes.len();
    let at = random.below(length);
    match random.below(12) {
        0 => bytes.truncate(at),
        1 => {
            let end = (at + 1 + random.below(16)).min(length);
            bytes.drain(at..end);
        }
        2 => {
            let piece: Vec<u8> = bytes[at..(at + 1 + random.below(32)).min(length)].to_vec();
            bytes.splice(at..at, piece);
        }
        3..=5 => bytes[at] = random.next() as u8,
        6 => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
        _ => bytes[at] ^= 1 << random.below(8),
    }
}

/// Did it get past the decoder?
fn try_import(bytes: Vec<u8>) -> bool {
    let Ok(model) = decode_binary(Bytes::from(bytes)) else { return false };
    // Whether it imports is not the question here.
    let _ = import_model(&model, None, &ImportOptions::default());
    true
}

#[test]
fn mutated_models_never_panic() {
    let Some(data) = crate::onnx_data() else { return };
    let cases = sinter_conformance::onnx_cases::cases(&data, "node").expect("the node tests");
    let corpus: Vec<(String, Vec<u8>)> = cases
        .iter()
        .filter_map(|folder| Some((folder.display().to_string(), std::fs::read(folder.join("model.onnx")).ok()?)))
        .filter(|(_, bytes)| bytes.len() < 20_000)
        .collect();
    let mut random = Random(7);
    let mut decoded = 0;
    for round in 0..MUTATIONS {
        let (name, original) = &corpus[random.below(corpus.len())];
        let mut bytes = original.clone();
        for _ in 0..=random.below(3) {
            if !bytes.is_empty() {
                mutate(&mut bytes, &mut random);
            }
        }
        let kept = bytes.clone();
        match catch_unwind(AssertUnwindSafe(|| try_import(bytes))) {
            Ok(past_decoder) => decoded += usize::from(past_decoder),
            Err(_) => {
                let path = std::env::temp_dir().join("sinter-hostile.onnx");
                let _ = std::fs::write(&path, kept);
                panic!("round {round}, from {name}: a panic; the file is {}", path.display());
            }
        }
    }
    println!("{decoded} of {MUTATIONS} mutations got past the decoder");
    assert!(decoded * 10 >= MUTATIONS * 3, "only {decoded} of {MUTATIONS} mutations got past the decoder");
}

#[test]
fn files_that_are_no_models_say_so() {
    for bytes in [&b""[..], b"not a model", b"\x08", &[0xFF; 64], b"PK\x03\x04"] {
        assert!(decode_binary(Bytes::copy_from_slice(bytes)).is_err(), "{bytes:?}");
    }
    // Deep nesting: a graph inside an attribute inside a node inside a graph ... is refused by the decoder.
    let mut nested: Vec<u8> = Vec::new();
    for field in [0x3A, 0x0A, 0x2A, 0x32].iter().cycle().take(4000) {
        let mut outer = vec![*field];
        let mut length = nested.len();
        while length >= 0x80 {
            outer.push((length & 0x7F) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend(&nested);
        nested = outer;
    }
    let _ = try_import(nested);
}
