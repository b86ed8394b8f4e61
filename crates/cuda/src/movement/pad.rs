//! `cuda.movement.pad`: a border of constant width around a tensor, or a cut.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::strides;
use sinter_base::view::element_bytes;
use sinter_ops::OpKind;
use sinter_ops::axes::axis_of;
use sinter_ops::movement::pad::PadMode;
use smallvec::SmallVec;

use crate::kernel::{Contraction, Kernel, Launch, Source};
use crate::movement::moves::{axes, constants, number, rank_of};
use crate::only_operator;
use crate::space::{Axes, RANK, words};
use crate::tactic::{Row, Speed, refuse_unknown_sizes};
use crate::types::moved;

/// See the module documentation.
pub const PAD: Row = Row {
    name: "cuda.movement.pad",
    roots: &[OpKind::Pad],
    numerics: Numerics::Exact,
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Box<dyn Kernel>, Refusal> {
    let op = only_operator!(region, Pad);
    refuse_unknown_sizes(region)?;
    let rank = rank_of(region)?;
    let pads = constants(region, 1, Vec::new)?;
    let list = constants(region, 3, || (0..i64::try_from(rank).unwrap_or(0)).collect())?;
    if rank > RANK || pads.len() != 2 * list.len() {
        return Err(Refusal::new(format!("takes at most {RANK} axes, and two pads for each; found {}", pads.len())));
    }
    let mut borders = vec![(0, 0); rank];
    for (k, axis) in list.iter().enumerate() {
        let axis = axis_of(*axis, rank).map_err(|error| Refusal::new(error.to_string()))?;
        borders[axis] = (pads[k], pads[k + list.len()]);
    }
    let bytes = region.output(0).map_or(0, |ty| element_bytes(ty.data_type));
    match moved(bytes) {
        Some(_) => Ok(Box::new(PadKernel { mode: op.mode, borders, bytes })),
        None => Err(Refusal::new("strings are not for this kernel")),
    }
}

struct PadKernel {
    mode: PadMode,
    /// Pads before and behind each axis.
    borders: Vec<(i64, i64)>,
    bytes: usize,
}

impl Kernel for PadKernel {
    fn configuration(&self) -> String {
        format!("cuda.movement.pad 1 {}", self.bytes)
    }

    fn source(&self) -> Source {
        let generated = format!("typedef {} T;\n", moved(self.bytes).unwrap_or("void"));
        Source { generated, text: include_str!("pad.cu"), contraction: Contraction::Off }
    }

    fn entries(&self) -> &'static [&'static str] {
        &["pad"]
    }

    fn launch(&self, launch: &mut Launch<'_>) -> Result<(), KernelError> {
        let (x, y) = (launch.input(0)?, launch.output(0)?);
        let rank = self.borders.len();
        let (mut begins, mut firsts, mut counts) = (Axes::new(), Axes::new(), Axes::new());
        let mismatch =
            || KernelError::Recipe(format!("{:?} with pads {:?} is no {:?}", x.sizes, self.borders, y.sizes));
        if x.sizes.len() != rank || y.sizes.len() != rank || element_bytes(y.data_type) != self.bytes {
            return Err(mismatch());
        }
        for (axis, &(begin, end)) in self.borders.iter().enumerate() {
            let size = number(x.sizes[axis]);
            if size.checked_add(begin).and_then(|sum| sum.checked_add(end)) != Some(number(y.sizes[axis])) {
                return Err(mismatch());
            }
            // Negative pads cut first; the border repeats elements of the rest.
            let first = begin.min(0).saturating_neg();
            let count = size.saturating_sub(first).saturating_sub(end.min(0).saturating_neg());
            if self.mode != PadMode::Constant && count <= 0 && y.sizes[axis] > 0 {
                return Err(KernelError::Data(format!(
                    "pads {begin} and {end} leave nothing of {size} elements to repeat"
                )));
            }
            begins.push(begin);
            firsts.push(first);
            counts.push(count);
        }
        let count = y.count();
        if count == 0 {
            return Ok(());
        }
        let value = launch.inputs.get(2).copied().flatten().map_or(0, |value| value.address);
        let mode = match self.mode {
            PadMode::Constant => 0,
            PadMode::Edge => 1,
            PadMode::Wrap => 2,
            PadMode::Reflect => 3,
        };
        let mut parameters: SmallVec<[u64; 64]> = SmallVec::new();
        parameters.extend([count as u64, rank as u64, mode, x.address, y.address, value]);
        for list in [axes(y.sizes), axes(x.sizes), axes(&strides(x.sizes)), begins, firsts, counts] {
            parameters.extend(words(&list));
        }
        let geometry = launch.spread(count);
        launch.sink.run(0, geometry, &parameters)
    }
}
