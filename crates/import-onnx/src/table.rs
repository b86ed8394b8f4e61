//! THE list of importable operators: (domain, name, first version of the operator set) to an import function.
//!
//! A node uses the entry with the largest version not above the model's. An operator whose meaning changed has an entry
//! per meaning; changes of types or of attributes' places are handled inside the function.

use crate::context::ImportFn;
use crate::ops;

/// One row.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Operator domain; empty for `ai.onnx`.
    pub domain: &'static str,
    /// Operator name in ONNX.
    pub name: &'static str,
    /// First version of the operator set with this meaning.
    pub since: i64,
    /// The import function.
    pub import: ImportFn,
}

/// Domain of ONNX Runtime's own operators.
pub const MICROSOFT: &str = "com.microsoft";
/// Domain of classical machine learning.
pub const ML: &str = "ai.onnx.ml";
/// Domain of training operators.
pub const TRAINING: &str = "ai.onnx.preview.training";

macro_rules! table {
    ($($domain:tt $name:ident $since:literal => $($import:ident)::+;)*) => {
        &[$(Entry { domain: table!(@domain $domain), name: stringify!($name), since: $since, import: ops::$($import)::+ }),*]
    };
    (@domain onnx) => { "" };
    (@domain microsoft) => { MICROSOFT };
    (@domain ml) => { ML };
    (@domain training) => { TRAINING };
}

/// Every importable operator.
pub const ALL: &[Entry] = table! {
    // -- elementwise
    onnx Abs 1 => elementwise::unary::abs;

    // -- contractions
    onnx Conv 1 => conv::conv;
    onnx MatMul 1 => matmul::matmul;

    // -- movement
    onnx Reshape 5 => reshape::reshape;

    // -- spatial, normalization, quantization
    onnx ConvTranspose 1 => conv::conv_transpose;
    onnx DeformConv 19 => conv::deform_conv;
    onnx Col2Im 18 => conv::col2im;
    onnx MaxPool 1 => pool::max_pool;
    onnx AveragePool 1 => pool::average_pool;
    onnx LpPool 1 => pool::lp_pool;
    onnx GlobalMaxPool 1 => pool::global_max_pool;
    onnx GlobalAveragePool 1 => pool::global_average_pool;
    onnx GlobalLpPool 1 => pool::global_lp_pool;
    onnx MaxUnpool 9 => pool::max_unpool;
};

/// The entry for an operator at a version.
pub fn find(domain: &str, name: &str, version: i64) -> Option<ImportFn> {
    ALL.iter()
        .filter(|e| e.domain == domain && e.name == name && e.since <= version)
        .max_by_key(|e| e.since)
        .map(|e| e.import)
}

/// Why there is no entry, in words.
pub fn unsupported(shown: &str, domain: &str, name: &str, version: i64) -> String {
    let first = ALL.iter().filter(|e| e.domain == domain && e.name == name).map(|e| e.since).min();
    match first {
        Some(first) => format!("{shown}::{name} of version {version} is not supported, only from version {first} on"),
        None => format!("operator {shown}::{name} (version {version}) is not supported"),
    }
}
