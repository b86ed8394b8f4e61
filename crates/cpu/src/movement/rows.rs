//! Byte access to contiguous and strided views, for movement kernels.

use sinter_base::View;
use sinter_base::shape::strides;
use sinter_base::view::element_bytes;

use crate::movement::strided::{Walk, Walks};

/// The bytes of an operand in the order of its elements.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    span: &'a [u8],
    /// Bytes of a row, and from one row to the next.
    inner: usize,
    step: usize,
}

impl<'a> Source<'a> {
    /// The bytes of a view.
    pub fn of(view: View<'a>) -> Self {
        let (span, width) = (view.span_bytes(), element_bytes(view.data_type()));
        let (inner, step) =
            view.rows().map_or((span.len(), span.len()), |rows| (rows.inner * width, rows.step * width));
        Self { span, inner, step }
    }

    /// Copies the bytes from index `from` on, as many as the target has.
    #[inline]
    pub fn copy(&self, from: usize, target: &mut [u8]) {
        let Some(inner) = std::num::NonZeroUsize::new(self.inner) else { return };
        let (mut row, mut at, mut target) = (from / inner, from % inner, target);
        while !target.is_empty() {
            let length = target.len().min(self.inner - at);
            let (chunk, rest) = target.split_at_mut(length);
            chunk.copy_from_slice(&self.span[row * self.step + at..][..length]);
            (row, at, target) = (row + 1, 0, rest);
        }
    }
}

/// A walk over all elements of a view that is contiguous or whose rows are its last axis.
pub fn walks(view: View<'_>) -> Walks {
    let mut own = strides(view.sizes());
    if let Some(rows) = view.rows() {
        let outer = view.sizes().len().saturating_sub(1);
        for (stride, row) in own.iter_mut().zip(strides(&view.sizes()[..outer])) {
            *stride = row.saturating_mul(rows.step);
        }
    }
    view.sizes().iter().zip(own).map(|(&size, stride)| Walk::new(size, stride)).collect()
}
