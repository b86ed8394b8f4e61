//! Values of the caller: tensors in memory of the host in the layout of kernels, and values that kernels do not read.

use bytes::Bytes;
use sinter_base::shape::element_count;
use sinter_base::view::element_bytes;
use sinter_base::{Buffer, DataType, HostBlock, Sizes, Tensor, TensorError, Value, View, ViewMut};

use crate::error::RuntimeError;

/// A tensor in memory of the host: aligned for its elements, types below eight bits unpacked.
pub(crate) struct HostTensor {
    data_type: DataType,
    sizes: Sizes,
    /// The elements; lent memory may be longer.
    memory: HostBlock,
}

/// A value of a caller.
pub(crate) enum HostValue {
    /// A tensor of numbers.
    Tensor(HostTensor),
    /// A sequence, an optional or strings.
    Value(Value),
}

/// Bytes of a tensor; `None` when they overflow.
pub(crate) fn bytes_of(data_type: DataType, sizes: &[usize]) -> Option<usize> {
    element_count(sizes)?.checked_mul(element_bytes(data_type))
}

impl HostTensor {
    /// The tensor itself where kernels can read its memory; else a copy.
    pub(crate) fn new(tensor: &Tensor) -> Self {
        let memory = match View::of(tensor) {
            Some(_) => HostBlock::Shared(tensor.shared_bytes()),
            None => HostBlock::Owned(Buffer::of(tensor)),
        };
        Self { data_type: tensor.data_type(), sizes: tensor.sizes().into(), memory }
    }

    /// A tensor of these sizes in this memory.
    ///
    /// # Errors
    /// The number of bytes that the tensor needs, when the memory is smaller or not aligned for the elements.
    pub(crate) fn in_memory(data_type: DataType, sizes: &[usize], memory: HostBlock) -> Result<Self, usize> {
        let bytes = memory.bytes();
        let is_aligned = bytes.is_empty() || bytes.as_ptr().align_offset(element_bytes(data_type).max(1)) == 0;
        let tensor = Self { data_type, sizes: sizes.into(), memory };
        match tensor.view() {
            Some(_) if is_aligned => Ok(tensor),
            _ => Err(bytes_of(data_type, sizes).unwrap_or(usize::MAX)),
        }
    }

    /// A tensor without elements.
    pub(crate) fn empty(data_type: DataType) -> Self {
        let sizes = std::iter::once(0).collect();
        Self { data_type, sizes, memory: HostBlock::Owned(Buffer::default()) }
    }

    /// Element type.
    pub(crate) fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Sizes.
    pub(crate) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// Did the caller lend the memory?
    pub(crate) fn is_lent(&self) -> bool {
        matches!(self.memory, HostBlock::Lent(_))
    }

    /// The elements; `None` while a queue has the memory.
    pub(crate) fn view(&self) -> Option<View<'_>> {
        let bytes = bytes_of(self.data_type, &self.sizes)?;
        View::new(self.data_type, &self.sizes, self.memory.bytes().get(..bytes)?).ok()
    }

    /// The elements, to write; `None` for shared memory.
    pub(crate) fn view_mut(&mut self) -> Option<ViewMut<'_>> {
        let bytes = bytes_of(self.data_type, &self.sizes)?;
        ViewMut::new(self.data_type, &self.sizes, self.memory.bytes_mut()?.get_mut(..bytes)?).ok()
    }

    /// Changes the sizes; contents are unspecified where sizes differ. Memory that is not lent grows.
    ///
    /// # Errors
    /// When the memory is lent and too small, or the system gives no more.
    pub(crate) fn resize(&mut self, sizes: &[usize]) -> Result<(), RuntimeError> {
        let bytes = bytes_of(self.data_type, sizes).unwrap_or(usize::MAX);
        if let HostBlock::Shared(_) = self.memory {
            self.memory = HostBlock::Owned(Buffer::default());
        }
        let fits = match &mut self.memory {
            HostBlock::Owned(buffer) => buffer.try_resize(bytes),
            HostBlock::Lent(memory) => {
                let found = memory.bytes().len();
                if found < bytes {
                    let ty = format!("{}{sizes:?}", self.data_type);
                    return Err(RuntimeError::LentMemory { name: String::new(), ty, needed: bytes, found });
                }
                true
            }
            HostBlock::Shared(_) => false,
        };
        if !fits {
            return Err(RuntimeError::OutOfMemory { bytes });
        }
        if self.sizes.as_slice() != sizes {
            self.sizes.clear();
            self.sizes.extend_from_slice(sizes);
        }
        Ok(())
    }

    /// Takes the memory out for a run.
    pub(crate) fn take_memory(&mut self) -> HostBlock {
        std::mem::replace(&mut self.memory, HostBlock::Owned(Buffer::default()))
    }

    /// Puts the memory back.
    pub(crate) fn put_memory(&mut self, memory: HostBlock) {
        self.memory = memory;
    }

    /// A copy as a tensor; it shares memory that is shared already.
    ///
    /// # Errors
    /// When the elements are no valid tensor, which is an error of a kernel.
    pub(crate) fn to_tensor(&self) -> Result<Tensor, RuntimeError> {
        match &self.memory {
            HostBlock::Shared(bytes) => self.sharing(bytes.clone()),
            HostBlock::Owned(_) | HostBlock::Lent(_) => {
                let missing = || RuntimeError::Damaged("a tensor is without its memory".to_owned());
                tensor_of(self.view().ok_or_else(missing)?)
            }
        }
    }

    /// Converts to a tensor; copies lent memory and elements of packed types.
    ///
    /// # Errors
    /// As [`HostTensor::to_tensor`].
    fn into_tensor(mut self) -> Result<Tensor, RuntimeError> {
        if self.data_type.is_packed() || self.is_lent() {
            return self.to_tensor();
        }
        match self.take_memory() {
            HostBlock::Owned(buffer) => self.sharing(Bytes::from_owner(buffer)),
            memory => {
                self.memory = memory;
                self.to_tensor()
            }
        }
    }

    /// A view of the tensor at the beginning of memory, which may be longer.
    fn sharing(&self, mut bytes: Bytes) -> Result<Tensor, RuntimeError> {
        bytes.truncate(bytes_of(self.data_type, &self.sizes).unwrap_or(usize::MAX));
        Tensor::from_bytes(self.data_type, &self.sizes, bytes).map_err(tensor_error)
    }
}

impl HostValue {
    /// Takes over a value.
    pub(crate) fn new(value: Value) -> Self {
        match value {
            Value::Tensor(tensor) if tensor.data_type() != DataType::String => Self::Tensor(HostTensor::new(&tensor)),
            other => Self::Value(other),
        }
    }

    /// The tensor, if it is one of numbers.
    pub(crate) fn tensor(&self) -> Option<&HostTensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            Self::Value(_) => None,
        }
    }

    /// Element type and sizes, when it is a tensor.
    pub(crate) fn tensor_type(&self) -> Option<(DataType, &[usize])> {
        match self {
            Self::Tensor(tensor) => Some((tensor.data_type, &tensor.sizes)),
            Self::Value(Value::Tensor(tensor)) => Some((tensor.data_type(), tensor.sizes())),
            Self::Value(_) => None,
        }
    }

    /// Its type in words.
    pub(crate) fn type_text(&self) -> String {
        match (self, self.tensor_type()) {
            (_, Some((data_type, sizes))) => format!("{data_type}{sizes:?}"),
            (Self::Value(value), None) => value.value_type().to_string(),
            (_, None) => "nothing".to_owned(),
        }
    }

    /// A copy.
    ///
    /// # Errors
    /// As [`HostTensor::to_tensor`].
    pub(crate) fn to_value(&self) -> Result<Value, RuntimeError> {
        match self {
            Self::Tensor(tensor) => tensor.to_tensor().map(Value::Tensor),
            Self::Value(value) => Ok(value.clone()),
        }
    }

    /// Converts to a value; copies only lent memory and elements of packed types.
    ///
    /// # Errors
    /// As [`HostTensor::to_tensor`].
    pub(crate) fn into_value(self) -> Result<Value, RuntimeError> {
        match self {
            Self::Tensor(tensor) => tensor.into_tensor().map(Value::Tensor),
            Self::Value(value) => Ok(value),
        }
    }
}

/// A tensor of these sizes in a slot; reuses the memory that the slot has.
///
/// # Errors
/// As [`HostTensor::resize`].
pub(crate) fn allocated<'a>(
    slot: &'a mut Option<HostValue>,
    data_type: DataType,
    sizes: &[usize],
) -> Result<&'a mut HostTensor, RuntimeError> {
    let known = match slot.take() {
        Some(HostValue::Tensor(tensor)) if tensor.data_type == data_type => tensor,
        _ => HostTensor::empty(data_type),
    };
    match slot.insert(HostValue::Tensor(known)) {
        HostValue::Tensor(tensor) => tensor.resize(sizes).map(|()| tensor),
        HostValue::Value(_) => Err(RuntimeError::Damaged("there is no memory".to_owned())),
    }
}

/// A tensor with a copy of a view's elements.
///
/// # Errors
/// When the elements are no valid tensor, which is an error of a kernel.
pub(crate) fn tensor_of(view: View<'_>) -> Result<Tensor, RuntimeError> {
    view.to_tensor().map_err(tensor_error)
}

fn tensor_error(error: TensorError) -> RuntimeError {
    match error {
        TensorError::Memory { bytes } => RuntimeError::OutOfMemory { bytes },
        other => RuntimeError::Damaged(other.to_string()),
    }
}
