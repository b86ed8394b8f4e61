//! Joining tensors and taking slices out of them, for every data type: the reference side of sequences and scans.

use sinter_base::shape;
use sinter_base::{DataType, Tensor};

use crate::error::EvalError;
use crate::invalid;

/// A tensor of zeros, or of empty strings.
///
/// # Errors
/// When it is too large.
pub fn zeros(data_type: DataType, sizes: &[usize]) -> Result<Tensor, EvalError> {
    let none = match data_type {
        DataType::String => Tensor::from_strings(&[0], Vec::new())?,
        _ => Tensor::from_floats(data_type, &[0], &[])?,
    };
    Ok(none.rearranged(sizes, |_| None)?)
}

/// All elements of all tensors one after the other.
fn appended(tensors: &[&Tensor]) -> Result<Tensor, EvalError> {
    let Some(first) = tensors.first() else { invalid!(eval: "there is nothing to join") };
    let data_type = first.data_type();
    if let Some(other) = tensors.iter().find(|t| t.data_type() != data_type) {
        invalid!(eval: "a {data_type} tensor cannot be joined with a {} tensor", other.data_type());
    }
    let count: usize = tensors.iter().map(|t| t.count()).sum();
    if data_type == DataType::String {
        let mut strings = Vec::with_capacity(count);
        for tensor in tensors {
            strings.extend_from_slice(tensor.strings()?);
        }
        return Ok(Tensor::from_strings(&[count], strings)?);
    }
    if data_type.bits() <= 8 {
        let codes = tensors.iter().flat_map(|t| t.codes().into_owned()).collect();
        return Ok(Tensor::from_codes(data_type, &[count], codes)?);
    }
    let bytes: Vec<u8> = tensors.iter().flat_map(|t| t.bytes().iter().copied()).collect();
    Ok(Tensor::from_bytes(data_type, &[count], bytes.into())?)
}

/// Tensors that agree but for one axis, joined along it.
///
/// # Errors
/// When there are none or they do not agree.
pub fn concatenate(tensors: &[&Tensor], axis: usize) -> Result<Tensor, EvalError> {
    let Some(first) = tensors.first() else { invalid!(eval: "there is nothing to join") };
    let mut sizes = first.sizes().to_vec();
    if axis >= sizes.len() {
        invalid!(eval: "axis {axis} does not exist in a tensor of {} dimensions", sizes.len());
    }
    for tensor in tensors {
        let own = tensor.sizes();
        let agrees = own.len() == sizes.len() && (0..own.len()).all(|i| i == axis || own[i] == sizes[i]);
        if !agrees {
            invalid!(eval: "sizes {own:?} and {:?} differ beside axis {axis}", first.sizes());
        }
    }
    sizes[axis] = tensors.iter().map(|t| t.sizes()[axis]).sum();
    let mut sources = Vec::new();
    let outer: usize = sizes[..axis].iter().product();
    for row in 0..outer {
        let mut start = 0;
        for tensor in tensors {
            let run: usize = tensor.sizes()[axis..].iter().product();
            sources.extend((0..run).map(|i| start + row * run + i));
            start += tensor.count();
        }
    }
    Ok(appended(tensors)?.rearranged(&sizes, |i| sources.get(i).copied())?)
}

/// Tensors of one shape along a new axis.
///
/// # Errors
/// When there are none or their shapes differ.
pub fn stack(tensors: &[&Tensor], axis: usize) -> Result<Tensor, EvalError> {
    let mut widened = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let mut sizes = tensor.sizes().to_vec();
        if axis > sizes.len() {
            invalid!(eval: "axis {axis} does not exist in a stack of tensors of {} dimensions", sizes.len());
        }
        sizes.insert(axis, 1);
        widened.push(tensor.reshaped(&sizes)?);
    }
    concatenate(&widened.iter().collect::<Vec<_>>(), axis)
}

/// `length` slices along an axis, from `start` on.
///
/// # Errors
/// When they lie outside the tensor.
pub fn slice(tensor: &Tensor, axis: usize, start: usize, length: usize) -> Result<Tensor, EvalError> {
    let mut sizes = tensor.sizes().to_vec();
    if sizes.get(axis).is_none_or(|size| start.checked_add(length).is_none_or(|end| end > *size)) {
        invalid!(eval: "{length} slices from {start} on lie outside axis {axis} of a tensor of sizes {sizes:?}");
    }
    sizes[axis] = length;
    let strides = shape::strides(tensor.sizes());
    let target = sizes.clone();
    Ok(tensor.rearranged(&sizes, |flat| {
        let at = shape::unravel(flat, &target);
        Some(shape::ravel(&at, &strides) + start * strides[axis])
    })?)
}

/// One slice along an axis, without the axis.
///
/// # Errors
/// When it lies outside the tensor.
pub fn index(tensor: &Tensor, axis: usize, at: usize) -> Result<Tensor, EvalError> {
    let one = slice(tensor, axis, at, 1)?;
    let mut sizes = one.sizes().to_vec();
    sizes.remove(axis);
    Ok(one.reshaped(&sizes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining_and_slicing() {
        let a = Tensor::from_vec(&[2, 1], vec![1i32, 2]).unwrap();
        let b = Tensor::from_vec(&[2, 2], vec![3i32, 4, 5, 6]).unwrap();
        let joined = concatenate(&[&a, &b], 1).unwrap();
        assert_eq!(joined, Tensor::from_vec(&[2, 3], vec![1i32, 3, 4, 2, 5, 6]).unwrap());
        assert_eq!(slice(&joined, 1, 1, 2).unwrap(), b);
        assert_eq!(index(&joined, 0, 1).unwrap(), Tensor::from_vec(&[3], vec![2i32, 5, 6]).unwrap());
        assert_eq!(stack(&[&a, &a], 2).unwrap().sizes(), [2, 1, 2]);
        assert!(concatenate(&[&a, &b], 0).is_err());
        assert!(slice(&a, 1, 1, 1).is_err());
        assert_eq!(zeros(DataType::String, &[0, 3]).unwrap().sizes(), [0, 3]);
    }
}
