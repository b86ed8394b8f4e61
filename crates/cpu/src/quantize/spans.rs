//! Runs of elements and the scales that belong to them.
//!
//! Along a span the scale either stays the same or moves on with the element, so that inner loops look nothing up.

use std::ops::Range;

use sinter_backend::KernelError;
use sinter_base::quantization::Granularity;

/// A run of elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The elements.
    pub elements: Range<usize>,
    /// Position of the first element's scale.
    pub scale: usize,
    /// Every element has the next scale; otherwise all have the same.
    pub moving: bool,
}

/// The shape of scales beside that of elements.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// Elements of the axis.
    axis: usize,
    /// Elements behind one index of the axis.
    inner: usize,
    /// Indices of the axis that share a scale; 0 for one scale altogether.
    block: usize,
    /// Does the inner position have scales of its own?
    per_inner: bool,
    /// Does the outer position have scales of its own?
    per_outer: bool,
}

impl Spans {
    /// The spans of a tensor of these sizes with as many scales.
    ///
    /// # Errors
    /// When the scales are not as many as the granularity asks for.
    pub fn new(granularity: Granularity, sizes: &[usize], scales: usize) -> Result<Self, KernelError> {
        let of_axis = |axis: usize| -> Result<(usize, usize, usize), KernelError> {
            let missing = || KernelError::Data(format!("axis {axis} does not exist in sizes {sizes:?}"));
            let size = *sizes.get(axis).ok_or_else(missing)?;
            Ok((sizes[..axis].iter().product(), size, sizes[axis + 1..].iter().product()))
        };
        let (spans, expected) = match granularity {
            Granularity::Tensor => (Self { axis: 1, inner: 1, block: 0, per_inner: false, per_outer: false }, 1),
            Granularity::Axis { axis } => {
                let (_, axis, inner) = of_axis(axis)?;
                (Self { axis, inner, block: 1, per_inner: false, per_outer: false }, axis)
            }
            Granularity::Block { axis, size } => {
                let (outer, axis, inner) = of_axis(axis)?;
                let block = size.max(1);
                (Self { axis, inner, block, per_inner: true, per_outer: true }, outer * axis.div_ceil(block) * inner)
            }
        };
        if scales != expected {
            return Err(KernelError::Data(format!("{scales} scales instead of {expected} for sizes {sizes:?}")));
        }
        Ok(spans)
    }

    /// Calls `visit` with the spans that together are the elements of a range.
    pub fn for_each(&self, range: Range<usize>, mut visit: impl FnMut(Span)) {
        let Range { mut start, end } = range;
        while start < end {
            let span = self.from(start, end);
            start = span.elements.end;
            visit(span);
        }
    }

    /// The longest span that begins with an element.
    fn from(&self, start: usize, end: usize) -> Span {
        if self.block == 0 {
            return Span { elements: start..end, scale: 0, moving: false };
        }
        let (inside, row) = (start % self.inner, start / self.inner);
        let (index, outer) = (row % self.axis, row / self.axis);
        let blocks = self.axis.div_ceil(self.block);
        let scale_row = index / self.block + if self.per_outer { outer * blocks } else { 0 };
        let scale = if self.per_inner { scale_row * self.inner + inside } else { scale_row };
        let (length, moving) = match (self.inner, self.block) {
            // Neighbours on the axis are neighbours in memory.
            (1, 1) => (self.axis - index, true),
            (1, block) => ((block - index % block).min(self.axis - index), false),
            (inner, _) => (inner - inside, self.per_inner),
        };
        Span { elements: start..(start + length).min(end), scale, moving }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The position of every element's scale, by spans from chunks of all lengths.
    fn positions(granularity: Granularity, sizes: &[usize], scales: usize, chunk: usize) -> Vec<usize> {
        let spans = Spans::new(granularity, sizes, scales).unwrap();
        let count = sizes.iter().product::<usize>();
        let mut found = Vec::new();
        for start in (0..count).step_by(chunk) {
            spans.for_each(start..count.min(start + chunk), |span| {
                assert_eq!(span.elements.start, found.len());
                found.extend(
                    span.elements.clone().map(|i| span.scale + if span.moving { i - span.elements.start } else { 0 }),
                );
            });
        }
        found
    }

    #[test]
    fn every_element_finds_its_scale() {
        for chunk in [1, 2, 5, 100] {
            let of = |granularity, sizes: &[usize], scales| positions(granularity, sizes, scales, chunk);
            assert_eq!(of(Granularity::Tensor, &[2, 3], 1), [0; 6]);
            assert_eq!(of(Granularity::Axis { axis: 1 }, &[2, 3], 3), [0, 1, 2, 0, 1, 2]);
            assert_eq!(of(Granularity::Axis { axis: 0 }, &[2, 3], 2), [0, 0, 0, 1, 1, 1]);
            assert_eq!(of(Granularity::Block { axis: 1, size: 2 }, &[2, 3], 4), [0, 0, 1, 2, 2, 3]);
            assert_eq!(of(Granularity::Block { axis: 0, size: 2 }, &[3, 2], 4), [0, 1, 0, 1, 2, 3]);
        }
        assert!(Spans::new(Granularity::Axis { axis: 1 }, &[2, 3], 2).is_err());
    }
}
