//! `cpu.attention.rows`: scaled dot-product attention, one query row at a time.
//!
//! Past and new keys and values are written behind each other first, since they are results anyway; after that every
//! head is contiguous. One task does one query head: its scores are products of contiguous rows, its results weighted
//! sums of rows.

use std::sync::Mutex;

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes, View};
use sinter_ops::attention::{Attention, ScoreStage};

use crate::attention::layout::{Layout, mask_over};
use crate::elements::{Numbers, load};
use crate::float::{Float, dot};
use crate::only_operator;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const ROWS: Row =
    Row { name: "cpu.attention.rows", numerics: Numerics::Reassociated, in_place: &[], speed: Speed::VECTOR, kernel };

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Attention).clone();
    Ok(Loaded::Views(Box::new(Rows { op })))
}

const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const LENGTHS: usize = 6;

struct Rows {
    op: Attention,
}

/// Past rows, then new rows, as [batch, heads, length, size]; with the past's length.
fn joined<T: Float>(past: Option<View<'_>>, new: View<'_>, at: Layout) -> Result<(Vec<T>, usize), KernelError> {
    let past_length = past.and_then(|p| p.sizes().get(2).copied()).unwrap_or(0);
    let (old, new) = (past.map(T::read).transpose()?.unwrap_or_default(), T::read(new)?);
    let old_run = past_length * at.size;
    let mut all = Vec::with_capacity(at.batch * at.heads * (past_length + at.length) * at.size);
    for b in 0..at.batch {
        for h in 0..at.heads {
            let head = b * at.heads + h;
            all.extend_from_slice(old.get(head * old_run..(head + 1) * old_run).unwrap_or_default());
            for l in 0..at.length {
                all.extend_from_slice(at.row(&new, b, h, l));
            }
        }
    }
    Ok((all, past_length))
}

/// What is added to the scores.
struct Mask<T> {
    values: Vec<T>,
    strides: Sizes,
    /// Keys from here on take no part.
    covered: usize,
}

impl<T: Float> Mask<T> {
    fn of(view: View<'_>, scores: [usize; 4]) -> Result<Self, KernelError> {
        let values = match load(view) {
            Numbers::Ints(bits) if view.data_type() == DataType::Bool => {
                bits.into_iter().map(|v| T::of(if v != 0 { 0.0 } else { f64::NEG_INFINITY })).collect()
            }
            Numbers::Ints(values) => values.into_iter().map(|v| T::of(v as f64)).collect(),
            Numbers::Floats(values) => values.into_iter().map(T::of).collect(),
        };
        let (strides, covered) = mask_over(view.sizes(), scores)?;
        Ok(Self { values, strides, covered })
    }

    fn add(&self, b: usize, h: usize, i: usize, scores: &mut [T]) {
        let start = b * self.strides[0] + h * self.strides[1] + i * self.strides[2];
        let (inside, outside) = scores.split_at_mut(self.covered);
        for (j, score) in inside.iter_mut().enumerate() {
            *score = *score + self.values[start + j * self.strides[3]];
        }
        outside.fill(T::of(f64::NEG_INFINITY));
    }
}

fn softmax<T: Float>(scores: &mut [T]) {
    let most = scores.iter().fold(f64::NEG_INFINITY, |most, s| most.max(s.wide()));
    let mut total = 0.0;
    for score in scores.iter_mut() {
        // Without any key that takes part this is NaN, as the operator wants it.
        let power = (score.wide() - most).exp();
        total += power;
        *score = T::of(power);
    }
    scores.iter_mut().for_each(|s| *s = T::of(s.wide() / total));
}

impl Rows {
    fn run<T: Float>(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (q_view, k_view, v_view) = (launch.input(0)?, launch.input(1)?, launch.input(2)?);
        let q_at = Layout::of(q_view.sizes(), self.op.query_heads)?;
        let k_at = Layout::of(k_view.sizes(), self.op.key_heads)?;
        let v_at = Layout::of(v_view.sizes(), self.op.key_heads)?;
        let (keys, past) = joined::<T>(launch.optional(PAST_KEY), k_view, k_at)?;
        let (values, _) = joined::<T>(launch.optional(PAST_VALUE), v_view, v_at)?;
        let q = T::read(q_view)?;
        let total = past + k_at.length;
        let Layout { batch, heads, length, size, .. } = q_at;
        let mask = launch.optional(MASK).map(|m| Mask::<T>::of(m, [batch, heads, length, total])).transpose()?;
        let counted = launch.optional(LENGTHS).map(|l| l.elements::<i64>());
        let scale = T::of(self.op.scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt()));
        let shared = (heads / k_at.heads.max(1)).max(1);
        let value_size = v_at.size;
        // Results and recorded scores of one query head.
        type Done<T> = (Vec<T>, Vec<T>);
        let done: Vec<Mutex<Done<T>>> = (0..batch * heads).map(|_| Mutex::default()).collect();
        launch.workers.run(batch * heads, &|task| {
            let (b, h) = (task / heads, task % heads);
            let head = b * k_at.heads + h / shared;
            let keys = &keys[head * total * size..(head + 1) * total * size];
            let values = &values[head * total * value_size..(head + 1) * total * value_size];
            let counted = counted.and_then(|c| c.get(b)).map_or(total, |c| usize::try_from(*c).unwrap_or(0));
            let mut y = vec![T::default(); length * value_size];
            let mut recorded = vec![T::default(); length * total];
            let mut scores = vec![T::default(); total];
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
                record(ScoreStage::Product, &scores, &mut recorded);
                if let Some(mask) = &mask {
                    mask.add(b, h, i, &mut scores);
                }
                let seen = if self.op.causal { counted.min(past + i + 1) } else { counted };
                scores.iter_mut().skip(seen).for_each(|s| *s = T::of(f64::NEG_INFINITY));
                record(ScoreStage::Masked, &scores, &mut recorded);
                if self.op.softcap > 0.0 {
                    let cap = self.op.softcap;
                    scores.iter_mut().for_each(|s| *s = T::of(cap * (s.wide() / cap).tanh()));
                }
                record(ScoreStage::Capped, &scores, &mut recorded);
                if let Some(narrow) = self.op.softmax_type {
                    scores.iter_mut().for_each(|s| *s = T::of(narrow.round(s.wide())));
                }
                softmax(&mut scores);
                record(ScoreStage::Weights, &scores, &mut recorded);
                let target = &mut y[i * value_size..(i + 1) * value_size];
                for (weight, value) in scores.iter().zip(values.chunks_exact(value_size.max(1))) {
                    target.iter_mut().zip(value).for_each(|(sum, v)| *sum = *sum + *weight * *v);
                }
            }
            if let Ok(mut slot) = done[task].lock() {
                *slot = (y, recorded);
            }
        });
        let y_at = Layout { size: value_size, ..q_at };
        let mut y = vec![T::default(); batch * heads * length * value_size];
        let mut recorded = Vec::with_capacity(batch * heads * length * total);
        for (task, slot) in done.into_iter().enumerate() {
            let (rows, scores) = slot.into_inner().map_err(|_| KernelError::Data("a task failed".to_owned()))?;
            for i in 0..length {
                let start = y_at.start(task / heads, task % heads, i);
                y[start..start + value_size].copy_from_slice(&rows[i * value_size..(i + 1) * value_size]);
            }
            recorded.extend_from_slice(&scores);
        }
        let results: [&[T]; 4] = [&y, &keys, &values, &recorded];
        for (index, result) in results.iter().enumerate().take(launch.outputs.len()) {
            T::write(result, launch.output(index));
        }
        Ok(())
    }
}

impl Kernel for Rows {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let is_f32 = |index: usize| launch.optional(index).is_none_or(|v| v.data_type() == DataType::F32);
        if is_f32(0) && is_f32(1) && is_f32(2) { self.run::<f32>(launch) } else { self.run::<f64>(launch) }
    }
}
