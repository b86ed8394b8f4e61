//! Geometry of the windows of a convolution: three spatial axes, outermost first. Fewer are padded with axes of size 1.

use sinter_ops::conv::Convolution;
use sinter_ops::window::{Axis, Padding};

/// Sizes along three spatial axes.
pub(crate) type Triple = [usize; 3];

/// The spatial axes of a launch.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) input: Triple,
    pub(crate) output: Triple,
    pub(crate) kernel: Triple,
    pub(crate) stride: Triple,
    pub(crate) dilation: Triple,
    /// Padding before the input and behind it.
    pub(crate) begin: [i64; 3],
    pub(crate) end: [i64; 3],
}

/// The first input position of a window, and the index of its image.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) image: usize,
    pub(crate) at: [i64; 3],
}

fn triple(sizes: &[usize]) -> Triple {
    let mut triple = [1; 3];
    triple[3 - sizes.len()..].copy_from_slice(sizes);
    triple
}

impl Geometry {
    /// The geometry of an operator with up to three spatial axes, whose sizes are given.
    pub(crate) fn new(op: &Convolution, input: &[usize], output: &[usize], kernel: &[usize]) -> Self {
        let spatial = op.strides.len();
        let (mut begin, mut end) = ([0; 3], [0; 3]);
        for index in 0..spatial {
            let (stride, dilation) = (op.strides[index], op.dilations[index]);
            let axis = Axis { stride, dilation, padding: &op.padding, index, ceil: false };
            (begin[3 - spatial + index], end[3 - spatial + index]) = axis.pads(input[index], kernel[index]);
        }
        let (stride, dilation) = (triple(&op.strides), triple(&op.dilations));
        Self { input: triple(input), output: triple(output), kernel: triple(kernel), stride, dilation, begin, end }
    }

    /// The same where only the sizes of the input are known.
    pub(crate) fn of_input(op: &Convolution, input: &[usize], kernel: &[usize]) -> Self {
        let mut geometry = Self::new(op, input, &[], kernel);
        geometry.output = std::array::from_fn(|i| {
            if matches!(op.padding, Padding::SameUpper | Padding::SameLower) {
                return geometry.input[i].div_ceil(geometry.stride[i]);
            }
            let span = geometry.dilation[i] * (geometry.kernel[i].max(1) - 1) + 1;
            let room = geometry.input[i] as i64 + geometry.begin[i] + geometry.end[i] - span as i64;
            usize::try_from(room.div_euclid(geometry.stride[i] as i64) + 1).unwrap_or(0)
        });
        geometry
    }

    /// The same from the sizes of channels-last images and of a weight, [M, C / G, kernel...].
    pub(crate) fn channels_last(op: &Convolution, x: &[usize], y: &[usize], weight: &[usize]) -> Self {
        let spatial = op.strides.len();
        Self::new(op, &x[1..=spatial], &y[1..=spatial], &weight[2..])
    }

    /// The same with the channels of the images in front.
    pub(crate) fn channels_first(op: &Convolution, x: &[usize], y: &[usize], weight: &[usize]) -> Self {
        let spatial = op.strides.len();
        Self::new(op, &x[2..], &y[1..=spatial], &weight[2..])
    }

    /// Image and coordinates of an output position; indices count through all images.
    #[inline]
    pub(crate) fn output_at(&self, index: usize) -> (usize, Triple) {
        let [depth, height, width] = self.output;
        let (row, x) = (index / width, index % width);
        let (plane, y) = (row / height, row % height);
        (plane / depth, [plane % depth, y, x])
    }

    /// Coordinates of a kernel position.
    #[inline]
    pub(crate) fn tap_at(&self, tap: usize) -> Triple {
        let [_, height, width] = self.kernel;
        [tap / (height * width), tap / width % height, tap % width]
    }

    /// The window of an output position.
    #[inline]
    pub(crate) fn origin(&self, image: usize, output: Triple) -> Origin {
        Origin { image, at: std::array::from_fn(|i| (output[i] * self.stride[i]) as i64 - self.begin[i]) }
    }

    /// Index of the input position that a window reads at a kernel position, counted through all images; `None` in the
    /// border.
    #[inline]
    pub(crate) fn met(&self, origin: Origin, tap: usize) -> Option<usize> {
        let tap = self.tap_at(tap);
        let mut position = origin.image;
        for i in 0..3 {
            let at = origin.at[i] + (tap[i] * self.dilation[i]) as i64;
            if at < 0 || at >= self.input[i] as i64 {
                return None;
            }
            position = position * self.input[i] + at as usize;
        }
        Some(position)
    }
}
