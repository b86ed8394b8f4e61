//! `cuda.attention.rows`: scaled dot-product attention for every mask, cache, type and size, a block for each query.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_base::shape::broadcast_strides;
use sinter_ops::OpKind;
use sinter_ops::attention::{Attention, FullyMasked, ScoreStage};
use smallvec::SmallVec;

use crate::kernel::{Contraction, Geometry, Kernel, Launch, Tensor, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const ROWS: Row = Row {
    name: "cuda.attention.rows",
    roots: &[OpKind::Attention],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.3, arithmetic: 0.03, launches: 3.0 },
    kernel,
};

const MASK: usize = 3;
const PAST_KEY: usize = 4;
const PAST_VALUE: usize = 5;
const LENGTHS: usize = 6;
const SINKS: usize = 7;

const ATTEND: usize = 0;
const JOIN_KEYS: usize = 1;
const JOIN_VALUES: usize = 2;

/// Threads of a block; `THREADS` in `rows.cu`.
const THREADS: u32 = 256;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Attention).clone();
    refuse_unknown_sizes(region)?;
    let operand = |index: usize| region.input(index).map(|ty| ty.data_type);
    let q = operand(0);
    let types = [
        ("Q", q),
        ("V", operand(2)),
        ("M", operand(MASK).or(q)),
        ("S", operand(SINKS).or(q)),
        ("P", op.softmax_type.or(Some(DataType::F64))),
    ];
    let is_double = [q, operand(2)].contains(&Some(DataType::F64));
    let stage = match op.scores {
        ScoreStage::Product => "PRODUCT",
        ScoreStage::Capped => "CAPPED",
        ScoreStage::Masked => "MASKED",
        ScoreStage::Weights => "WEIGHTS",
    };
    let sum = if is_double { "double" } else { "float" };
    let text = Text {
        name: ROWS.name,
        interface: 1,
        generated: format!("{}typedef {sum} A;\n#define STAGE {stage}\n", typedefs(&types)?),
        text: include_str!("rows.cu"),
        contraction: Contraction::On,
        entries: &["attend", "join_keys", "join_values"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

/// An operand: batch, heads, length and size of a head, and the distances of the first three.
struct Heads {
    sizes: [usize; 4],
    strides: [usize; 3],
}

impl Heads {
    fn of(sizes: &[usize], heads: Option<usize>) -> Option<Self> {
        match (sizes, heads) {
            (&[b, h, l, d], _) => Some(Self { sizes: [b, h, l, d], strides: [h * l * d, l * d, d] }),
            (&[b, l, hidden], Some(h)) if h > 0 && hidden % h == 0 => {
                Some(Self { sizes: [b, h, l, hidden / h], strides: [l * hidden, hidden / h, hidden] })
            }
            _ => None,
        }
    }

    fn words(&self, address: u64) -> [u64; 4] {
        let [batch, head, step] = self.strides.map(|stride| stride as u64);
        [address, batch, head, step]
    }
}

/// Distances of the mask's elements along the axes of the scores, and the keys that it covers.
fn mask_over(mask: Option<Tensor<'_>>, scores: [usize; 4]) -> Option<([u64; 4], usize)> {
    let Some(mask) = mask else { return Some(([0; 4], 0)) };
    let length = mask.sizes.last().copied().unwrap_or(1);
    let covered = if length == 1 { scores[3] } else { length };
    let reached = [scores[0], scores[1], scores[2], covered];
    let lead = reached.len().checked_sub(mask.sizes.len())?;
    let fits = mask.sizes.iter().zip(&reached[lead..]).all(|(own, size)| own == size || *own == 1);
    if !fits || covered > scores[3] {
        return None;
    }
    let mut strides = [0; 4];
    let own = broadcast_strides(mask.sizes, &reached);
    strides.iter_mut().zip(&own).for_each(|(word, stride)| *word = *stride as u64);
    Some((strides, covered))
}

fn run(launch: &mut Launch<'_>, op: &Attention) -> Result<(), KernelError> {
    let (q, k, v, y) = (launch.input(0)?, launch.input(1)?, launch.input(2)?, launch.output(0)?);
    let optional = |index: usize| launch.inputs.get(index).copied().flatten();
    let (past_key, past_value) = (optional(PAST_KEY), optional(PAST_VALUE));
    let mismatch = || recipe(format!("attention of {:?}, {:?} and {:?}", q.sizes, k.sizes, v.sizes));
    let heads_of = |tensor: &Tensor<'_>, heads| Heads::of(tensor.sizes, heads).ok_or_else(mismatch);
    let (q_at, k_at) = (heads_of(&q, op.query_heads)?, heads_of(&k, op.key_heads)?);
    let (v_at, y_at) = (heads_of(&v, op.key_heads)?, heads_of(&y, op.query_heads)?);
    let ([batch, heads, length, size], [k_batch, key_heads, new, k_size]) = (q_at.sizes, k_at.sizes);
    let value_size = v_at.sizes[3];
    let past_of = |tensor: Option<Tensor<'_>>, at: &Heads| match tensor {
        None => Some((None, [0; 4])),
        Some(tensor) => {
            let past = Heads::of(tensor.sizes, None)?;
            let [b, h, l, d] = past.sizes;
            ([b, h, d] == [at.sizes[0], at.sizes[1], at.sizes[3]]).then(|| (Some(l), past.words(tensor.address)))
        }
    };
    let (past, past_keys) = past_of(past_key, &k_at).ok_or_else(mismatch)?;
    let (past_v, past_values) = past_of(past_value, &v_at).ok_or_else(mismatch)?;
    let total = past.unwrap_or(0) + new;
    let (mask_strides, covered) = mask_over(optional(MASK), [batch, heads, length, total]).ok_or_else(mismatch)?;
    let results =
        [[k_batch, key_heads, total, size], [k_batch, key_heads, total, value_size], [batch, heads, length, total]];
    let fits = [batch, size] == [k_batch, k_size]
        && v_at.sizes[..3] == [k_batch, key_heads, new]
        && y_at.sizes == [batch, heads, length, value_size]
        && past == past_v
        && (heads == 0 || key_heads > 0 && heads % key_heads == 0)
        && optional(LENGTHS).is_none_or(|lengths| lengths.sizes == [batch])
        && optional(SINKS).is_none_or(|sinks| sinks.sizes == [heads])
        && launch.outputs[1..].iter().zip(&results).all(|(output, sizes)| output.sizes == sizes);
    if !fits {
        return Err(mismatch());
    }
    let scale = op.scale.unwrap_or_else(|| 1.0 / (size as f64).sqrt());
    let mut parameters: SmallVec<[u64; 64]> = SmallVec::new();
    parameters.extend([batch, heads, key_heads.max(1), length, total].map(|size| size as u64));
    parameters.push(past.map_or(u64::MAX, |past| past as u64));
    parameters.extend([size, value_size].map(|size| size as u64));
    parameters.extend(q_at.words(q.address).into_iter().chain(past_keys).chain(k_at.words(k.address)));
    parameters.extend(past_values.into_iter().chain(v_at.words(v.address)));
    parameters.push(launch.address(MASK));
    parameters.extend(mask_strides);
    parameters.extend([covered as u64, launch.address(LENGTHS), launch.address(SINKS)]);
    parameters.extend([scale.to_bits(), op.softcap.to_bits(), u64::from(op.causal)]);
    parameters.push(u64::from(op.fully_masked == FullyMasked::Zero));
    parameters.extend(y_at.strides.map(|stride| stride as u64));
    parameters.push(y.address);
    let result = |index: usize| launch.outputs.get(index).map_or(0, |output| output.address);
    let (keys, values) = (result(1), result(2));
    parameters.extend([keys, values, result(3)]);
    if keys != 0 {
        launch.each(JOIN_KEYS, batch * key_heads * total * size, &parameters)?;
    }
    if values != 0 {
        launch.each(JOIN_VALUES, batch * key_heads * total * value_size, &parameters)?;
    }
    let queries = batch * heads * length;
    if queries == 0 {
        return Ok(());
    }
    let blocks = u32::try_from(queries).unwrap_or(u32::MAX).min(1 << 20);
    let geometry = Geometry { grid: [blocks, 1, 1], threads: THREADS, shared: 0 };
    launch.sink.run(ATTEND, geometry, &parameters)
}
