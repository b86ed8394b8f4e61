//! `sinter run`.

use sinter::internals::base::{DataType, ValueType};
use sinter::internals::source::Declared;
use sinter::internals::values::{Role, read};

use crate::fixture::{Folder, arguments, code, digits, json, model, sinter, small_model, text};

const X: &[f32] = &[1.0, -2.0, 0.5];
const Y: [f64; 3] = [2.0, -2.0, 1.0];

fn written(path: &std::path::Path) -> Vec<f64> {
    let declared = [Declared { name: "y".into(), ty: ValueType::unranked(DataType::F32) }];
    let values = read(path, Role::Output, &declared, 1 << 20).unwrap();
    assert_eq!(values.len(), 1);
    values[0].1.as_tensor().unwrap().to_floats()
}

#[test]
fn models_and_plans_compute_the_same() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], X)]);
    json(&arguments!["build", model]);
    for (file, outputs) in [(model, "model.npz"), (folder.path("small.plan"), "plan.npz")] {
        let outputs = folder.path(outputs);
        let report = json(&arguments!["run", file, "--inputs", inputs, "--outputs", outputs]);
        assert_eq!(written(&outputs), Y);
        assert_eq!(report["outputs"][0]["name"], "y");
        assert_eq!(
            (report["outputs"][0]["min"].as_f64(), report["outputs"][0]["max"].as_f64()),
            (Some(-2.0), Some(2.0))
        );
    }
}

#[test]
fn folders_of_test_data_are_read_and_written() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let inputs = folder.archive("inputs", &[("x", &[1, 3], X)]);
    assert!(inputs.join("input_0.pb").exists());
    let outputs = folder.path("outputs");
    json(&arguments!["run", model, "--inputs", inputs, "--outputs", outputs]);
    assert_eq!(written(&outputs), Y);
    assert_eq!(std::fs::read_dir(&outputs).unwrap().count(), 1);
}

#[test]
fn without_a_place_for_them_outputs_are_summed_up() {
    let folder = Folder::new();
    let inputs = folder.archive("x.npz", &[("image", &[2, 1, 8, 8], &[0.0; 128])]);
    let output = sinter(&arguments!["run", digits(), "--inputs", inputs]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("scores f32[2, 10]\n  min "), "{}", text(&output.stdout));
    assert_eq!(folder.names(), ["x.npz"]);
}

/// The same seed makes the same inputs of a model and of its plan, another one others.
#[test]
fn inputs_are_made_up_where_they_are_asked_for() {
    let folder = Folder::new();
    let model = small_model(&folder);
    json(&arguments!["build", model]);
    let plan = folder.path("small.plan");
    let first = |file: &std::path::Path, flags: &[&str]| {
        let mut all = arguments!["run", file].to_vec();
        all.extend(flags.iter().map(std::ffi::OsString::from));
        let report = json(&all);
        let first = report["outputs"][0]["first"].as_array().unwrap().clone();
        assert!(first.iter().all(serde_json::Value::is_number), "{report}");
        (report["outputs"][0]["type"].as_str().unwrap().to_owned(), first)
    };
    for file in [&model, &plan] {
        let made = first(file, &["--random"]);
        assert_eq!(made.0, "f32[1, 3]");
        assert_eq!(first(file, &["--random"]), made);
        assert_ne!(first(file, &["--seed", "1"]), made);
        assert_ne!(first(file, &["--seed", "2"]), first(file, &["--seed", "1"]));
        assert_eq!(first(file, &["--random", "--shapes", "x:5x3"]).0, "f32[5, 3]");
    }
    let kept = folder.path("kept.npz");
    assert_eq!(
        first(&model, &["--seed", "7", "--save-inputs", kept.to_str().unwrap()]),
        first(&plan, &["--seed", "7"])
    );
    assert_eq!(first(&plan, &["--inputs", kept.to_str().unwrap()]), first(&plan, &["--seed", "7"]));
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], X)]);
    for flags in [["--random"].as_slice(), &["--seed", "1"]] {
        let mut all = arguments!["run", plan, "--inputs", inputs].to_vec();
        all.extend(flags.iter().map(std::ffi::OsString::from));
        assert_eq!(code(&sinter(&all)), 2, "{flags:?}");
    }
}

/// Numbers that JSON does not have are counted, and stand as text among the first.
#[test]
fn infinities_and_nan_make_valid_json() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[f32::NAN, f32::INFINITY, 1.0])]);
    let report = json(&arguments!["run", model, "--inputs", inputs]);
    assert_eq!(report["outputs"][0]["nan"], 1);
    assert!(report["outputs"][0]["max"].is_null());
    assert_eq!(report["outputs"][0]["first"], serde_json::json!(["NaN", "inf", 2.0]));
}

/// Without sizes nobody knows how large a head is.
#[test]
fn a_model_that_needs_sizes_takes_those_of_its_inputs() {
    let folder = Folder::new();
    let table = |name: &str, value: &str| {
        let data = format!("float_data: {value} ").repeat(4);
        format!(r#"initializer {{ name: "{name}" data_type: 1 dims: 2 dims: 2 {data} }}"#)
    };
    let nodes = format!(
        r#"node {{ op_type: "RotaryEmbedding" domain: "com.microsoft" input: "x" input: "p" input: "c" input: "s" output: "y" }}
        initializer {{ name: "p" data_type: 7 dims: 1 int64_data: 0 }} {} {}"#,
        table("c", "1.0"),
        table("s", "0.0")
    );
    let dims = [r#"dim { dim_param: "b" }"#, r#"dim { dim_param: "s" }"#, r#"dim { dim_param: "h" }"#];
    let text = model(&nodes, &dims).replacen(
        "opset_import",
        r#"opset_import { domain: "com.microsoft" version: 1 } opset_import"#,
        1,
    );
    let file = folder.write("rotary.onnxtxt", text);
    let inputs = folder.archive("x.npz", &[("x", &[1, 1, 4], &[1.0, 2.0, 3.0, 4.0])]);
    let outputs = folder.path("y.npz");
    json(&arguments!["run", file, "--inputs", inputs, "--outputs", outputs]);
    assert_eq!(written(&outputs), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(code(&sinter(&arguments!["build", file])), 3, "without inputs there are no sizes");
}
