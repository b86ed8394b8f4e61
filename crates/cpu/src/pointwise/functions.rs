//! Elementary functions in f32, written without branches so that loops over them become vector code.

use std::f32::consts::LOG2_E;

/// e^x within 2 units in the last place; 0 below -104, infinity above 88.73.
///
/// `e^x = 2^n e^r` with `n = round(x log2 e)`, `|r| <= ln 2 / 2`; e^r by its Taylor series to degree 7, whose remainder
/// there is below 2^-27.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Two-part ln 2, so that n ln 2 is subtracted almost exactly (Cody and Waite).
    const HIGH: f32 = 0.693_359_4;
    const LOW: f32 = -2.121_944_4e-4;
    let clamped = x.clamp(-104.0, 89.0);
    let n = (clamped * LOG2_E).round_ties_even();
    let r = (clamped - n * HIGH) - n * LOW;
    let series = [1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let power = series.iter().fold(0.0f32, |sum, c| sum * r + c);
    // 2^n in two factors: n reaches from -150 to 128, each half stays inside the exponent range. Arithmetic that is
    // checked for overflow would not become vectors.
    let n = n as i32;
    let half = n >> 1;
    let two_to = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let result = power * two_to(half) * two_to(n.wrapping_sub(half));
    // NaN stays; `clamp` keeps it, the conversion to integer made it 0.
    if x.is_nan() { x } else { result }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh: an odd polynomial near zero (Moshier, Cephes, `tanhf`), `1 - 2 / (e^2x + 1)` beyond.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let square = x * x;
    let coefficients = [2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328e-1];
    let near = x + x * square * coefficients.iter().fold(-5.704_988_7e-3f32, |sum, c| sum * square + c);
    let far = 1.0 - 2.0 / (exp(2.0 * x) + 1.0);
    if x.abs() < 0.625 { near } else { far }
}

/// erf below 0.6: 2/sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1)).
#[inline(always)]
fn erf_near(x: f32) -> f32 {
    let square = x * x;
    let series = [-1.0 / 1320.0, 1.0 / 216.0, -1.0 / 42.0, 0.1, -1.0 / 3.0, 1.0];
    x * std::f32::consts::FRAC_2_SQRT_PI * series.iter().fold(1.0 / 9360.0, |sum, c| sum * square + c)
}

/// 1 - erf of a number that is not negative, in Hastings' form, relative error below 1.2e-7 (Press et al., Numerical
/// Recipes, section 6.2).
#[inline(always)]
fn erfc_of(a: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * a);
    let inner = [
        0.170_872_77,
        -0.822_152_2,
        1.488_515_9,
        -1.135_204,
        0.278_868_08,
        -0.186_288_06,
        0.096_784_18,
        0.374_091_96,
        1.000_023_7,
        -1.265_512_2,
    ];
    t * exp(-a * a + inner.iter().fold(0.0f32, |sum, c| sum * t + c))
}

/// Error function: the Taylor series below 0.6, 1 - erfc beyond it.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let near = erf_near(x);
    let a = x.abs();
    let far = (1.0 - erfc_of(a)).copysign(x);
    if x.is_nan() {
        x
    } else if a < 0.6 {
        near
    } else {
        far
    }
}

/// x Phi(x), Phi the normal distribution: on the left from erfc itself, so that nothing cancels.
#[inline(always)]
pub fn gelu(x: f32) -> f32 {
    let scaled = x * std::f32::consts::FRAC_1_SQRT_2;
    let half_tail = 0.5 * erfc_of(scaled.abs());
    let far = if x < 0.0 { half_tail } else { 1.0 - half_tail };
    let phi = if scaled.abs() < 0.6 { 0.5 + 0.5 * erf_near(scaled) } else { far };
    x * phi
}

/// ln(1 + e^x) without overflow.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    x.max(0.0) + exp(-x.abs()).ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place of the float64 result, over a sweep of ordinary arguments.
    fn worst(f: impl Fn(f32) -> f32, exact: impl Fn(f64) -> f64, low: f32, high: f32) -> f64 {
        let steps = 200_000;
        (0..=steps)
            .map(|i| low + (high - low) * (i as f32 / steps as f32))
            .map(|x| {
                let y = exact(f64::from(x));
                let unit = (y.abs() * 2f64.powi(-23)).max(f64::from(f32::MIN_POSITIVE) * 2f64.powi(-23));
                (f64::from(f(x)) - y).abs() / unit
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn errors_are_bounded() {
        assert!(worst(exp, f64::exp, -87.0, 88.0) < 2.0);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 80.0) < 4.0);
        assert!(worst(tanh, f64::tanh, -10.0, 10.0) < 4.0);
        let exact_gelu = |x: f64| {
            sinter_ops::pointwise::ScalarOp::Gelu
                .evaluate(sinter_base::DataType::F64, &[sinter_ops::pointwise::Scalar::Float(x)])
                .float()
        };
        assert!(worst(gelu, exact_gelu, -3.0, 10.0) < 16.0);
        assert!(worst(softplus, |x: f64| x.exp().ln_1p(), -20.0, 20.0) < 4.0);
    }

    #[test]
    fn error_function_at_tabulated_points() {
        // Abramowitz and Stegun, table 7.1.
        for (x, y) in
            [(0.1f32, 0.112_462_9f32), (0.5, 0.520_499_9), (0.7, 0.677_801_2), (1.0, 0.842_700_8), (2.0, 0.995_322_3)]
        {
            assert!((erf(x) - y).abs() < 2e-7 * y.max(1.0), "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }

    #[test]
    fn special_values() {
        assert_eq!((exp(f32::NEG_INFINITY), exp(f32::INFINITY), exp(-200.0)), (0.0, f32::INFINITY, 0.0));
        assert!(exp(f32::NAN).is_nan() && tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
        assert_eq!((tanh(100.0), tanh(-100.0), sigmoid(-200.0), sigmoid(200.0)), (1.0, -1.0, 0.0, 1.0));
        assert_eq!((erf(10.0), erf(-10.0)), (1.0, -1.0));
        assert_eq!((gelu(-1e30), gelu(f32::INFINITY), gelu(30.0)), (0.0, f32::INFINITY, 30.0));
        // Infinity times 0, as the formula has it.
        assert!(gelu(f32::NAN).is_nan() && gelu(f32::NEG_INFINITY).is_nan());
    }
}
