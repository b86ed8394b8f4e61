//! `cpu.reduce.floats` and `cpu.reduce.integers`: one value from all elements along some axes.
//!
//! Neighbouring axes of one kind are merged, so that kept and reduced axes alternate. When the innermost one is
//! reduced, rows are folded to numbers; when it is kept, rows are folded into rows of results: either way the innermost
//! loop runs over consecutive elements. The workers share the results; if there are only a few results of long rows,
//! they share chunks of fixed length of the rows. Integers are computed in 128 bits and wrap at the end.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::{for_each_index, ravel, strides};
use sinter_base::{DataType, Sizes, View, ViewMut};
use sinter_ops::OpKind;
use sinter_ops::reduce::{Reduce, ReduceKind};
use smallvec::SmallVec;

use crate::arguments::{axes_in, integers, result};
use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded, Scratch, ScratchBuffer, Workers};
use crate::movement::takes_views;
use crate::reduce::fold::{Fold, Wide, finish, fold_of};
use crate::share::{Cost, WORTH_SHARING, share};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// Any float type, folded in f64.
pub const FLOATS: Row = Row {
    name: "cpu.reduce.floats",
    roots: &[OpKind::Reduce],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed { per_byte: 0.1, per_operation: 0.3 },
    kernel: floats,
};

/// Any integer type and bool.
pub const INTEGERS: Row = Row {
    name: "cpu.reduce.integers",
    roots: &[OpKind::Reduce],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel: integer_kernel,
};

fn floats(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Reduce);
    takes_views(region)?;
    match region.input(0).map(|t| t.data_type) {
        Some(t) if t.is_float() => Ok(Loaded::Kernel(Box::new(Floats { op: op.clone() }))),
        other => Err(Refusal::new(format!("element type {other:?} instead of floats"))),
    }
}

fn integer_kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Reduce);
    takes_views(region)?;
    match region.input(0).map(|t| t.data_type) {
        Some(t) if !t.is_float() => Ok(Loaded::Kernel(Box::new(Integers { op: op.clone() }))),
        other => Err(Refusal::new(format!("element type {other:?} instead of integers"))),
    }
}

/// Elements of a long row that are folded as one task.
const CHUNK: usize = 32 * 1024;

/// The walk through the elements of a reduction.
struct Geometry<'r> {
    /// Sizes and strides of kept axes but an innermost one.
    kept: SmallVec<[(usize, usize); 6]>,
    /// Starts of the rows that go into one result or one row of results.
    rows: ScratchBuffer<'r, usize>,
    /// Elements of a row.
    row: usize,
    /// Is the innermost axis kept?
    by_columns: bool,
    /// Elements per result.
    count: usize,
    /// Sizes of the result.
    sizes: Sizes,
}

impl<'r> Geometry<'r> {
    fn of(op: &Reduce, sizes: &[usize], given: Option<&[i64]>, scratch: &'r Scratch) -> Result<Self, KernelError> {
        let axes = match given {
            None | Some([]) if op.noop_with_empty_axes => Sizes::new(),
            None | Some([]) => (0..sizes.len()).collect(),
            Some(axes) => axes_in(axes, sizes.len())?,
        };
        let reduced = |axis: usize| axes.contains(&axis);
        let result = (0..sizes.len()).filter(|&a| op.keep_dims || !reduced(a));
        let result = result.map(|a| if reduced(a) { 1 } else { sizes[a] }).collect();
        // (size, stride, reduced), neighbours of one kind merged.
        let own = strides(sizes);
        let mut merged: SmallVec<[(usize, usize, bool); 6]> = SmallVec::new();
        for axis in (0..sizes.len()).filter(|&a| sizes[a] != 1) {
            match merged.last_mut() {
                Some(last) if last.2 == reduced(axis) => *last = (last.0 * sizes[axis], own[axis], last.2),
                _ => merged.push((sizes[axis], own[axis], reduced(axis))),
            }
        }
        let inner = merged.pop().unwrap_or((1, 1, true));
        let part = |is_reduced: bool| -> SmallVec<[(usize, usize); 6]> {
            merged.iter().filter(|m| m.2 == is_reduced).map(|m| (m.0, m.1)).collect()
        };
        let (outer_sizes, outer_steps): (Sizes, Sizes) = part(true).into_iter().unzip();
        let mut rows = scratch.allocate(outer_sizes.iter().product());
        let mut places = rows.iter_mut();
        for_each_index(&outer_sizes, |at| {
            if let Some(place) = places.next() {
                *place = ravel(at, &outer_steps);
            }
        });
        let by_columns = !inner.2;
        let count = rows.len() * if by_columns { 1 } else { inner.0 };
        Ok(Self { kept: part(false), rows, row: inner.0, by_columns, count, sizes: result })
    }

    /// Start of result (or row of results) number `at`.
    fn start(&self, mut at: usize) -> usize {
        let mut start = 0;
        for &(size, stride) in self.kept.iter().rev() {
            start += at % size * stride;
            at /= size;
        }
        start
    }

    /// Fills `totals`, all results, by folding.
    fn fold<T: Wide>(
        &self,
        (workers, scratch): (&dyn Workers, &Scratch),
        x: &[T],
        fold: Fold,
        shifts: &[f64],
        totals: &mut [f64],
    ) {
        let work = x.len();
        let rows = |at: usize| {
            let start = self.start(at);
            self.rows.iter().map(move |row| &x[start + row..start + row + self.row])
        };
        if self.by_columns {
            share(workers, totals, self.row, Cost::InAll(work), |from, chunk| {
                for (at, totals) in chunk.chunks_exact_mut(self.row).enumerate() {
                    totals.fill(fold.start());
                    let shifts = shifts.get((from + at) * self.row..).unwrap_or_default();
                    rows(from + at).for_each(|row| fold.columns(totals, row, shifts));
                }
            });
            return;
        }
        let shift = |at: usize| shifts.get(at).copied().unwrap_or(0.0);
        if self.row >= 2 * CHUNK && totals.len() * self.rows.len() < 16 && work >= WORTH_SHARING {
            for (at, total) in totals.iter_mut().enumerate() {
                let per_row = self.row.div_ceil(CHUNK);
                let start = self.start(at);
                let mut parts = scratch.allocate(self.rows.len() * per_row);
                share(workers, &mut parts, 1, Cost::InAll(work), |from, parts| {
                    for (i, part) in parts.iter_mut().enumerate() {
                        let (row, chunk) = ((from + i) / per_row, (from + i) % per_row);
                        let row = &x[start + self.rows[row]..][..self.row];
                        *part = fold.row(&row[chunk * CHUNK..self.row.min((chunk + 1) * CHUNK)], shift(at));
                    }
                });
                *total = parts.iter().fold(fold.start(), |a, &b| fold.join(a, b));
            }
            return;
        }
        share(workers, totals, 1, Cost::InAll(work), |from, chunk| {
            for (at, total) in chunk.iter_mut().enumerate() {
                let parts = rows(from + at).map(|row| fold.row(row, shift(from + at)));
                *total = parts.fold(fold.start(), |a, b| fold.join(a, b));
            }
        });
    }

    /// All results of a formula.
    fn formula<'m, T: Wide>(
        &self,
        (workers, scratch): (&dyn Workers, &'m Scratch),
        x: &[T],
        kind: ReduceKind,
    ) -> ScratchBuffer<'m, f64> {
        let results: usize = self.sizes.iter().product();
        let shifted = kind == ReduceKind::LogSumExp;
        let mut shifts = scratch.filled(if shifted { results } else { 0 }, f64::NEG_INFINITY);
        if shifted {
            self.fold((workers, scratch), x, Fold::Max, &[], &mut shifts);
        }
        let mut totals = scratch.filled(results, 0.0);
        self.fold((workers, scratch), x, fold_of(kind), &shifts, &mut totals);
        let shift = |at: usize| shifts.get(at).copied().unwrap_or(0.0);
        totals.iter_mut().enumerate().for_each(|(at, total)| *total = finish(kind, *total, self.count, shift(at)));
        totals
    }
}

struct Floats {
    op: Reduce,
}

impl Kernel for Floats {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let given = launch.optional(1).map(|view| integers(view, scratch)).transpose()?;
        let geometry = Geometry::of(&self.op, x.sizes(), given.as_deref(), scratch)?;
        let totals = if x.data_type() == DataType::F32 {
            geometry.formula((workers, scratch), x.elements::<f32>(), self.op.kind)
        } else {
            let Numbers::Floats(values) = load(x, scratch) else { refuse_data!("elements of type {}", x.data_type()) };
            geometry.formula((workers, scratch), &values, self.op.kind)
        };
        let mut y = result(&mut launch.outputs[0], &geometry.sizes)?;
        store(&Numbers::Floats(totals), &mut y);
        Ok(())
    }
}

struct Integers {
    op: Reduce,
}

impl Kernel for Integers {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let scratch = launch.scratch;
        let given = launch.optional(1).map(|view| integers(view, scratch)).transpose()?;
        let geometry = Geometry::of(&self.op, x.sizes(), given.as_deref(), scratch)?;
        let values = wide_integers(x, scratch)?;
        let y = result(&mut launch.outputs[0], &geometry.sizes)?;
        self.reduce(&geometry, &values, y, scratch);
        Ok(())
    }
}

/// The elements, large unsigned ones included.
fn wide_integers<'r>(x: View<'_>, scratch: &'r Scratch) -> Result<ScratchBuffer<'r, i128>, KernelError> {
    let unsigned = x.data_type() == DataType::U64;
    match load(x, scratch) {
        Numbers::Ints(values) if unsigned => Ok(scratch.list(values.iter().map(|v| i128::from(v.cast_unsigned())))),
        Numbers::Ints(values) => Ok(scratch.list(values.iter().map(|&v| i128::from(v)))),
        Numbers::Floats(_) => refuse_data!("elements of type {} where integers are needed", x.data_type()),
    }
}

impl Integers {
    fn reduce(&self, geometry: &Geometry<'_>, x: &[i128], mut y: ViewMut<'_>, scratch: &Scratch) {
        let data_type = y.data_type();
        let (mut group, mut values) = (scratch.allocate(geometry.count), scratch.allocate(y.count()));
        for (at, result) in values.iter_mut().enumerate() {
            if geometry.by_columns {
                let start = geometry.start(at / geometry.row) + at % geometry.row;
                group.iter_mut().zip(&*geometry.rows).for_each(|(v, row)| *v = x[start + row]);
            } else {
                let start = geometry.start(at);
                let parts = group.chunks_exact_mut(geometry.row.max(1)).zip(&*geometry.rows);
                parts.for_each(|(part, row)| part.copy_from_slice(&x[start + row..][..geometry.row]));
            }
            // The low 64 bits: the store wraps them to the type.
            *result = integer_formula(self.op.kind, &group, data_type, scratch) as i64;
        }
        store(&Numbers::Ints(values), &mut y);
    }
}

fn integer_formula(kind: ReduceKind, values: &[i128], data_type: DataType, scratch: &Scratch) -> i128 {
    let (low, high) = data_type.integer_range().unwrap_or((0, 1));
    let sum = |map: &dyn Fn(i128) -> i128| values.iter().fold(0i128, |sum, &v| sum.wrapping_add(map(v)));
    let rooted = |fold: Fold| {
        let floats = scratch.list(values.iter().map(|&v| v as f64));
        let shift = if fold == Fold::Exponentials { Fold::Max.row(&floats, 0.0) } else { 0.0 };
        // The conversion truncates, saturates and makes NaN 0.
        (finish(kind, fold.row(&floats, shift), floats.len(), shift) as i128).clamp(low, high)
    };
    match kind {
        ReduceKind::Sum => sum(&|v| v),
        ReduceKind::Mean => sum(&|v| v).checked_div(values.len() as i128).unwrap_or(0),
        ReduceKind::Product => values.iter().fold(1i128, |all, &v| data_type.wrap(all.wrapping_mul(v))),
        ReduceKind::Max => values.iter().copied().max().unwrap_or(low),
        ReduceKind::Min => values.iter().copied().min().unwrap_or(high),
        ReduceKind::L1 => sum(&i128::abs),
        ReduceKind::SumSquare => sum(&|v| v.wrapping_mul(v)),
        ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp => rooted(fold_of(kind)),
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::shape::unravel;

    use super::*;
    use crate::single_thread::SingleThread;
    use crate::team::Team;

    /// By definition: every element goes to the result that its kept axes name.
    fn plain(x: &[f32], sizes: &[usize], axes: &[usize]) -> Vec<f64> {
        let kept: Vec<usize> = (0..sizes.len()).filter(|a| !axes.contains(a)).collect();
        let mut totals = vec![0.0; kept.iter().map(|&a| sizes[a]).product()];
        for (flat, &value) in x.iter().enumerate() {
            let at = unravel(flat, sizes);
            totals[kept.iter().fold(0, |position, &a| position * sizes[a] + at[a])] += f64::from(value);
        }
        totals
    }

    #[test]
    fn any_axes_on_any_number_of_threads() {
        let sizes = [3, 1, 5, 7, 4];
        let x: Vec<f32> = (0..420).map(|v| (v % 17) as f32).collect();
        let op = Reduce::new(ReduceKind::Sum, false);
        let scratch = Scratch::default();
        for mask in 1..32usize {
            let axes: Vec<usize> = (0..5).filter(|a| mask >> a & 1 == 1).collect();
            let given: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
            let geometry = Geometry::of(&op, &sizes, Some(&given), &scratch).unwrap();
            let found = geometry.formula((&SingleThread, &scratch), &x, ReduceKind::Sum);
            assert_eq!(found[..], plain(&x, &sizes, &axes), "{axes:?}");
        }
    }

    #[test]
    fn long_rows_are_shared_by_chunks() {
        let x: Vec<f32> = (0..300_000).map(|v| (v as f32).sin()).collect();
        let op = Reduce::new(ReduceKind::LogSumExp, false);
        let scratch = Scratch::default();
        let geometry = Geometry::of(&op, &[2, 150_000], Some(&[1]), &scratch).unwrap();
        let single = geometry.formula((&SingleThread, &scratch), &x, ReduceKind::LogSumExp);
        assert_eq!(single[..], geometry.formula((&Team::new(3), &scratch), &x, ReduceKind::LogSumExp)[..]);
        let exact: f64 = x[..150_000].iter().map(|&v| f64::from(v).exp()).sum::<f64>().ln();
        assert!((single[0] - exact).abs() < 1e-9);
    }
}
