//! Products of matrices, sums of products by an equation, and determinants.
//!
//! `stacked.rs` describes a product to the kernels of tensor cores, `cost.rs` ranks their recipes, `group_tile.rs` has the
//! tiles of those by warpgroups.

pub(crate) mod cost;
pub mod determinant;
pub mod einsum;
pub(crate) mod group_tile;
pub(crate) mod matrices;
pub mod mma;
pub(crate) mod stacked;
pub mod tiled;
pub mod wgmma;

use sinter_backend::Proposer;
use sinter_ops::OpKind;

use crate::fused::WithEpilogue;
use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] =
    &[&wgmma::Wgmma, &mma::Mma, &tiled::Tiled, &einsum::EINSUM, &determinant::DETERMINANT];

/// Proposers of fused regions.
pub const PROPOSERS: &[&dyn Proposer] = &[&WithEpilogue(OpKind::MatMul)];
