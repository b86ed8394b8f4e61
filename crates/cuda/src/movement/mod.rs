//! Movement of elements of any type; most of these are one copy between two strided views.

pub mod copy;
pub mod moves;
pub mod pad;
pub mod reverse_sequence;
pub mod shape_of;
pub mod unpack;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[
    &moves::RESHAPE,
    &moves::TRANSPOSE,
    &moves::SLICE,
    &moves::EXPAND,
    &moves::TILE,
    &moves::CONCAT,
    &pad::PAD,
    &reverse_sequence::REVERSE_SEQUENCE,
    &shape_of::SHAPE_OF,
    &unpack::UNPACK,
];
