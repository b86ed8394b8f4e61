//! `cuda.conv.transposed`: transposed convolution by its formula, up to three spatial axes. A thread computes one element.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::conv::Deconvolution;
use sinter_ops::window::Padding;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::movement::moves::number;
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::windows::{SPATIAL, Shape};

/// See the module documentation.
pub const TRANSPOSED: Row = Row {
    name: "cuda.conv.transposed",
    roots: &[OpKind::Deconvolution],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.5, arithmetic: 0.03, launches: 1.0 },
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Deconvolution).clone();
    refuse_unknown_sizes(region)?;
    let data_type = region.input(0).map(|ty| ty.data_type);
    if op.strides.len() > SPATIAL || op.groups == 0 || !data_type.is_some_and(DataType::is_float) {
        return Err(Refusal::new(format!("takes floats and at most {SPATIAL} spatial axes, not {}", op.strides.len())));
    }
    let text = Text {
        name: TRANSPOSED.name,
        interface: 1,
        generated: typedefs(&[("T", data_type)])?,
        text: include_str!("transposed.cu"),
        contraction: Contraction::On,
        entries: &["transposed"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op)).boxed())
}

/// Elements that are cut before the first element of the result.
fn begin(op: &Deconvolution, axis: usize, input: usize, kernel: usize, output: usize) -> Option<i64> {
    match &op.padding {
        Padding::Explicit { begin, .. } if op.output_sizes.is_none() => begin.get(axis).copied(),
        Padding::Valid if op.output_sizes.is_none() => Some(0),
        other => {
            let [input, kernel, output] = [input, kernel, output].map(number);
            let (stride, dilation) = (number(*op.strides.get(axis)?), number(*op.dilations.get(axis)?));
            let span = (kernel - 1).checked_mul(dilation)?.checked_add(1)?;
            let full = (input - 1).checked_mul(stride)?.checked_add(span)?;
            let full = full.checked_add(number(*op.output_padding.get(axis)?))?;
            let total = full.saturating_sub(output).max(0);
            Some(if *other == Padding::SameUpper { total / 2 } else { total - total / 2 })
        }
    }
}

fn run(launch: &mut Launch<'_>, op: &Deconvolution) -> Result<(), KernelError> {
    let (x, w, y) = (launch.input(0)?, launch.input(1)?, launch.output(0)?);
    let bias = launch.inputs.get(2).copied().flatten();
    let mismatch = || recipe(format!("{:?} by {:?} is no {:?}", x.sizes, w.sizes, y.sizes));
    let ([n, c, input @ ..], [from, group_outputs, kernel @ ..]) = (x.sizes, w.sizes) else { return Err(mismatch()) };
    let [y_n, m, output @ ..] = y.sizes else { return Err(mismatch()) };
    let fits = n == y_n
        && c == from
        && c.is_multiple_of(op.groups)
        && group_outputs.checked_mul(op.groups) == Some(*m)
        && [input.len(), kernel.len()] == [output.len(); 2]
        && bias.is_none_or(|bias| bias.sizes == [*m]);
    if !fits {
        return Err(mismatch());
    }
    let begins = (0..output.len()).map(|axis| begin(op, axis, input[axis], kernel[axis], output[axis]));
    let begin = begins.collect::<Option<Vec<_>>>().ok_or_else(mismatch)?;
    let padding = Padding::Explicit { end: vec![0; begin.len()], begin };
    let shape = Shape { strides: &op.strides, dilations: &op.dilations, padding: &padding, ceil: false };
    let mut parameters: SmallVec<[u64; 40]> = SmallVec::from_slice(&shape.words(output, kernel, input)?);
    parameters.extend([*n, *c, *m, c / op.groups, *group_outputs].map(|size| size as u64));
    parameters.extend([x.address, w.address, launch.address(2), y.address]);
    launch.each(0, y.count(), &parameters)
}
