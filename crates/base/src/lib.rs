//! Layer 0: the types that all other crates share.
//!
//! Data types, symbolic dimensions, tensor types, host tensors and values, attribute trees, source locations.
//!
//! This crate does not depend on operators, networks, devices or file formats.

pub mod allocation;
pub mod attribute;
mod attribute_text;
pub mod block;
pub mod blocks;
pub mod buffer;
pub mod data_type;
pub mod dim;
mod dim_text;
pub mod element;
pub mod floats;
pub mod halves;
pub mod id;
pub mod location;
pub mod mapping;
pub mod minifloat;
pub mod one_line;
pub mod quantization;
pub mod regular_file;
pub mod replace;
pub mod shape;
pub mod tensor;
pub mod types;
pub mod value;
pub mod view;

pub use attribute::{Attr, Attribute, AttributeError};
pub use block::{BlockId, HostBlock, HostMemory, MemoryRef};
pub use blocks::Blocks;
pub use buffer::Buffer;
pub use data_type::DataType;
pub use dim::{Dim, Truth};
pub use element::Element;
pub use floats::Floats;
pub use location::Location;
pub use one_line::one_line;
pub use shape::{Shape, Sizes};
pub use sinter_macros::Attributes;
pub use tensor::{Tensor, TensorError};
pub use types::{KnownValue, TensorType, ValueType};
pub use value::Value;
pub use view::{Rows, View, ViewMut};
