//! Cast-9..25 to and from strings.

use sinter_base::DataType;
use sinter_ir::Handle;
use sinter_ops::host::StringCast;

use crate::context::NodeContext;
use crate::error::Problem;

/// Converts numbers to text or text to numbers; for Cast and CastLike, whose import functions call it when one of the
/// two types is string. From string to string nothing happens.
///
/// # Errors
/// When neither type is string.
pub fn string_cast(cx: &mut NodeContext<'_, '_>, value: Handle, to: DataType) -> Result<Handle, Problem> {
    if cx.data_type(value)? == to {
        return Ok(value);
    }
    cx.add(StringCast { to }, &[value])
}
