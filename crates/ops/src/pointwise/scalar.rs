//! Scalar operations: what one element of a pointwise computation can do.
//!
//! Floats are computed in float64 and rounded once to the compute type after every operation, which equals the
//! correctly rounded result for `+ - * / sqrt` in f32 and below. Integers are computed in 128 bits and wrapped.

use sinter_base::halves::float_of;
use sinter_base::minifloat::{MiniFloat, Overflow, ScaleRounding};
use sinter_base::{DataType, DataType as T};

/// How a cast treats what does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CastMode {
    /// To an 8-bit float: values beyond the range become the largest finite one instead of infinity or NaN.
    pub saturate: bool,
    /// Rounding to f8e8m0.
    pub scale_rounding: ScaleRounding,
}

impl Default for CastMode {
    fn default() -> Self {
        Self { saturate: true, scale_rounding: ScaleRounding::Up }
    }
}

/// A value of one element.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    /// Of a float type.
    Float(f64),
    /// Of an integer type or bool (0 or 1).
    Int(i128),
}

/// Equal bits, so that steps with 0 and -0 are two and a NaN is found again.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Scalar::Float(a), Scalar::Float(b)) => a.to_bits() == b.to_bits(),
            (Scalar::Int(a), Scalar::Int(b)) => a == b,
            _ => false,
        }
    }
}

impl Scalar {
    /// As a float.
    pub fn float(self) -> f64 {
        match self {
            Scalar::Float(v) => v,
            Scalar::Int(v) => v as f64,
        }
    }

    /// As an integer; floats truncate.
    pub fn int(self) -> i128 {
        match self {
            Scalar::Float(v) => v as i128,
            Scalar::Int(v) => v,
        }
    }

    /// As a truth value.
    pub fn truth(self) -> bool {
        match self {
            Scalar::Float(v) => v != 0.0,
            Scalar::Int(v) => v != 0,
        }
    }

    /// Rounded or wrapped into a type of the same class.
    fn into_type(self, data_type: DataType) -> Self {
        match self {
            Scalar::Float(v) if data_type.is_float() => Scalar::Float(data_type.round(v)),
            Scalar::Int(v) if !data_type.is_float() => Scalar::Int(data_type.wrap(v)),
            other => other,
        }
    }

    /// Converted to another type as ONNX Cast does: floats to integers truncate toward zero; what does not fit an
    /// integer of eight bits or more wraps, below eight bits too (NumPy's and ONNX's reference behaviour); NaN gives 0.
    pub fn cast(self, to: DataType, mode: CastMode) -> Self {
        if to == T::Bool {
            return Scalar::Int(i128::from(self.truth()));
        }
        if to.is_integer() {
            return Scalar::Int(to.wrap(self.int()));
        }
        let value = match self {
            Scalar::Int(value) if to != T::F64 => float_of(value),
            _ => self.float(),
        };
        let overflow = if mode.saturate { Overflow::Saturate } else { Overflow::Special };
        match (to, to.mini_float()) {
            (T::F8E8M0, _) => {
                let code = MiniFloat::encode_scale(value, mode.scale_rounding, overflow);
                Scalar::Float(MiniFloat::E8M0.decode(code))
            }
            (_, Some(format)) => Scalar::Float(format.decode(format.encode(value, overflow))),
            (_, None) => Scalar::Float(to.round(value)),
        }
    }
}

/// Number of arguments and the types an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One argument of a float type.
    FloatUnary,
    /// One argument of any numeric type.
    Unary,
    /// Two arguments of one numeric type.
    Binary,
    /// Two arguments of one integer type.
    IntegerBinary,
    /// Two arguments of one type, result bool.
    Comparison,
    /// Two bool arguments.
    Logic,
    /// One argument of a float type, result bool.
    FloatTest,
    /// A bool and two arguments of one type.
    Select,
    /// One argument of any type; the compute type is the target.
    Cast,
}

macro_rules! scalar_ops {
    ($($(#[$doc:meta])* $name:ident $text:literal $class:ident;)*) => {
        /// One scalar operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ScalarOp {
            $($(#[$doc])* $name,)*
            /// Conversion to the compute type.
            Cast(CastMode),
        }

        impl ScalarOp {
            /// Every operation but the casts.
            pub const ALL: &'static [ScalarOp] = &[$(ScalarOp::$name),*];

            /// Name in text forms; casts carry their mode.
            pub fn name(self) -> String {
                match self {
                    $(ScalarOp::$name => $text.to_owned(),)*
                    ScalarOp::Cast(mode) => {
                        let mut name = "cast".to_owned();
                        if !mode.saturate {
                            name.push_str("_wrap");
                        }
                        name.push_str(match mode.scale_rounding {
                            ScaleRounding::Up => "",
                            ScaleRounding::Down => "_down",
                            ScaleRounding::Nearest => "_nearest",
                        });
                        name
                    }
                }
            }

            /// The operation of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                let modes = [true, false].into_iter().flat_map(|saturate| {
                    [ScaleRounding::Up, ScaleRounding::Down, ScaleRounding::Nearest]
                        .map(|scale_rounding| ScalarOp::Cast(CastMode { saturate, scale_rounding }))
                });
                Self::ALL.iter().copied().chain(modes).find(|op| op.name() == name)
            }

            /// Arguments and types.
            pub fn class(self) -> Class {
                match self {
                    $(ScalarOp::$name => Class::$class,)*
                    ScalarOp::Cast(_) => Class::Cast,
                }
            }
        }
    };
}

scalar_ops! {
    /// -x.
    Neg "neg" Unary;
    /// |x|.
    Abs "abs" Unary;
    /// -1, 0 or 1; NaN stays.
    Sign "sign" Unary;
    /// Largest integer not above x.
    Floor "floor" FloatUnary;
    /// Smallest integer not below x.
    Ceil "ceil" FloatUnary;
    /// Nearest integer, ties to even.
    Round "round" FloatUnary;
    /// 1 / x.
    Reciprocal "reciprocal" FloatUnary;
    /// Square root.
    Sqrt "sqrt" FloatUnary;
    /// e^x.
    Exp "exp" FloatUnary;
    /// Natural logarithm.
    Log "log" FloatUnary;
    /// ln(1 + e^x), computed without overflow.
    Softplus "softplus" FloatUnary;
    /// 1 / (1 + e^-x).
    Sigmoid "sigmoid" FloatUnary;
    /// Error function.
    Erf "erf" FloatUnary;
    /// x Phi(x), Phi the normal distribution (Hendrycks and Gimpel 2016).
    Gelu "gelu" FloatUnary;
    /// x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, the approximation of the same paper.
    GeluTanh "gelu_tanh" FloatUnary;
    /// x / (1 + e^-x), also called SiLU.
    Swish "swish" FloatUnary;
    /// max(0, min(1, x / 6 + 1 / 2)).
    HardSigmoid "hard_sigmoid" FloatUnary;
    /// x max(0, min(1, x / 6 + 1 / 2)).
    HardSwish "hard_swish" FloatUnary;
    /// x tanh(ln(1 + e^x)).
    Mish "mish" FloatUnary;
    /// Sine.
    Sin "sin" FloatUnary;
    /// Cosine.
    Cos "cos" FloatUnary;
    /// Tangent.
    Tan "tan" FloatUnary;
    /// Inverse sine.
    Asin "asin" FloatUnary;
    /// Inverse cosine.
    Acos "acos" FloatUnary;
    /// Inverse tangent.
    Atan "atan" FloatUnary;
    /// Hyperbolic sine.
    Sinh "sinh" FloatUnary;
    /// Hyperbolic cosine.
    Cosh "cosh" FloatUnary;
    /// Hyperbolic tangent.
    Tanh "tanh" FloatUnary;
    /// Inverse hyperbolic sine.
    Asinh "asinh" FloatUnary;
    /// Inverse hyperbolic cosine.
    Acosh "acosh" FloatUnary;
    /// Inverse hyperbolic tangent.
    Atanh "atanh" FloatUnary;
    /// x + y.
    Add "add" Binary;
    /// x - y.
    Sub "sub" Binary;
    /// x * y.
    Mul "mul" Binary;
    /// x / y; integers truncate toward zero, by zero give 0.
    Div "div" Binary;
    /// Remainder with the sign of y (Python's `%`).
    Mod "mod" Binary;
    /// Remainder with the sign of x (C's `fmod`).
    Fmod "fmod" Binary;
    /// x^y; 0^0 = 1.
    Pow "pow" Binary;
    /// The smaller; NaN if either is.
    Min "min" Binary;
    /// The larger; NaN if either is.
    Max "max" Binary;
    /// Bits set in both.
    BitAnd "bit_and" IntegerBinary;
    /// Bits set in either.
    BitOr "bit_or" IntegerBinary;
    /// Bits set in one.
    BitXor "bit_xor" IntegerBinary;
    /// x * 2^y without the bits that leave the type; 0 when y is at least the width.
    ShiftLeft "shift_left" IntegerBinary;
    /// floor(x / 2^y); y at least the width gives 0, or -1 for negative x.
    ShiftRight "shift_right" IntegerBinary;
    /// x == y.
    Equal "equal" Comparison;
    /// x < y.
    Less "less" Comparison;
    /// x <= y.
    LessOrEqual "less_or_equal" Comparison;
    /// Both.
    And "and" Logic;
    /// Either.
    Or "or" Logic;
    /// Exactly one.
    Xor "xor" Logic;
    /// x is not a number.
    IsNan "is_nan" FloatTest;
    /// x is positive infinity.
    IsPositiveInfinity "is_positive_infinity" FloatTest;
    /// x is negative infinity.
    IsNegativeInfinity "is_negative_infinity" FloatTest;
    /// The second where the first holds, else the third.
    Select "select" Select;
}

impl ScalarOp {
    /// Number of arguments.
    pub fn arity(self) -> usize {
        match self.class() {
            Class::FloatUnary | Class::Unary | Class::FloatTest | Class::Cast => 1,
            Class::Binary | Class::IntegerBinary | Class::Comparison | Class::Logic => 2,
            Class::Select => 3,
        }
    }

    /// Result type for a compute type.
    pub fn result_type(self, compute: DataType) -> DataType {
        match self.class() {
            Class::Comparison | Class::Logic | Class::FloatTest => T::Bool,
            _ => compute,
        }
    }

    /// The result for one element; `compute` is the compute type.
    pub fn evaluate(self, compute: DataType, args: &[Scalar]) -> Scalar {
        use Scalar::{Float, Int};
        let truth = |b: bool| Int(i128::from(b));
        let x = args[0];
        let result = match (self, x) {
            (ScalarOp::Cast(mode), x) => return x.cast(compute, mode),
            (ScalarOp::Select, x) => return if x.truth() { args[1] } else { args[2] },
            (ScalarOp::And, x) => truth(x.truth() && args[1].truth()),
            (ScalarOp::Or, x) => truth(x.truth() || args[1].truth()),
            (ScalarOp::Xor, x) => truth(x.truth() != args[1].truth()),
            (ScalarOp::Equal, Float(a)) => truth(a == args[1].float()),
            (ScalarOp::Equal, Int(a)) => truth(a == args[1].int()),
            (ScalarOp::Less, Float(a)) => truth(a < args[1].float()),
            (ScalarOp::Less, Int(a)) => truth(a < args[1].int()),
            (ScalarOp::LessOrEqual, Float(a)) => truth(a <= args[1].float()),
            (ScalarOp::LessOrEqual, Int(a)) => truth(a <= args[1].int()),
            (ScalarOp::IsNan, x) => truth(x.float().is_nan()),
            (ScalarOp::IsPositiveInfinity, x) => truth(x.float() == f64::INFINITY),
            (ScalarOp::IsNegativeInfinity, x) => truth(x.float() == f64::NEG_INFINITY),
            (op, Float(a)) => Float(float_op(op, a, args.get(1).map_or(0.0, |b| b.float()))),
            (op, Int(a)) => Int(integer_op(op, compute, a, args.get(1).map_or(0, |b| b.int()))),
        };
        result.into_type(self.result_type(compute))
    }
}

/// A float operation before it is rounded to its compute type; `b` counts where there are two arguments. NaN for an
/// operation that takes no floats.
#[inline]
pub fn float_op(op: ScalarOp, a: f64, b: f64) -> f64 {
    match op {
        ScalarOp::Neg => -a,
        ScalarOp::Abs => a.abs(),
        ScalarOp::Sign if a == 0.0 || a.is_nan() => a,
        ScalarOp::Sign => a.signum(),
        ScalarOp::Floor => a.floor(),
        ScalarOp::Ceil => a.ceil(),
        ScalarOp::Round => a.round_ties_even(),
        ScalarOp::Reciprocal => 1.0 / a,
        ScalarOp::Sqrt => a.sqrt(),
        ScalarOp::Exp => a.exp(),
        ScalarOp::Log => a.ln(),
        // For large x the 1 vanishes beside e^x.
        ScalarOp::Softplus => a.max(0.0) + (-a.abs()).exp().ln_1p(),
        ScalarOp::Sigmoid => 1.0 / (1.0 + (-a).exp()),
        ScalarOp::Erf => libm::erf(a),
        // At minus infinity these are what their formulas are, infinity times 0, and no limit: NaN.
        ScalarOp::Gelu => a * normal_distribution(a),
        ScalarOp::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (a + 0.044715 * a * a * a);
            // (1 + tanh t) / 2 = 1 / (1 + e^-2t), without cancellation for negative t.
            a / (1.0 + (-2.0 * inner).exp())
        }
        ScalarOp::Swish => a / (1.0 + (-a).exp()),
        ScalarOp::HardSigmoid => (a / 6.0 + 0.5).clamp(0.0, 1.0),
        ScalarOp::HardSwish => a * (a / 6.0 + 0.5).clamp(0.0, 1.0),
        ScalarOp::Mish => a * (a.max(0.0) + (-a.abs()).exp().ln_1p()).tanh(),
        ScalarOp::Sin => a.sin(),
        ScalarOp::Cos => a.cos(),
        ScalarOp::Tan => a.tan(),
        ScalarOp::Asin => a.asin(),
        ScalarOp::Acos => a.acos(),
        ScalarOp::Atan => a.atan(),
        ScalarOp::Sinh => a.sinh(),
        ScalarOp::Cosh => a.cosh(),
        ScalarOp::Tanh => a.tanh(),
        ScalarOp::Asinh => a.asinh(),
        ScalarOp::Acosh => a.acosh(),
        ScalarOp::Atanh => a.atanh(),
        ScalarOp::Add => a + b,
        ScalarOp::Sub => a - b,
        ScalarOp::Mul => a * b,
        ScalarOp::Div => a / b,
        ScalarOp::Mod => {
            let r = a % b;
            if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
        }
        ScalarOp::Fmod => a % b,
        ScalarOp::Pow => a.powf(b),
        ScalarOp::Min if a.is_nan() || b.is_nan() => f64::NAN,
        ScalarOp::Min => a.min(b),
        ScalarOp::Max if a.is_nan() || b.is_nan() => f64::NAN,
        ScalarOp::Max => a.max(b),
        // Integer operations on floats are refused when the program is checked.
        _ => f64::NAN,
    }
}

fn integer_op(op: ScalarOp, compute: DataType, a: i128, b: i128) -> i128 {
    let bits = compute.bits() as i128;
    match op {
        ScalarOp::Neg => -a,
        ScalarOp::Abs => a.abs(),
        ScalarOp::Sign => a.signum(),
        ScalarOp::Add => a + b,
        ScalarOp::Sub => a - b,
        ScalarOp::Mul => a.wrapping_mul(b),
        ScalarOp::Div => a.checked_div(b).unwrap_or(0),
        ScalarOp::Mod => {
            let r = a.checked_rem(b).unwrap_or(0);
            if r != 0 && (r < 0) != (b < 0) { r + b } else { r }
        }
        ScalarOp::Fmod => a.checked_rem(b).unwrap_or(0),
        ScalarOp::Pow if b < 0 => (a as f64).powf(b as f64) as i128,
        ScalarOp::Pow => a.wrapping_pow(u32::try_from(b).unwrap_or(u32::MAX)),
        ScalarOp::Min => a.min(b),
        ScalarOp::Max => a.max(b),
        ScalarOp::BitAnd => a & b,
        ScalarOp::BitOr => a | b,
        ScalarOp::BitXor => a ^ b,
        ScalarOp::ShiftLeft if (0..bits).contains(&b) => a << b,
        ScalarOp::ShiftRight => a >> b.clamp(0, 127),
        // Float operations on integers are refused when the program is checked.
        _ => 0,
    }
}

/// Phi(x), the probability of a standard normal number below x: `erfc(-x / sqrt(2)) / 2` keeps the far left free of
/// cancellation.
fn normal_distribution(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_agrees_with_tabulated_values() {
        // Abramowitz and Stegun, table 7.1.
        let erf = |x: f64| ScalarOp::Erf.evaluate(T::F64, &[Scalar::Float(x)]).float();
        for (x, y) in [(0.0, 0.0), (0.5, 0.5204998778), (1.0, 0.8427007929), (2.0, 0.9953222650), (3.0, 0.9999779095)] {
            assert!((erf(x) - y).abs() < 1e-10, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }

    #[test]
    fn activations_agree_with_their_formulas() {
        let at = |op: ScalarOp, x: f64| op.evaluate(T::F64, &[Scalar::Float(x)]).float();
        // Phi(1) = 0.8413447460685429, Phi(-6) = 9.865876450376946e-10 (Abramowitz and Stegun, table 26.1).
        assert!((at(ScalarOp::Gelu, 1.0) - 0.841_344_746_068_542_9).abs() < 1e-14);
        assert!((at(ScalarOp::Gelu, -6.0) / (-6.0 * 9.865_876_450_376_946e-10) - 1.0).abs() < 1e-9);
        assert!((at(ScalarOp::GeluTanh, 1.0) - 0.841_191_990_608_276_1).abs() < 1e-12);
        assert!((at(ScalarOp::Swish, 1.0) - 1.0 / (1.0 + (-1f64).exp())).abs() < 1e-15);
        assert_eq!((at(ScalarOp::HardSwish, 3.0), at(ScalarOp::HardSwish, -4.0)), (3.0, 0.0));
        assert_eq!((at(ScalarOp::HardSigmoid, 0.0), at(ScalarOp::HardSigmoid, 9.0)), (0.5, 1.0));
        assert!((at(ScalarOp::Mish, 1.0) - (1f64.exp().ln_1p()).tanh()).abs() < 1e-15);
        for op in [ScalarOp::Gelu, ScalarOp::GeluTanh, ScalarOp::Swish, ScalarOp::HardSwish, ScalarOp::Mish] {
            assert_eq!((at(op, -1e30), at(op, f64::INFINITY)), (0.0, f64::INFINITY), "{op:?}");
            assert!(at(op, f64::NAN).is_nan() && at(op, f64::NEG_INFINITY).is_nan(), "{op:?}");
        }
    }

    #[test]
    fn remainders_take_the_sign_they_should() {
        let mod_ = |op: ScalarOp, a, b| op.evaluate(T::I32, &[Scalar::Int(a), Scalar::Int(b)]).int();
        assert_eq!((mod_(ScalarOp::Mod, -7, 3), mod_(ScalarOp::Fmod, -7, 3)), (2, -1));
        assert_eq!((mod_(ScalarOp::Mod, 7, -3), mod_(ScalarOp::Fmod, 7, -3)), (-2, 1));
        assert_eq!(mod_(ScalarOp::Div, 7, 0), 0);
    }

    #[test]
    fn integers_wrap_in_their_type() {
        let add = ScalarOp::Add.evaluate(T::U8, &[Scalar::Int(200), Scalar::Int(100)]);
        assert_eq!(add, Scalar::Int(44));
        let shift = ScalarOp::ShiftLeft.evaluate(T::U8, &[Scalar::Int(255), Scalar::Int(4)]);
        assert_eq!(shift, Scalar::Int(240));
    }

    #[test]
    fn names_parse_back() {
        for &op in ScalarOp::ALL {
            assert_eq!(ScalarOp::from_name(&op.name()), Some(op));
        }
        let mode = CastMode { saturate: false, scale_rounding: ScaleRounding::Nearest };
        assert_eq!(ScalarOp::from_name(&ScalarOp::Cast(mode).name()), Some(ScalarOp::Cast(mode)));
    }
}
