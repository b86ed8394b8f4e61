//! `sinter diff`.

use crate::fixture::{Folder, arguments, code, digits, json, json_and_code, sinter, small_model, text};

#[test]
fn the_engine_agrees_with_the_judge() {
    let report = json(&arguments!["diff", digits(), "--shapes", "image:3x1x8x8", "--atol", "1e-5", "--rtol", "0"]);
    assert_eq!((&report["within"], &report["against"]), (&true.into(), &"reference".into()));
    assert_eq!(report["outputs"][0]["type"], "f32[3, 10]");
    assert!(report["outputs"][0]["cosine"].as_f64().unwrap() > 0.999);
}

#[test]
fn results_outside_their_bounds_end_with_1() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[1.0, -2.0, 0.5])]);
    let near = folder.archive("near.npz", &[("y", &[1, 3], &[2.0, -2.0, 1.01])]);
    let check = |bounds: &[&str]| {
        let mut all = arguments!["diff", model, "--inputs", inputs, "--expect", near].to_vec();
        all.extend(bounds.iter().map(std::ffi::OsString::from));
        json_and_code(&all)
    };
    let (code_of, report) = check(&["--atol", "0.001", "--rtol", "0"]);
    assert_eq!((code_of, &report["within"]), (1, &false.into()));
    assert!((report["outputs"][0]["max_error"].as_f64().unwrap() - 0.01).abs() < 1e-6);
    assert_eq!(check(&["--atol", "0.02"]).0, 0);
    assert_eq!(check(&["--atol", "0", "--rtol", "0", "--min-cosine", "0.999"]).0, 0);
    assert_eq!(check(&["--atol", "9", "--min-cosine", "1"]).0, 1, "a cosine decides alone");
}

/// x * sigmoid(x) by way of a narrow type: each step rounds once, which is no fault of the engine.
#[test]
fn bounds_follow_the_coarsest_type_on_the_way() {
    let folder = Folder::new();
    let swish = |number: usize| {
        let nodes = format!(
            r#"node {{ op_type: "Cast" input: "x" output: "n" attribute {{ name: "to" type: INT i: {number} }} }}
               node {{ op_type: "Sigmoid" input: "n" output: "s" }}
               node {{ op_type: "Mul" input: "n" input: "s" output: "p" }}
               node {{ op_type: "Cast" input: "p" output: "y" attribute {{ name: "to" type: INT i: 1 }} }}"#
        );
        crate::fixture::model(&nodes, &["dim { dim_value: 512 }"])
    };
    for (name, number, relative) in [("bf16", 16, 4.0 / 128.0), ("f16", 10, 4.0 / 1024.0), ("f32", 1, 1e-3)] {
        let model = folder.write("swish.onnxtxt", swish(number));
        let report = json(&arguments!["diff", model, "--seed", "3", "--atol", "0"]);
        let output = &report["outputs"][0];
        let largest = output["bound"].as_f64().unwrap() / relative;
        assert!((1.0..6.0).contains(&largest), "{name}: {report}");
        // What the user says counts.
        let report = json_and_code(&arguments!["diff", model, "--seed", "3", "--atol", "0", "--rtol", "0"]).1;
        assert_eq!(report["outputs"][0]["bound"], 0.0, "{name}");
        // A plan says as much of its types as its model.
        json(&arguments!["build", model, "-o", folder.path("swish.plan")]);
        let (inputs, expected) = (folder.path("x.npz"), folder.path("y.npz"));
        let x: Vec<f32> = (0..512).map(|at| at as f32 / 64.0 - 4.0).collect();
        folder.archive("x.npz", &[("x", &[512], &x)]);
        let y: Vec<f32> = x.iter().map(|x| x / (1.0 + (-x).exp())).collect();
        folder.archive("y.npz", &[("y", &[512], &y)]);
        json(&arguments!["diff", folder.path("swish.plan"), "--inputs", inputs, "--expect", expected]);
    }
}

#[test]
fn another_shape_is_a_difference() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[1.0, -2.0, 0.5])]);
    let other = folder.archive("other.npz", &[("y", &[3], &[2.0, -2.0, 1.0])]);
    let (code, report) = json_and_code(&arguments!["diff", model, "--inputs", inputs, "--expect", other]);
    assert_eq!(code, 1);
    assert!(report["outputs"][0]["reason"].as_str().unwrap().contains("expected f32[3]"));
}

#[test]
fn a_trace_names_the_first_region_outside_the_bounds() {
    let base = arguments!["diff", digits(), "--shapes", "image:3x1x8x8", "--trace"].to_vec();
    let good = json(&base)["trace"].clone();
    assert_eq!((&good["passes_within"], &good["bad"]), (&true.into(), &serde_json::json!([])));
    let inside = good["inside"].as_u64().unwrap();
    assert!(inside > 0 && inside < good["compared"].as_u64().unwrap(), "{good}");
    assert!(good["difference"].is_null() && good["node"].is_null());
    // Without any bound, sums in another order than the reference executor's are the first that differ.
    let exact = [base, arguments!["--atol", "0", "--rtol", "0"].to_vec()].concat();
    let (code, report) = json_and_code(&exact);
    let bad = report["trace"]["bad"].as_array().unwrap();
    assert_eq!(code, 1);
    assert!(bad.iter().any(|step| step["operators"].to_string().contains("Convolution")), "{report:#}");
    assert_eq!(report["trace"]["node"]["operator"], "Convolution", "{report:#}");
    assert!(report["trace"]["difference"]["max_error"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_plan_has_no_judge() {
    let folder = Folder::new();
    let plan = folder.path("digits.plan");
    json(&arguments!["build", digits(), "-o", plan]);
    let output = sinter(&arguments!["diff", plan]);
    assert_eq!(code(&output), 2);
    assert!(text(&output.stderr).contains("--expect"), "{}", text(&output.stderr));
    let outputs = folder.path("y.npz");
    let inputs = folder.archive("x.npz", &[("image", &[1, 1, 8, 8], &[0.0; 64])]);
    json(&arguments!["run", plan, "--inputs", inputs, "--outputs", outputs]);
    let output = sinter(&arguments!["diff", plan, "--inputs", inputs, "--expect", outputs, "--trace"]);
    let errors = text(&output.stderr);
    assert!(
        code(&output) == 2 && errors.contains("--trace needs the model") && errors.contains("what to do"),
        "{errors}"
    );
}
