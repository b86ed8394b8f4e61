//! Assembles a plan from chosen kernels: [`lower`] makes steps, [`aliasing`] makes slices, concatenations and reshapes
//! aliases of other values, [`buffers`] assigns buffers, [`compile`] makes machine code, and [`lowered`] computes weights and
//! renumbers them.

pub(crate) mod aliasing;
pub(crate) mod buffers;
pub(crate) mod candidates;
pub(crate) mod compile;
pub(crate) mod launch;
pub(crate) mod lower;
pub(crate) mod lowered;
pub(crate) mod lowering;
