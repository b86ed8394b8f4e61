//! One launch of a kernel on tensors, as the runtime would do it: aligned views, poisoned results.

use sinter_backend::{DynamicTarget, Kernel, KernelError, Launch, Operand, Target, Workers};
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, Sizes, Tensor, Value, ValueType, View, ViewMut};

/// What every byte of a result holds before the kernel runs: no sensible number in any type.
const POISON: u8 = 0xA5;

/// Memory for one result.
enum Room {
    Fixed(sinter_base::DataType, Sizes, Buffer),
    Open(DynamicTarget),
}

/// Launches a kernel on operands by their number in the region, packed ones packed; `results` are the types of the
/// results for these operands.
///
/// # Errors
/// The kernel's own, and results that cannot be sized.
pub fn launch_once(
    kernel: &dyn Kernel,
    results: &[ValueType],
    operands: &[Option<Tensor>],
    workspace: usize,
    workers: &dyn Workers,
) -> Result<Vec<Value>, KernelError> {
    let buffers: Vec<Option<(Buffer, &Tensor)>> =
        operands.iter().map(|t| t.as_ref().map(|t| (Buffer::of(t), t))).collect();
    let inputs = buffers
        .iter()
        .map(|b| match b {
            None => Ok(Operand::Absent),
            Some((buffer, tensor)) => View::new(tensor.data_type(), tensor.sizes(), buffer.bytes()).map(Operand::View),
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| KernelError::Data(e.to_string()))?;
    let mut workspace = Buffer::new(workspace);
    let data = |e: &dyn std::fmt::Display| KernelError::Data(e.to_string());
    let mut rooms = Vec::new();
    for ty in results {
        let tensor = ty.as_tensor().ok_or_else(|| data(&"a result is no tensor"))?;
        rooms.push(match tensor.shape.sizes() {
            None => Room::Open(DynamicTarget::new(tensor.data_type)),
            Some(sizes) => {
                let bytes = sizes.iter().product::<usize>() * element_bytes(tensor.data_type);
                let mut buffer = Buffer::new(bytes);
                buffer.bytes_mut().fill(POISON);
                Room::Fixed(tensor.data_type, sizes, buffer)
            }
        });
    }
    {
        let mut outputs = rooms
            .iter_mut()
            .map(|room| match room {
                Room::Open(target) => Ok(Target::Dynamic(target)),
                Room::Fixed(ty, sizes, buffer) => ViewMut::new(*ty, sizes, buffer.bytes_mut()).map(Target::View),
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| data(&e))?;
        kernel.launch(&mut Launch {
            workers,
            inputs: &inputs,
            outputs: &mut outputs,
            workspace: workspace.bytes_mut(),
            seed: (0, 0),
        })?;
    }
    rooms
        .iter()
        .map(|room| {
            let view = match room {
                Room::Open(target) => target.view()?,
                Room::Fixed(ty, sizes, buffer) => View::new(*ty, sizes, buffer.bytes()).map_err(|e| data(&e))?,
            };
            view.to_tensor().map(Value::Tensor).map_err(|e| data(&e))
        })
        .collect()
}
