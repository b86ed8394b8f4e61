//! Layer 1: the definitions of operators.
//!
//! [`catalog`] is THE list. Each operator is one file: attributes, `infer` (types in, types out), `reference` (tensors
//! in, tensors out; plain, slow, obviously right), `cost`, `effects`, `examples`. [`body`] holds typed lists of
//! operators without names or weights; control flow owns such bodies.
//!
//! This crate does not depend on networks, weights, source formats, devices or kernels.

pub mod axes;
pub mod body;
pub mod catalog;
pub mod error;
pub mod evaluate;
pub mod example;
pub mod infer;
pub mod known;
pub mod memory;
pub mod operands;
pub mod operator;

pub mod attention;
pub mod classical;
pub mod control;
pub mod conv;
pub mod detection;
pub mod host;
pub mod image;
pub mod index;
pub mod matmul;
pub mod movement;
pub mod norm;
pub mod pointwise;
pub mod pool;
pub mod quantize;
pub mod random;
pub mod recurrent;
pub mod reduce;
pub mod sequence;
pub mod signal;
pub mod window;

pub use body::{Body, Node, ValueId};
pub use catalog::{Op, OpKind, OperatorInfo};
pub use error::{EvalError, InferError};
pub use evaluate::{EvalContext, Evaluator, ReferenceEvaluator};
pub use example::{Example, ExampleInput};
pub use infer::{Guard, InferContext, infer, infer_types};
pub use memory::{Memory, Steps};
pub use operands::{Arguments, Operands};
pub use operator::{Cost, Effects, Operator};
