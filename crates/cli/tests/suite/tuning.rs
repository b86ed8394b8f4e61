//! `--tune-seconds`, `--timing-cache`, `--locked`, `--verification-cache`.

use std::path::PathBuf;

use crate::fixture::{Folder, arguments, code, digits, json, onnx_in, shared_models, sinter, small_model, text};

/// Ends long before: the networks of these tests are small.
const SECONDS: &str = "60";

/// Convolutions, attention with dynamic dimensions, a detector, a recurrent network.
const MODELS: &[&str] = &["mnist8", "resnet-block", "bert-mini-dynamic", "yunet-n-320", "nnsplit-en"];

fn assert_reproducible(model: &PathBuf, name: &str) {
    let folder = Folder::new();
    let (timings, tuned, locked) = (folder.path("timings"), folder.path("tuned.plan"), folder.path("locked.plan"));
    let tune = ["--tune-seconds", SECONDS, "--timing-cache"].map(std::ffi::OsString::from);
    let mut all = arguments!["build", model, "--no-verify", "-o", tuned].to_vec();
    all.extend(tune);
    all.push(timings.clone().into());
    let report = json(&all);
    assert_eq!(report["tuning"]["untimed"], 0, "{name}: more than {SECONDS} s");
    assert!(report["tuning"]["timed"].as_u64().unwrap() > 0, "{name}");
    let before = std::fs::read(&timings).unwrap();
    json(&arguments!["build", model, "--no-verify", "-o", locked, "--locked", "--timing-cache", timings]);
    assert!(std::fs::read(&tuned).unwrap() == std::fs::read(&locked).unwrap(), "{name}: the locked plan differs");
    assert_eq!(std::fs::read(&timings).unwrap(), before, "a locked build changes nothing");
    assert_eq!(folder.names(), ["locked.plan", "timings", "tuned.plan"]);
}

#[test]
fn a_tuned_plan_can_be_made_again_from_its_timings() {
    assert_reproducible(&digits(), "digits");
    let Some(models) = shared_models() else { return };
    for name in MODELS {
        let model = onnx_in(&models.join(name));
        assert_reproducible(&model, name);
    }
}

#[test]
fn the_report_shows_what_was_offered_timed_refused_and_chosen() {
    let folder = Folder::new();
    let plan = folder.path("p");
    let report = json(&arguments!["build", digits(), "-o", plan, "--tune-seconds", SECONDS]);
    let regions = report["regions"].as_array().unwrap();
    let candidates = || regions.iter().flat_map(|r| r["candidates"].as_array().unwrap());
    assert!(candidates().any(|c| c["time_us"].as_f64().is_some_and(|time| time > 0.0) && c["chosen"] == true));
    assert!(candidates().any(|c| c["not_timed"].is_string()), "{report:#}");
    assert!(regions.iter().any(|r| r["steps"] == 0), "alternatives that lost are shown");
    assert!(regions.iter().any(|r| !r["refusals"].as_array().unwrap().is_empty()));
    // The plan by times is taken where it wins as a whole engine; there whoever is chosen has the best time.
    let engines = &report["tuning"]["engines"];
    let time = |name: &str| engines[name].as_f64().unwrap();
    assert!(engines.is_null() || engines["by_times"] == (time("by_times_ms") < 0.98 * time("by_estimates_ms")));
    for region in regions.iter().filter(|_| engines["by_times"] != false) {
        let candidates = region["candidates"].as_array().unwrap();
        let best = candidates.iter().filter_map(|c| c["time_us"].as_f64()).fold(f64::INFINITY, f64::min);
        let chosen = candidates.iter().filter(|c| c["chosen"] == true).filter_map(|c| c["time_us"].as_f64());
        chosen.for_each(|time| assert!(time <= best, "{region:#}"));
    }
    let untuned = json(&arguments!["build", digits(), "-o", plan]);
    assert!(untuned["tuning"].is_null());
    let reason = &untuned["regions"][0]["candidates"][0]["not_timed"];
    assert_eq!(reason, "the build is not tuned");
    let output = sinter(&arguments!["inspect", digits(), "--explain", "conv1", "--tune-seconds", SECONDS]);
    assert!(text(&output.stdout).contains("us measured"), "{}", text(&output.stdout));
}

#[test]
fn the_budget_is_honoured() {
    let folder = Folder::new();
    let report = json(&arguments!["build", digits(), "-o", folder.path("p"), "--tune-seconds", "0.002"]);
    assert!(report["tuning"]["untimed"].as_u64().unwrap() > 0, "{}", report["tuning"]);
    assert!(report["tuning"]["seconds"].as_f64().unwrap() <= 0.002);
}

#[test]
fn a_locked_build_names_what_is_missing() {
    let folder = Folder::new();
    let (model, timings) = (small_model(&folder), folder.path("timings"));
    let output = sinter(&arguments!["build", model, "--locked", "--timing-cache", timings]);
    assert_eq!(code(&output), 2);
    let message = text(&output.stderr);
    assert!(message.contains("timings are missing for cpu.") && message.contains("cpu.pointwise."), "{message}");
    assert!(message.contains("--tune-seconds"), "{message}");
    assert_eq!(folder.names(), ["small.onnxtxt"]);
    // Another number of threads is another device; the message says what there is.
    sinter(&arguments!["build", model, "--tune-seconds", "9", "--timing-cache", timings, "--threads", "1"]);
    let output = sinter(&arguments!["build", model, "--locked", "--timing-cache", timings, "--threads", "2"]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("there are some for cpu."), "{}", text(&output.stderr));
}

#[test]
fn flags_that_make_no_sense_and_files_that_are_no_caches_are_refused() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let thesis = folder.write("thesis", "all my work\n");
    let cut = folder.write("cut", "sinter timings 1 00\n{}\n");
    for (flags, exit) in [
        (arguments!["--timing-cache", thesis].to_vec(), 2),
        (arguments!["--locked"].to_vec(), 2),
        (arguments!["--tune-seconds", "-1"].to_vec(), 2),
        (arguments!["--tune-seconds", "soon"].to_vec(), 2),
        (arguments!["--tune-seconds", "1", "--timing-cache", thesis].to_vec(), 2),
        (arguments!["--verification-cache", thesis].to_vec(), 2),
        (arguments!["--tune-seconds", "1", "--timing-cache", cut].to_vec(), 3),
        (arguments!["--locked", "--timing-cache", cut].to_vec(), 3),
    ] {
        let mut all = arguments!["build", model].to_vec();
        all.extend(flags.clone());
        let output = sinter(&all);
        assert_eq!(code(&output), exit, "{flags:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).starts_with("error"), "{flags:?}");
    }
    assert_eq!(folder.names(), ["cut", "small.onnxtxt", "thesis"]);
    assert_eq!(std::fs::read(&thesis).unwrap(), b"all my work\n");
}

#[test]
fn a_known_verification_gives_the_same_plan_without_the_judge() {
    let folder = Folder::new();
    let (results, first, second) = (folder.path("results"), folder.path("1.plan"), folder.path("2.plan"));
    let without = json(&arguments!["build", digits(), "-o", folder.path("0.plan")]);
    let asked = json(&arguments!["build", digits(), "-o", first, "--verification-cache", results]);
    let known = json(&arguments!["build", digits(), "-o", second, "--verification-cache", results]);
    assert_eq!((&asked["known_verification"], &known["known_verification"]), (&false.into(), &true.into()));
    assert_eq!(without["verification"], known["verification"]);
    let plan = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert!(plan("0.plan") == plan("1.plan") && plan("1.plan") == plan("2.plan"));
    // Other passes, another number of threads, another model: other results.
    for other in [
        arguments!["build", digits(), "--disable", "channel-scales"].to_vec(),
        arguments!["build", digits(), "--threads", "7"].to_vec(),
        arguments!["build", small_model(&folder)].to_vec(),
    ] {
        let mut all = other;
        all.extend(arguments!["-o", folder.path("3.plan"), "--verification-cache", results]);
        assert_eq!(json(&all)["known_verification"], false, "{all:?}");
    }
    // One that is damaged is made anew.
    let mut bytes = plan("results");
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(&results, bytes).unwrap();
    let output = sinter(&arguments!["build", digits(), "-o", second, "--verification-cache", results]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stderr).starts_with("warning: cache"), "{}", text(&output.stderr));
    assert_eq!(
        json(&arguments!["build", digits(), "-o", second, "--verification-cache", results])["known_verification"],
        true
    );
}
