//! Options of a build, and the errors of those that cannot be.

use std::time::Duration;

use sinter::errors::{BuildError, PassError, RuntimeError};
use sinter::{Builder, Engine, Error, Model, Plan, Stage};

use crate::{BATCH, ones, residual};

fn refused(builder: Builder<'_>) -> (Error, String) {
    let error = builder.build().unwrap_err();
    let text = format!("{error}; {}", error.help().unwrap_or_default());
    (error, text)
}

fn inputs(plan: &Plan) -> Vec<String> {
    plan.inputs().iter().map(ToString::to_string).collect()
}

#[test]
fn a_pinned_dimension_is_a_constant() {
    let model = residual(BATCH);
    let plan = Builder::new(&model).pin("N", 4).build().unwrap();
    assert_eq!(inputs(&plan), ["x: f32[4, 3]"]);
    let engine = Engine::from_plan(plan).unwrap();
    assert_eq!(engine.run([("x", ones(&[4, 3]))]).unwrap()[0].as_tensor().unwrap().sizes(), [4, 3]);
    assert!(matches!(engine.run([("x", ones(&[5, 3]))]), Err(Error::Run(RuntimeError::InputType { .. }))));
}

#[test]
fn a_pinned_dimension_beside_a_dynamic_one_has_a_range_of_one_size() {
    let model = residual(r#"dim { dim_param: "N" } dim { dim_param: "S" }"#);
    let engine = Engine::from_plan(Builder::new(&model).pin("N", 4).max("S", 8).build().unwrap()).unwrap();
    assert!(engine.run([("x", ones(&[4, 5]))]).is_ok());
    for sizes in [[3, 5], [5, 5], [4, 9]] {
        let error = engine.run([("x", ones(&sizes))]).unwrap_err();
        assert!(matches!(error, Error::Run(RuntimeError::Range { .. })), "{sizes:?}: {error}");
    }
}

#[test]
fn profiles_widen_the_sizes_that_an_engine_takes() {
    let model = residual(BATCH);
    let plan =
        Builder::new(&model).min("N", 1).opt("N", 1).max("N", 1).profile([("N", 4, 6, 8)]).build().expect("a plan");
    let engine = Engine::from_plan(plan).expect("an engine");
    let ran = |size: usize| engine.run([("x", ones(&[size, 3]))]);
    assert!([1, 4, 6, 8].into_iter().all(|size| ran(size).is_ok()));
    assert!(ran(9).is_err(), "9 is beyond both profiles");
    let (_, what) = refused(Builder::new(&model).profile([("N", 8, 6, 4)]));
    assert!(what.contains("'N'"), "{what}");
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let model = residual(BATCH);
    let (_, text) = refused(Builder::new(&model).min("N", 9).max("N", 8));
    assert_eq!(text, "dimension 'N' has the min size 9 and the max size 8; give sizes with min <= opt <= max");
    for builder in [Builder::new(&model).pin("M", 1), Builder::new(&model).pin("N", 1).pin("M", 1)] {
        let (error, text) = refused(builder);
        assert!(matches!(error, Error::Build(BuildError::UnknownSize { .. })), "{text}");
    }
}

#[test]
fn names_that_do_not_exist_are_refused() {
    let model = residual(BATCH);
    let (_, text) = refused(Builder::new(&model).device("abacus"));
    assert_eq!(text, "there is no back end 'abacus'; the back ends are cpu, cuda");
    let (error, text) = refused(Builder::new(&model).disable("magic"));
    assert!(matches!(error, Error::Build(BuildError::Pass(PassError::Unknown { .. }))), "{text}");
    assert!(Builder::new(&model).device("cpu").disable("merge-pointwise").build().is_ok());
}

#[test]
fn a_small_memory_budget_is_an_error() {
    let model = residual(BATCH);
    let (error, text) = refused(Builder::new(&model).max_memory(8));
    assert!(matches!(error, Error::Build(BuildError::Memory(_))) && text.contains("Builder::max_memory"), "{text}");
}

#[test]
fn inputs_of_the_caller_verify_the_plan_or_fail_the_build() {
    let model = residual(BATCH);
    let plan = Builder::new(&model).verify_with([("x", ones(&[2, 3]))]).build().unwrap();
    let summary = plan.summary();
    assert!(summary.agreed > 0 && summary.skipped.is_none(), "{summary}");
    for (name, sizes) in [("z", [2, 3]), ("x", [2, 4])] {
        let (error, text) = refused(Builder::new(&model).verify_with([(name, ones(&sizes))]));
        assert!(matches!(error, Error::Unverified { .. }), "{text}");
        assert!(text.contains(&format!("'{name}'")), "{text}");
    }
}

#[test]
fn a_build_without_verification_says_so() {
    let model = residual(BATCH);
    let plan = Builder::new(&model).no_verify().build().unwrap();
    assert!(plan.summary().to_string().contains("not verified: verification is off"), "{}", plan.summary());
    let error = Engine::from_plan(plan).unwrap().self_test().unwrap_err();
    assert!(matches!(error, Error::Run(RuntimeError::NoSelfTest)));
    assert_eq!(error.help(), Some("build the plan without `Builder::no_verify`"));
}

#[test]
fn tuning_options_that_have_no_effect_are_refused() {
    let model = residual(BATCH);
    let budget = Duration::from_millis(1);
    for (builder, part) in [
        (Builder::new(&model).timing_cache("timings"), "has no effect"),
        (Builder::new(&model).locked(), "needs timings"),
        (Builder::new(&model).locked().timing_cache("timings").tune(budget), "forbids"),
    ] {
        let (error, text) = refused(builder);
        assert!(matches!(error, Error::Options { .. }) && text.contains(part), "{text}");
    }
}

#[test]
fn caches_are_written_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let (timings, results) = (folder.path().join("timings"), folder.path().join("results"));
    let model = residual(BATCH);
    let first = Builder::new(&model).verification_cache(&results).build().unwrap();
    let stages = std::cell::RefCell::new(Vec::new());
    let listener = |stage: Stage, _: Option<(u64, u64)>| stages.borrow_mut().push(stage);
    let second = Builder::new(&model).verification_cache(&results).progress(listener).build().unwrap();
    assert_eq!(first.to_bytes(), second.to_bytes());
    assert!(!stages.borrow().contains(&Stage::Verify) && stages.borrow().contains(&Stage::Choose));

    let tuned = Builder::new(&model).tune(Duration::from_millis(200)).timing_cache(&timings).build().unwrap();
    assert_eq!(tuned.inputs(), first.inputs());
    assert!(timings.is_file());
    std::fs::write(&timings, "something else").unwrap();
    let (error, text) = refused(Builder::new(&model).locked().timing_cache(&timings));
    assert!(matches!(error, Error::Cache(_)) && error.path() == Some(timings.as_path()), "{text}");
}

#[test]
fn the_same_options_give_the_same_plan() {
    let model = Model::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/demo/digits.onnx")).unwrap();
    let build = || Builder::new(&model).threads(2).build().unwrap().to_bytes();
    assert_eq!(build(), build());
}
