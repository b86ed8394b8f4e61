//! Launches of a kernel on tensors, as the runtime would do them: aligned views, poisoned results.

use std::collections::HashMap;

use sinter_backend::{Candidate, DynamicOutput, Kernel, KernelError, Launch, Operand, Output, Region, Rooms, Workers};
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, DataType, Dim, Sizes, Tensor, Value, ValueType, View, ViewMut};

/// What every byte of a result holds before the kernel runs: no sensible number in any type.
const POISON: u8 = 0xA5;

/// Memory for one result.
enum Room {
    Fixed(DataType, Sizes, Buffer),
    Open(DynamicOutput),
}

/// Memory for launches of one kernel: operands by their number in the region, packed ones packed, and results.
pub struct Setup {
    inputs: Vec<Option<(Buffer, DataType, Sizes)>>,
    rooms: Vec<Room>,
    workspace: Buffer,
    kept: Rooms,
}

fn data(error: &dyn std::fmt::Display) -> KernelError {
    KernelError::Data(error.to_string())
}

fn operand(input: &Option<(Buffer, DataType, Sizes)>) -> Result<Operand<'_>, KernelError> {
    match input {
        None => Ok(Operand::Absent),
        Some((buffer, ty, sizes)) => View::new(*ty, sizes, buffer.bytes()).map(Operand::View).map_err(|e| data(&e)),
    }
}

fn target(room: &mut Room) -> Result<Output<'_>, KernelError> {
    match room {
        Room::Open(target) => Ok(Output::Dynamic(target)),
        Room::Fixed(ty, sizes, buffer) => {
            ViewMut::new(*ty, sizes, buffer.bytes_mut()).map(Output::View).map_err(|e| data(&e))
        }
    }
}

impl Setup {
    /// Copies the operands into aligned memory; `results` are the types of the results for these operands.
    ///
    /// # Errors
    /// Results that are no tensors.
    pub fn new(results: &[ValueType], operands: &[Option<Tensor>], workspace: usize) -> Result<Self, KernelError> {
        let input = |t: &Tensor| (Buffer::of(t), t.data_type(), t.sizes().into());
        let inputs = operands.iter().map(|t| t.as_ref().map(input)).collect();
        let mut rooms = Vec::new();
        for ty in results {
            let tensor = ty.as_tensor().ok_or_else(|| data(&"a result is no tensor"))?;
            rooms.push(match tensor.shape.sizes() {
                None => Room::Open(DynamicOutput::new(tensor.data_type)),
                Some(sizes) => {
                    let bytes = sizes.iter().product::<usize>() * element_bytes(tensor.data_type);
                    let mut buffer = Buffer::new(bytes);
                    buffer.bytes_mut().fill(POISON);
                    Room::Fixed(tensor.data_type, sizes, buffer)
                }
            });
        }
        Ok(Self { inputs, rooms, workspace: Buffer::new(workspace), kept: Rooms::default() })
    }

    /// Launches the kernel once.
    ///
    /// # Errors
    /// The kernel's own.
    pub fn launch(&mut self, kernel: &dyn Kernel, workers: &dyn Workers) -> Result<(), KernelError> {
        let inputs = self.inputs.iter().map(operand).collect::<Result<Vec<_>, _>>()?;
        let mut outputs = self.rooms.iter_mut().map(target).collect::<Result<Vec<_>, _>>()?;
        kernel.launch(&mut Launch {
            workers,
            inputs: &inputs,
            outputs: &mut outputs,
            workspace: self.workspace.bytes_mut(),
            rooms: &self.kept,
            seed: (0, 0),
        })
    }

    /// What the last launch made.
    ///
    /// # Errors
    /// A result of open size that the kernel never made.
    pub fn results(&self) -> Result<Vec<Value>, KernelError> {
        let value = |room: &Room| {
            let view = match room {
                Room::Open(target) => target.view()?,
                Room::Fixed(ty, sizes, buffer) => View::new(*ty, sizes, buffer.bytes()).map_err(|e| data(&e))?,
            };
            view.to_tensor().map(Value::Tensor).map_err(|e| data(&e))
        };
        self.rooms.iter().map(value).collect()
    }
}

/// Scratch memory of a candidate for operands of these types, as far as they say the sizes that it depends on; a kernel that
/// gets less takes what it needs.
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
    let mut setup = Setup::new(results, operands, workspace)?;
    setup.launch(kernel, workers)?;
    setup.results()
}
