//! The lean program from outside.

use std::process::Command;

#[test]
fn a_misspelt_tier_ends_the_program() {
    let mut lean = Command::new(env!("CARGO_BIN_EXE_sinter-lean"));
    let output = lean.env("SINTER_CPU", "abacus").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert!(errors.contains("SINTER_CPU is 'abacus'") && errors.contains("scalar, avx2, avx512"), "{errors}");
}
