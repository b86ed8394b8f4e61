//! NonMaxSuppression-10..11.

use sinter_ir::Handle;
use sinter_ops::detection::NonMaxSuppression;

use crate::context::{Imported, NodeContext};

/// NonMaxSuppression.
pub fn non_max_suppression(cx: &mut NodeContext<'_, '_>) -> Imported {
    let centered = match cx.int("center_point_box", 0) {
        0 => false,
        1 => true,
        other => return Err(cx.problem(format!("center_point_box {other} is neither 0 nor 1"))),
    };
    let required = [cx.input(0)?, cx.input(1)?].map(Some);
    let inputs: Vec<Option<Handle>> = required.into_iter().chain((2..5).map(|index| cx.optional(index))).collect();
    cx.add_optional(NonMaxSuppression { centered }, &inputs)
}
