//! Float64 matrix products for the fast evaluator, by the `gemm` crate.
#![allow(unsafe_code, reason = "the gemm crate takes pointers; this one function checks what it may touch")]

use gemm::Parallelism;

/// A matrix inside a slice: element (i, j) lies at `offset + i * row_stride + j * column_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixView<'a> {
    pub(crate) data: &'a [f64],
    pub(crate) offset: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl MatrixView<'_> {
    /// Does every element of a `rows` by `columns` matrix lie inside the slice?
    fn holds(&self, rows: usize, columns: usize) -> bool {
        if rows == 0 || columns == 0 {
            return true;
        }
        let last = (rows - 1)
            .checked_mul(self.row_stride)
            .zip((columns - 1).checked_mul(self.column_stride))
            .and_then(|(r, c)| r.checked_add(c))
            .and_then(|at| at.checked_add(self.offset));
        last.is_some_and(|last| last < self.data.len())
    }
}

/// Who computes a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The calling thread: its neighbours compute others.
    One,
    /// All threads together.
    All,
}

/// `c = a b` with `c` row-major of exactly `m n` elements.
///
/// # Panics
/// When a view does not hold its matrix: an error of the caller, never of data.
pub(crate) fn product(
    m: usize,
    n: usize,
    k: usize,
    a: MatrixView<'_>,
    b: MatrixView<'_>,
    c: &mut [f64],
    threads: Threads,
) {
    assert!(a.holds(m, k) && b.holds(k, n) && Some(c.len()) == m.checked_mul(n), "a matrix exceeds its slice");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        return c.fill(0.0);
    }
    let signed = |stride: usize| isize::try_from(stride).unwrap_or(isize::MAX);
    // SAFETY: `holds` proved that every element of a and b lies inside its slice, c has m n elements with row stride n
    // and is borrowed mutably, hence aliases neither; destination is not read (`read_dst` false).
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            signed(n),
            false,
            a.data.as_ptr().add(a.offset),
            signed(a.column_stride),
            signed(a.row_stride),
            b.data.as_ptr().add(b.offset),
            signed(b.column_stride),
            signed(b.row_stride),
            0.0,
            1.0,
            false,
            false,
            false,
            if threads == Threads::All { Parallelism::Rayon(0) } else { Parallelism::None },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_operands() {
        // a is the transpose of a stored 3 x 2 matrix, b starts at an offset.
        let a = MatrixView { data: &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], offset: 0, row_stride: 1, column_stride: 2 };
        let b = MatrixView { data: &[9.0, 1.0, 0.0, 2.0], offset: 1, row_stride: 1, column_stride: 1 };
        let mut c = [f64::NAN; 2];
        product(2, 1, 3, a, b, &mut c, Threads::All);
        assert_eq!(c, [11.0, 14.0]);
        product(2, 1, 0, a, b, &mut c, Threads::All);
        assert_eq!(c, [0.0, 0.0]);
    }
}
