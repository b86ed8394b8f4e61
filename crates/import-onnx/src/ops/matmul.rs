//! MatMul-1..13.

use sinter_ops::matmul::MatMul;

use crate::context::{Imported, NodeContext};

/// MatMul: numpy.matmul.
pub fn matmul(cx: &mut NodeContext<'_, '_>) -> Imported {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    cx.add_all(MatMul::default(), &[a, b])
}
