//! `sinter inspect`.

use crate::fixture::{Folder, arguments, code, digits, json, sinter, small_model, text};

#[test]
fn a_model_and_its_plan_look_alike() {
    let folder = Folder::new();
    let plan = folder.path("digits.plan");
    json(&arguments!["build", digits(), "-o", plan, "--threads", "2"]);
    let of_plan = json(&arguments!["inspect", plan]);
    let of_model = json(&arguments!["inspect", digits(), "--threads", "2"]);
    assert_eq!((&of_plan["kind"], &of_model["kind"]), (&"plan".into(), &"model".into()));
    for field in ["name", "device", "inputs", "outputs", "weights", "weight_bytes", "verification", "steps"] {
        assert_eq!(of_plan[field], of_model[field], "{field}");
    }
    assert!(of_plan["activation_bytes"].is_null(), "N is free");
    let pinned = json(&arguments!["inspect", digits(), "--shapes", "image:1x1x8x8"]);
    assert!(pinned["activation_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_plan_says_how_it_came_about() {
    let folder = Folder::new();
    let (plan, again) = (folder.path("digits.plan"), folder.path("again.plan"));
    let built = json(&arguments!["build", digits(), "-o", plan]);
    let report = json(&arguments!["inspect", plan]);
    assert_eq!(report["verification"], built["verification"]);
    assert!(report["verification"]["agreed"].as_u64().unwrap() > 0);
    let fired = |passes: &serde_json::Value| -> Vec<_> {
        let passes = passes.as_array().unwrap().iter().filter(|pass| pass["fired"] != 0);
        passes.map(|pass| (pass["pass"].clone(), pass["fired"].clone())).collect()
    };
    assert_eq!(fired(&report["passes"]), fired(&built["passes"]));
    let refused =
        report["steps"].as_array().unwrap().iter().any(|step| !step["refusals"].as_array().unwrap().is_empty());
    assert!(refused, "{report:#}");
    let explained = json(&arguments!["inspect", plan, "--explain", "conv1"]);
    let of_model = json(&arguments!["inspect", digits(), "--explain", "conv1"]);
    assert_eq!(explained["explanations"][0]["refusals"], of_model["explanations"][0]["refusals"]);
    json(&arguments!["build", digits(), "-o", again]);
    assert_eq!(std::fs::read(&plan).unwrap(), std::fs::read(&again).unwrap(), "a report holds no time and no path");
}

#[test]
fn a_plan_that_nobody_verified_says_so() {
    let folder = Folder::new();
    let plan = folder.path("digits.plan");
    json(&arguments!["build", digits(), "-o", plan, "--no-verify"]);
    let report = json(&arguments!["inspect", plan]);
    assert_eq!(report["verification"]["skipped"], "verification is off");
    let listing = text(&sinter(&arguments!["inspect", plan]).stdout);
    assert!(listing.contains("  unverified   verification is off\n"), "{listing}");
}

#[test]
fn a_choice_is_explained_with_candidates_and_refusals() {
    let report = json(&arguments!["inspect", digits(), "--explain", "conv1"]);
    let explanations = report["explanations"].as_array().unwrap();
    assert!(!explanations.is_empty());
    for explanation in explanations {
        let candidates = explanation["candidates"].as_array().unwrap();
        assert_eq!(candidates.iter().filter(|c| c["chosen"] == true).count(), 1, "{explanation:#}");
        assert!(explanation["origins"].to_string().contains("'conv1'"));
    }
    let with_conv = explanations.iter().find(|e| e["region"].as_str().unwrap().contains("Convolution")).unwrap();
    assert!(!with_conv["refusals"].as_array().unwrap().is_empty());
    let output = sinter(&arguments!["inspect", digits(), "--explain", "conv1"]);
    assert!(text(&output.stdout).contains("  chosen  cpu."), "{}", text(&output.stdout));
    assert_eq!(code(&sinter(&arguments!["inspect", digits(), "--explain", "conv"])), 2, "no node has this name");
}

/// Nothing is built for a node that is not there.
#[test]
fn a_node_that_is_not_there_is_told_at_once() {
    let start = std::time::Instant::now();
    let output = sinter(&arguments!["inspect", digits(), "--explain", "conv99", "--tune-seconds", "30"]);
    assert!(code(&output) == 2 && text(&output.stderr).contains("no step comes from a node 'conv99'"));
    assert!(start.elapsed().as_secs() < 10);
}

#[test]
fn steps_are_drawn() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let shown = text(&sinter(&arguments!["inspect", model, "--dot"]).stdout);
    assert!(shown.starts_with("digraph \"small\" {\n") && shown.ends_with("}\n"), "{shown}");
    for part in [
        "label=\"x\\nf32[N, 3]\"",
        "Pointwise\\ncpu.pointwise.",
        "Relu node 'relu'",
        "input0 -> step0",
        "step0 -> output0",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let drawing = folder.path("small.dot");
    let output = sinter(&arguments!["inspect", model, "--dot", drawing]);
    assert!(text(&output.stdout).contains("Relu node 'relu'") && code(&output) == 0);
    assert_eq!(std::fs::read_to_string(&drawing).unwrap(), shown);
    let both = sinter(&arguments!["inspect", model, "--dot", "--json", "-"]);
    assert!(code(&both) == 2 && both.stdout.is_empty() && text(&both.stderr).contains("--dot and --json"));
}

#[test]
fn the_listing_names_operators_and_sources() {
    let folder = Folder::new();
    let output = sinter(&arguments!["inspect", small_model(&folder)]);
    let listing = text(&output.stdout);
    assert_eq!(code(&output), 0);
    assert!(listing.contains("Relu node 'relu'") && listing.contains("f32[N, 3]"), "{listing}");
}
