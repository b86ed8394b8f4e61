//! `cuda.conv.wgmma`: convolution of f16 and bf16 images with the channels last by the copy engine and the warpgroup products of
//! compute capability 9.0, with an epilogue.
//!
//! The engine brings the pixels that one tap of the windows meets for a tile of the result, with zeros for the border; windows of
//! one pixel are a plain product. The weights are packed, so that the channels of a tap are side by side. Sums are in f32. The
//! main loop, its tiles and its epilogue are those of `cuda.matmul.wgmma`. Tensors that the engine cannot describe run on the
//! function of the older tier that the code contains too.

use sinter_backend::{
    Candidate, Code, End, KernelError, Problem, Recipe, Refusal, Region, StrideSupport, Tactic, Target,
};
use sinter_base::Tensor;
use sinter_ops::OpKind;
use sinter_ops::conv::Convolution;
use smallvec::{SmallVec, smallvec};

use crate::conv::channels::{ChannelsLast, Laid, pack};
use crate::driver::tensor_map::{Swizzle, Tile as Copied};
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source, TensorMap};
use crate::matmul::cost::{Schedule, ranked};
use crate::matmul::group_tile::{ISA, STEP, Tile};
use crate::tactic::{CudaTactic, compiled};
use crate::windows::SPATIAL;

/// See the module documentation.
pub struct Wgmma;

const NAME: &str = "cuda.conv.wgmma";
/// Candidates of a region where not all are asked for: the model is not exact, and more would take long to compile.
const MOST_CANDIDATES: usize = 16;
/// Nanoseconds in which the copy engine brings one pixel of a window: it is bound by their number, however few their bytes.
const PIXEL: f64 = 2.0;
/// Nanoseconds from the start of a copy to its use: images come from memory.
const LATENCY: f64 = 1_500.0;

/// How the copy engine sees the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// Pixels in a row.
    Pixels,
    /// Windows over one or two axes.
    Windows,
    /// The same, where groups are an axis of their own behind the images.
    Groups,
    /// Windows over three axes.
    Volumes,
}

impl View {
    fn of(image: &ChannelsLast) -> Result<Self, Refusal> {
        let op = &image.convolved.op;
        match (op.strides.len(), op.groups) {
            _ if image.convolved.is_product() => Ok(Self::Pixels),
            (1 | 2, 1) => Ok(Self::Windows),
            (1 | 2, _) => Ok(Self::Groups),
            (3, 1) => Ok(Self::Volumes),
            _ => Err(Refusal::new("takes no groups over three spatial axes")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Pixels => "PIXELS",
            Self::Windows => "WINDOWS",
            Self::Groups => "GROUPED",
            Self::Volumes => "VOLUMES",
        }
    }
}

fn schedule(view: View, tile: Tile, wholes: usize) -> Schedule {
    let schedule = tile.schedule(wholes);
    let gathering = if view == View::Pixels { 0.0 } else { tile.sides().0 as f64 * PIXEL };
    Schedule { gathering, latency: LATENCY, ..schedule }
}

impl Tactic for Wgmma {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Convolution]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let image = ChannelsLast::of(problem.region)?;
        image.convolved.require_weights(problem.region)?;
        let view = View::of(&image)?;
        if problem.target.isa != ISA {
            return Err(Refusal::new("needs compute capability 9.0"));
        }
        if !image.convolved.inputs().is_multiple_of(8) {
            return Err(Refusal::new(format!("takes multiples of 8 channels, not {}", image.convolved.inputs())));
        }
        let extent = image.extent(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        // A loader asks for all, since its sizes may be others than those of the choice.
        let is_all = most == usize::MAX;
        let tiles = Tile::all().filter(|tile| is_all || tile.suits(extent));
        let wholes = image.convolved.epilogue.wholes();
        let ways = tiles.map(|tile| (tile.parameters(), schedule(view, tile, wholes)));
        let most = if is_all { most } else { most.min(MOST_CANDIDATES) };
        let ranked = ranked(self, (extent, image.data_type()), problem.target, ways, most);
        Ok(ranked.into_iter().map(|candidate| image.described(candidate)).collect())
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }

    fn pack(&self, _: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        pack(NAME, region, operand, weight)
    }
}

impl CudaTactic for Wgmma {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        let (image, tile) = (ChannelsLast::of(region)?, Tile::of_parameters(&recipe.parameters)?);
        Ok(Box::new(WgmmaKernel { view: View::of(&image)?, image, tile }))
    }
}

struct WgmmaKernel {
    image: ChannelsLast,
    view: View,
    tile: Tile,
}

/// The functions of the text.
const TILES: usize = 0;
const ANY: usize = 1;
/// Rows and columns, threads and shared memory of the second one.
const SMALL: (usize, u32, u32) = (64, 128, 3 * 2 * 64 * 128);

impl WgmmaKernel {
    fn has_even_outputs(&self) -> bool {
        self.image.convolved.outputs().is_multiple_of(2)
    }

    /// The map of the image, whose tiles have this many pixels.
    fn image_map(&self, laid: &Laid<'_>, pixels: usize) -> Option<TensorMap> {
        let Laid { given, channels, pixel, .. } = laid;
        let number = |size: usize| u32::try_from(size).ok();
        let groups = self.image.convolved.op.groups;
        let step = *pixel as u64 * 2;
        let (mut sizes, mut strides) = (smallvec![*channels as u64], smallvec![]);
        let tile = if self.view == View::Pixels {
            sizes.extend([laid.pixels as u64, groups as u64]);
            strides.extend([step, *channels as u64 * 2]);
            Copied::Box(smallvec![number(STEP)?, number(pixels)?, 1])
        } else {
            let Convolution { strides: steps, .. } = &self.image.convolved.op;
            let axes = steps.len();
            let (mut lower, mut upper, mut by) = (SmallVec::new(), SmallVec::new(), SmallVec::new());
            let mut distance = step;
            for axis in (0..axes).rev() {
                let begin = given.windows[5 * SPATIAL + SPATIAL - axes + axis].cast_signed();
                let (input, output) = (i64::try_from(given.input[axis]).ok()?, i64::try_from(given.output[axis]).ok()?);
                let (first, stride) = (begin.checked_neg()?, i64::try_from(steps[axis]).ok()?);
                lower.push(i32::try_from(first).ok()?);
                upper.push(i32::try_from(first + (output - 1) * stride - (input - 1)).ok()?);
                by.push(number(steps[axis])?);
                sizes.push(given.input[axis] as u64);
                strides.push(distance);
                distance *= given.input[axis] as u64;
            }
            if axes == 1 {
                // One row.
                (lower, upper, by) = (smallvec![lower[0], 0], smallvec![upper[0], 0], smallvec![by[0], 1]);
                sizes.push(1);
                strides.push(distance);
            }
            sizes.push(given.images as u64);
            strides.push(distance);
            if self.view == View::Groups {
                lower.push(0);
                upper.push(0);
                by.push(1);
                sizes.push(groups as u64);
                strides.push(*channels as u64 * 2);
            }
            Copied::Windows { lower, upper, strides: by, channels: number(STEP)?, pixels: number(pixels)? }
        };
        let (data_type, swizzle) = (self.image.data_type(), Swizzle::Bytes128);
        Some(TensorMap { data_type, address: given.x.address, sizes, strides, tile, swizzle })
    }

    /// The map of the weights, whose tiles have this many output channels.
    fn weights_map(&self, laid: &Laid<'_>, outputs: usize) -> Option<TensorMap> {
        let convolved = &self.image.convolved;
        let (channels, taps) = (convolved.inputs() as u64, convolved.taps() as u64);
        Some(TensorMap {
            data_type: self.image.data_type(),
            address: laid.given.w.address,
            sizes: smallvec![channels, taps, convolved.weights[0] as u64],
            strides: smallvec![channels * 2, channels * taps * 2],
            tile: Copied::Box(smallvec![u32::try_from(STEP).ok()?, 1, u32::try_from(outputs).ok()?]),
            swizzle: Swizzle::Bytes128,
        })
    }

    /// The maps of both operands, where the copy engine can describe them.
    fn maps(&self, laid: &Laid<'_>) -> Option<[TensorMap; 2]> {
        // Two neighbours of the bias are loaded at once.
        if self.has_even_outputs() && !laid.given.bias.is_multiple_of(4) {
            return None;
        }
        let (pixels, outputs) = self.tile.sides();
        let maps = [self.image_map(laid, pixels)?, self.weights_map(laid, outputs)?];
        maps.iter().all(|map| map.check().is_ok()).then_some(maps)
    }
}

impl Kernel for WgmmaKernel {
    fn configuration(&self) -> String {
        let view = self.view.name().to_lowercase();
        let even = if self.has_even_outputs() { "" } else { "odd " };
        format!("{NAME} 1 {} {view} {even}{}", self.tile.configuration(), self.image.convolved.configuration())
    }

    fn source(&self) -> Source {
        let mut generated = self.image.convolved.generated();
        generated.push_str(&format!("constexpr bool EVEN_OUTPUTS = {};\n", self.has_even_outputs()));
        generated.push_str(&self.tile.generated(self.image.data_type(), [true, true], true));
        generated
            .push_str(&format!("enum {{ PIXELS, WINDOWS, GROUPED, VOLUMES }};\n#define VIEW {}\n", self.view.name()));
        Source { generated, text: include_str!("wgmma.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["tiles", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let Some(laid) = self.image.laid(launch)? else { return Ok(()) };
        let Some(maps) = self.maps(&laid) else {
            let (side, threads, shared) = SMALL;
            let geometry = Geometry { grid: [laid.tiles(side, side)?, 1, 1], threads, shared };
            return launch.sink.run(ANY, geometry, &laid.tile_words());
        };
        let (rows, columns) = self.tile.sides();
        let tiles = laid.tiles(rows, columns)?;
        let mut words: SmallVec<[u64; 192]> = SmallVec::new();
        for map in &maps {
            words.extend(launch.sink.encode(map)?);
        }
        words.extend_from_slice(&laid.matrices);
        words.push(u64::from(tiles));
        // A structure is a multiple of its alignment.
        words.resize(words.len().next_multiple_of(8), 0);
        words.extend(laid.images());
        words.resize(words.len().next_multiple_of(8), 0);
        let (geometry, cooperation) = self.tile.geometry(tiles, launch.units);
        launch.sink.run_together(TILES, geometry, cooperation, &words)
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        self.image.stride_support(end)
    }
}
