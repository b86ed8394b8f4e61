//! `sinter doctor`, `demo` and `completions`: commands without files.

use std::process::Command;

use crate::fixture::{Folder, arguments, code, json, sinter, small_model, text};

#[test]
fn the_doctor_knows_the_machine() {
    let report = json(&["doctor"]);
    assert_eq!(report["back_ends"][0]["name"], "cpu");
    assert!(report["back_ends"][0]["tactics"].as_u64().unwrap() > 50);
    assert!(report["threads"].as_u64().unwrap() >= 1);
    assert!(report["max_memory_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn the_doctor_says_what_a_device_lacks() {
    let report = json(&["doctor"]);
    let cuda = report["back_ends"].as_array().unwrap().iter().find(|back_end| back_end["name"] == "cuda").unwrap();
    match cuda["missing"].as_str() {
        Some(missing) => assert!(missing.contains("CUDA") && cuda["target"].is_null(), "{cuda:#}"),
        None => assert!(!cuda["devices"].as_array().unwrap().is_empty(), "{cuda:#}"),
    }
}

#[test]
fn a_device_that_is_not_there_has_an_exit_code_of_its_own() {
    let folder = Folder::new();
    let (model, plan) = (small_model(&folder), folder.path("small.plan"));
    let build = |device: &str| sinter(&arguments!["build", &model, "--device", device, "-o", &plan]);
    let wrong = build("gpu");
    assert_eq!(code(&wrong), 2);
    assert!(text(&wrong.stderr).contains("cpu, cuda"), "{}", text(&wrong.stderr));
    for (device, reason) in
        [("cuda:1000", "CUDA"), ("cuda:sm_1", "sm_90a"), ("cuda:GPU-nothing", "CUDA"), ("cpu:7", "7")]
    {
        let output = build(device);
        let errors = text(&output.stderr);
        assert_eq!(code(&output), 4, "{device}: {errors}");
        assert!(errors.contains(reason), "{device}: {errors}");
        assert!(!plan.exists(), "{device}");
    }
    // A kind of device needs no device, but the compiler.
    let output = build("cuda:sm_90a");
    let errors = text(&output.stderr);
    match code(&output) {
        0 => assert!(errors.contains("not verified") && plan.exists(), "{errors}"),
        other => assert!(other == 4 && errors.contains("nvrtc") && !plan.exists(), "{errors}"),
    }
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
