//! Recurrent layers: `layer.rs` walks directions, sequences and steps, `cells.rs` does one step, `weights.rs` is the packed
//! form of the matrices.

pub mod activation;
pub mod cells;
pub mod layer;
pub mod weights;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&layer::PACKED, &layer::BLOCKED];
