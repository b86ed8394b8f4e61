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
    assert_eq!(report["inputs"][0]["type"], "f32[1, 1, 8, 8]", "free sizes are 1");
    assert!(report["activation_bytes"].as_u64().unwrap() > 0);
    let steps = report["profile"].as_array().unwrap();
    assert_eq!(steps.len() as u64, built["steps"].as_u64().unwrap());
    let percent: f64 = steps.iter().map(|s| s["percent"].as_f64().unwrap()).sum();
    assert!((percent - 100.0).abs() < 1e-6, "{percent}");
    assert!(steps.iter().all(|s| s["tactic"].as_str().unwrap().starts_with("cpu.")));
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
        let named = ["made up do not suit the model", "'look'", "outside axis 0 of 3", "give --inputs"];
        named.iter().for_each(|name| assert!(errors.contains(name), "{arguments:?}: {errors}"));
    }
    let inputs = folder.archive("x.npz", &[("x", &[3], &[9.0; 3])]);
    assert_eq!(code(&sinter(&arguments!["bench", plan, "--inputs", inputs])), 3);
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
