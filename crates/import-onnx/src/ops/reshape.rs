//! Reshape-5..25.

use sinter_ops::movement::Reshape;

use crate::context::{Imported, NodeContext};

/// Reshape: the shape is an input; `allowzero` since version 14.
pub fn reshape(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (data, shape) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(Reshape { allow_zero: cx.flag("allowzero", false) }, &[data, shape])
}
