//! Every operator's examples through every CPU tactic that takes them, against the reference.

use sinter_backend::{BackEnd, Numerics};
use sinter_base::{DataType, Tensor, Value};
use sinter_conformance::kernels::{region_of, run_kernel};
use sinter_cpu::Cpu;
use sinter_interp::{Tolerance, compare};
use sinter_ops::{Arguments, EvalContext, ReferenceEvaluator, catalog};

/// Fresh inputs per example.
const ROUNDS: u64 = 3;

/// What a kernel of each class may differ by on inputs of ordinary size. Sums of a hundred products in f32 stay within
/// 1e-5 relative; cancellation near zero is bounded absolutely.
fn tolerance(numerics: Numerics) -> Tolerance {
    match numerics {
        Numerics::Exact => Tolerance::EXACT,
        Numerics::Ordered => Tolerance { relative: 1e-5, absolute: 1e-6 },
        Numerics::Reassociated => Tolerance { relative: 1e-5, absolute: 2e-6 },
        Numerics::Transformed => Tolerance { relative: 1e-3, absolute: 1e-4 },
    }
}

#[test]
fn kernels_agree_with_the_reference() {
    let device = Cpu.device(2);
    let workers = Cpu.workers(2);
    let (mut wrong, mut ran) = (Vec::new(), 0);
    for info in catalog::ALL {
        for example in (info.examples)() {
            for seed in 0..ROUNDS {
                let values = example.values(seed);
                let region = region_of(&example.op, &values).expect("an example that infers");
                // All operands but the first are weights: kernels that take some packed are asked as well.
                let region = region.with_constants((1..values.len()).collect());
                for tactic in Cpu.tactics() {
                    let Ok(candidates) = tactic.offer(&region, &device) else { continue };
                    let expected: Vec<Value> = {
                        let evaluator = ReferenceEvaluator;
                        let cx = EvalContext::new(&evaluator);
                        example.op.reference(&Arguments::new(&values), &cx).expect("an example that evaluates")
                    };
                    ran += 1;
                    let result = run_kernel(tactic, &region, &values, &device, &*workers).and_then(|found| {
                        let bound = tolerance(candidates[0].numerics);
                        let pairs = found.iter().zip(&expected).enumerate();
                        pairs.into_iter().try_for_each(|(i, (found, expected))| {
                            compare(found, expected, bound).map_err(|e| format!("result {i}: {e}"))
                        })
                    });
                    if let Err(reason) = result {
                        wrong.push(format!("{} '{}' seed {seed}: {reason}", tactic.name(), example.name));
                    }
                }
            }
        }
    }
    println!("{ran} launches");
    assert!(ran > 0 && wrong.is_empty(), "{} of {ran} launches:\n{}", wrong.len(), wrong.join("\n"));
}

/// Families whose kernels read indices, axes and sizes when they are launched.
const READERS: &[&str] = &["cpu.movement.", "cpu.index.", "cpu.reduce.", "cpu.matmul.", "cpu.random.", "cpu.signal."];

/// Integer operands get contents that the kernel was not built for: an error or a result, never a panic.
#[test]
fn kernels_survive_unforeseen_integers() {
    let device = Cpu.device(1);
    let workers = Cpu.workers(1);
    let mut ran = 0;
    for example in catalog::ALL.iter().flat_map(|info| (info.examples)()) {
        let values = example.values(0);
        let region = region_of(&example.op, &values).expect("an example that infers");
        let readers = Cpu.tactics().into_iter().filter(|t| READERS.iter().any(|family| t.name().starts_with(family)));
        let takers: Vec<_> = readers.filter(|tactic| tactic.offer(&region, &device).is_ok()).collect();
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
                    let _ = run_kernel(*tactic, &region, &values, &device, &*workers);
                }
            }
        }
    }
    assert!(ran > 0);
}
