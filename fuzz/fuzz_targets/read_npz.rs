//! See `sinter_conformance::fuzz::read_npz`.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    sinter_conformance::fuzz::read_npz(Bytes::copy_from_slice(data));
});
