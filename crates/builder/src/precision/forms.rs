//! The narrow form of each operator: which operands it takes in f16 or bf16, or why it stays in f32.
//!
//! An operator has a narrow form where its results stay in the range of its operands, or sums are all it computes and its
//! kernels add them up in f32. Everything that sums up large numbers as its result, decides by the last bit, or computes with
//! positions stays in f32.

use sinter_ops::index::ScatterReduction;
use sinter_ops::pool::PoolMode;
use sinter_ops::reduce::ReduceKind;
use sinter_ops::{Op, norm};

/// Positions of operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operands {
    All,
    These(&'static [usize]),
}

impl Operands {
    pub(super) fn contain(self, index: usize) -> bool {
        match self {
            Self::All => true,
            Self::These(positions) => positions.contains(&index),
        }
    }
}

/// What an operator does with narrow values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// It takes these operands in the narrow type, computes in f32 at least, and rounds its results once.
    Computes(Operands),
    /// It moves elements of these operands, in any type.
    Moves(Operands),
    /// Its results are as large as its first operand's elements, and have its type.
    Follows,
    /// A pointwise program: it reads any type, computes in f32, and rounds each result.
    Program,
    /// It stays as the model says, for this reason.
    Stays(&'static str),
}

const POSITIONS: &str = "it computes with positions, for which narrow types are too coarse";
const SUMS: &str = "its sums may be larger than the range of a narrow type";
const DECIDES: &str = "the last bits of its operands decide about its result";
const STATE: &str = "the rounding of its state would add up from step to step";
const LISTS: &str = "lists keep the types of the model";
const QUANTIZED: &str = "the model itself says the types of its quantization";
const BODIES: &str = "bodies of control flow keep the types of the model";
const BITS: &str = "it reads bits, not numbers";
const TEXT: &str = "it works on text or files";

/// The form of an operator.
pub(super) fn form(op: &Op) -> Form {
    use Form::{Computes, Follows, Moves, Program, Stays};
    use Operands::{All, These};
    match op {
        Op::Pointwise(_) => Program,
        Op::MatMul(_) | Op::Einsum(_) | Op::Convolution(_) | Op::Deconvolution(_) | Op::RotaryEmbedding(_) => {
            Computes(All)
        }
        // Keys, values and their caches; a mask may have any type.
        Op::Attention(_) => Computes(These(&[0, 1, 2, 4, 5])),
        Op::Normalize(op) => match op.measure {
            norm::Measure::Norm { .. } | norm::Measure::Deviation | norm::Measure::RootMeanSquare => {
                Computes(These(&[0]))
            }
        },
        Op::Pool(op) => match op.mode {
            PoolMode::Max | PoolMode::Average { .. } => Computes(These(&[0])),
            PoolMode::Norm { .. } => Stays(SUMS),
        },
        Op::LocalResponseNormalization(_)
        | Op::Softmax(_)
        | Op::MaxPoolWithIndices(_)
        | Op::Resize(_)
        | Op::GridSample(_) => Computes(These(&[0])),
        Op::Reduce(op) => match op.kind {
            ReduceKind::Mean | ReduceKind::Max | ReduceKind::Min => Follows,
            ReduceKind::Sum
            | ReduceKind::Product
            | ReduceKind::L1
            | ReduceKind::L2
            | ReduceKind::LogSum
            | ReduceKind::LogSumExp
            | ReduceKind::SumSquare => Stays(SUMS),
        },
        Op::Concat(_) => Moves(All),
        Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Tile(_)
        | Op::Expand(_)
        | Op::Squeeze(_)
        | Op::Unsqueeze(_)
        | Op::Shape(_)
        | Op::ReverseSequence(_)
        | Op::Gather(_)
        | Op::GatherElements(_)
        | Op::GatherNd(_)
        | Op::MaxUnpool(_) => Moves(These(&[0])),
        Op::Pad(_) => Moves(These(&[0, 2])),
        Op::TensorScatter(_) => Moves(These(&[0, 1])),
        Op::ScatterElements(op) => scatter(op.reduction),
        Op::ScatterNd(op) => scatter(op.reduction),
        Op::DeformableConvolution(_)
        | Op::AffineGrid(_)
        | Op::RoiAlign(_)
        | Op::RegionMaxPool(_)
        | Op::Range(_)
        | Op::NonMaxSuppression(_) => Stays(POSITIONS),
        Op::Col2Im(_) | Op::Cumulative(_) | Op::Dft(_) | Op::Determinant(_) => Stays(SUMS),
        Op::TopK(_) | Op::ArgReduce(_) | Op::NonZero(_) | Op::Unique(_) | Op::TreeEnsemble(_) => Stays(DECIDES),
        Op::Rnn(_) | Op::Gru(_) | Op::Lstm(_) => Stays(STATE),
        Op::RandomFill(_) => Stays("it draws random numbers"),
        Op::Quantize(_) | Op::Dequantize(_) => Stays(QUANTIZED),
        Op::If(_) | Op::Loop(_) | Op::Scan(_) => Stays(BODIES),
        Op::SequenceConstruct(_)
        | Op::SequenceInsert(_)
        | Op::SequenceErase(_)
        | Op::SequenceAt(_)
        | Op::SequenceLength(_)
        | Op::ConcatFromSequence(_)
        | Op::SplitToSequence(_)
        | Op::OptionalConstruct(_)
        | Op::OptionalHasElement(_)
        | Op::OptionalGetElement(_) => Stays(LISTS),
        Op::BitCast(_) | Op::Unpack(_) => Stays(BITS),
        Op::StringConcat(_)
        | Op::StringEqual(_)
        | Op::StringCast(_)
        | Op::StringSplit(_)
        | Op::StringNormalizer(_)
        | Op::RegexFullMatch(_)
        | Op::LabelEncoder(_)
        | Op::TfIdfVectorizer(_)
        | Op::ImageDecoder(_) => Stays(TEXT),
    }
}

fn scatter(reduction: ScatterReduction) -> Form {
    match reduction {
        ScatterReduction::None | ScatterReduction::Max | ScatterReduction::Min => Form::Moves(Operands::These(&[0, 2])),
        ScatterReduction::Add | ScatterReduction::Multiply => Form::Stays(SUMS),
    }
}

/// Does the operator take this operand in any float type, beside those of its form?
pub(super) fn takes_any_float(op: &Op, index: usize) -> bool {
    // The mask and the sinks.
    matches!(op, Op::Attention(_)) && matches!(index, 3 | 7)
}

/// Has this result of the operator's narrow form the narrow type, where it is f32 else?
pub(super) fn narrows_result(op: &Op, index: usize) -> bool {
    // An attribute says the type of statistics.
    !matches!(op, Op::Normalize(_)) || index == 0
}
