//! Attention and the rotation of its operands by position.

pub mod rotary;
pub mod scaled_dot_product;

use sinter_backend::Tactic;

/// Best first.
pub const TACTICS: &[&dyn Tactic] = &[&scaled_dot_product::ROWS, &rotary::ROTARY];
