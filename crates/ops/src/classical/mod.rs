//! Classical machine learning.

pub mod tree_ensemble;

pub use tree_ensemble::{Aggregate, ScoreTransform, TreeEnsemble};
