//! Tests of the back end, one binary: every kernel compiles without a device, and a device does what the interface says.
#![allow(clippy::print_stdout, reason = "a skipped test says so, and the others print their figures")]

mod attentions;
mod channels_last;
mod compile;
mod convolutions;
mod device;
mod normalizations;
mod products;
mod tensor_cores;

use sinter_backend::Region;
use sinter_base::ValueType;
use sinter_ops::{InferContext, Op, Operands, infer};

/// The region of an operator on operands of these types.
fn region(op: &Op, types: &[Option<ValueType>]) -> Option<Region> {
    let borrowed: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
    let outputs = infer(op, &Operands::new(&borrowed), &mut InferContext::default()).ok()?;
    Some(Region::single(op.clone(), types, outputs))
}
