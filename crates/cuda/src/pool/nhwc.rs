//! `cuda.pool.nhwc`: the largest element or the mean of each window of f16 and bf16 images with the channels last.
//!
//! A thread computes eight channels of a window, and loads several taps at once. Where one window covers a whole image, a block
//! computes a few channels, and its threads share the pixels. Where that are too few blocks for so many pixels, several blocks share
//! an image, and another launch joins their values in a fixed order, so that a result has the same bits in every run.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Dim};
use sinter_ops::pool::{Pool, PoolMode};
use sinter_ops::window::Padding;
use sinter_ops::{Op, OpKind};
use smallvec::SmallVec;

use crate::fused::{Fused, Layout};
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, recipe};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::element;
use crate::windows::{SPATIAL, Shape};

/// See the module documentation.
pub const NHWC: Row = Row {
    name: "cuda.pool.nhwc",
    roots: &[OpKind::Pool],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

/// Channels of a thread.
const CHUNK: usize = 8;
/// Threads of a block; those for windows spread over more of them.
const THREADS: usize = 256;
const THREADS_OF_WINDOWS: usize = 128;
/// The least bytes of a block that is divided, and the bytes of an image that are worth a part of their own.
const WORTH_DIVIDING: usize = 64 << 10;
const WORTH_A_PART: usize = 16 << 10;
/// Parts of all groups of channels at most, and channels of a group at most: the scratch memory has room for their values.
const MOST_PARTS: usize = 1024;
const MOST_CHANNELS: usize = 64;
/// Pixels along an axis, strides, dilations and borders at most: the text counts them in 32 bits.
const MOST_OF_AXIS: u64 = 1 << 30;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let fused = Fused::of(region)?;
    let Op::Pool(op) = &fused.node.op else { return Err(Refusal::OtherOperator) };
    refuse_unknown_sizes(region)?;
    if fused.layout != Layout::Last || fused.behind.is_some() {
        return Err(Refusal::new("takes images and results with the channels last, without an epilogue"));
    }
    if !(1..=SPATIAL).contains(&fused.result_dims().len().saturating_sub(2)) {
        return Err(Refusal::new(format!("takes 1 to {SPATIAL} spatial axes")));
    }
    let data_type = fused.input(0).map(|ty| ty.data_type);
    match (data_type, &op.mode) {
        (_, PoolMode::Norm { .. }) => Err(Refusal::new("takes no norms")),
        (Some(data_type @ (DataType::F16 | DataType::Bf16)), _) => {
            Ok(Box::new(NhwcKernel { op: op.clone(), data_type }))
        }
        _ => Err(Refusal::new("takes f16 and bf16")),
    }
}

struct NhwcKernel {
    op: Pool,
    data_type: DataType,
}

/// The functions of the text: windows, whole images, and the parts of images.
const WINDOWS_BY_CHUNK: usize = 0;
const WINDOWS_BY_CHANNEL: usize = 1;
const IMAGES_BY_LINE: usize = 2;
const IMAGES_BY_SECTOR: usize = 3;
const IMAGES_BY_CHANNEL: usize = 4;
const JOIN_PARTS: usize = 5;

/// How blocks share whole images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Share {
    entry: usize,
    /// Groups of channels, and parts of the pixels.
    groups: usize,
    parts: usize,
}

impl Share {
    fn of(images: usize, pixels: usize, channels: usize, is_wide: bool, units: usize) -> Self {
        let enough = 2 * units.max(1);
        // Eight chunks of a pixel are a line of the cache, and two are a sector.
        let (entry, own) = match is_wide {
            false => (IMAGES_BY_CHANNEL, 32),
            true if images * channels.div_ceil(8 * CHUNK) >= enough => (IMAGES_BY_LINE, 8 * CHUNK),
            true => (IMAGES_BY_SECTOR, 2 * CHUNK),
        };
        let groups = channels.div_ceil(own);
        let bytes = 2 * pixels * own;
        let room = enough.min(MOST_PARTS).checked_div(images * groups).unwrap_or(1);
        let parts = if bytes < WORTH_DIVIDING { 1 } else { (bytes / WORTH_A_PART).min(room).max(1) };
        Self { entry, groups, parts }
    }
}

impl NhwcKernel {
    /// Taps of a window along the three spatial axes; those of whole images are known at a launch only.
    fn taps(&self) -> [usize; SPATIAL] {
        let mut taps = [1; SPATIAL];
        let kernel = self.op.window.as_ref().map_or(&[][..], |window| &window.kernel[..]);
        taps.iter_mut().rev().zip(kernel.iter().rev()).for_each(|(own, size)| *own = *size);
        taps
    }
}

impl Kernel for NhwcKernel {
    fn configuration(&self) -> String {
        let mode = if self.op.mode == PoolMode::Max { "max" } else { "average" };
        let [z, y, x] = self.taps();
        format!("{} 2 {mode} {z}x{y}x{x} {}", NHWC.name, self.data_type)
    }

    fn source(&self) -> Source {
        let is_largest = self.op.mode == PoolMode::Max;
        let name = element(self.data_type).unwrap_or("void");
        let [z, y, x] = self.taps();
        let generated = format!(
            "typedef {name} T;\nconstexpr bool LARGEST = {is_largest};\n\
             constexpr int TAPS_Z = {z}, TAPS_Y = {y}, TAPS_X = {x};\n"
        );
        Source { generated, text: include_str!("nhwc.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &[
            "windows_by_chunk",
            "windows_by_channel",
            "images_by_line",
            "images_by_sector",
            "images_by_channel",
            "join_parts",
        ]
    }

    fn workspace(&self) -> Dim {
        Dim::from(if self.op.window.is_some() { 0 } else { MOST_PARTS * MOST_CHANNELS * size_of::<f32>() })
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.output(0)?);
        let mismatch = || recipe(format!("windows over {:?} are no {:?}", x.sizes, y.sizes));
        let ([n, input @ .., c], [y_n, output @ .., y_c]) = (x.sizes, y.sizes) else { return Err(mismatch()) };
        if n != y_n || c != y_c || x.data_type != self.data_type || y.data_type != self.data_type {
            return Err(mismatch());
        }
        let ones: SmallVec<[usize; SPATIAL]> = input.iter().map(|_| 1).collect();
        let words = match &self.op.window {
            Some(window) => {
                let (strides, dilations, padding) = (&window.strides[..], &window.dilations[..], &window.padding);
                Shape { strides, dilations, padding, ceil: window.ceil }.words(input, &window.kernel, output)?
            }
            None => {
                let shape = Shape { strides: &ones, dilations: &ones, padding: &Padding::Valid, ceil: false };
                shape.words(input, input, output)?
            }
        };
        if y.count() == 0 {
            return Ok(());
        }
        if words.iter().any(|word| word.cast_signed().unsigned_abs() >= MOST_OF_AXIS) {
            return Err(recipe(format!("windows over {:?} reach beyond 2^30 pixels", x.sizes)));
        }
        let counts_padding = matches!(self.op.mode, PoolMode::Average { count_padding: true });
        let is_wide = c.is_multiple_of(CHUNK) && [x.address, y.address].iter().all(|at| at.is_multiple_of(16));
        let pixels = input.iter().product::<usize>();
        let share = Share::of(*n, pixels, *c, is_wide, launch.units);
        let is_divided = self.op.window.is_none() && share.parts > 1;
        let partial = if is_divided { launch.scratch(n * share.parts * c * size_of::<f32>())? } else { 0 };
        let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&words);
        parameters.extend([*n, *c, usize::from(counts_padding), share.groups, share.parts].map(|size| size as u64));
        parameters.extend([x.address, y.address, partial]);
        let small = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        if self.op.window.is_some() {
            let work = n * output.iter().product::<usize>() * if is_wide { c / CHUNK } else { *c };
            let entry = if is_wide { WINDOWS_BY_CHUNK } else { WINDOWS_BY_CHANNEL };
            let blocks = work.div_ceil(THREADS_OF_WINDOWS).min(launch.units.max(1) * 64);
            let geometry = Geometry { grid: [small(blocks), 1, 1], threads: small(THREADS_OF_WINDOWS), shared: 0 };
            return launch.sink.run(entry, geometry, &parameters);
        }
        let blocks = i32::try_from(n * share.groups).map_err(|_| mismatch())?.unsigned_abs();
        let geometry = Geometry { grid: [blocks, small(share.parts), 1], threads: small(THREADS), shared: 0 };
        launch.sink.run(share.entry, geometry, &parameters)?;
        if is_divided { launch.each(JOIN_PARTS, n * c, &parameters) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_blocks_with_many_pixels_share_images() {
        let share = |images, side: usize, channels| Share::of(images, side * side, channels, channels % 8 == 0, 132);
        assert_eq!(share(1, 112, 32), Share { entry: IMAGES_BY_SECTOR, groups: 2, parts: 24 });
        assert_eq!(share(1, 56, 144), Share { entry: IMAGES_BY_SECTOR, groups: 9, parts: 6 });
        assert_eq!(share(1, 14, 480), Share { entry: IMAGES_BY_SECTOR, groups: 30, parts: 1 });
        assert_eq!(share(128, 7, 1280), Share { entry: IMAGES_BY_LINE, groups: 20, parts: 1 });
        assert_eq!(share(128, 112, 32), Share { entry: IMAGES_BY_SECTOR, groups: 2, parts: 1 });
        assert_eq!(share(1, 112, 33), Share { entry: IMAGES_BY_CHANNEL, groups: 2, parts: 49 });
        // The values of all parts have room.
        for images in [1, 2, 7, 64, 1000] {
            for (side, channels) in [(112, 8), (200, 64), (300, 3), (4000, 1), (500, 1000)] {
                let Share { parts, .. } = share(images, side, channels);
                assert!(parts == 1 || images * parts * channels <= MOST_PARTS * MOST_CHANNELS, "{images} {channels}");
            }
        }
    }
}
