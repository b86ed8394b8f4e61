//! Between stored and real values.
//!
//! [`spans`] lists the elements that share a scale; [`quantize`] and [`dequantize`] run along spans. Several of them
//! with pointwise programs between them are a [`chain`], which [`columns`] computes and [`elementwise`] offers;
//! [`around`] runs any other operator with chains around it, after [`split`] has matched the region.

pub mod around;
pub mod chain;
mod columns;
pub mod dequantize;
pub mod elementwise;
pub mod parameters;
pub mod propose;
#[allow(clippy::module_inception, reason = "the kernel of the family's name")]
pub mod quantize;
pub mod spans;
mod split;

use sinter_backend::Proposer;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &quantize::TO_INTEGERS,
    &quantize::GENERIC,
    &dequantize::TO_F32,
    &dequantize::GENERIC,
    &elementwise::CHAIN,
    &around::AROUND,
];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&propose::Around, &propose::Chains];
