//! `cuda.image.affine_grid`: the grid of positions of an affine transformation.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_ranks};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::windows::SPATIAL;

/// See the module documentation.
pub const AFFINE_GRID: Row = Row {
    name: "cuda.image.affine_grid",
    roots: &[OpKind::AffineGrid],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, AffineGrid);
    refuse_unknown_ranks(region)?;
    let text = Text {
        name: AFFINE_GRID.name,
        interface: 1,
        generated: typedefs(&[("T", region.input(0).map(|ty| ty.data_type))])?,
        text: include_str!("affine_grid.cu"),
        contraction: Contraction::On,
        entries: &["grid"],
    };
    let align_corners = op.align_corners;
    Ok(TextKernel::new(region, text, move |launch| run(launch, align_corners)).boxed())
}

fn run(launch: &mut Launch<'_>, align_corners: bool) -> Result<(), KernelError> {
    let (theta, y) = (launch.input(0)?, launch.output(0)?);
    let mismatch = || recipe(format!("transformations {:?} of a grid {:?}", theta.sizes, y.sizes));
    let [n, spatial @ .., axes] = y.sizes else { return Err(mismatch()) };
    if spatial.len() != *axes || spatial.len() > SPATIAL || theta.sizes != [*n, *axes, axes + 1] {
        return Err(mismatch());
    }
    let mut sizes = [1; SPATIAL];
    sizes[SPATIAL - spatial.len()..].copy_from_slice(spatial);
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::from_slice(&[y.count() as u64, *axes as u64]);
    parameters.extend(sizes.map(|size| size as u64));
    parameters.extend([u64::from(align_corners), theta.address, y.address]);
    launch.each(0, y.count(), &parameters)
}
