//! Operators on the bits of integers.

use sinter_ops::pointwise::ScalarOp;

use crate::context::{Imported, NodeContext};
use crate::ops::elementwise::{expression_of_two, of_one};

macro_rules! bitwise {
    ($($(#[$doc:meta])* $function:ident => $op:ident;)*) => {$(
        $(#[$doc])*
        pub fn $function(cx: &mut NodeContext<'_, '_>) -> Imported {
            let (a, b) = (cx.input(0)?, cx.input(1)?);
            Ok(vec![expression_of_two(cx, a, b, |a, b| a.binary(ScalarOp::$op, b))?])
        }
    )*};
}

bitwise! {
    /// BitwiseAnd-18.
    bitwise_and => BitAnd;
    /// BitwiseOr-18.
    bitwise_or => BitOr;
    /// BitwiseXor-18.
    bitwise_xor => BitXor;
}

/// BitwiseNot-18: every bit flipped, which is exclusive or with -1.
pub fn bitwise_not(cx: &mut NodeContext<'_, '_>) -> Imported {
    let x = cx.input(0)?;
    let data_type = cx.data_type(x)?;
    // All ones: -1 for signed types, the largest value for unsigned ones (which a float cannot carry for u64).
    if data_type == sinter_base::DataType::U64 {
        return of_one(cx, |x| {
            let half = x.same(4_294_967_296.0);
            let low = x.same(4_294_967_295.0);
            let ones = low.binary(ScalarOp::Mul, &half).binary(ScalarOp::Add, &low);
            x.binary(ScalarOp::BitXor, &ones)
        });
    }
    let ones = data_type.integer_range().map_or(-1.0, |(low, high)| if low < 0 { -1.0 } else { exact(high) });
    of_one(cx, |x| x.binary(ScalarOp::BitXor, &x.same(ones)))
}

/// The largest value of an unsigned type of at most 32 bits.
fn exact(high: i128) -> f64 {
    u32::try_from(high).map_or(f64::MAX, f64::from)
}

/// BitShift-11: by `direction` LEFT or RIGHT.
pub fn bit_shift(cx: &mut NodeContext<'_, '_>) -> Imported {
    let op = match cx.text("direction", "").as_str() {
        "LEFT" => ScalarOp::ShiftLeft,
        "RIGHT" => ScalarOp::ShiftRight,
        other => return Err(cx.problem(format!("direction must be LEFT or RIGHT, found '{other}'"))),
    };
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![expression_of_two(cx, a, b, |a, b| a.binary(op, b))?])
}
