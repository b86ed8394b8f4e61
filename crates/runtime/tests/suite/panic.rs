//! A kernel that panics, on the calling thread or on a worker, costs its context and nothing else; one that finds no room
//! costs its run.

use sinter_backend::KernelError;
use sinter_base::{Tensor, Value};
use sinter_runtime::{Engine, EngineOptions, RuntimeError};

use crate::toy::{Toy, ToyEnd, engine, plan};

fn vector(values: &[f32]) -> Value {
    Tensor::from_vec(&[values.len()], values.to_vec()).expect("a vector").into()
}

fn inputs(first: f32) -> Vec<(String, Value)> {
    vec![("x".to_owned(), vector(&[first, 5.0])), ("y".to_owned(), vector(&[1.0, 1.0]))]
}

#[test]
fn a_panic_is_an_error_and_the_pool_forgets_its_context() {
    let engine = engine(Toy::Fragile);
    assert_eq!(engine.run(inputs(2.0)).expect("a run"), [vector(&[3.0, 6.0])]);
    for (first, said) in [(-1.0, "the caller gives up"), (-2.0, "worker 1 gives up")] {
        assert!(engine.arena_bytes() > 0, "the pool holds a context");
        let error = engine.run(inputs(first)).expect_err("a panic");
        assert!(
            matches!(&error, RuntimeError::Panic { origin, tactic, message }
                if origin == "Toy node 'z'" && tactic == "toy.fragile" && message == said),
            "{error}"
        );
        assert!(error.to_string().contains("please report"), "{error}");
        assert_eq!(engine.arena_bytes(), 0, "its memory is not used again");
        assert_eq!(engine.run(inputs(2.0)).expect("a run"), [vector(&[3.0, 6.0])]);
    }
}

#[test]
fn a_context_stays_poisoned() {
    let engine = engine(Toy::Fragile);
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let mut run = |first: f32| {
        bindings.set("x", vector(&[first])).expect("an input");
        bindings.set("y", vector(&[1.0])).expect("an input");
        context.run_into(&mut bindings)
    };
    run(1.0).expect("a run");
    assert!(matches!(run(-2.0), Err(RuntimeError::Panic { .. })));
    assert!(matches!(run(1.0), Err(RuntimeError::Poisoned)));
    let (mut other, mut again) = (engine.context(), engine.context().bindings());
    again.set("x", vector(&[1.0])).expect("an input");
    again.set("y", vector(&[1.0])).expect("an input");
    other.run_into(&mut again).expect("another context of the same engine");
}

#[test]
fn a_kernel_without_room_costs_its_run_alone() {
    let options = EngineOptions { threads: 2, max_memory: 1 << 20 };
    let engine = Engine::load(plan(Toy::Roomy), &[&ToyEnd], &options).expect("an engine");
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let mut run = |bytes: f32| {
        bindings.set("x", vector(&[bytes])).expect("an input");
        bindings.set("y", vector(&[1.0])).expect("an input");
        context.run_into(&mut bindings).map(|()| bindings.to_values().expect("outputs"))
    };
    for _ in 0..2 {
        assert_eq!(run(1000.0).expect("a run"), [vector(&[1001.0])]);
        let error = run(2_000_000.0).expect_err("more than a megabyte");
        assert!(
            matches!(&error, RuntimeError::Step { origin, source: KernelError::Memory(what) }
                if origin == "Toy node 'z'" && what.contains("toy.roomy")),
            "{error}"
        );
    }
}
