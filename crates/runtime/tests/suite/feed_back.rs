//! Recurrent models whose state goes round: the output of a run is an input of the next.

use sinter_base::{Tensor, Value};
use sinter_runtime::{Bindings, Context, RuntimeError};
use sinter_testkit::allocator::allocations;

use crate::toy::{Toy, WRITTEN, engine};

fn vector(values: &[f32]) -> Value {
    Tensor::from_vec(&[values.len()], values.to_vec()).expect("a vector").into()
}

fn give(bindings: &mut Bindings, name: &str, values: &[f32]) {
    bindings.input(name, &[values.len()]).expect("an input").elements::<f32>().copy_from_slice(values);
}

fn state(bindings: &Bindings) -> Vec<f32> {
    bindings.output("z").expect("an output").elements::<f32>().to_vec()
}

/// z = x + y, where x is the z of the run before.
fn accumulator(start: &[f32]) -> (Context, Bindings) {
    let context = engine(Toy::Add).context();
    let mut bindings = context.bindings();
    bindings.set("x", vector(start)).expect("an input");
    bindings.feed_back("z", "x").expect("equal types");
    (context, bindings)
}

#[test]
fn sums_accumulate_without_allocation() {
    let (mut context, mut bindings) = accumulator(&[0.0, 10.0]);
    let mut step = |y: [f32; 2]| {
        give(&mut bindings, "y", &y);
        context.run_into(&mut bindings).expect("a run");
        let z = bindings.output("z").expect("an output");
        let z = z.elements::<f32>();
        assert_eq!(z.as_ptr().addr(), WRITTEN.get(), "the result lies where the kernel wrote it");
        (z[0], z[1])
    };
    assert_eq!(step([1.0, 1.0]), (1.0, 11.0));
    assert_eq!(step([2.0, 1.0]), (3.0, 12.0));
    for round in 0..10 {
        let mut sums = (0.0, 0.0);
        assert_eq!(allocations(|| sums = step([1.0, -1.0])), 0, "round {round}");
        assert_eq!(sums, (4.0 + round as f32, 11.0 - round as f32));
    }
    assert_eq!(context.counters().layouts, 1);
}

#[test]
fn the_state_starts_anew_where_the_user_sets_it() {
    let (mut context, mut bindings) = accumulator(&[1.0]);
    give(&mut bindings, "y", &[1.0]);
    context.run_into(&mut bindings).expect("a run");
    bindings.set("x", vector(&[40.0, 50.0])).expect("an input");
    assert_eq!(state(&bindings), [2.0], "outputs can be read until the next run");
    give(&mut bindings, "y", &[1.0, 1.0]);
    context.run_into(&mut bindings).expect("other sizes");
    context.run_into(&mut bindings).expect("a run");
    assert_eq!(state(&bindings), [42.0, 52.0]);
}

#[test]
fn a_run_that_fails_loses_no_state() {
    let (mut context, mut bindings) = accumulator(&[1.0]);
    give(&mut bindings, "y", &[1.0]);
    context.run_into(&mut bindings).expect("a run");
    give(&mut bindings, "y", &[1.0, 1.0]);
    let error = context.run_into(&mut bindings).expect_err("a state of one element and two new ones");
    assert!(matches!(&error, RuntimeError::Contradiction { known: 1, size: 2, axis: 0, .. }), "{error:?}");
    assert!(error.to_string().contains("would be 1 and 2 at once: 1 by input 'x', 2 by input 'y'"), "{error}");
    give(&mut bindings, "y", &[5.0]);
    context.run_into(&mut bindings).expect("a run");
    assert_eq!(state(&bindings), [7.0]);
}

/// As a cache of keys and values grows: by one element or several, up to a window, then anew.
#[test]
fn a_cache_grows_and_starts_anew() {
    let context = &mut engine(Toy::Append).context();
    let bindings = &mut context.bindings();
    bindings.feed_back("z", "x").expect("sizes that may be equal");
    let mut fill = |check: bool| {
        bindings.input("x", &[0]).expect("an input");
        let mut length = 0;
        for new in [1, 3, 1, 1, 7, 2] {
            let mut y = bindings.input("y", &[new]).expect("an input");
            y.elements::<f32>().iter_mut().zip(length..).for_each(|(y, position)| *y = position as f32);
            context.run_into(bindings).expect("a run");
            length += new;
            let z = bindings.output("z").expect("an output");
            let z = z.elements::<f32>();
            assert!(!check || z.len() == length && z.iter().zip(0..length).all(|(z, at)| *z == at as f32), "{z:?}");
        }
    };
    fill(true);
    fill(true);
    assert_eq!(allocations(|| fill(true)), 0, "no size is larger than before");
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut bindings = engine(Toy::Add).context().bindings();
    assert!(matches!(bindings.feed_back("q", "x"), Err(RuntimeError::UnknownOutput { name, known })
        if name == "q" && known == "z"));
    assert!(matches!(bindings.feed_back("z", "q"), Err(RuntimeError::UnknownInput { name, .. }) if name == "q"));
    let mut plan = crate::toy::plan(Toy::Append);
    plan.graph.values[1].ty = sinter_base::ValueType::tensor(sinter_base::DataType::I64, vec![4usize.into()]);
    let engine = sinter_runtime::Engine::from_plan(plan, &[&crate::toy::ToyEnd], 1).expect("an engine");
    let mut bindings = engine.context().bindings();
    let refused = bindings.feed_back("z", "y").expect_err("another type");
    assert_eq!(refused.to_string(), "output 'z' (f32[M + N]) cannot be the input 'y' (i64[4]) of the next run",);
    // Sizes that are open are seen when the next run takes them.
    let mut context = crate::toy::engine(Toy::Add).context();
    let mut bindings = context.bindings();
    bindings.feed_back("z", "x").expect("equal types");
    bindings.feed_back("z", "y").expect("the later call counts");
    give(&mut bindings, "x", &[1.0]);
    give(&mut bindings, "y", &[2.0]);
    context.run_into(&mut bindings).expect("a run");
    context.run_into(&mut bindings).expect("a run");
    assert_eq!(state(&bindings), [4.0], "1 + (1 + 2)");
}
