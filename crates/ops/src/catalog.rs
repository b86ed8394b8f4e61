//! THE list of operators.
//!
//! Numbers are part of the plan format: they are never reused and never change. An operator's line determines its text
//! form, its plan codec, the tests and benchmarks of its examples on every kernel, and its row of `docs/operators.md`.

use std::sync::Arc;

use sinter_base::{Attr, Attribute, AttributeError, Value, ValueType};

use crate::body::Body;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Effects, Operator};

/// Properties of an operator that do not depend on an instance.
#[derive(Clone, Copy)]
pub struct OperatorInfo {
    /// Number in plan files.
    pub tag: u32,
    /// Name in text forms.
    pub name: &'static str,
    /// The attributes in words.
    pub schema: fn() -> String,
    /// Builds the operator from its attribute tree, with bodies empty.
    pub from_attr: fn(&Attr) -> Result<Op, AttributeError>,
}

macro_rules! catalog {
    // The first token is a dollar sign, which the inner macro needs and cannot write itself.
    ($dollar:tt $($tag:literal => $name:ident: $path:path;)*) => {
        /// Any operator.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each operator is documented at its type")]
        pub enum Op { $($name($path)),* }

        $(impl From<$path> for Op {
            fn from(op: $path) -> Self {
                Op::$name(op)
            }
        })*

        /// Every operator in catalog order.
        pub const ALL: &[OperatorInfo] = &[$(OperatorInfo {
            tag: $tag,
            name: <$path as Operator>::NAME,
            schema: <$path as Attribute>::schema,
            from_attr: |attr| <$path as Attribute>::from_attr(attr).map(Op::$name),
        }),*];

        /// The operators without their attributes. A repeated number is a compile error here.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "each operator is documented at its type")]
        #[repr(u32)]
        pub enum OpKind { $($name = $tag),* }

        macro_rules! dispatch {
            ($dollar op:expr, $dollar name:ident => $dollar call:expr) => {
                match $dollar op { $(Op::$name($dollar name) => $dollar call),* }
            };
        }

        impl OperatorInfo {
            /// See [`Operator::examples`]. A function beside the table, not a column of it: programs that run plans
            /// link the table, but neither examples nor their helpers.
            pub fn examples(&self) -> Vec<Example> {
                match self.tag {
                    $($tag => <$path as Operator>::examples(),)*
                    _ => Vec::new(),
                }
            }
        }

        impl Op {
            /// Number in plan files.
            pub fn tag(&self) -> u32 {
                match self { $(Op::$name(_) => $tag),* }
            }

            /// The operator without its attributes.
            pub fn kind(&self) -> OpKind {
                match self { $(Op::$name(_) => OpKind::$name),* }
            }

            /// Name in text forms.
            pub fn name(&self) -> &'static str {
                match self { $(Op::$name(_) => <$path as Operator>::NAME),* }
            }

            /// See [`Operator::with_bodies`].
            #[must_use]
            pub fn with_bodies(&self, bodies: Vec<Arc<Body>>) -> Self {
                match self { $(Op::$name(op) => Op::$name(op.with_bodies(bodies))),* }
            }
        }
    };
}

catalog! { $
    1 => Pointwise: crate::pointwise::Pointwise;

    // -- contractions
    10 => Convolution: crate::conv::Convolution;
    20 => MatMul: crate::matmul::MatMul;

    // -- movement
    40 => Reshape: crate::movement::Reshape;

    // -- spatial, normalization, quantization
    200 => Deconvolution: crate::conv::Deconvolution;
    201 => DeformableConvolution: crate::conv::DeformableConvolution;
    202 => Col2Im: crate::conv::Col2Im;
    210 => Pool: crate::pool::Pool;
    211 => MaxPoolWithIndices: crate::pool::MaxPoolWithIndices;
    212 => MaxUnpool: crate::pool::MaxUnpool;
    220 => Normalize: crate::norm::Normalize;
    221 => LocalResponseNormalization: crate::norm::LocalResponseNormalization;
    230 => Resize: crate::image::Resize;
    231 => GridSample: crate::image::GridSample;
    232 => AffineGrid: crate::image::AffineGrid;
    233 => RoiAlign: crate::image::RoiAlign;
    234 => RegionMaxPool: crate::image::RegionMaxPool;
    240 => Quantize: crate::quantize::Quantize;
    241 => Dequantize: crate::quantize::Dequantize;

    // -- control flow, sequences
    400 => If: crate::control::If;
    401 => Loop: crate::control::Loop;
    402 => Scan: crate::control::Scan;
    410 => SequenceConstruct: crate::sequence::SequenceConstruct;
    411 => SequenceInsert: crate::sequence::SequenceInsert;
    412 => SequenceErase: crate::sequence::SequenceErase;
    413 => SequenceAt: crate::sequence::SequenceAt;
    414 => SequenceLength: crate::sequence::SequenceLength;
    415 => ConcatFromSequence: crate::sequence::ConcatFromSequence;
    416 => SplitToSequence: crate::sequence::SplitToSequence;
    420 => OptionalConstruct: crate::sequence::OptionalConstruct;
    421 => OptionalHasElement: crate::sequence::OptionalHasElement;
    422 => OptionalGetElement: crate::sequence::OptionalGetElement;

    // -- recurrent
    430 => Rnn: crate::recurrent::Rnn;
    431 => Gru: crate::recurrent::Gru;
    432 => Lstm: crate::recurrent::Lstm;

    // -- attention, detection
    440 => Attention: crate::attention::Attention;
    441 => RotaryEmbedding: crate::attention::RotaryEmbedding;
    450 => NonMaxSuppression: crate::detection::NonMaxSuppression;

    // -- host
    460 => StringConcat: crate::host::StringConcat;
    461 => StringEqual: crate::host::StringEqual;
    462 => StringCast: crate::host::StringCast;
    463 => StringSplit: crate::host::StringSplit;
    464 => StringNormalizer: crate::host::StringNormalizer;
    465 => RegexFullMatch: crate::host::RegexFullMatch;
    466 => LabelEncoder: crate::host::LabelEncoder;
    467 => TfIdfVectorizer: crate::host::TfIdfVectorizer;
    468 => ImageDecoder: crate::host::ImageDecoder;

    // -- classical
    480 => TreeEnsemble: crate::classical::TreeEnsemble;

    // -- movement, indexing, reductions, linear algebra, random, signal
    41 => Transpose: crate::movement::Transpose;
    42 => Slice: crate::movement::Slice;
    43 => Concat: crate::movement::Concat;
    44 => Pad: crate::movement::Pad;
    45 => Tile: crate::movement::Tile;
    46 => Expand: crate::movement::Expand;
    47 => Squeeze: crate::movement::Squeeze;
    48 => Unsqueeze: crate::movement::Unsqueeze;
    49 => Shape: crate::movement::Shape;
    50 => ReverseSequence: crate::movement::ReverseSequence;
    51 => BitCast: crate::movement::BitCast;
    52 => Gather: crate::index::Gather;
    53 => GatherElements: crate::index::GatherElements;
    54 => GatherNd: crate::index::GatherNd;
    55 => ScatterElements: crate::index::ScatterElements;
    56 => ScatterNd: crate::index::ScatterNd;
    57 => TensorScatter: crate::index::TensorScatter;
    58 => NonZero: crate::index::NonZero;
    59 => Unique: crate::index::Unique;
    60 => Reduce: crate::reduce::Reduce;
    61 => ArgReduce: crate::reduce::ArgReduce;
    62 => Softmax: crate::reduce::Softmax;
    63 => Cumulative: crate::reduce::Cumulative;
    64 => TopK: crate::index::TopK;
    65 => Range: crate::index::Range;
    66 => Einsum: crate::matmul::Einsum;
    67 => Determinant: crate::matmul::Determinant;
    68 => RandomFill: crate::random::RandomFill;
    69 => Dft: crate::signal::Dft;
    70 => Unpack: crate::movement::Unpack;
}

impl Op {
    /// See [`Operator::infer`].
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        dispatch!(self, op => op.infer(inputs, cx))
    }

    /// See [`Operator::unranked`].
    ///
    /// # Errors
    /// When the operator does not take these inputs whatever their rank.
    pub fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        dispatch!(self, op => op.unranked(inputs))
    }

    /// See [`Operator::reference`].
    ///
    /// # Errors
    /// When the operator does not take these values.
    pub fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        dispatch!(self, op => op.reference(inputs, cx))
    }

    /// See [`Operator::cost`].
    pub fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        dispatch!(self, op => op.cost(inputs, outputs))
    }

    /// See [`Operator::effects`].
    pub fn effects(&self) -> Effects {
        dispatch!(self, op => op.effects())
    }

    /// See [`Operator::size_inputs`].
    pub fn size_inputs(&self) -> &'static [usize] {
        dispatch!(self, op => op.size_inputs())
    }

    /// Does it own bodies? As a region of its own it may have lost them.
    pub fn is_control(&self) -> bool {
        matches!(self, Op::If(_) | Op::Loop(_) | Op::Scan(_))
    }

    /// See [`Operator::bodies`].
    pub fn bodies(&self) -> Vec<&Arc<Body>> {
        dispatch!(self, op => op.bodies())
    }

    /// The attribute tree, bodies left out.
    pub fn to_attr(&self) -> Attr {
        dispatch!(self, op => op.to_attr())
    }
}

/// The catalog entry of this name.
pub fn by_name(name: &str) -> Option<&'static OperatorInfo> {
    ALL.iter().find(|info| info.name == name)
}
