//! Lists of tensors, and values that may be absent: kernels on whole values. Elements share their memory with the lists
//! that hold them, so only joining and cutting move any.

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
