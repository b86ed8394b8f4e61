//! Kernels that pick, place, find or order elements by position or value.
//!
//! `positions.rs` turns indices into checked positions, `keys.rs` elements into comparable integers.

pub mod gather;
pub mod keys;
pub mod non_zero;
pub mod positions;
pub mod range;
pub mod scatter;
pub mod top_k;
pub mod unique;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &gather::GATHER,
    &gather::GATHER_ELEMENTS,
    &gather::GATHER_ND,
    &scatter::SCATTER,
    &scatter::SCATTER_COMBINE,
    &top_k::TOP_K,
    &non_zero::NON_ZERO,
    &range::RANGE,
    &unique::UNIQUE,
];
