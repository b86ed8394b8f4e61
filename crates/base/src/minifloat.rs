//! Floating-point formats of at most eight bits.
//!
//! A format is (exponent bits, mantissa bits, bias, what the top codes mean). Values are decoded from that definition
//! and encoded by rounding to nearest even on the grid of representable values.
//!
//! Sources: OCP 8-bit Floating Point Specification 1.0; OCP Microscaling Formats 1.0 (E8M0, E2M1); the FNUZ variants
//! as in ONNX "Float stored in 8 bits".

/// Meaning of the codes with the largest exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Top {
    /// Infinity and NaN as in IEEE 754.
    Ieee,
    /// All ones (either sign) is NaN, every other code is finite.
    OneNan,
    /// Every code is finite; the code of negative zero is the only NaN.
    NegativeZeroIsNan,
    /// Every code is finite and there is no NaN.
    Finite,
}

/// Conversion of a value beyond the largest finite one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The largest finite value of that sign, also for infinities.
    Saturate,
    /// Infinity where the format has it, else NaN.
    Special,
}

/// Rounding of the scale format E8M0 (ONNX Cast, attribute `round_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScaleRounding {
    /// To the larger power of two.
    Up,
    /// To the smaller power of two.
    Down,
    /// To the nearer one, ties up.
    Nearest,
}

/// A format of at most eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MiniFloat {
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    signed: bool,
    top: Top,
}

impl MiniFloat {
    /// OCP E4M3.
    pub const E4M3FN: Self = Self { exponent_bits: 4, mantissa_bits: 3, bias: 7, signed: true, top: Top::OneNan };
    /// E4M3, finite, unsigned zero.
    pub const E4M3FNUZ: Self =
        Self { exponent_bits: 4, mantissa_bits: 3, bias: 8, signed: true, top: Top::NegativeZeroIsNan };
    /// OCP E5M2.
    pub const E5M2: Self = Self { exponent_bits: 5, mantissa_bits: 2, bias: 15, signed: true, top: Top::Ieee };
    /// E5M2, finite, unsigned zero.
    pub const E5M2FNUZ: Self =
        Self { exponent_bits: 5, mantissa_bits: 2, bias: 16, signed: true, top: Top::NegativeZeroIsNan };
    /// Power-of-two scale.
    pub const E8M0: Self = Self { exponent_bits: 8, mantissa_bits: 0, bias: 127, signed: false, top: Top::OneNan };
    /// OCP FP4.
    pub const E2M1: Self = Self { exponent_bits: 2, mantissa_bits: 1, bias: 1, signed: true, top: Top::Finite };

    const fn magnitude_bits(self) -> u32 {
        self.exponent_bits + self.mantissa_bits
    }

    const fn nan(self) -> u8 {
        match self.top {
            Top::Ieee => (((1 << self.exponent_bits) - 1) << self.mantissa_bits) | (1 << (self.mantissa_bits - 1)),
            Top::OneNan => ((1u32 << self.magnitude_bits()) - 1) as u8,
            Top::NegativeZeroIsNan => 1 << self.magnitude_bits(),
            Top::Finite => 0,
        }
    }

    /// Magnitude code of the largest finite value.
    const fn largest(self) -> u32 {
        let all = (1u32 << self.magnitude_bits()) - 1;
        match self.top {
            Top::Ieee => (((1 << self.exponent_bits) - 1) << self.mantissa_bits) - 1,
            Top::OneNan => all - 1,
            Top::NegativeZeroIsNan | Top::Finite => all,
        }
    }

    fn finite(self, magnitude: u32) -> f64 {
        let exponent = (magnitude >> self.mantissa_bits) as i32;
        let mantissa = f64::from(magnitude & ((1 << self.mantissa_bits) - 1));
        let unit = f64::from(1u32 << self.mantissa_bits);
        if exponent == 0 && self.signed {
            mantissa / unit * 2f64.powi(1 - self.bias)
        } else {
            (1.0 + mantissa / unit) * 2f64.powi(exponent - self.bias)
        }
    }

    /// The value of a code; bits above the format are ignored.
    pub fn decode(self, code: u8) -> f64 {
        let magnitude = u32::from(code) & ((1 << self.magnitude_bits()) - 1);
        let negative = self.signed && (code >> self.magnitude_bits()) & 1 == 1;
        let value = if magnitude <= self.largest() {
            if negative && magnitude == 0 && self.top == Top::NegativeZeroIsNan {
                return f64::NAN;
            }
            self.finite(magnitude)
        } else if self.top == Top::Ieee && magnitude == self.largest() + 1 {
            f64::INFINITY
        } else {
            return f64::NAN;
        };
        if negative { -value } else { value }
    }

    /// The code nearest to `value`, ties to the even code.
    pub fn encode(self, value: f64, overflow: Overflow) -> u8 {
        let sign = if value.is_sign_negative() && self.signed { 1u32 << self.magnitude_bits() } else { 0 };
        if value.is_nan() {
            return match self.top {
                // FP4 has no NaN; ONNX's data stores it as negative zero.
                Top::Finite => 1 << self.magnitude_bits(),
                Top::NegativeZeroIsNan => self.nan(),
                Top::Ieee | Top::OneNan => self.nan() | sign as u8,
            };
        }
        if !self.signed && value < 0.0 {
            return self.nan();
        }
        let magnitude = self.nearest(value.abs());
        if magnitude > self.largest() {
            return match (overflow, self.top) {
                (Overflow::Saturate, _) | (_, Top::Finite) => (self.largest() | sign) as u8,
                (Overflow::Special, Top::Ieee) => ((self.largest() + 1) | sign) as u8,
                (Overflow::Special, Top::OneNan) => self.nan() | sign as u8,
                (Overflow::Special, Top::NegativeZeroIsNan) => self.nan(),
            };
        }
        if magnitude == 0 && self.top == Top::NegativeZeroIsNan {
            return 0;
        }
        (magnitude | sign) as u8
    }

    /// Nearest magnitude code, one above the largest when the value rounds beyond it.
    fn nearest(self, value: f64) -> u32 {
        let largest = self.largest();
        if value.is_infinite() {
            return largest + 1;
        }
        // Codes grow with their values, so the neighbours are found by bisection.
        let below = {
            let (mut low, mut high) = (0, largest);
            while low < high {
                let middle = (low + high).div_ceil(2);
                if self.finite(middle) <= value { low = middle } else { high = middle - 1 }
            }
            low
        };
        let (low, high) = (self.finite(below), self.finite(below + 1));
        let (down, up) = (value - low, high - value);
        if down < up || (down == up && below % 2 == 0) || value <= low { below } else { below + 1 }
    }

    /// The E8M0 code of a positive value under the given rounding (ONNX Cast-24 `round_mode`).
    pub fn encode_scale(value: f64, rounding: ScaleRounding, overflow: Overflow) -> u8 {
        let format = Self::E8M0;
        if value.is_nan() || value < 0.0 {
            return format.nan();
        }
        let saturated = |code: i32| -> u8 {
            if code < 0 {
                0
            } else if code > 254 {
                if overflow == Overflow::Saturate { 254 } else { 0xFF }
            } else {
                code as u8
            }
        };
        if value == 0.0 {
            return 0;
        }
        if value.is_infinite() {
            return saturated(255);
        }
        let exponent = value.log2().floor() as i32;
        let exponent = if 2f64.powi(exponent) > value {
            exponent - 1
        } else if 2f64.powi(exponent + 1) <= value {
            exponent + 1
        } else {
            exponent
        };
        let power = 2f64.powi(exponent);
        let up = match rounding {
            ScaleRounding::Down => false,
            ScaleRounding::Up => value > power,
            ScaleRounding::Nearest => value >= 1.5 * power,
        };
        saturated(exponent + i32::from(up) + format.bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [MiniFloat; 6] = [
        MiniFloat::E4M3FN,
        MiniFloat::E4M3FNUZ,
        MiniFloat::E5M2,
        MiniFloat::E5M2FNUZ,
        MiniFloat::E8M0,
        MiniFloat::E2M1,
    ];

    #[test]
    fn largest_values_are_those_of_the_specifications() {
        let largest: Vec<f64> = ALL.iter().map(|f| f.finite(f.largest())).collect();
        assert_eq!(largest, [448.0, 240.0, 57344.0, 57344.0, 2f64.powi(127), 6.0]);
    }

    #[test]
    fn every_code_survives_decode_and_encode() {
        for format in ALL {
            for code in 0..1u32 << (format.magnitude_bits() + u32::from(format.signed)) {
                let value = format.decode(code as u8);
                let back = format.encode(value, Overflow::Special);
                assert!(
                    format.decode(back) == value || value.is_nan() && format.decode(back).is_nan(),
                    "{format:?} {code:#x}"
                );
            }
        }
    }

    #[test]
    fn numbers_go_to_the_nearer_neighbour_and_ties_to_the_even_one() {
        for format in ALL {
            for code in 0..format.largest() {
                // Neighbours have few bits, so their middle is exact.
                let (low, high) = (format.finite(code), format.finite(code + 1));
                let middle = (low + high) / 2.0;
                let even = code + code % 2;
                for (number, expected) in [(middle.next_down(), code), (middle, even), (middle.next_up(), code + 1)] {
                    assert_eq!(u32::from(format.encode(number, Overflow::Special)), expected, "{format:?} {number:e}");
                }
            }
        }
    }

    #[test]
    fn ties_go_to_even_and_overflow_is_chosen() {
        let f = MiniFloat::E4M3FN;
        assert_eq!(f.decode(f.encode(17.0, Overflow::Saturate)), 16.0);
        assert_eq!(f.decode(f.encode(19.0, Overflow::Saturate)), 20.0);
        assert_eq!(f.decode(f.encode(464.0, Overflow::Saturate)), 448.0);
        assert_eq!(f.decode(f.encode(1e9, Overflow::Saturate)), 448.0);
        assert!(f.decode(f.encode(1e9, Overflow::Special)).is_nan());
        assert_eq!(MiniFloat::E5M2.decode(MiniFloat::E5M2.encode(-1e9, Overflow::Special)), f64::NEG_INFINITY);
        assert_eq!(MiniFloat::E2M1.decode(MiniFloat::E2M1.encode(2.5, Overflow::Saturate)), 2.0);
        assert_eq!(MiniFloat::E2M1.decode(MiniFloat::E2M1.encode(5.0, Overflow::Saturate)), 4.0);
    }

    #[test]
    fn scales_round_as_asked() {
        use ScaleRounding::{Down, Nearest, Up};
        let code = |v, r| MiniFloat::encode_scale(v, r, Overflow::Saturate);
        assert_eq!((code(3.0, Up), code(3.0, Down), code(3.0, Nearest)), (129, 128, 129));
        assert_eq!((code(2.5, Up), code(2.5, Down), code(2.5, Nearest)), (129, 128, 128));
        assert_eq!(code(2.0, Up), 128);
        assert_eq!(code(f64::INFINITY, Up), 254);
        assert_eq!(code(0.0, Up), 0);
    }
}
