//! Every operator's examples, at every element type, through every tactic of every back end that takes them, against
//! the reference.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use sinter_backend::{BackEnd, Device, Numerics, Tactic};
use sinter_base::{DataType, Tensor, Value};
use sinter_conformance::kernels::{gpu, offers, region_of, run_candidate, run_kernel};
use sinter_conformance::other_types::{Problem, problems};
use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_interp::{Tolerance, compare};
use sinter_ops::pointwise::scalar::Class;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::{Arguments, EvalContext, Example, Op, ReferenceEvaluator, catalog};

/// Fresh inputs per example.
const ROUNDS: u64 = 3;

/// The largest of values of ordinary size.
const MOST_VALUE: f64 = 4.0;

/// The tolerance of a kernel of each class on inputs of ordinary size. Sums of a hundred products in f32 stay within
/// 1e-5 relative; cancellation near zero is bounded absolutely. A result that falls between two numbers of an 8-bit or
/// 4-bit type may become either.
fn tolerance(numerics: Numerics, result: &Value) -> Tolerance {
    let step = match result.as_tensor().map(Tensor::data_type) {
        Some(DataType::F8E4M3FN | DataType::F8E4M3FNUZ) => 2f64.powi(-3),
        Some(DataType::F8E5M2 | DataType::F8E5M2FNUZ) => 2f64.powi(-2),
        Some(DataType::F4E2M1) => 2f64.powi(-1),
        _ => 0.0,
    };
    let unit = match result.as_tensor().map(Tensor::data_type) {
        Some(DataType::Bf16) => 2f64.powi(-7),
        _ => 2f64.powi(-10),
    };
    let usual = match numerics {
        Numerics::Exact => return Tolerance::EXACT,
        Numerics::Ordered => Tolerance { relative: 1e-5, absolute: 1e-6 },
        Numerics::Reassociated => Tolerance { relative: 1e-5, absolute: 2e-6 },
        // The sum of terms is at most the largest value, and each errs by half a unit of the type.
        Numerics::Narrowed => Tolerance { relative: 1e-5, absolute: unit / 2.0 * MOST_VALUE },
        Numerics::Transformed => Tolerance { relative: 1e-3, absolute: 1e-4 },
    };
    Tolerance { relative: usual.relative.max(step), ..usual }
}

/// The problems of an example with the inputs of a seed.
type Problems = fn(&Example, u64) -> Vec<Problem>;

/// The tactics of a back end. `SINTER_TACTICS` is a part of their names and selects some, for a run under a slow tool.
fn tactics(back_end: &dyn BackEnd) -> Vec<&dyn Tactic> {
    let part = std::env::var("SINTER_TACTICS").unwrap_or_default();
    back_end.tactics().into_iter().filter(|tactic| tactic.name().contains(&part)).collect()
}

/// Compiles the kernels of examples on all processors, for a back end that keeps what it compiled.
pub(crate) fn compile_all(back_end: &dyn BackEnd, examples: &[Example], problems: Problems) {
    let (target, tactics, next) = (back_end.target(1), tactics(back_end), AtomicUsize::new(0));
    let compile = |example: &Example| {
        for problem in problems(example, 0) {
            for tactic in &tactics {
                for candidate in offers(*tactic, &problem.region, &target).unwrap_or_default() {
                    // An error shows when the kernel is loaded.
                    let _ = tactic.compile(&candidate.recipe, &problem.region, &target);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(example) = examples.get(next.fetch_add(1, Ordering::Relaxed)) {
                    compile(example);
                }
            });
        }
    });
}

/// The examples of all operators.
fn all_examples() -> Vec<Example> {
    catalog::ALL.iter().flat_map(|info| info.examples()).collect()
}

/// All kernels of a back end that take problems of these examples, on fresh inputs each round.
pub(crate) fn agree_with_the_reference(back_end: &dyn BackEnd, examples: &[Example], problems: Problems, rounds: u64) {
    let (device, tactics) = (back_end.open(2).expect("the device"), tactics(back_end));
    let (mut wrong, mut ran) = (Vec::new(), 0);
    for example in examples {
        for (seed, problem) in (0..rounds).flat_map(|seed| problems(example, seed).into_iter().map(move |p| (seed, p)))
        {
            let Problem { values, region } = &problem;
            // A type may be too small for what the operator computes of these values.
            let expected = {
                let evaluator = ReferenceEvaluator;
                example.op.reference(&Arguments::new(values), &EvalContext::new(&evaluator))
            };
            let Ok(expected) = expected else { continue };
            for tactic in &tactics {
                let Ok(candidates) = offers(*tactic, region, device.target()) else { continue };
                if !region.root().is_some_and(|root| tactic.roots().contains(&root)) {
                    wrong.push(format!("{} takes {} and is never asked about it", tactic.name(), example.op.name()));
                }
                for candidate in &candidates {
                    ran += 1;
                    let result = run_candidate(&*device, *tactic, candidate, region, values).and_then(|found| {
                        let pairs = found.iter().zip(&expected).enumerate();
                        pairs.into_iter().try_for_each(|(i, (found, expected))| {
                            let bound = tolerance(candidate.numerics, expected);
                            compare(found, expected, bound).map_err(|e| format!("result {i}: {e}"))
                        })
                    });
                    if let Err(reason) = result {
                        let data_type = problem.data_type().map(|t| t.to_string()).unwrap_or_default();
                        let (recipe, example) = (&candidate.recipe, example.name);
                        wrong.push(format!("{recipe} '{example}' {data_type} seed {seed}: {reason}"));
                    }
                }
            }
        }
    }
    println!("{ran} launches");
    assert!(ran > 0 && wrong.is_empty(), "{} of {ran} launches:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn kernels_of_the_processor_agree_with_the_reference() {
    agree_with_the_reference(&Cpu, &all_examples(), problems, ROUNDS);
}

#[test]
fn kernels_of_the_fake_device_agree_with_the_reference() {
    agree_with_the_reference(&Fake::default(), &all_examples(), problems, ROUNDS);
}

#[test]
fn kernels_of_the_gpu_agree_with_the_reference() {
    let Some(gpu) = gpu() else { return };
    compile_all(&gpu, &all_examples(), problems);
    agree_with_the_reference(&gpu, &all_examples(), problems, ROUNDS);
}

/// Numbers at which operations on a type differ: zeros, small and ordinary ones, and the ends of the type.
fn telling_numbers(data_type: DataType) -> Vec<f64> {
    let mut numbers = vec![0.0, 1.0, 2.0, 3.0, 7.0];
    match data_type.integer_range() {
        Some((low, high)) => {
            numbers.extend([-1.0, -2.0, -5.0].into_iter().filter(|number| (low as f64) <= *number));
            numbers.extend([100.0, 1000.0].into_iter().filter(|number| *number <= high as f64));
            numbers.retain(|number| *number <= high as f64);
            if data_type.bits() < 64 {
                numbers.extend([low as f64, high as f64]);
            }
        }
        None => numbers.extend([
            -0.0,
            -1.0,
            -2.0,
            0.5,
            -0.25,
            1.5,
            2.5,
            -3.7,
            0.1,
            12.3,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ]),
    }
    numbers
}

/// Every scalar operation on a type, and every cast from it, by name.
fn operations_on(ty: DataType, types: &[DataType]) -> Vec<(String, Expr)> {
    let (x, y) = (Expr::input(0, ty), Expr::input(1, ty));
    let is_known = |op: &ScalarOp| match op.class() {
        Class::FloatUnary | Class::FloatTest => ty.is_float(),
        Class::Unary | Class::Binary => ty.is_float() || ty.is_integer(),
        Class::IntegerBinary => ty.is_integer(),
        Class::Logic => ty == DataType::Bool,
        Class::Comparison => true,
        Class::Select | Class::Cast => false,
    };
    let apply = |op: ScalarOp| (op.name(), if op.arity() == 1 { x.unary(op) } else { x.binary(op, &y) });
    let mut all: Vec<_> = ScalarOp::ALL.iter().copied().filter(is_known).map(apply).collect();
    all.extend(types.iter().filter(|to| **to != ty).map(|to| (format!("cast to {to}"), x.cast(*to))));
    all
}

/// Runs one program of these operations on pairs of telling numbers, and returns what differs from the reference.
fn differences(back_end: &dyn BackEnd, device: &dyn Device, ty: DataType, part: &[(String, Expr)]) -> Vec<String> {
    let list = telling_numbers(ty);
    let operand = |sizes: &[usize]| Tensor::from_floats(ty, sizes, &list).expect("as many numbers").into();
    let values = [Some(operand(&[list.len()])), Some(operand(&[list.len(), 1]))];
    // A comparison keeps both operands in the program.
    let both = Expr::input(0, ty).binary(ScalarOp::Equal, &Expr::input(1, ty));
    let exprs: Vec<Expr> = part.iter().map(|(_, expr)| expr.clone()).chain([both]).collect();
    let op: Op = Expr::into_pointwise(&exprs).expect("a program").into();
    let region = region_of(&op, &values).expect("operands that the operator takes");
    let expected = op.reference(&Arguments::new(&values), &EvalContext::new(&ReferenceEvaluator)).expect("results");
    let takes = |tactic: &&dyn Tactic| offers(*tactic, &region, device.target()).is_ok();
    let Some(tactic) = back_end.tactics().into_iter().find(takes) else { return vec![format!("{ty}: no kernel")] };
    let found = match run_kernel(device, tactic, &region, &values) {
        Ok(found) => found,
        Err(error) => return vec![format!("{ty}: {error}")],
    };
    let triples = found.iter().zip(&expected).zip(part);
    let differs = triples.filter_map(|((found, expected), (name, _))| {
        let bound = tolerance(Numerics::Ordered, expected);
        compare(found, expected, bound).err().map(|error| format!("{name}.{ty}: {error}"))
    });
    differs.collect()
}

/// Operations of one program.
const PART: usize = 8;

/// Every scalar operation at every type, and every cast.
fn scalar_operations_agree(back_end: &dyn BackEnd) {
    let device = back_end.open(1).expect("the device");
    let types = DataType::ALL.iter().copied().filter(|ty| !matches!(ty, DataType::String | DataType::F8E8M0));
    let types: Vec<DataType> = types.collect();
    // Expressions stay on their thread: a job is a type and the number of a part.
    let parts = |ty: DataType| (0..operations_on(ty, &types).len().div_ceil(PART)).map(move |part| (ty, part));
    let jobs: Vec<(DataType, usize)> = types.iter().copied().flat_map(parts).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((ty, part)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let operations = operations_on(*ty, &types);
                    let part = operations.chunks(PART).nth(*part).unwrap_or_default();
                    let found = differences(back_end, &*device, *ty, part);
                    wrong.lock().expect("no panic in between").extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic in between");
    println!("{} launches", jobs.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn scalar_operations_of_the_gpu_agree_with_the_reference() {
    let Some(gpu) = gpu() else { return };
    scalar_operations_agree(&gpu);
}

/// Families whose kernels read indices, axes and sizes when they are launched.
const READERS: &[&str] = &[".movement.", ".index.", ".reduce.", ".matmul.", ".random.", ".signal."];

/// Integer operands get contents that the kernel was not built for: an error or a result, never a panic.
fn survive_unforeseen_integers(back_end: &dyn BackEnd) {
    let device = back_end.open(1).expect("the device");
    let mut ran = 0;
    for example in catalog::ALL.iter().flat_map(|info| info.examples()) {
        let values = example.values(0);
        let region = region_of(&example.op, &values).expect("an example that infers");
        let is_reader = |name: &str| READERS.iter().any(|family| name.contains(family));
        let readers = back_end.tactics().into_iter().filter(|tactic| is_reader(tactic.name()));
        let takers: Vec<_> = readers.filter(|tactic| offers(*tactic, &region, device.target()).is_ok()).collect();
        for (position, value) in values.iter().enumerate() {
            let Some(tensor) = value.as_ref().and_then(Value::as_tensor) else { continue };
            if !matches!(tensor.data_type(), DataType::I32 | DataType::I64) {
                continue;
            }
            for odd in [i128::from(i64::MIN), -100, -1, 0, 1, 3, 100, i128::from(i32::MAX), i128::from(i64::MAX)] {
                let ints = vec![odd; tensor.count()];
                let changed = Tensor::from_ints(tensor.data_type(), tensor.sizes(), &ints).expect("the same sizes");
                let mut values = values.clone();
                values[position] = Some(changed.into());
                for tactic in &takers {
                    ran += 1;
                    let _ = run_kernel(&*device, *tactic, &region, &values);
                }
            }
        }
    }
    assert!(ran > 0);
}

#[test]
fn kernels_of_the_processor_survive_unforeseen_integers() {
    survive_unforeseen_integers(&Cpu);
}

#[test]
fn kernels_of_the_fake_device_survive_unforeseen_integers() {
    survive_unforeseen_integers(&Fake::default());
}

#[test]
fn kernels_of_the_gpu_survive_unforeseen_integers() {
    let Some(gpu) = gpu() else { return };
    survive_unforeseen_integers(&gpu);
}
