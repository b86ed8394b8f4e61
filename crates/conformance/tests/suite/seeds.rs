//! Random numbers: equal for equal seeds, in every context; those of another seed differ.

use sinter_base::{DataType, Location, Tensor, Value};
use sinter_conformance::engine::built;
use sinter_cpu::Cpu;
use sinter_ir::NetworkBuilder;
use sinter_ops::random::{Distribution, RandomFill};
use sinter_runtime::Engine;

#[test]
fn runs_draw_from_the_seed_of_their_context() {
    let mut builder = NetworkBuilder::new();
    let shape = builder.add_weight("shape", Tensor::of_i64(&[7, 5]));
    let distribution = Distribution::Normal { mean: 0.0, scale: 1.0 };
    let op = RandomFill { distribution, data_type: DataType::F32, seed: None, stream: 3 };
    let y = builder.add(op, &[Some(shape)], &Location::default()).expect("a random tensor")[0];
    let network = builder.finish("random", &[("y".to_owned(), y)]);
    let engine = Engine::from_plan(built(&network).expect("a plan"), &[&Cpu], 1).expect("an engine");
    let draw = |seeds: &[u64]| -> Vec<Vec<Value>> {
        let mut context = engine.context();
        let mut bindings = context.bindings();
        let run = |seed: &u64| {
            context.set_seed(*seed);
            context.run_into(&mut bindings).expect("a run");
            bindings.to_values().expect("numbers")
        };
        seeds.iter().map(run).collect()
    };
    let (first, again) = (draw(&[0, 1, 1, u64::MAX]), draw(&[u64::MAX, 1]));
    assert_eq!(first[0], engine.run(Vec::new()).expect("a run"), "a context begins with seed 0");
    assert_eq!((&first[1], &first[1], &first[3]), (&first[2], &again[1], &again[0]));
    assert!(first[0] != first[1] && first[1] != first[3] && first[0] != first[3]);
}
