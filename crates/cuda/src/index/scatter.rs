//! `cuda.index.scatter` and `cuda.index.scatter_combine`: updates written into a copy of a tensor, or combined with it.
//!
//! The result starts as a copy of the data, or is the data where memory is shared. Floats narrower than 32 bits are combined
//! in scratch memory and rounded once.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::strides;
use sinter_base::{DataType, Dim};
use sinter_ops::axes::axis_of;
use sinter_ops::index::ScatterReduction;
use sinter_ops::operator::count_of;
use sinter_ops::{Op, OpKind};
use smallvec::SmallVec;

use crate::index::moved_type;
use crate::index::vectors::Vectors;
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::lines::Lines;
use crate::movement::moves::{axes, number, rank_of};
use crate::space::{Axes, RANK, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::types::Kind;

/// Updates replace what is there.
pub const SCATTER: Row = Row {
    name: "cuda.index.scatter",
    roots: &[OpKind::ScatterElements, OpKind::ScatterNd],
    numerics: Numerics::Exact,
    speed: Speed { launches: 2.0, ..Speed::SCATTERED },
    kernel: |region| kernel(region, SCATTER.name, true),
};

/// Updates are added, multiplied or compared.
pub const SCATTER_COMBINE: Row = Row {
    name: "cuda.index.scatter_combine",
    roots: &[OpKind::ScatterElements, OpKind::ScatterNd],
    numerics: Numerics::Ordered,
    speed: Speed { launches: 2.0, ..Speed::SCATTERED },
    kernel: |region| kernel(region, SCATTER_COMBINE.name, false),
};

/// How places are named.
#[derive(Clone, Copy)]
enum Places {
    /// Single elements along this axis.
    Elements(usize),
    Slices,
}

const BEGIN: usize = 0;
const ELEMENTS: usize = 1;
const SLICES: usize = 2;
const FINISH: usize = 3;

/// Threads of a multiprocessor that are worth going through the updates.
const THREADS_OF_A_UNIT: usize = 1024;

fn kernel(region: &Region, name: &'static str, replaces: bool) -> Result<Box<dyn Kernel>, Refusal> {
    let (places, reduction) = match region.only().map(|node| &node.op) {
        Some(Op::ScatterElements(op)) => {
            let axis = axis_of(op.axis, rank_of(region)?).map_err(|error| Refusal::new(error.to_string()))?;
            (Places::Elements(axis), op.reduction)
        }
        Some(Op::ScatterNd(op)) => (Places::Slices, op.reduction),
        _ => return Err(Refusal::OtherOperator),
    };
    if replaces != (reduction == ScatterReduction::None) {
        return Err(Refusal::new(format!("does not take updates of kind {reduction:?}")));
    }
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    if rank > RANK {
        return Err(Refusal::new(format!("takes at most {RANK} axes, not {rank}")));
    }
    let Some(ty) = region.input(0) else { return Err(Refusal::new("takes tensors")) };
    let is_narrow = !replaces && Kind::of(ty.data_type) == Some(Kind::F32) && ty.data_type != DataType::F32;
    let which = match reduction {
        ScatterReduction::None => "REPLACE",
        ScatterReduction::Add => "ADD",
        ScatterReduction::Multiply => "MULTIPLY",
        ScatterReduction::Max => "MAX",
        ScatterReduction::Min => "MIN",
    };
    let element = if replaces { moved_type(region)? } else { typedefs(&[("T", Some(ty.data_type))])? };
    let prefix = if ty.data_type == DataType::U64 { "unsigned" } else { "integer" };
    let text = Text {
        name,
        interface: 1,
        generated: format!(
            "{element}typedef {} S;\n{}#define REDUCTION {which}\n#define integer_least {prefix}_min\n\
             #define integer_largest {prefix}_max\n",
            if is_narrow { "float" } else { "T" },
            typedefs(&[("Index", region.input(1).map(|ty| ty.data_type))])?,
        ),
        text: include_str!("scatter.cu"),
        contraction: Contraction::Off,
        entries: &["begin", "elements", "slices", "finish"],
    };
    let sums = if is_narrow { count_of(&ty.clone().into()).mul(&Dim::constant(4)) } else { Dim::constant(0) };
    let kernel = TextKernel::new(region, text, move |launch| run(launch, places, is_narrow));
    Ok(kernel.with_workspace(sums).in_place(&[(0, 0)]).boxed())
}

fn run(launch: &mut Launch<'_>, places: Places, is_narrow: bool) -> Result<(), KernelError> {
    let (x, indices, updates, y) = (launch.input(0)?, launch.input(1)?, launch.input(2)?, launch.output(0)?);
    let mismatch =
        || recipe(format!("updates {:?} at {:?} of {:?} to {:?}", updates.sizes, indices.sizes, x.sizes, y.sizes));
    let (mut sizes, mut own, mut axis_size, mut axis_stride) = (Axes::new(), Axes::new(), 0, 0);
    let (entry, groups, steps, inner, vectors) = match places {
        Places::Elements(axis) => {
            let lies_within = |(at, (index, size)): (usize, (&usize, &usize))| at == axis || index <= size;
            let fits = x.sizes.len() == indices.sizes.len()
                && updates.sizes == indices.sizes
                && indices.sizes.iter().zip(x.sizes).enumerate().all(lies_within);
            if !fits || axis >= x.sizes.len() {
                return Err(mismatch());
            }
            (sizes, own) = (axes(indices.sizes), axes(&strides(x.sizes)));
            (axis_size, axis_stride) = (number(x.sizes[axis]), own[axis]);
            sizes[axis] = 1;
            let lines = Lines::along(indices.sizes, axis);
            (ELEMENTS, lines.outer * lines.inner, lines.length, lines.inner, Vectors::new(&[1], &[1, 1], 0)?)
        }
        Places::Slices => {
            let vectors = Vectors::new(x.sizes, indices.sizes, 0)?;
            if !vectors.slices(indices.sizes).eq(updates.sizes.iter().copied()) {
                return Err(mismatch());
            }
            let steps = updates.count().checked_div(vectors.inner).unwrap_or(0);
            (SLICES, vectors.inner, steps, vectors.inner, vectors)
        }
    };
    if x.sizes != y.sizes {
        return Err(mismatch());
    }
    let count = y.count();
    let sums = if is_narrow { launch.scratch(count.saturating_mul(4))? } else { y.address };
    let room = (launch.units.max(1) * THREADS_OF_A_UNIT).checked_div(groups).unwrap_or(1);
    let parts = 1usize << room.min(steps).max(1).ilog2();
    let mut parameters: SmallVec<[u64; 64]> = SmallVec::new();
    parameters.extend([count, groups, steps, parts, inner].map(|size| size as u64));
    parameters.extend(vectors.words());
    parameters.push(sizes.len() as u64);
    parameters.extend(words(&sizes).into_iter().chain(words(&own)));
    parameters.extend([axis_size.cast_unsigned(), axis_stride.cast_unsigned()]);
    parameters.extend([x.address, indices.address, updates.address, y.address, sums, launch.fault]);
    if x.address != sums {
        launch.each(BEGIN, count, &parameters)?;
    }
    if steps > 0 {
        launch.each(entry, groups * parts, &parameters)?;
    }
    if is_narrow { launch.each(FINISH, count, &parameters) } else { Ok(()) }
}
