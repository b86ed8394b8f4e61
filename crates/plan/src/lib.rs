//! Layer 2: the plan file.
//!
//! A header, a table of sections, sections: metadata and report (protobuf), machine code and weights (raw, weights
//! page-aligned). A file holds one or more programs. It holds data only: no host code, time, path or host name. The
//! reader checks every offset and size, and hashes cover every byte that has a meaning.
//!
//! The crate knows no networks, passes or kernels; steps name kernels of a back end.
#![deny(clippy::unwrap_used, clippy::as_conversions, clippy::indexing_slicing, clippy::panic)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests may panic"
    )
)]

mod alias_check;
pub mod aliasing;
mod check;
mod codec;
pub mod container;
mod control;
pub mod error;
mod graph_codec;
mod hash;
pub mod plan;
pub mod range;
pub mod reader;
mod regions;
pub mod report;
mod report_codec;
mod section;
pub mod self_test;
mod self_test_codec;
pub mod shape_program;
mod stages;
mod symbolic;
pub mod weight_expression;
pub mod writer;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::as_conversions, reason = "generated from the wire layout")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/sinter.plan.rs"));
}

pub use error::PlanError;
pub use plan::{
    Action, Alias, BufferId, CodeId, Graph, Launch, Place, Plan, PlanGuard, PlanValue, PlanValueId, PlanWeight, Port,
    Step, Storage, Variant, WeightId,
};
pub use range::SizeRange;
pub use reader::{PlanFile, Trust, from_bytes, is_plan, read};
pub use report::Report;
pub use self_test::{Bound, SelfTest, SelfTestInput, SelfTestOutput, SelfTestVector};
pub use shape_program::{Register, ShapeCompiler, ShapeError, ShapeProgram, Slot};
pub use stages::Stages;
pub use weight_expression::{PackedFor, WeightExpression, WeightSource};
pub use writer::{programs_to_bytes, to_bytes, write, write_programs, write_to};
