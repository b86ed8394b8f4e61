//! Slices and joined tensors: iterations read slices of an operand along an axis, and their results are joined along a new
//! axis.
//!
//! Slices along the first axis are contiguous, so an iteration reads its slice in the memory of the operand, and the device
//! copies the iteration's result to its place in the joined tensor. The host handles any other axis, and values that are no
//! tensors of numbers: it moves the axis to the front, or back from there, once for the whole tensor.

use sinter_backend::{Argument, KernelError};
use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{DataType, Dim, MemoryRef, Sizes, Tensor, Value, ValueType};
use sinter_plan::Place;

use crate::error::RuntimeError;
use crate::host_value::bytes_of;
use crate::outside::Outside;
use crate::step::{Work, data};

/// Iterations that a joined tensor has space for at first, where the number of iterations is unknown.
const FIRST_CAPACITY: usize = 8;

/// Joins the results of iterations to a tensor along a new axis.
pub(crate) struct Stack {
    axis: i64,
    /// Does the last iteration come first?
    is_reversed: bool,
    /// Number of iterations, where it is known.
    length: Option<usize>,
    joined: Joined,
}

enum Joined {
    /// There was no iteration so far.
    Nothing,
    /// The results lie in the memory of a device, one behind the other.
    Memory {
        /// A result: its type and sizes.
        item: Argument,
        place: Place,
        /// Space for as many results as fit.
        memory: MemoryRef,
        count: usize,
    },
    /// The results lie on the host.
    Values(Vec<Value>),
}

impl Stack {
    /// An empty stack.
    pub(crate) fn new(axis: i64, is_reversed: bool, length: Option<usize>) -> Self {
        Self { axis, is_reversed, length, joined: Joined::Nothing }
    }

    /// Adds the result of an iteration, and releases the result's memory.
    ///
    /// # Errors
    /// When it has another type or other sizes than earlier results, and errors of the device.
    pub(crate) fn push(&mut self, result: Outside, work: &mut Work<'_>) -> Result<(), KernelError> {
        let pushed = match &result {
            Outside::Memory { argument, place, .. } if argument.rows.is_none() && self.axis == 0 => {
                self.push_memory(argument, *place, work)
            }
            _ => {
                let value = result.value(work.queues).map_err(RuntimeError::into_kernel_error);
                value.and_then(|value| self.push_value(value))
            }
        };
        result.release(work.queues);
        pushed
    }

    fn push_value(&mut self, value: Value) -> Result<(), KernelError> {
        match &mut self.joined {
            Joined::Values(values) => values.push(value),
            nothing @ Joined::Nothing => *nothing = Joined::Values(vec![value]),
            Joined::Memory { .. } => return Err(KernelError::Data("only tensors can be stacked".to_owned())),
        }
        Ok(())
    }

    fn push_memory(&mut self, result: &Argument, own: Place, work: &mut Work<'_>) -> Result<(), KernelError> {
        let limit = work.engine.max_memory;
        let bytes = result.memory.bytes;
        let too_large = || KernelError::Memory("the joined results of iterations".to_owned());
        let space = |count: usize| bytes.checked_mul(count).filter(|bytes| *bytes <= limit).ok_or_else(too_large);
        if let Joined::Nothing = self.joined {
            let capacity = space(self.length.unwrap_or(FIRST_CAPACITY))?;
            let memory = MemoryRef { block: work.queues.at(own).allocate(capacity)?, offset: 0, bytes: capacity };
            self.joined = Joined::Memory { item: result.clone(), place: own, memory, count: 0 };
        }
        let Joined::Memory { item, place, memory, count } = &mut self.joined else {
            return Err(KernelError::Data("only tensors can be stacked".to_owned()));
        };
        if (item.data_type, &item.sizes) != (result.data_type, &result.sizes) || *place != own {
            let reason = format!("tensors of sizes {:?} and {:?} cannot be stacked", item.sizes, result.sizes);
            return Err(KernelError::Data(reason));
        }
        let queue = work.queues.at(own);
        let used = space(*count)?;
        if used.saturating_add(bytes) > memory.bytes {
            let capacity = space(count.saturating_mul(2).saturating_add(1))?;
            let larger = MemoryRef { block: queue.allocate(capacity)?, offset: 0, bytes: capacity };
            let done = MemoryRef { bytes: used, ..*memory };
            queue.copy(done, MemoryRef { bytes: used, ..larger })?;
            queue.release(std::mem::replace(memory, larger).block);
        }
        let position = match self.length {
            Some(length) if self.is_reversed => length.saturating_sub(1).saturating_sub(*count),
            _ => *count,
        };
        queue.copy(result.memory, MemoryRef { offset: space(position)?, bytes, ..*memory })?;
        *count = count.saturating_add(1);
        Ok(())
    }

    /// The joined tensor, on the device of the step; `declared` is the type of one result outside of the body, for a stack of
    /// none.
    ///
    /// # Errors
    /// When results on the host are not tensors of one shape, and errors of the device.
    pub(crate) fn finish(
        self,
        declared: Option<&ValueType>,
        step: Place,
        work: &mut Work<'_>,
    ) -> Result<Outside, KernelError> {
        let joined = match self.joined {
            Joined::Nothing => empty(declared, self.axis, &|name| work.size(name))?,
            Joined::Values(mut values) => {
                if self.is_reversed {
                    values.reverse();
                }
                stacked(values, self.axis)?
            }
            Joined::Memory { item, place, memory, count } => {
                let mut sizes = Sizes::new();
                sizes.push(count);
                sizes.extend(item.sizes.iter().copied());
                let bytes = bytes_of(item.data_type, &sizes).filter(|bytes| *bytes <= memory.bytes);
                let bytes = bytes.ok_or_else(|| KernelError::Recipe("joined results lie outside".to_owned()))?;
                let argument = Argument { memory: MemoryRef { bytes, ..memory }, sizes, ..item };
                return Ok(Outside::Memory { argument, place, is_owned: true });
            }
        };
        Outside::new(joined.into(), step, work.queues)
    }
}

/// A tensor whose slices along an axis go into iterations, one by one.
pub(crate) enum Walked {
    /// The slices lie in the memory of the operand.
    Memory {
        /// A slice: its type and sizes, and the memory of the first one.
        item: Argument,
        place: Place,
        length: usize,
    },
    /// The slices lie on the host.
    Slices(Vec<Option<Tensor>>),
}

impl Walked {
    /// The slices of an operand in the memory of a device, along its first axis; `None` for any other operand.
    pub(crate) fn in_memory(operand: &Outside, axis: i64) -> Option<Self> {
        let Outside::Memory { argument, place, .. } = operand else { return None };
        let (length, sizes) = argument.sizes.split_first().filter(|_| axis == 0 && argument.rows.is_none())?;
        let sizes: Sizes = sizes.into();
        let memory = MemoryRef { bytes: bytes_of(argument.data_type, &sizes)?, ..argument.memory };
        Some(Self::Memory { item: Argument { memory, sizes, ..argument.clone() }, place: *place, length: *length })
    }

    /// The slices of a tensor on the host.
    ///
    /// # Errors
    /// When there is no such axis.
    pub(crate) fn on_host(tensor: &Tensor, axis: i64) -> Result<Self, KernelError> {
        Ok(Self::Slices(slices(tensor, axis)?.into_iter().map(Some).collect()))
    }

    /// Number of slices.
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Memory { length, .. } => *length,
            Self::Slices(slices) => slices.len(),
        }
    }

    /// Returns a slice; the caller reads each slice once.
    ///
    /// # Errors
    /// Errors of the device, or that there is no such slice.
    pub(crate) fn slice(&mut self, at: usize, step: Place, work: &mut Work<'_>) -> Result<Outside, KernelError> {
        let missing = || KernelError::Recipe(format!("there is no slice {at}"));
        match self {
            Self::Memory { item, place, length } => {
                let offset =
                    at.checked_mul(item.memory.bytes).and_then(|skipped| item.memory.offset.checked_add(skipped));
                let offset = offset.filter(|_| at < *length).ok_or_else(missing)?;
                let memory = MemoryRef { offset, ..item.memory };
                Ok(Outside::Memory { argument: Argument { memory, ..item.clone() }, place: *place, is_owned: false })
            }
            Self::Slices(slices) => {
                let slice = slices.get_mut(at).and_then(Option::take).ok_or_else(missing)?;
                Outside::new(slice.into(), step, work.queues)
            }
        }
    }
}

fn axis_of(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let counted = if axis < 0 { axis.saturating_add(signed) } else { axis };
    let found = usize::try_from(counted).ok().filter(|a| *a < rank);
    found.ok_or_else(|| KernelError::Data(format!("axis {axis} of a tensor of {rank} dimensions")))
}

/// The tensor with axis `from` at position `to` and the other axes in their order.
fn moved(tensor: &Tensor, from: usize, to: usize) -> Result<Tensor, KernelError> {
    if from == to {
        return Ok(tensor.clone());
    }
    let mut order: Vec<usize> = (0..tensor.rank()).collect();
    let axis = order.remove(from);
    order.insert(to, axis);
    let own = strides(tensor.sizes());
    let sizes: Sizes = order.iter().filter_map(|a| tensor.sizes().get(*a)).copied().collect();
    let steps: Vec<usize> = order.iter().filter_map(|a| own.get(*a)).copied().collect();
    tensor.rearranged(&sizes, |flat| Some(ravel(&unravel(flat, &sizes), &steps))).map_err(data)
}

/// All slices along an axis, without that axis.
///
/// # Errors
/// When there is no such axis.
fn slices(tensor: &Tensor, axis: i64) -> Result<Vec<Tensor>, KernelError> {
    let front = moved(tensor, axis_of(axis, tensor.rank())?, 0)?;
    let (length, sizes) = match front.sizes() {
        [length, sizes @ ..] => (*length, sizes),
        [] => (0, &[][..]),
    };
    let run: usize = sizes.iter().product();
    let data_type = front.data_type();
    let bytes = run.saturating_mul(data_type.bits() / 8);
    (0..length)
        .map(|at| {
            if data_type == DataType::String || data_type.is_packed() {
                return front.rearranged(sizes, |flat| Some(at * run + flat)).map_err(data);
            }
            Tensor::from_bytes(data_type, sizes, front.shared_bytes().slice(at * bytes..(at + 1) * bytes)).map_err(data)
        })
        .collect()
}

/// Joins tensors of one shape along a new axis.
///
/// # Errors
/// When they are not tensors of one shape.
fn stacked(items: Vec<Value>, axis: i64) -> Result<Tensor, KernelError> {
    let tensors: Vec<&Tensor> = items.iter().filter_map(Value::as_tensor).collect();
    if tensors.len() != items.len() {
        return Err(KernelError::Data("only tensors can be stacked".to_owned()));
    }
    let first = tensors.first().ok_or_else(|| KernelError::Data("there is nothing to stack".to_owned()))?;
    if let Some(other) = tensors.iter().find(|t| t.sizes() != first.sizes() || t.data_type() != first.data_type()) {
        let reason = format!("tensors of sizes {:?} and {:?} cannot be stacked", first.sizes(), other.sizes());
        return Err(KernelError::Data(reason));
    }
    let position = axis_of(axis, first.rank() + 1)?;
    let mut sizes = vec![tensors.len()];
    sizes.extend_from_slice(first.sizes());
    let joined = Tensor::flat_concat(&tensors).and_then(|flat| flat.reshaped(&sizes));
    moved(&joined.map_err(data)?, 0, position)
}

/// A stack of no results of the declared type: 0 for sizes that are not known.
fn empty(declared: Option<&ValueType>, axis: i64, size: &dyn Fn(&str) -> Option<i64>) -> Result<Tensor, KernelError> {
    let declared = declared.and_then(ValueType::as_tensor);
    let declared = declared.ok_or_else(|| KernelError::Data("only tensors can be stacked".to_owned()))?;
    let known = |dim: &Dim| dim.evaluate(size).and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
    let mut sizes: Sizes = declared.dims().unwrap_or_default().iter().map(known).collect();
    sizes.insert(axis_of(axis, sizes.len() + 1)?, 0);
    match declared.data_type {
        DataType::String => Tensor::from_strings(&sizes, Vec::new()),
        data_type => Tensor::from_floats(data_type, &sizes, &[]),
    }
    .map_err(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_and_stacking_are_inverse() {
        let x = Tensor::from_vec(&[2, 3], vec![1i32, 2, 3, 4, 5, 6]).unwrap();
        for axis in [0, 1, -1] {
            let parts = slices(&x, axis).unwrap();
            assert_eq!(parts.len(), if axis == 0 { 2 } else { 3 });
            let values = parts.into_iter().map(Value::from).collect();
            assert_eq!(stacked(values, axis).unwrap(), x);
        }
        assert!(slices(&x, 2).is_err());
    }

    #[test]
    fn no_iteration_gives_an_empty_stack() {
        let dims = vec![Dim::symbol("K"), Dim::symbol("N")];
        let ty = ValueType::tensor(DataType::F32, dims);
        let size = |name: &str| if name == "K" { Some(3) } else { None };
        assert_eq!(empty(Some(&ty), 1, &size).unwrap().sizes(), [3, 0, 0]);
    }
}
