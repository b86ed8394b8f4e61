//! Networks with quantized weights and values: which regions the cover makes of them, and what those compute.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_backend::{
    BackEnd, Candidate, KernelError, Loaded, Numerics, Problem, Recipe, Refusal, Region, Tactic, Target, Workers,
};
use sinter_base::quantization::Granularity;
use sinter_base::{DataType, Location, Tensor, Value, ValueType};
use sinter_builder::{BuildOptions, Built, Verify, build};
use sinter_conformance::engine::run_here;
use sinter_cpu::Cpu;
use sinter_interp::{FastEvaluator, run_with};
use sinter_ir::{Handle, Network, NetworkBuilder};
use sinter_ops::matmul::MatMul;
use sinter_ops::quantize::Dequantize;
use sinter_ops::{Op, OpKind};
use sinter_plan::{Action, Graph, Home};

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
    graph.steps.iter().map(|step| of(step.region())).collect()
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

    fn load(&self, _: &Recipe, _: &Region, _: &Target) -> Result<Loaded, KernelError> {
        Err(KernelError::Recipe("nothing runs".to_owned()))
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

    fn workers(&self, threads: usize) -> Arc<dyn Workers> {
        Cpu.workers(threads)
    }
}

#[test]
fn a_kernel_may_take_a_weight_as_it_is_stored() {
    let network = product_of_a_quantized_weight();
    let built = built(&network, &WithStored);
    let graph = &built.plan.graph;
    assert_eq!(kinds(graph), [[OpKind::Dequantize, OpKind::MatMul]]);
    let Action::Kernel { recipe, .. } = &graph.steps[0].action else { panic!("a kernel") };
    assert_eq!(recipe.tactic, "cpu.test.stored");
    let is_stored = |id: &sinter_plan::PlanValueId| {
        let value = &graph.values[id.index()];
        matches!(value.home, Home::Weight(_)) && value.ty.data_type() == DataType::I8
    };
    assert!(graph.steps[0].inputs.iter().flatten().any(is_stored));
}
