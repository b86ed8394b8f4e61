//! TfIdfVectorizer-9.

use sinter_base::{DataType, Tensor};
use sinter_ops::host::{TfIdfVectorizer, Weighting};

use crate::context::{Imported, NodeContext};
use crate::error::Problem;

/// A list attribute of lengths, which must be given.
fn lengths(cx: &NodeContext<'_, '_>, name: &str) -> Result<Vec<usize>, Problem> {
    cx.sizes(name)?.ok_or_else(|| cx.problem(format!("attribute {name} is missing")))
}

/// A length attribute, which must be given.
fn length(cx: &NodeContext<'_, '_>, name: &str) -> Result<usize, Problem> {
    let given = cx.optional_int(name).ok_or_else(|| cx.problem(format!("attribute {name} is missing")))?;
    usize::try_from(given).map_err(|_| cx.problem(format!("attribute {name} is {given}")))
}

/// TfIdfVectorizer: pool, columns and weights become weights of the network.
pub fn tf_idf_vectorizer(cx: &mut NodeContext<'_, '_>) -> Imported {
    let weighting = match cx.text("mode", "").as_str() {
        "TF" => Weighting::Count,
        "IDF" => Weighting::Weight,
        "TFIDF" => Weighting::WeightedCount,
        other => return Err(cx.problem(format!("mode '{other}' is unknown"))),
    };
    let columns = lengths(cx, "ngram_indexes")?;
    let op = TfIdfVectorizer {
        weighting,
        shortest: length(cx, "min_gram_length")?,
        longest: length(cx, "max_gram_length")?,
        most_skipped: length(cx, "max_skip_count")?,
        starts: lengths(cx, "ngram_counts")?,
        size: columns.iter().max().map_or(0, |most| most.saturating_add(1)),
    };
    let pool = match (cx.texts("pool_strings"), cx.ints("pool_int64s")) {
        (Some(texts), None) => Tensor::from_strings(&[texts.len()], texts).map_err(|e| cx.problem(e.to_string()))?,
        (None, Some(values)) => Tensor::of_i64(&values),
        _ => return Err(cx.problem("one of pool_strings and pool_int64s must be given")),
    };
    let x = cx.input(0)?;
    let pool = cx.constant(pool);
    let columns = cx.int_list(&cx.ints("ngram_indexes").unwrap_or_default());
    let weights = match cx.floats("weights").filter(|w| !w.is_empty()) {
        None => None,
        Some(values) => {
            let tensor = Tensor::from_floats(DataType::F32, &[values.len()], &values);
            let tensor = tensor.map_err(|e| cx.problem(e.to_string()))?;
            Some(cx.constant(tensor))
        }
    };
    cx.add_optional(op, &[Some(x), Some(pool), Some(columns), weights])
}
