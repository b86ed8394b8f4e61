//! `cuda.pool.nhwc`: the largest element or the mean of each window of f16 and bf16 images with the channels last.
//!
//! A thread computes eight channels of a window. Where one window covers a whole image, the warps of a block share its pixels.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
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
const CHANNELS: usize = 8;
/// Chunks of channels, and threads that share the pixels of one, of a block of the second function.
const CHUNKS: usize = 8;
const SHARERS: usize = 32;

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

/// The functions of the text: a window for each thread, and for each block.
const EACH: usize = 0;
const WHOLE: usize = 1;

impl Kernel for NhwcKernel {
    fn configuration(&self) -> String {
        let mode = if self.op.mode == PoolMode::Max { "max" } else { "average" };
        format!("{} 1 {mode} {}", NHWC.name, self.data_type)
    }

    fn source(&self) -> Source {
        let is_largest = self.op.mode == PoolMode::Max;
        let name = element(self.data_type).unwrap_or("void");
        let generated = format!("typedef {name} T;\nconstexpr bool LARGEST = {is_largest};\n");
        Source { generated, text: include_str!("nhwc.cu"), contraction: Contraction::On }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["each_window", "whole_images"]
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
        let counts_padding = matches!(self.op.mode, PoolMode::Average { count_padding: true });
        let is_wide = c.is_multiple_of(CHANNELS) && [x.address, y.address].iter().all(|at| at.is_multiple_of(16));
        let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&words);
        parameters.extend([*n as u64, *c as u64, u64::from(counts_padding), u64::from(is_wide), x.address, y.address]);
        let chunks = c.div_ceil(CHANNELS);
        if self.op.window.is_some() {
            return launch.each(EACH, n * output.iter().product::<usize>() * chunks, &parameters);
        }
        let blocks = u32::try_from(n * chunks.div_ceil(CHUNKS)).map_err(|_| mismatch())?;
        let threads = u32::try_from(CHUNKS * SHARERS).unwrap_or(u32::MAX);
        launch.sink.run(WHOLE, Geometry { grid: [blocks, 1, 1], threads, shared: 0 }, &parameters)
    }
}
