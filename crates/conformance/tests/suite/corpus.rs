//! The seeds of the fuzz targets, replayed: our models and plans, damaged ones, and every file that once caused a
//! failure.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use sinter_conformance::fuzz::{CORPUS, TARGETS};

/// The whole corpus stays small enough to be looked at.
const MAX_BYTES: usize = 300_000;

#[test]
fn seeds_never_panic() {
    let mut total = 0;
    for (target, body) in TARGETS {
        let (mut files, mut taken) = (0, 0);
        for entry in std::fs::read_dir(Path::new(CORPUS).join(target)).expect("the seeds of a target") {
            let path = entry.expect("a seed").path();
            let bytes = std::fs::read(&path).expect("a seed");
            total += bytes.len();
            match catch_unwind(AssertUnwindSafe(|| body(bytes.into()))) {
                Ok(past_reader) => taken += usize::from(past_reader),
                Err(_) => panic!("{target}: {} panics", path.display()),
            }
            files += 1;
        }
        println!("{target}: {taken} of {files} seeds got past the reader");
        assert!(taken >= 3 && taken < files, "{target}: {taken} of {files} seeds got past the reader");
    }
    assert!(total <= MAX_BYTES, "{total} bytes of seeds, {MAX_BYTES} are enough");
}

#[test]
fn every_target_has_seeds_and_a_body() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/fuzz_targets");
    let entries = std::fs::read_dir(folder).expect("the fuzz targets");
    let files: BTreeSet<String> =
        entries.map(|e| e.expect("a target").file_name().to_string_lossy().replace(".rs", "")).collect();
    let bodies: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, bodies);
}
