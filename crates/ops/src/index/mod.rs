//! Operators that pick, place, find or order elements by position or value.

pub mod gather;
pub mod gather_elements;
pub mod gather_nd;
pub mod non_zero;
mod order;
pub mod range;
pub mod scatter;
pub mod scatter_elements;
pub mod scatter_nd;
pub mod tensor_scatter;
pub mod top_k;
pub mod unique;

pub use gather::Gather;
pub use gather_elements::GatherElements;
pub use gather_nd::GatherNd;
pub use non_zero::NonZero;
pub use range::Range;
pub use scatter::ScatterReduction;
pub use scatter_elements::ScatterElements;
pub use scatter_nd::ScatterNd;
pub use tensor_scatter::TensorScatter;
pub use top_k::TopK;
pub use unique::Unique;
