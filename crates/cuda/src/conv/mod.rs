//! Convolutions.

pub mod col2im;
pub mod deformable;
pub mod direct;
pub mod transposed;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] =
    &[&direct::DIRECT, &transposed::TRANSPOSED, &deformable::DEFORMABLE, &col2im::COL2IM];
