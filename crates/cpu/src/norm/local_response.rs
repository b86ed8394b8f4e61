//! `cpu.norm.local_response`: normalization by the squares of neighbouring channels.
//!
//! For each pixel the squares of a window of channels are summed anew, a row of pixels at a time: a running sum would
//! gather rounding errors. The usual exponents 0.5, 0.75 and 1 take square roots instead of powers.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::Sizes;
use sinter_ops::OpKind;
use sinter_ops::norm::LocalResponseNormalization;

use crate::launch::{Kernel, Launch, Loaded};
use crate::number::{Formula, Inputs, Means, Number, evaluate};
use crate::only_operator;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const LOCAL_RESPONSE: Row = Row {
    name: "cpu.norm.local_response",
    roots: &[OpKind::LocalResponseNormalization],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, LocalResponseNormalization);
    Ok(Loaded::Kernel(Box::new(LocalResponse { op: op.clone() })))
}

struct LocalResponse {
    op: LocalResponseNormalization,
}

impl Kernel for LocalResponse {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let (workers, scratch) = (launch.workers, launch.scratch);
        let sizes = Sizes::from_slice(x.sizes());
        let [_, channels, spatial @ ..] = sizes.as_slice() else {
            return Err(KernelError::Data(format!("sizes {sizes:?} have no channels")));
        };
        let formula = Response { op: &self.op, channels: *channels, pixels: spatial.iter().product() };
        evaluate(&formula, &[Some(x)], launch.output(0), workers, scratch)
    }
}

struct Response<'a> {
    op: &'a LocalResponseNormalization,
    channels: usize,
    pixels: usize,
}

/// `base^-exponent`
fn falling_power(base: f64, exponent: f64) -> f64 {
    if exponent == 0.75 {
        let root = base.sqrt();
        1.0 / (root * root.sqrt())
    } else if exponent == 0.5 {
        1.0 / base.sqrt()
    } else if exponent == 1.0 {
        1.0 / base
    } else {
        base.powf(-exponent)
    }
}

impl Formula for Response<'_> {
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError> {
        let workers = means.workers;
        let x = inputs.given(0);
        let (before, after) = ((self.op.size - 1) / 2, self.op.size / 2);
        let (bias, factor) = (self.op.bias, self.op.alpha / self.op.size as f64);
        share(workers, y, self.pixels, Cost::PerElement(self.op.size.min(self.channels) + 16), |first, chunk| {
            for (i, row) in chunk.chunks_exact_mut(self.pixels).enumerate() {
                let plane = first + i;
                let channel = plane % self.channels;
                let sample = plane - channel;
                let low = channel.saturating_sub(before);
                let high = channel.saturating_add(after).min(self.channels - 1);
                row.fill(T::default());
                for neighbour in sample + low..=sample + high {
                    let squares = &x[neighbour * self.pixels..(neighbour + 1) * self.pixels];
                    row.iter_mut().zip(squares).for_each(|(y, &v)| *y += v * v);
                }
                let own = &x[plane * self.pixels..(plane + 1) * self.pixels];
                for (y, &v) in row.iter_mut().zip(own) {
                    *y = v * T::of(falling_power(bias + factor * y.wide(), self.op.beta));
                }
            }
        });
        Ok(())
    }
}
