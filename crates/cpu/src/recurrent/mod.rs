//! Recurrent layers: `layer.rs` walks directions, sequences and steps, `cells.rs` does one step.

pub mod activation;
pub mod cells;
pub mod layer;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&layer::RECURRENT];
