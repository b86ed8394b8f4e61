//! Tests of whole models, one binary.

mod all_problems;
mod contradictions;
mod functions;
mod packed_weights;
mod symbolic_sizes;
mod versions;
mod weights_in_place;
