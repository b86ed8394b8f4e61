//! Equal-19 on strings.

use sinter_ir::Handle;
use sinter_ops::host::StringEqual;

use crate::context::NodeContext;
use crate::error::Problem;

/// Compares strings; for Equal, whose import function calls it when its inputs are strings.
///
/// # Errors
/// When an input does not hold strings.
pub fn string_equal(cx: &mut NodeContext<'_, '_>, a: Handle, b: Handle) -> Result<Handle, Problem> {
    cx.add(StringEqual {}, &[a, b])
}
