//! Kernels of fused regions: the examples of heavy operators in channels-last layout, with weights and epilogues.

use sinter_backend::{BackEnd, Region};
use sinter_base::{DataType, Tensor, Value, ValueType};
use sinter_conformance::kernels::{offers, run_candidate, run_kernel};
use sinter_cpu::Cpu;
use sinter_interp::{Tolerance, compare};
use sinter_ops::conv::Convolution;
use sinter_ops::evaluate::{EvalContext, ReferenceEvaluator};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::window::Padding;
use sinter_ops::{Body, InferContext, Op};

/// The epilogue of the heavy operator.
#[derive(Clone, Copy, Debug)]
enum Epilogue {
    Nothing,
    Bounds,
    Column,
    Residual,
    Gelu,
}

const EPILOGUES: [Epilogue; 5] =
    [Epilogue::Nothing, Epilogue::Bounds, Epilogue::Column, Epilogue::Residual, Epilogue::Gelu];

fn tensor_of(sizes: &[usize], seed: usize) -> Tensor {
    let count = sizes.iter().product();
    let values = (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect();
    Tensor::from_vec(sizes, values).expect("few elements")
}

/// The region of an example, and its operands.
fn fused(op: &Op, values: &[Value], channels_last: bool, epilogue: Epilogue) -> (Region, Vec<Option<Value>>) {
    let mut body = Body::new();
    let mut cx = InferContext::default();
    let mut operands: Vec<Value> = Vec::new();
    let mut ids = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let rank = value.as_tensor().unwrap().rank();
        if index == 0 && channels_last {
            let transpose = Op::from(Transpose::to_channels_last(rank));
            let evaluator = ReferenceEvaluator;
            let arguments = [Some(value.clone())];
            let transposed =
                transpose.reference(&sinter_ops::Arguments::new(&arguments), &EvalContext::new(&evaluator));
            let transposed = transposed.unwrap().remove(0);
            let id = body.add_input(transposed.value_type());
            operands.push(transposed);
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
    let (program, other) = match epilogue {
        Epilogue::Nothing => (None, None),
        Epilogue::Bounds => (Some(relu(&y).binary(ScalarOp::Min, &Expr::constant(DataType::F32, 0.5))), None),
        Epilogue::Column => {
            (Some(relu(&(&y + &z))), Some(sizes.last().map_or_else(Vec::new, |&columns| vec![columns])))
        }
        Epilogue::Residual => (Some(relu(&(&z + &y))), Some(sizes.to_vec())),
        Epilogue::Gelu => (Some(&(&y * 0.5) * &(&(&y * 0.7).unary(ScalarOp::Erf) + 1.0)), None),
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
    let device = Cpu.open(2).expect("the processor");
    let tactic = Cpu.tactic(tactic).expect("a tactic of this name");
    let (mut ran, mut refused) = (0, Vec::new());
    let info = sinter_ops::catalog::ALL.iter().find(|info| info.name == kind).expect("an operator of this name");
    for example in info.examples() {
        let values: Option<Vec<Value>> = example.values(7).into_iter().collect();
        let Some(values) = values else { continue };
        if values.iter().any(|v| v.as_tensor().is_none_or(|t| t.data_type() != DataType::F32)) {
            continue;
        }
        if channels_last && values[0].as_tensor().unwrap().rank() < 3 {
            continue;
        }
        for epilogue in EPILOGUES {
            // A column of its own beside the operator's bias is for the program behind it.
            let (region, operands) = fused(&example.op, &values, channels_last, epilogue);
            let expected = region.body().evaluate(operands.clone(), &EvalContext::new(&ReferenceEvaluator)).unwrap();
            let candidates = match offers(tactic, &region, device.target()) {
                Ok(candidates) => candidates,
                Err(reason) => {
                    refused.push(format!("'{}' with {epilogue:?}: {reason}", example.name));
                    continue;
                }
            };
            ran += 1;
            for candidate in &candidates {
                let found = run_candidate(&*device, tactic, candidate, &region, &operands);
                let tolerance = Tolerance { relative: 1e-4, absolute: 1e-5 };
                let agreed =
                    found.and_then(|found| compare(&found[0], &expected[0], tolerance).map_err(|e| e.to_string()));
                if let Err(difference) = agreed {
                    panic!("{kind} '{}' with {epilogue:?} by {}: {difference}", example.name, candidate.recipe);
                }
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

/// Images of few channels in the network's layout, with channels-last results.
#[test]
fn images_in_plain_layout() {
    let tactic = Cpu.tactic("cpu.conv.channels_last.f32").expect("a tactic of this name");
    let pads = |begin: Vec<i64>, end: Vec<i64>| Padding::Explicit { begin, end };
    let cases = [
        (vec![2, 3, 9, 11], vec![20, 3, 3, 3], pads(vec![1, 2], vec![0, 1]), vec![2, 1]),
        (vec![1, 1, 7, 5], vec![33, 1, 5, 2], pads(vec![0, -1], vec![2, 1]), vec![1, 1]),
        (vec![3, 4, 17], vec![16, 4, 3], pads(vec![1], vec![1]), vec![2]),
        (vec![1, 2, 4, 5, 6], vec![8, 2, 2, 3, 2], pads(vec![1; 3], vec![0; 3]), vec![1, 2, 1]),
    ];
    for (sizes, weight, padding, strides) in cases {
        let mut body = Body::new();
        let mut cx = InferContext::default();
        let tensors = [tensor_of(&sizes, 1), tensor_of(&weight, 2), tensor_of(&weight[..1], 3)];
        let ids = tensors.each_ref().map(|tensor| Some(body.add_input(sinter_base::TensorType::of(tensor).into())));
        let op = Convolution { padding, strides: strides.clone(), ..Convolution::plain(strides.len()) };
        let y = body.add(op.into(), &ids, &mut cx).unwrap()[0];
        let last = Transpose::to_channels_last(sizes.len());
        let y = body.add(last.into(), &[Some(y)], &mut cx).unwrap()[0];
        let bound = Expr::input(0, DataType::F32).binary(ScalarOp::Max, &Expr::constant(DataType::F32, 0.0));
        let y = body.add(Expr::into_pointwise(&[bound]).unwrap().into(), &[Some(y)], &mut cx).unwrap()[0];
        body.set_outputs(vec![y]);
        let region = Region::new(body).with_constants(vec![1, 2]);
        let operands = tensors.map(|tensor| Some(tensor.into()));
        let expected = region.body().evaluate(operands.to_vec(), &EvalContext::new(&ReferenceEvaluator)).unwrap();
        let on = |threads| run_kernel(&*Cpu.open(threads).expect("the processor"), tactic, &region, &operands);
        let (one, two) = (on(1).unwrap(), on(2).unwrap());
        assert_eq!(one, two, "the number of threads shows");
        if let Err(difference) = compare(&one[0], &expected[0], Tolerance { relative: 1e-4, absolute: 1e-5 }) {
            panic!("{sizes:?} with {weight:?}: {difference}");
        }
    }
}

/// A convolution of each channel by itself, a bound, one of single pixels, and a sum.
#[test]
fn separable_convolutions() {
    let tactic = Cpu.tactic("cpu.conv.separable.f32").expect("a tactic of this name");
    for (sizes, window, stride, columns) in [
        (vec![2, 13, 9, 20], vec![20, 1, 3, 3], 1, 33),
        (vec![1, 12, 17, 70], vec![70, 1, 5, 3], 2, 16),
        (vec![3, 40, 32], vec![32, 1, 3], 1, 5),
    ] {
        let rank = sizes.len();
        let mut body = Body::new();
        let mut cx = InferContext::default();
        let mut operands: Vec<Tensor> = Vec::new();
        let mut input = |body: &mut Body, sizes: &[usize]| {
            operands.push(tensor_of(sizes, operands.len() + 1));
            Some(body.add_input(sinter_base::TensorType::of(&operands[operands.len() - 1]).into()))
        };
        let channels = window[0];
        let mut pixel = vec![1; rank];
        (pixel[0], pixel[1]) = (columns, channels);
        let (x, v, b) = (input(&mut body, &sizes), input(&mut body, &window), input(&mut body, &[channels]));
        let (w, c) = (input(&mut body, &pixel), input(&mut body, &[columns]));
        let axes = rank - 2;
        let padding = Padding::Explicit { begin: vec![1; axes], end: vec![2; axes] };
        let first = Convolution { padding, strides: vec![stride; axes], groups: channels, ..Convolution::plain(axes) };
        let mut apply = |body: &mut Body, op: Op, inputs: &[Option<sinter_ops::ValueId>]| {
            Some(body.add(op, inputs, &mut cx).unwrap()[0])
        };
        let (front, last) = (Transpose::to_channels_first(rank), Transpose::to_channels_last(rank));
        let a = apply(&mut body, front.clone().into(), &[x]);
        let a = apply(&mut body, first.into(), &[a, v, b]);
        let a = apply(&mut body, last.clone().into(), &[a]);
        let bound = Expr::input(0, DataType::F32).binary(ScalarOp::Max, &Expr::constant(DataType::F32, -0.5));
        let a = apply(&mut body, Expr::into_pointwise(&[bound]).unwrap().into(), &[a]);
        let a = apply(&mut body, front.into(), &[a]);
        let a = apply(&mut body, Convolution::plain(axes).into(), &[a, w, c]);
        let a = apply(&mut body, last.into(), &[a]);
        let result = body.ty(a.unwrap()).as_tensor().unwrap().shape.sizes().unwrap();
        let residual = input(&mut body, &result);
        let sum = &Expr::input(0, DataType::F32) + &Expr::input(1, DataType::F32);
        let y = apply(&mut body, Expr::into_pointwise(&[sum]).unwrap().into(), &[a, residual]);
        body.set_outputs(y.into_iter().collect());
        let operands: Vec<Option<Value>> = operands.into_iter().map(|tensor| Some(tensor.into())).collect();
        let region = Region::new(body).with_constants(vec![1, 2, 3, 4]);
        let expected = region.body().evaluate(operands.clone(), &EvalContext::new(&ReferenceEvaluator)).unwrap();
        let on = |threads| run_kernel(&*Cpu.open(threads).expect("the processor"), tactic, &region, &operands);
        let (one, two) = (on(1).unwrap(), on(2).unwrap());
        assert_eq!(one, two, "the number of threads shows");
        if let Err(difference) = compare(&one[0], &expected[0], Tolerance { relative: 1e-4, absolute: 1e-5 }) {
            panic!("{sizes:?} with {window:?}: {difference}");
        }
    }
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

#[test]
fn normalized_rows() {
    check("cpu.norm.rows.f32", "Normalize", false);
}

/// Sibling heavy operators, with and without a pointwise prologue: `sizes` are those of the shared operand in the
/// layout of the region, `gate` those of the factor in the prologue.
fn check_siblings(tactic: &str, heavy: &[(Op, Vec<Vec<usize>>)], sizes: &[usize], gate: Option<&[usize]>) {
    let mut body = Body::new();
    let mut cx = InferContext::default();
    let mut operands: Vec<Tensor> = Vec::new();
    let mut input = |body: &mut Body, sizes: &[usize]| {
        operands.push(tensor_of(sizes, operands.len() + 1));
        body.add_input(ValueType::from(sinter_base::TensorType::of(&operands[operands.len() - 1])))
    };
    let mut read = input(&mut body, sizes);
    let (x, z) = (Expr::input(0, DataType::F32), Expr::input(1, DataType::F32));
    if let Some(gate) = gate {
        let gate = input(&mut body, gate);
        let swish = &(&x * &x.unary(ScalarOp::Sigmoid)) * &z;
        let op = Expr::into_pointwise(&[swish]).unwrap();
        read = body.add(op.into(), &[Some(read), Some(gate)], &mut cx).unwrap()[0];
    }
    let (mut outputs, mut constants) = (Vec::new(), Vec::new());
    for (position, (op, weights)) in heavy.iter().enumerate() {
        let rank = sizes.len();
        let is_last = matches!(op, Op::Convolution(_));
        let mut ids = vec![Some(read)];
        if is_last {
            let back = Transpose::to_channels_first(rank);
            ids[0] = Some(body.add(back.into(), &ids, &mut cx).unwrap()[0]);
        }
        for weight in weights {
            constants.push(body.inputs().len());
            ids.push(Some(input(&mut body, weight)));
        }
        let mut product = body.add(op.clone(), &ids, &mut cx).unwrap()[0];
        if is_last {
            let last = Transpose::to_channels_last(rank);
            product = body.add(last.into(), &[Some(product)], &mut cx).unwrap()[0];
        }
        // Every other one has a epilogue.
        if position % 2 == 1 {
            let other = body.ty(product).as_tensor().unwrap().shape.sizes().unwrap();
            let other = input(&mut body, &other);
            let sum = (&x + &z).binary(ScalarOp::Max, &Expr::constant(DataType::F32, 0.0));
            let op = Expr::into_pointwise(&[sum]).unwrap();
            product = body.add(op.into(), &[Some(product), Some(other)], &mut cx).unwrap()[0];
        }
        outputs.push(product);
    }
    body.set_outputs(outputs);
    let operands: Vec<Option<Value>> = operands.into_iter().map(|tensor| Some(tensor.into())).collect();
    let region = Region::new(body).with_constants(constants);
    let expected = region.body().evaluate(operands.clone(), &EvalContext::new(&ReferenceEvaluator)).unwrap();
    let tactic = Cpu.tactic(tactic).expect("a tactic of this name");
    let on = |threads| run_kernel(&*Cpu.open(threads).unwrap(), tactic, &region, &operands).unwrap();
    let (one, two) = (on(1), on(2));
    for ((one, two), expected) in one.iter().zip(&two).zip(&expected) {
        if let Err(difference) = compare(one, expected, Tolerance { relative: 1e-4, absolute: 1e-5 }) {
            panic!("{} of {sizes:?} with {gate:?} in front: {difference}", tactic.name());
        }
        let bits = |value: &Value| value.as_tensor().unwrap().to_floats();
        assert_eq!(bits(one), bits(two), "the number of threads shows");
    }
    assert_eq!(one.len(), expected.len());
}

#[test]
fn products_of_one_operand() {
    let product = |inner: usize, columns: usize| (Op::from(MatMul::default()), vec![vec![inner, columns]]);
    let transposed = |inner: usize, columns: usize| {
        let op = MatMul { transpose_b: true, ..MatMul::default() };
        (Op::from(op), vec![vec![columns, inner]])
    };
    for (sizes, gate) in [(vec![2, 130, 20], vec![2, 1, 20]), (vec![3, 300], vec![300]), (vec![1, 7], vec![1, 1])] {
        let inner = sizes[sizes.len() - 1];
        let siblings = [product(inner, 33), transposed(inner, 160), product(inner, 1)];
        for count in 1..=siblings.len() {
            let tactic = "cpu.matmul.panels.f32";
            check_siblings(tactic, &siblings[..count], &sizes, Some(&gate));
            check_siblings(tactic, &siblings[..count], &sizes, None);
        }
    }
}

#[test]
fn convolutions_of_one_operand() {
    let padded = |window: usize, stride: usize, outputs: usize| {
        let pad = (window / 2) as i64;
        let padding = Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] };
        let op = Convolution { padding, strides: vec![stride; 2], ..Convolution::plain(2) };
        (Op::from(op), vec![vec![outputs, 20, window, window], vec![outputs]])
    };
    let tactic = "cpu.conv.channels_last.f32";
    let pixels = [padded(1, 1, 33), padded(1, 1, 160)];
    let sizes = [2, 13, 9, 20];
    for count in 1..=pixels.len() {
        check_siblings(tactic, &pixels[..count], &sizes, Some(&[2, 1, 1, 20]));
        check_siblings(tactic, &pixels[..count], &sizes, Some(&sizes));
    }
    // Of windows and steps of all kinds, with other numbers of rows.
    check_siblings(tactic, &[padded(1, 1, 33), padded(3, 1, 50), padded(3, 2, 161), padded(1, 2, 4)], &sizes, None);
}
