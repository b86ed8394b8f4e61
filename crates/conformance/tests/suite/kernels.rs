//! Every operator's examples, at every element type, through every tactic of every back end that takes them, against
//! the reference.

use std::sync::atomic::{AtomicUsize, Ordering};

use sinter_backend::{BackEnd, Numerics, Target};
use sinter_base::{DataType, Tensor, Value};
use sinter_conformance::kernels::{gpu, offers, region_of, run_candidate, run_kernel};
use sinter_conformance::other_types::{Problem, problems};
use sinter_cpu::Cpu;
use sinter_fake::Fake;
use sinter_interp::{Tolerance, compare};
use sinter_ops::{Arguments, EvalContext, Example, ReferenceEvaluator, catalog};

/// Fresh inputs per example.
const ROUNDS: u64 = 3;

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
    let usual = match numerics {
        Numerics::Exact => return Tolerance::EXACT,
        Numerics::Ordered => Tolerance { relative: 1e-5, absolute: 1e-6 },
        Numerics::Reassociated => Tolerance { relative: 1e-5, absolute: 2e-6 },
        Numerics::Transformed => Tolerance { relative: 1e-3, absolute: 1e-4 },
    };
    Tolerance { relative: usual.relative.max(step), ..usual }
}

/// Compiles the kernels of all examples at all types on all processors, for a back end that keeps what it compiled.
fn compile_all(back_end: &dyn BackEnd, target: &Target) {
    let examples: Vec<_> = catalog::ALL.iter().flat_map(|info| info.examples()).collect();
    let next = AtomicUsize::new(0);
    let compile = |example: &Example| {
        for problem in problems(example, 0) {
            for tactic in back_end.tactics() {
                for candidate in offers(tactic, &problem.region, target).unwrap_or_default() {
                    // An error shows when the kernel is loaded.
                    let _ = tactic.compile(&candidate.recipe, &problem.region, target);
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

/// All kernels of a back end.
fn agree_with_the_reference(back_end: &dyn BackEnd) {
    let device = back_end.open(2).expect("the device");
    let (mut wrong, mut ran) = (Vec::new(), 0);
    for info in catalog::ALL {
        for example in info.examples() {
            for (seed, problem) in
                (0..ROUNDS).flat_map(|seed| problems(&example, seed).into_iter().map(move |p| (seed, p)))
            {
                let Problem { values, region } = &problem;
                // A type may be too small for what the operator computes of these values.
                let expected = {
                    let evaluator = ReferenceEvaluator;
                    example.op.reference(&Arguments::new(values), &EvalContext::new(&evaluator))
                };
                let Ok(expected) = expected else { continue };
                for tactic in back_end.tactics() {
                    let Ok(candidates) = offers(tactic, region, device.target()) else { continue };
                    if !region.root().is_some_and(|root| tactic.roots().contains(&root)) {
                        wrong.push(format!("{} takes {} and is never asked about it", tactic.name(), info.name));
                    }
                    for candidate in &candidates {
                        ran += 1;
                        let result = run_candidate(&*device, tactic, candidate, region, values).and_then(|found| {
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
    }
    println!("{ran} launches");
    assert!(ran > 0 && wrong.is_empty(), "{} of {ran} launches:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn kernels_of_the_processor_agree_with_the_reference() {
    agree_with_the_reference(&Cpu);
}

#[test]
fn kernels_of_the_fake_device_agree_with_the_reference() {
    agree_with_the_reference(&Fake::default());
}

#[test]
fn kernels_of_the_gpu_agree_with_the_reference() {
    let Some(gpu) = gpu() else { return };
    compile_all(&gpu, &gpu.target(1));
    agree_with_the_reference(&gpu);
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
