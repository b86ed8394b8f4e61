//! Windows over spatial axes, as kernels of convolution and pooling take them.

use sinter_backend::KernelError;
use sinter_ops::window::{Axis, Padding};

/// Spatial axes at most; `SPATIAL` in `windows.cuh`.
pub(crate) const SPATIAL: usize = 3;
/// Words of the description.
pub(crate) const WORDS: usize = 7 * SPATIAL;

/// The attributes of windows, by spatial axis.
pub(crate) struct Shape<'a> {
    pub(crate) strides: &'a [usize],
    pub(crate) dilations: &'a [usize],
    pub(crate) padding: &'a Padding,
    pub(crate) ceil: bool,
}

impl Shape<'_> {
    /// The words of windows of this kernel over an input, with the sizes of the output. Axes that are not there have size 1.
    ///
    /// # Errors
    /// When the lists have different lengths, more than three entries, or steps of 0.
    pub(crate) fn words(
        &self,
        input: &[usize],
        kernel: &[usize],
        output: &[usize],
    ) -> Result<[u64; WORDS], KernelError> {
        let rank = input.len();
        let lists = [kernel.len(), output.len(), self.strides.len(), self.dilations.len()];
        let steps = self.strides.iter().chain(self.dilations);
        if rank > SPATIAL || lists.iter().any(|length| *length != rank) || steps.clone().any(|step| *step == 0) {
            let text = format!("windows of {kernel:?} over {input:?} into {output:?} in steps of {steps:?}");
            return Err(KernelError::Recipe(text));
        }
        let mut words = [1u64; WORDS];
        let lead = SPATIAL - rank;
        words[5 * SPATIAL..].fill(0);
        for index in 0..rank {
            let (stride, dilation) = (self.strides[index], self.dilations[index]);
            let axis = Axis { stride, dilation, padding: self.padding, index, ceil: self.ceil };
            let (begin, end) = axis.pads(input[index], kernel[index]);
            let sizes = [input[index], output[index], kernel[index], stride, dilation].map(|size| size as u64);
            let entries = sizes.into_iter().chain([begin.cast_unsigned(), end.cast_unsigned()]);
            for (which, entry) in entries.enumerate() {
                words[which * SPATIAL + lead + index] = entry;
            }
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_axes_have_size_one_and_no_padding() {
        let padding = Padding::Explicit { begin: vec![2], end: vec![-1] };
        let shape = Shape { strides: &[3], dilations: &[4], padding: &padding, ceil: false };
        let words = shape.words(&[10], &[2], &[5]).expect("one axis");
        assert_eq!(words[..6], [1, 1, 10, 1, 1, 5]);
        assert_eq!(words[6..15], [1, 1, 2, 1, 1, 3, 1, 1, 4]);
        assert_eq!(words[15..], [0, 0, 2, 0, 0, u64::MAX]);
        assert!(shape.words(&[10, 10], &[2], &[5]).is_err());
        assert!(Shape { strides: &[0], ..shape }.words(&[10], &[2], &[5]).is_err());
    }
}
