//! `sinter refit`: a plan with the weights of another model.

use crate::fixture::{Folder, arguments, code, json, model, sinter, text};

/// y = x * scale + shift, for vectors of these elements.
fn scaled(scale: &str, shift: &str) -> String {
    let nodes = concat!(
        r#"node { name: "scaling" op_type: "Mul" input: "x" input: "scale" output: "scaled" }"#,
        r#"node { name: "sum" op_type: "Add" input: "scaled" input: "shift" output: "y" }"#
    );
    let tensor = |name: &str, elements: &str| {
        let data: String = elements.split(' ').map(|element| format!("float_data: {element} ")).collect();
        format!("initializer {{ name: \"{name}\" data_type: 1 dims: 3 {data} }}")
    };
    let weights = tensor("scale", scale) + &tensor("shift", shift);
    model(&(nodes.to_owned() + &weights), &["dim { dim_value: 2 }", "dim { dim_value: 3 }"])
}

#[test]
fn a_refitted_plan_computes_as_the_other_model() {
    let folder = Folder::new();
    let first = folder.write("first.onnxtxt", scaled("1 1 1", "0 0 0"));
    let second = folder.write("second.onnxtxt", scaled("2 3 4", "5 6 7"));
    let (plan, other) = (folder.path("first.plan"), folder.path("other.plan"));
    json(&arguments!["build", first, "--refittable"]);
    let inspected = json(&arguments!["inspect", plan]);
    assert_eq!(inspected["refittable_tensors"][0]["name"], "scale", "{inspected}");
    let report = json(&arguments!["refit", plan, second, "-o", other]);
    assert_eq!((&report["replaced"][1], &report["kept"]), (&"shift".into(), &serde_json::json!([])));
    let inputs = folder.archive("x.npz", &[("x", &[2, 3], &[1.0; 6])]);
    let expected = folder.archive("y.npz", &[("y", &[2, 3], &[7.0, 9.0, 11.0, 7.0, 9.0, 11.0])]);
    let agrees = |plan| code(&sinter(&arguments!["diff", plan, "--inputs", inputs, "--expect", expected]));
    assert_eq!((agrees(&plan), agrees(&other)), (1, 0));
    // One tensor alone, by name.
    let weights = folder.archive("w.npz", &[("shift", &[3], &[6.0, 8.0, 10.0])]);
    let report = json(&arguments!["refit", plan, weights, "-o", other]);
    assert_eq!((&report["replaced"], &report["kept"]), (&serde_json::json!(["shift"]), &serde_json::json!(["scale"])));
    assert_eq!(agrees(&other), 0);
    assert!(text(&sinter(&arguments!["inspect", other]).stdout).contains("a refit replaced them"));
}

#[test]
fn what_does_not_suit_is_named_and_nothing_is_written() {
    let folder = Folder::new();
    let path = folder.write("first.onnxtxt", scaled("1 1 1", "0 0 0"));
    let plan = folder.path("first.plan");
    json(&arguments!["build", path]);
    let weights = folder.archive("w.npz", &[("shift", &[2], &[1.0, 2.0]), ("drift", &[1], &[1.0])]);
    let other = folder.path("other.plan");
    let refused = |named: &[&str]| {
        let output = sinter(&arguments!["refit", plan, weights, "-o", other]);
        let errors = text(&output.stderr);
        assert!(code(&output) == 2 && named.iter().all(|name| errors.contains(name)), "{errors}");
        assert!(!other.exists());
    };
    refused(&["was not built to be refittable", "--refittable"]);
    json(&arguments!["build", path, "--refittable"]);
    refused(&["depends on a tensor 'drift'", "'shift' is f32[2], the plan needs f32[3]"]);
}
