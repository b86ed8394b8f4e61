//! That the program starts and its rows are there; no time is judged.

use std::process::Command;

use serde_json::Value as Json;

#[test]
fn one_small_problem_is_timed() {
    let run = |extra: &[&str]| {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_sinter-bench"));
        let output = bench.args(["cpu.matmul.determinant", "--rounds", "1"]).args(extra).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&[]);
    assert!(text.contains("GFLOP/s") && text.contains("cpu.matmul.determinant"), "{text}");
    let report: Json = serde_json::from_str(&run(&["--json", "-", "--every-type"])).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.iter().any(|row| row["data_type"] == "f64"));
    assert!(rows.iter().all(|row| row["ns"].as_f64().unwrap() > 0.0 && row["operator"] == "Determinant"));
}
