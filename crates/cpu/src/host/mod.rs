//! Strings, images, lookups and trees: kernels on whole values, where elements are few or of no fixed size.

pub mod image_decoder;
pub mod label_encoder;
pub mod n_grams;
pub mod pairs;
pub mod string_cast;
pub mod text;
pub mod tree_ensemble;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &pairs::CONCAT,
    &pairs::EQUAL,
    &text::NORMALIZE,
    &text::SPLIT,
    &text::REGEX,
    &label_encoder::LOOKUP,
    &n_grams::N_GRAMS,
    &image_decoder::DECODE,
    &string_cast::CAST,
    &tree_ensemble::PACKED,
    &tree_ensemble::TREES,
];
