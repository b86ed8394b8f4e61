//! Operators that move elements without computing on them.

pub mod bit_cast;
pub mod concat;
pub mod expand;
pub mod known;
pub mod pad;
pub mod reshape;
pub mod reverse_sequence;
pub mod shape_of;
pub mod slice;
pub mod squeeze;
pub mod tile;
pub mod transpose;
pub mod unpack;
pub mod unsqueeze;

pub use bit_cast::BitCast;
pub use concat::Concat;
pub use expand::Expand;
pub use pad::{Pad, PadMode};
pub use reshape::Reshape;
pub use reverse_sequence::ReverseSequence;
pub use shape_of::Shape;
pub use slice::Slice;
pub use squeeze::Squeeze;
pub use tile::Tile;
pub use transpose::Transpose;
pub use unpack::Unpack;
pub use unsqueeze::Unsqueeze;
