//! `sinter doctor`, `demo` and `completions`: commands without files.

use std::process::Command;

use crate::fixture::{arguments, code, json, sinter, text};

#[test]
fn the_doctor_knows_the_machine() {
    let report = json(&["doctor"]);
    assert_eq!(report["back_ends"][0]["name"], "cpu");
    assert!(report["back_ends"][0]["tactics"].as_u64().unwrap() > 50);
    assert!(report["threads"].as_u64().unwrap() >= 1);
    assert!(report["max_memory_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_forced_tier_is_used_and_a_misspelt_one_ends_every_command() {
    let forced = |tier: &str, arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_sinter")).env("SINTER_CPU", tier).args(arguments).output().unwrap()
    };
    let report: serde_json::Value =
        serde_json::from_slice(&forced("scalar", &["doctor", "--json", "-"]).stdout).unwrap();
    assert_eq!(report["tier_in_use"], "scalar");
    let file = |command| [command, "none.onnx"];
    let commands = ["build", "run", "bench", "diff", "inspect"].map(file);
    for arguments in commands.iter().map(|c| &c[..]).chain([&["doctor"][..], &["demo"], &["completions", "bash"]]) {
        let output = forced("abacus", arguments);
        let errors = text(&output.stderr);
        assert_eq!(code(&output), 2, "{arguments:?}: {errors}");
        assert!(errors.contains("SINTER_CPU is 'abacus'") && errors.contains("scalar, avx2, avx512"), "{errors}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_demo_answers_digits_that_it_never_saw() {
    let report = json(&arguments!["demo"]);
    assert_eq!(report["images"], 360);
    assert!(report["accuracy"].as_f64().unwrap() >= 0.97, "{report:#}");
    assert!(report["model_bytes"].as_u64().unwrap() < 200_000);
    assert_eq!(report["verification"]["within"], true);
    assert!(!report["fused"].as_array().unwrap().is_empty(), "{report:#}");
}

#[test]
fn the_demo_draws_digits() {
    let output = sinter(&["demo"]);
    let shown = text(&output.stdout);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(shown.contains("██") && shown.contains("accuracy") && shown.contains(" %), is "), "{shown}");
}

#[test]
fn completions_know_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = text(&sinter(&["completions", shell]).stdout);
        assert!(["build", "bench", "shapes"].iter().all(|word| script.contains(word)), "{shell}");
    }
    assert_eq!(json(&["completions", "bash"])["shell"], "bash");
}
