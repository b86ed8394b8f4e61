//! Recurrent layers: `layer.rs` walks directions, sequences and steps, `cells.rs` does one step, `weights.rs` is the packed
//! form of the matrices.

pub mod activation;
pub mod cells;
pub mod layer;
pub mod weights;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[&layer::PACKED, &layer::BLOCKED];
