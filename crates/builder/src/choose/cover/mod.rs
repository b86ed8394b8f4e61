//! The cover: decides which operators become one region, and in which formats each region reads and writes.
//!
//! [`groups`] collects the regions that the back end's proposers name. [`folding`] finds nodes that only process
//! weights; the plan computes them in advance. Each region has [`alternatives`], which differ in the format of each
//! operand and result ([`conversions`]): plain, or with the channels behind the spatial axes. The tactics offer
//! candidates for every alternative, whose cost is that of the best candidate. [`choice`] takes the cheapest groups of
//! all nodes, single ones included: [`partition`] finds them, exactly where groups hardly overlap, and [`order`] sorts
//! them for execution. A value that one region makes in one format and others read in another costs a conversion, once
//! for each format. [`formats`] finds the cheapest alternatives, exactly where few values interact, by [`eliminate`],
//! else by expansions with a minimum [`cut`] in each; [`search`] finds groups that are cheaper with their conversions.
//! Operators without a kernel run on one of the [`islands`]. [`emit`] makes the steps.

mod alternatives;
mod choice;
mod conversions;
mod cut;
mod eliminate;
mod emit;
mod folding;
mod formats;
mod groups;
mod islands;
mod order;
mod partition;
mod problem;
mod repeated;
mod search;

pub(crate) use crate::choose::cover::folding::Folding;
pub use crate::choose::cover::problem::Costs;
pub(crate) use crate::choose::cover::problem::{Cover, CoverStep, Island, Problem, UnsupportedNode, Work};

/// Covers all living nodes of a body.
///
/// # Errors
/// All nodes without a kernel.
pub(crate) fn cover(problem: &Problem<'_>) -> Result<Cover, Vec<UnsupportedNode>> {
    let choice::Chosen { scored, labels, costs, islands } = choice::choose(problem, &problem.graph())?;
    let cover = emit::emit(problem, &islands, scored, &labels)?;
    let costs = Costs { emitted: cover.costs.emitted, ..costs };
    Ok(Cover { costs, ..cover })
}
