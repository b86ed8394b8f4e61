//! One order for the elements of any tensor, shared by sorting operators.

use std::cmp::Ordering;

use sinter_base::{DataType, Tensor};

/// Elements that can be compared.
pub(crate) enum Ordered {
    Floats(Vec<f64>),
    Ints(Vec<i128>),
    Texts(Vec<String>),
}

impl Ordered {
    pub(crate) fn of(tensor: &Tensor) -> Self {
        match tensor.data_type() {
            DataType::String => Ordered::Texts(tensor.strings().unwrap_or_default().to_vec()),
            t if t.is_float() => Ordered::Floats(tensor.to_floats()),
            _ => Ordered::Ints(tensor.to_ints()),
        }
    }

    /// Compares the elements at two positions. All NaNs are equal and larger than every number; zeros are equal.
    pub(crate) fn compare(&self, a: usize, b: usize) -> Ordering {
        match self {
            Ordered::Floats(v) => v[a].partial_cmp(&v[b]).unwrap_or_else(|| v[a].is_nan().cmp(&v[b].is_nan())),
            Ordered::Ints(v) => v[a].cmp(&v[b]),
            Ordered::Texts(v) => v[a].cmp(&v[b]),
        }
    }
}
