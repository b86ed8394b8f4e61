//! Sliding windows: the geometry that convolution and pooling share.
//!
//! With input size `i`, kernel `k`, stride `s`, dilation `d` and pads `b`, `e`, the window spans
//! `w = d (k - 1) + 1` and the output size is `floor((i + b + e - w) / s) + 1`. With `ceil` the division rounds up, but
//! a last window that would start beyond input and leading pad is dropped (ONNX MaxPool-22, PyTorch). A size of 0 is a
//! result without elements; a smaller one is an error.

use sinter_base::{Attributes, Dim};

use crate::error::InferError;
use crate::invalid;

/// How the borders of the spatial axes are padded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Attributes)]
pub enum Padding {
    /// Elements added before and after each spatial axis.
    Explicit {
        /// Before the first element.
        begin: Vec<i64>,
        /// After the last element.
        end: Vec<i64>,
    },
    /// Output size `ceil(i / s)`, an odd element of padding at the end.
    SameUpper,
    /// Output size `ceil(i / s)`, an odd element of padding at the beginning.
    SameLower,
    /// None.
    Valid,
}

impl Padding {
    /// The same padding of zero elements on `rank` axes.
    pub fn zero(rank: usize) -> Self {
        Padding::Explicit { begin: vec![0; rank], end: vec![0; rank] }
    }
}

/// Window along one axis, kernel size aside.
#[derive(Clone, Debug)]
pub struct Axis<'a> {
    /// Distance between windows.
    pub stride: usize,
    /// Distance between the elements of a window.
    pub dilation: usize,
    /// Border of all axes.
    pub padding: &'a Padding,
    /// Which spatial axis this is.
    pub index: usize,
    /// Round the output size up.
    pub ceil: bool,
}

impl Axis<'_> {
    /// Output size along this axis.
    ///
    /// # Errors
    /// When the output size is negative for any size of the input, or stride or dilation is 0.
    pub fn output(&self, input: &Dim, kernel: &Dim) -> Result<Dim, InferError> {
        if self.stride == 0 || self.dilation == 0 {
            invalid!("spatial axis {}: stride and dilation must be at least 1", self.index);
        }
        let (one, stride) = (Dim::constant(1), Dim::from(self.stride));
        let span = kernel.sub(&one).mul(&self.dilation.into()).add(&one);
        let (begin, end) = match self.padding {
            Padding::SameUpper | Padding::SameLower => return Ok(input.ceil_div(&stride)),
            Padding::Valid => (0, 0),
            Padding::Explicit { begin, end } => match (begin.get(self.index), end.get(self.index)) {
                (Some(&b), Some(&e)) => (b, e),
                _ => invalid!("pads are given for {} spatial axes, axis {} has none", begin.len(), self.index),
            },
        };
        let room = input.add(&begin.into()).add(&end.into()).sub(&span);
        let output = if self.ceil {
            // The last window must start inside the input or its leading pad.
            let starts_inside = input.add(&begin.into()).sub(&one).floor_div(&stride).add(&one);
            room.ceil_div(&stride).add(&one).minimum(&starts_inside)
        } else {
            room.floor_div(&stride).add(&one)
        };
        if output.upper_bound() < 0 {
            invalid!(
                "spatial axis {}: a window of {span} elements exceeds the padded input of {input} + {begin} + {end} by \
                 more than a stride of {stride}",
                self.index
            );
        }
        Ok(output)
    }

    /// Leading pad for a concrete input size.
    pub fn begin(&self, input: usize, kernel: usize) -> i64 {
        self.pads(input, kernel).0
    }

    /// Leading and trailing pad for a concrete input size.
    pub fn pads(&self, input: usize, kernel: usize) -> (i64, i64) {
        let signed = |v: usize| i64::try_from(v).unwrap_or(i64::MAX);
        match self.padding {
            Padding::Valid => (0, 0),
            Padding::Explicit { begin, end } => (begin[self.index], end[self.index]),
            Padding::SameUpper | Padding::SameLower => {
                let output = input.div_ceil(self.stride);
                let span = self.dilation.saturating_mul(kernel.saturating_sub(1)).saturating_add(1);
                let covered = (signed(output) - 1).saturating_mul(signed(self.stride)).saturating_add(signed(span));
                let total = covered.saturating_sub(signed(input)).max(0);
                let (less, more) = (total / 2, total - total / 2);
                if *self.padding == Padding::SameUpper { (less, more) } else { (more, less) }
            }
        }
    }

    /// Position of a window's element counted from the first element of the padding.
    pub fn padded_position(&self, output: usize, tap: usize) -> i64 {
        let position = output.saturating_mul(self.stride).saturating_add(tap.saturating_mul(self.dilation));
        i64::try_from(position).unwrap_or(i64::MAX)
    }

    /// Input position of a window's element, `None` in the padding.
    pub fn source(&self, output: usize, tap: usize, begin: i64, input: usize) -> Option<usize> {
        let at = self.padded_position(output, tap).checked_sub(begin)?;
        usize::try_from(at).ok().filter(|&at| at < input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(input: i64, kernel: i64, stride: usize, dilation: usize, padding: &Padding, ceil: bool) -> i64 {
        let axis = Axis { stride, dilation, padding, index: 0, ceil };
        axis.output(&input.into(), &kernel.into()).unwrap().as_constant().unwrap()
    }

    #[test]
    fn output_sizes_by_hand() {
        let none = Padding::zero(1);
        assert_eq!(size(7, 3, 2, 1, &none, false), 3);
        assert_eq!(size(6, 3, 2, 1, &none, false), 2);
        assert_eq!(size(6, 3, 2, 1, &none, true), 3);
        assert_eq!(size(7, 3, 1, 2, &none, false), 3);
        assert_eq!(size(5, 3, 2, 1, &Padding::SameUpper, false), 3);
        // PyTorch's rule: the third window would start in the trailing pad.
        let padded = Padding::Explicit { begin: vec![1], end: vec![1] };
        assert_eq!(size(2, 1, 2, 1, &padded, true), 2);
        // A window that exceeds the input has no place; rounding up gives it one.
        assert_eq!(size(4, 5, 1, 1, &none, false), 0);
        assert_eq!(size(4, 6, 2, 1, &none, false), 0);
        assert_eq!(size(4, 5, 2, 1, &none, true), 1);
    }

    #[test]
    fn windows_that_never_fit_are_refused() {
        let none = Padding::zero(1);
        let axis = Axis { stride: 1, dilation: 1, padding: &none, index: 0, ceil: false };
        assert!(axis.output(&Dim::constant(2), &Dim::constant(4)).is_err());
        assert!(Axis { stride: 0, ..axis }.output(&Dim::constant(2), &Dim::constant(1)).is_err());
    }

    #[test]
    fn same_padding_puts_the_odd_element_where_asked() {
        let axis = |padding| Axis { stride: 1, dilation: 1, padding, index: 0, ceil: false };
        assert_eq!(axis(&Padding::SameUpper).begin(5, 2), 0);
        assert_eq!(axis(&Padding::SameLower).begin(5, 2), 1);
        assert_eq!(axis(&Padding::SameUpper).source(0, 0, 1, 5), None);
        assert_eq!(axis(&Padding::SameUpper).source(4, 1, 0, 5), None);
        assert_eq!(axis(&Padding::SameUpper).source(3, 1, 0, 5), Some(4));
    }
}
