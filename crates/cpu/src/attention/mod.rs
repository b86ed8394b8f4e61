//! Attention and the rotation of its operands by position.

mod layout;
pub mod rotary;
pub mod scaled_dot_product;
pub mod tiles;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[&tiles::TILES, &scaled_dot_product::ROWS, &rotary::ROTARY];
