//! `cuda.signal.dft`: the discrete Fourier transform along one axis by its sum.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use sinter_ops::signal::Dft;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, recipe};
use crate::lines::Lines;
use crate::movement::moves::{constants, rank_of};
use crate::only_operator;
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::text_kernel::{Text, TextKernel, typedefs};
use crate::types::careful_sums;

/// See the module documentation.
pub const DFT: Row = Row {
    name: "cuda.signal.dft",
    roots: &[OpKind::Dft],
    numerics: Numerics::Reassociated,
    speed: Speed { bandwidth: 0.1, arithmetic: 0.005, launches: 1.0 },
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Dft).clone();
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    let [axis] = constants(region, 2, || vec![-2])?[..] else { return Err(Refusal::new("takes one axis")) };
    let axis = axis_of(axis, rank).map_err(|error| Refusal::new(error.to_string()))?;
    let length = match constants(region, 1, Vec::new)?[..] {
        [] => None,
        [length] => Some(usize::try_from(length).map_err(|_| Refusal::new("a transform of negative length"))?),
        _ => return Err(Refusal::new("takes one length")),
    };
    if axis + 1 == rank {
        return Err(Refusal::new("the last axis holds the parts of the numbers"));
    }
    let data_type = region.input(0).map(|ty| ty.data_type);
    let text = Text {
        name: DFT.name,
        interface: 1,
        generated: format!(
            "{}typedef {} A;\n",
            typedefs(&[("T", data_type)])?,
            data_type.map_or("float", careful_sums)
        ),
        text: include_str!("dft.cu"),
        contraction: Contraction::Off,
        entries: &["transform"],
    };
    Ok(TextKernel::new(region, text, move |launch| run(launch, &op, axis, length)).boxed())
}

fn run(launch: &mut Launch<'_>, op: &Dft, axis: usize, length: Option<usize>) -> Result<(), KernelError> {
    let (x, y) = (launch.input(0)?, launch.output(0)?);
    let mismatch = || recipe(format!("a transform of {:?} into {:?}", x.sizes, y.sizes));
    let (&[ref signal @ .., parts], &[ref bins @ .., result_parts]) = (x.sizes, y.sizes) else {
        return Err(mismatch());
    };
    if axis >= signal.len() || axis >= bins.len() {
        return Err(mismatch());
    }
    let (own, result) = (Lines::along(signal, axis), Lines::along(bins, axis));
    let is_real = op.inverse && op.onesided;
    let usual = if is_real { own.length.saturating_sub(1) * 2 } else { own.length };
    let length = length.unwrap_or(usual);
    let expected = if op.onesided && !op.inverse { length / 2 + 1 } else { length };
    let fits = (1..=2).contains(&parts)
        && result_parts == if is_real { 1 } else { 2 }
        && result.length == expected
        && (own.outer, own.inner) == (result.outer, result.inner);
    if !fits {
        return Err(mismatch());
    }
    if length == 0 {
        return Err(KernelError::Data("a transform of length 0".to_owned()));
    }
    let count = y.count() / result_parts;
    let mut parameters: SmallVec<[u64; 16]> = SmallVec::new();
    let sizes = [count, own.length, length, result.length, own.inner, parts, result_parts, usize::from(op.inverse)];
    parameters.extend(sizes.map(|size| size as u64));
    parameters.extend([x.address, y.address]);
    launch.each(0, count, &parameters)
}
