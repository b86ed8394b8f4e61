//! Binding inputs: compares types with the declared ones and reads the values of named sizes.

use sinter_base::{DataType, TensorType, Value, ValueType};
use sinter_plan::{Port, ShapeProgram};

use crate::error::RuntimeError;
use crate::host_value::HostValue;

/// Compares the value of one input with its declared type and fills the registers of named sizes. `bound` remembers which
/// input filled each register, so that a second input with another size for the same name is an error.
///
/// # Errors
/// When element type, rank or sizes differ.
pub(crate) fn bind(
    ports: &[Port],
    position: usize,
    value: &HostValue,
    declared: &ValueType,
    program: &ShapeProgram,
    registers: &mut [i64],
    bound: &mut [Option<usize>],
) -> Result<(), RuntimeError> {
    let name = |position: usize| ports.get(position).map(|port| port.name.clone()).unwrap_or_default();
    let fits = match (value, declared) {
        // Elements of sequences and optionals name no sizes of the network.
        (HostValue::Value(Value::Sequence { .. }), ValueType::Sequence(_)) => Ok(()),
        (HostValue::Value(Value::Optional { .. }), ValueType::Optional(_)) => Ok(()),
        (_, ValueType::Tensor(ty)) => match value.tensor_type() {
            Some((data_type, sizes)) => bind_tensor(data_type, sizes, ty, program, registers, bound, position),
            None => Err(Misfit::Type),
        },
        _ => Err(Misfit::Type),
    };
    fits.map_err(|misfit| match misfit {
        Misfit::Type => {
            RuntimeError::InputType { name: name(position), expected: declared.to_string(), found: value.type_text() }
        }
        Misfit::Size { symbol, known, by, axis, size } => {
            RuntimeError::Contradiction { symbol, known, by: name(by), input: name(position), axis, size }
        }
    })
}

/// The reason why a value does not fit.
enum Misfit {
    /// The value has another type than declared.
    Type,
    /// Along this axis a named size differs from its value by the input `by`.
    Size { symbol: String, known: i64, by: usize, axis: usize, size: i64 },
}

fn bind_tensor(
    data_type: DataType,
    sizes: &[usize],
    ty: &TensorType,
    program: &ShapeProgram,
    registers: &mut [i64],
    bound: &mut [Option<usize>],
    position: usize,
) -> Result<(), Misfit> {
    if data_type != ty.data_type {
        return Err(Misfit::Type);
    }
    let Ok(dims) = ty.dims() else { return Ok(()) };
    if dims.len() != sizes.len() {
        return Err(Misfit::Type);
    }
    for (axis, (dim, &size)) in dims.iter().zip(sizes).enumerate() {
        let size = i64::try_from(size).map_err(|_| Misfit::Type)?;
        if let Some(fixed) = dim.as_constant() {
            if fixed != size {
                return Err(Misfit::Type);
            }
            continue;
        }
        // A size that nothing depends on has no register.
        let Some(symbol) = dim.as_symbol() else { continue };
        let Some(at) = program.symbol(symbol).and_then(|r| usize::try_from(r.0).ok()) else { continue };
        if let (Some(register), Some(bound)) = (registers.get_mut(at), bound.get_mut(at)) {
            if let Some(by) = *bound
                && *register != size
            {
                return Err(Misfit::Size { symbol: symbol.to_owned(), known: *register, by, axis, size });
            }
            (*register, *bound) = (size, Some(bound.unwrap_or(position)));
        }
    }
    Ok(())
}
