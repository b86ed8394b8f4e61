//! `cpu.attention.rotary`: pairs of components rotated by the angle of their position.
//!
//! Every head of every step is one run of components; the kernel looks up its row of the tables once, and checks all
//! rows before it writes.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::attention::RotaryEmbedding;

use crate::float::Float;
use crate::launch::{Kernel, Launch, Loaded};
use crate::only_operator;
use crate::tactic::{Row, Speed};

/// See the module documentation.
pub const ROTARY: Row = Row {
    name: "cpu.attention.rotary",
    roots: &[OpKind::RotaryEmbedding],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, RotaryEmbedding).clone();
    Ok(Loaded::Kernel(Box::new(Rotary { op })))
}

struct Rotary {
    op: RotaryEmbedding,
}

impl Rotary {
    fn run<T: Float>(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, scratch) = (launch.input(0)?, launch.scratch);
        // Distance in heads between two steps, and between two heads of a step.
        let (batch, heads, length, size, inside) = match (x.sizes(), self.op.heads) {
            (&[batch, heads, length, size], _) => (batch, heads, length, size, false),
            (&[batch, length, hidden], Some(heads)) if heads > 0 => (batch, heads, length, hidden / heads, true),
            (sizes, heads) => return Err(KernelError::Data(format!("x of sizes {sizes:?} with {heads:?} heads"))),
        };
        let rotated = if self.op.rotated == 0 { size } else { self.op.rotated };
        if rotated > size {
            return Err(KernelError::Data(format!("{rotated} of {size} components cannot be rotated")));
        }
        let half = rotated / 2;
        let (cos, sin) = (T::read(launch.input(1)?, scratch)?, T::read(launch.input(2)?, scratch)?);
        let table_rows = cos.len().min(sin.len()).checked_div(half).unwrap_or(usize::MAX);
        let positions = launch.optional(3).map(|view| (view.elements::<i64>(), view.sizes().len()));
        let mut rows = scratch.allocate(batch * length);
        for (step, place) in rows.iter_mut().enumerate() {
            let within = (step % length) as i64;
            let row = match positions {
                None => step as i64,
                Some(([first, ..], 1)) => first.saturating_add(within),
                Some((all, _)) => all.get(step).copied().unwrap_or(-1),
            };
            let known = usize::try_from(row).ok().filter(|row| *row < table_rows);
            let outside = || KernelError::Data(format!("position {row} in tables of {table_rows} rows"));
            *place = known.ok_or_else(outside)?;
        }
        let mut y = scratch.copy(&T::read(x, scratch)?);
        for (at, head) in y.chunks_exact_mut(size.max(1)).enumerate() {
            let (b, s) = (at / (heads * length), if inside { at / heads % length } else { at % length });
            let row = rows[b * length + s] * half;
            let (cos, sin) = (&cos[row..row + half], &sin[row..row + half]);
            if self.op.interleaved {
                for ((pair, c), d) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                    let (p, q) = (pair[0], pair[1]);
                    (pair[0], pair[1]) = (p * *c - q * *d, p * *d + q * *c);
                }
            } else {
                let (first, rest) = head.split_at_mut(half);
                for (((p, q), c), d) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
                    (*p, *q) = (*p * *c - *q * *d, *p * *d + *q * *c);
                }
            }
        }
        T::write(&y, launch.output(0));
        Ok(())
    }
}

impl Kernel for Rotary {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        match launch.input(0)?.data_type() {
            DataType::F32 => self.run::<f32>(launch),
            _ => self.run::<f64>(launch),
        }
    }
}
