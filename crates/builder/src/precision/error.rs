//! Errors of the precision of a build.

use sinter_base::one_line;
use sinter_ir::{PatchError, VerifyError};
use sinter_ops::InferError;

use crate::precision::request::Precision;

/// A precision that cannot be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PrecisionError {
    /// A layer precision for a name that the model does not have.
    #[error(
        "the precision {precision} is for '{}', which names no node and no output of the model{}",
        one_line(name),
        near_text(near)
    )]
    UnknownLayer {
        /// The name given.
        name: String,
        /// The precision given.
        precision: Precision,
        /// Names like it.
        near: Vec<String>,
    },
    /// A layer precision for a node that stays in f32.
    #[error("{node} cannot be computed in {precision}, which is asked for '{}': {reason}", one_line(name))]
    NoForm {
        /// The name given.
        name: String,
        /// The precision given.
        precision: Precision,
        /// The node.
        node: String,
        /// Why.
        reason: String,
    },
    /// Values beyond the range of the precision, where that must not be.
    #[error("{}", out_of_range(*precision, nodes))]
    Range {
        /// The precision asked for.
        precision: Precision,
        /// (node, reason).
        nodes: Vec<(String, String)>,
    },
    /// An output further from the one in f32 than allowed.
    #[error(
        "output '{}' in {precision} differs from the one in f32 by {error:.1e} of its largest element; the bound is {limit:.3}{}; keep \
         sensitive layers in f32 by layer precisions, or choose another precision",
        one_line(output),
        if *is_explained { " and the precision is strict" } else { ", and rounding does not explain the difference" }
    )]
    Inaccurate {
        /// The precision asked for.
        precision: Precision,
        /// The output.
        output: String,
        /// Its error.
        error: f64,
        /// The bound of the precision.
        limit: f64,
        /// Does rounding in this precision explain the difference?
        is_explained: bool,
    },
    /// The network could not be rewritten.
    #[error("the network could not be rewritten for the precision: {0}; please report this")]
    Rewrite(String),
}

fn near_text(near: &[String]) -> String {
    match near {
        [] => String::new(),
        near => {
            format!("; names like it are: {}", near.iter().map(|name| one_line(name)).collect::<Vec<_>>().join(", "))
        }
    }
}

fn out_of_range(precision: Precision, nodes: &[(String, String)]) -> String {
    let mut text = format!("{} nodes exceed the range of {precision}:", nodes.len());
    nodes.iter().for_each(|(node, reason)| text.push_str(&format!("\n  {node}: {}", one_line(reason))));
    text
}

impl From<InferError> for PrecisionError {
    fn from(error: InferError) -> Self {
        Self::Rewrite(error.to_string())
    }
}

impl From<PatchError> for PrecisionError {
    fn from(error: PatchError) -> Self {
        Self::Rewrite(error.to_string())
    }
}

impl From<VerifyError> for PrecisionError {
    fn from(error: VerifyError) -> Self {
        Self::Rewrite(error.to_string())
    }
}
