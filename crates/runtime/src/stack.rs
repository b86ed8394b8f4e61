//! Tensors cut along an axis and joined along a new one: what goes in and out of iterations.
//!
//! Along the first axis slices are runs of bytes; any other axis is moved to the front, or from there, once for the
//! whole tensor.

use sinter_backend::KernelError;
use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{DataType, Dim, Sizes, Tensor, Value, ValueType};

use crate::step::data;

fn axis_of(axis: i64, rank: usize) -> Result<usize, KernelError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let counted = if axis < 0 { axis.saturating_add(signed) } else { axis };
    let found = usize::try_from(counted).ok().filter(|a| *a < rank);
    found.ok_or_else(|| KernelError::Data(format!("axis {axis} of a tensor of {rank} dimensions")))
}

/// The tensor with axis `from` at position `to`, the others in their order.
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

/// Every slice along an axis, without the axis.
///
/// # Errors
/// When there is no such axis.
pub(crate) fn slices(tensor: &Tensor, axis: i64) -> Result<Vec<Tensor>, KernelError> {
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

/// Tensors of one shape joined along a new axis. Without any the sizes come from the type, open ones as 0.
///
/// # Errors
/// When they are no tensors of one shape.
pub(crate) fn stacked(items: Vec<Value>, ty: Option<&ValueType>, axis: i64) -> Result<Tensor, KernelError> {
    let tensors: Vec<&Tensor> = items.iter().filter_map(Value::as_tensor).collect();
    if tensors.len() != items.len() {
        return Err(KernelError::Data("only tensors can be stacked".to_owned()));
    }
    let Some(first) = tensors.first() else { return empty(ty, axis) };
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

fn empty(ty: Option<&ValueType>, axis: i64) -> Result<Tensor, KernelError> {
    let element = ty.and_then(ValueType::as_tensor);
    let element = element.ok_or_else(|| KernelError::Data("only tensors can be stacked".to_owned()))?;
    let open = |dim: &Dim| dim.as_constant().and_then(|d| usize::try_from(d).ok()).unwrap_or(0);
    let mut sizes: Vec<usize> = element.dims().map(|dims| dims.iter().map(open).collect()).unwrap_or_default();
    sizes.insert(axis_of(axis, sizes.len() + 1)?, 0);
    match element.data_type {
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
            assert_eq!(stacked(values, None, axis).unwrap(), x);
        }
        assert!(slices(&x, 2).is_err());
    }

    #[test]
    fn no_iteration_gives_an_empty_stack() {
        let ty = ValueType::tensor(DataType::F32, vec![3i64.into(), Dim::symbol("N")]);
        assert_eq!(stacked(Vec::new(), Some(&ty), 1).unwrap().sizes(), [3, 0, 0]);
    }
}
