//! Launches a kernel on tensors, as the runtime would: in the memory of a queue, with poisoned results.

use std::collections::HashMap;
use std::time::Duration;

use sinter_backend::{
    Argument, Arguments, Candidate, Device, Input, KernelError, KernelId, Memory, Output, Queue, Region, Tactic,
};
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, DataType, Dim, MemoryRef, Rows, Sizes, Tensor, Value, ValueType, View};

/// The value of every byte of a result before the kernel runs: no plausible number in any type.
const POISON: u8 = 0xA5;

/// A queue with memory for launches of one kernel: operands by their index in the region, packed ones packed, and
/// results.
pub struct Setup {
    queue: Box<dyn Queue>,
    arguments: Arguments,
    /// Results whose sizes the last launch determined, by result.
    dynamic: Vec<Option<Argument>>,
}

pub(crate) fn data(error: &dyn std::fmt::Display) -> KernelError {
    KernelError::Data(error.to_string())
}

/// Allocates memory for a tensor with these rows, and writes these bytes.
pub(crate) fn placed(
    queue: &mut dyn Memory,
    (data_type, sizes, rows): (DataType, Sizes, Option<Rows>),
    bytes: &[u8],
) -> Result<Argument, KernelError> {
    let memory = MemoryRef { block: queue.allocate(bytes.len())?, offset: 0, bytes: bytes.len() };
    queue.write(memory, bytes)?;
    Ok(Argument { memory, data_type, sizes, rows })
}

/// The bytes of an argument, including those between its rows.
pub(crate) fn bytes_of(queue: &mut dyn Memory, argument: &Argument) -> Result<Buffer, KernelError> {
    let mut buffer = Buffer::new(argument.memory.bytes);
    queue.read(argument.memory, buffer.bytes_mut())?;
    Ok(buffer)
}

impl Setup {
    /// Copies the operands into the memory of a new queue; `results` are the types of the results for these operands.
    ///
    /// # Errors
    /// Results that are not tensors, and errors of the device.
    pub fn new(
        device: &dyn Device,
        results: &[ValueType],
        operands: &[Option<Tensor>],
        workspace: usize,
    ) -> Result<Self, KernelError> {
        let mut queue = device.queue()?;
        let mut arguments = Arguments::default();
        for tensor in operands {
            arguments.inputs.push(match tensor {
                None => Input::Absent,
                Some(tensor) => {
                    let layout = (tensor.data_type(), tensor.sizes().into(), None);
                    Input::Memory(placed(&mut *queue, layout, Buffer::of(tensor).bytes())?)
                }
            });
        }
        for ty in results {
            let tensor = ty.as_tensor().ok_or_else(|| data(&"a result is no tensor"))?;
            let data_type = tensor.data_type;
            arguments.outputs.push(match tensor.shape.sizes() {
                None => Output::Dynamic { data_type, limit: usize::MAX },
                Some(sizes) => {
                    let bytes = sizes.iter().product::<usize>() * element_bytes(data_type);
                    let mut poison = Buffer::new(bytes);
                    poison.bytes_mut().fill(POISON);
                    Output::Memory(placed(&mut *queue, (data_type, sizes, None), poison.bytes())?)
                }
            });
        }
        let workspace = MemoryRef { block: queue.allocate(workspace)?, offset: 0, bytes: workspace };
        arguments.workspace = Some(workspace).filter(|range| range.bytes > 0);
        let dynamic = results.iter().map(|_| None).collect();
        Ok(Self { queue, arguments, dynamic })
    }

    /// Launches the kernel once, waits for it, and returns the time that it took.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn launch(&mut self, kernel: KernelId) -> Result<Duration, KernelError> {
        let Self { queue, arguments, dynamic } = self;
        for argument in dynamic.iter_mut().filter_map(Option::take) {
            queue.release(argument.memory.block);
        }
        let start = queue.record()?;
        queue.launch(kernel, arguments, (0, 0))?;
        let end = queue.record()?;
        let time = queue.elapsed(start, end)?;
        for (position, (output, dynamic)) in arguments.outputs.iter().zip(dynamic).enumerate() {
            if let Output::Dynamic { .. } = output {
                *dynamic = Some(queue.dynamic_result(position)?);
            }
        }
        queue.finish()?;
        Ok(time)
    }

    /// The results of the last launch.
    ///
    /// # Errors
    /// A result of dynamic size that the kernel did not make.
    pub fn results(&mut self) -> Result<Vec<Value>, KernelError> {
        let Self { queue, arguments, dynamic } = self;
        let mut values = Vec::new();
        for (output, dynamic) in arguments.outputs.iter().zip(dynamic) {
            let argument = match output {
                Output::Memory(argument) => argument,
                Output::Dynamic { .. } => dynamic.as_ref().ok_or_else(|| data(&"a result was never made"))?,
            };
            let buffer = bytes_of(&mut **queue, argument)?;
            let view = View::new(argument.data_type, &argument.sizes, buffer.bytes()).map_err(|e| data(&e))?;
            let tensor = view.to_tensor().map_err(|e| data(&e))?;
            // Another kernel may read all bits of a byte.
            if argument.data_type.is_packed() && Buffer::of(&tensor).bytes() != buffer.bytes() {
                return Err(data(&format!(
                    "the bytes of {} elements are not those of their numbers",
                    argument.data_type
                )));
            }
            values.push(Value::Tensor(tensor));
        }
        Ok(values)
    }
}

/// Scratch memory of a candidate for operands of these types, if they determine its size; a kernel that gets less
/// allocates what it needs.
pub fn workspace_bytes(candidate: &Candidate, region: &Region, operands: &[ValueType]) -> usize {
    let mut sizes: HashMap<&str, i64> = HashMap::new();
    let body = region.body();
    for (id, actual) in body.inputs().iter().zip(operands) {
        let dims = |ty: &ValueType| ty.as_tensor().and_then(|tensor| tensor.dims().ok().map(<[Dim]>::to_vec));
        let (Some(own), Some(actual)) = (body.ty(*id).as_tensor().and_then(|ty| ty.dims().ok()), dims(actual)) else {
            continue;
        };
        for (dim, size) in own.iter().zip(actual) {
            if let (Some(name), Some(size)) = (dim.as_symbol(), size.as_constant()) {
                sizes.insert(name, size);
            }
        }
    }
    let bytes = candidate.workspace.evaluate(&|name| sizes.get(name).copied());
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(0)
}

/// The operands in the form that a candidate requires: its weights packed.
///
/// # Errors
/// A packed operand that is left out, or that the tactic cannot pack.
pub fn packed_operands(
    tactic: &dyn Tactic,
    candidate: &Candidate,
    region: &Region,
    operands: &[Option<Value>],
) -> Result<Vec<Option<Tensor>>, KernelError> {
    let mut tensors: Vec<Option<Tensor>> =
        operands.iter().map(|value| value.as_ref().and_then(Value::as_tensor).cloned()).collect();
    for &operand in &candidate.packed {
        let missing = || KernelError::Recipe(format!("operand {operand}, which is packed, is left out"));
        let weight = tensors.get_mut(operand).and_then(Option::as_mut).ok_or_else(missing)?;
        *weight = tactic.pack(&candidate.recipe, region, operand, weight)?;
    }
    Ok(tensors)
}

/// Launches a kernel on operands by their index in the region, packed ones packed; `results` are the types of the
/// results for these operands.
///
/// # Errors
/// The kernel's own, and results that cannot be sized.
pub fn launch_once(
    device: &dyn Device,
    kernel: KernelId,
    results: &[ValueType],
    operands: &[Option<Tensor>],
    workspace: usize,
) -> Result<Vec<Value>, KernelError> {
    let mut setup = Setup::new(device, results, operands, workspace)?;
    setup.launch(kernel)?;
    setup.results()
}
