//! `cuda.attention.rows`: scaled dot-product attention for every mask, cache, type and size, a block for each query.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::attention::{Attention, FullyMasked, ScoreStage};
use smallvec::SmallVec;

use crate::attention::operands::{LENGTHS, MASK, Operands, SINKS};
use crate::kernel::{Contraction, Geometry, Kernel, Launch};
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

fn run(launch: &mut Launch<'_>, op: &Attention) -> Result<(), KernelError> {
    let operands = Operands::of(launch, op)?;
    let Operands { batch, heads, key_heads, length, total, size, value_size, .. } = operands;
    let past = |index: usize| operands.past.map_or([0; 4], |past| past[index].words());
    let mut parameters: SmallVec<[u64; 64]> = SmallVec::new();
    parameters.extend([batch, heads, key_heads.max(1), length, total].map(|size| size as u64));
    parameters.push(operands.past_word());
    parameters.extend([size, value_size].map(|size| size as u64));
    parameters.extend(operands.q.words().into_iter().chain(past(0)).chain(operands.k.words()));
    parameters.extend(past(1).into_iter().chain(operands.v.words()));
    parameters.extend(operands.mask.words());
    parameters.extend([launch.address(LENGTHS), launch.address(SINKS)]);
    parameters.extend([operands.scale(op).to_bits(), op.softcap.to_bits(), u64::from(op.causal)]);
    parameters.push(u64::from(op.fully_masked == FullyMasked::Zero));
    parameters.extend(operands.y.strides.map(|stride| stride as u64));
    parameters.push(operands.y.address);
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
