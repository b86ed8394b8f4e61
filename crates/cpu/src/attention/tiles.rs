//! `cpu.attention.tiles.f32`: scaled dot-product attention by two products per tile of queries.
//!
//! One task computes all queries of one head, a tile of them at a time. It packs the head's keys as the right operand
//! of the first product, and its values as that of the second; in between it applies softcap, mask and softmax to the
//! scores of a tile, which stay in the cache. The tactic requires that attention's other results (joined keys and
//! values, scores) are unread.

use std::sync::Mutex;

use sinter_backend::{End, KernelError, Numerics, Refusal, Region, StrideSupport};
use sinter_base::{DataType, Sizes, View};
use sinter_ops::OpKind;
use sinter_ops::attention::{Attention, FullyMasked};
use sinter_ops::recurrent::activation::Activation;
use smallvec::SmallVec;

use crate::attention::layout::{Layout, mask_over, stride_support};
use crate::launch::{Kernel, Launch, Loaded};
use crate::only_operator;
use crate::product::blocks::Blocks;
use crate::product::epilogue::Epilogue;
use crate::product::panel::{pack, packed_len};
use crate::product::rows::{Matrix, RowProduct};
use crate::recurrent::activation::activate_on_tier;
use crate::reduce::softmax::softmax_lines;
use crate::single_thread::SingleThread;
use crate::tactic::{Row, Speed};
use crate::tier::Tier;

/// See the module documentation.
pub const TILES: Row = Row {
    name: "cpu.attention.tiles.f32",
    roots: &[OpKind::Attention],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed { per_byte: 0.1, per_operation: 0.008 },
    kernel,
};

/// Position of the mask.
const MASK: usize = 3;
/// Queries of a tile, at most as many as a word has bits.
const TILE: usize = 64;
/// Most parts of the result that tasks write concurrently.
const LOCKS: usize = 64;

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Attention);
    if region.body().outputs().len() > 1 {
        return Err(Refusal::new("the keys, values or scores are read"));
    }
    if (0..3).any(|i| region.input(i).map(|t| t.data_type) != Some(DataType::F32)) {
        return Err(Refusal::new("an operand is not f32"));
    }
    let given = region.only().map_or(0, |node| node.inputs.iter().skip(MASK + 1).flatten().count());
    if given > 0 {
        return Err(Refusal::new("a cache, numbers of keys or sinks are given"));
    }
    if region.input(MASK).is_some_and(|t| !matches!(t.data_type, DataType::F32 | DataType::Bool)) {
        return Err(Refusal::new("a mask that is neither f32 nor bool"));
    }
    if op.softmax_type.is_some_and(|t| t != DataType::F32) {
        return Err(Refusal::new("a softmax in another type"));
    }
    Ok(Loaded::Kernel(Box::new(Tiles { op: op.clone(), tier: Tier::in_use() })))
}

struct Tiles {
    op: Attention,
    tier: Tier,
}

/// The mask that the kernel adds to scores.
struct Mask<'a> {
    view: View<'a>,
    strides: Sizes,
    covered: usize,
}

impl<'a> Mask<'a> {
    fn of(view: View<'a>, scores: [usize; 4]) -> Result<Self, KernelError> {
        let (strides, covered) = mask_over(view.sizes(), scores)?;
        Ok(Self { view, strides, covered })
    }

    fn add(&self, b: usize, h: usize, i: usize, scores: &mut [f32]) {
        let start = b * self.strides[0] + h * self.strides[1] + i * self.strides[2];
        let (inside, outside) = scores.split_at_mut(self.covered);
        outside.fill(f32::NEG_INFINITY);
        let step = self.strides[3];
        if self.view.data_type() == DataType::Bool {
            for (j, score) in inside.iter_mut().enumerate() {
                if self.view.bytes()[start + j * step] == 0 {
                    *score = f32::NEG_INFINITY;
                }
            }
        } else if step == 1 {
            let values = &self.view.elements::<f32>()[start..];
            inside.iter_mut().zip(values).for_each(|(score, value)| *score += value);
        } else {
            let values = self.view.elements::<f32>();
            inside.iter_mut().enumerate().for_each(|(j, score)| *score += values[start + j * step]);
        }
    }
}

/// A task's packed keys and values, and the scores and results of a tile.
struct Parts<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
    scores: &'a mut [f32],
    rows: &'a mut [f32],
}

impl Kernel for Tiles {
    fn stride_support(&self, end: End) -> StrideSupport {
        stride_support(end)
    }

    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (q, k, v) = (launch.input(0)?, launch.input(1)?, launch.input(2)?);
        let q_at = Layout::of(&q, self.op.query_heads)?;
        let k_at = Layout::of(&k, self.op.key_heads)?;
        let v_at = Layout::of(&v, self.op.key_heads)?;
        let Layout { batch, heads, length, .. } = q_at;
        let total = k_at.length;
        let mask = launch.optional(MASK).map(|m| Mask::of(m, [batch, heads, length, total])).transpose()?;
        let (q, k, v) = (q.span::<f32>(), k.span::<f32>(), v.span::<f32>());
        let y_at = Layout::contiguous(launch.output(0).sizes(), self.op.query_heads)?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let y = launch.output(0).elements::<f32>();
        if y.is_empty() || total == 0 {
            // Sums over no keys.
            y.fill(0.0);
            return Ok(());
        }
        let shared = (heads / k_at.heads.max(1)).max(1);
        let head = Head { op: self, q_at, k_at, v_at, shared, mask: mask.as_ref(), q, k, v };
        // Chunks of the result that one task writes: all rows of one head, or of one batch when heads lie inside rows.
        let unit = length * v_at.size * if y_at.inside { heads } else { 1 };
        // Few enough locks for the stack; a lock is held only while finished rows are copied.
        let per_unit = if y_at.inside { heads } else { 1 };
        let tasks = y.len() / unit * per_unit;
        let grouped = (y.len() / unit).div_ceil(LOCKS);
        let groups: SmallVec<[Mutex<&mut [f32]>; LOCKS]> = y.chunks_mut(grouped * unit).map(Mutex::new).collect();
        scratch.reserve::<f32>(workers.count(), head.scratch_len());
        workers.run(tasks, &|task| {
            let (b, h) = (task / heads, task % heads);
            let mut buffer = scratch.allocate(head.scratch_len());
            let mut parts = head.parts(&mut buffer);
            head.prepare(b, h, &mut parts);
            for first in (0..length).step_by(TILE) {
                let count = TILE.min(length - first);
                head.tile(b, h, first, count, &mut parts);
                let Ok(mut target) = groups[task / per_unit / grouped].lock() else { return };
                for (i, row) in parts.rows.chunks_exact(v_at.size).take(count).enumerate() {
                    let at = y_at.start(b, h, first + i) - task / per_unit / grouped * grouped * unit;
                    target[at..at + row.len()].copy_from_slice(row);
                }
            }
        });
        Ok(())
    }
}

/// Everything that does not change from head to head.
struct Head<'a> {
    op: &'a Tiles,
    q_at: Layout,
    k_at: Layout,
    v_at: Layout,
    shared: usize,
    mask: Option<&'a Mask<'a>>,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

impl Head<'_> {
    /// Lengths of the parts of a task's buffer.
    fn lengths(&self) -> [usize; 4] {
        let (total, tile) = (self.k_at.length, TILE.min(self.q_at.length));
        let (keys, values) = (packed_len(self.q_at.size, total), packed_len(total, self.v_at.size));
        [keys, values, tile * total, tile * self.v_at.size]
    }

    fn scratch_len(&self) -> usize {
        self.lengths().iter().sum()
    }

    fn parts<'a>(&self, buffer: &'a mut [f32]) -> Parts<'a> {
        let [keys, values, scores, _] = self.lengths();
        let (keys, rest) = buffer.split_at_mut(keys);
        let (values, rest) = rest.split_at_mut(values);
        let (scores, rows) = rest.split_at_mut(scores);
        Parts { keys, values, scores, rows }
    }

    /// Packs the keys and values of a head.
    fn prepare(&self, b: usize, h: usize, parts: &mut Parts<'_>) {
        let (size, total, group) = (self.q_at.size, self.k_at.length, h / self.shared);
        let start = self.k_at.start(b, group, 0);
        pack(size, total, |k| (self.k.get(start + k..).unwrap_or_default(), self.k_at.step()), parts.keys);
        pack(total, self.v_at.size, |k| (self.v_at.row(self.v, b, group, k), 1), parts.values);
    }

    /// The results of some queries, into `parts.rows`.
    fn tile(&self, b: usize, h: usize, first: usize, count: usize, parts: &mut Parts<'_>) {
        let tier = self.op.tier;
        let (size, total, value_size) = (self.q_at.size, self.k_at.length, self.v_at.size);
        let Parts { keys, values, scores, rows } = parts;
        let scores = &mut scores[..count * total];
        let start = self.q_at.start(b, h, first);
        let (data, step) = (self.q.get(start..).unwrap_or_default(), self.q_at.step());
        let queries = Matrix { data, first: 0, rows: count, inner: size, step };
        let product = RowProduct {
            a: &queries,
            b: keys,
            columns: total,
            step: total,
            epilogue: &Epilogue::NONE,
            blocks: Blocks::default(),
        };
        product.compute(tier, &SingleThread, scores);
        let op = &self.op.op;
        let scale = op.scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt());
        if op.softcap > 0.0 {
            let (inside, cap) = ((scale / op.softcap) as f32, op.softcap as f32);
            scores.iter_mut().for_each(|score| *score *= inside);
            activate_on_tier(tier, Activation::Tanh, None, scores);
            scores.iter_mut().for_each(|score| *score *= cap);
        } else {
            scores.iter_mut().for_each(|score| *score *= scale as f32);
        }
        // One bit for each query.
        let mut fully_masked: u64 = 0;
        for (i, line) in scores.chunks_exact_mut(total).enumerate() {
            if let Some(mask) = self.mask {
                mask.add(b, h, first + i, line);
            }
            if op.causal {
                line.iter_mut().skip(first + i + 1).for_each(|score| *score = f32::NEG_INFINITY);
            }
            fully_masked |= u64::from(line.iter().all(|score| *score == f32::NEG_INFINITY)) << i;
        }
        softmax_lines(tier, scores, total);
        let rows = &mut rows[..count * value_size];
        let weights = Matrix { data: scores, first: 0, rows: count, inner: total, step: total };
        let product = RowProduct {
            a: &weights,
            b: values,
            columns: value_size,
            step: value_size,
            epilogue: &Epilogue::NONE,
            blocks: Blocks::default(),
        };
        product.compute(tier, &SingleThread, rows);
        match op.fully_masked {
            FullyMasked::Nan => {}
            FullyMasked::Zero => {
                let rows = rows.chunks_exact_mut(value_size.max(1)).enumerate();
                let is_fully_masked = |i: usize| fully_masked >> i & 1 != 0;
                rows.filter(|(i, _)| is_fully_masked(*i)).for_each(|(_, row)| row.fill(0.0));
            }
        }
    }
}
