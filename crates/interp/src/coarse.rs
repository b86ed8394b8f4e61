//! Numbers of fewer digits.
//!
//! Random perturbations of a reference run show on which side of an edge a number may lie, but never the edge itself:
//! no perturbed difference is zero, and no two perturbed numbers are equal. A kernel may give that case, where the
//! exact result is next to it. Numbers that rounding alone separates are equal once both are coarse, except next to an
//! edge of two cells; so runs come in pairs, and the second has its edges elsewhere. In the one all zeros are positive,
//! in the other negative: no rule says which zero is the larger one.

/// The number of a cell that stands for all of its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coarse {
    /// The nearest multiple of the cell's width.
    Nearest,
    /// The next multiple below.
    Below,
}

/// 2^-120: kernels may lose smaller numbers, where an operation makes subnormal ones on the way.
const LEAST: f64 = f64::from_bits((1023 - 120) << 52);

impl Coarse {
    /// Width of the cells of numbers that are compared, in units of the noise. There, numbers are equal whose errors grew on the
    /// way; in narrow cells, each operation in front may move one of them to the next cell.
    pub const WIDE: f64 = 32.0;

    /// Both ways.
    pub const RUNS: [Self; 2] = [Self::Nearest, Self::Below];

    /// The coarse number, in cells of a width relative to it, rounded up to a power of two. Zero for tiny ones.
    pub fn of(self, v: f64, cell: f64) -> f64 {
        if !v.is_finite() || cell <= 0.0 {
            return v;
        }
        let width = (v.abs() * cell).log2().floor().exp2();
        match self {
            Self::Nearest if v.abs() < LEAST => 0.0,
            Self::Below if v.abs() < LEAST => -0.0,
            Self::Nearest => (v / width).round() * width,
            Self::Below => (v / width).floor() * width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_rounding_separates_become_equal() {
        let unit = 2f64.powi(-23);
        for at in 0..1000 {
            let v = 1.0 + f64::from(at) * 0.00731;
            let close = v * (1.0 + 2.0 * unit);
            let equal = |coarse: Coarse| coarse.of(v, 16.0 * unit) == coarse.of(close, 16.0 * unit);
            assert!(Coarse::RUNS.into_iter().any(equal), "{v}");
            for coarse in Coarse::RUNS {
                assert!((coarse.of(-v, 16.0 * unit) + v).abs() <= 16.0 * unit * v, "{v}");
            }
        }
    }

    #[test]
    fn special_numbers() {
        for coarse in Coarse::RUNS {
            assert_eq!(coarse.of(0.75, 2f64.powi(-19)), 0.75, "few digits stay");
            assert_eq!(coarse.of(1.0 / 3.0, 0.0), 1.0 / 3.0, "no cells");
            assert!(coarse.of(f64::NAN, 0.1).is_nan());
            assert_eq!(coarse.of(f64::NEG_INFINITY, 0.1), f64::NEG_INFINITY);
            assert_eq!(coarse.of(-1e-40, 2f64.powi(-19)), 0.0);
        }
        assert_eq!(Coarse::RUNS.map(|coarse| 1.0 / coarse.of(0.0, 0.1)), [f64::INFINITY, f64::NEG_INFINITY]);
    }
}
