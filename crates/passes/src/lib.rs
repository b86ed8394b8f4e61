//! Layer 2: rewrites that are always an improvement, on every device.
//!
//! [`pipeline`] is THE order. Each pass is one file; it inspects the network and describes its changes in a patch. A
//! trade-off (fusion, layout, precision, placement) is no pass.
//!
//! This crate does not depend on source formats, devices or kernels.

mod activations;
mod attention;
mod attention_layout;
mod broadcasts;
mod chains;
mod channel_scales;
mod common_subexpressions;
mod dead_code;
pub mod error;
mod fold_constants;
mod heads;
mod identities;
mod merge_pointwise;
mod merge_products;
mod normalizations;
pub mod pass;
pub mod pipeline;
mod pixels;
mod quantize_motion;
mod quantized_operands;
mod reductions;
mod reshapes;
mod rotary_embedding;
mod rotary_tables;
mod row_order;
mod selections;
mod softmax;
mod split_pointwise;
mod transposes;

pub use error::PassError;
pub use pass::PassReport;
pub use pipeline::{Optimized, PassOptions, optimize, pass_names, run_passes};
