//! Floor 2: the plan file.
//!
//! A header, a table of sections, sections: metadata and report (protobuf), weights (raw, page-aligned). Data only: no host
//! code, no time, no path, no host name. Every offset and size is checked, every byte that means something is hashed.
//!
//! Does not know networks, passes or kernels; steps name kernels of a back end.
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

mod check;
mod codec;
pub mod container;
mod control;
pub mod error;
mod graph_codec;
mod hash;
mod parts;
pub mod place;
pub mod plan;
pub mod range;
pub mod reader;
mod regions;
pub mod report;
mod report_codec;
pub mod sealed;
mod sealed_codec;
pub mod shape_program;
mod symbolic;
pub mod writer;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::as_conversions, reason = "generated from the wire layout")]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/sinter.plan.rs"));
}

pub use error::PlanError;
pub use plan::{
    Action, BufferId, CodeId, Graph, Home, Launch, Part, Place, Plan, PlanGuard, PlanValue, PlanValueId, PlanWeight,
    Port, Step, Variant, WeightId,
};
pub use range::SizeRange;
pub use reader::{PlanFile, Trust, from_bytes, is_plan, read};
pub use report::Report;
pub use sealed::{Bound, Sealed, SealedInput, SealedOutput, SealedVector};
pub use shape_program::{Register, ShapeCompiler, ShapeError, ShapeProgram, Slot};
pub use writer::{programs_to_bytes, to_bytes, write, write_programs, write_to};
