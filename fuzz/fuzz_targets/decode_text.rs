//! See `sinter_conformance::fuzz::decode_text`.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    sinter_conformance::fuzz::decode_text(Bytes::copy_from_slice(data));
});
