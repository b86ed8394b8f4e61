//! Plans and engines.

use sinter::errors::{PlanError, RuntimeError};
use sinter::internals::plan::{Trust, from_bytes, programs_to_bytes};
use sinter::{Builder, Engine, Error, Plan};

use crate::{BATCH, ones, residual};

#[test]
fn engines_and_plans_may_go_to_other_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Engine>();
    is_send_and_sync::<Plan>();
    is_send_and_sync::<sinter::Model>();
    is_send_and_sync::<sinter::Registry>();
    is_send_and_sync::<Error>();
}

#[test]
fn a_plan_is_the_same_from_a_file_and_from_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("residual.plan");
    let plan = Builder::new(&residual(BATCH)).build().unwrap();
    plan.save(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), plan.to_bytes());
    for again in [Plan::open(&path), Plan::open_trusted(&path), Plan::from_bytes(plan.to_bytes())] {
        let again = again.unwrap();
        assert_eq!(again.to_bytes(), plan.to_bytes());
        assert_eq!((again.inputs(), again.outputs()), (plan.inputs(), plan.outputs()));
        assert_eq!(again.summary(), plan.summary());
    }
    assert_eq!(plan.summary().model, "residual");
    assert!(plan.targets()[0].starts_with("cpu."));
}

#[test]
fn the_error_of_a_damaged_plan_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("residual.plan");
    let mut bytes = Builder::new(&residual(BATCH)).build().unwrap().to_bytes();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&path, &bytes).unwrap();
    let error = Engine::open(&path).unwrap_err();
    assert!(matches!(error, Error::Plan { .. }) && error.path() == Some(path.as_path()), "{error}");
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert_eq!(error.help(), Some("build the plan again from its model"));
    let missing = folder.path().join("missing.plan");
    let error = Engine::open(&missing).unwrap_err();
    assert!(matches!(error, Error::Plan { source: PlanError::Io { .. }, .. }), "{error}");
    assert_eq!(error.to_string().matches("missing.plan").count(), 1, "{error}");
}

#[test]
fn an_engine_takes_the_program_for_its_machine() {
    let own = from_bytes(Builder::new(&residual(BATCH)).build().unwrap().to_bytes().into(), Trust::Nothing).unwrap();
    let (mut other_tier, mut other_device) = (own.clone(), own.clone());
    other_tier.target.isa = "other".to_owned();
    other_device.target.back_end = "abacus".to_owned();
    let plan = Plan::from_bytes(programs_to_bytes(&[&other_device, &other_tier, &own])).unwrap();
    assert_eq!(plan.targets()[..2], [format!("abacus.{}", own.target.isa), "cpu.other".to_owned()]);
    let engine = Engine::from_plan(plan).unwrap();
    assert_eq!(engine.run([("x", ones(&[2, 3]))]).unwrap().len(), 1);

    let error = Engine::from_plan(Plan::from_bytes(programs_to_bytes(&[&other_device])).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::Run(RuntimeError::BackEnd { needed, .. }) if needed == "abacus"), "{error}");
}

#[test]
fn errors_of_an_inference_name_the_input() {
    let engine = Engine::from_plan(Builder::new(&residual(BATCH)).build().unwrap()).unwrap();
    let error = engine.run([("z", ones(&[2, 3]))]).unwrap_err();
    assert!(matches!(error, Error::Run(RuntimeError::UnknownInput { .. })), "{error}");
    assert!(error.help().unwrap().contains("Engine::inputs"));
    let error = engine.run([("x", ones(&[2, 4]))]).unwrap_err();
    assert!(error.to_string().contains("'x'"), "{error}");
    let none: [(&str, sinter::Value); 0] = [];
    assert!(matches!(engine.run(none), Err(Error::Run(RuntimeError::MissingInput { .. }))));
}
