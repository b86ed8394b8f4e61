//! `cuda.image.roi_align`: regions of feature maps pooled to a fixed size, read between elements. A thread computes one cell.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::image::RoiAlign;
use sinter_ops::image::roi_align::RegionPooling;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::types::careful_sums;

/// See the module documentation.
pub const ROI_ALIGN: Row = Row {
    name: "cuda.image.roi_align",
    roots: &[OpKind::RoiAlign],
    numerics: Numerics::Reassociated,
    speed: Speed::SCATTERED,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, RoiAlign).clone();
    refuse_unknown_sizes(region)?;
    let operand = |index: usize| region.input(index).map(|ty| ty.data_type);
    let text = Text {
        name: ROI_ALIGN.name,
        interface: 1,
        generated: format!(
            "{}typedef {} A;\n#define MAXIMUM {}\n",
            typedefs(&[("T", operand(0)), ("I", operand(2))])?,
            operand(0).map_or("float", careful_sums),
            op.pooling == RegionPooling::Max
        ),
        text: include_str!("roi_align.cu"),
        contraction: Contraction::Off,
        entries: &["pool"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &RoiAlign) -> Result<(), KernelError> {
    let (x, regions, numbers, y) = (launch.input(0)?, launch.input(1)?, launch.input(2)?, launch.output(0)?);
    let &[samples, channels, height, width] = x.sizes else {
        return Err(recipe(format!("a feature map of sizes {:?}", x.sizes)));
    };
    let count = numbers.count();
    let cells = [count, channels, op.output_height, op.output_width];
    if regions.sizes != [count, 4] || y.sizes != cells {
        return Err(recipe(format!("regions {:?} become cells {:?}", regions.sizes, y.sizes)));
    }
    let mut parameters: SmallVec<[u64; 24]> = SmallVec::from_slice(&[y.count() as u64]);
    let sizes = [samples, channels, height, width, op.output_height, op.output_width, op.sampling_ratio];
    parameters.extend(sizes.map(|size| size as u64));
    parameters.extend([op.spatial_scale, if op.half_pixel { 0.5 } else { 0.0 }].map(f64::to_bits));
    parameters.extend([
        u64::from(!op.half_pixel),
        x.address,
        regions.address,
        numbers.address,
        y.address,
        launch.fault,
    ]);
    launch.each(0, y.count(), &parameters)
}
