//! `cuda.conv.deformable`: convolution whose elements are read at learned offsets, up to three spatial axes.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::conv::DeformableConvolution;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::windows::{SPATIAL, Shape};

/// See the module documentation.
pub const DEFORMABLE: Row = Row {
    name: "cuda.conv.deformable",
    roots: &[OpKind::DeformableConvolution],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.3, arithmetic: 0.02, launches: 1.0 },
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, DeformableConvolution).clone();
    refuse_unknown_sizes(region)?;
    let data_type = region.input(0).map(|ty| ty.data_type);
    let groups = op.groups > 0 && op.offset_groups > 0;
    if op.strides.len() > SPATIAL || !groups || !data_type.is_some_and(DataType::is_float) {
        return Err(Refusal::new(format!("takes floats and at most {SPATIAL} spatial axes, not {}", op.strides.len())));
    }
    let text = Text {
        name: DEFORMABLE.name,
        interface: 1,
        generated: typedefs(&[("T", data_type)])?,
        text: include_str!("deformable.cu"),
        contraction: Contraction::On,
        entries: &["deformable"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &DeformableConvolution) -> Result<(), KernelError> {
    let (x, w, offsets, y) = (launch.input(0)?, launch.input(1)?, launch.input(2)?, launch.output(0)?);
    let optional = |index: usize| launch.inputs.get(index).copied().flatten();
    let mismatch = || recipe(format!("{:?} by {:?} at {:?} is no {:?}", x.sizes, w.sizes, offsets.sizes, y.sizes));
    let ([n, c, input @ ..], [m, seen, kernel @ ..]) = (x.sizes, w.sizes) else { return Err(mismatch()) };
    let [y_n, y_m, output @ ..] = y.sizes else { return Err(mismatch()) };
    let taps = kernel.iter().try_fold(op.offset_groups, |taps, size| taps.checked_mul(*size)).ok_or_else(mismatch)?;
    let beside = |tensor: &crate::kernel::Tensor<'_>, channels: usize| matches!(tensor.sizes, [batch, found, rest @ ..] if batch == n && *found == channels && rest == output);
    let fits = n == y_n
        && m == y_m
        && seen.checked_mul(op.groups) == Some(*c)
        && m.is_multiple_of(op.groups)
        && c.is_multiple_of(op.offset_groups)
        && beside(&offsets, taps * output.len())
        && optional(3).is_none_or(|bias| bias.sizes == [*m])
        && optional(4).is_none_or(|mask| beside(&mask, taps));
    if !fits {
        return Err(mismatch());
    }
    let DeformableConvolution { strides, dilations, padding, .. } = op;
    let windows = Shape { strides, dilations, padding, ceil: false }.words(input, kernel, output)?;
    let (group_outputs, offset_channels) = ((m / op.groups).max(1), (c / op.offset_groups).max(1));
    let mut parameters: SmallVec<[u64; 48]> = SmallVec::from_slice(&windows);
    let sizes = [output.len(), *n, *c, *m, *seen, group_outputs, op.offset_groups, offset_channels];
    parameters.extend(sizes.map(|size| size as u64));
    parameters.extend([x.address, w.address, offsets.address, launch.address(3), launch.address(4), y.address]);
    launch.each(0, y.count(), &parameters)
}
