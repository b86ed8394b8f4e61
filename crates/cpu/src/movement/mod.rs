//! Kernels that move elements.
//!
//! `strided.rs` is the copy behind most of them.

pub mod concat;
pub mod copy;
pub mod expand;
pub mod pad;
pub mod reverse_sequence;
pub mod rows;
pub mod shape_of;
pub mod slice;
pub mod strided;
pub mod strings;
pub mod transpose;
pub mod unpack;

use sinter_backend::{Refusal, Region};
use sinter_base::{DataType, ValueType};

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &copy::RESHAPE,
    &transpose::TRANSPOSE,
    &slice::SLICE,
    &concat::CONCAT,
    &expand::EXPAND,
    &expand::TILE,
    &pad::PAD,
    &shape_of::SHAPE,
    &reverse_sequence::REVERSE_SEQUENCE,
    &unpack::UNPACK,
    &strings::STRINGS,
];

/// Do all operands and results have types that views support?
///
/// # Errors
/// When one is not.
pub fn takes_views(region: &Region) -> Result<(), Refusal> {
    let body = region.body();
    let all = body.inputs().iter().chain(body.outputs());
    let numeric = |ty: &ValueType| ty.as_tensor().is_some_and(|t| t.data_type != DataType::String);
    match all.map(|id| body.ty(*id)).find(|ty| !numeric(ty)) {
        Some(other) => Err(Refusal::new(format!("takes tensors of numbers, not {other}"))),
        None => Ok(()),
    }
}
