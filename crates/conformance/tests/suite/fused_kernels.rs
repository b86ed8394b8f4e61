//! Kernels of fused regions: the examples of heavy operators in channels-last layout, with weights and epilogues.

use sinter_backend::{BackEnd, Region};
use sinter_base::{DataType, Tensor, Value, ValueType};
use sinter_conformance::kernels::run_kernel;
use sinter_cpu::Cpu;
use sinter_interp::{Tolerance, compare};
use sinter_ops::evaluate::{EvalContext, ReferenceEvaluator};
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::{Body, InferContext, Op};

/// What stands behind the heavy operator.
#[derive(Clone, Copy, Debug)]
enum Tail {
    Nothing,
    Bounds,
    Column,
    Residual,
    Gelu,
}

const TAILS: [Tail; 5] = [Tail::Nothing, Tail::Bounds, Tail::Column, Tail::Residual, Tail::Gelu];

fn tensor_of(sizes: &[usize], seed: usize) -> Tensor {
    let count = sizes.iter().product();
    let values = (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect();
    Tensor::from_vec(sizes, values).expect("few elements")
}

/// The region of an example, and its operands.
fn fused(op: &Op, values: &[Value], channels_last: bool, tail: Tail) -> (Region, Vec<Option<Value>>) {
    let mut body = Body::new();
    let mut cx = InferContext::default();
    let mut operands: Vec<Value> = Vec::new();
    let mut ids = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let rank = value.as_tensor().unwrap().rank();
        if index == 0 && channels_last {
            let moved = Op::from(Transpose::to_channels_last(rank));
            let evaluator = ReferenceEvaluator;
            let arguments = [Some(value.clone())];
            let moved = moved.reference(&sinter_ops::Arguments::new(&arguments), &EvalContext::new(&evaluator));
            let moved = moved.unwrap().remove(0);
            let id = body.add_input(moved.value_type());
            operands.push(moved);
            let back = Transpose::to_channels_first(rank);
            ids.push(Some(body.add(back.into(), &[Some(id)], &mut cx).unwrap()[0]));
        } else {
            ids.push(Some(body.add_input(value.value_type())));
            operands.push(value.clone());
        }
    }
    let mut product = body.add(op.clone(), &ids, &mut cx).unwrap()[0];
    if channels_last {
        let rank = body.ty(product).as_tensor().unwrap().dims().unwrap().len();
        let last = Transpose::to_channels_last(rank);
        product = body.add(last.into(), &[Some(product)], &mut cx).unwrap()[0];
    }
    let sizes = body.ty(product).as_tensor().unwrap().shape.sizes().unwrap();
    let (y, z) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
    let zero = Expr::constant(DataType::F32, 0.0);
    let relu = |e: &Expr| e.binary(ScalarOp::Max, &zero);
    let (program, other) = match tail {
        Tail::Nothing => (None, None),
        Tail::Bounds => (Some(relu(&y).binary(ScalarOp::Min, &Expr::constant(DataType::F32, 0.5))), None),
        Tail::Column => (Some(relu(&(&y + &z))), Some(sizes.last().map_or_else(Vec::new, |&columns| vec![columns]))),
        Tail::Residual => (Some(relu(&(&z + &y))), Some(sizes.to_vec())),
        Tail::Gelu => (Some(&(&y * 0.5) * &(&(&y * 0.7).unary(ScalarOp::Erf) + 1.0)), None),
    };
    let mut outputs = vec![product];
    if let Some(program) = program {
        let op = Expr::into_pointwise(&[program]).unwrap();
        let mut inputs = vec![Some(product)];
        if let Some(sizes) = other {
            let tensor = tensor_of(&sizes, 5);
            inputs.push(Some(body.add_input(ValueType::from(sinter_base::TensorType::of(&tensor)))));
            operands.push(tensor.into());
        }
        outputs = body.add(op.into(), &inputs, &mut cx).unwrap().to_vec();
    }
    body.set_outputs(outputs);
    let constants = (1..values.len()).collect();
    (Region::new(body).with_constants(constants), operands.into_iter().map(Some).collect())
}

fn check(tactic: &str, kind: &str, channels_last: bool) {
    let device = Cpu.device(2);
    let workers = Cpu.workers(2);
    let tactic = Cpu.tactic(tactic).expect("a tactic of this name");
    let (mut ran, mut refused) = (0, Vec::new());
    let info = sinter_ops::catalog::ALL.iter().find(|info| info.name == kind).expect("an operator of this name");
    for example in (info.examples)() {
        let values: Option<Vec<Value>> = example.values(7).into_iter().collect();
        let Some(values) = values else { continue };
        if values.iter().any(|v| v.as_tensor().is_none_or(|t| t.data_type() != DataType::F32)) {
            continue;
        }
        if channels_last && values[0].as_tensor().unwrap().rank() < 3 {
            continue;
        }
        for tail in TAILS {
            // A column of its own beside the operator's bias is for the program behind it.
            let (region, operands) = fused(&example.op, &values, channels_last, tail);
            let expected = region.body().evaluate(operands.clone(), &EvalContext::new(&ReferenceEvaluator)).unwrap();
            match run_kernel(tactic, &region, &operands, &device, &*workers) {
                Ok(found) => {
                    ran += 1;
                    let tolerance = Tolerance { relative: 1e-4, absolute: 1e-5 };
                    if let Err(difference) = compare(&found[0], &expected[0], tolerance) {
                        panic!("{kind} '{}' with {tail:?}: {difference}", example.name);
                    }
                }
                Err(reason) => refused.push(format!("'{}' with {tail:?}: {reason}", example.name)),
            }
        }
    }
    println!("{}: {ran} regions, refused:\n  {}", tactic.name(), refused.join("\n  "));
    assert!(ran >= 4, "{} took {ran} regions:\n{}", tactic.name(), refused.join("\n"));
}

#[test]
fn convolution_channels_last() {
    check("cpu.conv.channels_last.f32", "Convolution", true);
}

#[test]
fn depthwise_channels_last() {
    check("cpu.conv.depthwise_channels_last.f32", "Convolution", true);
}

#[test]
fn pool_channels_last() {
    check("cpu.pool.channels_last.f32", "Pool", true);
}

#[test]
fn matmul_panels() {
    check("cpu.matmul.panels.f32", "MatMul", false);
}
