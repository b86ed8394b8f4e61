//! `cpu.index.scatter` and `cpu.index.scatter_combine`: updates written into a copy of a tensor, or combined with it.
//!
//! The result starts as a copy of the data, or is the data where memory is shared. Updates follow in their order, by
//! runs of elements: the last of several for one position wins. Combined, the numbers take the wide path: each element
//! is rounded once, after all of its updates.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes, View, ViewMut};
use sinter_ops::index::ScatterReduction;
use sinter_ops::{Op, OpKind};

use crate::arguments::{Lines, axis_in, integers, result};
use crate::elements::{Numbers, load, store};
use crate::index::positions::{element_positions, slice_starts};
use crate::launch::{Kernel, Launch, Loaded, Operand, Scratch, ScratchBuffer};
use crate::movement::takes_views;
use crate::refuse_data;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// Updates replace what is there.
pub const SCATTER: Row = Row {
    name: "cpu.index.scatter",
    roots: &[OpKind::ScatterElements, OpKind::ScatterNd, OpKind::TensorScatter],
    numerics: Numerics::Exact,
    in_place: &[(0, 0)],
    speed: Speed::STREAMING,
    kernel: replacing,
};

/// Updates are added, multiplied or compared.
pub const SCATTER_COMBINE: Row = Row {
    name: "cpu.index.scatter_combine",
    roots: &[OpKind::ScatterElements, OpKind::ScatterNd, OpKind::TensorScatter],
    numerics: Numerics::Ordered,
    in_place: &[(0, 0)],
    speed: Speed::SCALAR,
    kernel: combining,
};

/// How places are named.
#[derive(Clone, Copy)]
enum Places {
    Elements { axis: i64 },
    Slices,
    Sequence { axis: i64, circular: bool },
}

fn split(region: &Region) -> Result<(Places, ScatterReduction), Refusal> {
    takes_views(region)?;
    match region.only().map(|node| &node.op) {
        Some(Op::ScatterElements(op)) => Ok((Places::Elements { axis: op.axis }, op.reduction)),
        Some(Op::ScatterNd(op)) => Ok((Places::Slices, op.reduction)),
        Some(Op::TensorScatter(op)) => {
            Ok((Places::Sequence { axis: op.axis, circular: op.circular }, ScatterReduction::None))
        }
        _ => Err(Refusal::OtherOperator),
    }
}

fn replacing(region: &Region) -> Result<Loaded, Refusal> {
    match split(region)? {
        (places, ScatterReduction::None) => {
            Ok(Loaded::Kernel(Box::new(Scatter { places, reduction: ScatterReduction::None })))
        }
        (_, other) => Err(Refusal::new(format!("takes updates that replace, not {other:?}"))),
    }
}

fn combining(region: &Region) -> Result<Loaded, Refusal> {
    match split(region)? {
        (_, ScatterReduction::None) => Err(Refusal::new("takes updates that are combined, not ones that replace")),
        (places, reduction) => Ok(Loaded::Kernel(Box::new(Scatter { places, reduction }))),
    }
}

struct Scatter {
    places: Places,
    reduction: ScatterReduction,
}

/// Where runs of elements of the updates go, in order.
struct Runs<'r> {
    targets: ScratchBuffer<'r, usize>,
    length: usize,
}

impl Places {
    /// Which operand holds the updates.
    fn updates(self) -> usize {
        match self {
            Places::Elements { .. } | Places::Slices => 2,
            Places::Sequence { .. } => 1,
        }
    }

    fn runs<'a>(self, launch: &Launch<'a, '_>, sizes: &[usize], updates: &[usize]) -> Result<Runs<'a>, KernelError> {
        match self {
            Places::Elements { axis } => {
                let indices = launch.input(1)?;
                if indices.sizes() != updates {
                    refuse_data!("indices of sizes {:?} for updates of sizes {updates:?}", indices.sizes());
                }
                let axis = axis_in(axis, sizes.len())?;
                Ok(Runs { targets: element_positions(sizes, indices, axis, launch.scratch)?, length: 1 })
            }
            Places::Slices => {
                let indices = launch.input(1)?;
                let slices = slice_starts(sizes, indices, 0, launch.scratch)?;
                let expected = indices.sizes()[..indices.sizes().len() - 1].iter().chain(slices.sizes);
                let expected: Sizes = expected.copied().collect();
                if updates != &*expected {
                    refuse_data!("updates of sizes {updates:?}, {expected:?} are needed");
                }
                Ok(Runs { targets: slices.starts, length: slices.sizes.iter().product() })
            }
            Places::Sequence { axis, circular } => sequence_runs(launch, axis, circular, sizes, updates),
        }
    }
}

/// One run per step of every line of the update.
fn sequence_runs<'a>(
    launch: &Launch<'a, '_>,
    axis: i64,
    circular: bool,
    sizes: &[usize],
    updates: &[usize],
) -> Result<Runs<'a>, KernelError> {
    let axis = axis_in(axis, sizes.len())?;
    let fits = axis > 0
        && updates.len() == sizes.len()
        && (0..sizes.len()).all(|a| if a == axis { updates[a] <= sizes[a] } else { updates[a] == sizes[a] });
    if !fits {
        refuse_data!("an update of sizes {updates:?} along axis {axis} of a cache of sizes {sizes:?}");
    }
    let scratch = launch.scratch;
    let positions = launch.optional(2).map(|positions| integers(positions, scratch)).transpose()?;
    if let Some(positions) = positions.as_deref().filter(|positions| positions.len() != sizes[0]) {
        refuse_data!("{} write positions for {} batch entries", positions.len(), sizes[0]);
    }
    let Lines { outer, length: capacity, inner } = Lines::along(sizes, axis);
    let limit = i64::try_from(capacity).unwrap_or(i64::MAX);
    let lines_each = outer / sizes[0].max(1);
    let mut targets = scratch.allocate(outer * updates[axis]);
    let mut places = targets.iter_mut();
    for line in 0..outer {
        let first = positions.as_deref().map_or(0, |positions| positions[line / lines_each]);
        for (step, place) in (0..updates[axis]).zip(&mut places) {
            let at = first.saturating_add(i64::try_from(step).unwrap_or(i64::MAX));
            let at = if circular { at.rem_euclid(limit) } else { at };
            match usize::try_from(at).ok().filter(|&at| at < capacity) {
                Some(at) => *place = (line * capacity + at) * inner,
                None => refuse_data!("step {at} lies outside a cache of {capacity}"),
            }
        }
    }
    Ok(Runs { targets, length: inner })
}

impl Kernel for Scatter {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let shared = matches!(launch.inputs.first(), Some(Operand::InPlace(_)));
        let data = if shared { None } else { Some(launch.input(0)?) };
        let updates = launch.input(self.places.updates())?;
        let sizes = match data {
            Some(data) => Sizes::from_slice(data.sizes()),
            None => Sizes::from_slice(launch.output(0).sizes()),
        };
        // Checks every position before the first write.
        let runs = self.places.runs(launch, &sizes, updates.sizes())?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        if updates.data_type() != y.data_type() {
            refuse_data!("updates of type {} for data of type {}", updates.data_type(), y.data_type());
        }
        if let Some(data) = data {
            let source = data.bytes();
            share(workers, y.bytes(), 1, Cost::InAll(data.count()), |from, chunk| {
                chunk.copy_from_slice(&source[from..from + chunk.len()]);
            });
        }
        if self.reduction == ScatterReduction::None {
            replace(&mut y, updates, &runs);
            return Ok(());
        }
        combine(self.reduction, &mut y, updates, &runs, scratch)
    }
}

fn replace(y: &mut ViewMut<'_>, updates: View<'_>, runs: &Runs<'_>) {
    let width = element_bytes(y.data_type());
    let run = runs.length * width;
    if run == 0 {
        return;
    }
    let target = y.bytes();
    for (&start, part) in runs.targets.iter().zip(updates.bytes().chunks_exact(run)) {
        target[start * width..start * width + run].copy_from_slice(part);
    }
}

fn combine(
    reduction: ScatterReduction,
    y: &mut ViewMut<'_>,
    updates: View<'_>,
    runs: &Runs<'_>,
    scratch: &Scratch,
) -> Result<(), KernelError> {
    let data_type = y.data_type();
    let mut values = load(y.as_view(), scratch);
    let places = runs.targets.iter().flat_map(|&start| start..start + runs.length);
    match (&mut values, load(updates, scratch)) {
        (Numbers::Floats(values), Numbers::Floats(updates)) => {
            // A comparison with NaN is false, and NaN wins.
            let join: fn(f64, f64) -> f64 = match reduction {
                ScatterReduction::None => |_, b| b,
                ScatterReduction::Add => |a, b| a + b,
                ScatterReduction::Multiply => |a, b| a * b,
                ScatterReduction::Max => |a, b| if a >= b || a.is_nan() { a } else { b },
                ScatterReduction::Min => |a, b| if a <= b || a.is_nan() { a } else { b },
            };
            places.zip(&*updates).for_each(|(at, &update)| values[at] = join(values[at], update));
        }
        (Numbers::Ints(values), Numbers::Ints(updates)) => {
            // With the sign bit flipped, unsigned numbers compare as signed ones do.
            let flip = if data_type == DataType::U64 { i64::MIN } else { 0 };
            for (at, &update) in places.zip(&*updates) {
                let old = values[at];
                let joined = match reduction {
                    ScatterReduction::None => update,
                    ScatterReduction::Add => old.wrapping_add(update),
                    ScatterReduction::Multiply => old.wrapping_mul(update),
                    ScatterReduction::Max if old ^ flip >= update ^ flip => old,
                    ScatterReduction::Min if old ^ flip <= update ^ flip => old,
                    ScatterReduction::Max | ScatterReduction::Min => update,
                };
                values[at] = crate::pointwise::column::wrap(data_type, joined);
            }
        }
        _ => refuse_data!("numbers of different kinds"),
    }
    store(&values, y);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::launch::Output;

    use super::*;
    use crate::single_thread::SingleThread;

    #[test]
    fn shared_memory_is_updated_where_it_lies() {
        let indices = [2i64, 0, 2];
        let updates = [5i32, 6, 7];
        for (reduction, expected) in [(ScatterReduction::None, [6, 2, 7]), (ScatterReduction::Add, [7, 2, 15])] {
            let mut memory = [1i32, 2, 3];
            let view = ViewMut::new(DataType::I32, &[3], bytemuck::cast_slice_mut(&mut memory)).unwrap();
            let operand = |data_type, bytes| Operand::View(View::new(data_type, &[3], bytes).unwrap());
            let inputs = [
                Operand::InPlace(0),
                operand(DataType::I64, bytemuck::cast_slice(&indices)),
                operand(DataType::I32, bytemuck::cast_slice(&updates)),
            ];
            let kernel = Scatter { places: Places::Elements { axis: 0 }, reduction };
            kernel
                .launch(&mut Launch {
                    workers: &SingleThread,
                    inputs: &inputs,
                    outputs: &mut [Output::View(view)],
                    workspace: &mut [],
                    scratch: &Scratch::default(),
                    seed: (0, 0),
                })
                .unwrap();
            assert_eq!(memory, expected);
        }
    }
}
