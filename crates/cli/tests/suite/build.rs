//! `sinter build`.

use sinter::internals::plan::{Trust, read};

use crate::fixture::{Folder, arguments, code, json, sinter, small_model, text};

#[test]
fn a_model_becomes_a_plan_beside_it() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let output = sinter(&arguments!["build", model]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("f32[N, 3]"), "{}", text(&output.stdout));
    assert_eq!(text(&output.stderr), "", "quiet when no terminal is there");
    assert_eq!(folder.names(), ["small.onnxtxt", "small.plan"]);
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let (first, second) = (folder.path("1.plan"), folder.path("2.plan"));
    for plan in [&first, &second] {
        json(&arguments!["build", model, "-o", *plan, "--threads", "2"]);
    }
    assert_eq!(std::fs::read(&first).unwrap(), std::fs::read(&second).unwrap());
    assert!(read(&first, Trust::Nothing).is_ok());
}

#[test]
fn shapes_pin_free_sizes() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let report = json(&arguments!["build", model, "--shapes", "x:5x3"]);
    assert_eq!(report["inputs"][0]["type"], "f32[5, 3]");
    assert_eq!(report["plan_bytes"], std::fs::metadata(folder.path("small.plan")).unwrap().len());
    assert!(report["steps"].as_u64().unwrap() >= 1);
}

#[test]
fn the_report_goes_to_a_file_and_the_text_to_the_terminal() {
    let folder = Folder::new();
    let model = small_model(&folder);
    let output = sinter(&arguments!["build", model, "--json", folder.path("report.json")]);
    assert_eq!(code(&output), 0);
    assert!(text(&output.stdout).contains("small.plan"));
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path("report.json")).unwrap()).unwrap();
    crate::schema::check("build", &report);
    assert_eq!(folder.names(), ["report.json", "small.onnxtxt", "small.plan"]);
}
