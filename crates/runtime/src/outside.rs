//! Values outside of the arena, and copies of values to and from a queue's memory.

use sinter_backend::{Argument, KernelError, Queue};
use sinter_base::{Buffer, DataType, HostBlock, MemoryRef, Tensor, Value, View};
use sinter_plan::Place;

use crate::error::RuntimeError;
use crate::host_value::{HostTensor, bytes_of, tensor_of};
use crate::queues::Queues;

/// A value outside of the arena.
pub(crate) enum Outside {
    /// A tensor of numbers in the queue's memory.
    Memory {
        /// Its memory, type and sizes.
        argument: Argument,
        /// The place of its device.
        place: Place,
        /// Does the value own its block? Else the caller or the outer graph owns it.
        is_owned: bool,
    },
    /// A sequence, an optional or strings.
    Value(Value),
}

impl Outside {
    /// Puts a value into the queue's memory: the queue adopts memory of the host where it can, else the value is copied.
    ///
    /// # Errors
    /// When the device has not enough memory.
    pub(crate) fn new(value: Value, place: Place, queues: &mut Queues) -> Result<Self, KernelError> {
        let queue = queues.at(place);
        match value {
            Value::Tensor(tensor) if tensor.data_type() != DataType::String => {
                let mut tensor = HostTensor::new(&tensor);
                let (data_type, sizes) = (tensor.data_type(), tensor.sizes().clone());
                let memory = match queue.adopt(tensor.take_memory()) {
                    Ok(block) => MemoryRef { block, offset: 0, bytes: bytes_of(data_type, &sizes).unwrap_or(0) },
                    Err(memory) => uploaded(&memory, queue)?,
                };
                let argument = Argument { memory, data_type, sizes, rows: None };
                Ok(Self::Memory { argument, place, is_owned: true })
            }
            other => Ok(Self::Value(other)),
        }
    }

    /// The argument, when the value is a tensor of numbers.
    pub(crate) fn argument(&self) -> Option<&Argument> {
        match self {
            Self::Memory { argument, .. } => Some(argument),
            Self::Value(_) => None,
        }
    }

    /// A copy.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub(crate) fn value(&self, queues: &mut Queues) -> Result<Value, RuntimeError> {
        match self {
            Self::Memory { argument, place, .. } => read(argument, queues.at(*place)).map(Value::Tensor),
            Self::Value(value) => Ok(value.clone()),
        }
    }

    /// Its type in words.
    pub(crate) fn type_text(&self) -> String {
        match self {
            Self::Memory { argument: Argument { data_type, sizes, .. }, .. } => format!("{data_type}{sizes:?}"),
            Self::Value(value) => value.value_type().to_string(),
        }
    }

    /// Releases its memory.
    pub(crate) fn release(self, queues: &mut Queues) {
        if let Self::Memory { argument, place, is_owned: true } = self {
            queues.at(place).release(argument.memory.block);
        }
    }
}

fn uploaded(memory: &HostBlock, queue: &mut dyn Queue) -> Result<MemoryRef, KernelError> {
    let bytes = memory.bytes();
    let block = queue.allocate(bytes.len())?;
    let range = MemoryRef { block, offset: 0, bytes: bytes.len() };
    queue.write(range, bytes)?;
    Ok(range)
}

/// A view of an argument with these bytes.
pub(crate) fn view<'a>(argument: &'a Argument, bytes: &'a [u8]) -> Result<View<'a>, RuntimeError> {
    let Argument { data_type, sizes, rows, .. } = argument;
    let view = match rows {
        Some(rows) => View::strided(*data_type, sizes, bytes, *rows),
        None => View::new(*data_type, sizes, bytes),
    };
    view.map_err(|e| RuntimeError::Damaged(e.to_string()))
}

/// Waits for all earlier work, and calls `look` with the elements of an argument.
///
/// # Errors
/// Errors of that work, and errors of `look`.
pub(crate) fn look<T>(
    argument: &Argument,
    queue: &mut dyn Queue,
    look: impl FnOnce(View<'_>) -> Result<T, RuntimeError>,
) -> Result<T, RuntimeError> {
    if let Some(bytes) = queue.host_bytes(argument.memory) {
        return look(view(argument, bytes)?);
    }
    let mut buffer = Buffer::default();
    if !buffer.try_resize(argument.memory.bytes) {
        return Err(RuntimeError::OutOfMemory { bytes: argument.memory.bytes });
    }
    queue.read(argument.memory, buffer.bytes_mut()).map_err(RuntimeError::of_work)?;
    look(view(argument, buffer.bytes())?)
}

/// A copy of an argument.
///
/// # Errors
/// When the memory cannot be read.
pub(crate) fn read(argument: &Argument, queue: &mut dyn Queue) -> Result<Tensor, RuntimeError> {
    look(argument, queue, tensor_of)
}
