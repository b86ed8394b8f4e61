//! Comparisons and logic.

use sinter_base::DataType;
use sinter_ops::pointwise::ScalarOp;

use crate::context::{Imported, NodeContext};
use crate::ops::elementwise::arithmetic::operands;
use crate::ops::elementwise::expression_of_two;
use crate::ops::host::string_equal::string_equal;

macro_rules! compare {
    ($($(#[$doc:meta])* $function:ident => |$a:ident, $b:ident| $result:expr;)*) => {$(
        $(#[$doc])*
        pub fn $function(cx: &mut NodeContext<'_, '_>) -> Imported {
            let (a, b) = operands(cx)?;
            Ok(vec![expression_of_two(cx, a, b, |$a, $b| $result)?])
        }
    )*};
}

compare! {
    /// Less-13.
    less => |a, b| a.binary(ScalarOp::Less, b);
    /// LessOrEqual-16.
    less_or_equal => |a, b| a.binary(ScalarOp::LessOrEqual, b);
    /// Greater-13.
    greater => |a, b| b.binary(ScalarOp::Less, a);
    /// GreaterOrEqual-16.
    greater_or_equal => |a, b| b.binary(ScalarOp::LessOrEqual, a);
    /// And-7.
    and => |a, b| a.binary(ScalarOp::And, b);
    /// Or-7.
    or => |a, b| a.binary(ScalarOp::Or, b);
    /// Xor-7.
    xor => |a, b| a.binary(ScalarOp::Xor, b);
}

/// Equal-19: on numbers, bools and strings.
pub fn equal(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b) = operands(cx)?;
    if cx.data_type(a)? == DataType::String {
        return Ok(vec![string_equal(cx, a, b)?]);
    }
    Ok(vec![expression_of_two(cx, a, b, |a, b| a.binary(ScalarOp::Equal, b))?])
}
