//! Regions of products with epilogues, of odd sizes, for the tests of tensor-core kernels.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sinter_backend::{Candidate, Device, KernelError, Loaded, Problem, Region, Sizing, Target};
use sinter_base::{DataType, Dim, Tensor, Value, ValueType};
use sinter_cuda::Cuda;
use sinter_cuda::tactic::CudaTactic;
use sinter_ops::matmul::MatMul;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::{Body, EvalContext, InferContext, ReferenceEvaluator};

use crate::device::{arguments, device, memory_of_input, memory_of_output, time_of};

/// The pointwise operator behind a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Behind {
    Nothing,
    /// relu(y + bias), a bias for each column.
    BiasRelu,
    /// gelu(y * scale + bias) + residual, as wide as the result.
    Residual,
    /// A cast to f32.
    Cast,
    /// A number for each row, and one for each matrix and column.
    Rows,
}

pub(crate) const ALL_BEHIND: [Behind; 5] =
    [Behind::Nothing, Behind::BiasRelu, Behind::Residual, Behind::Cast, Behind::Rows];

pub(crate) fn ty(data_type: DataType, sizes: &[usize]) -> ValueType {
    ValueType::tensor(data_type, sizes.iter().map(|size| Dim::from(*size)).collect())
}

/// A product of operands of these sizes, with an epilogue.
pub(crate) fn product(op: MatMul, data_type: DataType, a: &[usize], b: &[usize], behind: Behind) -> Region {
    let mut body = Body::new();
    let mut cx = InferContext::default();
    let operands = [a, b].map(|sizes| Some(body.add_input(ty(data_type, sizes))));
    let y = body.add(op.into(), &operands, &mut cx).expect("a product")[0];
    let sizes = body.ty(y).as_tensor().and_then(|ty| ty.shape.sizes()).expect("sizes").to_vec();
    let (x, first, second) = (Expr::input(0, data_type), Expr::input(1, data_type), Expr::input(2, data_type));
    let zero = Expr::constant(data_type, 0.0);
    let column = sizes.last().copied().into_iter().collect::<Vec<_>>();
    // The second axis from the end alone; and the last one with those of the stack.
    let mut rows = vec![1; sizes.len().min(2)];
    if let (Some(row), [.., size, _]) = (rows.first_mut(), &sizes[..]) {
        *row = *size;
    }
    let mut stack = sizes.clone();
    if let [.., row, _] = &mut stack[..] {
        *row = 1;
    }
    let (program, beside) = match behind {
        Behind::Nothing => (None, vec![]),
        Behind::BiasRelu => (Some((&first + &x).binary(ScalarOp::Max, &zero)), vec![column]),
        Behind::Residual => {
            let inner = (&(&x * 0.5) + &first).unary(ScalarOp::Gelu);
            (Some(&inner + &second), vec![column, sizes])
        }
        Behind::Cast => (Some(x.cast(DataType::F32)), vec![]),
        Behind::Rows => (Some(&(&x * &first) + &second), vec![rows, stack]),
    };
    let result = match program {
        None => y,
        Some(program) => {
            let op = Expr::into_pointwise(&[program]).expect("a program");
            let beside = beside.iter().map(|sizes| Some(body.add_input(ty(data_type, sizes)))).collect::<Vec<_>>();
            let inputs: Vec<_> = [Some(y)].into_iter().chain(beside).collect();
            body.add(op.into(), &inputs, &mut cx).expect("an epilogue")[0]
        }
    };
    body.set_outputs(vec![result]);
    Region::new(body)
}

/// Both operands in both orders.
pub(crate) fn orders() -> impl Iterator<Item = MatMul> {
    [false, true]
        .into_iter()
        .flat_map(|transpose_a| [false, true].into_iter().map(move |transpose_b| MatMul { transpose_a, transpose_b }))
}

/// Random numbers of a range whose products and sums stay ordinary.
pub(crate) struct Random(u64);

impl Random {
    /// A seed that no run had before.
    pub(crate) fn fresh() -> Self {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
        println!("seed {}", clock.as_nanos());
        Self(clock.as_nanos() as u64)
    }

    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / f64::from(1 << 23) - 1.0
    }

    pub(crate) fn tensor(&mut self, data_type: DataType, sizes: &[usize]) -> Tensor {
        let values: Vec<f64> = (0..sizes.iter().product()).map(|_| self.next()).collect();
        Tensor::from_floats(data_type, sizes, &values).expect("a tensor")
    }

    /// Random operands of a region.
    pub(crate) fn operands(&mut self, region: &Region) -> Vec<Tensor> {
        let types = region.body().input_types();
        let tensor = |ty: &ValueType| {
            let ty = ty.as_tensor().expect("a tensor");
            self.tensor(ty.data_type, &ty.shape.sizes().expect("sizes"))
        };
        types.iter().map(tensor).collect()
    }
}

/// The result of a region by the reference.
pub(crate) fn reference(region: &Region, operands: &[Tensor]) -> Vec<f64> {
    let values = operands.iter().map(|tensor| Some(Value::from(tensor.clone()))).collect();
    let result = region.body().evaluate(values, &EvalContext::new(&ReferenceEvaluator)).expect("results").remove(0);
    result.as_tensor().expect("a tensor").to_floats()
}

/// Sizes of operands, before either is transposed: tails along all axes, single rows and columns, stacks that broadcast,
/// rows of any alignment, lists, nothing to sum, sizes beyond one tile of every recipe.
const SIZES: &[(&[usize], &[usize])] = &[
    (&[1, 1], &[1, 1]),
    (&[7, 13], &[13, 5]),
    (&[64, 64], &[64, 64]),
    (&[129, 72], &[72, 264]),
    (&[300, 520], &[520, 136]),
    (&[1, 1000], &[1000, 512]),
    (&[8, 4096], &[4096, 128]),
    (&[33, 67], &[67, 131]),
    (&[257, 8], &[8, 1]),
    (&[3, 2, 40, 24], &[24, 56]),
    (&[2, 1, 3, 8], &[5, 8, 16]),
    (&[3, 65, 32], &[3, 32, 72]),
    (&[5, 0], &[0, 8]),
    (&[0, 8], &[8, 8]),
    (&[16], &[16, 24]),
    (&[2, 9, 16], &[16]),
    (&[19, 1, 64], &[64, 72]),
];

/// Recipes of a tactic for one region.
const MOST: usize = 6;

fn swapped_if(transpose: bool, sizes: &[usize]) -> Vec<usize> {
    let mut sizes = sizes.to_vec();
    if let ([.., a, b], true) = (&mut sizes[..], transpose) {
        std::mem::swap(a, b);
    }
    sizes
}

/// Runs every recipe of every tactic on a region, and returns what differs from the reference.
fn differences(device: &dyn Device, region: &Region, most: usize, random: &mut Random) -> (usize, Vec<String>) {
    let tensors = random.operands(region);
    let expected = reference(region, &tensors);
    let largest = expected.iter().fold(1.0f64, |largest, value| largest.max(value.abs()));
    let (mut ran, mut wrong) = (0, Vec::new());
    for (tactic, candidate) in offers(region, device.target(), most) {
        ran += 1;
        let found = run(device, tactic, &candidate, region, &tensors).map(|tensor| tensor.to_floats());
        let bound = largest / 128.0;
        let worst = found.as_ref().ok().and_then(|found| {
            // A result that is no number agrees with none.
            let agrees = |at: usize| (found[at] - expected[at]).abs() <= bound;
            (0..expected.len()).find(|at| !agrees(*at)).map(|at| format!("[{at}] {} not {}", found[at], expected[at]))
        });
        if let Some(text) = found.err().or(worst) {
            wrong.push(format!("{} on\n{region}: {text}", candidate.recipe));
        }
    }
    (ran, wrong)
}

pub(crate) fn run(
    device: &dyn Device,
    tactic: &dyn CudaTactic,
    candidate: &Candidate,
    region: &Region,
    tensors: &[Tensor],
) -> Result<Tensor, String> {
    let text = |error: KernelError| error.to_string();
    let code = tactic.compile(&candidate.recipe, region, device.target()).map_err(text)?;
    let kernel = match device.load(&candidate.recipe, region, code.as_ref()).map_err(text)? {
        Loaded::Kernel(kernel) => kernel,
        Loaded::Values(_) => return Err("a kernel of the host".to_owned()),
    };
    let mut queue = device.queue().map_err(text)?;
    let arguments = arguments(&mut *queue, region);
    let mut tensors = tensors.to_vec();
    for &operand in &candidate.packed {
        tensors[operand] = tactic.pack(&candidate.recipe, region, operand, &tensors[operand]).map_err(text)?;
    }
    for (index, tensor) in tensors.iter().enumerate() {
        queue.write(memory_of_input(&arguments, index), tensor.bytes()).map_err(text)?;
    }
    let memory = memory_of_output(&arguments, 0);
    // Elements that the kernel does not write are no numbers.
    queue.write(memory, &vec![0xFF; memory.bytes]).map_err(text)?;
    queue.launch(kernel, &arguments, (0, 0)).map_err(text)?;
    let mut bytes = vec![0; memory.bytes];
    queue.read(memory, &mut bytes).map_err(text)?;
    let ty = region.output(0).expect("a result");
    Tensor::from_bytes(ty.data_type, &ty.shape.sizes().expect("sizes"), Bytes::from(bytes)).map_err(|e| e.to_string())
}

/// The best recipes of all tactics that take a region.
pub(crate) fn offers(region: &Region, target: &Target, most: usize) -> Vec<(&'static dyn CudaTactic, Candidate)> {
    let problem = Problem { region, target, sizing: &Sizing::default() };
    let offer = |tactic: &'static dyn CudaTactic| {
        let candidates = tactic.offer(&problem, most).unwrap_or_default();
        candidates.into_iter().map(move |candidate| (tactic, candidate)).collect::<Vec<_>>()
    };
    Cuda::device_tactics().into_iter().flat_map(offer).collect()
}

/// Compiles all kernels of regions on all processors; the compiler's results are kept.
pub(crate) fn compile_all<'r>(regions: impl IntoIterator<Item = &'r Region>, target: &Target, most: usize) {
    let jobs = regions
        .into_iter()
        .flat_map(|region| offers(region, target, most).into_iter().map(move |offer| (region, offer)));
    let jobs: Vec<_> = jobs.collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((region, (tactic, candidate))) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // An error shows when the kernel is loaded.
                    let _ = tactic.compile(&candidate.recipe, region, target);
                }
            });
        }
    });
}

/// The best recipes of every tactic agree with the reference on these regions.
pub(crate) fn agree(device: &dyn Device, regions: &[Region]) {
    agree_on(device, regions, MOST);
}

/// Every recipe of every tactic agrees with the reference on these regions.
pub(crate) fn agree_on_all(device: &dyn Device, regions: &[Region]) {
    agree_on(device, regions, usize::MAX);
}

fn agree_on(device: &dyn Device, regions: &[Region], most: usize) {
    compile_all(regions, device.target(), most);
    let mut random = Random::fresh();
    let (mut ran, mut wrong) = (0, Vec::new());
    for region in regions {
        let (more, found) = differences(device, region, most, &mut random);
        ran += more;
        wrong.extend(found);
    }
    println!("{ran} launches");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(8)].join("\n"));
}

/// All sizes in all orders, with every epilogue on some of them.
fn all_regions() -> Vec<Region> {
    let mut regions = Vec::new();
    for (index, (a, b)) in SIZES.iter().enumerate() {
        for (number, op) in orders().enumerate() {
            let data_type = if (index + number) % 2 == 0 { DataType::F16 } else { DataType::Bf16 };
            let (a, b) = (swapped_if(op.transpose_a, a), swapped_if(op.transpose_b, b));
            let behind = ALL_BEHIND[(index + number) % ALL_BEHIND.len()];
            let behind = if a.len() == 1 || b.len() == 1 { Behind::BiasRelu } else { behind };
            regions.push(product(op.clone(), data_type, &a, &b, Behind::Nothing));
            let weights = if number % 2 == 0 { vec![1] } else { vec![] };
            regions.push(product(op, data_type, &a, &b, behind).with_constants(weights));
        }
    }
    regions
}

/// Matrices of one row whose stack counts as the rows: an operand of the epilogue varies along them.
#[test]
fn operands_of_an_epilogue_vary_along_stacks() {
    let region = product(MatMul::default(), DataType::F16, &[19, 1, 64], &[64, 72], Behind::Residual);
    let kernels = crate::compile::kernels(&region, "sm_90a", 1);
    assert!(!kernels.is_empty());
    for kernel in kernels {
        let configuration = kernel.configuration();
        assert!(configuration.contains("f16.01") && configuration.contains("f16.11"), "{configuration}");
    }
}

#[test]
fn products_of_odd_sizes_agree_with_the_reference() {
    let Some(device) = device() else { return };
    agree(&*device, &all_regions());
}

/// A recipe's time, that of the cost model in nanoseconds, and its parameters.
struct Timed {
    seconds: f64,
    expected: f64,
    parameters: String,
}

/// Prints the speed of real products, with the best of the recipes; no figure is a condition.
#[test]
fn figures_of_products() {
    let Some(device) = device() else { return };
    let usual = MatMul::default();
    let weights = MatMul { transpose_b: true, ..usual.clone() };
    let rows: &[(usize, usize, usize, Behind)] = &[
        (4096, 4096, 4096, Behind::Nothing),
        (2048, 2048, 2048, Behind::Nothing),
        (4096, 4096, 4096, Behind::BiasRelu),
        (12288, 1024, 4096, Behind::Residual),
        (16384, 4096, 1024, Behind::Nothing),
        (1024, 4096, 4096, Behind::Nothing),
        (384, 1024, 4096, Behind::Nothing),
        (128, 3072, 1024, Behind::Nothing),
        (128, 4096, 1024, Behind::BiasRelu),
        (32, 4096, 4096, Behind::Nothing),
        (8, 4096, 4096, Behind::Nothing),
        (1, 4096, 4096, Behind::Nothing),
    ];
    let mut regions = Vec::new();
    for &(m, n, k, behind) in rows {
        // The right operand is a weight.
        let nn = product(usual.clone(), DataType::F16, &[m, k], &[k, n], behind).with_constants(vec![1]);
        let nt = product(weights.clone(), DataType::F16, &[m, k], &[n, k], behind).with_constants(vec![1]);
        regions.extend([(format!("nn {m} {n} {k}"), nn), (format!("nt {m} {n} {k}"), nt)]);
    }
    let target = device.target();
    compile_all(regions.iter().map(|(_, region)| region), target, usize::MAX);
    for (name, region) in &regions {
        let [m, n, k] = {
            let mut sizes = name.split(' ').skip(1).map(|size| size.parse::<f64>().expect("a size"));
            [(); 3].map(|()| sizes.next().expect("three sizes"))
        };
        // Operands that together exceed the cache, so that weights come from memory.
        let copies = (3e8 / (2.0 * (m * k + k * n + m * n))).ceil().clamp(1.0, 20.0) as usize;
        let mut best: Vec<(String, Vec<Timed>)> = Vec::new();
        for (tactic, candidate) in offers(region, target, usize::MAX) {
            if tactic.name() == "cuda.matmul.tiled" {
                continue;
            }
            let code = tactic.compile(&candidate.recipe, region, target).expect("code").expect("machine code");
            let seconds = time_of(&*device, region, &candidate.recipe, &code, copies);
            let parameters = candidate.recipe.parameters.to_string();
            let entry = Timed { seconds, expected: candidate.estimate, parameters };
            println!("{name} {}: {:.2} us, expected {:.2}", candidate.recipe, seconds * 1e6, candidate.estimate / 1e3);
            match best.iter_mut().find(|(known, _)| known == tactic.name()) {
                Some((_, list)) => list.push(entry),
                None => best.push((tactic.name().to_owned(), vec![entry])),
            }
        }
        for (tactic, mut list) in best {
            let (first, expected) = (list[0].seconds, list[0].expected);
            list.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
            let Timed { seconds, parameters, .. } = &list[0];
            println!(
                "figure: {tactic} {name}: {:.2} us, {:.0} TFLOP/s; first {:.2} us, expected {:.2}; {parameters}",
                seconds * 1e6,
                2.0 * m * n * k / seconds / 1e12,
                first * 1e6,
                expected / 1e3
            );
        }
    }
}
