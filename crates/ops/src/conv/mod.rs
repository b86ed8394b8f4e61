//! Convolutions.

pub mod col2im;
pub mod convolution;
pub mod deconvolution;
pub mod deformable;

pub use col2im::Col2Im;
pub use convolution::Convolution;
pub use deconvolution::Deconvolution;
pub use deformable::DeformableConvolution;
