//! Images: resized, read at positions of a grid, pooled by regions.

pub mod affine_grid;
pub mod grid_sample;
pub mod region_max_pool;
pub mod resize;
pub mod resize_nearest;
pub mod resize_plan;
pub mod roi_align;

use crate::launch::HostTactic;

/// Best first.
pub const TACTICS: &[&dyn HostTactic] = &[
    &resize_nearest::NEAREST,
    &resize::SEPARABLE,
    &resize_nearest::STRINGS,
    &grid_sample::GRID_SAMPLE,
    &affine_grid::AFFINE_GRID,
    &roi_align::ROI_ALIGN,
    &region_max_pool::REGION_MAX_POOL,
];
