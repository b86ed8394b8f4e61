//! `sinter self-test`, and what other commands say of plans that were verified elsewhere.

use std::process::{Command, Output};

use sinter::internals::base::Tensor;
use sinter::internals::cpu::Tier;
use sinter::internals::plan::{Trust, read, write};

use crate::fixture::{Folder, arguments, code, json, json_and_code, sinter, small_model, text};

fn on_tier<A: AsRef<std::ffi::OsStr>>(tier: &str, arguments: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sinter")).env("SINTER_CPU", tier).args(arguments).output().unwrap()
}

#[test]
fn a_plan_agrees_with_its_own_answers() {
    let folder = Folder::new();
    let (model, plan) = (small_model(&folder), folder.path("small.plan"));
    json(&arguments!["build", model]);
    let report = json(&arguments!["self-test", plan, "--threads", "1"]);
    assert_eq!((&report["agrees"], &report["here"]), (&true.into(), &serde_json::Value::Null));
    assert_eq!((&report["answers"][0]["output"], &report["answers"][0]["agrees"]), (&"y".into(), &true.into()));
    let output = sinter(&arguments!["self-test", plan]);
    assert!(text(&output.stdout).contains("1 of 1 output as known"), "{}", text(&output.stdout));
    for command in ["run", "bench"] {
        let inputs = folder.archive("x.npz", &[("x", &[1, 3], &[1.0; 3])]);
        assert_eq!(json(&arguments![command, plan, "--inputs", inputs, "--self-test"])["self_test"], 1, "{command}");
    }
    // A model has no answers of its own, nor has a plan that nobody verified.
    for (arguments, named) in [
        (arguments!["self-test", model].to_vec(), "this is no plan"),
        (arguments!["self-test", folder.path("none.plan")].to_vec(), "none.plan"),
    ] {
        let output = sinter(&arguments);
        assert!(code(&output) == 2 && text(&output.stderr).contains(named), "{}", text(&output.stderr));
    }
    json(&arguments!["build", model, "--no-verify"]);
    let output = sinter(&arguments!["self-test", plan]);
    assert!(code(&output) == 2 && text(&output.stderr).contains("no self-test vectors"), "{}", text(&output.stderr));
}

#[test]
fn an_answer_that_is_not_the_known_one_ends_with_1() {
    let folder = Folder::new();
    json(&arguments!["build", small_model(&folder)]);
    let path = folder.path("small.plan");
    let mut plan = read(&path, Trust::Nothing).unwrap();
    let known = &mut plan.self_test.as_mut().unwrap().vectors[0].outputs[0].kept;
    let others: Vec<f64> = known.to_floats().iter().map(|v| v + 100.0).collect();
    *known = Tensor::from_floats(known.data_type(), known.sizes(), &others).unwrap();
    write(&path, &plan).unwrap();
    let (exit, report) = json_and_code(&arguments!["self-test", path]);
    assert_eq!((exit, &report["agrees"]), (1, &false.into()));
    assert!(report["answers"][0]["difference"].as_str().unwrap().contains("an element is"), "{report}");
    for command in ["run", "bench"] {
        let output = sinter(&arguments![command, path, "--seed", "1", "--self-test"]);
        let errors = text(&output.stderr);
        assert!(code(&output) == 1 && errors.contains("output 'y' of vector 0"), "{command}: {errors}");
        assert_eq!(code(&sinter(&arguments![command, path, "--seed", "1"])), 0, "{command}: nobody asked");
    }
}

#[test]
fn another_tier_is_told_in_one_line() {
    let folder = Folder::new();
    let plan = folder.path("small.plan");
    json(&arguments!["build", small_model(&folder)]);
    let listing = text(&sinter(&arguments!["inspect", plan]).stdout);
    let tier = format!("cpu.{}", Tier::in_use().name());
    assert!(listing.contains(&format!("with the reference executor on {tier}\n")), "{listing}");
    for command in ["run", "bench"] {
        let arguments = arguments![command, plan, "--seed", "1"];
        assert_eq!(text(&sinter(&arguments).stderr), "");
        let output = on_tier("scalar", &arguments);
        let note = format!("note: the plan was built for {tier} and verified there, cpu.scalar runs it here;");
        let errors = text(&output.stderr);
        assert_eq!(code(&output), 0, "{errors}");
        let is_other = Tier::in_use() != Tier::Scalar;
        assert_eq!((errors.starts_with(&note), errors.lines().count()), (is_other, usize::from(is_other)), "{errors}");
    }
    let output = on_tier("scalar", &arguments!["self-test", plan]);
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("1 of 1 output as known"), "{}", text(&output.stdout));
}
