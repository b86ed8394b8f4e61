//! Where values lie while a graph runs, in the form that kernels see.

use sinter_backend::DynamicOutput;
use sinter_base::{Buffer, DataType, Sizes, Tensor, TensorError, Value, View};

use crate::error::RuntimeError;

/// A tensor whose bytes kernels can see: as it lies when it is aligned and not packed, else copied once.
pub enum TensorMemory {
    /// As it lies.
    Plain(Tensor),
    /// Copied.
    Copied(Tensor, Buffer),
}

impl TensorMemory {
    /// Prepares a tensor.
    pub fn new(tensor: Tensor) -> Self {
        if tensor.data_type() == DataType::String || View::of(&tensor).is_some() {
            return Self::Plain(tensor);
        }
        let buffer = Buffer::of(&tensor);
        Self::Copied(tensor, buffer)
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        match self {
            Self::Plain(tensor) | Self::Copied(tensor, _) => tensor,
        }
    }

    /// Its memory; `None` for strings.
    pub fn view(&self) -> Option<View<'_>> {
        match self {
            Self::Plain(tensor) => View::of(tensor),
            Self::Copied(tensor, buffer) => View::new(tensor.data_type(), tensor.sizes(), buffer.bytes()).ok(),
        }
    }
}

/// A value outside the arena.
pub enum Held {
    /// A tensor given from outside.
    Tensor(TensorMemory),
    /// A tensor that a kernel made.
    Made(DynamicOutput),
    /// A sequence, an optional or strings.
    Value(Value),
}

impl Held {
    /// Takes over a value.
    pub fn new(value: Value) -> Self {
        match value {
            Value::Tensor(tensor) if tensor.data_type() != DataType::String => Self::Tensor(TensorMemory::new(tensor)),
            other => Self::Value(other),
        }
    }

    /// Memory for a tensor of this element type: what is at hand is used again.
    pub(crate) fn room(known: Option<Self>, data_type: DataType) -> Self {
        match known {
            Some(Self::Made(target)) if target.data_type == data_type => Self::Made(target),
            _ => Self::Made(DynamicOutput::new(data_type)),
        }
    }

    /// Its memory, when it is a tensor that kernels can see.
    pub fn view(&self) -> Option<View<'_>> {
        match self {
            Self::Tensor(memory) => memory.view(),
            Self::Made(target) => target.view().ok(),
            Self::Value(_) => None,
        }
    }

    /// Element type and sizes, when it is a tensor.
    pub fn tensor_type(&self) -> Option<(DataType, &[usize])> {
        match self {
            Self::Tensor(memory) => Some((memory.tensor().data_type(), memory.tensor().sizes())),
            Self::Made(target) => target.view().ok().map(|view| (view.data_type(), view.sizes())),
            Self::Value(Value::Tensor(tensor)) => Some((tensor.data_type(), tensor.sizes())),
            Self::Value(_) => None,
        }
    }

    /// Its type in words.
    pub fn type_text(&self) -> String {
        match (self, self.tensor_type()) {
            (_, Some((data_type, sizes))) => format!("{data_type}{sizes:?}"),
            (Self::Value(value), None) => value.value_type().to_string(),
            (_, None) => "nothing".to_owned(),
        }
    }

    /// A copy as a value.
    ///
    /// # Errors
    /// When the memory cannot be a tensor, which is an error of a kernel.
    pub fn to_value(&self) -> Result<Value, RuntimeError> {
        match self {
            Self::Tensor(memory) => Ok(Value::Tensor(memory.tensor().clone())),
            Self::Made(target) => {
                let view = target.view().map_err(|e| RuntimeError::Damaged(e.to_string()))?;
                tensor_of(view).map(Value::Tensor)
            }
            Self::Value(value) => Ok(value.clone()),
        }
    }
}

/// A tensor with a copy of a view's elements.
///
/// # Errors
/// When the view cannot be a tensor, which is an error of a kernel.
pub fn tensor_of(view: View<'_>) -> Result<Tensor, RuntimeError> {
    view.to_tensor().map_err(|error| match error {
        TensorError::Memory { bytes } => RuntimeError::OutOfMemory { bytes },
        other => RuntimeError::Damaged(other.to_string()),
    })
}

/// A size from a register.
///
/// # Errors
/// When it is negative.
pub fn size_of_register(value: i64, what: &dyn Fn() -> String) -> Result<usize, RuntimeError> {
    usize::try_from(value).map_err(|_| RuntimeError::Sizes {
        reason: format!("a size of {}", what()),
        left: value,
        right: 0,
    })
}

/// Adds the sizes of a value from its registers.
///
/// # Errors
/// When one is negative.
pub fn read_sizes(
    registers: &[i64],
    wanted: &[sinter_plan::Register],
    what: &dyn Fn() -> String,
    sizes: &mut Sizes,
) -> Result<(), RuntimeError> {
    for register in wanted {
        let value = usize::try_from(register.0).ok().and_then(|i| registers.get(i)).copied();
        sizes.push(size_of_register(value.unwrap_or(-1), what)?);
    }
    Ok(())
}
