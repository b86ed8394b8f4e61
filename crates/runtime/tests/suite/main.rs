//! The runtime alone, with a back end made for the test: a run in the steady state allocates nothing.

use std::sync::Arc;

use sinter_backend::{BackEnd, Candidate, Device, KernelError, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{Attr, DataType, Dim, Tensor, Value, ValueType};
use sinter_cpu::launch::{self, HostTactic, Kernel, Launch, Loaded, Output, Threads};
use sinter_ops::OpKind;
use sinter_ops::movement::Concat;
use sinter_plan::{
    Action, BufferId, Graph, Place, Plan, PlanValue, PlanValueId, Port, ShapeCompiler, Step, Storage, Variant,
};
use sinter_runtime::{Engine, EngineOptions, RuntimeError};
use sinter_testkit::allocator::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

mod feed_back;
mod panic;
mod toy;
mod weights;

/// Operands of the one step: more than any inline list holds.
const OPERANDS: usize = 100;

struct Bench;

impl Tactic for Bench {
    fn name(&self) -> &str {
        "test.concat"
    }

    fn roots(&self) -> &[OpKind] {
        &[]
    }

    fn offer(&self, _: &Problem<'_>, _: usize) -> Result<Vec<Candidate>, Refusal> {
        Err(Refusal::new("plans of this test are made by hand"))
    }
}

impl HostTactic for Bench {
    fn load(&self, _: &Recipe, _: &Region) -> Result<Loaded, KernelError> {
        Ok(Loaded::Kernel(Box::new(Bench)))
    }
}

impl Kernel for Bench {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let Some(Output::View(y)) = launch.outputs.first_mut() else { panic!("a result of known sizes") };
        let mut rest = y.bytes();
        for input in launch.inputs {
            let x = input.view().expect("an operand").bytes();
            let (own, later) = rest.split_at_mut(x.len());
            own.copy_from_slice(x);
            rest = later;
        }
        Ok(())
    }
}

impl BackEnd for Bench {
    fn name(&self) -> &str {
        "test"
    }

    fn target(&self, threads: usize) -> Target {
        Target::unknown("test", "", threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        vec![&Bench]
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Ok(launch::open(vec![&Bench], self.target(threads), Threads::Leased(threads)))
    }
}

/// y = x, x, x, ... one after the other, for x of N elements; z = y, y.
fn plan() -> Plan {
    let n = Dim::symbol("N");
    let many = n.mul(&Dim::constant(OPERANDS as i64));
    let twice = many.mul(&Dim::constant(2));
    let ty = |dim: &Dim| ValueType::tensor(DataType::F32, vec![dim.clone()]);
    let mut compiler = ShapeCompiler::default();
    let slots = [compiler.dim(&n), compiler.dim(&many), compiler.dim(&twice)];
    let (shapes, register) = compiler.finish();
    let value = |dim: &Dim, slot: usize, storage| PlanValue {
        ty: ty(dim),
        sizes: Some(vec![register(slots[slot])]),
        storage,
        place: Place::MAIN,
    };
    let id = PlanValueId::new;
    let step = |from: &Dim, count: usize, to: &Dim, input: usize, output: usize| Step {
        action: Action::Launch(sinter_plan::Launch::of(
            Region::single(Concat { axis: 0 }.into(), &vec![Some(ty(from)); count], vec![ty(to)]),
            Variant::of(Recipe { tactic: "test.concat".to_owned(), parameters: Attr::Absent }),
        )),
        inputs: vec![Some(id(input)); count],
        outputs: vec![id(output)],
        origins: Vec::new(),
    };
    let port = |name: &str, value: usize| Port { name: name.to_owned(), value: id(value), default: None };
    Plan {
        name: "test".to_owned(),
        target: Bench.target(1),
        graph: Graph {
            values: vec![
                value(&n, 0, Storage::Input),
                value(&many, 1, Storage::Arena(BufferId::new(0))),
                value(&twice, 2, Storage::Arena(BufferId::new(1))),
            ],
            inputs: vec![id(0)],
            outputs: vec![id(2)],
            steps: vec![step(&n, OPERANDS, &many, 0, 1), step(&many, 2, &twice, 1, 2)],
        },
        inputs: vec![port("x", 0)],
        outputs: vec![port("z", 2)],
        islands: Vec::new(),
        weights: Vec::new(),
        code: Vec::new(),
        shapes,
        guards: Vec::new(),
        expressions: Vec::new(),
        self_test: None,
        report: None,
    }
}

fn engine(max_memory: usize) -> Engine {
    let bytes = sinter_plan::to_bytes(&plan());
    let plan = sinter_plan::from_bytes(bytes.into(), sinter_plan::Trust::Nothing).expect("a plan that reads back");
    Engine::load(plan, &[&Bench], &EngineOptions { threads: 1, max_memory }).expect("an engine")
}

#[test]
fn the_steady_state_allocates_nothing() {
    let engine = engine(1 << 20);
    let mut context = engine.context();
    let mut bindings = context.bindings();
    let mut run = |length: usize| {
        let mut x = bindings.input("x", &[length]).expect("an input");
        x.elements::<f32>().iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
        context.run_into(&mut bindings).expect("a run");
        let z = bindings.output("z").expect("an output");
        assert_eq!(z.sizes(), [length * OPERANDS * 2]);
        assert!(z.elements::<f32>().iter().enumerate().all(|(i, v)| *v == (i % length) as f32));
    };
    run(7);
    assert_eq!(allocations(|| run(7)), 0, "the same sizes again");
    assert_eq!(allocations(|| run(3)), 0, "smaller sizes");
    assert_eq!(context.counters().layouts, 2);
    assert_eq!(context.counters().inferences, 0);
}

#[test]
fn wrong_inputs_are_named() {
    let engine = engine(1 << 20);
    let floats = |count: usize| Value::Tensor(Tensor::from_vec(&[count], vec![0f32; count]).expect("a tensor"));
    assert!(matches!(engine.run(Vec::new()), Err(RuntimeError::MissingInput { name, .. }) if name == "x"));
    let unknown = engine.run(vec![("y".to_owned(), floats(1))]);
    assert!(matches!(unknown, Err(RuntimeError::UnknownInput { name, .. }) if name == "y"));
    let wrong = engine.run(vec![("x".to_owned(), Tensor::of_i64(&[1]).into())]);
    assert!(matches!(wrong, Err(RuntimeError::InputType { .. })));
    let limited = self::engine(1000);
    assert!(matches!(limited.run(vec![("x".to_owned(), floats(2))]), Err(RuntimeError::Memory { limit: 1000, .. })));
}
