//! The sums, products and extremes behind float reductions, always in f64: rounding affects only the last bit of an
//! f32, for any number of elements.
//!
//! A formula is a [`Fold`] of mapped elements and an end. Rows are folded in [`LANES`] interleaved lanes that meet at
//! the end; the order of operations depends on sizes only.

use sinter_ops::reduce::ReduceKind;

/// Independent accumulators of one row, enough to hide the latency of additions.
const LANES: usize = 8;

/// Elements that can be folded.
pub trait Wide: Copy + Send + Sync {
    /// The exact value.
    fn wide(self) -> f64;
}

impl Wide for f32 {
    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }
}

impl Wide for f64 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }
}

/// How mapped elements are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// Sum.
    Sum,
    /// Sum of absolute values.
    Absolute,
    /// Sum of squares.
    Squares,
    /// Sum of exponentials of differences from a shift.
    Exponentials,
    /// Product.
    Product,
    /// Largest; NaN wins.
    Max,
    /// Smallest; NaN wins.
    Min,
}

#[inline(always)]
fn larger(a: f64, b: f64) -> f64 {
    // False when either is NaN: a NaN in `a` must stay, one in `b` is taken.
    if a >= b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn smaller(a: f64, b: f64) -> f64 {
    if a <= b || a.is_nan() { a } else { b }
}

/// Runs `$body` with `$map` and `$join` bound to what a fold does; the match stays outside of loops.
macro_rules! with_fold {
    ($fold:expr, $shift:expr, ($map:ident, $join:ident) => $body:expr) => {{
        let shift: f64 = $shift;
        macro_rules! run {
            ($m:expr, $j:expr) => {{
                let ($map, $join) = ($m, $j);
                $body
            }};
        }
        let _ = shift;
        match $fold {
            Fold::Sum => run!(|x: f64| x, |a: f64, b: f64| a + b),
            Fold::Absolute => run!(|x: f64| x.abs(), |a: f64, b: f64| a + b),
            Fold::Squares => run!(|x: f64| x * x, |a: f64, b: f64| a + b),
            Fold::Exponentials => run!(|x: f64| (x - shift).exp(), |a: f64, b: f64| a + b),
            Fold::Product => run!(|x: f64| x, |a: f64, b: f64| a * b),
            Fold::Max => run!(|x: f64| x, larger),
            Fold::Min => run!(|x: f64| x, smaller),
        }
    }};
}

impl Fold {
    /// The result of an empty fold.
    pub fn start(self) -> f64 {
        match self {
            Fold::Sum | Fold::Absolute | Fold::Squares | Fold::Exponentials => 0.0,
            Fold::Product => 1.0,
            Fold::Max => f64::NEG_INFINITY,
            Fold::Min => f64::INFINITY,
        }
    }

    /// Joins two results.
    pub fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Fold::Sum | Fold::Absolute | Fold::Squares | Fold::Exponentials => a + b,
            Fold::Product => a * b,
            Fold::Max => larger(a, b),
            Fold::Min => smaller(a, b),
        }
    }

    /// Folds consecutive elements.
    pub fn row<T: Wide>(self, row: &[T], shift: f64) -> f64 {
        let start = self.start();
        with_fold!(self, shift, (map, join) => {
            let mut lanes = [start; LANES];
            let chunks = row.chunks_exact(LANES);
            let rest = chunks.remainder();
            for chunk in chunks {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane = join(*lane, map(x.wide()));
                }
            }
            for (lane, x) in lanes.iter_mut().zip(rest) {
                *lane = join(*lane, map(x.wide()));
            }
            lanes.into_iter().fold(start, |a, b| join(a, b))
        })
    }

    /// Folds a row into a row of results, element by element, each with its own shift (none for most folds).
    pub fn columns<T: Wide>(self, totals: &mut [f64], row: &[T], shifts: &[f64]) {
        if self == Fold::Exponentials {
            for ((total, x), shift) in totals.iter_mut().zip(row).zip(shifts) {
                *total += (x.wide() - shift).exp();
            }
            return;
        }
        with_fold!(self, 0.0, (map, join) => {
            for (total, x) in totals.iter_mut().zip(row) {
                *total = join(*total, map(x.wide()));
            }
        });
    }
}

/// The fold of a formula.
pub fn fold_of(kind: ReduceKind) -> Fold {
    match kind {
        ReduceKind::Sum | ReduceKind::Mean | ReduceKind::LogSum => Fold::Sum,
        ReduceKind::Product => Fold::Product,
        ReduceKind::Max => Fold::Max,
        ReduceKind::Min => Fold::Min,
        ReduceKind::L1 => Fold::Absolute,
        ReduceKind::L2 | ReduceKind::SumSquare => Fold::Squares,
        ReduceKind::LogSumExp => Fold::Exponentials,
    }
}

/// The end of a formula over `count` elements; `shift` is the one that exponentials were computed with.
pub fn finish(kind: ReduceKind, total: f64, count: usize, shift: f64) -> f64 {
    match kind {
        ReduceKind::Mean => total / count as f64,
        ReduceKind::L2 => total.sqrt(),
        ReduceKind::LogSum => total.ln(),
        // A maximum of infinity or NaN is the result itself.
        ReduceKind::LogSumExp if shift.is_finite() => shift + total.ln(),
        ReduceKind::LogSumExp => shift,
        _ => total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_keep_nan() {
        for fold in [Fold::Max, Fold::Min] {
            for row in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, f64::NAN]] {
                assert!(fold.row(&row, 0.0).is_nan());
            }
        }
        assert_eq!(Fold::Max.row(&[1.0f32, 3.0, 2.0], 0.0), 3.0);
        assert_eq!(Fold::Min.row::<f32>(&[], 0.0), f64::INFINITY);
    }

    #[test]
    fn long_rows_meet_in_lanes() {
        let row: Vec<f32> = (1..=101).map(|v| v as f32).collect();
        assert_eq!(Fold::Sum.row(&row, 0.0), 5151.0);
        assert_eq!(Fold::Squares.row(&row, 0.0), 348_551.0);
        assert!((Fold::Exponentials.row(&[3.0f32, 3.0], 3.0) - 2.0).abs() < 1e-15);
    }
}
