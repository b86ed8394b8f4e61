//! Iterates over the elements of a tensor as float64 numbers, without copying the tensor.

use std::borrow::Cow;

use crate::tensor::Tensor;

/// Elements as float64 numbers; those of f32 are converted one by one when they are read, which costs no memory.
#[derive(Clone, Debug)]
pub enum Floats<'a> {
    /// Stored as f32.
    Single(Cow<'a, [f32]>),
    /// Of any other type, converted.
    Double(Vec<f64>),
}

impl<'a> Floats<'a> {
    /// The elements of a tensor; none for strings.
    pub fn of(tensor: &'a Tensor) -> Self {
        match tensor.elements::<f32>() {
            Ok(elements) => Self::Single(elements),
            Err(_) => Self::Double(tensor.to_floats()),
        }
    }

    /// The element at a flat position.
    ///
    /// # Panics
    /// Beyond the end.
    #[inline]
    pub fn at(&self, index: usize) -> f64 {
        match self {
            Self::Single(elements) => f64::from(elements[index]),
            Self::Double(elements) => elements[index],
        }
    }

    /// The largest absolute value of those that are finite; 0 where there is none.
    pub fn largest(&self) -> f64 {
        match self {
            Self::Single(elements) => {
                f64::from(elements.iter().filter(|v| v.is_finite()).fold(0f32, |m, v| m.max(v.abs())))
            }
            Self::Double(elements) => elements.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataType;

    #[test]
    fn the_same_numbers_whatever_they_are_stored_as() {
        for data_type in [DataType::F32, DataType::F64, DataType::F16, DataType::I8] {
            let tensor = Tensor::from_floats(data_type, &[3], &[1.0, -4.0, 2.0]).unwrap();
            let floats = Floats::of(&tensor);
            assert_eq!((floats.at(1), floats.largest()), (-4.0, 4.0), "{data_type}");
        }
        let odd = Tensor::from_floats(DataType::F32, &[2], &[f64::NAN, f64::INFINITY]).unwrap();
        assert_eq!(Floats::of(&odd).largest(), 0.0);
    }
}
