//! `cuda.conv.mma.nhwc`: convolution of f16 and bf16 images with the channels last on the tensor cores of compute capability 8.0
//! and later, with an epilogue.
//!
//! Warps copy chunks of the channels of a pixel to shared memory while they multiply earlier ones. Sums are in f32, one tap
//! after the other, over its channels in steps of 16. The weights are packed, so that the channels of a tap are side by side.
//! Recipes name the shape of a tile.

use sinter_backend::{
    Candidate, Code, End, KernelError, Problem, Recipe, Refusal, Region, StrideSupport, Tactic, Target,
};
use sinter_base::{Attribute, Tensor};
use sinter_ops::OpKind;

use crate::conv::channels::{ChannelsLast, pack};
use crate::kernel::{Contraction, Geometry, Kernel, Launch, Source};
use crate::matmul::cost::ranked;
use crate::matmul::mma::{OLDEST, SHAPES, Shape, Tile};
use crate::tactic::{CudaTactic, compiled};
use crate::target;

/// See the module documentation.
pub struct MmaNhwc;

const NAME: &str = "cuda.conv.mma.nhwc";

impl Tactic for MmaNhwc {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Convolution]
    }

    fn offer(&self, problem: &Problem<'_>, most: usize) -> Result<Vec<Candidate>, Refusal> {
        let image = ChannelsLast::of(problem.region)?;
        image.convolved.require_weights(problem.region)?;
        let chip = target::chip(&problem.target.isa).filter(|chip| chip.capability >= OLDEST);
        let chip = chip.ok_or_else(|| Refusal::new("needs compute capability 8.0"))?;
        let extent = image.extent(problem).ok_or_else(|| Refusal::new("sizes without a value at the optima"))?;
        let shapes = SHAPES.iter().filter(|shape| shape.shared() <= chip.shared_memory);
        let wholes = image.convolved.epilogue.wholes();
        let ways =
            shapes.map(|shape| (shape.tile.to_attr(), shape.schedule(problem.target, chip.shared_memory, wholes)));
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

impl CudaTactic for MmaNhwc {
    fn kernel(&self, recipe: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        Ok(Box::new(NhwcKernel { image: ChannelsLast::of(region)?, shape: Shape::of(&recipe.parameters)? }))
    }
}

struct NhwcKernel {
    image: ChannelsLast,
    shape: &'static Shape,
}

/// The functions of the text: copies in chunks, and by elements.
const WIDE: usize = 0;
const ANY: usize = 1;

impl Kernel for NhwcKernel {
    fn configuration(&self) -> String {
        let Tile { rows, columns } = self.shape.tile;
        format!("{NAME} 1 {rows}x{columns} {}", self.image.convolved.configuration())
    }

    fn source(&self) -> Source {
        let generated = self.image.convolved.generated() + &self.shape.generated();
        Source { generated, text: include_str!("mma_nhwc.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["wide", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let Some(laid) = self.image.laid(launch)? else { return Ok(()) };
        let Tile { rows, columns } = self.shape.tile;
        let tiles = laid.tiles(rows, columns)?;
        let entry = if laid.is_aligned() { WIDE } else { ANY };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let geometry =
            Geometry { grid: [tiles, 1, 1], threads: small(self.shape.threads()), shared: small(self.shape.shared()) };
        launch.sink.run(entry, geometry, &laid.tile_words())
    }

    fn stride_support(&self, end: End) -> StrideSupport {
        self.image.stride_support(end)
    }
}
