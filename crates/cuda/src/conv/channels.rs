//! Convolutions of images with the channels last: rows of the product are pixels of the result, of all images, columns are
//! output channels, and groups are the stack. A step of the sum is one tap and up to 64 channels.

use sinter_backend::{Candidate, End, KernelError, Problem, Refusal, Region, StrideSupport};
use sinter_base::{DataType, Tensor as HostTensor};
use smallvec::{SmallVec, smallvec};

use crate::conv::convolved::{Convolved, Given, channels_last, row_stride};
use crate::epilogue::is_wide;
use crate::fused::Layout;
use crate::kernel::{Launch, Tensor, recipe};
use crate::matmul::matrices::Matrices;
use crate::matmul::stacked::Extent;
use crate::space::Space;

/// Terms of a step.
const STEP: usize = 64;
/// Channels of a group at least, of the image and of the result: fewer would leave most of a tile empty.
const LEAST_CHANNELS: usize = 8;
/// Taps along an axis at most: a thread keeps a bit for each.
const MOST_TAPS: usize = 32;
/// Pixels of all images at most: the texts count them in 32 bits.
const MOST: usize = 1 << 30;
/// Bytes of a chunk, which are copied at once.
const CHUNK: u64 = 16;

/// A convolution of images with the channels last, with its epilogue.
#[derive(Clone, Debug)]
pub(crate) struct ChannelsLast {
    pub(crate) convolved: Convolved,
}

/// The convolution at a launch.
pub(crate) struct Laid<'a> {
    pub(crate) given: Given<'a>,
    /// Rows of the product.
    pub(crate) pixels: usize,
    /// Columns of the product, and its matrices.
    outputs: usize,
    groups: usize,
    /// Channels of a group, and elements from one pixel to the next.
    pub(crate) channels: usize,
    pub(crate) pixel: usize,
    /// The structure `Matrices` of the text.
    pub(crate) matrices: SmallVec<[u64; 96]>,
}

impl ChannelsLast {
    /// Matches a region.
    ///
    /// # Errors
    /// When it is no such convolution.
    pub(crate) fn of(region: &Region) -> Result<Self, Refusal> {
        let convolved = Convolved::of(region)?;
        if convolved.layout != Layout::Last {
            return Err(Refusal::new("takes images and results with the channels last"));
        }
        if convolved.op.groups > 1 && convolved.inputs().min(convolved.outputs()) < LEAST_CHANNELS {
            let text = format!("takes groups of at least {LEAST_CHANNELS} channels of the image and of the result");
            return Err(Refusal::new(text));
        }
        if convolved.weights[2..].iter().any(|taps| !(1..=MOST_TAPS).contains(taps)) {
            return Err(Refusal::new(format!("takes 1 to {MOST_TAPS} taps along an axis")));
        }
        Ok(Self { convolved })
    }

    pub(crate) fn data_type(&self) -> DataType {
        self.convolved.data_type
    }

    /// The sizes of the product at the optima.
    pub(crate) fn extent(&self, problem: &Problem<'_>) -> Option<Extent> {
        let Convolved { op, .. } = &self.convolved;
        let counts = self.convolved.counts(problem)?;
        let k = self.convolved.inputs().next_multiple_of(STEP) * self.convolved.taps();
        Some(Extent {
            stacks: op.groups as f64,
            m: counts.images * counts.positions,
            n: self.convolved.outputs() as f64,
            k: k as f64,
            elements: counts.elements,
        })
    }

    /// The candidate with its packed operand and the strided views that the kernel takes.
    pub(crate) fn described(&self, candidate: Candidate) -> Candidate {
        let packed = self.convolved.weights_operand().into_iter().collect();
        let ends = self.convolved.image_operand().map(End::Operand).into_iter().chain([End::Result(0)]);
        let strided = ends.map(|end| (end, StrideSupport::LastAxis)).collect();
        Candidate { packed, strided, ..candidate }
    }

    /// See [`crate::kernel::Kernel::stride_support`].
    pub(crate) fn stride_support(&self, end: End) -> StrideSupport {
        let is_pixels = match end {
            End::Operand(operand) => self.convolved.image_operand() == Some(operand),
            End::Result(_) => true,
        };
        if is_pixels { StrideSupport::LastAxis } else { StrideSupport::Contiguous }
    }

    /// The convolution of a launch; `None` where there is no result to compute.
    ///
    /// # Errors
    /// When the arguments do not fit.
    pub(crate) fn laid<'a>(&self, launch: &Launch<'a>) -> Result<Option<Laid<'a>>, KernelError> {
        let Self { convolved } = self;
        let given = convolved.given(launch)?;
        let Given { x, w, y, images, input, output, placed, .. } = &given;
        let mismatch = || recipe(format!("{:?} by {:?} is no {:?}", x.sizes, convolved.weights, y.sizes));
        if y.count() == 0 {
            return Ok(None);
        }
        let (groups, channels, outputs) = (convolved.op.groups, convolved.inputs(), convolved.outputs());
        let (k, spatial) = (channels * convolved.taps(), input.len());
        let pixel = pixel_of(x, channels * groups).ok_or_else(mismatch)?;
        let y_pixel = pixel_of(y, outputs * groups).ok_or_else(mismatch)?;
        let pixels = images * output.iter().product::<usize>();
        let reach = input.iter().product::<usize>().saturating_mul(*images);
        let border = convolved.weights[2..].iter().zip(&convolved.op.dilations).map(|(taps, dilation)| taps * dilation);
        if [pixels, reach, pixel, k].into_iter().chain(border).any(|size| size >= MOST) {
            return Err(recipe(format!("{:?} by {:?} has more than 2^30 pixels", x.sizes, convolved.weights)));
        }
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let column = |strides: &[i64]| strides.last().copied().unwrap_or(0);
        let beside = placed.iter().map(|placed| smallvec![number(outputs) * column(&placed.strides)]);
        let strides = [smallvec![1], smallvec![1]].into_iter().chain(beside).collect();
        let matrices = Matrices {
            sizes: [pixels, outputs, channels.next_multiple_of(STEP) * convolved.taps()],
            addresses: [x.address, w.address, y.address],
            rows: [pixel, k, y_pixel],
            elements: [channels, outputs * k, outputs],
            wide: is_wide(y, [number(y_pixel), number(outputs)]),
            stacks: groups,
            space: Space { sizes: smallvec![number(groups)], strides },
        };
        let beside = placed.iter().map(|placed| {
            let strides = &placed.strides;
            (placed, row_stride(strides, y.sizes, 0..=spatial), column(strides))
        });
        let matrices = matrices.words(&convolved.epilogue, beside);
        Ok(Some(Laid { given, pixels, outputs, groups, channels, pixel, matrices }))
    }
}

/// Elements from one pixel to the next of a tensor whose pixels have so many channels.
fn pixel_of(tensor: &Tensor<'_>, channels: usize) -> Option<usize> {
    match tensor.rows {
        None => Some(channels),
        Some(rows) if rows.inner == channels => Some(rows.step),
        Some(_) => None,
    }
}

impl Laid<'_> {
    /// Tiles of this shape in all matrices.
    ///
    /// # Errors
    /// When there are more than a grid has blocks.
    pub(crate) fn tiles(&self, rows: usize, columns: usize) -> Result<u32, KernelError> {
        let count = self.pixels.div_ceil(rows).checked_mul(self.outputs.div_ceil(columns));
        let count = count.and_then(|count| count.checked_mul(self.groups)).and_then(|count| i32::try_from(count).ok());
        let count = count.ok_or_else(|| recipe(format!("too many tiles of {} pixels", self.pixels)))?;
        Ok(count.unsigned_abs())
    }

    /// May chunks of pixels and of weights be copied at once?
    pub(crate) fn is_aligned(&self) -> bool {
        let elements = CHUNK as usize / 2;
        let sizes = [self.channels, self.pixel].iter().all(|size| size.is_multiple_of(elements));
        sizes && [self.given.x.address, self.given.w.address].iter().all(|address| address.is_multiple_of(CHUNK))
    }

    /// The structure `Images` of the text.
    pub(crate) fn images(&self) -> SmallVec<[u64; 24]> {
        let mut words = SmallVec::from_slice(&self.given.windows);
        words.extend([self.given.bias, self.channels as u64, self.pixel as u64]);
        words
    }

    /// The structure `ConvolutionTile` of the text.
    pub(crate) fn tile_words(&self) -> SmallVec<[u64; 128]> {
        self.matrices.iter().copied().chain(self.images()).collect()
    }
}

/// The packed weights of a region for a tactic.
///
/// # Errors
/// When the operand is none that it packs.
pub(crate) fn pack(
    tactic: &str,
    region: &Region,
    operand: usize,
    weight: &HostTensor,
) -> Result<HostTensor, KernelError> {
    let convolved = Convolved::of(region).map_err(|refusal| recipe(format!("{tactic}: {refusal}")))?;
    match convolved.weights_operand() == Some(operand) {
        true => channels_last(weight),
        false => Err(recipe(format!("{tactic} does not pack operand {operand}"))),
    }
}
