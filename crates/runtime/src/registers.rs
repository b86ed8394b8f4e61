//! Sizes from registers of the shape program.

use sinter_base::Sizes;
use sinter_plan::Register;

use crate::error::RuntimeError;

/// Reads a size from a register.
///
/// # Errors
/// When it is negative.
pub(crate) fn size_of_register(value: i64, what: &dyn Fn() -> String) -> Result<usize, RuntimeError> {
    usize::try_from(value).map_err(|_| RuntimeError::Sizes {
        reason: format!("a size of {}", what()),
        left: value,
        right: 0,
    })
}

/// Appends the sizes of a value from its registers.
///
/// # Errors
/// When a size is negative.
pub(crate) fn read_sizes(
    registers: &[i64],
    wanted: &[Register],
    what: &dyn Fn() -> String,
    sizes: &mut Sizes,
) -> Result<(), RuntimeError> {
    for register in wanted {
        let value = usize::try_from(register.0).ok().and_then(|i| registers.get(i)).copied();
        sizes.push(size_of_register(value.unwrap_or(-1), what)?);
    }
    Ok(())
}
