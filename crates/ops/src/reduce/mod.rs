//! Operators that look along axes: reductions, positions of extremes, softmax, running sums.

pub mod arg_reduce;
pub mod cumulative;
pub mod reduction;
pub mod softmax;

pub use arg_reduce::ArgReduce;
pub use cumulative::Cumulative;
pub use reduction::{Reduce, ReduceKind};
pub use softmax::Softmax;
