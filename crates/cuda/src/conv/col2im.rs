//! `cuda.conv.col2im`: columns of image patches added back into an image, up to three spatial axes. A thread gathers what
//! falls on one element.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::conv::Col2Im;
use sinter_ops::window::{Axis, Padding};
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::constants;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::types::careful_sums;
use crate::windows::{SPATIAL, Shape};

/// See the module documentation.
pub const COL2IM: Row = Row {
    name: "cuda.conv.col2im",
    roots: &[OpKind::Col2Im],
    numerics: Numerics::Reassociated,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Col2Im);
    refuse_unknown_sizes(region)?;
    let block = constants(region, 2, Vec::new)?.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
    let block = block.map_err(|_| Refusal::new("blocks have positive sizes"))?;
    if block.len() > SPATIAL || block.contains(&0) {
        return Err(Refusal::new(format!("takes at most {SPATIAL} spatial axes and no empty blocks, not {block:?}")));
    }
    // Empty lists are ones or zeros.
    fn filled<T: Clone>(list: &[T], value: T, rank: usize) -> Vec<T> {
        if list.is_empty() { vec![value; rank] } else { list.to_vec() }
    }
    let rank = block.len();
    let op = Col2Im {
        strides: filled(&op.strides, 1, rank),
        dilations: filled(&op.dilations, 1, rank),
        begin: filled(&op.begin, 0, rank),
        end: filled(&op.end, 0, rank),
    };
    if op.begin.len() != rank || op.end.len() != rank || op.strides.len() != rank || op.dilations.len() != rank {
        return Err(Refusal::new(format!("the lists of {op:?} are not for {rank} axes")));
    }
    let data_type = region.input(0).map(|ty| ty.data_type);
    let text = Text {
        name: COL2IM.name,
        interface: 1,
        generated: format!(
            "{}typedef {} A;\n",
            typedefs(&[("T", data_type)])?,
            data_type.map_or("float", careful_sums)
        ),
        text: include_str!("col2im.cu"),
        contraction: Contraction::Off,
        entries: &["gather"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op, &block)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &Col2Im, block: &[usize]) -> Result<(), KernelError> {
    let (columns, y) = (launch.input(0)?, launch.output(0)?);
    let mismatch = || recipe(format!("columns {:?} of blocks {block:?} are no {:?}", columns.sizes, y.sizes));
    let (&[n, rows, count], [y_n, channels, image @ ..]) = (columns.sizes, y.sizes) else { return Err(mismatch()) };
    if n != *y_n || image.len() != block.len() || rows != channels * block.iter().product::<usize>() {
        return Err(mismatch());
    }
    let padding = Padding::Explicit { begin: op.begin.clone(), end: op.end.clone() };
    let position = |index: usize| {
        let axis =
            Axis { stride: op.strides[index], dilation: op.dilations[index], padding: &padding, index, ceil: false };
        let found = axis.output(&image[index].into(), &block[index].into()).ok()?.as_constant()?;
        usize::try_from(found).ok()
    };
    let positions = (0..image.len()).map(position).collect::<Option<Vec<_>>>().ok_or_else(mismatch)?;
    if positions.iter().product::<usize>() != count {
        return Err(mismatch());
    }
    let shape = Shape { strides: &op.strides, dilations: &op.dilations, padding: &padding, ceil: false };
    let mut parameters: SmallVec<[u64; 32]> = SmallVec::from_slice(&shape.words(image, block, &positions)?);
    parameters.extend([(n * channels) as u64, columns.address, y.address]);
    launch.each(0, y.count(), &parameters)
}
