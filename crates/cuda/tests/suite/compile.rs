//! Every kernel compiles for every tier of targets, on a machine without a device: needs the run-time compiler only.

use std::collections::BTreeSet;

use sinter_backend::{Problem, Region, Sizing};
use sinter_base::{DataType, Value, ValueType};
use sinter_cuda::Cuda;
use sinter_cuda::compile::image;
use sinter_cuda::driver::library;
use sinter_cuda::kernel::{Kernel, Source};
use sinter_cuda::target::Chip;
use sinter_ops::catalog;
use sinter_ops::pointwise::scalar::Class;
use sinter_ops::pointwise::{CastMode, Expr, Pointwise, ScalarOp};

use crate::region;

/// The oldest target, the first one with asynchronous copies, and that of an H200.
const TARGETS: &[&str] = &["sm_75", "sm_80", "sm_90a"];

/// A kernel to compile: its configuration, its text, and the target.
pub(crate) type Job = (String, Source, &'static str);

/// The kernels of the best recipes that each tactic offers for a region on a target.
pub(crate) fn kernels(region: &Region, target: &str, most: usize) -> Vec<Box<dyn Kernel>> {
    let root = region.root();
    let takers =
        Cuda::device_tactics().into_iter().filter(|tactic| root.is_some_and(|root| tactic.roots().contains(&root)));
    let target = Chip::named(target).expect("a known target").typical();
    let problem = Problem { region, target: &target, sizing: &Sizing::default() };
    let offers = takers.flat_map(|tactic| {
        let candidates = tactic.offer(&problem, most).unwrap_or_default();
        candidates.into_iter().map(move |candidate| tactic.kernel(&candidate.recipe, region))
    });
    offers.map(|kernel| kernel.expect("the kernel of an offer")).collect()
}

/// Runs work on all processors, and returns what it reports.
pub(crate) fn failures(jobs: &[Job], work: impl Fn(&Job) -> Option<String> + Sync) -> Vec<String> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    if let Some(log) = work(job) {
                        let (configuration, _, target) = job;
                        failures.lock().expect("no panic in between").push(format!("{configuration} {target}: {log}"));
                    }
                }
            });
        }
    });
    failures.into_inner().expect("no panic in between")
}

/// The messages of the compiler.
fn refused((_, source, target): &Job) -> Option<String> {
    let log = match image(source, target) {
        Ok(compiled) if compiled.cubin.starts_with(b"\x7fELF") => compiled.log,
        Ok(_) => "no machine code".to_owned(),
        Err(error) => error.to_string(),
    };
    (!log.is_empty()).then_some(log)
}

/// Is there a compiler? Without one a test is skipped with a printed reason, which under `CI=true` is a failure.
pub(crate) fn has_compiler() -> bool {
    match library::compiler() {
        Ok(_) => true,
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
            println!("skipped: {error}");
            false
        }
    }
}

/// The kernels of a list of regions for these targets, each configuration once for each.
pub(crate) fn distinct(regions: &[Region], targets: &[&'static str], most: usize) -> Vec<Job> {
    let mut seen = BTreeSet::new();
    let all = regions.iter().flat_map(|region| targets.iter().map(move |target| (region, *target)));
    let jobs = all.flat_map(|(region, target)| {
        let kernels = kernels(region, target, most).into_iter();
        kernels.map(move |kernel| (kernel.configuration(), kernel.source(), target))
    });
    jobs.filter(|(configuration, _, target)| seen.insert((configuration.clone(), *target))).collect()
}

#[test]
fn kernels_of_all_examples_compile_for_every_target() {
    let examples = || catalog::ALL.iter().flat_map(|info| info.examples());
    let regions = examples().filter_map(|example| {
        let types: Vec<_> = example.values(0).iter().map(|v| v.as_ref().map(Value::value_type)).collect();
        region(&example.op, &types)
    });
    let regions: Vec<Region> = regions.collect();
    let jobs = distinct(&regions, TARGETS, usize::MAX);
    let halves = super::tensor_cores::regions();
    let more = distinct(&halves, &["sm_90a"], 1);
    let named = jobs.iter().chain(&more).filter_map(|(name, ..)| name.split(' ').next());
    let named: BTreeSet<&str> = named.collect();
    for tactic in Cuda::device_tactics() {
        assert!(named.contains(tactic.name()), "no example runs on {}", tactic.name());
    }
    if has_compiler() {
        let failures = failures(&jobs, refused);
        println!("{} kernels for {} targets", jobs.len(), TARGETS.len());
        assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures[..failures.len().min(3)].join("\n"));
    }
}

/// Every scalar operation in one program at each kind of type, and casts from it to all types. For the oldest target:
/// the text has nothing in it that depends on the target.
#[test]
fn scalar_operations_compile_at_every_type() {
    let numbers: Vec<DataType> = DataType::ALL.iter().copied().filter(|ty| *ty != DataType::String).collect();
    let program = |ty: DataType| -> Pointwise {
        let (x, y) = (Expr::input(0, ty), Expr::input(1, ty));
        let is_known = |op: &ScalarOp| match op.class() {
            Class::FloatUnary | Class::FloatTest => ty.is_float(),
            Class::Unary | Class::Binary => ty.is_float() || ty.is_integer(),
            Class::IntegerBinary => ty.is_integer(),
            Class::Logic => ty == DataType::Bool,
            Class::Comparison => true,
            Class::Select | Class::Cast => false,
        };
        let apply = |op: ScalarOp| if op.arity() == 1 { x.unary(op) } else { x.binary(op, &y) };
        let mut results: Vec<Expr> = ScalarOp::ALL.iter().copied().filter(is_known).map(apply).collect();
        results.push(x.binary(ScalarOp::Equal, &y).select(&x, &y));
        // One result carries all values: every one is a number at least as a comparison.
        let folded = results.into_iter().map(|result| result.cast(DataType::F32)).reduce(|a, b| &a + &b);
        let mut results: Vec<Expr> = folded.into_iter().collect();
        results.extend(numbers.iter().filter(|to| **to != ty).map(|to| x.cast(*to)));
        results.push(x.cast_with(DataType::F8E8M0, CastMode { saturate: false, ..CastMode::default() }));
        Expr::into_pointwise(&results).expect("well-typed expressions")
    };
    // One type for each way of carrying and of rounding values.
    let types = [
        DataType::F64,
        DataType::F32,
        DataType::F16,
        DataType::F8E5M2FNUZ,
        DataType::I32,
        DataType::U64,
        DataType::I4,
        DataType::Bool,
    ];
    let regions = types.iter().filter_map(|ty| {
        let tensor = ValueType::tensor(*ty, vec![7i64.into()]);
        region(&program(*ty).into(), &[Some(tensor.clone()), Some(tensor)])
    });
    let jobs = distinct(&regions.collect::<Vec<_>>(), &TARGETS[..1], 1);
    assert_eq!(jobs.len(), types.len());
    if has_compiler() {
        let failures = failures(&jobs, refused);
        assert!(failures.is_empty(), "{} fail:\n{}", failures.len(), failures[..failures.len().min(3)].join("\n"));
    }
}
