//! `cuda.image.grid_sample`: elements read at the positions of a grid, up to three spatial axes. A thread computes one element;
//! positions in float64, as their rounding decides which elements count.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::image::grid_sample::{GridInterpolation, GridPadding};
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::rank_of;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::types::careful_sums;
use crate::windows::SPATIAL;

/// See the module documentation.
pub const GRID_SAMPLE: Row = Row {
    name: "cuda.image.grid_sample",
    roots: &[OpKind::GridSample],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.3, ..Speed::STREAMING },
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, GridSample);
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    if rank > SPATIAL + 2 {
        return Err(Refusal::new(format!("takes at most {SPATIAL} spatial axes, not {}", rank - 2)));
    }
    let (image, grid) = (region.input(0).map(|ty| ty.data_type), region.input(1).map(|ty| ty.data_type));
    let interpolation = match op.interpolation {
        GridInterpolation::Nearest => "NEAREST",
        GridInterpolation::Linear => "LINEAR",
        GridInterpolation::Cubic => "CUBIC",
    };
    let padding = match op.padding {
        GridPadding::Zeros => "ZEROS",
        GridPadding::Border => "BORDER",
        GridPadding::Reflection => "REFLECTION",
    };
    let text = Text {
        name: GRID_SAMPLE.name,
        interface: 1,
        generated: format!(
            "{}typedef {} A;\n#define INTERPOLATION {interpolation}\n#define PADDING {padding}\n#define ALIGN_CORNERS {}\n",
            typedefs(&[("T", image), ("G", grid)])?,
            image.map_or("float", careful_sums),
            op.align_corners
        ),
        text: include_str!("grid_sample.cu"),
        contraction: Contraction::Off,
        entries: &["sample"],
    };
    Ok(TextKernel::new(region, text, run).boxed())
}

fn run(launch: &mut Launch<'_>) -> Result<(), KernelError> {
    let (x, grid, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let mismatch = || recipe(format!("{:?} at positions {:?} is no {:?}", x.sizes, grid.sizes, y.sizes));
    let ([n, c, image @ ..], [y_n, y_c, output @ ..]) = (x.sizes, y.sizes) else { return Err(mismatch()) };
    let [grid_n, positions @ .., axes] = grid.sizes else { return Err(mismatch()) };
    let fits = n == y_n && n == grid_n && c == y_c && positions == output && *axes == image.len();
    if !fits || image.len() > SPATIAL || output.len() != image.len() {
        return Err(mismatch());
    }
    let mut sizes = [1; SPATIAL];
    sizes[SPATIAL - image.len()..].copy_from_slice(image);
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::new();
    parameters.extend([*n, *c, output.iter().product(), *axes].map(|size| size as u64));
    parameters.extend(sizes.map(|size| size as u64));
    parameters.extend([x.address, grid.address, y.address]);
    launch.each(0, y.count(), &parameters)
}
