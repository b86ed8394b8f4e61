//! One kernel of a back end on one problem, as the runtime would launch it: aligned views, poisoned results.

use sinter_backend::{Device, DynamicTarget, KernelError, Launch, Loaded, Operand, Region, Tactic, Target, Workers};
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, Sizes, Value, ValueType, View, ViewMut};
use sinter_ops::{InferContext, Op, Operands, infer};

/// What every byte of a result holds before the kernel runs: no sensible number in any type.
const POISON: u8 = 0xA5;

/// The region of an operator on these very values: all sizes concrete.
///
/// # Errors
/// When the operator does not take the values.
pub fn region_of(op: &Op, values: &[Option<Value>]) -> Result<Region, String> {
    let types: Vec<Option<ValueType>> = values.iter().map(|v| v.as_ref().map(Value::value_type)).collect();
    let borrowed: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    let outputs = infer(op, &Operands::new(&borrowed), &mut InferContext::default()).map_err(|e| e.to_string())?;
    Ok(Region::single(op.clone(), &types, outputs))
}

/// Loads the first candidate of a tactic and runs it.
///
/// # Errors
/// The refusal or the kernel's own error.
pub fn run_kernel(
    tactic: &dyn Tactic,
    region: &Region,
    values: &[Option<Value>],
    device: &Device,
    workers: &dyn Workers,
) -> Result<Vec<Value>, String> {
    let candidates = tactic.offer(region, device).map_err(|refusal| refusal.to_string())?;
    let candidate = candidates.first().ok_or("an offer without candidates")?;
    let loaded = tactic.load(&candidate.recipe, region, device).map_err(|e| e.to_string())?;
    match loaded {
        Loaded::Values(kernel) => kernel.run(values).map_err(|e| e.to_string()),
        Loaded::Views(kernel) => {
            let mut tensors: Vec<Option<sinter_base::Tensor>> =
                values.iter().map(|v| v.as_ref().and_then(Value::as_tensor).cloned()).collect();
            for &operand in &candidate.packed {
                let weight = tensors.get(operand).and_then(Option::as_ref).ok_or("a packed operand is left out")?;
                let packed = tactic.pack(&candidate.recipe, region, operand, weight).map_err(|e| e.to_string())?;
                tensors[operand] = Some(packed);
            }
            let buffers: Vec<Option<(Buffer, &sinter_base::Tensor)>> =
                tensors.iter().map(|t| t.as_ref().map(|t| (Buffer::of(t), t))).collect();
            let inputs = buffers
                .iter()
                .map(|b| match b {
                    None => Ok(Operand::Absent),
                    Some((buffer, tensor)) => {
                        View::new(tensor.data_type(), tensor.sizes(), buffer.bytes()).map(Operand::View)
                    }
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|e| e.to_string())?;
            let workspace = candidate.workspace.as_constant().and_then(|b| usize::try_from(b).ok()).unwrap_or(0);
            let mut workspace = Buffer::new(workspace);
            launch(&*kernel, region, &inputs, workers, workspace.bytes_mut()).map_err(|e| e.to_string())
        }
    }
}

/// Memory for one result.
enum Room {
    Fixed(sinter_base::DataType, Sizes, Buffer),
    Open(DynamicTarget),
}

fn launch(
    kernel: &dyn sinter_backend::Kernel,
    region: &Region,
    inputs: &[Operand<'_>],
    workers: &dyn Workers,
    workspace: &mut [u8],
) -> Result<Vec<Value>, KernelError> {
    let data = |e: &dyn std::fmt::Display| KernelError::Data(e.to_string());
    let mut rooms = Vec::new();
    for ty in region.body().output_types() {
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
        kernel.launch(&mut Launch { workers, inputs, outputs: &mut outputs, workspace, seed: (0, 0) })?;
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
