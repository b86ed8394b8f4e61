//! `cuda.detection.non_max_suppression`: boxes that stay when each removes the worse ones that overlap it too much; the kernel
//! determines how many.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Dim};
use sinter_ops::OpKind;
use sinter_ops::operator::count_of;
use smallvec::{SmallVec, smallvec};

use crate::index::compaction::blocks;
use crate::index::sort::{self, SortEntries, Sorting};
use crate::kernel::{Bound, Contraction, Kernel, Launch, Tensor, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const NON_MAX_SUPPRESSION: Row = Row {
    name: "cuda.detection.non_max_suppression",
    roots: &[OpKind::NonMaxSuppression],
    numerics: Numerics::Exact,
    speed: Speed { bandwidth: 0.02, arithmetic: 0.01, launches: 8.0 },
    kernel,
};

const SORT: SortEntries = SortEntries { first: 0, far: 1, near: 2 };
const SUPPRESS: usize = 3;
const TOTAL: usize = 4;
const WRITE: usize = 5;

/// Bytes of a number.
const NUMBER: usize = 8;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, NonMaxSuppression);
    refuse_unknown_sizes(region)?;
    let operand = |index: usize| region.input(index).map(|ty| ty.data_type);
    let scalar = |index: usize| operand(index).or(Some(DataType::F32));
    let types = [("B", operand(0)), ("S", operand(1)), ("L", scalar(3)), ("E", scalar(4))];
    let text = Text {
        name: NON_MAX_SUPPRESSION.name,
        interface: 1,
        generated: format!("{}#define CENTERED {}\n", typedefs(&types)?, op.centered),
        text: include_str!("non_max_suppression.cu"),
        contraction: Contraction::Off,
        entries: &["sort_first", "sort_far", "sort_near", "suppress", "total", "write"],
    };
    let scores = region.input(1).map_or(Dim::constant(0), |ty| count_of(&ty.clone().into()));
    // Positions, the boxes that stay, and a count for each group: fewer groups than scores, or none of both.
    let workspace = sort::workspace(&scores).add(&scores.mul(&Dim::from(2 * NUMBER))).add(&Dim::from(2 * NUMBER));
    let kernel = TextKernel::new(region, text, run).with_workspace(workspace);
    Ok(kernel.with_bounds(bounds).boxed())
}

fn bounds(inputs: &[Option<Tensor<'_>>]) -> Option<SmallVec<[Bound; 4]>> {
    let scores = inputs.get(1).copied().flatten()?;
    Some(smallvec![Bound { sizes: smallvec![scores.count(), 3], counted: Some(0) }])
}

fn run(launch: &mut Launch<'_>) -> Result<(), KernelError> {
    let (boxes, scores, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let mismatch = || recipe(format!("boxes {:?} with scores {:?} to {:?}", boxes.sizes, scores.sizes, y.sizes));
    let (&[batch, count, 4], &[score_batch, classes, score_count]) = (boxes.sizes, scores.sizes) else {
        return Err(mismatch());
    };
    let &[most_rows, 3] = y.sizes else { return Err(mismatch()) };
    let is_single = |index: usize| launch.inputs.get(index).copied().flatten().is_none_or(|one| one.count() == 1);
    if (batch, count) != (score_batch, score_count) || !(2..5).all(is_single) {
        return Err(mismatch());
    }
    // Without boxes there are no groups that need memory.
    let groups = if count == 0 { 0 } else { batch * classes };
    let sorting = Sorting { lines: groups, length: count };
    let (kept, counts) = (scores.count().saturating_mul(NUMBER), (groups + 1) * NUMBER);
    let scratch = launch.scratch(sorting.bytes().saturating_add(kept).saturating_add(counts))?;
    let kept_at = scratch + sorting.bytes() as u64;
    let counts_at = kept_at + kept as u64;
    let mut parameters: SmallVec<[u64; 24]> = SmallVec::from_slice(&sorting.words(scratch));
    // A segment for each group.
    parameters.extend([groups as u64, groups as u64, counts_at, launch.total]);
    parameters.extend([classes.max(1) as u64, most_rows as u64, boxes.address, scores.address]);
    parameters.extend([launch.address(2), launch.address(3), launch.address(4), kept_at, y.address]);
    sorting.run(launch, SORT, &mut parameters)?;
    launch.sink.run(SUPPRESS, blocks(groups), &parameters)?;
    launch.sink.run(TOTAL, blocks(1), &parameters)?;
    launch.sink.run(WRITE, blocks(groups), &parameters)
}
