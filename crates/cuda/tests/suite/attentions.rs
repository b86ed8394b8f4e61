//! Attention on tensor cores: agreement with the reference on odd sizes, masks, caches and layouts, and its speed.

use bytes::Bytes;
use sinter_backend::{Device, End, Input, KernelError, Loaded, Problem, Recipe, Region, Sizing};
use sinter_base::{DataType, MemoryRef, Rows, Tensor, Value, ValueType};
use sinter_cuda::Cuda;
use sinter_ops::attention::{Attention, FullyMasked};
use sinter_ops::{Body, EvalContext, InferContext, ReferenceEvaluator};

use crate::device::{arguments, device, memory_of_input, memory_of_output, time_of};
use crate::products::{Random, compile_all, ty};

const F16: DataType = DataType::F16;
const BF16: DataType = DataType::Bf16;
const F32: DataType = DataType::F32;
const BOOL: DataType = DataType::Bool;

/// What stands beside queries, keys and values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Beside {
    mask: Option<(DataType, Vec<usize>)>,
    /// Past keys and values, which makes those with the new ones results.
    past: Option<usize>,
    /// Numbers of keys that count.
    counts: Option<Vec<i64>>,
    sinks: bool,
    /// Are joined keys and values results without a past too?
    joins: bool,
}

fn mask(data_type: DataType, sizes: &[usize]) -> Beside {
    Beside { mask: Some((data_type, sizes.to_vec())), ..Beside::default() }
}

/// Attention of operands of these sizes.
pub(crate) fn attention(op: &Attention, data_type: DataType, sizes: [&[usize]; 3], beside: &Beside) -> Region {
    let mut body = Body::new();
    let mut inputs: Vec<_> = sizes.map(|sizes| Some(body.add_input(ty(data_type, sizes)))).to_vec();
    let [_, k, v] = sizes;
    let heads = |sizes: &[usize]| match *sizes {
        [b, h, _, d] => [b, h, d],
        [b, _, hidden] => [b, op.key_heads.unwrap_or(1), hidden / op.key_heads.unwrap_or(1)],
        _ => panic!("an operand of attention"),
    };
    let mut add = |wanted: Option<ValueType>| inputs.push(wanted.map(|ty| body.add_input(ty)));
    add(beside.mask.as_ref().map(|(data_type, sizes)| ty(*data_type, sizes)));
    for operand in [k, v] {
        let [b, h, d] = heads(operand);
        add(beside.past.map(|past| ty(data_type, &[b, h, past, d])));
    }
    add(beside.counts.as_ref().map(|counts| ty(DataType::I64, &[counts.len()])));
    let query_heads = op.query_heads.unwrap_or(sizes[0][1]);
    add(beside.sinks.then(|| ty(F32, &[query_heads])));
    let results = body.add(op.clone().into(), &inputs, &mut InferContext::default()).expect("attention");
    let count = if beside.past.is_some() || beside.joins { 3 } else { 1 };
    body.set_outputs(results[..count].to_vec());
    Region::new(body)
}

/// Operands of a region: rows of ordinary numbers, masks that hide some keys, and these numbers of keys.
fn operands(region: &Region, beside: &Beside, random: &mut Random) -> Vec<Tensor> {
    let types = region.body().input_types();
    let make = |ty: &ValueType| {
        let ty = ty.as_tensor().expect("a tensor");
        let sizes = ty.shape.sizes().expect("sizes");
        let plain = random.tensor(F32, &sizes).to_floats();
        let is_mask = beside.mask.as_ref().is_some_and(|(own, dims)| *own == ty.data_type && dims[..] == sizes[..]);
        let values: Vec<f64> = match ty.data_type {
            DataType::I64 => beside.counts.iter().flatten().map(|count| *count as f64).collect(),
            BOOL => plain.iter().map(|value| f64::from(u8::from(*value > -0.5))).collect(),
            // The lowest number of the type, as exporters write it.
            F32 | BF16 if is_mask => plain.iter().map(|value| if *value < -0.6 { -3.38e38 } else { *value }).collect(),
            F16 if is_mask => plain.iter().map(|value| if *value < -0.6 { -65504.0 } else { *value }).collect(),
            _ => plain.iter().map(|value| value * 2.0).collect(),
        };
        match ty.data_type {
            DataType::I64 => Tensor::of_i64(beside.counts.as_deref().unwrap_or_default()),
            BOOL => {
                let bits: Vec<i128> = values.iter().map(|value| i128::from(*value != 0.0)).collect();
                Tensor::from_ints(BOOL, &sizes, &bits).expect("a mask")
            }
            data_type => Tensor::from_floats(data_type, &sizes, &values).expect("a tensor"),
        }
    };
    types.iter().map(make).collect()
}

/// The results of a kernel in memory that held no numbers before.
fn run(device: &dyn Device, region: &Region, recipe: &Recipe, tensors: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let text = |error: KernelError| error.to_string();
    let tactic = Cuda::device_tactics().into_iter().find(|tactic| tactic.name() == recipe.tactic).expect("a tactic");
    let code = tactic.compile(recipe, region, device.target()).map_err(text)?;
    let Loaded::Kernel(kernel) = device.load(recipe, region, code.as_ref()).map_err(text)? else {
        return Err("a kernel of the host".to_owned());
    };
    let mut queue = device.queue().map_err(text)?;
    let arguments = arguments(&mut *queue, region);
    let given = (0..arguments.inputs.len()).filter(|index| matches!(arguments.inputs[*index], Input::Memory(_)));
    for (index, tensor) in given.zip(tensors) {
        queue.write(memory_of_input(&arguments, index), tensor.bytes()).map_err(text)?;
    }
    let outputs = region.body().output_types();
    for index in 0..outputs.len() {
        let memory = memory_of_output(&arguments, index);
        queue.write(memory, &vec![0xFF; memory.bytes]).map_err(text)?;
    }
    queue.launch(kernel, &arguments, (0, 0)).map_err(text)?;
    let mut results = Vec::new();
    for (index, ty) in outputs.iter().enumerate() {
        let memory = memory_of_output(&arguments, index);
        let mut bytes = vec![0; memory.bytes];
        queue.read(memory, &mut bytes).map_err(text)?;
        let ty = ty.as_tensor().expect("a tensor");
        let sizes = ty.shape.sizes().expect("sizes");
        results.push(Tensor::from_bytes(ty.data_type, &sizes, Bytes::from(bytes)).map_err(|error| error.to_string())?);
    }
    Ok(results)
}

/// Where a result differs by more than the rounding of weights and results.
fn difference(found: &Tensor, expected: &Tensor) -> Option<String> {
    let (found, expected) = (found.to_floats(), expected.to_floats());
    let largest = expected.iter().filter(|value| value.is_finite()).fold(0.5f64, |most, value| most.max(value.abs()));
    let agrees = |at: usize| {
        let (found, expected) = (found[at], expected[at]);
        found.is_nan() && expected.is_nan() || (found - expected).abs() <= largest / 64.0
    };
    (0..expected.len()).find(|at| !agrees(*at)).map(|at| format!("[{at}] {} not {}", found[at], expected[at]))
}

/// Every option with odd sizes.
fn cases() -> Vec<(Attention, [Vec<usize>; 3], Beside)> {
    let plain = Attention::default();
    let causal = Attention { causal: true, ..plain.clone() };
    let capped = Attention { softcap: 3.0, ..plain.clone() };
    let zero = |op: &Attention| Attention { fully_masked: FullyMasked::Zero, ..op.clone() };
    let side_by_side = |q, k, op: &Attention| Attention { query_heads: Some(q), key_heads: Some(k), ..op.clone() };
    let four = |b: usize, [h, hk]: [usize; 2], [l, t]: [usize; 2], [d, e]: [usize; 2]| {
        [vec![b, h, l, d], vec![b, hk, t, d], vec![b, hk, t, e]]
    };
    let three = |b: usize, [h, hk]: [usize; 2], [l, t]: [usize; 2], [d, e]: [usize; 2]| {
        [vec![b, l, h * d], vec![b, t, hk * d], vec![b, t, hk * e]]
    };
    let none = Beside::default;
    let counts = |counts: &[i64]| Beside { counts: Some(counts.to_vec()), ..Beside::default() };
    let mut cases = vec![
        (plain.clone(), four(2, [3, 3], [128, 128], [64, 64]), none()),
        (plain.clone(), four(1, [2, 2], [200, 333], [128, 128]), none()),
        (plain.clone(), four(2, [2, 2], [7, 5], [40, 24]), none()),
        (plain.clone(), four(1, [1, 1], [1, 1], [1, 1]), none()),
        (plain.clone(), four(1, [2, 2], [70, 90], [33, 47]), none()),
        (plain.clone(), four(1, [1, 1], [66, 130], [256, 256]), none()),
        (plain.clone(), four(1, [1, 1], [100, 70], [192, 128]), none()),
        (plain.clone(), four(1, [2, 2], [65, 129], [80, 96]), none()),
        (plain.clone(), four(1, [2, 2], [0, 9], [16, 16]), none()),
        (plain.clone(), four(1, [2, 2], [9, 0], [16, 16]), none()),
        (causal.clone(), four(2, [2, 2], [300, 300], [64, 64]), none()),
        (causal.clone(), four(1, [2, 1], [150, 400], [128, 128]), none()),
        (causal.clone(), four(1, [2, 2], [400, 150], [64, 64]), none()),
        (capped.clone(), four(1, [2, 2], [90, 210], [64, 64]), none()),
        (capped, four(1, [2, 2], [90, 210], [64, 64]), mask(F16, &[90, 210])),
        // Few queries of many keys, and heads that share keys.
        (plain.clone(), four(1, [8, 2], [1, 3000], [128, 128]), none()),
        (plain.clone(), four(2, [6, 2], [3, 1111], [64, 64]), mask(F16, &[2, 1, 1, 1111])),
        (causal.clone(), four(2, [4, 1], [37, 300], [64, 64]), none()),
        (side_by_side(4, 2, &plain), three(2, [4, 2], [77, 131], [64, 64]), none()),
        (side_by_side(3, 3, &causal), three(2, [3, 3], [129, 129], [24, 40]), none()),
        (side_by_side(12, 12, &plain), three(2, [12, 12], [128, 128], [64, 64]), mask(F16, &[2, 1, 1, 128])),
        // The sizes of masks that broadcast.
        (plain.clone(), four(2, [2, 2], [70, 200], [64, 64]), mask(BOOL, &[2, 1, 1, 200])),
        (plain.clone(), four(2, [2, 2], [70, 200], [64, 64]), mask(F32, &[2, 2, 1, 200])),
        (plain.clone(), four(2, [2, 2], [70, 200], [64, 64]), mask(F16, &[2, 1, 70, 200])),
        (plain.clone(), four(2, [2, 2], [70, 200], [128, 128]), mask(F16, &[1, 2, 70, 200])),
        (plain.clone(), four(2, [2, 2], [70, 200], [64, 64]), mask(BF16, &[2, 2, 70, 200])),
        (plain.clone(), four(2, [2, 2], [70, 201], [64, 64]), mask(F32, &[70, 201])),
        (plain.clone(), four(2, [2, 2], [70, 200], [64, 64]), mask(F32, &[2, 1, 70, 200])),
        (plain.clone(), four(1, [4, 2], [130, 132], [128, 128]), mask(F32, &[4, 130, 132])),
        (side_by_side(12, 12, &plain), three(1, [12, 12], [128, 128], [64, 64]), mask(F32, &[1, 1, 128, 128])),
        (plain.clone(), four(2, [2, 2], [70, 201], [64, 64]), mask(F16, &[70, 201])),
        (plain.clone(), four(2, [4, 2], [70, 200], [64, 64]), mask(BOOL, &[4, 1, 200])),
        (plain.clone(), four(2, [2, 2], [70, 200], [64, 64]), mask(F16, &[2, 1, 70, 1])),
        (plain.clone(), four(2, [2, 2], [70, 200], [64, 64]), mask(BOOL, &[70, 150])),
        (plain.clone(), four(2, [2, 2], [70, 208], [64, 64]), mask(BOOL, &[2, 1, 70, 208])),
        (plain.clone(), four(2, [2, 2], [130, 144], [128, 128]), mask(BOOL, &[2, 130, 144])),
        (causal.clone(), four(2, [2, 2], [130, 130], [64, 64]), mask(F16, &[2, 1, 1, 130])),
        (causal.clone(), four(2, [2, 2], [136, 136], [128, 128]), mask(F16, &[1, 1, 136, 136])),
        // Numbers of keys, sinks, caches.
        (zero(&plain), four(3, [2, 2], [50, 170], [64, 64]), counts(&[170, 0, 65])),
        (plain.clone(), four(3, [2, 2], [50, 170], [64, 64]), counts(&[170, 0, 65])),
        (zero(&causal), four(3, [2, 1], [50, 170], [64, 64]), counts(&[170, 20, 65])),
        (plain.clone(), four(2, [4, 2], [50, 170], [64, 64]), Beside { sinks: true, ..none() }),
        (zero(&causal), four(2, [4, 2], [5, 7], [64, 64]), Beside { past: Some(60), sinks: true, ..none() }),
        (causal.clone(), four(2, [4, 4], [1, 1], [128, 128]), Beside { past: Some(2000), ..none() }),
        (side_by_side(4, 4, &plain), three(2, [4, 4], [3, 3], [20, 12]), Beside { past: Some(33), ..none() }),
        (side_by_side(2, 2, &plain), three(2, [2, 2], [30, 90], [64, 64]), Beside { joins: true, ..none() }),
    ];
    let scaled = Attention { scale: Some(0.5), ..Attention::default() };
    cases.push((scaled, four(1, [2, 2], [64, 64], [64, 64]), none()));
    // Scores whose rounding is larger than what separates ordinary ones.
    let far = Attention { scale: Some(1e9), ..Attention::default() };
    cases.push((far.clone(), four(1, [2, 2], [70, 197], [64, 64]), none()));
    cases.push((far.clone(), four(1, [8, 2], [1, 900], [128, 128]), none()));
    cases.push((far, four(1, [2, 2], [70, 197], [64, 64]), Beside { sinks: true, ..none() }));
    cases
}

/// Recipes of a tactic for one region.
const MOST: usize = 4;

/// The regions of all cases, with what stands beside.
fn all() -> Vec<(Region, Beside)> {
    let region = |(index, (op, sizes, beside)): (usize, (Attention, [Vec<usize>; 3], Beside))| {
        let data_type = if index % 3 == 1 { BF16 } else { F16 };
        (attention(&op, data_type, [&sizes[0], &sizes[1], &sizes[2]], &beside), beside)
    };
    cases().into_iter().enumerate().map(region).collect()
}

/// Regions whose machine code is read.
pub(crate) fn telling() -> Vec<Region> {
    let sizes: [usize; 2] = [64, 128];
    let mut regions = Vec::new();
    for size in sizes {
        let dims: &[usize] = &[8, 16, 1024, size];
        for (causal, beside) in [
            (false, Beside::default()),
            (true, Beside::default()),
            (false, mask(F16, &[8, 1, 1, 1024])),
            (false, mask(F16, &[8, 1, 1024, 1024])),
        ] {
            regions.push(attention(&Attention { causal, ..Attention::default() }, F16, [dims; 3], &beside));
        }
    }
    regions
}

/// Regions with every option, for compilation.
pub(crate) fn varied() -> Vec<Region> {
    all().into_iter().map(|(region, _)| region).collect()
}

#[test]
fn attention_of_odd_sizes_agrees_with_the_reference() {
    let Some(device) = device() else { return };
    let all = all();
    compile_all(all.iter().map(|(region, _)| region), device.target(), MOST);
    let mut random = Random::fresh();
    let (mut ran, mut wrong) = (0, Vec::new());
    for (region, beside) in &all {
        let tensors = operands(region, beside, &mut random);
        let values = tensors.iter().map(|tensor| Some(Value::from(tensor.clone()))).collect();
        let expected = region.body().evaluate(values, &EvalContext::new(&ReferenceEvaluator)).expect("results");
        let problem = Problem { region, target: device.target(), sizing: &Sizing::default() };
        for tactic in Cuda::device_tactics() {
            for candidate in tactic.offer(&problem, MOST).unwrap_or_default() {
                ran += 1;
                let text = match run(&*device, region, &candidate.recipe, &tensors) {
                    Err(text) => Some(text),
                    Ok(found) => found.iter().zip(&expected).enumerate().find_map(|(index, (found, expected))| {
                        let expected = expected.as_tensor().expect("a tensor");
                        difference(found, expected).map(|text| format!("result {index} {text}"))
                    }),
                };
                wrong.extend(text.map(|text| format!("{}: {text} on\n{region}", candidate.recipe)));
            }
        }
    }
    println!("{ran} launches");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(12)].join("\n"));
}

/// Queries, keys and values as parts of one tensor, as a joint projection makes them.
#[test]
fn rows_of_a_joint_projection_are_read_in_place() {
    let Some(device) = device() else { return };
    let (batch, length, hidden) = (2, 150, 128);
    let op = Attention { query_heads: Some(2), key_heads: Some(2), ..Attention::default() };
    let sizes: &[usize] = &[batch, length, hidden];
    let region = attention(&op, F16, [sizes; 3], &Beside::default());
    let whole = Random::fresh().tensor(F16, &[batch, length, 3 * hidden]);
    let numbers = whole.to_floats();
    let part = |part: usize| {
        let row = |row: usize| numbers[(3 * row + part) * hidden..][..hidden].to_vec();
        let values: Vec<f64> = (0..batch * length).flat_map(row).collect();
        Some(Value::from(Tensor::from_floats(F16, sizes, &values).expect("a tensor")))
    };
    let values = (0..3).map(part).collect();
    let expected = region.body().evaluate(values, &EvalContext::new(&ReferenceEvaluator)).expect("results").remove(0);
    let problem = Problem { region: &region, target: device.target(), sizing: &Sizing::default() };
    for tactic in Cuda::device_tactics() {
        for candidate in tactic.offer(&problem, 1).unwrap_or_default() {
            let rows = Rows { inner: hidden, step: 3 * hidden };
            if !candidate.stride_support(End::Operand(0)).admits(rows, sizes) {
                continue;
            }
            let code = tactic.compile(&candidate.recipe, &region, device.target()).expect("code");
            let Loaded::Kernel(kernel) = device.load(&candidate.recipe, &region, code.as_ref()).expect("a kernel")
            else {
                panic!("a kernel of the host")
            };
            let mut queue = device.queue().expect("a queue");
            let mut arguments = arguments(&mut *queue, &region);
            let block = queue.allocate(whole.bytes().len()).expect("memory");
            queue.write(MemoryRef { block, offset: 0, bytes: whole.bytes().len() }, whole.bytes()).expect("a copy");
            for (index, input) in arguments.inputs.iter_mut().take(3).enumerate() {
                let Input::Memory(argument) = input else { panic!("an operand") };
                // The last row ends with the part.
                let bytes = 2 * ((batch * length - 1) * 3 * hidden + hidden);
                argument.memory = MemoryRef { block, offset: 2 * index * hidden, bytes };
                argument.rows = Some(rows);
            }
            let memory = memory_of_output(&arguments, 0);
            queue.write(memory, &vec![0xFF; memory.bytes]).expect("a copy");
            queue.launch(kernel, &arguments, (0, 0)).expect("a launch");
            let mut bytes = vec![0; memory.bytes];
            queue.read(memory, &mut bytes).expect("results");
            let found = Tensor::from_bytes(F16, sizes, Bytes::from(bytes)).expect("a tensor");
            let difference = difference(&found, expected.as_tensor().expect("a tensor"));
            assert_eq!(difference, None, "{}", candidate.recipe);
        }
    }
}

/// Prints the speed of attention, with the best of the recipes; no figure is a condition.
#[test]
fn figures_of_attention() {
    let Some(device) = device() else { return };
    let rows: &[[usize; 2]] = &[[1, 128], [32, 128], [1, 384], [16, 384], [8, 1024], [2, 4096]];
    let mut regions = Vec::new();
    for size in [64usize, 128] {
        for &[batch, length] in rows {
            let dims: &[usize] = &[batch, 16, length, size];
            for (name, causal, beside) in [
                ("plain", false, Beside::default()),
                ("causal", true, Beside::default()),
                ("row", false, mask(F16, &[batch, 1, 1, length])),
                ("mask", false, mask(F16, &[batch, 1, length, length])),
            ] {
                let op = Attention { causal, ..Attention::default() };
                let region = attention(&op, F16, [dims; 3], &beside);
                regions.push((format!("{name} {batch} {length} {size}"), region));
            }
        }
    }
    // A step of a decoder: one query of many keys, and heads that share keys.
    for (batch, total) in [(1, 4096), (8, 4096), (1, 32768)] {
        let (q, k): (&[usize], &[usize]) = (&[batch, 32, 1, 128], &[batch, 8, total, 128]);
        let region = attention(&Attention::default(), F16, [q, k, k], &Beside::default());
        regions.push((format!("decode {batch} {total} 128"), region));
    }
    let target = device.target();
    compile_all(regions.iter().map(|(_, region)| region), target, usize::MAX);
    for (name, region) in &regions {
        let elements: usize = {
            let types = region.body().input_types().into_iter().chain(region.body().output_types());
            let count = |ty: ValueType| {
                ty.as_tensor().and_then(|ty| ty.shape.sizes()).expect("sizes").iter().product::<usize>()
            };
            types.map(count).sum::<usize>()
        };
        let copies = 300_000_000 / (2 * elements);
        let copies = copies.clamp(1, 20);
        let mut found: Vec<(f64, f64, String)> = Vec::new();
        for tactic in Cuda::device_tactics().into_iter().filter(|tactic| tactic.name() != "cuda.attention.rows") {
            let problem = Problem { region, target, sizing: &Sizing::default() };
            for candidate in tactic.offer(&problem, usize::MAX).unwrap_or_default() {
                let code = tactic.compile(&candidate.recipe, region, target).expect("code").expect("machine code");
                let seconds = time_of(&*device, region, &candidate.recipe, &code, copies);
                println!(
                    "{name}: {:.2} us, expected {:.2}; {}",
                    seconds * 1e6,
                    candidate.estimate / 1e3,
                    candidate.recipe
                );
                found.push((candidate.estimate, seconds, candidate.recipe.to_string()));
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        let chosen = found.first().map_or(0.0, |(_, seconds, _)| seconds * 1e6);
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        if let Some((expected, seconds, recipe)) = found.first() {
            let expected = expected / 1e3;
            println!("figure: {name}: {:.2} us; chosen {chosen:.2}, expected {expected:.2}; {recipe}", seconds * 1e6);
        }
    }
}
