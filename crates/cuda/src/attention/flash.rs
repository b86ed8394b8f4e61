//! Attention of 16-bit floats as kernels of tensor cores take it: from regions, at the optima, and at a launch.
//!
//! Scores never reach memory: a kernel goes through tiles of keys once (FlashAttention, Dao et al. 2022). Keys and values that
//! stand behind past ones are results too; they are joined first, and read from there.

use std::fmt::Write;

use sinter_backend::{Candidate, End, KernelError, Numerics, Problem, Refusal, Region, StrideSupport};
use sinter_base::view::element_bytes;
use sinter_base::{Attr, DataType, Dim, TensorType};
use sinter_ops::attention::{Attention, FullyMasked};
use smallvec::SmallVec;

use crate::attention::operands::{Heads, LENGTHS, MASK, Operands, PAST_KEY, SINKS};
use crate::kernel::{Kernel, Launch};
use crate::only_operator;
use crate::tactic::{CudaTactic, LAUNCH, describe, refuse_unknown_sizes};
use crate::text_kernel::typedefs;

/// Elements of a row of keys or of values at most.
const MOST_SIZE: usize = 256;
/// Positions and rows that kernels count in 32 bits.
const MOST_ROWS: usize = 1 << 30;
/// Bytes of a chunk that is copied at once.
const CHUNK: usize = 16;

/// How the mask differs between scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaskForm {
    /// There is none.
    None,
    /// One row for all queries of heads that share keys.
    Row,
    /// Any.
    Tile,
}

/// Attention that tensor cores compute.
#[derive(Clone, Debug)]
pub(crate) struct Flash {
    op: Attention,
    /// Type of queries, keys and values.
    pub(crate) data_type: DataType,
    /// Type of the mask.
    pub(crate) mask_type: DataType,
    pub(crate) mask: MaskForm,
    sinks: DataType,
    /// Elements of a row of keys, and of values.
    pub(crate) sizes: [usize; 2],
    /// Are keys and values with the past ones results?
    pub(crate) joins: bool,
}

/// Sizes of attention at the optima.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Extent {
    /// Batch entries.
    pub(crate) batch: f64,
    /// Heads of queries.
    pub(crate) heads: f64,
    /// Heads of keys.
    pub(crate) key_heads: f64,
    /// Queries of a head.
    pub(crate) length: f64,
    /// Keys of a head.
    pub(crate) total: f64,
    /// Elements of rows of keys and of values.
    pub(crate) sizes: [usize; 2],
    /// The share of scores that queries see.
    pub(crate) seen: f64,
    /// Bytes of the mask that every score needs from memory.
    pub(crate) mask_bytes: f64,
}

/// The last sizes [heads, length, size] of an operand of either layout.
fn split(ty: &TensorType, heads: Option<usize>) -> Option<[Dim; 3]> {
    match (ty.dims().ok()?, heads) {
        ([_, heads, length, size], _) => Some([heads.clone(), length.clone(), size.clone()]),
        ([_, length, hidden], Some(heads)) if heads > 0 => {
            let heads = Dim::from(heads);
            Some([heads.clone(), length.clone(), hidden.floor_div(&heads)])
        }
        _ => None,
    }
}

impl Flash {
    /// Matches a region.
    ///
    /// # Errors
    /// When it has another operator, other types, or results that the kernels do not have.
    pub(crate) fn of(region: &Region) -> Result<Self, Refusal> {
        let op = only_operator!(region, Attention).clone();
        refuse_unknown_sizes(region)?;
        let missing = || Refusal::new("takes tensors q, k and v");
        let [q, k, v] = [0, 1, 2].map(|index| region.input(index));
        let (q, k, v) = (q.ok_or_else(missing)?, k.ok_or_else(missing)?, v.ok_or_else(missing)?);
        let data_type = q.data_type;
        if !matches!(data_type, DataType::F16 | DataType::Bf16) || v.data_type != data_type {
            return Err(Refusal::new(format!("takes f16 and bf16, not {data_type} and {}", v.data_type)));
        }
        let results = region.body().outputs().len();
        let has_past = region.input(PAST_KEY).is_some();
        if !matches!((results, has_past), (1, false) | (3, _)) {
            let what =
                if results > 1 { "scores, or keys without values, as results" } else { "a past without results" };
            return Err(Refusal::new(format!("takes no {what}")));
        }
        if op.softmax_type.is_some_and(|ty| !matches!(ty, DataType::F32 | DataType::F64)) {
            return Err(Refusal::new("a softmax in a type of 16 bits"));
        }
        let whole = |dim: &Dim| dim.as_constant().and_then(|size| usize::try_from(size).ok());
        let size = |ty: &TensorType, heads| split(ty, heads).and_then(|[_, _, size]| whole(&size));
        let sizes = [size(k, op.key_heads), size(v, op.key_heads)];
        let is_taken = |size: &Option<usize>| size.is_some_and(|size| (1..=MOST_SIZE).contains(&size));
        let ([Some(key), Some(value)], true) = (sizes, sizes.iter().all(is_taken)) else {
            return Err(Refusal::new(format!("takes rows of known sizes up to {MOST_SIZE}")));
        };
        if op.scale.is_some_and(|scale| scale <= 0.0 || !scale.is_finite()) {
            return Err(Refusal::new("takes positive factors of scores"));
        }
        let mask = region.input(MASK);
        let mask_type = mask.map_or(data_type, |ty| ty.data_type);
        if !matches!(mask_type, DataType::Bool | DataType::F16 | DataType::Bf16 | DataType::F32) {
            return Err(Refusal::new(format!("takes no mask of {mask_type}")));
        }
        let sinks = region.input(SINKS).map_or(data_type, |ty| ty.data_type);
        if !matches!(sinks, DataType::F16 | DataType::Bf16 | DataType::F32) {
            return Err(Refusal::new(format!("takes no sinks of {sinks}")));
        }
        let heads = |ty: &TensorType, heads| split(ty, heads).and_then(|[heads, ..]| whole(&heads));
        let is_one_to_one =
            heads(q, op.query_heads).is_some_and(|heads_of_q| heads(k, op.key_heads) == Some(heads_of_q));
        let mask = mask.map_or(MaskForm::None, |ty| form(ty, is_one_to_one));
        Ok(Self { op, data_type, mask_type, mask, sinks, sizes: [key, value], joins: results > 1 })
    }

    /// The sizes at the optima.
    pub(crate) fn extent(&self, problem: &Problem<'_>) -> Option<Extent> {
        let region = problem.region;
        let number = |dim: &Dim| problem.sizing.evaluate(dim).map(|size| size.max(0) as f64);
        let (q, k) = (region.input(0)?, region.input(1)?);
        let [heads, length, _] = split(q, self.op.query_heads)?;
        let [key_heads, new, _] = split(k, self.op.key_heads)?;
        let past = match region.input(PAST_KEY) {
            Some(past) => number(past.dims().ok()?.get(2)?)?,
            None => 0.0,
        };
        let (length, total) = (number(&length)?, past + number(&new)?);
        // The triangle behind the past.
        let hidden = if self.op.causal { (length.min(total) / 2.0 / total.max(1.0)).min(0.5) } else { 0.0 };
        Some(Extent {
            batch: number(q.dims().ok()?.first()?)?,
            heads: number(&heads)?,
            key_heads: number(&key_heads)?.max(1.0),
            length,
            total,
            sizes: self.sizes,
            seen: 1.0 - hidden,
            mask_bytes: if self.mask == MaskForm::Tile { element_bytes(self.mask_type) as f64 } else { 0.0 },
        })
    }

    /// Do queries see different numbers of keys?
    pub(crate) fn is_causal(&self) -> bool {
        self.op.causal
    }

    /// Sizes of rows as kernels compute them: multiples of the depth of a product.
    pub(crate) fn rounded(&self) -> [usize; 2] {
        self.sizes.map(|size| size.next_multiple_of(16))
    }

    /// The part of a configuration.
    pub(crate) fn configuration(&self) -> String {
        let [size, value_size] = self.rounded();
        let Self { op, data_type, mask_type, mask, sinks, .. } = self;
        let mask = match mask {
            MaskForm::None => "plain".to_owned(),
            MaskForm::Row => format!("row {mask_type}"),
            MaskForm::Tile => format!("mask {mask_type}"),
        };
        let causal = if op.causal { " causal" } else { "" };
        let capped = if op.softcap > 0.0 { " capped" } else { "" };
        format!("{data_type} {size}x{value_size} {mask} sinks {sinks}{causal}{capped}")
    }

    /// The part of the generated header.
    pub(crate) fn generated(&self) -> String {
        let Self { op, data_type, mask_type, mask, sinks, .. } = self;
        let types = [("T", Some(*data_type)), ("M", Some(*mask_type)), ("S", Some(*sinks))];
        // The types are those that `of` admits.
        let mut text = typedefs(&types).unwrap_or_default();
        let [size, value_size] = self.rounded();
        let mask = match mask {
            MaskForm::None => "UNMASKED",
            MaskForm::Row => "ROW_MASK",
            MaskForm::Tile => "TILE_MASK",
        };
        let _ = writeln!(text, "constexpr int HEAD = {size}, VALUE = {value_size}, MASK = {mask};");
        let _ = writeln!(text, "constexpr bool CAUSAL = {}, CAPPED = {};", op.causal, op.softcap > 0.0);
        text
    }

    /// Which strided views a kernel takes: rows beside those of other operands, of a joint projection say.
    pub(crate) fn stride_support(&self, end: End) -> StrideSupport {
        match end {
            End::Operand(0..=2) | End::Result(0) => StrideSupport::LastAxis,
            _ => StrideSupport::Contiguous,
        }
    }

    /// The operands of a launch, with the joined keys and values where these are results.
    ///
    /// # Errors
    /// When the arguments do not fit.
    pub(crate) fn operands(&self, launch: &Launch<'_>) -> Result<Attended, KernelError> {
        let own = |index: usize| launch.inputs.get(index).copied().flatten().map(|tensor| tensor.data_type);
        let types = [(0, self.data_type), (1, self.data_type), (2, self.data_type), (MASK, self.mask_type)];
        let is_typed = types.iter().all(|(index, ty)| own(*index).is_none_or(|own| own == *ty))
            && own(SINKS).is_none_or(|own| own == self.sinks)
            && own(LENGTHS).is_none_or(|own| own == DataType::I64)
            && own(MASK).is_some() == (self.mask != MaskForm::None)
            && launch.outputs.iter().all(|output| output.data_type == self.data_type);
        let operands = Operands::of(launch, &self.op)?;
        let is_sized = [operands.size, operands.value_size] == self.sizes && (launch.outputs.len() > 1) == self.joins;
        let group = operands.heads / operands.key_heads.max(1);
        let is_small = operands.total < MOST_ROWS && operands.length.saturating_mul(group.max(1)) < MOST_ROWS;
        if !is_typed || !is_sized || !is_small || operands.past.is_some() && !self.joins {
            return Err(KernelError::Recipe(format!("{} does not take these operands", self.configuration())));
        }
        let Operands { mut k, mut v, .. } = operands;
        let mut joined = SmallVec::new();
        if let [_, keys, values, ..] = launch.outputs[..] {
            for (index, (own, result)) in [(&mut k, keys), (&mut v, values)].into_iter().enumerate() {
                let missing = || KernelError::Recipe("joined keys and values have four dimensions".to_owned());
                let all = Heads::of(&result, None).ok_or_else(missing)?;
                let past = operands.past.map(|past| past[index]);
                joined.push(Join { past, new: *own, all });
                *own = all;
            }
        }
        let wide = [&operands.q, &k, &v].into_iter().all(is_aligned);
        Ok(Attended { k, v, joined, wide, y_wide: is_aligned(&operands.y), operands })
    }

    /// The structure `Attention` of the text.
    pub(crate) fn words(&self, launch: &Launch<'_>, attended: &Attended, parts: Parts) -> SmallVec<[u64; 48]> {
        let Attended { k, v, wide, y_wide, operands, .. } = attended;
        let Operands { q, y, batch, heads, key_heads, length, total, size, value_size, mask, .. } = operands;
        let mut words: SmallVec<[u64; 48]> = SmallVec::new();
        words.extend([batch, heads, key_heads, length, total].map(|size| *size as u64));
        words.push(operands.past_word());
        words.extend([size, value_size].map(|size| *size as u64));
        words.extend([q, k, v, y].iter().flat_map(|side| side.words()));
        words.extend(mask.words());
        words.extend([launch.address(LENGTHS), launch.address(SINKS)]);
        let (scale, bound) = (operands.scale(&self.op), self.op.softcap);
        let log2_e = std::f64::consts::LOG2_E;
        let is_capped = bound > 0.0;
        let factor = if is_capped { scale / bound } else { scale };
        let exponent = if is_capped || self.mask != MaskForm::None { log2_e } else { scale * log2_e };
        let is_zero = self.op.fully_masked == FullyMasked::Zero || *total == 0;
        let nothing = if is_zero { 0.0 } else { f32::NAN };
        let pairs = self.takes_pairs(operands);
        words.push(pair(bits(factor), bits(bound)));
        words.push(pair(bits(exponent), nothing.to_bits()));
        words.push(pair(u32::from(*wide), u32::from(*y_wide)));
        words.push(pair(u32::from(pairs), u32::try_from(parts.count).unwrap_or(u32::MAX)));
        words.extend([parts.sums, parts.totals]);
        words
    }

    /// May two elements of the mask be loaded at once?
    fn takes_pairs(&self, operands: &Operands) -> bool {
        let mask = operands.mask;
        let bytes = 2 * element_bytes(self.mask_type) as u64;
        let [outer @ .., last] = mask.strides;
        mask.address.is_multiple_of(bytes)
            && last == 1
            && mask.covered.is_multiple_of(2)
            && outer.iter().all(|stride| stride.is_multiple_of(2))
    }
}

/// How a mask of this type differs between scores; with one head of keys for each of queries, heads need not agree.
fn form(ty: &TensorType, is_one_to_one: bool) -> MaskForm {
    let dims = ty.dims().unwrap_or_default();
    let is_one = |from_end: usize| {
        dims.len().checked_sub(from_end).and_then(|axis| dims.get(axis)).is_none_or(|dim| dim.as_constant() == Some(1))
    };
    if is_one(2) && (is_one_to_one || is_one(3)) { MaskForm::Row } else { MaskForm::Tile }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// A number in single precision.
fn bits(number: f64) -> u32 {
    (number as f32).to_bits()
}

/// May rows of this operand be copied in chunks?
fn is_aligned(side: &Heads) -> bool {
    let fits = |elements: &usize| (elements * 2).is_multiple_of(CHUNK);
    side.address.is_multiple_of(CHUNK as u64) && side.strides.iter().all(fits) && fits(&side.sizes[3])
}

/// The parts of split keys, and scratch memory for their sums.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) count: usize,
    pub(crate) sums: u64,
    pub(crate) totals: u64,
}

impl Parts {
    /// All keys in one.
    pub(crate) const WHOLE: Self = Self { count: 1, sums: 0, totals: 0 };
}

/// Past and new rows, and the memory for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join {
    pub(crate) past: Option<Heads>,
    pub(crate) new: Heads,
    pub(crate) all: Heads,
}

impl Join {
    /// The structure `Join` of the text, and the elements or chunks that it copies.
    pub(crate) fn words(&self) -> (SmallVec<[u64; 24]>, usize) {
        let [batch, heads, total, size] = self.all.sizes;
        let sides = [self.past.unwrap_or(self.new), self.new, self.all];
        let width = if sides.iter().all(is_aligned) { CHUNK / 2 } else { 1 };
        let past = self.past.map_or(0, |past| past.sizes[2]);
        let count = batch * heads * total * (size / width);
        let mut words: SmallVec<[u64; 24]> = SmallVec::new();
        words.extend([count, heads, total, past, size / width, width].map(|size| size as u64));
        words.extend(sides.iter().flat_map(Heads::words));
        (words, count)
    }
}

/// The operands of a launch.
#[derive(Clone, Debug)]
pub(crate) struct Attended {
    /// The keys and values that kernels read.
    pub(crate) k: Heads,
    pub(crate) v: Heads,
    pub(crate) joined: SmallVec<[Join; 2]>,
    /// May rows of q, k and v be copied in chunks, and those of y be stored so?
    pub(crate) wide: bool,
    pub(crate) y_wide: bool,
    pub(crate) operands: Operands,
}

/// The candidate of a recipe with these parameters, whose launches are expected to take this many nanoseconds.
pub(crate) fn candidate(
    tactic: &dyn CudaTactic,
    region: &Region,
    kernel: &dyn Kernel,
    (parameters, time): (Attr, f64),
) -> Candidate {
    let mut candidate = Candidate::plain(tactic, Numerics::Narrowed, time + LAUNCH);
    describe(&mut candidate, region, kernel);
    candidate.recipe.parameters = parameters;
    candidate
}

#[cfg(test)]
mod tests {
    use sinter_base::ValueType;
    use sinter_ops::{InferContext, Operands as Types, infer};

    use super::*;

    fn ty(data_type: DataType, sizes: &[i64]) -> Option<ValueType> {
        Some(ValueType::tensor(data_type, sizes.iter().map(|size| Dim::from(*size)).collect()))
    }

    /// Attention of two heads of 5 queries and 7 keys.
    fn matched(op: &Attention, data_type: DataType, size: i64, mask: Option<ValueType>) -> Result<Flash, Refusal> {
        let (q, kv) = (ty(data_type, &[1, 2, 5, size]), ty(data_type, &[1, 2, 7, size]));
        let types = [q, kv.clone(), kv, mask];
        let borrowed: Vec<Option<&ValueType>> = types.iter().map(Option::as_ref).collect();
        let op = op.clone().into();
        let results = infer(&op, &Types::new(&borrowed), &mut InferContext::default()).expect("attention");
        Flash::of(&Region::single(op, &types, results[..1].to_vec()))
    }

    #[test]
    fn what_kernels_do_not_have_is_refused() {
        let plain = Attention::default();
        assert!(matched(&plain, DataType::F16, 64, None).is_ok());
        let narrow = Attention { softmax_type: Some(DataType::F16), ..plain.clone() };
        let negative = Attention { scale: Some(-1.0), ..plain.clone() };
        let refused = [
            (matched(&plain, DataType::F32, 64, None), "f32"),
            (matched(&plain, DataType::F16, 264, None), "256"),
            (matched(&narrow, DataType::F16, 64, None), "16 bits"),
            (matched(&negative, DataType::F16, 64, None), "positive"),
            (matched(&plain, DataType::F16, 64, ty(DataType::I64, &[5, 7])), "mask"),
        ];
        for (found, reason) in refused {
            let text = found.expect_err(reason).to_string();
            assert!(text.contains(reason), "{text}");
        }
    }

    #[test]
    fn a_mask_that_all_queries_share_is_a_row() {
        let mask = |sizes: &[i64]| {
            let found = matched(&Attention::default(), DataType::F16, 64, ty(DataType::Bool, sizes));
            found.expect("attention").mask
        };
        assert_eq!([mask(&[1, 1, 1, 7]), mask(&[2, 1, 7]), mask(&[7])], [MaskForm::Row; 3]);
        assert_eq!([mask(&[5, 7]), mask(&[1, 1, 5, 1])], [MaskForm::Tile; 2]);
    }
}
