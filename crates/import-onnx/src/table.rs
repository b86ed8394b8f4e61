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

    // -- control flow, sequences
    onnx If 1 => control::if_else;
    onnx Loop 1 => control::loop_while;
    onnx Scan 8 => control::scan_8;
    onnx Scan 9 => control::scan_9;
    onnx SequenceConstruct 11 => sequence::sequence_construct;
    onnx SequenceEmpty 11 => sequence::sequence_empty;
    onnx SequenceInsert 11 => sequence::sequence_insert;
    onnx SequenceErase 11 => sequence::sequence_erase;
    onnx SequenceAt 11 => sequence::sequence_at;
    onnx SequenceLength 11 => sequence::sequence_length;
    onnx ConcatFromSequence 11 => sequence::concat_from_sequence;
    onnx SplitToSequence 11 => sequence::split_to_sequence;
    onnx SequenceMap 17 => sequence::sequence_map;
    onnx Optional 15 => sequence::optional;
    onnx OptionalHasElement 15 => sequence::optional_has_element;
    onnx OptionalGetElement 15 => sequence::optional_get_element;

    // -- recurrent
    onnx RNN 7 => recurrent::rnn;
    onnx GRU 7 => recurrent::gru;
    onnx LSTM 7 => recurrent::lstm;
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
