//! `cpu.conv.generic`: convolution by plain loops, any element type, any number of spatial axes.

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_base::shape::{for_each_index, ravel, strides};
use sinter_ops::conv::Convolution;
use sinter_ops::window::Axis;

use crate::elements::{Numbers, load, store};
use crate::only_operator;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const GENERIC: Row =
    Row { name: "cpu.conv.generic", numerics: Numerics::Ordered, in_place: &[], speed: Speed::SCALAR, kernel };

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Convolution);
    Ok(Loaded::Views(Box::new(Generic { op: op.clone() })))
}

struct Generic {
    op: Convolution,
}

impl Generic {
    /// Calls `term(output, input, weight)` with flat positions for every product of the convolution.
    fn for_each_term(&self, x: &[usize], w: &[usize], y: &[usize], mut term: impl FnMut(usize, usize, usize)) {
        let spatial = x.len() - 2;
        let axes: Vec<Axis<'_>> = (0..spatial)
            .map(|index| Axis {
                stride: self.op.strides[index],
                dilation: self.op.dilations[index],
                padding: &self.op.padding,
                index,
                ceil: false,
            })
            .collect();
        let begins: Vec<i64> = axes.iter().map(|a| a.begin(x[a.index + 2], w[a.index + 2])).collect();
        let (x_strides, w_strides) = (strides(x), strides(w));
        let group_outputs = (w[0] / self.op.groups.max(1)).max(1);
        let mut output = 0;
        for_each_index(y, |at| {
            let (n, m) = (at[0], at[1]);
            for_each_index(&w[1..], |tap| {
                let channel = m / group_outputs * w[1] + tap[0];
                let source = axes.iter().try_fold(n * x_strides[0] + channel * x_strides[1], |position, axis| {
                    let i = axis.index;
                    let inside = axis.source(at[i + 2], tap[i + 1], begins[i], x[i + 2])?;
                    Some(position + inside * x_strides[i + 2])
                });
                if let Some(input) = source {
                    term(output, input, m * w_strides[0] + ravel(tap, &w_strides[1..]));
                }
            });
            output += 1;
        });
    }
}

impl Kernel for Generic {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, w) = (launch.input(0)?, launch.input(1)?);
        let bias = launch.optional(2).map(load);
        let y_sizes = Sizes::from_slice(launch.output(0).sizes());
        let channels = y_sizes[1].max(1);
        let plane = y_sizes[2..].iter().product::<usize>().max(1);
        let channel_of = |output: usize| output / plane % channels;
        let mut y = Numbers::like(x.data_type(), launch.output(0).count());
        match (load(x), load(w), &mut y) {
            (Numbers::Floats(xs), Numbers::Floats(ws), Numbers::Floats(ys)) => {
                if let Some(Numbers::Floats(b)) = &bias {
                    ys.iter_mut().enumerate().for_each(|(i, y)| *y = b[channel_of(i)]);
                }
                self.for_each_term(x.sizes(), w.sizes(), &y_sizes, |o, i, k| ys[o] += xs[i] * ws[k]);
            }
            (Numbers::Ints(xs), Numbers::Ints(ws), Numbers::Ints(ys)) => {
                if let Some(Numbers::Ints(b)) = &bias {
                    ys.iter_mut().enumerate().for_each(|(i, y)| *y = b[channel_of(i)]);
                }
                self.for_each_term(x.sizes(), w.sizes(), &y_sizes, |o, i, k| {
                    ys[o] = ys[o].wrapping_add(xs[i].wrapping_mul(ws[k]));
                });
            }
            _ => return Err(KernelError::Data("operands of different kinds".to_owned())),
        }
        store(&y, launch.output(0));
        Ok(())
    }
}
