//! Operations on float columns.

use sinter_base::DataType;
use sinter_ops::pointwise::ScalarOp;

use crate::pointwise::functions;

/// `2 sqrt(2 / pi)`, and the same times 0.044715: the tanh form of GELU as a sigmoid.
const TWICE_ROOT: f64 = 1.595_769_121_605_731;
const CUBIC: f64 = 0.071_354_816_282_640_9;

/// Arithmetic that both float widths share.
pub trait Real: Copy + PartialOrd + 'static {
    /// `y = op(a, b)`; false for what is no float operation. Always inlined: the loop is compiled for the caller's
    /// instruction set, which a function pointer would lose.
    fn function(op: ScalarOp, y: &mut [Self], a: &[Self], b: &[Self]) -> bool;

    /// A comparison or test, into an integer column; false for what is none.
    fn test(op: ScalarOp, y: &mut [i64], a: &[Self], b: &[Self]) -> bool;
}

macro_rules! real {
    ($t:ty, $exp:expr, $sigmoid:expr, $tanh:expr, $erf:expr, $softplus:expr, $gelu:expr) => {
        impl Real for $t {
            #[inline(always)]
            fn function(op: ScalarOp, y: &mut [$t], a: &[$t], b: &[$t]) -> bool {
                // Loops, not closures: a closure that is not inlined would be compiled for the oldest machine.
                macro_rules! unary {
                    ($x:ident => $e:expr) => {
                        for (y, &$x) in y.iter_mut().zip(a) {
                            *y = $e;
                        }
                    };
                }
                macro_rules! binary {
                    ($x:ident, $z:ident => $e:expr) => {
                        for ((y, &$x), &$z) in y.iter_mut().zip(a).zip(b) {
                            *y = $e;
                        }
                    };
                }
                match op {
                    ScalarOp::Neg => unary!(x => -x),
                    ScalarOp::Abs => unary!(x => x.abs()),
                    ScalarOp::Sign => unary!(x => if x == 0.0 || x.is_nan() { x } else { x.signum() }),
                    ScalarOp::Floor => unary!(x => x.floor()),
                    ScalarOp::Ceil => unary!(x => x.ceil()),
                    ScalarOp::Round => unary!(x => x.round_ties_even()),
                    ScalarOp::Reciprocal => unary!(x => 1.0 / x),
                    ScalarOp::Sqrt => unary!(x => x.sqrt()),
                    ScalarOp::Exp => unary!(x => $exp(x)),
                    ScalarOp::Log => unary!(x => x.ln()),
                    ScalarOp::Softplus => unary!(x => $softplus(x)),
                    ScalarOp::Sigmoid => unary!(x => $sigmoid(x)),
                    ScalarOp::Erf => unary!(x => $erf(x)),
                    ScalarOp::Gelu => unary!(x => $gelu(x)),
                    // (1 + tanh t) / 2 = sigmoid(2 t).
                    ScalarOp::GeluTanh => unary!(x => x * $sigmoid(x * (TWICE_ROOT as $t + CUBIC as $t * x * x))),
                    ScalarOp::Swish => unary!(x => x * $sigmoid(x)),
                    ScalarOp::HardSigmoid => unary!(x => (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0)),
                    ScalarOp::HardSwish => unary!(x => x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0)),
                    ScalarOp::Mish => unary!(x => x * $tanh($softplus(x))),
                    ScalarOp::Sin => unary!(x => x.sin()),
                    ScalarOp::Cos => unary!(x => x.cos()),
                    ScalarOp::Tan => unary!(x => x.tan()),
                    ScalarOp::Asin => unary!(x => x.asin()),
                    ScalarOp::Acos => unary!(x => x.acos()),
                    ScalarOp::Atan => unary!(x => x.atan()),
                    ScalarOp::Sinh => unary!(x => x.sinh()),
                    ScalarOp::Cosh => unary!(x => x.cosh()),
                    ScalarOp::Tanh => unary!(x => $tanh(x)),
                    // In f64: the algorithm doubles its argument.
                    ScalarOp::Asinh => unary!(x => f64::from(x).asinh() as $t),
                    ScalarOp::Acosh => unary!(x => f64::from(x).acosh() as $t),
                    ScalarOp::Atanh => unary!(x => x.atanh()),
                    ScalarOp::Add => binary!(x, z => x + z),
                    ScalarOp::Sub => binary!(x, z => x - z),
                    ScalarOp::Mul => binary!(x, z => x * z),
                    ScalarOp::Div => binary!(x, z => x / z),
                    ScalarOp::Mod => binary!(x, z => {
                        let r = x % z;
                        if r != 0.0 && (r < 0.0) != (z < 0.0) { r + z } else { r }
                    }),
                    ScalarOp::Fmod => binary!(x, z => x % z),
                    ScalarOp::Pow => binary!(x, z => x.powf(z)),
                    // The comparison is false for a NaN in z, which then wins; the sum propagates a NaN in x.
                    ScalarOp::Min => binary!(x, z => if x.is_nan() { x } else if x < z { x } else { z }),
                    ScalarOp::Max => binary!(x, z => if x.is_nan() { x } else if x > z { x } else { z }),
                    _ => return false,
                }
                true
            }

            #[inline(always)]
            fn test(op: ScalarOp, y: &mut [i64], a: &[$t], b: &[$t]) -> bool {
                macro_rules! test {
                    ($x:ident, $z:ident => $e:expr) => {
                        for ((y, &$x), &$z) in y.iter_mut().zip(a).zip(b) {
                            *y = i64::from($e);
                        }
                    };
                }
                match op {
                    ScalarOp::Equal => test!(x, z => x == z),
                    ScalarOp::Less => test!(x, z => x < z),
                    ScalarOp::LessOrEqual => test!(x, z => x <= z),
                    ScalarOp::IsNan => test!(x, _z => x.is_nan()),
                    ScalarOp::IsPositiveInfinity => test!(x, _z => x == <$t>::INFINITY),
                    ScalarOp::IsNegativeInfinity => test!(x, _z => x == <$t>::NEG_INFINITY),
                    _ => return false,
                }
                true
            }
        }
    };
}

real!(f32, functions::exp, functions::sigmoid, functions::tanh, functions::erf, functions::softplus, functions::gelu);
real!(
    f64,
    f64::exp,
    |x: f64| 1.0 / (1.0 + (-x).exp()),
    f64::tanh,
    libm::erf,
    |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p(),
    // The complement keeps its digits where the distribution ends: x times its rounding error would be large there.
    |x: f64| x * (0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2))
);

/// Rounds an f32 column to a narrower type.
pub fn round_to(data_type: DataType, column: &mut [f32]) {
    match data_type {
        DataType::F16 => column.iter_mut().for_each(|v| *v = half::f16::from_f32(*v).to_f32()),
        DataType::Bf16 => column.iter_mut().for_each(|v| *v = half::bf16::from_f32(*v).to_f32()),
        DataType::F32 | DataType::F64 => {}
        narrow => column.iter_mut().for_each(|v| *v = narrow.round(f64::from(*v)) as f32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gelu_in_float64_ends_at_zero() {
        let mut y = [f64::NAN; 3];
        assert!(f64::function(ScalarOp::Gelu, &mut y, &[1.0, -6.0, -1e17], &[0.0; 3]));
        assert!((y[0] - 0.841_344_746_068_542_9).abs() < 1e-14, "{y:?}");
        assert!((y[1] / (-6.0 * 9.865_876_450_376_946e-10) - 1.0).abs() < 1e-9, "{y:?}");
        assert_eq!(y[2], 0.0);
    }

    #[test]
    fn minimum_and_maximum_keep_nan() {
        for op in [ScalarOp::Min, ScalarOp::Max] {
            let mut y = [0.0; 2];
            assert!(f32::function(op, &mut y, &[f32::NAN, 1.0], &[1.0, f32::NAN]));
            assert!(y.iter().all(|v| v.is_nan()));
        }
    }
}
