//! Where an alias lies, in elements of its base buffer, for all sizes: the builder writes it, the reader checks it.

use sinter_backend::Region;
use sinter_base::Dim;
use sinter_ops::axes::axis_of;

use crate::plan::PlanValueId;

/// Bounds of a slice beyond this reach past any size, as for [`sinter_ops::movement::Slice`].
const BEYOND: i64 = 0x7FFF_FFFF;

/// Rows of `inner` elements, `step` elements apart, the first at `offset`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The first element.
    pub offset: Dim,
    /// Elements of a row.
    pub inner: Dim,
    /// The row pitch: elements from the start of a row to the start of the next.
    pub step: Dim,
}

impl Rows {
    /// The rows of a slice with sizes `slice` that begins at position `start` of an axis of a value.
    pub fn along(axis: usize, start: &Dim, slice: &[Dim], base: &[Dim]) -> Self {
        let from = |sizes: &[Dim], axis: usize| product(sizes.get(axis..).unwrap_or_default());
        Self {
            offset: start.mul(&from(base, axis.saturating_add(1))),
            inner: from(slice, axis),
            step: from(base, axis),
        }
    }

    /// Are `count` elements contiguous for all sizes?
    pub fn is_contiguous(&self, count: &Dim) -> bool {
        self.inner == self.step || self.inner == *count
    }

    /// Do `count` elements have the same places?
    fn is_like(&self, other: &Self, count: &Dim) -> bool {
        let both = self.is_contiguous(count) && other.is_contiguous(count);
        self.offset == other.offset && (both || (&self.inner, &self.step) == (&other.inner, &other.step))
    }
}

/// An alias of a base buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct SymbolicAlias {
    /// The value that owns the memory.
    pub base: PlanValueId,
    /// The rows in that memory.
    pub rows: Rows,
}

impl SymbolicAlias {
    /// An alias of this alias: `rows` of it make `count` elements; this alias has `own_count`. `None` where those are
    /// no rows of the base buffer, as for a slice along one axis of a slice along another.
    pub fn alias(&self, own_count: &Dim, rows: &Rows, count: &Dim) -> Option<SymbolicAlias> {
        let own = &self.rows;
        let at = |offset: &Dim, inner: &Dim, step: &Dim| {
            let rows = Rows { offset: own.offset.add(offset), inner: inner.clone(), step: step.clone() };
            Some(SymbolicAlias { base: self.base, rows })
        };
        if own.is_contiguous(own_count) {
            return at(&rows.offset, &rows.inner, &rows.step);
        }
        if rows.step == own.inner {
            return at(&rows.offset, &rows.inner, &own.step);
        }
        // Some whole rows, one after the other.
        let skipped = rows.offset.exact_div(&own.inner).filter(|_| rows.is_contiguous(count))?;
        count.exact_div(&own.inner)?;
        at(&skipped.mul(&own.step), &own.inner, &own.step)
    }

    /// Do `count` elements have the same places?
    pub fn is_like(&self, other: &Self, count: &Dim) -> bool {
        self.base == other.base && self.rows.is_like(&other.rows, count)
    }
}

/// The number of elements of these sizes.
pub fn product(sizes: &[Dim]) -> Dim {
    sizes.iter().fold(Dim::constant(1), |product, size| product.mul(size))
}

/// The axis that a slice cuts, and where the slice begins.
///
/// # Errors
/// Why the slice cannot be an alias, or why that is unknown before a run.
pub fn taken(region: &Region, data: &[Dim], result: &[Dim]) -> Result<(usize, Dim), String> {
    let ints = |operand: usize| region.input(operand).and_then(|ty| ty.ints());
    let is_left_out = |operand: usize| region.input(operand).is_none();
    let starts = ints(1).ok_or("its start is dynamic")?;
    if !is_left_out(4) && !ints(4).is_some_and(|steps| steps.iter().all(|step| step.as_constant() == Some(1))) {
        return Err("it takes steps".to_owned());
    }
    let axes: Vec<usize> = match region.input(3) {
        None => (0..starts.len()).collect(),
        Some(ty) => {
            let axes = ty.constant_ints().ok_or("its axes are dynamic")?;
            axes.iter().map(|axis| axis_of(*axis, data.len()).map_err(|e| e.to_string())).collect::<Result<_, _>>()?
        }
    };
    let mut cut = axes.iter().zip(starts).filter(|(axis, _)| data.get(**axis) != result.get(**axis));
    let (Some((&axis, start)), None) = (cut.next(), cut.next()) else {
        return Err("it cuts several axes, or none".to_owned());
    };
    let size = data.get(axis).ok_or("it cuts an axis that is not there")?;
    let start = match start.as_constant() {
        Some(at) if at.saturating_abs() >= BEYOND => return Err("its start is beyond all sizes".to_owned()),
        _ if start.lower_bound() >= 0 => start.clone(),
        _ if start.upper_bound() < 0 => start.add(size).maximum(&Dim::constant(0)),
        _ => return Err("its start is dynamic".to_owned()),
    };
    Ok((axis, start.minimum(size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(sizes: &[i64]) -> Vec<Dim> {
        sizes.iter().map(|size| Dim::constant(*size)).collect()
    }

    fn numbers(rows: &Rows) -> [Option<i64>; 3] {
        [&rows.offset, &rows.inner, &rows.step].map(Dim::as_constant)
    }

    #[test]
    fn parts_of_parts() {
        // [2, 5, 3] in [2, 7, 3] from 1, and aliases inside of it.
        let rows = Rows::along(1, &Dim::constant(1), &dims(&[2, 5, 3]), &dims(&[2, 7, 3]));
        assert_eq!(numbers(&rows), [Some(3), Some(15), Some(21)]);
        let place = SymbolicAlias { base: PlanValueId::new(0), rows };
        let inside = |axis: usize, start: i64, part: &[i64]| {
            let rows = Rows::along(axis, &Dim::constant(start), &dims(part), &dims(&[2, 5, 3]));
            place.alias(&Dim::constant(30), &rows, &product(&dims(part))).map(|place| numbers(&place.rows))
        };
        assert_eq!(inside(1, 2, &[2, 1, 3]), Some([Some(9), Some(3), Some(21)]), "along the same axis");
        assert_eq!(inside(0, 1, &[1, 5, 3]), Some([Some(24), Some(15), Some(21)]), "one of its rows");
        assert_eq!(inside(2, 1, &[2, 5, 1]), None, "rows of rows");
        let n = Dim::symbol("N");
        let (part, base) = ([n.clone(), Dim::constant(2)], [n.clone(), Dim::constant(6)]);
        let rows = Rows::along(1, &Dim::constant(4), &part, &base);
        assert!(!rows.is_contiguous(&product(&part)), "N may be more than one");
        assert!(Rows::along(0, &n, &part, &part).is_contiguous(&product(&part)));
    }
}
