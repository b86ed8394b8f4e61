//! Binding inputs: types are checked against the declared ones, named sizes get their values.

use sinter_base::{Tensor, TensorType, Value, ValueType};
use sinter_plan::ShapeProgram;

use crate::error::RuntimeError;

/// Checks a value against a declared type and fills the registers of named sizes. `bound` remembers which are filled, so
/// that a name used twice must mean the same size twice.
///
/// # Errors
/// When element type, rank or sizes differ.
pub fn bind(
    name: &str,
    value: &Value,
    declared: &ValueType,
    program: &ShapeProgram,
    registers: &mut [i64],
    bound: &mut [bool],
) -> Result<(), RuntimeError> {
    let wrong = || RuntimeError::InputType {
        name: name.to_owned(),
        expected: declared.to_string(),
        found: value.value_type().to_string(),
    };
    match (value, declared) {
        (Value::Tensor(tensor), ValueType::Tensor(ty)) => {
            if bind_tensor(tensor, ty, program, registers, bound) {
                Ok(())
            } else {
                Err(wrong())
            }
        }
        // Elements of sequences and optionals name no sizes of the network.
        (Value::Sequence { .. }, ValueType::Sequence(_)) | (Value::Optional { .. }, ValueType::Optional(_)) => Ok(()),
        _ => Err(wrong()),
    }
}

fn bind_tensor(
    tensor: &Tensor,
    ty: &TensorType,
    program: &ShapeProgram,
    registers: &mut [i64],
    bound: &mut [bool],
) -> bool {
    if tensor.data_type() != ty.data_type {
        return false;
    }
    let Ok(dims) = ty.dims() else { return true };
    if dims.len() != tensor.rank() {
        return false;
    }
    for (dim, &size) in dims.iter().zip(tensor.sizes()) {
        let Ok(size) = i64::try_from(size) else { return false };
        if let Some(fixed) = dim.as_constant() {
            if fixed != size {
                return false;
            }
            continue;
        }
        // A size that nothing depends on has no register.
        let register = dim.as_symbol().and_then(|name| program.symbol(name));
        let Some(at) = register.and_then(|r| usize::try_from(r.0).ok()) else { continue };
        if let (Some(register), Some(bound)) = (registers.get_mut(at), bound.get_mut(at)) {
            if *bound && *register != size {
                return false;
            }
            (*register, *bound) = (size, true);
        }
    }
    true
}
