//! Elementwise operators of one input.

use sinter_ops::pointwise::ScalarOp;

use crate::context::{Imported, NodeContext};

macro_rules! unary {
    ($($(#[$doc:meta])* $function:ident => $op:ident;)*) => {$(
        $(#[$doc])*
        pub fn $function(cx: &mut NodeContext<'_, '_>) -> Imported {
            let x = cx.input(0)?;
            Ok(vec![cx.pointwise(&[x], |a| a[0].unary(ScalarOp::$op))?])
        }
    )*};
}

unary! {
    /// Abs-13: |x|.
    abs => Abs;
}
