//! Buffer aliases: places them once sizes are known, and checks their places.
//!
//! A kernel trusts the memory that it gets, and a plan may come from an untrusted source. So every alias must lie inside of
//! its base buffer, and the operands of a concatenation without a kernel must fill its result side by side, for any
//! contents of the registers.

use sinter_base::Rows;
use sinter_base::shape::element_count;

use crate::error::RuntimeError;
use crate::frame::Frame;
use crate::layout::{AliasedValue, Join, Layout};
use crate::registers::size_of_register;

/// An alias, in elements of its base.
#[derive(Clone, Copy)]
struct Extent {
    offset: usize,
    count: usize,
    rows: Rows,
}

impl Frame {
    /// Places all aliases; their base buffers have been placed before.
    pub(crate) fn place_aliases(&mut self, layout: &Layout, registers: &[i64]) -> Result<(), RuntimeError> {
        self.rows.resize(self.sizes.len(), Rows { inner: 0, step: 0 });
        for placed in &layout.parts {
            let AliasedValue { value, part, width } = *placed;
            let extent = self.extent(placed, registers)?;
            let span = extent.rows.span(extent.count);
            let end = span.and_then(|span| extent.offset.checked_add(span));
            let base = self.sizes.get(part.base.index()).and_then(|sizes| element_count(sizes));
            let (Some(end), Some(base)) = (end, base) else { return Err(outside(placed)) };
            // An empty alias gets an empty range at the start of its base, so that no other range overlaps it.
            let (offset, end) = if extent.count == 0 { (0, 0) } else { (extent.offset, end) };
            let first = self.ranges.get(part.base.index()).map(|range| range.start);
            let (Some(first), true) = (first, end <= base) else { return Err(outside(placed)) };
            // The base buffer lies in memory, so bytes do not overflow.
            if let (Some(range), Some(rows)) = (self.ranges.get_mut(value), self.rows.get_mut(value)) {
                *range =
                    first.saturating_add(offset.saturating_mul(width))..first.saturating_add(end.saturating_mul(width));
                *rows = extent.rows;
            }
        }
        layout.joins.iter().try_for_each(|join| self.check_join(layout, registers, join))
    }

    fn extent(&self, placed: &AliasedValue, registers: &[i64]) -> Result<Extent, RuntimeError> {
        let number = |register: sinter_plan::Register| {
            let value = usize::try_from(register.0).ok().and_then(|at| registers.get(at)).copied().unwrap_or(-1);
            size_of_register(value, &|| format!("a part of {}", placed.part.base))
        };
        let count = self.sizes.get(placed.value).and_then(|sizes| element_count(sizes));
        let (inner, step) = (number(placed.part.inner)?, number(placed.part.step)?);
        let count = count.ok_or_else(|| outside(placed))?;
        Ok(Extent { offset: number(placed.part.offset)?, count, rows: Rows { inner, step } })
    }

    /// Do the aliases fill every row of the base, one after the other?
    fn check_join(&self, layout: &Layout, registers: &[i64], join: &Join) -> Result<(), RuntimeError> {
        let damaged = || RuntimeError::Damaged(format!("the parts of {} do not fill it side by side", join.base));
        let extent = |place: usize| self.extent(layout.parts.get(place).ok_or_else(damaged)?, registers);
        let count = self.sizes.get(join.base.index()).and_then(|sizes| element_count(sizes)).ok_or_else(damaged)?;
        let own = join.own.map(extent).transpose()?;
        let mut at = own.map_or(0, |own| own.offset);
        let mut filled = 0usize;
        let mut lines = None;
        for place in &join.parts {
            let part = extent(place.ok_or_else(damaged)?)?;
            if part.count == 0 {
                continue;
            }
            // A single row may have any row pitch.
            let rows = part.count.checked_div(part.rows.inner).ok_or_else(damaged)?;
            let step = if rows > 1 { part.rows.step } else { 0 };
            if part.offset != at || *lines.get_or_insert((rows, step)) != (rows, step) {
                return Err(damaged());
            }
            at = at.saturating_add(part.rows.inner);
            filled = filled.saturating_add(part.rows.inner);
        }
        let (rows, step) = lines.unwrap_or_default();
        let is_full = filled.saturating_mul(rows) == count;
        // The rows of all aliases together make the rows of the base, and both have the same row pitch.
        let fits = rows < 2
            || match own.filter(|own| !own.rows.is_contiguous(own.count)) {
                None => step == filled,
                Some(own) => step == own.rows.step && filled == own.rows.inner,
            };
        let single_fits = rows != 1 || own.is_none_or(|own| own.rows.is_contiguous(own.count));
        if is_full && fits && single_fits { Ok(()) } else { Err(damaged()) }
    }
}

fn outside(placed: &AliasedValue) -> RuntimeError {
    RuntimeError::Damaged(format!("v{} does not lie inside of {}", placed.value, placed.part.base))
}
