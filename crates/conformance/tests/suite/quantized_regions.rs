//! Networks with quantized weights and values: the regions of the cover, and their results.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_backend::{
    BackEnd, Candidate, Device, KernelError, Numerics, Problem, Proposer, Refusal, Region, Tactic, Target,
};
use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Location, Tensor, TensorType, Value, ValueType};
use sinter_builder::{BuildOptions, Built, Verify, build};
use sinter_conformance::engine::run_here;
use sinter_conformance::kernels::{offers, run_candidate, run_kernel};
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, run_with};
use sinter_ir::{Handle, Network, NetworkBuilder};
use sinter_ops::conv::Convolution;
use sinter_ops::evaluate::{EvalContext, ReferenceEvaluator};
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::{Expr, Pointwise, ScalarOp};
use sinter_ops::pool::{Pool, PoolMode, PoolWindow};
use sinter_ops::quantize::{Dequantize, Quantize};
use sinter_ops::reduce::Softmax;
use sinter_ops::window::Padding;
use sinter_ops::{Body, InferContext, Op, OpKind, ValueId};
use sinter_plan::{Graph, Storage};

/// A network under construction.
struct Model {
    builder: NetworkBuilder,
    seed: usize,
}

impl Model {
    fn new() -> Self {
        Self { builder: NetworkBuilder::new(), seed: 0 }
    }

    fn input(&mut self, name: &str, sizes: &[i64]) -> Handle {
        let dims = sizes.iter().map(|size| (*size).into()).collect();
        self.builder.add_network_input(name, ValueType::tensor(DataType::F32, dims), None)
    }

    fn weight(&mut self, tensor: Tensor) -> Handle {
        self.seed += 1;
        self.builder.add_weight(&format!("w{}", self.seed), tensor)
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[Handle]) -> Handle {
        let inputs: Vec<Option<Handle>> = inputs.iter().copied().map(Some).collect();
        self.builder.add(op, &inputs, &Location::default()).expect("an operator of these inputs")[0]
    }

    /// A dequantized i8 weight with a scale per index of an axis.
    fn dequantized_weight(&mut self, sizes: &[usize], axis: usize) -> Handle {
        let count: usize = sizes.iter().product();
        let codes: Vec<i8> = (0..count).map(|i| ((i * 7919 + self.seed * 31) % 255) as u8 as i8).collect();
        let scales: Vec<f32> = (0..sizes[axis]).map(|i| 0.004 + i as f32 * 0.0003).collect();
        let codes = self.weight(Tensor::from_vec(sizes, codes).expect("as many codes"));
        let scales = self.weight(Tensor::from_vec(&[scales.len()], scales).expect("as many scales"));
        let zeros = self.weight(Tensor::from_vec(&[sizes[axis]], vec![0i8; sizes[axis]]).expect("as many zeros"));
        let op = Dequantize { data_type: DataType::F32, granularity: Granularity::Axis { axis } };
        self.add(op, &[codes, scales, zeros])
    }

    fn finish(self, outputs: &[(&str, Handle)]) -> Network {
        let outputs: Vec<(String, Handle)> = outputs.iter().map(|(name, id)| ((*name).to_owned(), *id)).collect();
        self.builder.finish("quantized", &outputs)
    }
}

fn built(network: &Network, back_end: &dyn BackEnd) -> Built {
    let options = BuildOptions { threads: 2, verify: Verify::Off, ..BuildOptions::default() };
    build(network, back_end, options).expect("a plan")
}

fn numbers(sizes: &[usize], seed: usize) -> Value {
    let count = sizes.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 252.0 - 2.0).collect();
    Tensor::from_vec(sizes, values).expect("as many numbers").into()
}

fn kinds(graph: &Graph) -> Vec<Vec<OpKind>> {
    let of = |region: &Region| region.body().nodes().iter().map(|node| node.op.kind()).collect();
    graph.steps.iter().map(|step| of(step.region().expect("a region"))).collect()
}

/// `x W`, with W stored quantized, and W itself as a second output.
fn product_of_a_quantized_weight() -> Network {
    let mut model = Model::new();
    let x = model.input("x", &[5, 24]);
    let w = model.dequantized_weight(&[24, 19], 1);
    let y = model.add(MatMul::default(), &[x, w]);
    model.finish(&[("y", y), ("w", w)])
}

#[test]
fn no_run_dequantizes_a_weight() {
    let network = product_of_a_quantized_weight();
    let built = built(&network, &Cpu);
    assert_eq!(kinds(&built.plan.graph), [[OpKind::MatMul]]);
    assert_eq!(built.dequantized.len(), 1);
    let inputs = HashMap::from([("x".to_owned(), numbers(&[5, 24], 1))]);
    let expected = run_with(&network, &inputs, &FastEvaluator).expect("the judge");
    let found = run_here(&built.plan, &inputs).expect("an engine");
    assert_eq!(found[1], expected[1], "the weight is what its expression says");
    let [found, expected] = [&found[0], &expected[0]].map(|y| y.as_tensor().expect("a tensor").to_floats());
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4));
}

/// Takes products of weights that are stored quantized, faster than any other tactic.
struct Stored;

impl Tactic for Stored {
    fn name(&self) -> &str {
        "cpu.test.stored"
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::MatMul]
    }

    fn offer(&self, problem: &Problem<'_>, _: usize) -> Result<Vec<Candidate>, Refusal> {
        let kinds: Vec<OpKind> = problem.region.body().nodes().iter().map(|node| node.op.kind()).collect();
        match kinds[..] {
            [OpKind::Dequantize, OpKind::MatMul] => Ok(vec![Candidate::plain(self, Numerics::Reassociated, 1.0)]),
            _ => Err(Refusal::new("takes weights as they are stored")),
        }
    }
}

/// The CPU with a tactic for stored weights.
struct WithStored;

impl BackEnd for WithStored {
    fn name(&self) -> &str {
        Cpu.name()
    }

    fn target(&self, threads: usize) -> Target {
        Cpu.target(threads)
    }

    fn tactics(&self) -> Vec<&'static dyn Tactic> {
        Cpu.tactics().into_iter().chain([&Stored as &'static dyn Tactic]).collect()
    }

    fn proposers(&self) -> Vec<&'static dyn Proposer> {
        Cpu.proposers()
    }

    fn open(&self, threads: usize) -> Result<Arc<dyn Device>, KernelError> {
        Cpu.open(threads)
    }
}

#[test]
fn a_kernel_may_take_a_weight_as_it_is_stored() {
    let network = product_of_a_quantized_weight();
    let built = built(&network, &WithStored);
    let graph = &built.plan.graph;
    assert_eq!(kinds(graph), [[OpKind::Dequantize, OpKind::MatMul]]);
    let launch = graph.steps[0].launch().expect("a kernel");
    assert_eq!(launch.general.recipe.tactic, "cpu.test.stored");
    let is_stored = |id: &sinter_plan::PlanValueId| {
        let value = &graph.values[id.index()];
        matches!(value.storage, Storage::Weight(_)) && value.ty.data_type() == DataType::I8
    };
    assert!(graph.steps[0].inputs.iter().flatten().any(is_stored));
}

/// A region under construction, with its operands.
#[derive(Default)]
struct Growing {
    body: Body,
    operands: Vec<Option<Value>>,
}

fn to_real(granularity: Granularity) -> Dequantize {
    Dequantize { data_type: DataType::F32, granularity }
}

fn sum_and_bound() -> Pointwise {
    let sum = &Expr::input(0, DataType::F32) + &Expr::input(1, DataType::F32);
    Expr::into_pointwise(&[sum.binary(ScalarOp::Max, &sum.same(0.0))]).expect("a program")
}

impl Growing {
    fn operand(&mut self, tensor: Tensor) -> ValueId {
        let id = self.body.add_input(TensorType::of(&tensor).into());
        self.operands.push(Some(tensor.into()));
        id
    }

    fn codes(&mut self, data_type: DataType, sizes: &[usize]) -> ValueId {
        let (low, high) = data_type.integer_range().expect("integers");
        let seed = self.operands.len() as i128;
        let count: usize = sizes.iter().product();
        let codes: Vec<i128> = (0..count as i128).map(|i| low + (i * 7919 + seed * 31) % (high - low + 1)).collect();
        self.operand(Tensor::from_ints(data_type, sizes, &codes).expect("as many codes"))
    }

    fn reals(&mut self, sizes: &[usize], scale: f64, offset: f64) -> ValueId {
        let (count, seed) = (sizes.iter().product::<usize>(), self.operands.len());
        let number = |i: usize| ((i * 7919 + seed * 104_729) % 1009) as f64 / 1009.0 * scale + offset;
        let values: Vec<f64> = (0..count).map(number).collect();
        self.operand(Tensor::from_floats(DataType::F32, sizes, &values).expect("as many numbers"))
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> ValueId {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        self.body.add(op.into(), &inputs, &mut InferContext::default()).expect("an operator of these inputs")[0]
    }

    /// Scales and zero points: one, or one per index of an axis.
    fn parameters(&mut self, data_type: DataType, scale: f64, count: Option<usize>) -> [ValueId; 2] {
        let sizes: Vec<usize> = count.into_iter().collect();
        let scales = self.reals(&sizes, scale, scale);
        let zeros: Vec<i128> = (0..count.unwrap_or(1) as i128).map(|i| 3 + i % 5).collect();
        [scales, self.operand(Tensor::from_ints(data_type, &sizes, &zeros).expect("as many zeros"))]
    }

    fn region(mut self, result: ValueId, constants: Vec<usize>) -> (Region, Vec<Option<Value>>) {
        self.body.set_outputs(vec![result]);
        (Region::new(self.body).with_constants(constants), self.operands)
    }
}

/// On one thread and on several.
fn by_chain(region: &Region, operands: &[Option<Value>]) -> Value {
    let tactic = Cpu.tactic("cpu.quantize.chain.f32").expect("the tactic");
    let of = |threads| run_kernel(&*Cpu.open(threads).expect("the processor"), tactic, region, operands);
    let (one, two) = (of(1).expect("a run"), of(2).expect("a run"));
    assert_eq!(one, two, "the number of threads shows");
    one.into_iter().next().expect("a result")
}

fn reference(region: &Region, operands: &[Option<Value>]) -> Value {
    let evaluator = ReferenceEvaluator;
    region.body().evaluate(operands.to_vec(), &EvalContext::new(&evaluator)).expect("the judge").remove(0)
}

/// Sums of dequantized values, quantized, and a bound in another scale: the bits are the reference's.
#[test]
fn chains_are_exact() {
    let types = [DataType::I8, DataType::U8, DataType::I16, DataType::U16];
    for (index, data_type) in types.into_iter().enumerate() {
        for (sizes, axis) in
            [(vec![3, 5, 7], None), (vec![2, 3, 300], Some(1)), (vec![41, 1030], Some(1)), (vec![0, 3], None)]
        {
            let granularity = axis.map_or(Granularity::Tensor, |axis| Granularity::Axis { axis });
            let count = axis.map(|axis| sizes[axis]);
            let quantize = |data_type| Quantize { granularity, ..Quantize::plain(data_type) };
            let mut built = Growing::default();
            let (x, y) = (built.codes(data_type, &sizes), built.codes(types[3 - index], &sizes));
            let [s, z] = built.parameters(data_type, 0.02, count);
            let [t, u] = built.parameters(types[3 - index], 0.013, count);
            let (a, b) = (built.add(to_real(granularity), &[x, s, z]), built.add(to_real(granularity), &[y, t, u]));
            let sum = built.add(sum_and_bound(), &[a, b]);
            let [v, w] = built.parameters(data_type, 0.031, count);
            let q = built.add(quantize(data_type), &[sum, v, w]);
            let real = built.add(to_real(granularity), &[q, v, w]);
            let row = built.reals(&sizes[sizes.len() - 1..], 2.0, -1.0);
            let again = built.add(sum_and_bound(), &[row, real]);
            let last = built.add(quantize(DataType::U8), &[again, v]);
            let (region, operands) = built.region(last, Vec::new());
            assert_eq!(by_chain(&region, &operands), reference(&region, &operands), "{data_type} {sizes:?} {axis:?}");
        }
    }
}

/// Numbers that no integer is near: infinities, NaN, ties, and beyond every range.
#[test]
fn chains_round_and_saturate_as_the_operator_does() {
    let special =
        [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 1e30, -1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 127.5];
    for data_type in [DataType::I8, DataType::U8, DataType::I16, DataType::U16] {
        let mut built = Growing::default();
        let x = built.operand(Tensor::from_vec(&[special.len()], special.to_vec()).expect("as many numbers"));
        let scale = built.operand(Tensor::from_vec(&[], vec![1.0f32]).expect("a number"));
        let q = built.add(Quantize::plain(data_type), &[x, scale]);
        let real = built.add(to_real(Granularity::Tensor), &[q, scale]);
        let (region, operands) = built.region(real, Vec::new());
        assert_eq!(by_chain(&region, &operands), reference(&region, &operands), "{data_type}");
    }
}

/// The region of an operator on a dequantized operand 0 in u8, with its result quantized to i8; weights follow.
fn around(op: &Op, sizes: &[usize], weights: &[&[usize]], channels_last: bool) -> (Region, Vec<Option<Value>>) {
    let mut built = Growing::default();
    let x = built.codes(DataType::U8, sizes);
    let [s, z] = built.parameters(DataType::U8, 0.01, None);
    let mut real = built.add(to_real(Granularity::Tensor), &[x, s, z]);
    if channels_last {
        real = built.add(Transpose::to_channels_first(sizes.len()), &[real]);
    }
    let first = built.operands.len();
    let mut inputs = vec![real];
    inputs.extend(weights.iter().map(|sizes| built.reals(sizes, 0.2, -0.1)));
    let constants = (first..built.operands.len()).collect();
    let mut y = built.add(op.clone(), &inputs);
    if channels_last {
        y = built.add(Transpose::to_channels_last(sizes.len()), &[y]);
    }
    let bound = Expr::input(0, DataType::F32).binary(ScalarOp::Max, &Expr::constant(DataType::F32, -0.25));
    y = built.add(Expr::into_pointwise(&[bound]).expect("a program"), &[y]);
    let [t, u] = built.parameters(DataType::I8, 0.02, None);
    let y = built.add(Quantize::plain(DataType::I8), &[y, t, u]);
    built.region(y, constants)
}

/// An operator, the sizes of its operand and of its weights, and whether channels are last.
type Case = (Op, Vec<usize>, Vec<&'static [usize]>, bool);

#[test]
fn operators_between_quantizations() {
    let padding = |pad: i64| Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] };
    let conv =
        |pad: i64, groups: usize| Op::from(Convolution { padding: padding(pad), groups, ..Convolution::plain(2) });
    let window =
        PoolWindow { kernel: vec![3, 2], strides: vec![2, 1], dilations: vec![1, 1], padding: padding(1), ceil: false };
    let pool = Op::from(Pool { mode: PoolMode::Max, window: Some(window) });
    let cases: Vec<Case> = vec![
        (conv(1, 1), vec![2, 9, 7, 20], vec![&[33, 20, 3, 3], &[33]], true),
        (conv(1, 1), vec![1, 12, 11, 3], vec![&[19, 3, 3, 3]], true),
        (conv(1, 20), vec![2, 9, 7, 20], vec![&[20, 1, 3, 3], &[20]], true),
        (conv(0, 1), vec![2, 5, 9, 7], vec![&[6, 5, 2, 3]], false),
        (pool.clone(), vec![2, 9, 7, 20], vec![], true),
        (pool, vec![2, 5, 9, 7], vec![], false),
        (MatMul::default().into(), vec![3, 17, 40], vec![&[40, 23]], false),
        (MatMul { transpose_b: true, ..MatMul::default() }.into(), vec![5, 40], vec![&[23, 40]], false),
        (Softmax { axis: -1, log: false }.into(), vec![3, 17, 40], vec![], false),
    ];
    let tactic = Cpu.tactic("cpu.quantize.around.f32").expect("the tactic");
    for (op, sizes, weights, channels_last) in cases {
        let (region, operands) = around(&op, &sizes, &weights, channels_last);
        let expected = reference(&region, &operands);
        let expected = expected.as_tensor().expect("a tensor").to_ints();
        let candidates = offers(tactic, &region, &Cpu.target(2)).expect("candidates");
        for candidate in &candidates {
            let on = |threads| {
                let found =
                    run_candidate(&*Cpu.open(threads).expect("the processor"), tactic, candidate, &region, &operands);
                found.expect("a run")[0].as_tensor().expect("a tensor").to_ints()
            };
            let (found, again) = (on(1), on(2));
            assert_eq!(found, again, "the number of threads shows: {}", candidate.recipe);
            let far = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert!(far <= Some(1) && differ * 100 <= found.len(), "{} differs: {far:?}, {differ}", candidate.recipe);
        }
    }
}

/// The bits of a region are those of its steps one after the other.
#[test]
fn a_region_gives_what_its_steps_give() {
    let (region, operands) = around(&MatMul::default().into(), &[3, 17, 40], &[&[40, 23]], false);
    let tactic = Cpu.tactic("cpu.quantize.around.f32").expect("the tactic");
    let whole = run_kernel(&*Cpu.open(2).expect("the processor"), tactic, &region, &operands).expect("a run");
    let mut values: HashMap<ValueId, Value> = HashMap::new();
    for (id, value) in region.body().inputs().iter().zip(&operands) {
        values.insert(*id, value.clone().expect("every operand"));
    }
    for node in region.body().nodes() {
        let types: Vec<_> = node.inputs.iter().map(|id| id.map(|id| region.body().ty(id).clone())).collect();
        let results = node.outputs.iter().map(|id| region.body().ty(*id).clone()).collect();
        let constants = if matches!(node.op, Op::MatMul(_)) { vec![1] } else { Vec::new() };
        let step = Region::single(node.op.clone(), &types, results).with_constants(constants);
        let name = match node.op.kind() {
            OpKind::Dequantize => "cpu.dequantize.to_f32",
            OpKind::MatMul => "cpu.matmul.panels.f32",
            OpKind::Pointwise => "cpu.pointwise.program",
            _ => "cpu.quantize.to_integers.f32",
        };
        let own: Vec<Option<Value>> = node.inputs.iter().map(|id| id.map(|id| values[&id].clone())).collect();
        let tactic = Cpu.tactic(name).expect("the tactic");
        let made = run_kernel(&*Cpu.open(2).expect("the processor"), tactic, &step, &own).expect("a run");
        values.extend(node.outputs.iter().copied().zip(made));
    }
    assert_eq!(whole[0], values[&region.body().outputs()[0]]);
}

/// A residual block of convolutions, quantized as ONNX Runtime does it: every value of it rounded to i8.
fn residual_block() -> Network {
    let mut model = Model::new();
    let quantized = |model: &mut Model, x: Handle, scale: f32| {
        let scale = model.weight(Tensor::from_vec(&[], vec![scale]).expect("a number"));
        let zero = model.weight(Tensor::from_vec(&[], vec![3i8]).expect("a number"));
        let codes = model.add(Quantize::plain(DataType::I8), &[x, scale, zero]);
        model.add(to_real(Granularity::Tensor), &[codes, scale, zero])
    };
    let relu = || {
        let x = Expr::input(0, DataType::F32);
        Expr::into_pointwise(&[x.binary(ScalarOp::Max, &x.same(0.0))]).expect("a program")
    };
    let conv = |model: &mut Model, x: Handle, sizes: [usize; 4]| {
        let w = model.dequantized_weight(&sizes, 0);
        let pad = (sizes[2] / 2) as i64;
        let padding = Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] };
        model.add(Convolution { padding, ..Convolution::plain(2) }, &[x, w])
    };
    let x = model.input("x", &[2, 16, 11, 9]);
    let x = quantized(&mut model, x, 0.02);
    let a = conv(&mut model, x, [24, 16, 3, 3]);
    let a = quantized(&mut model, a, 0.2);
    let a = model.add(relu(), &[a]);
    let a = quantized(&mut model, a, 0.15);
    let a = conv(&mut model, a, [16, 24, 1, 1]);
    let a = quantized(&mut model, a, 0.9);
    let sum = Expr::into_pointwise(&[&Expr::input(0, DataType::F32) + &Expr::input(1, DataType::F32)]);
    let y = model.add(sum.expect("a program"), &[a, x]);
    let y = quantized(&mut model, y, 0.8);
    let y = model.add(relu(), &[y]);
    let y = quantized(&mut model, y, 0.7);
    model.finish(&[("y", y)])
}

#[test]
fn a_quantized_block_is_few_regions() {
    let network = residual_block();
    let options = BuildOptions { threads: 2, ..BuildOptions::default() };
    let built = build(&network, &Cpu, options).expect("a plan");
    assert!(built.verification.dropped.is_empty(), "{:?}", built.verification.dropped);
    assert_eq!(built.costs.solved, built.costs.emitted);
    let steps = kinds(&built.plan.graph);
    let weights = |step: &&Vec<OpKind>| step[..] == [OpKind::Dequantize];
    assert!(steps.len() <= 9 && steps.iter().filter(weights).count() <= 1, "{steps:?}");
    let inputs = HashMap::from([("x".to_owned(), numbers(&[2, 16, 11, 9], 1))]);
    let expected = run_with(&network, &inputs, &FastEvaluator).expect("the judge");
    let found = run_here(&built.plan, &inputs).expect("an engine");
    let [found, expected] = [&found[0], &expected[0]].map(|y| y.as_tensor().expect("a tensor").to_floats());
    let far = found.iter().zip(&expected).filter(|(a, b)| (*a - *b).abs() > 1e-6).count();
    assert!(far * 100 <= found.len(), "{far} of {} elements are a step away", found.len());
    assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 3.0), "a few steps at most");
}
