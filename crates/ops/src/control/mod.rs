//! Operators that own bodies: branches and loops.

pub mod if_else;
pub mod join;
pub mod loop_while;
pub mod names;
pub mod nested;
pub mod scan;

pub use if_else::If;
pub use loop_while::Loop;
pub use scan::Scan;
