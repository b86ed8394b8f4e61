//! Tests of whole models, one binary.

mod functions;
mod symbolic_sizes;
mod versions;
mod weights_in_place;
