//! Lists of tensors, and optional values: kernels on whole values. Elements share their memory with the lists that
//! contain them, so only concatenating and splitting move any.

pub mod list;
pub mod optional;
pub mod pieces;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &list::CONSTRUCT,
    &list::INSERT,
    &list::ERASE,
    &list::AT,
    &list::LENGTH,
    &pieces::SPLIT,
    &pieces::CONCAT,
    &optional::CONSTRUCT,
    &optional::HAS,
    &optional::GET,
];
