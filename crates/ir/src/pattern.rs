//! Nothing is matched yet.
//! placeholder
