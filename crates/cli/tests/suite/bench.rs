//! `sinter bench`.

use crate::fixture::{Folder, arguments, code, digits, json, model, sinter, small_model, text};

#[test]
fn latencies_are_in_order_and_the_profile_covers_every_step() {
    let folder = Folder::new();
    let plan = folder.path("digits.plan");
    let built = json(&arguments!["build", digits(), "-o", plan]);
    let report = json(&arguments!["bench", plan, "--seconds", "0.05", "--warmup", "0", "--threads", "1", "--profile"]);
    let ms = |name: &str| report[name].as_f64().unwrap();
    let rising = ["min_ms", "median_ms", "p90_ms", "p95_ms", "p99_ms"].map(ms);
    assert!(rising[0] > 0.0 && rising.is_sorted(), "{rising:?}");
    assert!(report["runs"].as_u64().unwrap() >= 3);
    assert!((ms("throughput") * ms("mean_ms") / 1000.0 - 1.0).abs() < 0.01);
    assert_eq!(report["inputs"][0]["type"], "f32[1, 1, 8, 8]", "dynamic dimensions are 1");
    assert!(report["activation_bytes"].as_u64().unwrap() > 0);
    let steps = report["profile"].as_array().unwrap();
    assert_eq!(steps.len() as u64, built["steps"].as_u64().unwrap());
    let percent: f64 = steps.iter().map(|s| s["percent"].as_f64().unwrap()).sum();
    assert!((percent - 100.0).abs() < 1e-6, "{percent}");
    // A step without work has no tactic.
    assert!(steps.iter().all(|s| s["tactic"].as_str().is_none_or(|tactic| tactic.starts_with("cpu."))));
    assert!(steps.iter().any(|s| s["tactic"].is_string()));
    assert!(steps.iter().any(|s| s["origins"].to_string().contains("Conv node 'conv0'")));
}

#[test]
fn one_thread_is_one() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let first_line = |threads: &str| {
        let output = sinter(&arguments!["bench", model, "--seconds", "0", "--threads", threads]);
        text(&output.stdout).lines().next().unwrap().to_owned()
    };
    assert!(first_line("1").ends_with(", 1 thread") && first_line("2").ends_with(", 2 threads"), "{}", first_line("1"));
}

/// Whoever gave no inputs has not damaged anything.
#[test]
fn inputs_made_up_that_the_model_refuses_are_for_the_user_to_give() {
    let folder = Folder::new();
    let nodes = r#"node { op_type: "Constant" output: "k" attribute { name: "value_float" type: FLOAT f: 1e6 } }
        node { op_type: "Mul" input: "x" input: "k" output: "s" }
        node { op_type: "Cast" input: "s" output: "i" attribute { name: "to" type: INT i: 7 } }
        node { op_type: "Constant" output: "t" attribute { name: "value_floats" type: FLOATS floats: [1, 2, 3] } }
        node { name: "look" op_type: "Gather" input: "t" input: "i" output: "y" }"#;
    let model = folder.write("table.onnxtxt", model(nodes, &["dim { dim_value: 3 }"]));
    let plan = folder.path("table.plan");
    assert_eq!(code(&sinter(&arguments!["build", model, "--no-verify", "-o", plan])), 0);
    for arguments in [arguments!["bench", model], arguments!["diff", model], arguments!["bench", plan]] {
        let output = sinter(&arguments);
        let errors = text(&output.stderr);
        assert_eq!(code(&output), 2, "{arguments:?}: {errors}");
        let named = ["synthetic ones do not suit the model", "'look'", "outside axis 0 of 3", "give --inputs"];
        named.iter().for_each(|name| assert!(errors.contains(name), "{arguments:?}: {errors}"));
    }
    let inputs = folder.archive("x.npz", &[("x", &[3], &[9.0; 3])]);
    assert_eq!(code(&sinter(&arguments!["bench", plan, "--inputs", inputs])), 3);
}

#[test]
fn streams_share_the_runs() {
    let folder = Folder::new();
    let plan = folder.path("small.plan");
    json(&arguments!["build", small_model(&folder)]);
    let report = json(&arguments!["bench", plan, "--streams", "3", "--iterations", "8", "--threads", "1"]);
    assert_eq!((&report["streams"], &report["runs"]), (&3.into(), &8.into()));
    let shown = text(&sinter(&arguments!["bench", plan, "--streams", "2", "--iterations", "3"]).stdout);
    assert!(shown.contains("in 2 streams over 3 runs"), "{shown}");
    let refused = sinter(&arguments!["bench", plan, "--streams", "0"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_plan_is_measured_at_given_sizes() {
    let folder = Folder::new();
    let plan = folder.path("small.plan");
    json(&arguments!["build", small_model(&folder)]);
    let times = folder.path("times.json");
    let report = json(&arguments![
        "bench",
        plan,
        "--shapes",
        "x:4x3",
        "--iterations",
        "7",
        "--percentiles",
        "50,99.9",
        "--export-times",
        times
    ]);
    assert_eq!((&report["inputs"][0]["type"], &report["runs"]), (&"f32[4, 3]".into(), &7.into()));
    let number = |name: &str| report[name].as_f64().unwrap();
    assert!(number("max_ms") >= number("median_ms") && number("deviation_ms") >= 0.0);
    let asked = [("percent", 99.9), ("ms", number("max_ms"))];
    asked.iter().for_each(|(field, wanted)| assert_eq!(report["percentiles"][1][field], *wanted));
    assert_eq!(report["percentiles"][0]["ms"], report["median_ms"]);
    assert_eq!(report["batch"], 4);
    assert!((number("samples_per_second") / number("throughput") - 4.0).abs() < 1e-9);
    let exported: Vec<f64> = serde_json::from_slice(&std::fs::read(&times).unwrap()).unwrap();
    assert_eq!(exported.len(), 7);
    assert_eq!(exported.iter().copied().fold(0.0, f64::max), number("max_ms"));
    let shown = text(&sinter(&arguments!["bench", plan, "--shapes", "x:4x3", "--iterations", "3"]).stdout);
    assert!(shown.contains("max ") && shown.contains("samples/s, 4 each") && shown.contains("over 3 runs"), "{shown}");
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[0.0; 3])]);
    for (flags, named) in [
        (arguments!["--shapes", "x:4"].to_vec(), "[4], it is f32[N, 3]"),
        (arguments!["--shapes", "x:4,3"].to_vec(), "sizes stand with x between them, as in NAME:1x3"),
        (arguments!["--shapes", "x:4x3", "--inputs", inputs].to_vec(), "--shapes applies to models"),
        (arguments!["--percentiles", "101"].to_vec(), "is no percentage"),
        (arguments!["--iterations", "0"].to_vec(), "--iterations"),
        (arguments!["--iterations", "3", "--seconds", "1"].to_vec(), "--seconds"),
    ] {
        let mut all = arguments!["bench", plan].to_vec();
        all.extend(flags);
        let output = sinter(&all);
        assert!(code(&output) == 2 && text(&output.stderr).contains(named), "{all:?}: {}", text(&output.stderr));
    }
}

/// Cells apart by tabs, whole; a rate for what computes, and sums by operator.
#[test]
fn a_profile_has_rates_and_sums() {
    let arguments = arguments!["bench", digits(), "--shapes", "image:2x1x8x8", "--iterations", "3", "--profile"];
    let report = json(&arguments);
    let steps = report["profile"].as_array().unwrap();
    let conv = steps.iter().find(|step| step["operators"].to_string().contains("Convolution")).unwrap();
    let operations = conv["operations"].as_f64().unwrap();
    assert!((conv["gflops"].as_f64().unwrap() * conv["ms"].as_f64().unwrap() * 1e6 / operations - 1.0).abs() < 1e-9);
    let sum =
        |list: &serde_json::Value| list.as_array().unwrap().iter().map(|t| t["ms"].as_f64().unwrap()).sum::<f64>();
    assert!((sum(&report["profile"]) - sum(&report["operators"])).abs() < 1e-9);
    let counted: u64 = report["operators"].as_array().unwrap().iter().map(|t| t["steps"].as_u64().unwrap()).sum();
    assert_eq!(counted, steps.len() as u64);
    let shown = text(&sinter(&arguments).stdout);
    assert!(shown.contains("time\t%\tGFLOP/s\toperators\ttactic\tsource\n"), "{shown}");
    assert!(shown.lines().all(|line| !line.ends_with(' ') && !line.contains("    \t")), "{shown}");
}

#[test]
fn more_threads_than_processors_are_warned_of() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let output = sinter(&arguments!["bench", model, "--iterations", "1", "--threads", "1000"]);
    assert!(text(&output.stderr).starts_with("warning: --threads 1000 on "), "{}", text(&output.stderr));
    let plan = folder.path("small.plan");
    json(&arguments!["build", model, "--threads", "1"]);
    let shown =
        |threads: &str| text(&sinter(&arguments!["bench", plan, "--iterations", "1", "--threads", threads]).stdout);
    assert!(shown("1").lines().next().unwrap().ends_with(", 1 thread"), "{}", shown("1"));
    assert!(shown("2").lines().next().unwrap().ends_with(", 2 threads (built for 1)"), "{}", shown("2"));
    let listing = text(&sinter(&arguments!["inspect", plan]).stdout);
    assert!(listing.lines().next().unwrap().ends_with("with 1 thread"), "{listing}");
}

#[test]
fn models_are_measured_with_given_inputs_and_shapes() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[4, 3], &[1.0; 12])]);
    let report = json(&arguments!["bench", model, "--inputs", inputs, "--seconds", "0"]);
    assert_eq!((&report["inputs"][0]["type"], &report["runs"]), (&"f32[4, 3]".into(), &3.into()));
    assert!(report["profile"].is_null());
    let report = json(&arguments!["bench", model, "--shapes", "x:7x3", "--seconds", "0"]);
    assert_eq!(report["inputs"][0]["type"], "f32[7, 3]");
}
