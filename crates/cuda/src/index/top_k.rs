//! `cuda.index.top_k`: the largest or smallest elements along an axis, of lines that are sorted as a whole.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use sinter_ops::operator::count_of;
use smallvec::SmallVec;

use crate::index::sort::{SortEntries, Sorting, workspace};
use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::lines::{Lines, without};
use crate::movement::moves::rank_of;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_ranks};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const TOP_K: Row = Row {
    name: "cuda.index.top_k",
    roots: &[OpKind::TopK],
    numerics: Numerics::Exact,
    speed: Speed { bandwidth: 0.02, arithmetic: 0.05, launches: 8.0 },
    kernel,
};

const SORT: SortEntries = SortEntries { first: 0, far: 1, near: 2 };
const PICK: usize = 3;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, TopK);
    refuse_unknown_ranks(region)?;
    let axis = axis_of(op.axis, rank_of(region)?).map_err(|error| Refusal::new(error.to_string()))?;
    let Some(ty) = region.input(0) else { return Err(Refusal::new("takes a tensor")) };
    let text = Text {
        name: TOP_K.name,
        interface: 1,
        generated: format!(
            "{}#define LARGEST {}\n#define UNSIGNED {}\n",
            typedefs(&[("T", Some(ty.data_type))])?,
            op.largest,
            ty.data_type == DataType::U64
        ),
        text: include_str!("top_k.cu"),
        contraction: Contraction::Off,
        entries: &["sort_first", "sort_far", "sort_near", "pick"],
    };
    let positions = workspace(&count_of(&ty.clone().into()));
    Ok(TextKernel::new(region, text, move |launch| run(launch, axis)).with_workspace(positions).boxed())
}

fn run(launch: &mut Launch<'_>, axis: usize) -> Result<(), KernelError> {
    let (x, values, positions) = (launch.input(0)?, launch.output(0)?, launch.output(1)?);
    let k = values.sizes.get(axis).copied().unwrap_or(0);
    let fits = values.sizes == positions.sizes
        && without(x.sizes, axis) == without(values.sizes, axis)
        && x.sizes.get(axis).is_some_and(|length| k <= *length);
    if !fits {
        return Err(recipe(format!("the best of {:?} are no {:?}", x.sizes, values.sizes)));
    }
    if values.count() == 0 {
        return Ok(());
    }
    let lines = Lines::along(x.sizes, axis);
    let sorting = Sorting { lines: lines.outer * lines.inner, length: lines.length };
    let scratch = launch.scratch(sorting.bytes())?;
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&sorting.words(scratch));
    parameters.extend(lines.words());
    parameters.extend([k as u64, x.address, values.address, positions.address]);
    sorting.run(launch, SORT, &mut parameters)?;
    launch.each(PICK, values.count(), &parameters)
}
