//! `cuda.conv.depthwise.nhwc`: convolution of every channel by itself, of f16 and bf16 images with the channels last, with an
//! epilogue.
//!
//! A thread computes eight channels of a few pixels in a row, so that it loads 16 bytes at once and reads a pixel once for all of
//! its windows. The weights are packed, so that the channels of a tap are side by side. Sums are in f32.

use sinter_backend::{
    Candidate, Code, End, KernelError, Numerics, Problem, Recipe, Refusal, Region, StrideSupport, Tactic, Target,
};
use sinter_base::Tensor;
use sinter_ops::OpKind;
use smallvec::smallvec;

use crate::conv::convolved::{Convolved, Given, row_stride, taps_first};
use crate::epilogue::is_wide;
use crate::fused::Layout;
use crate::kernel::{Contraction, Kernel, Launch, Source, recipe};
use crate::matmul::matrices::Matrices;
use crate::space::Space;
use crate::tactic::{CudaTactic, Speed, compiled, estimate, refused};

/// See the module documentation.
pub struct Depthwise;

const NAME: &str = "cuda.conv.depthwise.nhwc";
/// Channels of a thread.
const CHANNELS: usize = 8;
/// Pixels of a row of a thread; `PIXELS` in `depthwise.cu`.
const PIXELS: usize = 4;
/// Bound by the memory.
const SPEED: Speed = Speed { bandwidth: 0.6, arithmetic: 0.3, launches: 1.0 };

fn matched(region: &Region) -> Result<Convolved, Refusal> {
    let convolved = Convolved::of(region)?;
    let is_depthwise = convolved.inputs() == 1 && convolved.outputs() == 1 && convolved.op.groups > 1;
    if !is_depthwise || convolved.layout != Layout::Last {
        return Err(Refusal::new("takes one channel of each group, and channels last"));
    }
    if convolved.op.strides.len() > 2 {
        return Err(Refusal::new("takes at most two spatial axes"));
    }
    Ok(convolved)
}

impl Tactic for Depthwise {
    fn name(&self) -> &str {
        NAME
    }

    fn roots(&self) -> &[OpKind] {
        &[OpKind::Convolution]
    }

    fn offer(&self, problem: &Problem<'_>, _most: usize) -> Result<Vec<Candidate>, Refusal> {
        let convolved = matched(problem.region)?;
        convolved.require_weights(problem.region)?;
        let mut candidate = Candidate::plain(self, Numerics::Reassociated, estimate(problem, SPEED));
        candidate.packed = convolved.weights_operand().into_iter().collect();
        Ok(vec![candidate])
    }

    fn compile(&self, recipe: &Recipe, region: &Region, target: &Target) -> Result<Option<Code>, KernelError> {
        compiled(self, recipe, region, target)
    }

    fn pack(&self, _: &Recipe, region: &Region, operand: usize, weight: &Tensor) -> Result<Tensor, KernelError> {
        let convolved = matched(region).map_err(|refusal| refused(NAME, &refusal))?;
        match convolved.weights_operand() == Some(operand) {
            true => taps_first(weight),
            false => Err(recipe(format!("{NAME} does not pack operand {operand}"))),
        }
    }
}

impl CudaTactic for Depthwise {
    fn kernel(&self, _: &Recipe, region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
        Ok(Box::new(DepthwiseKernel { convolved: matched(region)? }))
    }
}

struct DepthwiseKernel {
    convolved: Convolved,
}

/// The functions of the text: all channels in chunks, and any number of them.
const WIDE: usize = 0;
const ANY: usize = 1;

impl Kernel for DepthwiseKernel {
    fn configuration(&self) -> String {
        let axis = self.convolved.op.strides.len() - 1;
        let (taps, stride) = (self.convolved.weights[2 + axis], self.convolved.op.strides[axis]);
        format!("{NAME} 1 {taps}/{stride} {}", self.convolved.configuration())
    }

    fn source(&self) -> Source {
        let axis = self.convolved.op.strides.len() - 1;
        // The taps of a row, where there are few enough to keep them and their pixels in registers.
        let (taps, stride) = (self.convolved.weights[2 + axis], self.convolved.op.strides[axis]);
        let mut generated = self.convolved.generated();
        generated.push_str(&format!("constexpr int TAPS = {taps}, STRIDE = {stride};\n"));
        Source { generated, text: include_str!("depthwise.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["wide", "any"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let convolved = &self.convolved;
        let Given { x, w, y, bias, images, input, output, windows, placed } = convolved.given(launch)?;
        if y.count() == 0 {
            return Ok(());
        }
        let channels = convolved.weights[0];
        let pixels = images * output.iter().product::<usize>();
        let number = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        if [x.count(), y.count()].iter().any(|count| i32::try_from(*count).is_err()) {
            return Err(recipe(format!("{:?} has more than 2^31 elements", x.sizes)));
        }
        let strides = std::iter::repeat_with(|| smallvec![0]).take(2 + placed.len()).collect();
        let chunks = is_wide(&x, [number(channels)]) && w.address.is_multiple_of(16);
        let matrices = Matrices {
            sizes: [pixels, channels, convolved.taps()],
            addresses: [x.address, w.address, y.address],
            rows: [channels, channels, channels],
            elements: [0, 0, 0],
            wide: chunks && channels.is_multiple_of(CHANNELS) && is_wide(&y, [number(channels)]),
            stacks: 1,
            space: Space { sizes: smallvec![1], strides },
        };
        let beside: Vec<_> = placed
            .iter()
            .map(|placed| {
                let column = placed.strides.last().copied().unwrap_or(0);
                (placed, row_stride(&placed.strides, y.sizes, 0..=input.len()), column)
            })
            .collect();
        let wide =
            matrices.wide && beside.iter().all(|(placed, row, column)| placed.is_wide(*row, *column, &smallvec![]));
        let mut words = matrices.words(&convolved.epilogue, beside);
        words.extend_from_slice(&windows);
        words.push(bias);
        let row = output.last().copied().unwrap_or(1);
        let work = pixels / row.max(1) * row.div_ceil(PIXELS) * channels.div_ceil(CHANNELS);
        launch.each(if wide { WIDE } else { ANY }, work, &words)
    }

    fn stride_support(&self, _: End) -> StrideSupport {
        StrideSupport::Contiguous
    }
}
