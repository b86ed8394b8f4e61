//! What the interface of devices promises, on the first GPU of the machine; skipped with a printed reason without one.

use std::sync::Arc;

use bytes::Bytes;
use sinter_backend::{
    Argument, Arguments, BackEnd, Code, Device, Input, KernelError, KernelId, Loaded, Output, Problem, Queue, Recipe,
    Region, Sizing,
};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, MemoryRef, Sizes, ValueType};
use sinter_cuda::Cuda;
use sinter_cuda::driver::{context, library};
use sinter_ops::index::Gather;
use sinter_ops::matmul::MatMul;
use sinter_ops::movement::Transpose;
use sinter_ops::norm::Normalize;
use sinter_ops::pointwise::{Expr, ScalarOp};
use sinter_ops::reduce::{Reduce, ReduceKind, Softmax};
use sinter_ops::{Op, OpKind};

use crate::region;

/// A device, where the machine has one and can compile for it.
pub(crate) fn device() -> Option<Arc<dyn Device>> {
    if let Err(reason) = context::device_count().map(|_| ()).and(library::compiler().map(|_| ())) {
        println!("skipped: {reason}");
        return None;
    }
    Some(Cuda::FIRST.open(1).expect("the device"))
}

fn tensor(data_type: DataType, sizes: &[usize]) -> Option<ValueType> {
    Some(ValueType::tensor(data_type, sizes.iter().map(|size| (*size).into()).collect()))
}

/// The region of an operator on tensors of these types and sizes.
fn of(op: impl Into<Op>, operands: &[(DataType, &[usize])]) -> Region {
    let types: Vec<_> = operands.iter().map(|(data_type, sizes)| tensor(*data_type, sizes)).collect();
    region(&op.into(), &types).expect("operands that the operator takes")
}

/// The first candidate of the only tactic that takes a region, and its code.
fn compiled(device: &dyn Device, region: &Region) -> (Recipe, Code) {
    let root = region.root().expect("an operator");
    let problem = Problem { region, target: device.target(), sizing: &Sizing::default() };
    let tactics = Cuda::FIRST.tactics().into_iter().filter(|tactic| tactic.roots().contains(&root));
    let mut offers = tactics.filter_map(|tactic| Some((tactic, tactic.offer(&problem, 1).ok()?)));
    let (tactic, mut candidates) = offers.next().expect("an offer");
    let recipe = candidates.remove(0).recipe;
    let code = tactic.compile(&recipe, region, device.target()).expect("code").expect("machine code");
    (recipe, code)
}

fn loaded(device: &dyn Device, region: &Region) -> KernelId {
    let (recipe, code) = compiled(device, region);
    match device.load(&recipe, region, Some(&code)).expect("a kernel") {
        Loaded::Kernel(kernel) => kernel,
        Loaded::Values(_) => panic!("a kernel of the host"),
    }
}

/// New memory for a tensor.
fn argument(queue: &mut dyn Queue, data_type: DataType, sizes: &[usize]) -> Argument {
    let bytes = sizes.iter().product::<usize>() * element_bytes(data_type);
    let memory = MemoryRef { block: queue.allocate(bytes).expect("memory"), offset: 0, bytes };
    Argument { memory, data_type, sizes: Sizes::from_slice(sizes), rows: None }
}

/// New memory for all operands and results of a region.
pub(crate) fn arguments(queue: &mut dyn Queue, region: &Region) -> Arguments {
    let mut place = |ty: &ValueType| {
        let ty = ty.as_tensor().expect("a tensor");
        argument(queue, ty.data_type, &ty.shape.sizes().expect("sizes"))
    };
    let body = region.body();
    let inputs = match region.only() {
        Some(node) => {
            node.inputs.iter().map(|id| id.map_or(Input::Absent, |id| Input::Memory(place(body.ty(id))))).collect()
        }
        None => body.input_types().iter().map(|ty| Input::Memory(place(ty))).collect(),
    };
    let outputs = region.body().output_types().iter().map(|ty| Output::Memory(place(ty))).collect();
    Arguments { inputs, outputs, workspace: None }
}

pub(crate) fn memory_of_input(arguments: &Arguments, index: usize) -> MemoryRef {
    let Input::Memory(argument) = &arguments.inputs[index] else { panic!("an operand") };
    argument.memory
}

pub(crate) fn memory_of_output(arguments: &Arguments, index: usize) -> MemoryRef {
    let Output::Memory(argument) = &arguments.outputs[index] else { panic!("a result") };
    argument.memory
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats(queue: &mut dyn Queue, memory: MemoryRef) -> Vec<f32> {
    let mut bytes = vec![0; memory.bytes];
    queue.read(memory, &mut bytes).expect("results");
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// x + 1.
fn successor(count: usize) -> Region {
    let x = Expr::input(0, DataType::F32);
    of(Expr::into_pointwise(&[&x + 1.0]).expect("a program"), &[(DataType::F32, &[count])])
}

#[test]
fn copies_of_any_length_come_back() {
    let Some(device) = device() else { return };
    let mut queue = device.queue().expect("a queue");
    for bytes in [0, 1, 4095, 4097, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, (7 << 20) + 3] {
        let block = queue.allocate(bytes + 5).expect("memory");
        let range = MemoryRef { block, offset: 5, bytes };
        let data: Vec<u8> = (0..bytes).map(|at| (at * 31 % 251) as u8).collect();
        queue.write(range, &data).expect("a copy");
        let other = queue.allocate(bytes).expect("memory");
        let copy = MemoryRef { block: other, offset: 0, bytes };
        queue.copy(range, copy).expect("a copy");
        queue.release(block);
        let mut back = vec![0; bytes];
        queue.read(copy, &mut back).expect("a copy");
        assert!(back == data, "{bytes} bytes");
        assert!(queue.write(MemoryRef { offset: 1, ..copy }, &data).is_err(), "beyond the block");
        assert!(queue.read(range, &mut back).is_err() || bytes == 0, "a released block");
        queue.release(other);
    }
}

#[test]
fn too_large_a_block_is_an_error_and_nothing_else() {
    let Some(device) = device() else { return };
    let mut queue = device.queue().expect("a queue");
    let error = queue.allocate(1 << 50).expect_err("a petabyte");
    assert!(matches!(&error, KernelError::Memory(text) if text.contains(&(1u64 << 50).to_string())), "{error}");
    let block = queue.allocate(1 << 20).expect("memory");
    queue.write(MemoryRef { block, offset: 0, bytes: 4 }, &[1, 2, 3, 4]).expect("a copy");
    queue.finish().expect("a queue that works");
}

#[test]
fn weights_are_read_and_never_written() {
    let Some(device) = device() else { return };
    let weight = device.upload(&Bytes::from(bytes_of(&[1.0, 2.0, 3.0]))).expect("a weight");
    for _ in 0..3 {
        let mut queue = device.queue().expect("a queue");
        let block = queue.attach(weight).expect("a block");
        let range = MemoryRef { block, offset: 0, bytes: 12 };
        assert_eq!(floats(&mut *queue, range), [1.0, 2.0, 3.0]);
        assert!(queue.write(range, &[0; 12]).is_err());
        queue.release(block);
    }
    device.discard(weight);
    assert!(device.queue().expect("a queue").attach(weight).is_err());
}

#[test]
fn recorded_work_runs_again_on_new_contents() {
    let Some(device) = device() else { return };
    let region = successor(1000);
    let kernel = loaded(&*device, &region);
    let mut queue = device.queue().expect("a queue");
    let arguments = arguments(&mut *queue, &region);
    let (x, y) = (memory_of_input(&arguments, 0), memory_of_output(&arguments, 0));
    assert_eq!(queue.begin_capture(), Ok(true));
    queue.launch(kernel, &arguments, (0, 0)).expect("a launch");
    // The result becomes the operand of the next run.
    queue.copy(y, x).expect("a copy");
    assert!(queue.finish().is_err(), "nothing runs while work is recorded");
    let captured = queue.end_capture().expect("a recording");
    queue.write(x, &bytes_of(&[0.0; 1000])).expect("a copy");
    (0..5).for_each(|_| queue.replay(captured).expect("a run"));
    assert_eq!(floats(&mut *queue, y), [5.0; 1000]);
    // The recording keeps its memory.
    queue.release(x.block);
    queue.replay(captured).expect("a run");
    assert_eq!(floats(&mut *queue, y), [6.0; 1000]);
    queue.discard_capture(captured);
    assert!(queue.replay(captured).is_err());
    queue.finish().expect("a queue that works");
}

#[test]
fn an_index_out_of_range_is_an_error_of_the_data() {
    let Some(device) = device() else { return };
    let region = of(Gather { axis: 0 }, &[(DataType::F32, &[5, 4]), (DataType::I64, &[2])]);
    let kernel = loaded(&*device, &region);
    let mut queue = device.queue().expect("a queue");
    let arguments = arguments(&mut *queue, &region);
    queue.write(memory_of_input(&arguments, 0), &bytes_of(&[1.0; 20])).expect("a copy");
    for (indices, is_right) in
        [([4i64, -5], true), ([0, 5], false), ([-6, 0], false), ([i64::MAX, 0], false), ([1, 2], true)]
    {
        let bytes: Vec<u8> = indices.iter().flat_map(|index| index.to_le_bytes()).collect();
        queue.write(memory_of_input(&arguments, 1), &bytes).expect("a copy");
        queue.launch(kernel, &arguments, (0, 0)).expect("a launch");
        let result = queue.finish();
        assert_eq!(result.is_ok(), is_right, "{indices:?}: {result:?}");
        assert!(is_right || matches!(result, Err(KernelError::Data(_))), "{result:?}");
    }
}

#[test]
fn code_for_something_else_is_refused() {
    let Some(device) = device() else { return };
    let (region, other) = (successor(7), of(Transpose { permutation: None }, &[(DataType::F32, &[2, 3])]));
    let ((recipe, code), (_, foreign)) = (compiled(&*device, &region), compiled(&*device, &other));
    let load = |code: Option<&Code>| device.load(&recipe, &region, code).map(|_| ());
    assert_eq!(load(Some(&code)), Ok(()));
    assert!(matches!(load(None), Err(KernelError::Recipe(_))));
    assert!(matches!(load(Some(&foreign)), Err(KernelError::Recipe(_))));
    for length in [0, 10, 40, code.0.len() / 2, code.0.len() - 1] {
        assert!(load(Some(&Code(code.0.slice(..length)))).is_err(), "{length} of {} bytes", code.0.len());
    }
    assert!(device.load(&recipe, &other, Some(&code)).is_err(), "a region of another operator");
    let mut queue = device.queue().expect("a queue");
    queue.allocate(16).expect("a device that works");
}

/// Queues and their memory come and go, and the device has as much memory as before.
#[test]
fn memory_stays_flat_over_many_queues() {
    let Some(device) = device() else { return };
    let region = successor(1 << 20);
    let kernel = loaded(&*device, &region);
    let cycle = || {
        let mut queue = device.queue().expect("a queue");
        let arguments = arguments(&mut *queue, &region);
        queue.write(memory_of_input(&arguments, 0), &bytes_of(&vec![1.0; 1 << 20])).expect("a copy");
        queue.launch(kernel, &arguments, (0, 0)).expect("a launch");
        assert_eq!(floats(&mut *queue, memory_of_output(&arguments, 0))[12_345], 2.0);
    };
    (0..10).for_each(|_| cycle());
    let before = context::free_memory(0).expect("a device");
    (0..300).for_each(|_| cycle());
    let after = context::free_memory(0).expect("a device");
    println!("{} MiB free before 300 queues, {} MiB after", before >> 20, after >> 20);
    // Other tests run beside this one.
    assert!(before.abs_diff(after) < 512 << 20);
}

/// Random floats of both signs and of ordinary size, in any float type.
fn ordinary(count: usize) -> Vec<u8> {
    let mut state = 7u64;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Every second byte holds the sign and most of the exponent.
        bytes.extend((state & 0x83FF_83FF_83FF_83FF | 0x3800_3800_3800_3800).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Median time of a launch in a recording of twenty, in seconds, on as many copies of the operands in turns.
pub(crate) fn time_of(device: &dyn Device, region: &Region, recipe: &Recipe, code: &Code, copies: usize) -> f64 {
    times_of(device, region, &[(recipe.clone(), code.clone())], copies)[0]
}

/// The same for several recipes on the same memory.
pub(crate) fn times_of(device: &dyn Device, region: &Region, kernels: &[(Recipe, Code)], copies: usize) -> Vec<f64> {
    let mut queue = device.queue().expect("a queue");
    let all: Vec<Arguments> = (0..copies).map(|_| arguments(&mut *queue, region)).collect();
    let given = |input: &usize| matches!(all[0].inputs[*input], Input::Memory(_));
    for input in (0..all[0].inputs.len()).filter(given) {
        let memory = memory_of_input(&all[0], input);
        queue.write(memory, &ordinary(memory.bytes)).expect("a copy");
        for other in &all[1..] {
            queue.copy(memory, memory_of_input(other, input)).expect("a copy");
        }
    }
    let mut time = |(recipe, code): &(Recipe, Code)| {
        let kernel = match device.load(recipe, region, Some(code)).expect("a kernel") {
            Loaded::Kernel(kernel) => kernel,
            Loaded::Values(_) => panic!("a kernel of the host"),
        };
        assert_eq!(queue.begin_capture(), Ok(true));
        (0..20).for_each(|at| queue.launch(kernel, &all[at % copies], (0, 0)).expect("a launch"));
        let captured = queue.end_capture().expect("a recording");
        queue.replay(captured).expect("a run");
        let mut times: Vec<f64> = (0..5)
            .map(|_| {
                let start = queue.record().expect("an event");
                queue.replay(captured).expect("a run");
                let end = queue.record().expect("an event");
                queue.elapsed(start, end).expect("a time").as_secs_f64() / 20.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    kernels.iter().map(&mut time).collect()
}

/// The time of the first recipe of the first tactic.
fn first_time(device: &dyn Device, region: &Region) -> f64 {
    let (recipe, code) = compiled(device, region);
    time_of(device, region, &recipe, &code, 1)
}

/// Prints the share of the device's limits that kernels reach; no figure is a condition.
#[test]
fn figures() {
    let Some(device) = device() else { return };
    let (f32, f16) = (DataType::F32, DataType::F16);
    let (x, y) = (Expr::input(0, f32), Expr::input(1, f32));
    let (h, b) = (Expr::input(0, f16), Expr::input(1, f16));
    let program = |expr: &Expr| Op::from(Expr::into_pointwise(std::slice::from_ref(expr)).expect("a program"));
    let square: &[usize] = &[8192, 8192];
    let sum = Reduce::new(ReduceKind::Sum, false);
    let rows: Vec<(&str, Region)> = vec![
        ("x + y, f32", of(program(&(&x + &y)), &[(f32, square), (f32, square)])),
        ("gelu(x + bias), f16", of(program(&(&h + &b).unary(ScalarOp::Gelu)), &[(f16, square), (f16, &[8192])])),
        ("channel bias, f32", of(program(&(&x + &y)), &[(f32, &[32, 512, 4096]), (f32, &[512, 1])])),
        ("transpose, f32", of(Transpose { permutation: None }, &[(f32, square)])),
        ("transpose, f16", of(Transpose { permutation: Some(vec![0, 2, 1]) }, &[(f16, &[64, 1024, 1024])])),
        ("softmax 1024, f32", of(Softmax { axis: -1, log: false }, &[(f32, &[65536, 1024])])),
        ("layer norm 1024, f32", of(Normalize::deviation(vec![-1], 1e-5), &[(f32, &[65536, 1024])])),
        ("sum of everything, f32", of(sum, &[(f32, square)])),
    ];
    for (name, region) in &rows {
        let types = region.body().input_types().into_iter().chain(region.body().output_types());
        let bytes = |ty: ValueType| {
            let ty = ty.as_tensor().cloned().expect("a tensor");
            ty.shape.sizes().expect("sizes").iter().product::<usize>() * element_bytes(ty.data_type)
        };
        let (seconds, bytes) = (first_time(&*device, region), types.map(bytes).sum::<usize>());
        println!("figure: {name}: {:.1} us, {:.0} GB/s", seconds * 1e6, bytes as f64 / seconds / 1e9);
    }
    for (name, size, ty) in [("product f32", 2048usize, f32), ("product f16", 2048, f16)] {
        let region = of(MatMul::default(), &[(ty, &[size, size]), (ty, &[size, size])]);
        let seconds = first_time(&*device, &region);
        println!(
            "figure: {name} {size}: {:.1} us, {:.1} TFLOP/s",
            seconds * 1e6,
            2.0 * (size as f64).powi(3) / seconds / 1e12
        );
    }
    let small = first_time(&*device, &successor(1000));
    println!("figure: x + 1 of 1000 numbers in a recording: {:.2} us", small * 1e6);
    assert_eq!(rows[0].1.root(), Some(OpKind::Pointwise));
}
