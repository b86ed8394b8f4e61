//! Binding inputs: types are checked against the declared ones, named sizes get their values.

use sinter_base::{DataType, TensorType, Value, ValueType};
use sinter_plan::ShapeProgram;

use crate::error::RuntimeError;
use crate::memory::Held;

/// Checks a value against a declared type and fills the registers of named sizes. `bound` remembers which are filled, so
/// that a name used twice must mean the same size twice.
///
/// # Errors
/// When element type, rank or sizes differ.
pub fn bind(
    name: &str,
    value: &Held,
    declared: &ValueType,
    program: &ShapeProgram,
    registers: &mut [i64],
    bound: &mut [bool],
) -> Result<(), RuntimeError> {
    let wrong =
        || RuntimeError::InputType { name: name.to_owned(), expected: declared.to_string(), found: value.type_text() };
    let fits = match (value, declared) {
        // Elements of sequences and optionals name no sizes of the network.
        (Held::Value(Value::Sequence { .. }), ValueType::Sequence(_)) => true,
        (Held::Value(Value::Optional { .. }), ValueType::Optional(_)) => true,
        (_, ValueType::Tensor(ty)) => match value.tensor_type() {
            Some((data_type, sizes)) => bind_tensor(data_type, sizes, ty, program, registers, bound),
            None => false,
        },
        _ => false,
    };
    if fits { Ok(()) } else { Err(wrong()) }
}

fn bind_tensor(
    data_type: DataType,
    sizes: &[usize],
    ty: &TensorType,
    program: &ShapeProgram,
    registers: &mut [i64],
    bound: &mut [bool],
) -> bool {
    if data_type != ty.data_type {
        return false;
    }
    let Ok(dims) = ty.dims() else { return true };
    if dims.len() != sizes.len() {
        return false;
    }
    for (dim, &size) in dims.iter().zip(sizes) {
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
