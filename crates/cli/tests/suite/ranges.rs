//! `--min-shapes`, `--opt-shapes`, `--max-shapes`: dynamic dimensions with bounds.

use crate::fixture::{Folder, arguments, code, json, model, sinter, small_model, text};

#[test]
fn bounded_sizes_are_checked_when_the_engine_runs() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let flags =
        ["--min-shapes", "x:2x3", "--opt-shapes", "x:4x3", "--max-shapes", "x:9x3"].map(std::ffi::OsString::from);
    let mut all = arguments!["build", small].to_vec();
    all.extend(flags);
    let report = json(&all);
    assert_eq!(report["ranges"], serde_json::json!([{"size": "N", "min": 2, "max": 9}]));
    assert_eq!(report["inputs"][0]["type"], "f32[N, 3]");
    assert!(report["verification"]["skipped"].is_null(), "{report:#}");
    let plan = folder.path("small.plan");
    let inspected = json(&arguments!["inspect", plan]);
    assert_eq!(inspected["conditions"], serde_json::json!(["the size 'N' is 2 to 9"]));
    // At the largest size, the one result of nine rows: 108 bytes, in units of 64.
    assert_eq!((&inspected["activation_bytes"], &report["activation_bytes"]), (&128.into(), &128.into()));
    assert_eq!(json(&arguments!["bench", plan, "--seconds", "0"])["inputs"][0]["type"], "f32[2, 3]");
    for (rows, wanted) in [(1, 2), (2, 0), (9, 0), (10, 2)] {
        let inputs = folder.archive("x.npz", &[("x", &[rows, 3], &vec![1.0; rows * 3])]);
        let output = sinter(&arguments!["run", plan, "--inputs", inputs]);
        assert_eq!(code(&output), wanted, "{rows} rows: {}", text(&output.stderr));
        if wanted != 0 {
            let message = text(&output.stderr);
            assert!(message.contains("input 'x' has the size"), "{message}");
            assert!(message.contains("along axis 0 ('N'), which may be 2 to 9"), "{message}");
        }
    }
}

#[test]
fn one_bound_alone_is_enough() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let report = json(&arguments!["build", small, "--max-shapes", "x:9x3"]);
    assert_eq!(report["ranges"], serde_json::json!([{"size": "N", "min": 0, "max": 9}]));
    let report = json(&arguments!["build", small, "--min-shapes", "x:5x3"]);
    assert_eq!(report["ranges"], serde_json::json!([{"size": "N", "min": 5, "max": null}]));
    assert!(report["activation_bytes"].is_null());
    // Where it is fastest bounds nothing.
    let report = json(&arguments!["build", small, "--opt-shapes", "x:5x3"]);
    assert_eq!(report["ranges"], serde_json::json!([]));
}

#[test]
fn kernels_are_timed_at_the_usual_sizes() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let problem = |flags: &[&str]| {
        let timings = folder.path("timings");
        let mut all = arguments!["build", small, "--tune-seconds", "60", "--timing-cache", timings].to_vec();
        all.extend(flags.iter().map(std::ffi::OsString::from));
        json(&all);
        let text = std::fs::read_to_string(&timings).unwrap();
        std::fs::remove_file(&timings).unwrap();
        text
    };
    assert!(problem(&["--opt-shapes", "x:77x3"]).contains("f32[77, 3]"));
    let data = folder.archive("data.npz", &[("x", &[33, 3], &[1.0; 99])]);
    assert!(problem(&["--verify-data", data.to_str().unwrap()]).contains("f32[33, 3]"));
    assert!(problem(&["--min-shapes", "x:5x3"]).contains("f32[5, 3]"), "a batch of one is out of the range");
    assert!(problem(&[]).contains("f32[1, 3]"));
}

#[test]
fn flags_that_contradict_the_model_or_each_other_are_refused() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let unranked = folder.write("unranked.onnxtxt", {
        let text = model(r#"node { name: "relu" op_type: "Relu" input: "x" output: "y" }"#, &[]);
        text.replacen("shape {  }", "", 1)
    });
    for (file, flags, named) in [
        (&small, &["--max-shapes", "z:1x3"][..], &["--max-shapes", "'z'", "it has x"][..]),
        (&small, &["--max-shapes", "x:1x4"], &["--max-shapes", "[1, 4]", "f32[N, 3]"]),
        (&small, &["--opt-shapes", "x:1"], &["--opt-shapes", "[1]", "f32[N, 3]"]),
        (&small, &["--min-shapes", "x:1x-3"], &["-3"]),
        (&small, &["--min-shapes", "x"], &["no colon"]),
        (
            &small,
            &["--min-shapes", "x:9x3", "--max-shapes", "x:2x3"],
            &["--min-shapes", "'N' as 9", "--max-shapes as 2"],
        ),
        (
            &small,
            &["--min-shapes", "x:9x3", "--opt-shapes", "x:2x3"],
            &["--min-shapes", "'N' as 9", "--opt-shapes as 2"],
        ),
        (
            &small,
            &["--opt-shapes", "x:9x3", "--max-shapes", "x:2x3"],
            &["--opt-shapes", "'N' as 9", "--max-shapes as 2"],
        ),
        (
            &small,
            &["--min-shapes", "x:1x3,x:9x3", "--max-shapes", "x:1x3", "--max-shapes", "x:8x3"],
            &["--min-shapes", "'N' as 9, --max-shapes as 8"],
        ),
        (&small, &["--shapes", "x:5x3", "--max-shapes", "x:9x3"], &["--max-shapes", "[9, 3]", "f32[5, 3]"]),
        (&unranked, &["--max-shapes", "x:9x3"], &["--max-shapes", "[9, 3]"]),
    ] {
        let mut all = arguments!["build", *file].to_vec();
        all.extend(flags.iter().map(std::ffi::OsString::from));
        let output = sinter(&all);
        let message = text(&output.stderr);
        assert_eq!(code(&output), 2, "{flags:?}: {message}");
        named.iter().for_each(|name| assert!(message.contains(name), "{flags:?} does not name '{name}': {message}"));
    }
    assert_eq!(folder.names(), ["small.onnxtxt", "unranked.onnxtxt"]);
}

/// The largest sizes bound the memory of the build before anything is allocated.
#[test]
fn the_largest_sizes_count_against_the_memory() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let output = sinter(&arguments!["build", small, "--max-shapes", "x:1000000000x3", "--max-memory", "1G"]);
    assert_eq!(code(&output), 3);
    let message = text(&output.stderr);
    assert!(message.contains("the model needs 36000000000 bytes") && message.contains("--max-memory"), "{message}");
}

#[test]
fn data_to_verify_with_lies_within_the_sizes() {
    let folder = Folder::new();
    let small = small_model(&folder);
    let data = folder.archive("data.npz", &[("x", &[5, 3], &[1.0; 15])]);
    for (flag, sizes, wanted) in [
        ("--max-shapes", "x:4x3", Some("'N'), which is at most 4 by --max-shapes")),
        ("--min-shapes", "x:6x3", Some("'N'), which is at least 6 by --min-shapes")),
        ("--max-shapes", "x:5x3", None),
        ("--min-shapes", "x:5x3", None),
        ("--opt-shapes", "x:1x3", None),
    ] {
        let output = sinter(&arguments!["build", small, "--verify-data", data, flag, sizes]);
        let message = text(&output.stderr);
        assert_eq!(code(&output), if wanted.is_some() { 2 } else { 0 }, "{flag} {sizes}: {message}");
        assert!(message.contains(wanted.unwrap_or_default()), "{message}");
        assert!(wanted.is_none() || message.contains("--verify-data gives input 'x' the size 5"), "{message}");
    }
}
