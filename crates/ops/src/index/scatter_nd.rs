//! Slices written at places named by index vectors.
//!
//! Inputs: data of any type; indices `[.., k]`, i64; updates of sizes `indices.sizes[..-1] + data.sizes[k..]`, of the
//! data's type. `y = x`, then `y[indices[i..]] = updates[i..]` or combined as `reduction` says, in order. Negative
//! entries count from the end. Source: ONNX ScatterND-18.

use sinter_base::{Attributes, Tensor, Value, ValueType};

use crate::axes::is_index_type;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::index::gather_nd::{slice_starts, vector_length};
use crate::index::scatter::ScatterReduction;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct ScatterNd {
    /// How an update meets the element that is there.
    pub reduction: ScatterReduction,
}

impl Operator for ScatterNd {
    const NAME: &'static str = "ScatterNd";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type(0)?;
        self.reduction.check(data_type)?;
        inputs.data_type_where(1, "i32 or i64", is_index_type)?;
        inputs.data_type_where(2, data_type.name(), |t| t == data_type)?;
        let dims = inputs.dims(0)?;
        if let (Ok(indices), Ok(updates)) = (inputs.dims(1), inputs.dims(2))
            && let Some(length) = vector_length(indices)?
        {
            let Some(rest) = dims.get(length..) else {
                invalid!("index vectors of {length} entries into data of {} dimensions", dims.len())
            };
            let expected = indices.len() - 1 + rest.len();
            if updates.len() != expected {
                return Err(InferError::Rank { index: 2, expected: expected.to_string(), found: updates.len() });
            }
            for (want, found) in indices[..indices.len() - 1].iter().chain(rest).zip(updates) {
                cx.require_equal(want, found, "sizes of the updates")?;
            }
        }
        Ok(vec![ValueType::tensor(data_type, dims.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices, updates) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        let starts = slice_starts(x.sizes(), indices, 0)?;
        let length = indices.sizes().last().copied().unwrap_or(0);
        let rest = &x.sizes()[length..];
        let expected = [&indices.sizes()[..indices.rank() - 1], rest].concat();
        if updates.sizes() != expected {
            invalid!(eval: "updates of sizes {:?}, {expected:?} are needed", updates.sizes());
        }
        let inner: usize = rest.iter().product();
        let targets: Vec<usize> = starts.iter().flat_map(|&start| start..start + inner).collect();
        Ok(vec![self.reduction.apply(x, updates, &targets)?.into()])
    }

    fn examples() -> Vec<Example> {
        let op = |reduction| ScatterNd { reduction };
        let vectors =
            |sizes: &[usize], values: &[i64]| Tensor::from_vec(sizes, values.to_vec()).expect("fitting sizes");
        let rows = |name, reduction| {
            Example::new(name, op(reduction)).float(&[5, 3]).tensor(vectors(&[3, 1], &[4, 0, -1])).float(&[3, 3])
        };
        vec![
            Example::new("elements", op(ScatterReduction::None))
                .float(&[3, 5])
                .tensor(vectors(&[2, 2], &[0, 1, 2, -1]))
                .float(&[2]),
            Example::new("rows", op(ScatterReduction::None))
                .float(&[5, 3])
                .tensor(vectors(&[2, 1], &[4, 0]))
                .float(&[2, 3]),
            rows("add", ScatterReduction::Add),
            rows("multiply", ScatterReduction::Multiply),
            rows("max", ScatterReduction::Max),
            rows("min", ScatterReduction::Min),
            Example::new("no updates", op(ScatterReduction::None))
                .float(&[5, 3])
                .tensor(vectors(&[0, 1], &[]))
                .float(&[0, 3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn rows_by_hand() {
        let x = Tensor::from_vec(&[3, 2], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let indices = Tensor::from_vec(&[2, 1], vec![2i64, 0]).unwrap();
        let updates = Tensor::from_vec(&[2, 2], vec![7i64, 8, 9, 10]).unwrap();
        let run = |reduction| reference_of(&ScatterNd { reduction }, &[&x, &indices, &updates]).unwrap()[0].to_i64();
        assert_eq!(run(ScatterReduction::None), [9, 10, 3, 4, 7, 8]);
        assert_eq!(run(ScatterReduction::Add), [10, 12, 3, 4, 12, 14]);
        let short = Tensor::from_vec(&[2, 1], vec![7i64, 8]).unwrap();
        assert!(reference_of(&ScatterNd::default(), &[&x, &indices, &short]).is_err());
    }
}
