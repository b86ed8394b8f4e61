//! `cuda.index.unique`: the different elements of a tensor, or its different slices along an axis, whose number the kernel
//! determines.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Dim, Sizes};
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use sinter_ops::operator::count_of;
use smallvec::{SmallVec, smallvec};

use crate::index::compaction::{self, Compaction};
use crate::index::sort::{self, SortEntries, Sorting};
use crate::kernel::{Bound, Contraction, Kernel, Launch, Tensor, recipe};
use crate::lines::{Lines, without};
use crate::movement::moves::rank_of;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const UNIQUE: Row = Row {
    name: "cuda.index.unique",
    roots: &[OpKind::Unique],
    numerics: Numerics::Exact,
    speed: Speed { bandwidth: 0.02, arithmetic: 0.05, launches: 12.0 },
    kernel,
};

const SORT: SortEntries = SortEntries { first: 0, far: 1, near: 2 };
const CLASSES: [usize; 3] = [3, 4, 5];
const FIRSTS: [usize; 3] = [6, 7, 8];
const WRITE: usize = 9;
const COPY: usize = 10;

/// Lists in scratch memory with a number for each slice.
const LISTS: usize = 3;
/// Bytes of a number.
const NUMBER: usize = 8;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Unique);
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    let axis = op.axis.map(|axis| axis_of(axis, rank)).transpose();
    let axis = axis.map_err(|error| Refusal::new(error.to_string()))?;
    let Some(ty) = region.input(0) else { return Err(Refusal::new("takes a tensor")) };
    let slices = match (axis, ty.dims()) {
        (Some(axis), Ok(dims)) => dims.get(axis).cloned().unwrap_or(Dim::constant(0)),
        _ => count_of(&ty.clone().into()),
    };
    let text = Text {
        name: UNIQUE.name,
        interface: 1,
        generated: format!(
            "{}#define UNSIGNED {}\n#define ORDER {}\n",
            typedefs(&[("T", Some(ty.data_type))])?,
            ty.data_type == DataType::U64,
            op.sorted
        ),
        text: include_str!("unique.cu"),
        contraction: Contraction::Off,
        entries: &[
            "sort_first",
            "sort_far",
            "sort_near",
            "count_classes",
            "total_classes",
            "number_classes",
            "count_firsts",
            "total_firsts",
            "number_firsts",
            "write",
            "copy",
        ],
    };
    let counts = compaction::workspace(&slices).mul(&Dim::constant(2));
    let workspace = sort::workspace(&slices).add(&counts).add(&slices.mul(&Dim::from(LISTS * NUMBER)));
    let is_sorted = op.sorted;
    let kernel = TextKernel::new(region, text, move |launch| run(launch, axis, is_sorted));
    let bounds = move |inputs: &[Option<Tensor<'_>>]| bounds(inputs, axis);
    Ok(kernel.with_workspace(workspace).with_bounds(bounds).boxed())
}

/// The lines whose elements at one position are a slice.
fn lines_of(x: &Tensor<'_>, axis: Option<usize>) -> Lines {
    axis.map_or(Lines { outer: 1, length: x.count(), inner: 1 }, |axis| Lines::along(x.sizes, axis))
}

fn bounds(inputs: &[Option<Tensor<'_>>], axis: Option<usize>) -> Option<SmallVec<[Bound; 4]>> {
    let x = inputs.first().copied().flatten()?;
    let slices = lines_of(&x, axis).length;
    let list = |counted| Bound { sizes: smallvec![slices], counted };
    let unique = match axis {
        Some(axis) => Bound { sizes: Sizes::from_slice(x.sizes), counted: Some(axis) },
        None => list(Some(0)),
    };
    Some(smallvec![unique, list(Some(0)), list(None), list(Some(0))])
}

fn run(launch: &mut Launch<'_>, axis: Option<usize>, is_sorted: bool) -> Result<(), KernelError> {
    let x = launch.input(0)?;
    let (y, first, inverse, counts) = (launch.output(0)?, launch.output(1)?, launch.output(2)?, launch.output(3)?);
    let lines = lines_of(&x, axis);
    let fits = match axis {
        Some(axis) => without(x.sizes, axis) == without(y.sizes, axis),
        None => y.sizes.len() == 1,
    };
    let most = y.sizes.get(axis.unwrap_or(0)).copied().unwrap_or(0);
    let most = most.min(first.count()).min(counts.count());
    if !fits || inverse.count() != lines.length {
        return Err(recipe(format!("different slices of {:?} are {:?}", x.sizes, y.sizes)));
    }
    let sorting = Sorting { lines: 1, length: lines.length };
    let compaction = Compaction { length: lines.length };
    let list = lines.length.saturating_mul(NUMBER);
    let sizes = [sorting.bytes(), compaction.bytes(), compaction.bytes(), list, list, list];
    let scratch = launch.scratch(sizes.iter().sum())?;
    let mut at = scratch;
    let [positions, classes, firsts, class_of, begins, number] = sizes.map(|bytes| {
        let own = at;
        at += bytes as u64;
        own
    });
    let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&sorting.words(positions));
    parameters.extend(lines.words());
    parameters.extend(compaction.words(classes, launch.total).into_iter().chain(compaction.words(firsts, 0)));
    parameters.extend([most as u64, class_of, begins, number, x.address, y.address]);
    parameters.extend([first.address, inverse.address, counts.address]);
    sorting.run(launch, SORT, &mut parameters)?;
    compaction.run(launch, CLASSES, &parameters)?;
    if !is_sorted {
        compaction.run(launch, FIRSTS, &parameters)?;
    }
    launch.each(WRITE, lines.length, &parameters)?;
    launch.each(COPY, x.count(), &parameters)
}
