//! Counts of known n-grams, weighted.
//!
//! Inputs: x, items [C] or [N, C]; pool, the items of all n-grams one after the other, shortest n-grams first, of the
//! type of x; columns [n] i64, the place of each n-gram in the result; weights [n] f32, optional. Result: f32 [size] or
//! [N, size]. An n-gram occurs at a start with a stride of 1 to `most_skipped` + 1 between its items; 1-grams are
//! counted once whatever the strides. Of several n-grams with one place, the last one in the pool that occurs gives the
//! weight. Source: ONNX TfIdfVectorizer-9.

use std::collections::HashMap;

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// The value that the result holds for an n-gram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum Weighting {
    /// How often it occurs.
    #[default]
    Count,
    /// Its weight, where it occurs.
    Weight,
    /// Its weight times how often it occurs.
    WeightedCount,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct TfIdfVectorizer {
    /// The value that the result holds.
    pub weighting: Weighting,
    /// Length of the shortest n-grams that count.
    pub shortest: usize,
    /// Length of the longest n-grams that count.
    pub longest: usize,
    /// Most items left out between two of an n-gram.
    pub most_skipped: usize,
    /// Where in the pool the n-grams of length 1, 2, ... start.
    pub starts: Vec<usize>,
    /// Columns of the result.
    pub size: usize,
}

/// Items as texts: one form for strings and integers.
fn items(tensor: &Tensor) -> Result<Vec<String>, EvalError> {
    match tensor.data_type() {
        DataType::String => Ok(tensor.strings()?.to_vec()),
        _ => Ok(tensor.to_ints().into_iter().map(|v| v.to_string()).collect()),
    }
}

impl TfIdfVectorizer {
    /// Number of each n-gram in the order of the pool.
    fn known<'p>(&self, pool: &'p [String]) -> Result<HashMap<&'p [String], usize>, EvalError> {
        let mut known = HashMap::new();
        let mut number = 0;
        for (position, &start) in self.starts.iter().enumerate() {
            let length = position + 1;
            let end = self.starts.get(length).copied().unwrap_or(pool.len());
            let Some(part) = pool.get(start..end) else {
                invalid!(eval: "n-grams of length {length} from {start} to {end} in a pool of {}", pool.len());
            };
            for gram in part.chunks_exact(length) {
                if (self.shortest..=self.longest).contains(&length) {
                    known.insert(gram, number);
                }
                number += 1;
            }
        }
        Ok(known)
    }

    fn check(&self, inputs: &Operands<'_>) -> Result<(), InferError> {
        let expected = "string, i32 or i64";
        let taken = |t| matches!(t, DataType::String | DataType::I32 | DataType::I64);
        let x = inputs.data_type_where(0, expected, taken)?;
        inputs.data_type_where(1, expected, |t| taken(t) && (t == DataType::String) == (x == DataType::String))?;
        inputs.data_type_where(2, "i64", |t| t == DataType::I64)?;
        if inputs.has(3) {
            inputs.data_type_where(3, "f32", |t| t == DataType::F32)?;
        }
        Ok(())
    }
}

impl Operator for TfIdfVectorizer {
    const NAME: &'static str = "TfIdfVectorizer";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs)?;
        let dims = inputs.dims(0)?;
        let size = Dim::from(self.size);
        match dims {
            [_] => Ok(vec![ValueType::tensor(DataType::F32, vec![size])]),
            [rows, _] => Ok(vec![ValueType::tensor(DataType::F32, vec![rows.clone(), size])]),
            _ => Err(InferError::Rank { index: 0, expected: "1 or 2".to_owned(), found: dims.len() }),
        }
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs)?;
        Ok(vec![ValueType::unranked(DataType::F32)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let x = inputs.tensor(0)?;
        let (pool, columns) = (items(inputs.tensor(1)?)?, inputs.tensor(2)?.to_i64());
        let weights = inputs.optional_tensor(3)?.map(Tensor::to_floats);
        let known = self.known(&pool)?;
        let length = x.sizes().last().copied().unwrap_or(0);
        let rows = if x.rank() == 2 { x.sizes()[0] } else { 1 };
        let all = items(x)?;
        let mut y = Vec::with_capacity(rows * self.size);
        for row in 0..rows {
            let own = &all[row * length..(row + 1) * length];
            let mut counts = vec![0.0; self.size];
            let mut last: Vec<Option<usize>> = vec![None; self.size];
            for n in self.shortest.max(1)..=self.longest.min(length) {
                let strides = if n == 1 { 1 } else { self.most_skipped.saturating_add(1).min(length) };
                for stride in 1..=strides {
                    for start in 0..length.saturating_sub((n - 1) * stride) {
                        let gram: Vec<String> = (0..n).map(|i| own[start + i * stride].clone()).collect();
                        let Some(&number) = known.get(gram.as_slice()) else { continue };
                        let column = columns.get(number).and_then(|&c| usize::try_from(c).ok());
                        let Some(column) = column.filter(|c| *c < self.size) else {
                            invalid!(eval: "n-gram {number} has no column among {}", self.size);
                        };
                        counts[column] += 1.0;
                        last[column] = last[column].max(Some(number));
                    }
                }
            }
            let weight = |last: &Option<usize>| last.and_then(|number| weights.as_ref()?.get(number).copied());
            y.extend(counts.iter().zip(&last).map(|(&count, last)| match self.weighting {
                Weighting::Count => count,
                Weighting::Weight if count > 0.0 => weight(last).unwrap_or(1.0),
                Weighting::Weight => 0.0,
                Weighting::WeightedCount => weight(last).unwrap_or(1.0) * count,
            }));
        }
        Ok(vec![Tensor::from_floats(DataType::F32, &sizes, &y)?.into()])
    }

    fn examples() -> Vec<Example> {
        let op = TfIdfVectorizer { shortest: 1, longest: 2, starts: vec![0, 2], size: 4, ..TfIdfVectorizer::default() };
        let weights = Tensor::from_vec(&[4], vec![0.5f32, 2.0, 3.0, 4.0]).expect("four weights");
        let rows = Tensor::from_vec(&[2, 4], vec![5i64, 6, 5, 6, 7, 5, 8, 6]).expect("eight items");
        let problem = |name, op: TfIdfVectorizer| {
            Example::new(name, op).tensor(rows.clone()).ints(&[5, 6, 5, 6, 7, 8]).ints(&[0, 1, 2, 3])
        };
        vec![
            problem("counts", op.clone()),
            problem("skips", TfIdfVectorizer { most_skipped: 2, shortest: 2, ..op.clone() }),
            problem("weights", TfIdfVectorizer { weighting: Weighting::Weight, ..op.clone() }).tensor(weights.clone()),
            problem("weighted counts", TfIdfVectorizer { weighting: Weighting::WeightedCount, ..op.clone() })
                .tensor(weights.clone()),
            // The first row has the last n-gram of the column in front of others.
            Example::new(
                "n-grams of one column",
                TfIdfVectorizer { weighting: Weighting::WeightedCount, ..op.clone() },
            )
            .tensor(rows.clone())
            .ints(&[5, 6, 5, 6, 7, 8])
            .ints(&[2, 1, 1, 0])
            .tensor(weights),
            Example::new("one row, no items", op).ints(&[]).ints(&[5, 6, 5, 6, 7, 8]).ints(&[0, 1, 2, 3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn grams_with_skips() {
        // 1-grams 1, 2; 2-grams (1, 3), (3, 5).
        let pool = Tensor::of_i64(&[1, 2, 1, 3, 3, 5]);
        let columns = Tensor::of_i64(&[3, 2, 1, 0]);
        let x = Tensor::of_i64(&[1, 2, 3, 4, 5]);
        let run = |most_skipped, shortest| {
            let op = TfIdfVectorizer {
                shortest,
                longest: 2,
                most_skipped,
                starts: vec![0, 2],
                size: 4,
                weighting: Weighting::Count,
            };
            reference_of(&op, &[&x, &pool, &columns]).unwrap()[0].to_floats()
        };
        assert_eq!(run(0, 1), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(run(1, 2), [1.0, 1.0, 0.0, 0.0]);
    }
}
