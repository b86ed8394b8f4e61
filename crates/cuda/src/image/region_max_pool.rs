//! `cuda.image.region_max_pool`: regions of feature maps pooled to a fixed size by their largest elements. A thread computes
//! one cell.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::image::RegionMaxPool;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};

/// See the module documentation.
pub const REGION_MAX_POOL: Row = Row {
    name: "cuda.image.region_max_pool",
    roots: &[OpKind::RegionMaxPool],
    numerics: Numerics::Exact,
    speed: Speed::SCATTERED,
    kernel,
};

/// Cells along an axis at most: their products with the sizes of regions stay exact.
const MOST_CELLS: usize = 1 << 30;

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, RegionMaxPool).clone();
    refuse_unknown_sizes(region)?;
    if op.output_height.max(op.output_width) > MOST_CELLS {
        return Err(Refusal::new(format!("takes at most {MOST_CELLS} cells along an axis")));
    }
    let text = Text {
        name: REGION_MAX_POOL.name,
        interface: 1,
        generated: typedefs(&[("T", region.input(0).map(|ty| ty.data_type))])?,
        text: include_str!("region_max_pool.cu"),
        contraction: Contraction::Off,
        entries: &["pool"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &RegionMaxPool) -> Result<(), KernelError> {
    let (x, regions, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let (&[samples, channels, height, width], &[count, 5]) = (x.sizes, regions.sizes) else {
        return Err(recipe(format!("regions {:?} of feature maps {:?}", regions.sizes, x.sizes)));
    };
    if y.sizes != [count, channels, op.output_height, op.output_width] {
        return Err(recipe(format!("regions {:?} become cells {:?}", regions.sizes, y.sizes)));
    }
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&[y.count() as u64]);
    let sizes = [samples, channels, height, width, op.output_height, op.output_width];
    parameters.extend(sizes.map(|size| size as u64));
    parameters.extend([op.spatial_scale.to_bits(), x.address, regions.address, y.address, launch.fault]);
    launch.each(0, y.count(), &parameters)
}
