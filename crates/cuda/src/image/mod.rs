//! Images: elements between others, and regions.

pub mod affine_grid;
pub mod grid_sample;
pub mod region_max_pool;
pub mod resize;
pub mod roi_align;

use crate::tactic::CudaTactic;

/// Best first.
pub const TACTICS: &[&dyn CudaTactic] = &[
    &resize::RESIZE,
    &grid_sample::GRID_SAMPLE,
    &affine_grid::AFFINE_GRID,
    &roi_align::ROI_ALIGN,
    &region_max_pool::REGION_MAX_POOL,
];
