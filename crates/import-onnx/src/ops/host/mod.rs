//! Operators on strings and images.

pub mod image;
pub mod string_cast;
pub mod string_equal;
pub mod strings;
pub mod text;
