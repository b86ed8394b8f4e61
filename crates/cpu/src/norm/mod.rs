//! Normalization.
//!
//! [`normalize`] with its shapes from [`groups`], [`rows`] with a pointwise epilogue, [`product`] in front of matrix
//! products, and [`local_response`].

pub mod groups;
pub mod local_response;
pub mod normalize;
pub mod product;
pub mod rows;

use sinter_backend::Proposer;
use sinter_ops::OpKind;

use crate::fused::propose::{Heavy, NormalizedProducts};
use crate::launch::HostTactic;
use crate::matmul::PRODUCTS;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] =
    &[&rows::ROWS, &product::PRODUCT, &normalize::NORMALIZE, &local_response::LOCAL_RESPONSE];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] =
    &[&Heavy { kind: OpKind::Normalize, shares_operand: |_| false }, &NormalizedProducts(PRODUCTS)];
