//! Reading images and other grids at computed positions.

pub mod affine_grid;
pub mod grid_sample;
pub mod region_max_pool;
pub mod resize;
pub mod resize_axis;
pub mod roi_align;

pub use affine_grid::AffineGrid;
pub use grid_sample::{GridInterpolation, GridPadding, GridSample};
pub use region_max_pool::RegionMaxPool;
pub use resize::{AspectRatio, Resize};
pub use resize_axis::{Coordinates, Interpolation, NearestRounding};
pub use roi_align::{RegionPooling, RoiAlign};
