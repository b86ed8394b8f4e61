//! Elements as keys: signed 64-bit integers that compare as the elements do.
//!
//! Floats become their bits with the order of negative ones reversed; all NaNs get one key above every number and both
//! zeros the same one. Unsigned numbers have their top bit flipped. Sorting and comparing then need only one kind of
//! loop, whatever the element type.

use sinter_base::{DataType, View};

use crate::elements::{Numbers, load};
use crate::launch::{Scratch, ScratchBuffer};

/// The key of a number.
#[inline]
pub fn float_key(value: f64) -> i64 {
    if value.is_nan() {
        return i64::MAX;
    }
    // -0 becomes +0.
    let bits = (value + 0.0).to_bits().cast_signed();
    if bits < 0 { i64::MIN - bits } else { bits }
}

/// The keys of all elements.
pub fn keys<'r>(view: View<'_>, scratch: &'r Scratch) -> ScratchBuffer<'r, i64> {
    if view.data_type() == DataType::F32 {
        return scratch.list(view.elements::<f32>().iter().map(|&v| float_key(f64::from(v))));
    }
    match load(view, scratch) {
        Numbers::Floats(values) => scratch.list(values.iter().map(|&v| float_key(v))),
        Numbers::Ints(mut values) if view.data_type() == DataType::U64 => {
            values.iter_mut().for_each(|v| *v ^= i64::MIN);
            values
        }
        Numbers::Ints(values) => values,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_numbers() {
        let ordered = [f64::NEG_INFINITY, -2.5, -1.0, -1e-310, 0.0, 1e-310, 1.0, 7.0, f64::INFINITY, f64::NAN];
        for pair in ordered.windows(2) {
            assert!(float_key(pair[0]) < float_key(pair[1]), "{pair:?}");
        }
        assert_eq!(float_key(-0.0), float_key(0.0));
        assert_eq!(float_key(-f64::NAN), float_key(f64::NAN));
    }
}
