//! Convolutions as the kernels of tensor cores take them: from regions, at the optima, and at a launch; and the packed form of
//! their weights.

use bytes::Bytes;
use sinter_backend::{KernelError, Problem, Refusal, Region};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Dim, Sizes, Tensor as HostTensor};
use sinter_ops::Op;
use sinter_ops::conv::Convolution;
use sinter_ops::operator::count_of;
use sinter_ops::window::Padding;
use smallvec::SmallVec;

use crate::epilogue::{Epilogue, Placed};
use crate::fused::{Fused, Layout};
use crate::kernel::{Launch, Tensor, recipe};
use crate::space::Axes;
use crate::tactic::refuse_unknown_sizes;
use crate::windows::{SPATIAL, Shape as WindowShape, WORDS};

/// A convolution with its epilogue.
#[derive(Clone, Debug)]
pub(crate) struct Convolved {
    pub(crate) op: Convolution,
    pub(crate) data_type: DataType,
    pub(crate) layout: Layout,
    pub(crate) epilogue: Epilogue,
    /// Sizes of the weights: output channels, channels of a group, and taps by spatial axis.
    pub(crate) weights: Sizes,
    /// Image, weights and bias in the region.
    operands: [Option<usize>; 3],
}

/// Sizes of a convolution at the optima.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) images: f64,
    pub(crate) positions: f64,
    /// Elements of all operands and results of the region.
    pub(crate) elements: f64,
}

/// A convolution at a launch.
pub(crate) struct Given<'a> {
    pub(crate) x: Tensor<'a>,
    pub(crate) w: Tensor<'a>,
    pub(crate) y: Tensor<'a>,
    /// Address of the bias, 0 where there is none.
    pub(crate) bias: u64,
    pub(crate) images: usize,
    /// Spatial axes of the image and of the result.
    pub(crate) input: &'a [usize],
    pub(crate) output: &'a [usize],
    /// `Windows` of the text.
    pub(crate) windows: [u64; WORDS],
    /// The operands of the epilogue.
    pub(crate) placed: SmallVec<[Placed<'a>; 4]>,
}

impl Convolved {
    /// Matches a region.
    ///
    /// # Errors
    /// When the region is no convolution of floats of 16 bits, or its epilogue does not fit.
    pub(crate) fn of(region: &Region) -> Result<Self, Refusal> {
        refuse_unknown_sizes(region)?;
        let fused = Fused::of(region)?;
        let Op::Convolution(op) = &fused.node.op else { return Err(Refusal::OtherOperator) };
        let spatial = op.strides.len();
        if !(1..=SPATIAL).contains(&spatial) {
            return Err(Refusal::new(format!("takes at most {SPATIAL} spatial axes, not {spatial}")));
        }
        let weights = fused.input(1).ok_or_else(|| Refusal::new("takes weights"))?;
        let data_type = weights.data_type;
        if !matches!(data_type, DataType::F16 | DataType::Bf16) {
            return Err(Refusal::new(format!("takes f16 and bf16, not {data_type}")));
        }
        let sizes = weights.shape.sizes().filter(|sizes| sizes.len() == spatial + 2 && op.groups > 0);
        let last: SmallVec<[usize; 4]> = (0..=spatial).collect();
        let (rows, columns): (&[usize], &[usize]) = match fused.layout {
            Layout::First => (&[1], &(2..2 + spatial).collect::<SmallVec<[usize; SPATIAL]>>()),
            Layout::Last => (&last, &[spatial + 1]),
            // Images are matrices of their own.
            Layout::Turned => (&last[1..], &[spatial + 1]),
        };
        Ok(Self {
            op: op.clone(),
            data_type,
            layout: fused.layout,
            epilogue: fused.epilogue(data_type, [rows, columns])?,
            weights: sizes.ok_or_else(|| Refusal::new("takes weights of known sizes"))?,
            operands: [fused.operand(0), fused.operand(1), fused.operand(2)],
        })
    }

    /// Output channels of a group.
    pub(crate) fn outputs(&self) -> usize {
        self.weights[0] / self.op.groups
    }

    /// Channels of a group of the image.
    pub(crate) fn inputs(&self) -> usize {
        self.weights[1]
    }

    /// Taps of a window.
    pub(crate) fn taps(&self) -> usize {
        self.weights[2..].iter().product()
    }

    /// Is every window one pixel, each of the image in its order?
    pub(crate) fn is_product(&self) -> bool {
        let Convolution { strides, padding, .. } = &self.op;
        let has_no_border = match padding {
            Padding::Explicit { begin, end } => begin.iter().chain(end).all(|pad| *pad == 0),
            Padding::Valid | Padding::SameUpper | Padding::SameLower => true,
        };
        self.taps() == 1 && has_no_border && strides.iter().all(|stride| *stride == 1)
    }

    /// The part of a configuration.
    pub(crate) fn configuration(&self) -> String {
        let bias = if self.operands[2].is_some() { "b " } else { "" };
        format!("{} {bias}{}", self.op.strides.len(), self.epilogue.configuration())
    }

    /// The part of the generated header.
    pub(crate) fn generated(&self) -> String {
        let (axes, has_bias) = (self.op.strides.len(), self.operands[2].is_some());
        let constants = format!("constexpr int SPATIAL_AXES = {axes};\nconstexpr bool HAS_BIAS = {has_bias};\n");
        self.epilogue.generated() + &constants
    }

    /// Index of the image in the region.
    pub(crate) fn image_operand(&self) -> Option<usize> {
        self.operands[0]
    }

    /// Refuses a region that computes its weights: they are packed when the plan is made.
    ///
    /// # Errors
    /// See above.
    pub(crate) fn require_weights(&self, region: &Region) -> Result<(), Refusal> {
        match self.operands[1].is_some_and(|operand| region.is_constant(operand)) {
            true => Ok(()),
            false => Err(Refusal::new("packs its weights, which are computed in a run")),
        }
    }

    /// Index of the weights in the region.
    pub(crate) fn weights_operand(&self) -> Option<usize> {
        self.operands[1]
    }

    /// The sizes at the optima.
    pub(crate) fn counts(&self, problem: &Problem<'_>) -> Option<Counts> {
        let fused = Fused::of(problem.region).ok()?;
        let number = |dim: &Dim| problem.sizing.evaluate(dim).map(|size| size.max(0) as f64);
        let dims = fused.result_dims();
        let images = number(dims.first()?)?;
        let all = dims.iter().try_fold(1.0, |product, dim| Some(product * number(dim)?))?;
        let body = problem.region.body();
        let ends = body.input_types().into_iter().chain(body.output_types());
        let elements = ends.map(|ty| number(&count_of(&ty)).unwrap_or(0.0)).sum();
        let positions = all / (images * self.weights[0] as f64).max(1.0);
        Some(Counts { images, positions, elements })
    }

    /// The tensors of a launch. Packed weights have any sizes.
    ///
    /// # Errors
    /// When the arguments do not fit.
    pub(crate) fn given<'a>(&self, launch: &Launch<'a>) -> Result<Given<'a>, KernelError> {
        let given =
            |index: usize| self.operands[index].and_then(|operand| launch.inputs.get(operand).copied().flatten());
        let missing = || recipe("an operand of a convolution is left out");
        let (x, w, bias) = (given(0).ok_or_else(missing)?, given(1).ok_or_else(missing)?, given(2));
        let y = launch.output(0)?;
        let mismatch = || recipe(format!("{:?} by {:?} is no {:?}", x.sizes, self.weights, y.sizes));
        let parts = |sizes: &'a [usize], is_last: bool| match sizes {
            [n, spatial @ .., c] if is_last => Some((*n, *c, spatial)),
            [n, c, spatial @ ..] => Some((*n, *c, spatial)),
            _ => None,
        };
        let (images, c, input) = parts(x.sizes, self.layout == Layout::Last).ok_or_else(mismatch)?;
        let (y_images, m, output) = parts(y.sizes, self.layout != Layout::First).ok_or_else(mismatch)?;
        let groups = self.op.groups;
        let fits = images == y_images
            && m == self.weights[0]
            && m.is_multiple_of(groups)
            && self.inputs() * groups == c
            && w.count() == self.weights.iter().product::<usize>();
        let is_own = |tensor: &Tensor<'_>| tensor.data_type == self.data_type;
        let types = is_own(&x) && is_own(&w) && bias.as_ref().is_none_or(is_own);
        let same_bias = bias.is_some() == self.operands[2].is_some();
        if !fits
            || !types
            || !same_bias
            || y.data_type != self.epilogue.result
            || bias.is_some_and(|bias| bias.sizes != [m])
        {
            return Err(mismatch());
        }
        let Convolution { strides, dilations, padding, .. } = &self.op;
        let shape = WindowShape { strides, dilations, padding, ceil: false };
        let windows = shape.words(input, &self.weights[2..], output)?;
        let placed = self.epilogue.place(&launch.inputs, y.sizes).ok_or_else(mismatch)?;
        Ok(Given { x, w, y, bias: bias.map_or(0, |bias| bias.address), images, input, output, windows, placed })
    }
}

/// The distance between rows that are several axes of the result, of an operand that has all of these or none.
pub(crate) fn row_stride(strides: &Axes, result: &[usize], axes: impl DoubleEndedIterator<Item = usize>) -> i64 {
    // An axis of one element has no distance.
    let inner = axes.rev().find(|axis| result.get(*axis).is_some_and(|size| *size > 1));
    inner.and_then(|axis| strides.get(axis).copied()).unwrap_or(0)
}

/// Weights [m, c, taps...] with the channels of every tap side by side: [m, taps..., c], as one list.
///
/// # Errors
/// When they have no such axes.
pub(crate) fn channels_last(weights: &HostTensor) -> Result<HostTensor, KernelError> {
    turned(weights, |sizes| {
        let (m, c) = (sizes[0], sizes[1]);
        let taps = sizes[2..].iter().product::<usize>();
        let order = move |at: usize| at / (taps * c) * (taps * c) + at % c * taps + at / c % taps;
        (m * c * taps, order)
    })
}

/// Weights [m, 1, taps...] with all channels of every tap side by side: [taps..., m], as one list.
///
/// # Errors
/// When they have no such axes.
pub(crate) fn taps_first(weights: &HostTensor) -> Result<HostTensor, KernelError> {
    turned(weights, |sizes| {
        let (m, taps) = (sizes[0], sizes[1..].iter().product::<usize>());
        (m * taps, move |at: usize| at % m * taps + at / m)
    })
}

/// A list of elements that are elsewhere in a tensor.
fn turned<F: Fn(usize) -> usize>(
    tensor: &HostTensor,
    order: impl Fn(&[usize]) -> (usize, F),
) -> Result<HostTensor, KernelError> {
    if tensor.sizes().len() < 3 {
        return Err(recipe(format!("weights of sizes {:?}", tensor.sizes())));
    }
    let (count, source) = order(tensor.sizes());
    let (bytes, width) = (tensor.bytes(), element_bytes(tensor.data_type()));
    let mut list = Vec::with_capacity(bytes.len());
    for at in 0..count {
        let from = source(at) * width;
        list.extend_from_slice(bytes.get(from..from + width).unwrap_or_default());
    }
    let made = HostTensor::from_bytes(tensor.data_type(), &[count], Bytes::from(list));
    made.map_err(|error| KernelError::Data(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_packed_by_tap() {
        let numbers: Vec<f64> = (0..12).map(f64::from).collect();
        let weights = HostTensor::from_floats(DataType::F16, &[2, 3, 2, 1], &numbers).expect("weights");
        let packed = channels_last(&weights).expect("a list").to_floats();
        assert_eq!(packed, [0.0, 2.0, 4.0, 1.0, 3.0, 5.0, 6.0, 8.0, 10.0, 7.0, 9.0, 11.0]);
        let weights = HostTensor::from_floats(DataType::Bf16, &[3, 1, 2, 2], &numbers).expect("weights");
        let packed = taps_first(&weights).expect("a list").to_floats();
        assert_eq!(packed, [0.0, 4.0, 8.0, 1.0, 5.0, 9.0, 2.0, 6.0, 10.0, 3.0, 7.0, 11.0]);
    }

    #[test]
    fn rows_of_several_axes_have_the_distance_of_the_innermost_long_one() {
        let strides = Axes::from_slice(&[12, 4, 4, 1]);
        assert_eq!(row_stride(&strides, &[5, 3, 1, 4], 0..3), 4);
        assert_eq!(row_stride(&Axes::from_slice(&[4, 0, 0, 1]), &[5, 1, 1, 4], 0..3), 4);
        assert_eq!(row_stride(&Axes::from_slice(&[0, 0, 0, 1]), &[1, 1, 1, 4], 0..3), 0);
    }
}
