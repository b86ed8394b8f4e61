//! Scaled dot-product attention with grouped heads and a cache of keys and values.
//!
//! `y = softmax(cap(scale q k^T) + mask) v`, where `cap(x) = softcap tanh(x / softcap)`, or x for a softcap of 0. The
//! mask comes after the cap, which would make a finite score of minus infinity.
//! Inputs: q [B, Hq, S, D]; k [B, Hk, T, D]; v [B, Hk, T, E], each also as [B, length, heads times size] where the
//! numbers of heads are given; mask, optional, broadcast to [B, Hq, S, P + T] from the right, its last axis may be
//! shorter: bool (true takes part) or float (added); past keys [B, Hk, P, D] and values [B, Hk, P, E], optional, which
//! go in front of k and v; number n of keys that count [B] i64, optional; sinks [Hq], optional: `e^sink` is added to the
//! sum of each softmax of the head, as a key would whose value is 0. Query head h reads key head h / (Hq / Hk).
//! `causal` masks key j for query i when `j > i + first`, where the queries stand behind the past keys, `first = P`; or,
//! with numbers of keys and no past, at the end of those that count, `first = n - S`. Results: y like q with E for D; all
//! keys [B, Hk, P + T, D]; all values; the scores [B, Hq, S, P + T] at the chosen stage. A fully masked query, all of whose
//! scores are minus infinity, gives NaN, or 0 where the attribute says so. Source: ONNX Attention-24 as corrected in onnx/onnx#7867
//! and #8068; sinks: GroupQueryAttention of ONNX Runtime, Xiao et al. 2023.

use sinter_base::shape::{broadcast_sizes, broadcast_strides, ravel};
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::matmul::matmul::product_of;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// The stage at which the scores result is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum ScoreStage {
    /// `scale q k^T`.
    #[default]
    Product,
    /// After the softcap.
    Capped,
    /// After adding the mask.
    Masked,
    /// After the softmax.
    Weights,
}

/// Weights and result of a fully masked query: one that sees no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum FullyMasked {
    /// 0 / 0, as the formula has it.
    #[default]
    Nan,
    /// 0.
    Zero,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Attention {
    /// Heads of q, for operands of three dimensions.
    pub query_heads: Option<usize>,
    /// Heads of k and v, for operands of three dimensions.
    pub key_heads: Option<usize>,
    /// Factor of the scores; `1 / sqrt(D)` by default.
    pub scale: Option<f64>,
    /// Bound of the scores; 0 for none.
    pub softcap: f64,
    /// A query does not see later keys.
    pub causal: bool,
    /// Type in which the softmax is computed; that of q by default.
    pub softmax_type: Option<DataType>,
    /// The stage of the scores in the last result.
    pub scores: ScoreStage,
    /// The result of fully masked queries.
    #[attributes(default)]
    pub fully_masked: FullyMasked,
}

/// Positions of the inputs.
const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const LENGTHS: usize = 6;
const SINKS: usize = 7;

/// The sizes [batch, heads, length, size] of an operand of three or four dimensions.
fn split(dims: &[Dim], heads: Option<usize>, name: &str, cx: &mut InferContext) -> Result<[Dim; 4], InferError> {
    match (dims, heads) {
        ([batch, heads, length, size], _) => Ok([batch, heads, length, size].map(Clone::clone)),
        ([batch, length, hidden], Some(heads)) if heads > 0 => {
            let heads = Dim::from(heads);
            cx.require_equal(&hidden.modulo(&heads), &Dim::constant(0), &format!("size of {name} left over by heads"))?;
            Ok([batch.clone(), heads.clone(), length.clone(), hidden.floor_div(&heads)])
        }
        ([_, _, _], _) => invalid!("{name} has three dimensions, which needs the number of heads; it is {heads:?}"),
        _ => invalid!("{name} must have three or four dimensions, found {}", dims.len()),
    }
}

/// The elements of an operand of either layout by batch, head, position and component.
struct Operand {
    values: Vec<f64>,
    sizes: [usize; 4],
    heads_inside: bool,
}

impl Operand {
    fn new(tensor: &Tensor, heads: Option<usize>) -> Result<Self, EvalError> {
        let values = tensor.to_floats();
        match (tensor.sizes(), heads) {
            (&[b, h, l, d], _) => Ok(Self { values, sizes: [b, h, l, d], heads_inside: false }),
            (&[b, l, hidden], Some(h)) if h > 0 => {
                Ok(Self { values, sizes: [b, h, l, hidden / h], heads_inside: true })
            }
            (sizes, heads) => invalid!(eval: "an operand of sizes {sizes:?} with {heads:?} heads"),
        }
    }

    fn row(&self, b: usize, h: usize, l: usize) -> &[f64] {
        let [_, heads, length, size] = self.sizes;
        let at = if self.heads_inside { (b * length + l) * heads + h } else { (b * heads + h) * length + l };
        &self.values[at * size..(at + 1) * size]
    }
}

/// Past and new rows one after the other, as [batch, heads, length, size].
fn joined(past: Option<&Operand>, new: &Operand) -> Operand {
    let [batch, heads, length, size] = new.sizes;
    let past_length = past.map_or(0, |p| p.sizes[2]);
    let mut values = Vec::with_capacity(batch * heads * (past_length + length) * size);
    for b in 0..batch {
        for h in 0..heads {
            for l in 0..past_length {
                values.extend(past.iter().flat_map(|p| p.row(b, h, l)));
            }
            for l in 0..length {
                values.extend(new.row(b, h, l));
            }
        }
    }
    Operand { values, sizes: [batch, heads, past_length + length, size], heads_inside: false }
}

/// The mask that is added to a score.
struct Mask {
    values: Vec<f64>,
    strides: sinter_base::Sizes,
    /// Keys beyond take no part.
    length: usize,
}

impl Mask {
    fn new(tensor: &Tensor, target: [usize; 4]) -> Result<Self, EvalError> {
        let values = if tensor.data_type() == DataType::Bool {
            tensor.to_bools().into_iter().map(|v| if v { 0.0 } else { f64::NEG_INFINITY }).collect()
        } else {
            tensor.to_floats()
        };
        let length = tensor.sizes().last().copied().unwrap_or(1);
        let covered = if length == 1 { target[3] } else { length };
        let reached = [target[0], target[1], target[2], covered];
        let fits = covered <= target[3] && broadcast_sizes(&[tensor.sizes(), &reached]).as_deref() == Some(&reached);
        if !fits || tensor.rank() > 4 {
            invalid!(eval: "a mask of sizes {:?} does not fit scores of sizes {target:?}", tensor.sizes());
        }
        Ok(Self { values, strides: broadcast_strides(tensor.sizes(), &reached), length: covered })
    }

    fn at(&self, index: &[usize; 4]) -> f64 {
        if index[3] < self.length { self.values[ravel(index, &self.strides)] } else { f64::NEG_INFINITY }
    }
}

impl Attention {
    /// The weights of one query.
    fn softmax(&self, scores: &[f64], sink: Option<f64>) -> Vec<f64> {
        let most = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
        if self.fully_masked == FullyMasked::Zero && scores.iter().all(|s| *s == f64::NEG_INFINITY) {
            return vec![0.0; scores.len()];
        }
        let powers: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
        let total: f64 = powers.iter().sum::<f64>() + sink.map_or(0.0, |s| (s - most).exp());
        powers.into_iter().map(|p| p / total).collect()
    }

    /// How many of `total` keys query `i` of `queries` may see by the attributes and the number that counts.
    fn open_keys(&self, i: usize, queries: usize, (past, total): (Option<usize>, usize), count: Option<i64>) -> usize {
        let counted = count.map_or(total, |c| usize::try_from(c).unwrap_or(0)).min(total);
        let behind = match (past, count) {
            _ if !self.causal => return counted,
            (None, Some(_)) => (counted + i + 1).saturating_sub(queries),
            (past, _) => past.unwrap_or(0) + i + 1,
        };
        counted.min(behind)
    }

    fn past<'a>(
        &self,
        inputs: &Operands<'a>,
        index: usize,
        new: &[Dim; 4],
        cx: &mut InferContext,
    ) -> Result<Dim, InferError> {
        if !inputs.has(index) {
            return Ok(Dim::constant(0));
        }
        let past: &'a [Dim] = inputs.dims_of_rank(index, 4)?;
        for axis in [0, 1, 3] {
            cx.require_equal(&past[axis], &new[axis], "sizes of past and new keys or values")?;
        }
        Ok(past[2].clone())
    }

    fn check_types(&self, inputs: &Operands<'_>) -> Result<[DataType; 3], InferError> {
        let q = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let k = inputs.data_type_where(1, &q.to_string(), |t| t == q)?;
        let v = inputs.data_type_where(2, "a float type", DataType::is_float)?;
        if inputs.has(PAST_KEY) != inputs.has(PAST_VALUE) {
            invalid!("past keys and past values are given together or not at all");
        }
        for (index, expected) in [(PAST_KEY, k), (PAST_VALUE, v)] {
            if inputs.has(index) {
                inputs.data_type_where(index, &expected.to_string(), |t| t == expected)?;
            }
        }
        if inputs.has(MASK) {
            inputs.data_type_where(MASK, "bool or a number", |t| t != DataType::String)?;
        }
        if inputs.has(LENGTHS) {
            inputs.data_type_where(LENGTHS, "i64", |t| t == DataType::I64)?;
        }
        if inputs.has(SINKS) {
            inputs.data_type_where(SINKS, "a float type", DataType::is_float)?;
        }
        Ok([q, k, v])
    }
}

impl Operator for Attention {
    const NAME: &'static str = "Attention";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let [q_type, k_type, v_type] = self.check_types(inputs)?;
        let q_dims = inputs.dims(0)?;
        let q = split(q_dims, self.query_heads, "q", cx)?;
        let k = split(inputs.dims(1)?, self.key_heads, "k", cx)?;
        let v = split(inputs.dims(2)?, self.key_heads, "v", cx)?;
        cx.require_equal(&q[0], &k[0], "batch of q and k")?;
        cx.require_equal(&q[3], &k[3], "head size of q and k")?;
        for axis in 0..3 {
            cx.require_equal(&k[axis], &v[axis], "batch, heads and length of k and v")?;
        }
        cx.require_equal(&q[1].modulo(&k[1]), &Dim::constant(0), "query heads must be a multiple of the key heads")?;
        let past = self.past(inputs, PAST_KEY, &k, cx)?;
        let past_values = self.past(inputs, PAST_VALUE, &v, cx)?;
        cx.require_equal(&past, &past_values, "lengths of past keys and values")?;
        if inputs.has(LENGTHS) {
            cx.require_equal(&inputs.dims_of_rank(LENGTHS, 1)?[0], &q[0], "number of key lengths")?;
        }
        if inputs.has(SINKS) {
            cx.require_equal(&inputs.dims_of_rank(SINKS, 1)?[0], &q[1], "number of sinks and of query heads")?;
        }
        let total = past.add(&k[2]);
        let [batch, heads, length, _] = q;
        let y = if q_dims.len() == 3 {
            vec![batch.clone(), length.clone(), heads.mul(&v[3])]
        } else {
            vec![batch.clone(), heads.clone(), length.clone(), v[3].clone()]
        };
        let [key_batch, key_heads, _, key_size] = k;
        let [_, _, _, value_size] = v;
        Ok(vec![
            ValueType::tensor(q_type, y),
            ValueType::tensor(k_type, vec![key_batch.clone(), key_heads.clone(), total.clone(), key_size]),
            ValueType::tensor(v_type, vec![key_batch, key_heads, total.clone(), value_size]),
            ValueType::tensor(q_type, vec![batch, heads, length, total]),
        ])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        let [q, k, v] = self.check_types(inputs)?;
        Ok([q, k, v, q].map(ValueType::unranked).to_vec())
    }

    fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = crate::infer::result_sizes(self, inputs)?;
        let q = Operand::new(inputs.tensor(0)?, self.query_heads)?;
        let keys = Operand::new(inputs.tensor(1)?, self.key_heads)?;
        let values = Operand::new(inputs.tensor(2)?, self.key_heads)?;
        let past_key = inputs.optional_tensor(PAST_KEY)?.map(|t| Operand::new(t, None)).transpose()?;
        let past_value = inputs.optional_tensor(PAST_VALUE)?.map(|t| Operand::new(t, None)).transpose()?;
        let past = past_key.as_ref().map(|p| p.sizes[2]);
        let (keys, values) = (joined(past_key.as_ref(), &keys), joined(past_value.as_ref(), &values));
        let [batch, heads, length, size] = q.sizes;
        let (total, value_size) = (keys.sizes[2], values.sizes[3]);
        let mask = inputs.optional_tensor(MASK)?;
        let mask = mask.map(|t| Mask::new(t, [batch, heads, length, total])).transpose()?;
        let lengths = inputs.optional_tensor(LENGTHS)?.map(Tensor::to_i64);
        let sinks = inputs.optional_tensor(SINKS)?.map(Tensor::to_floats);
        let scale = self.scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt());
        let shared = (heads / keys.sizes[1].max(1)).max(1);
        let in_softmax_type = |v: f64| self.softmax_type.map_or(v, |t| t.round(v));

        // Query heads that share keys stand together: one product for each head of the keys.
        let (stack, rows) = (batch * keys.sizes[1], shared * length);
        let queries = joined(None, &q).values;
        let stacked = |operand: &Operand| (operand.values.clone(), [stack, total, operand.sizes[3]]);
        let products = product_of((queries, [stack, rows, size]), stacked(&keys), true, cx)?;
        let mut weights = Vec::with_capacity(products.len());
        let mut recorded = Vec::with_capacity(products.len());
        for (index, products) in products.chunks(total.max(1)).enumerate() {
            let (b, h, i) = (index / length / heads, index / length % heads, index % length);
            let open = self.open_keys(i, length, (past, total), lengths.as_ref().map(|l| l[b]));
            let masked = |(j, score): (usize, &f64)| {
                if j >= open {
                    return f64::NEG_INFINITY;
                }
                score + mask.as_ref().map_or(0.0, |m| m.at(&[b, h, i, j]))
            };
            let cap = |s: f64| if self.softcap > 0.0 { self.softcap * (s / self.softcap).tanh() } else { s };
            let products: Vec<f64> = products.iter().map(|p| scale * p).collect();
            let capped: Vec<f64> = products.iter().map(|s| cap(*s)).collect();
            let masked: Vec<f64> = capped.iter().enumerate().map(masked).collect();
            let row = masked.iter().map(|s| in_softmax_type(*s)).collect::<Vec<_>>();
            let row = self.softmax(&row, sinks.as_ref().map(|sinks| in_softmax_type(sinks[h])));
            weights.extend_from_slice(&row);
            recorded.extend(match self.scores {
                ScoreStage::Product => products,
                ScoreStage::Capped => capped,
                ScoreStage::Masked => masked,
                ScoreStage::Weights => row,
            });
        }
        let sums = product_of((weights, [stack, rows, total]), stacked(&values), false, cx)?;
        let y = if q.heads_inside {
            let row = |at: usize| {
                let (b, i, h) = (at / heads / length, at / heads % length, at % heads);
                let from = ((b * heads + h) * length + i) * value_size;
                &sums[from..from + value_size]
            };
            (0..batch * length * heads).flat_map(row).copied().collect()
        } else {
            sums
        };
        let (q_type, k_type) = (inputs.tensor(0)?.data_type(), inputs.tensor(1)?.data_type());
        Ok(vec![
            Tensor::from_floats(q_type, &sizes[0], &y)?.into(),
            Tensor::from_floats(k_type, &sizes[1], &keys.values)?.into(),
            Tensor::from_floats(inputs.tensor(2)?.data_type(), &sizes[2], &values.values)?.into(),
            Tensor::from_floats(q_type, &sizes[3], &recorded)?.into(),
        ])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let plain = Cost::elementwise(inputs, &outputs[..1.min(outputs.len())], 1);
        let last = |ty: Option<&ValueType>| {
            let dims = ty.and_then(ValueType::as_tensor).and_then(|t| t.dims().ok());
            dims.and_then(<[Dim]>::last).cloned().unwrap_or_else(|| Dim::constant(0))
        };
        let sizes = last(outputs.get(1)).add(&last(outputs.get(2)));
        let scores = outputs.get(3).map_or_else(|| Dim::constant(0), count_of);
        Cost { operations: scores.mul(&sizes).mul(&Dim::constant(2)), ..plain }
    }

    fn examples() -> Vec<Example> {
        let plain = Attention::default();
        let three = Attention { query_heads: Some(4), key_heads: Some(2), ..Attention::default() };
        let causal = Attention { causal: true, ..Attention::default() };
        let capped = Attention { softcap: 2.0, scores: ScoreStage::Capped, scale: Some(0.3), ..Attention::default() };
        let stage = |scores| Attention { scores, ..Attention::default() };
        let zero = |op| Attention { fully_masked: FullyMasked::Zero, ..op };
        let mask = |bits: [i128; 15]| Tensor::from_ints(DataType::Bool, &[3, 5], &bits).expect("fifteen elements");
        let some_keys = mask([1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1]);
        let none_for_one = mask([1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        vec![
            Example::new("four dimensions", plain.clone())
                .float(&[2, 3, 4, 8])
                .float(&[2, 3, 6, 8])
                .float(&[2, 3, 6, 8]),
            Example::new("three dimensions, grouped heads", three)
                .float(&[2, 3, 20])
                .float(&[2, 7, 10])
                .float(&[2, 7, 6]),
            Example::new("causal, with past", causal.clone())
                .float(&[1, 4, 3, 5])
                .float(&[1, 2, 3, 5])
                .float(&[1, 2, 3, 7])
                .absent()
                .float(&[1, 2, 4, 5])
                .float(&[1, 2, 4, 7]),
            Example::new("causal", causal.clone()).float(&[1, 1, 17, 16]).float(&[1, 1, 17, 16]).float(&[1, 1, 17, 16]),
            Example::new("bool mask", stage(ScoreStage::Weights))
                .float(&[1, 2, 3, 4])
                .float(&[1, 2, 5, 4])
                .float(&[1, 2, 5, 4])
                .tensor(some_keys.clone()),
            Example::new("weights beside values of width 0", stage(ScoreStage::Weights))
                .float(&[1, 2, 3, 4])
                .float(&[1, 2, 5, 4])
                .float(&[1, 2, 5, 0])
                .tensor(some_keys.clone()),
            Example::new("no keys", plain.clone()).float(&[1, 2, 3, 4]).float(&[1, 2, 0, 4]).float(&[1, 2, 0, 4]),
            Example::new("a fully masked query", zero(plain.clone()))
                .float(&[1, 2, 3, 4])
                .float(&[1, 2, 5, 4])
                .float(&[1, 2, 5, 4])
                .tensor(none_for_one.clone()),
            Example::new("weights of a fully masked query", zero(stage(ScoreStage::Weights)))
                .float(&[1, 2, 3, 4])
                .float(&[1, 2, 5, 4])
                .float(&[1, 2, 5, 4])
                .tensor(none_for_one),
            Example::new("softcap and mask", Attention { softcap: 0.5, ..plain.clone() })
                .float(&[2, 2, 3, 4])
                .float(&[2, 2, 5, 4])
                .float(&[2, 2, 5, 4])
                .tensor(some_keys.clone()),
            Example::new("masked scores with softcap", Attention { softcap: 0.5, ..stage(ScoreStage::Masked) })
                .float(&[1, 1, 3, 4])
                .float(&[1, 1, 5, 4])
                .float(&[1, 1, 5, 4])
                .tensor(some_keys.clone()),
            Example::new("sinks", Attention { softcap: 3.0, ..plain.clone() })
                .float(&[2, 4, 3, 4])
                .float(&[2, 2, 5, 4])
                .float(&[2, 2, 5, 6])
                .tensor(some_keys)
                .absent()
                .absent()
                .absent()
                .uniform(DataType::F32, &[4], -1.0, 1.0),
            Example::new("causal, in a cache of fixed length", zero(causal))
                .float(&[3, 2, 2, 4])
                .float(&[3, 1, 6, 4])
                .float(&[3, 1, 6, 4])
                .absent()
                .absent()
                .absent()
                .ints(&[6, 3, 1]),
            Example::new("short float mask", stage(ScoreStage::Masked))
                .float(&[2, 2, 3, 4])
                .float(&[2, 2, 5, 4])
                .float(&[2, 2, 5, 4])
                .float(&[2, 1, 3, 4]),
            Example::new("softcap and scale", capped).float(&[1, 2, 3, 4]).float(&[1, 2, 3, 4]).float(&[1, 2, 3, 4]),
            Example::new("padded keys", plain.clone())
                .float(&[2, 1, 3, 4])
                .float(&[2, 1, 6, 4])
                .float(&[2, 1, 6, 4])
                .absent()
                .absent()
                .absent()
                .ints(&[4, 1]),
            Example::new("one query, one key", plain.clone())
                .float(&[1, 1, 1, 1])
                .float(&[1, 1, 1, 1])
                .float(&[1, 1, 1, 1]),
            Example::new("no queries", plain).float(&[1, 2, 0, 4]).float(&[1, 2, 3, 4]).float(&[1, 2, 3, 4]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::attribute::{Attr, Attribute};

    fn of(sizes: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(sizes, values.to_vec()).unwrap()
    }

    #[test]
    fn equal_scores_average_the_values() {
        let q = of(&[1, 1, 2, 1], &[0.0, 0.0]);
        let k = of(&[1, 1, 2, 1], &[5.0, 7.0]);
        let v = of(&[1, 1, 2, 1], &[2.0, 4.0]);
        let run = |op: Attention| reference_of(&op, &[&q, &k, &v]).unwrap()[0].to_floats();
        assert_eq!(run(Attention::default()), [3.0, 3.0]);
        assert_eq!(run(Attention { causal: true, ..Attention::default() }), [2.0, 3.0]);
    }

    /// One key head of size 1; what is left out is `None`.
    fn run(op: &Attention, inputs: [Option<Tensor>; 8]) -> Vec<Vec<f64>> {
        let inputs = inputs.map(|input| input.map(Value::from));
        let results = op.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator)).unwrap();
        results.iter().map(|value| value.as_tensor().unwrap().to_floats()).collect()
    }

    #[test]
    fn the_cap_comes_before_the_mask() {
        let q = of(&[1, 1, 1, 1], &[4.0]);
        let (k, v) = (of(&[1, 1, 2, 1], &[1.0, 1.0]), of(&[1, 1, 2, 1], &[3.0, 100.0]));
        let mask = of(&[1, 2], &[1.0, f32::NEG_INFINITY]);
        let stages = [ScoreStage::Product, ScoreStage::Capped, ScoreStage::Masked, ScoreStage::Weights];
        let [product, capped, masked, weights] = stages.map(|scores| {
            let op = Attention { softcap: 2.0, scores, ..Attention::default() };
            let inputs = [Some(&q), Some(&k), Some(&v), Some(&mask), None, None, None, None];
            let results = run(&op, inputs.map(|input| input.cloned()));
            assert_eq!(results[0], [3.0]);
            results[3].clone()
        });
        let cap = f64::from((2.0 * 2f64.tanh()) as f32);
        assert_eq!((product, capped), (vec![4.0, 4.0], vec![cap, cap]));
        assert!((masked[0] - cap - 1.0).abs() < 1e-6 && masked[1] == f64::NEG_INFINITY, "{masked:?}");
        assert_eq!(weights, [1.0, 0.0]);
    }

    #[test]
    fn queries_stand_at_the_end_of_the_keys_that_count() {
        // Batch entries with three and one of four keys: the second query of the first entry sees all three.
        let q = of(&[2, 1, 2, 1], &[0.0; 4]);
        let values: Vec<f32> = [2.0, 4.0, 9.0, 99.0].repeat(2);
        let kv = of(&[2, 1, 4, 1], &values);
        let counts = Tensor::of_i64(&[3, 1]);
        let results = |fully_masked, causal, past: Option<&Tensor>| {
            let op = Attention { causal, fully_masked, ..Attention::default() };
            let inputs = [Some(&q), Some(&kv), Some(&kv), None, past, past, Some(&counts), None];
            run(&op, inputs.map(|input| input.cloned())).swap_remove(0)
        };
        assert_eq!(results(FullyMasked::Zero, true, None), [3.0, 5.0, 0.0, 2.0]);
        assert_eq!(results(FullyMasked::Zero, false, None), [5.0, 5.0, 2.0, 2.0]);
        assert!(results(FullyMasked::Nan, true, None)[2].is_nan());
        // Behind a past, they stand behind it.
        let past = of(&[2, 1, 1, 1], &[6.0, 8.0]);
        assert_eq!(results(FullyMasked::Zero, true, Some(&past)), [4.0, 4.0, 8.0, 8.0]);
    }

    #[test]
    fn a_sink_takes_its_part_of_the_weight() {
        let op = Attention { scores: ScoreStage::Weights, ..Attention::default() };
        let (q, kv) = (of(&[1, 2, 1, 1], &[0.0, 0.0]), of(&[1, 1, 2, 1], &[3.0, 6.0]));
        let sinks = of(&[2], &[0.0, f32::NEG_INFINITY]);
        let results =
            run(&op, [Some(&q), Some(&kv), Some(&kv), None, None, None, None, Some(&sinks)].map(|i| i.cloned()));
        assert_eq!((&results[0], &results[3][2..]), (&vec![3.0, 4.5], &[0.5, 0.5][..]));
        let wrong = of(&[3], &[0.0; 3]);
        let of_sizes = |t: &Tensor| ValueType::tensor(t.data_type(), t.sizes().iter().map(|&s| Dim::from(s)).collect());
        let types = [&q, &kv, &kv, &wrong].map(of_sizes);
        let operands = [Some(&types[0]), Some(&types[1]), Some(&types[2]), None, None, None, None, Some(&types[3])];
        let error = op.infer(&Operands::new(&operands), &mut InferContext::default()).unwrap_err();
        assert!(error.to_string().contains("sinks"), "{error}");
    }

    #[test]
    fn attributes_of_older_plans_are_read() {
        let op = Attention { softcap: 2.0, fully_masked: FullyMasked::Zero, ..Attention::default() };
        let Attr::Record { variant, mut fields } = op.to_attr() else { panic!("a record") };
        let restored = Attention::from_attr(&Attr::Record { variant: variant.clone(), fields: fields.clone() });
        assert_eq!(restored.unwrap(), op);
        fields.retain(|(name, _)| name != "fully_masked");
        let older = Attr::Record { variant: variant.clone(), fields: fields.clone() };
        assert_eq!(Attention::from_attr(&older).unwrap(), Attention { softcap: 2.0, ..Attention::default() });
        fields.retain(|(name, _)| name != "softcap");
        assert!(Attention::from_attr(&Attr::Record { variant, fields }).is_err());
    }

    #[test]
    fn heads_share_keys() {
        let op = Attention { query_heads: Some(2), key_heads: Some(1), ..Attention::default() };
        let q = of(&[1, 1, 2], &[1.0, 2.0]);
        let k = of(&[1, 1, 1], &[3.0]);
        let v = of(&[1, 1, 1], &[9.0]);
        let results = reference_of(&op, &[&q, &k, &v]).unwrap();
        assert_eq!(results[0], of(&[1, 1, 2], &[9.0, 9.0]));
        assert_eq!(results[3], of(&[1, 2, 1, 1], &[3.0, 6.0]));
        let odd = of(&[1, 1, 3], &[1.0, 2.0, 3.0]);
        assert!(reference_of(&op, &[&odd, &k, &v]).is_err());
    }

    #[test]
    fn symbolic_cache_lengths_add_up() {
        let ty = |length: &str| {
            let dims = [Dim::constant(1), Dim::constant(2), Dim::symbol(length), Dim::constant(8)];
            ValueType::tensor(DataType::F32, dims.to_vec())
        };
        let (new, past) = (ty("S"), ty("P"));
        let operands = [Some(&new), Some(&new), Some(&new), None, Some(&past), Some(&past)];
        let types = Attention::default().infer(&Operands::new(&operands), &mut InferContext::default()).unwrap();
        assert_eq!(types[1].to_string(), "f32[1, 2, P + S, 8]");
        let flat = ValueType::tensor(DataType::F32, vec![1i64.into(), 2i64.into(), 8i64.into()]);
        assert!(infer_of(&Attention::default(), &[&flat, &flat, &flat]).is_err());
    }
}
