//! Verification: the build drops almost correct kernels by name, and continues.

use std::sync::Arc;

use sinter_backend::{
    BackEnd, Candidate, Device, KernelError, Problem, Proposer, Recipe, Refusal, Region, Tactic, Target,
};
use sinter_base::{DataType, Location, Tensor, TensorType};
use sinter_builder::{BuildOptions, Built, Unverified, VerificationCache, Verify, build};
use sinter_conformance::control_networks::endless;
use sinter_cpu::Cpu;
use sinter_cpu::launch::{self, HostTactic, Kernel, Launch, Loaded, Threads};
use sinter_ir::{Handle, Network, NetworkBuilder};
use sinter_ops::OpKind;
use sinter_ops::control::If;
use sinter_ops::index::TopK;
use sinter_ops::matmul::MatMul;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode};
use sinter_ops::reduce::{ArgReduce, Reduce, ReduceKind};
use sinter_runtime::Engine;

/// The fault of a result.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// The last element is left as it was.
    Tail,
    /// One column has its neighbour's value.
    Column,
    /// Everything is one rounding unit of f16 too large.
    Scale,
    /// The result is written before the operand is read, as if they never lay in the same memory.
    Early,
    /// The last element is added to what an earlier step left there.
    Stale,
    /// It panics.
    Panic,
}

/// A kernel of the CPU whose result is spoiled afterwards.
struct Spoiled {
    inner: Box<dyn Kernel>,
    fault: Fault,
}

impl Kernel for Spoiled {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let columns = launch.output(0).sizes().last().copied().unwrap_or(1).max(1);
        let before = launch.output(0).elements::<f32>().last().copied();
        if matches!(self.fault, Fault::Early) {
            launch.output(0).elements::<f32>().fill(0.0);
        }
        self.inner.launch(launch)?;
        let y = launch.output(0).elements::<f32>();
        match self.fault {
            Fault::Tail => {
                if let (Some(last), Some(before)) = (y.last_mut(), before) {
                    *last = before;
                }
            }
            Fault::Column => y.chunks_exact_mut(columns).for_each(|row| row[columns / 2] = row[columns / 2 - 1]),
            Fault::Scale => y.iter_mut().for_each(|v| *v *= 1.0 + 1.0 / 1024.0),
            Fault::Stale => {
                // Poisoned and new memory holds no number that a step computes.
                let left = before.filter(|v| (1e-6..1e3).contains(v));
                if let (Some(last), Some(left)) = (y.last_mut(), left) {
                    *last += left;
                }
            }
            Fault::Early => {}
            Fault::Panic => panic!("spoiled"),
        }
        Ok(())
    }
}

/// A tactic that offers another one's kernels, spoiled, at no cost.
struct SpoiledTactic {
    name: &'static str,
    of: &'static str,
    fault: Fault,
}

impl SpoiledTactic {
    fn inner(&self) -> &'static dyn HostTactic {
        let mut all = Cpu::host_tactics().into_iter();
        all.find(|tactic| tactic.name() == self.of).expect("a tactic of this name")
    }
}

impl Tactic for SpoiledTactic {
    fn name(&self) -> &str {
        self.name
    }

    fn roots(&self) -> &[OpKind] {
        self.inner().roots()
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let mut candidates = self.inner().offer(problem, most)?;
        for candidate in &mut candidates {
            candidate.estimate = 0.0;
            if matches!(self.fault, Fault::Stale) {
                candidate.in_place.clear();
            }
            self.name.clone_into(&mut candidate.recipe.tactic);
        }
        Ok(candidates)
    }

    fn pack(&self, recipe: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        self.inner().pack(recipe, region, operand, weight)
    }
}

impl HostTactic for SpoiledTactic {
    fn load(&self, recipe: &Recipe, region: &Region) -> Result<Loaded, KernelError> {
        match self.inner().load(recipe, region)? {
            Loaded::Kernel(inner) => Ok(Loaded::Kernel(Box::new(Spoiled { inner, fault: self.fault }))),
            other => Ok(other),
        }
    }
}

const SPOILED: &[SpoiledTactic] = &[
    SpoiledTactic { name: "cpu.pointwise.tail", of: "cpu.pointwise.program", fault: Fault::Tail },
    SpoiledTactic { name: "cpu.matmul.column", of: "cpu.matmul.panels.f32", fault: Fault::Column },
    SpoiledTactic { name: "cpu.reduce.scale", of: "cpu.reduce.softmax.f32", fault: Fault::Scale },
];

const EARLY: &[SpoiledTactic] =
    &[SpoiledTactic { name: "cpu.reduce.early", of: "cpu.reduce.softmax.f32", fault: Fault::Early }];

const STALE: &[SpoiledTactic] =
    &[SpoiledTactic { name: "cpu.reduce.stale", of: "cpu.reduce.softmax.f32", fault: Fault::Stale }];

const PANICS: &[SpoiledTactic] =
    &[SpoiledTactic { name: "cpu.reduce.panics", of: "cpu.reduce.softmax.f32", fault: Fault::Panic }];

/// The CPU with spoiled tactics in front of its own.
struct Bad(&'static [SpoiledTactic]);

impl BackEnd for Bad {
    fn name(&self) -> &str {
        "cpu"
    }

    fn target(&self, threads: usize) -> Target {
        Cpu.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        let spoiled = self.0.iter().map(|tactic| tactic as &'static dyn Tactic);
        spoiled.chain(Cpu.tactics()).collect()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        let spoiled = self.0.iter().map(|tactic| tactic as &'static dyn HostTactic);
        let tactics = spoiled.chain(Cpu::host_tactics()).collect();
        Ok(launch::open(tactics, self.target(threads), Threads::Leased(threads)))
    }
}

/// softmax(tanh(x) w + tanh(x) w squared): a pointwise operator, a product with an epilogue, a softmax.
fn network() -> Network {
    let mut builder = NetworkBuilder::new();
    let location = Location::default();
    let dims = vec![5i64.into(), 37i64.into()];
    let x = builder.add_network_input("x", TensorType::ranked(DataType::F32, dims).into(), None);
    let weight = (0..37 * 19).map(|i| ((i * 7919) % 101) as f32 / 101.0 - 0.5).collect();
    let w = builder.add_weight("w", Tensor::from_vec(&[37, 19], weight).unwrap());
    let input = Expr::input(0, DataType::F32);
    let tanh = Expr::into_pointwise(&[input.unary(ScalarOp::Tanh)]).unwrap();
    let curved = Expr::into_pointwise(&[&input + &(&input * &input)]).unwrap();
    let mut add = |op: sinter_ops::Op, inputs: &[_]| builder.add(op, inputs, &location).unwrap()[0];
    let t = add(tanh.into(), &[Some(x)]);
    let product = add(MatMul::default().into(), &[Some(t), Some(w)]);
    let c = add(curved.into(), &[Some(product)]);
    let y = add(sinter_ops::reduce::Softmax { axis: -1, log: false }.into(), &[Some(c)]);
    builder.finish("gate", &[("y".to_owned(), y)])
}

#[test]
fn spoiled_kernels_are_dropped_by_name() {
    let network = network();
    let built = build(&network, &Bad(SPOILED), BuildOptions::default()).expect("a plan without the spoiled kernels");
    let dropped: Vec<&str> = built.verification.dropped.iter().map(|d| d.name.as_str()).collect();
    for spoiled in SPOILED {
        assert!(dropped.contains(&spoiled.name), "{} was not dropped; dropped were {dropped:?}", spoiled.name);
    }
    assert!(built.plan.tactics().into_iter().all(|name| SPOILED.iter().all(|spoiled| spoiled.name != name)));
    let engine = Engine::from_plan(built.plan, &[&Cpu], 1).expect("an engine");
    assert_eq!(engine.self_test().expect("known answers"), 1);
}

#[test]
fn without_verification_no_fault_is_found() {
    let options = BuildOptions { verify: Verify::Off, ..BuildOptions::default() };
    let built = build(&network(), &Bad(SPOILED), options).expect("a plan");
    assert!(built.verification.skipped.is_some() && built.verification.dropped.is_empty());
    assert!(built.plan.tactics().into_iter().any(|name| SPOILED.iter().any(|spoiled| spoiled.name == name)));
    assert!(built.plan.self_test.is_none());
}

#[test]
fn healthy_kernels_raise_no_alarm() {
    let built = build(&network(), &Cpu, BuildOptions::default()).expect("a plan");
    assert!(built.verification.dropped.is_empty(), "{:?}", built.verification.dropped);
    assert_eq!(built.verification.agreed, built.plan.graph.steps.len());
}

/// A condition, tanh(x) on one side of it and softmax(x) on the other.
fn branches() -> Network {
    let mut builder = NetworkBuilder::new();
    let location = Location::default();
    let condition = builder.add_network_input("c", TensorType::ranked(DataType::Bool, vec![]).into(), None);
    let dims = vec![5i64.into(), 37i64.into()];
    let x = builder.add_network_input("x", TensorType::ranked(DataType::F32, dims).into(), None);
    let tanh = Expr::into_pointwise(&[Expr::input(0, DataType::F32).unary(ScalarOp::Tanh)]).unwrap();
    let mut scope = |op: sinter_ops::Op| {
        builder.open_scope();
        let y = builder.add(op, &[Some(x)], &location).unwrap()[0];
        builder.close_scope(&[y])
    };
    let (then, otherwise) = (scope(tanh.into()), scope(sinter_ops::reduce::Softmax { axis: -1, log: false }.into()));
    let captures = then.captures.iter().chain(&otherwise.captures).copied();
    let inputs: Vec<_> = std::iter::once(condition).chain(captures).map(Some).collect();
    let op = If { then_branch: then.body, else_branch: otherwise.body };
    let y = builder.add(op, &inputs, &location).unwrap()[0];
    builder.finish("branches", &[("y".to_owned(), y)])
}

#[test]
fn kernels_inside_bodies_are_dropped_by_name() {
    let built = build(&branches(), &Bad(SPOILED), BuildOptions::default()).expect("a plan");
    let mut dropped: Vec<&str> = built.verification.dropped.iter().map(|d| d.name.as_str()).collect();
    dropped.sort_unstable();
    assert_eq!(dropped, ["cpu.pointwise.tail", "cpu.reduce.scale"], "on both sides, whatever the condition");
    assert_eq!((built.verification.agreed, built.verification.unverified.len()), (3, 0));
}

/// softmax(softmax(softmax(x))): nothing is fused, and the last one may reuse the memory of its operand, or of the
/// first.
fn softened() -> Network {
    network_of("softened", &[5, 37], |m, x| {
        (0..3).fold(x, |y, _| add(m, sinter_ops::reduce::Softmax { axis: -1, log: false }, &[y]))
    })
}

/// A kernel that must not work in place is correct in separate memory; the trial in memory as the plan places it names
/// the kernel, and the next build knows the verification result.
#[test]
fn kernels_that_do_not_take_the_memory_of_their_plan_are_dropped_by_name() {
    let network = softened();
    let mut results = VerificationCache::default();
    let mut once = || {
        let options = BuildOptions { verifications: Some(results.clone()), ..BuildOptions::default() };
        let built = build(&network, &Bad(EARLY), options).expect("a plan without the kernel");
        let dropped = &built.verification.dropped;
        assert!(!dropped.is_empty() && dropped.iter().all(|d| d.name == "cpu.reduce.early"), "{dropped:?}");
        results = built.verifications.clone().expect("results");
        built
    };
    let (built, again) = (once(), once());
    assert_eq!((built.is_known_verification, again.is_known_verification), (false, true));
    assert_eq!(sinter_plan::to_bytes(&built.plan), sinter_plan::to_bytes(&again.plan));
    let engine = Engine::from_plan(built.plan, &[&Bad(EARLY)], 1).expect("an engine");
    assert_eq!(engine.self_test().expect("known answers"), 1);
}

/// Each kernel is correct by itself; a kernel that depends on earlier contents of its memory fails only in the whole
/// plan, and no plan with this kernel is correct.
#[test]
fn what_the_whole_plan_shows_is_no_plan() {
    let error = build(&softened(), &Bad(STALE), BuildOptions::default()).expect_err("memory that others used");
    assert!(error.to_string().contains("beside the one without shared memory"), "{error}");
}

#[test]
fn kernels_that_panic_are_dropped_by_name() {
    let built = build(&softened(), &Bad(PANICS), BuildOptions::default()).expect("a plan without the kernel");
    let dropped = &built.verification.dropped;
    assert!(dropped.iter().all(|d| d.name == "cpu.reduce.panics" && d.reason.contains("spoiled")), "{dropped:?}");
    assert_eq!((dropped.is_empty(), built.plan.self_test.is_some()), (false, true));
}

/// One step of a narrow type is no error.
#[test]
fn narrow_types_raise_no_alarm() {
    for data_type in [DataType::F16, DataType::Bf16] {
        let mut builder = NetworkBuilder::new();
        let dims = vec![20i64.into(), 31i64.into()];
        let x = builder.add_network_input("x", TensorType::ranked(data_type, dims).into(), None);
        let input = Expr::input(0, data_type);
        let mish = &input * &(&input.unary(ScalarOp::Exp) + 1.0).unary(ScalarOp::Log).unary(ScalarOp::Tanh);
        let y = builder.add(Expr::into_pointwise(&[mish]).unwrap(), &[Some(x)], &Location::default()).unwrap()[0];
        let network = builder.finish("mish", &[("y".to_owned(), y)]);
        let built = build(&network, &Cpu, BuildOptions::default()).expect("a plan");
        assert!(built.verification.dropped.is_empty() && built.plan.self_test.is_some(), "{:?}", built.verification);
    }
}

/// x, what is made of it, and the network of that.
fn network_of(name: &str, sizes: &[i64], make: impl FnOnce(&mut NetworkBuilder, Handle) -> Handle) -> Network {
    let mut builder = NetworkBuilder::new();
    let dims = sizes.iter().map(|size| (*size).into()).collect();
    let x = builder.add_network_input("x", TensorType::ranked(DataType::F32, dims).into(), None);
    let y = make(&mut builder, x);
    builder.finish(name, &[("y".to_owned(), y)])
}

fn add(builder: &mut NetworkBuilder, op: impl Into<sinter_ops::Op>, inputs: &[Handle]) -> Handle {
    let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
    builder.add(op.into(), &inputs, &Location::default()).expect("an operator that fits")[0]
}

fn pointwise(builder: &mut NetworkBuilder, inputs: &[Handle], expression: Expr) -> Handle {
    add(builder, Expr::into_pointwise(&[expression]).expect("a program"), inputs)
}

/// Sums that cancel, edges that rounding crosses, and narrow types on the way are no errors.
#[test]
fn what_rounding_explains_raises_no_alarm() {
    let x = || Expr::input(0, DataType::F32);
    let centered = |m: &mut NetworkBuilder, value: Handle| {
        let axes = m.add_weight("axes", Tensor::of_i64(&[2, 3]));
        let mean = add(m, Reduce::new(ReduceKind::Mean, true), &[value, axes]);
        pointwise(m, &[value, mean], &x() - &Expr::input(1, DataType::F32))
    };
    let product = |m: &mut NetworkBuilder, value: Handle| {
        let weight = (0..64 * 300).map(|i| ((i * 7919) % 101) as f32 / 10.0 - 5.0).collect();
        let weight = m.add_weight("w", Tensor::from_vec(&[64, 300], weight).expect("a matrix"));
        add(m, MatMul::default(), &[value, weight])
    };
    let networks = [
        network_of("pool", &[1, 4, 14, 5], |m, value| {
            let centered = centered(m, value);
            add(m, Pool { mode: PoolMode::Average { count_padding: false }, window: None }, &[centered])
        }),
        network_of("floor", &[256, 64], |m, value| {
            let product = product(m, value);
            pointwise(m, &[product], x().unary(ScalarOp::Floor))
        }),
        network_of("integers", &[256, 64], |m, value| {
            let product = product(m, value);
            pointwise(m, &[product], x().cast(DataType::I32))
        }),
        network_of("half", &[64, 300], |m, value| {
            pointwise(m, &[value], x().unary(ScalarOp::Tanh).cast(DataType::F16).cast(DataType::F32))
        }),
        network_of("bf16", &[64, 300], |m, value| {
            pointwise(m, &[value], x().unary(ScalarOp::Tanh).cast(DataType::Bf16).cast(DataType::F32))
        }),
    ];
    for network in networks {
        let built = build(&network, &Cpu, BuildOptions::default()).expect("a plan");
        assert!(built.verification.dropped.is_empty(), "{}: {:?}", network.name, built.verification);
    }
}

/// The report of a build that drops no kernel: the agreed outputs, and the unverified ones.
fn verified(network: &Network) -> (Built, Vec<String>) {
    let built = build(network, &Cpu, BuildOptions::default()).expect("a plan");
    assert!(built.verification.dropped.is_empty(), "{}: {:?}", network.name, built.verification);
    assert_eq!(built.verification.skipped, None, "{}", network.name);
    let unverified = &built.verification.unverified;
    let unverified = unverified.iter().map(|Unverified { origin, reason }| format!("{origin}: {reason}")).collect();
    (built, unverified)
}

/// Scores that are masked with minus infinity, and the positions of the largest.
#[test]
fn infinities_beside_a_selection_are_verified() {
    let mut builder = NetworkBuilder::new();
    let dims = vec![3i64.into(), 5i64.into()];
    let x = builder.add_network_input("x", TensorType::ranked(DataType::F32, dims).into(), None);
    let mask = (0..15).map(|at| if at % 4 == 1 { f32::NEG_INFINITY } else { 0.0 }).collect();
    let mask = builder.add_weight("mask", Tensor::from_vec(&[3, 5], mask).expect("a mask"));
    let (a, b) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
    let scores = pointwise(&mut builder, &[x, mask], &a + &b);
    let arg = ArgReduce { largest: true, axis: 1, keep_dims: false, select_last: false };
    let best = add(&mut builder, arg, &[scores]);
    let network = builder.finish("masked", &[("s".to_owned(), scores), ("i".to_owned(), best)]);
    let (built, unverified) = verified(&network);
    assert_eq!((unverified.len(), built.plan.self_test.is_some()), (0, true), "{unverified:?}");
    let engine = Engine::from_plan(built.plan, &[&Cpu], 1).expect("an engine");
    assert_eq!(engine.self_test().expect("known answers"), 1);
}

/// Weights with NaN, which go to the output behind a selection.
#[test]
fn not_a_number_behind_a_selection_is_verified() {
    let mut builder = NetworkBuilder::new();
    let x =
        builder.add_network_input("x", TensorType::ranked(DataType::F32, vec![4i64.into(), 6i64.into()]).into(), None);
    let values = (0..36).map(|at| if at % 7 == 3 { f32::NAN } else { at as f32 / 10.0 - 1.5 }).collect();
    let w = builder.add_weight("w", Tensor::from_vec(&[6, 6], values).expect("a matrix"));
    let product = add(&mut builder, MatMul::default(), &[x, w]);
    let k = builder.constant(Tensor::of_i64(&[2]));
    let top = builder.add(TopK { axis: 0, largest: true, sorted: true }, &[Some(w), Some(k)], &Location::default());
    let top = top.expect("an operator that fits")[0];
    let network = builder.finish("not-a-number", &[("y".to_owned(), product), ("t".to_owned(), top)]);
    let (built, unverified) = verified(&network);
    assert_eq!((unverified.len(), built.plan.self_test.is_some()), (0, true), "{unverified:?}");
}

/// Sums that cancel in float64 and overflow in f32 on the way are no error of the kernel; the build reports the error
/// of the plan.
#[test]
fn overflow_of_f32_alone_is_reported() {
    let network = network_of("overflow", &[3, 64], |m, x| {
        let large = pointwise(m, &[x], &(&Expr::input(0, DataType::F32) * 1e-3) + 1e25);
        let w = (0..64 * 8).map(|at| if at / 8 < 32 { 2e13f32 } else { -2e13 }).collect();
        let w = m.add_weight("w", Tensor::from_vec(&[64, 8], w).expect("a matrix"));
        add(m, MatMul::default(), &[large, w])
    });
    let (built, unverified) = verified(&network);
    assert!(unverified.iter().any(|reason| reason.contains("overflow")), "{unverified:?}");
    let x = Tensor::from_vec(&[3, 64], vec![1e-6f32; 192]).expect("ones");
    let engine = Engine::from_plan(built.plan, &[&Cpu], 1).expect("an engine");
    assert!(engine.run(vec![("x".to_owned(), x.into())]).is_ok(), "a plan that runs");
}

/// A loop that runs too long: the build verifies its body on the first iterations, and reports the rest.
#[test]
fn endless_loops_are_verified_as_far_as_they_go() {
    let begun = std::time::Instant::now();
    let (built, unverified) = verified(&endless());
    assert!(unverified.iter().any(|one| one.starts_with("the whole plan: more than")), "{unverified:?}");
    assert!(built.verification.agreed >= 6, "the steps of the body: {}", built.verification.agreed);
    assert!(built.plan.self_test.is_none());
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
