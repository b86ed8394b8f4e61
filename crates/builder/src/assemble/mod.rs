//! Assembling a plan from chosen kernels: [`lower`] makes steps, [`aliasing`] puts slices and concatenations into other
//! values, [`buffers`] assigns memory, [`compile`] makes machine code, [`lowered`] computes weights and numbers everything.

pub(crate) mod aliasing;
pub(crate) mod buffers;
pub(crate) mod candidates;
pub(crate) mod compile;
pub(crate) mod lower;
pub(crate) mod lowered;
