//! `cpu.signal.dft`: the discrete Fourier transform along one axis, line by line through fast transforms in f64.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_ops::OpKind;
use sinter_ops::signal::Dft;

use crate::arguments::{Lines, axis_in, result, single_integer};
use crate::elements::{Numbers, load, store_real};
use crate::launch::{Kernel, Launch, Loaded};
use crate::movement::takes_views;
use crate::share::{Cost, share};
use crate::signal::fourier::{Complex, Fourier};
use crate::tactic::{Row, Speed};
use crate::{only_operator, refuse_data};

/// See the module documentation.
pub const DFT: Row = Row {
    name: "cpu.signal.dft",
    roots: &[OpKind::Dft],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Dft);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(DftKernel { op: op.clone() })))
}

struct DftKernel {
    op: Dft,
}

/// The signal and how it is read.
struct Signal<'a> {
    elements: &'a [f64],
    lines: Lines,
    /// Numbers per element: real, or real and imaginary.
    parts: usize,
}

impl Signal<'_> {
    /// Fills `line` with line number `which`, cut or followed by zeros.
    fn read(&self, which: usize, line: &mut [Complex]) {
        let Lines { length, inner, .. } = self.lines;
        let (o, i) = (which / inner, which % inner);
        line.fill([0.0; 2]);
        for (j, x) in line.iter_mut().take(length).enumerate() {
            let at = ((o * length + j) * inner + i) * self.parts;
            *x = [self.elements[at], if self.parts == 2 { self.elements[at + 1] } else { 0.0 }];
        }
    }
}

/// Completes the spectrum of a real signal from its first half, `0..=length / 2`: bins opposite each other are
/// conjugate, and those opposite themselves real.
fn mirror(line: &mut [Complex]) {
    let length = line.len();
    line[0][1] = 0.0;
    if length.is_multiple_of(2) {
        line[length / 2][1] = 0.0;
    }
    for k in length / 2 + 1..length {
        line[k] = [line[length - k][0], -line[length - k][1]];
    }
}

impl Kernel for DftKernel {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let [outer_sizes @ .., parts] = x.sizes() else { refuse_data!("a signal without dimensions") };
        if outer_sizes.is_empty() || !(1..=2).contains(parts) {
            refuse_data!("a signal of sizes {:?} has no last axis of 1 or 2 parts", x.sizes());
        }
        let axis = launch.optional(2).map(|view| single_integer(view, launch.scratch)).transpose()?.unwrap_or(-2);
        let axis = axis_in(axis, x.sizes().len())?;
        if axis == outer_sizes.len() {
            refuse_data!("axis {axis} holds the parts of the numbers and cannot be transformed");
        }
        let Dft { inverse, onesided } = self.op;
        let lines = Lines::along(outer_sizes, axis);
        let length = match launch.optional(1).map(|view| single_integer(view, launch.scratch)).transpose()? {
            Some(length) => usize::try_from(length).unwrap_or(0),
            None if inverse && onesided => 2 * lines.length.saturating_sub(1),
            None => lines.length,
        };
        if length == 0 {
            refuse_data!("a transform of length 0 over an axis of {} elements", lines.length);
        }
        let bins = if onesided && !inverse { length / 2 + 1 } else { length };
        let kept = if onesided && inverse { 1 } else { 2 };
        let mut sizes = Sizes::from_slice(x.sizes());
        (sizes[axis], sizes[outer_sizes.len()]) = (bins, kept);
        let (workers, scratch) = (launch.workers, launch.scratch);
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        let Numbers::Floats(elements) = load(x, scratch) else { refuse_data!("a transform of {}", x.data_type()) };
        let signal = Signal { elements: &elements, lines, parts: *parts };
        let fourier = Fourier::new(length, scratch);
        // A line and the scratch memory of its transform.
        let needed = length + fourier.scratch();
        scratch.reserve::<Complex>(workers.count(), needed);
        // Lines one after the other; they are spread along the axis when all are done.
        let mut made = scratch.allocate::<f64>(y.count());
        share(workers, &mut made, bins * kept, Cost::PerElement(16), |from, chunk| {
            let mut buffer = scratch.allocate::<Complex>(needed);
            let (line, workspace) = buffer.split_at_mut(length);
            for (at, target) in chunk.chunks_exact_mut(bins * kept).enumerate() {
                signal.read(from + at, line);
                if inverse && onesided {
                    mirror(line);
                }
                match inverse {
                    true => fourier.inverse(line, workspace),
                    false => fourier.forward(line, workspace),
                }
                for (parts, value) in target.chunks_exact_mut(kept).zip(&*line) {
                    parts.copy_from_slice(&value[..kept]);
                }
            }
        });
        let inner = lines.inner;
        if inner > 1 {
            let spread = |at: usize| {
                let (part, rest) = (at % kept, at / kept);
                let (o, k, i) = (rest / inner / bins, rest / inner % bins, rest % inner);
                made[((o * inner + i) * bins + k) * kept + part]
            };
            made = scratch.list((0..made.len()).map(spread));
        }
        store_real(&made, &mut y);
        Ok(())
    }
}
