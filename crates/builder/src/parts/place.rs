//! Where a part lies, in elements of the value that owns the memory, for all sizes.

use sinter_base::Dim;
use sinter_plan::PlanValueId;

/// Rows of `inner` elements, `step` elements apart, the first at `offset`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rows {
    pub(crate) offset: Dim,
    pub(crate) inner: Dim,
    pub(crate) step: Dim,
}

impl Rows {
    /// The part of a value of sizes `whole` that begins at position `start` of an axis and has sizes `part`.
    pub(crate) fn along(axis: usize, start: &Dim, part: &[Dim], whole: &[Dim]) -> Self {
        Self {
            offset: start.mul(&product(&whole[axis + 1..])),
            inner: product(&part[axis..]),
            step: product(&whole[axis..]),
        }
    }

    /// Do `count` elements lie one after the other, whatever the sizes?
    pub(crate) fn is_contiguous(&self, count: &Dim) -> bool {
        self.inner == self.step || self.inner == *count
    }
}

/// A part of a value that owns its memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) whole: PlanValueId,
    pub(crate) rows: Rows,
}

impl Place {
    /// A part of this part: `rows` of it make `count` elements; this part has `own_count`. `None` where those are no rows
    /// of the whole, as with a part along one axis of a part along another.
    pub(crate) fn part(&self, own_count: &Dim, rows: &Rows, count: &Dim) -> Option<Place> {
        let own = &self.rows;
        let at = |offset: &Dim, inner: &Dim, step: &Dim| {
            let rows = Rows { offset: own.offset.add(offset), inner: inner.clone(), step: step.clone() };
            Some(Place { whole: self.whole, rows })
        };
        if own.is_contiguous(own_count) {
            return at(&rows.offset, &rows.inner, &rows.step);
        }
        if rows.step == own.inner {
            return at(&rows.offset, &rows.inner, &own.step);
        }
        // Some rows one after the other, whole ones.
        let skipped = rows.offset.exact_div(&own.inner).filter(|_| rows.is_contiguous(count))?;
        count.exact_div(&own.inner)?;
        at(&skipped.mul(&own.step), &own.inner, &own.step)
    }
}

/// The number of elements of these sizes.
pub(crate) fn product(sizes: &[Dim]) -> Dim {
    sizes.iter().fold(Dim::constant(1), |product, size| product.mul(size))
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
        // [2, 5, 3] in [2, 7, 3] from 1, and what lies in it.
        let rows = Rows::along(1, &Dim::constant(1), &dims(&[2, 5, 3]), &dims(&[2, 7, 3]));
        assert_eq!(numbers(&rows), [Some(3), Some(15), Some(21)]);
        let place = Place { whole: PlanValueId::new(0), rows };
        let inside = |axis: usize, start: i64, part: &[i64]| {
            let rows = Rows::along(axis, &Dim::constant(start), &dims(part), &dims(&[2, 5, 3]));
            place.part(&Dim::constant(30), &rows, &product(&dims(part))).map(|place| numbers(&place.rows))
        };
        assert_eq!(inside(1, 2, &[2, 1, 3]), Some([Some(9), Some(3), Some(21)]), "along the same axis");
        assert_eq!(inside(0, 1, &[1, 5, 3]), Some([Some(24), Some(15), Some(21)]), "one of its rows");
        assert_eq!(inside(2, 1, &[2, 5, 1]), None, "rows of rows");
        let n = Dim::symbol("N");
        let (part, whole) = ([n.clone(), Dim::constant(2)], [n.clone(), Dim::constant(6)]);
        let rows = Rows::along(1, &Dim::constant(4), &part, &whole);
        assert!(!rows.is_contiguous(&product(&part)), "N may be more than one");
        assert!(Rows::along(0, &n, &part, &part).is_contiguous(&product(&part)));
    }
}
