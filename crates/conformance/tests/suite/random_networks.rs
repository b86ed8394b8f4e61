//! Random networks: no panic, no wrong value, no kernel that verification drops.

use sinter_conformance::random::campaign;

/// Networks of every run of the tests; `cargo xtask random COUNT` runs more.
const COUNT: u64 = 1_000;

#[test]
fn a_thousand_agree_with_the_judge() {
    let told = |fault: &campaign::Fault| println!("seed {}: {}\n{}\n", fault.seed, fault.reason, fault.text);
    let summary = campaign::run(0..COUNT, &told);
    println!("{} agreed, {} refused", summary.agreed, summary.refused);
    let seeds: Vec<u64> = summary.faults.iter().map(|fault| fault.seed).collect();
    assert!(seeds.is_empty(), "seeds {seeds:?}");
    assert!(summary.agreed as u64 >= COUNT * 9 / 10, "only {} were built", summary.agreed);
    let missing: Vec<&str> = sinter_ops::catalog::ALL.iter().map(|info| info.name).collect();
    let missing: Vec<&str> = missing.into_iter().filter(|name| !summary.operators.contains_key(name)).collect();
    // The reference executor and the engine draw different random numbers.
    assert_eq!(missing, ["RandomFill"], "operators that no network has");
}
