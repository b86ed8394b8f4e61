//! Inputs that have a value in the model: constants, or inputs with a default.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::fixture::{Folder, arguments, code, json, model, sinter, text};

/// y = x w + b for x of f32[N, 3], w of f32[M] with the default [1, 2, 3], and b of f32[3], no input, [10, 10, 10].
fn scaled(folder: &Folder) -> PathBuf {
    let weight = |name: &str, values: [i32; 3]| {
        let data = values.map(|value| format!("float_data: {value} ")).concat();
        format!("initializer {{ name: '{name}' data_type: 1 dims: 3 {data} }} ")
    };
    let nodes = [
        "node { op_type: 'Mul' input: 'x' input: 'w' output: 'p' } node { op_type: 'Add' input: 'p' input: 'b' output: 'y' } ",
        "input { name: 'w' type { tensor_type { elem_type: 1 shape { dim { dim_param: 'M' } } } } } ",
        &weight("w", [1, 2, 3]),
        &weight("b", [10, 10, 10]),
    ];
    folder.write("scaled.onnxtxt", model(&nodes.concat(), &["dim { dim_param: 'N' }", "dim { dim_value: 3 }"]))
}

fn refused<A: AsRef<std::ffi::OsStr> + std::fmt::Debug>(arguments: &[A], named: &[&str]) {
    let output = sinter(arguments);
    let errors = text(&output.stderr);
    assert_eq!(code(&output), 2, "{arguments:?}: {errors}");
    assert!(named.iter().all(|name| errors.contains(name)), "{errors} lacks one of {named:?}");
}

fn first(report: &Json) -> Vec<String> {
    let first = report["outputs"][0]["first"].as_array().unwrap();
    first.iter().map(|element| element.as_f64().unwrap().to_string()).collect()
}

fn run(file: &Path, inputs: &Path) -> Vec<String> {
    first(&json(&arguments!["run", file, "--inputs", inputs]))
}

#[test]
fn a_model_takes_the_values_that_are_given() {
    let folder = Folder::new();
    let model = scaled(&folder);
    let x = ("x", &[1, 3][..], &[1.0, 1.0, 1.0][..]);
    let plain = folder.archive("plain.npz", &[x]);
    let both = folder.archive("both.npz", &[x, ("w", &[3], &[5.0, 6.0, 7.0])]);
    let one = folder.archive("one.npz", &[x, ("w", &[1], &[4.0])]);
    assert_eq!(run(&model, &plain), ["11", "12", "13"]);
    assert_eq!(run(&model, &both), ["15", "16", "17"]);
    assert_eq!(run(&model, &one), ["14", "14", "14"]);
    for command in ["bench", "diff"] {
        json(&arguments![command, model, "--inputs", both]);
    }
    // Names that are no inputs of any kind.
    for name in ["b", "z"] {
        let wrong = folder.archive("wrong.npz", &[x, ("w", &[3], &[5.0, 6.0, 7.0]), (name, &[3], &[1.0, 1.0, 1.0])]);
        refused(&arguments!["run", model, "--inputs", wrong], &[&format!("no input '{name}'"), "w, x"]);
    }
}

#[test]
fn a_plan_keeps_the_inputs_that_were_named() {
    let folder = Folder::new();
    let model = scaled(&folder);
    let x = ("x", &[2, 3][..], &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0][..]);
    let plain = folder.archive("plain.npz", &[x]);
    let both = folder.archive("both.npz", &[x, ("w", &[3], &[5.0, 6.0, 7.0])]);
    let constant = folder.path("constant.plan");
    json(&arguments!["build", model, "-o", constant]);
    refused(&arguments!["run", constant, "--inputs", both], &["no input 'w'", "there is x"]);
    let open = folder.path("open.plan");
    let report = json(&arguments!["build", model, "-o", open, "--runtime-inputs", "w"]);
    let names: Vec<&str> = report["inputs"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["w", "x"]);
    assert_eq!(run(&open, &plain), ["11", "12", "13", "12", "14", "16"]);
    assert_eq!(run(&open, &both), ["15", "16", "17", "20", "22", "24"]);
    // Without any values, those of the model stay.
    for file in [&model, &open] {
        json(&arguments!["bench", file, "--seconds", "0.05"]);
    }
    let pinned = ["--runtime-inputs", "w", "--shapes", "w:1"].map(std::ffi::OsString::from);
    let one = folder.path("one.plan");
    json(&[&arguments!["build", model, "-o", one][..], &pinned].concat());
    // The default does not have this size.
    refused(&arguments!["run", one, "--inputs", plain], &["'w'", "f32[1]"]);
    let single = folder.archive("single.npz", &[x, ("w", &[1], &[4.0])]);
    assert_eq!(run(&one, &single), ["14", "14", "14", "18", "18", "18"]);
}

#[test]
fn names_are_held_against_the_model() {
    let folder = Folder::new();
    let model = scaled(&folder);
    for name in ["b", "z"] {
        let named = ["--runtime-inputs", &format!("no input '{name}'"), "it has x"];
        for command in ["build", "inspect"] {
            refused(&arguments![command, model, "--runtime-inputs", name], &named);
        }
    }
    refused(&arguments!["build", model, "--shapes", "w:3"], &["input 'w'", "built in", "runtime inputs"]);
    json(&arguments!["build", model]);
    let plan = folder.path("scaled.plan");
    refused(&arguments!["run", plan, "--runtime-inputs", "w"], &["--runtime-inputs applies to models"]);
}
