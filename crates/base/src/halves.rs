//! The 16-bit floating-point types from float64, rounded once.
//!
//! A conversion through float32 would round a number near the middle of two neighbours twice: first onto the middle,
//! then away from the nearer one. Float32 suffices if the conversion to it rounds to odd, which keeps lost digits as an
//! odd last bit: more than two bits narrower types then show on which side of the middle the number lies (Boldo and
//! Melquiond, "Emulation of a FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd", 2008).

use half::{bf16, f16};

/// Towards zero, and odd where that is not exact.
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    let back = f64::from(nearest);
    if back == value || value.is_nan() {
        return nearest;
    }
    // Magnitudes grow with their bits; infinity is next to the largest number.
    let towards_zero = nearest.to_bits() - u32::from(back.abs() > value.abs());
    f32::from_bits(towards_zero | 1)
}

/// The nearest f16, ties to even.
pub fn f16_of(value: f64) -> f16 {
    f16::from_f32(to_odd(value))
}

/// The nearest bf16, ties to even.
pub fn bf16_of(value: f64) -> bf16 {
    bf16::from_f32(to_odd(value))
}

/// An integer as float64, exact or on the side of it where the nearest number of any narrower float type is that of the
/// integer: towards zero, and odd.
pub fn float_of(value: i128) -> f64 {
    let nearest = value as f64;
    // Only the largest integers become a float beyond i128, and no test compares these.
    let back = nearest as i128;
    if back == value {
        return nearest;
    }
    let towards_zero = nearest.to_bits() - u64::from(back.unsigned_abs() > value.unsigned_abs());
    f64::from_bits(towards_zero | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A format as its codes from 0 to infinity, which counts as the number that would come next.
    struct Format {
        name: &'static str,
        infinity: u16,
        value: fn(u16) -> f64,
        rounded: fn(f64) -> u16,
    }

    const FORMATS: [Format; 2] = [
        Format {
            name: "f16",
            infinity: 0x7C00,
            value: |code| if code == 0x7C00 { 65536.0 } else { f16::from_bits(code).to_f64() },
            rounded: |value| f16_of(value).to_bits(),
        },
        Format {
            name: "bf16",
            infinity: 0x7F80,
            value: |code| if code == 0x7F80 { 2f64.powi(128) } else { bf16::from_bits(code).to_f64() },
            rounded: |value| bf16_of(value).to_bits(),
        },
    ];

    #[test]
    fn numbers_go_to_the_nearer_neighbour_and_ties_to_the_even_one() {
        for Format { name, infinity, value, rounded } in FORMATS {
            for code in 0..infinity {
                // Neighbours have few bits, so their middle is exact.
                let (low, high) = (value(code), value(code + 1));
                let middle = (low + high) / 2.0;
                let even = code + code % 2;
                let cases = [
                    (low, code),
                    (middle.next_down(), code),
                    (middle, even),
                    (middle.next_up(), code + 1),
                    (high, code + 1),
                ];
                for (number, expected) in cases {
                    assert_eq!(rounded(number), expected, "{name}: {number:e}");
                    assert_eq!(rounded(-number), expected | 0x8000, "{name}: -{number:e}");
                }
            }
        }
    }

    #[test]
    fn any_number_goes_to_the_nearest() {
        let mut bits = 0x9E37_79B9_7F4A_7C15u64;
        for _ in 0..200_000 {
            bits = bits.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Exponents from below the smallest number of either type to above the largest.
            let number = f64::from_bits(bits >> 12 | (1023 - 140 + (bits & 0xFFF) % 272) << 52);
            for Format { name, infinity, value, rounded } in FORMATS {
                let (mut low, mut high) = (0, infinity);
                while high - low > 1 {
                    let code = low.midpoint(high);
                    if value(code) <= number { low = code } else { high = code }
                }
                let middle = (value(low) + value(high)) / 2.0;
                let expected = if number > middle || number == middle && low % 2 == 1 { high } else { low };
                assert_eq!(rounded(number), expected, "{name}: {number:e}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_it() {
        assert!(f16_of(f64::NAN).is_nan() && bf16_of(f64::NAN).is_nan());
        assert_eq!((f16_of(f64::NEG_INFINITY), bf16_of(f64::INFINITY)), (f16::NEG_INFINITY, bf16::INFINITY));
        assert_eq!((f16_of(1e300), bf16_of(-f64::MAX)), (f16::INFINITY, bf16::NEG_INFINITY));
        assert_eq!((f16_of(-1e-300).to_bits(), bf16_of(f64::MIN_POSITIVE).to_bits()), (0x8000, 0));
    }

    #[test]
    fn integers_are_rounded_once() {
        // 257 2^54 is the middle of two bf16, and float64 cannot represent its neighbours.
        let middle = 257i128 << 54;
        let of = |value: i128| bf16_of(float_of(value)).to_f64();
        let (low, high) = (256.0 * 2f64.powi(54), 258.0 * 2f64.powi(54));
        assert_eq!([middle - 1, middle, middle + 1].map(of), [low, low, high]);
        assert_eq!([1 - middle, -middle, -1 - middle].map(of), [-low, -low, -high]);
        for exact in [0, 1, -3, 1 << 52, i128::from(i64::MIN)] {
            assert_eq!(float_of(exact) as i128, exact);
        }
    }
}
