//! `cpu.attention.rows`: scaled dot-product attention, one query row at a time.
//!
//! The kernel first concatenates past and new keys and values, which are results as well; after that every head is
//! contiguous. It copies operands whose rows are strided. One task computes one query head: its scores are products of contiguous rows, its results weighted sums
//! of rows.

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes, View};
use sinter_ops::OpKind;
use sinter_ops::attention::{Attention, FullyMasked, ScoreStage};

use crate::attention::layout::{Layout, mask_over, stride_support};
use crate::elements::{Numbers, load};
use crate::float::{Float, dot};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer};
use crate::only_operator;
use crate::share::{Cost, share_both};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const ROWS: Row = Row {
    name: "cpu.attention.rows",
    roots: &[OpKind::Attention],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Attention).clone();
    Ok(Loaded::Kernel(Box::new(Rows { op })))
}

const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const LENGTHS: usize = 6;
const SINKS: usize = 7;

struct Rows {
    op: Attention,
}

/// Past rows, then new rows, as [batch, heads, length, size]; with the past's length.
fn joined<'r, T: Float>(
    past: Option<View<'_>>,
    new: View<'_>,
    at: Layout,
    scratch: &'r Scratch,
) -> Result<(ScratchBuffer<'r, T>, usize), KernelError> {
    let past_length = past.and_then(|p| p.sizes().get(2).copied()).unwrap_or(0);
    let (old, new) = (past.map(|past| T::read(past, scratch)).transpose()?, T::read(new, scratch)?);
    let old = old.as_deref().unwrap_or_default();
    let old_run = past_length * at.size;
    let run = old_run + at.length * at.size;
    let mut all = scratch.allocate(at.batch * at.heads * run);
    for (head, joined) in all.chunks_exact_mut(run.max(1)).enumerate() {
        let (first, rest) = joined.split_at_mut(old_run);
        first.copy_from_slice(&old[head * old_run..(head + 1) * old_run]);
        for (l, row) in rest.chunks_exact_mut(at.size.max(1)).enumerate() {
            row.copy_from_slice(at.row(&new, head / at.heads, head % at.heads, l));
        }
    }
    Ok((all, past_length))
}

/// The rows of a strided operand, one after the other.
fn copied<'r>(view: View<'_>, scratch: &'r Scratch) -> Option<ScratchBuffer<'r, u8>> {
    view.rows()?;
    let mut copy = scratch.allocate(view.count() * element_bytes(view.data_type()));
    view.copy_to(&mut copy);
    Some(copy)
}

/// An operand, or its copy.
fn in_order<'v>(view: View<'v>, copy: Option<&'v ScratchBuffer<'_, u8>>) -> Result<View<'v>, KernelError> {
    let Some(copy) = copy else { return Ok(view) };
    View::new(view.data_type(), view.sizes(), copy).map_err(|e| KernelError::Data(e.to_string()))
}

fn floats<'r>(view: View<'_>, scratch: &'r Scratch) -> Result<ScratchBuffer<'r, f64>, KernelError> {
    match load(view, scratch) {
        Numbers::Floats(values) => Ok(values),
        Numbers::Ints(_) => Err(KernelError::Data(format!("{} where floats are expected", view.data_type()))),
    }
}

/// The mask that the kernel adds to the scores.
struct Mask<'r, T: Float> {
    values: ScratchBuffer<'r, T>,
    strides: Sizes,
    /// Keys from here on take no part.
    covered: usize,
}

impl<'r, T: Float> Mask<'r, T> {
    fn of(view: View<'_>, scores: [usize; 4], scratch: &'r Scratch) -> Result<Self, KernelError> {
        let values = match load(view, scratch) {
            Numbers::Ints(bits) if view.data_type() == DataType::Bool => {
                scratch.list(bits.iter().map(|&v| T::of(if v != 0 { 0.0 } else { f64::NEG_INFINITY })))
            }
            Numbers::Ints(values) => scratch.list(values.iter().map(|&v| T::of(v as f64))),
            Numbers::Floats(values) => scratch.list(values.iter().map(|&v| T::of(v))),
        };
        let (strides, covered) = mask_over(view.sizes(), scores)?;
        Ok(Self { values, strides, covered })
    }

    fn add(&self, b: usize, h: usize, i: usize, scores: &mut [T]) {
        let start = b * self.strides[0] + h * self.strides[1] + i * self.strides[2];
        let (inside, outside) = scores.split_at_mut(self.covered);
        for (j, score) in inside.iter_mut().enumerate() {
            *score += self.values[start + j * self.strides[3]];
        }
        outside.fill(T::of(f64::NEG_INFINITY));
    }
}

/// The weights of one query, in place of its scores; its sum takes in `e^sink`.
fn softmax<T: Float>(scores: &mut [T], sink: Option<f64>, fully_masked: FullyMasked) {
    if fully_masked == FullyMasked::Zero && scores.iter().all(|s| s.wide() == f64::NEG_INFINITY) {
        scores.fill(T::default());
        return;
    }
    let own = sink.unwrap_or(f64::NEG_INFINITY);
    let most = scores.iter().fold(own, |most, s| most.max(s.wide()));
    let mut total = sink.map_or(0.0, |sink| (sink - most).exp());
    for score in scores.iter_mut() {
        // Without any unmasked key or sink this is NaN, as the operator defines.
        let power = (score.wide() - most).exp();
        total += power;
        *score = T::of(power);
    }
    scores.iter_mut().for_each(|s| *s = T::of(s.wide() / total));
}

impl Rows {
    fn run<T: Float>(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (q_view, k_view, v_view) = (launch.input(0)?, launch.input(1)?, launch.input(2)?);
        let scratch = launch.scratch;
        let copies = [q_view, k_view, v_view].map(|view| copied(view, scratch));
        let [q_view, k_view, v_view] = [
            in_order(q_view, copies[0].as_ref())?,
            in_order(k_view, copies[1].as_ref())?,
            in_order(v_view, copies[2].as_ref())?,
        ];
        let q_at = Layout::of(&q_view, self.op.query_heads)?;
        let k_at = Layout::of(&k_view, self.op.key_heads)?;
        let v_at = Layout::of(&v_view, self.op.key_heads)?;
        let has_past = launch.optional(PAST_KEY).is_some();
        let (keys, past) = joined::<T>(launch.optional(PAST_KEY), k_view, k_at, scratch)?;
        let (values, _) = joined::<T>(launch.optional(PAST_VALUE), v_view, v_at, scratch)?;
        let q = T::read(q_view, scratch)?;
        let total = past + k_at.length;
        let Layout { batch, heads, length, size, .. } = q_at;
        let mask = launch.optional(MASK).map(|m| Mask::<T>::of(m, [batch, heads, length, total], scratch));
        let mask = mask.transpose()?;
        let counted = launch.optional(LENGTHS).map(|l| l.elements::<i64>());
        let sinks = launch.optional(SINKS).map(|sinks| floats(sinks, scratch)).transpose()?;
        let narrowed = |v: f64| self.op.softmax_type.map_or(v, |narrow| narrow.round(v));
        let scale = T::of(self.op.scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt()));
        let shared = (heads / k_at.heads.max(1)).max(1);
        let value_size = v_at.size;
        // Results of one query head after the other, and its scores: to record, then of one query.
        let (run, score_run) = (length * value_size, (length + 1) * total);
        let mut heads_y = scratch.filled(batch * heads * run, T::default());
        let mut heads_scores = scratch.allocate::<T>(batch * heads * score_run);
        let one_head = |task: usize, y: &mut [T], scores: &mut [T]| {
            let (b, h) = (task / heads, task % heads);
            let head = b * k_at.heads + h / shared;
            let keys = &keys[head * total * size..(head + 1) * total * size];
            let values = &values[head * total * value_size..(head + 1) * total * value_size];
            let counted = counted.and_then(|c| c.get(b)).map(|c| usize::try_from(*c).unwrap_or(0).min(total));
            let sink = sinks.as_ref().and_then(|sinks| sinks.get(h)).map(|sink| narrowed(*sink));
            let (recorded, scores) = scores.split_at_mut(length * total);
            for i in 0..length {
                let row = q_at.row(&q, b, h, i);
                for (j, score) in scores.iter_mut().enumerate() {
                    *score = scale * dot(row, &keys[j * size..(j + 1) * size]);
                }
                let record = |stage: ScoreStage, scores: &[T], recorded: &mut [T]| {
                    if self.op.scores == stage {
                        recorded[i * total..(i + 1) * total].copy_from_slice(scores);
                    }
                };
                record(ScoreStage::Product, scores, recorded);
                if self.op.softcap > 0.0 {
                    let cap = self.op.softcap;
                    scores.iter_mut().for_each(|s| *s = T::of(cap * (s.wide() / cap).tanh()));
                }
                record(ScoreStage::Capped, scores, recorded);
                if let Some(mask) = &mask {
                    mask.add(b, h, i, scores);
                }
                // Without a past, the queries belong to the last of the counted keys.
                let behind = match counted {
                    _ if !self.op.causal => total,
                    Some(counted) if !has_past => (counted + i + 1).saturating_sub(length),
                    _ => past + i + 1,
                };
                let seen = counted.unwrap_or(total).min(behind);
                scores.iter_mut().skip(seen).for_each(|s| *s = T::of(f64::NEG_INFINITY));
                record(ScoreStage::Masked, scores, recorded);
                if self.op.softmax_type.is_some() {
                    scores.iter_mut().for_each(|s| *s = T::of(narrowed(s.wide())));
                }
                softmax(scores, sink, self.op.fully_masked);
                record(ScoreStage::Weights, scores, recorded);
                let target = &mut y[i * value_size..(i + 1) * value_size];
                for (weight, value) in scores.iter().zip(values.chunks_exact(value_size.max(1))) {
                    target.iter_mut().zip(value).for_each(|(sum, v)| *sum += *weight * *v);
                }
            }
        };
        let work = total * (size + value_size);
        share_both(
            launch.workers,
            (&mut heads_y, &mut heads_scores),
            (run, score_run),
            Cost::PerElement(work),
            one_head,
        );
        let y_at = Layout::contiguous(launch.output(0).sizes(), self.op.query_heads)?;
        let mut y = scratch.allocate::<T>(batch * heads * run);
        let mut recorded =
            scratch.allocate::<T>(if launch.outputs.len() > 3 { batch * heads * length * total } else { 0 });
        for task in 0..batch * heads {
            for i in 0..length {
                let start = y_at.start(task / heads, task % heads, i);
                y[start..start + value_size].copy_from_slice(&heads_y[task * run + i * value_size..][..value_size]);
            }
            if let Some(recorded) = recorded.get_mut(task * length * total..(task + 1) * length * total) {
                recorded.copy_from_slice(&heads_scores[task * score_run..][..length * total]);
            }
        }
        let results: [&[T]; 4] = [&y, &keys, &values, &recorded];
        for (index, result) in results.iter().enumerate().take(launch.outputs.len()) {
            T::write(result, launch.output(index));
        }
        Ok(())
    }
}

impl Kernel for Rows {
    fn stride_support(&self, end: End) -> StrideSupport {
        stride_support(end)
    }

    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let is_f32 = |index: usize| launch.optional(index).is_none_or(|v| v.data_type() == DataType::F32);
        if is_f32(0) && is_f32(1) && is_f32(2) { self.run::<f32>(launch) } else { self.run::<f64>(launch) }
    }
}
