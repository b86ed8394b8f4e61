//! Attention and the rotation of its operands by position.

pub mod rotary_embedding;
pub mod scaled_dot_product;

pub use rotary_embedding::RotaryEmbedding;
pub use scaled_dot_product::{Attention, FullyMasked, ScoreStage};
