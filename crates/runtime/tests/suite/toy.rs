//! A back end of toy kernels on vectors of f32, and plans of one step for it.

use std::cell::Cell;
use std::sync::Arc;

use sinter_backend::{BackEnd, Candidate, Device, KernelError, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{Attr, DataType, Dim, ValueType};
use sinter_cpu::launch::{self, HostTactic, Kernel, Launch, Loaded, Threads, Workers};
use sinter_ops::OpKind;
use sinter_ops::movement::Concat;
use sinter_ops::pointwise::Expr;
use sinter_plan::{
    Action, BufferId, Graph, Place, Plan, PlanValue, PlanValueId, Port, ShapeCompiler, Step, Storage, Trust, Variant,
    from_bytes, to_bytes,
};
use sinter_runtime::Engine;

/// Two threads: the caller and one of their own.
struct Pair;

impl Workers for Pair {
    fn count(&self) -> usize {
        2
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let theirs = std::thread::scope(|scope| {
            let other = scope.spawn(|| (1..tasks).for_each(task));
            (0..tasks.min(1)).for_each(task);
            other.join()
        });
        if let Err(payload) = theirs {
            std::panic::resume_unwind(payload);
        }
    }
}

thread_local! {
    /// Where the last toy kernel of the thread wrote its result.
    pub(crate) static WRITTEN: Cell<usize> = const { Cell::new(0) };
}

/// What a toy kernel does.
#[derive(Clone, Copy)]
pub(crate) enum Toy {
    /// z = x + y.
    Add,
    /// z = x, y one after the other.
    Append,
    /// As [`Toy::Add`]; a panic on the calling thread where x starts with -1, on a worker where it starts with -2.
    Fragile,
    /// As [`Toy::Add`], working in as many bytes as the first element of x says, on a worker.
    Roomy,
}

impl Toy {
    const ALL: [Self; 4] = [Self::Add, Self::Append, Self::Fragile, Self::Roomy];
}

impl Tactic for Toy {
    fn name(&self) -> &str {
        match self {
            Toy::Add => "toy.add",
            Toy::Append => "toy.append",
            Toy::Fragile => "toy.fragile",
            Toy::Roomy => "toy.roomy",
        }
    }

    fn roots(&self) -> &[OpKind] {
        &[]
    }

    fn offer(&self, _: &Problem<'_>, _: usize) -> Result<Vec<Candidate>, Refusal> {
        Err(Refusal::new("plans of this test are made by hand"))
    }
}

impl HostTactic for Toy {
    fn load(&self, _: &Recipe, _: &Region) -> Result<Loaded, KernelError> {
        Ok(Loaded::Kernel(Box::new(*self)))
    }
}

impl Kernel for Toy {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.input(1)?);
        let (x, y) = (x.elements::<f32>(), y.elements::<f32>());
        if let (Toy::Fragile, Some(first)) = (self, x.first()) {
            assert!(*first != -1.0, "the caller gives up");
            launch.workers.run(2, &|task| assert!(task == 0 || *first != -2.0, "worker {task} gives up"));
        }
        if let (Toy::Roomy, Some(first)) = (self, x.first()) {
            let (scratch, bytes) = (launch.scratch, *first as usize);
            launch.workers.run(2, &|task| drop(scratch.allocate::<u8>(task * bytes)));
        }
        let z = launch.output(0).elements::<f32>();
        WRITTEN.set(z.as_ptr().addr());
        match self {
            Toy::Add | Toy::Fragile | Toy::Roomy => {
                z.iter_mut().zip(x.iter().zip(y)).for_each(|(z, (x, y))| *z = x + y)
            }
            Toy::Append => z.iter_mut().zip(x.iter().chain(y)).for_each(|(z, value)| *z = *value),
        }
        Ok(())
    }
}

pub(crate) struct ToyEnd;

impl BackEnd for ToyEnd {
    fn name(&self) -> &str {
        "toy"
    }

    fn target(&self, threads: usize) -> Target {
        Target::unknown("toy", "", threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Toy::ALL.iter().map(|toy| toy as &dyn Tactic).collect()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        let tactics = Toy::ALL.iter().map(|toy| toy as &dyn HostTactic).collect();
        Ok(launch::open(tactics, self.target(threads), Threads::Given(Arc::new(Pair))))
    }
}

/// z = toy(x, y), for a vector x of N elements and a y of as many, or of M where it is appended.
pub(crate) fn plan(toy: Toy) -> Plan {
    match toy {
        Toy::Add | Toy::Fragile | Toy::Roomy => plan_of(toy, Dim::symbol("N")),
        Toy::Append => plan_of(toy, Dim::symbol("M")),
    }
}

/// As [`plan`], for a y of this many elements.
pub(crate) fn plan_of(toy: Toy, m: Dim) -> Plan {
    let (n, f32) = (Dim::symbol("N"), DataType::F32);
    let length = match toy {
        Toy::Add | Toy::Fragile | Toy::Roomy => n.clone(),
        Toy::Append => n.add(&m),
    };
    let [x, y, z] = [&n, &m, &length].map(|dim| ValueType::tensor(f32, vec![dim.clone()]));
    let mut compiler = ShapeCompiler::default();
    let slots = [&n, &m, &length].map(|dim| compiler.dim(dim));
    let (shapes, register) = compiler.finish();
    let operands = [Some(x.clone()), Some(y.clone())];
    let region = match toy {
        Toy::Append => Region::single(Concat { axis: 0 }.into(), &operands, vec![z.clone()]),
        Toy::Add | Toy::Fragile | Toy::Roomy => {
            let sum = Expr::into_pointwise(&[&Expr::input(0, f32) + &Expr::input(1, f32)]).expect("a program");
            Region::single(sum.into(), &operands, vec![z.clone()])
        }
    };
    let value = |ty: ValueType, slot: usize, storage| PlanValue {
        ty,
        sizes: Some(vec![register(slots[slot])]),
        storage,
        place: Place::MAIN,
    };
    let id = PlanValueId::new;
    let port = |name: &str, value: usize| Port { name: name.to_owned(), value: id(value), default: None };
    let plan = Plan {
        name: "toy".to_owned(),
        target: ToyEnd.target(2),
        graph: Graph {
            values: vec![
                value(x, 0, Storage::Input),
                value(y, 1, Storage::Input),
                value(z, 2, Storage::Arena(BufferId::new(0))),
            ],
            inputs: vec![id(0), id(1)],
            outputs: vec![id(2)],
            steps: vec![Step {
                action: Action::Launch(sinter_plan::Launch::of(
                    region,
                    Variant::of(Recipe { tactic: toy.name().to_owned(), parameters: Attr::Absent }),
                )),
                inputs: vec![Some(id(0)), Some(id(1))],
                outputs: vec![id(2)],
                origins: vec!["Toy node 'z'".to_owned()],
            }],
        },
        inputs: vec![port("x", 0), port("y", 1)],
        outputs: vec![port("z", 2)],
        islands: Vec::new(),
        weights: Vec::new(),
        code: Vec::new(),
        shapes,
        guards: Vec::new(),
        expressions: Vec::new(),
        self_test: None,
        report: None,
    };
    from_bytes(to_bytes(&plan).into(), Trust::Nothing).expect("a plan that reads back")
}

pub(crate) fn engine(toy: Toy) -> Engine {
    Engine::from_plan(plan(toy), &[&ToyEnd], 2).expect("an engine")
}
