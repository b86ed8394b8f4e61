//! `cpu.pool.unpool`: zeros everywhere but where an index puts an element.
//!
//! Indices count in a tensor of natural sizes, which lies in the leading corner of a larger result. One element after
//! the other: of equal indices the last wins.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::shape::{element_count, ravel, strides, unravel};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::pool::MaxUnpool;

use crate::launch::{Kernel, Launch, Loaded};
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::target::placed;

/// See the module documentation.
pub const UNPOOL: Row = Row {
    name: "cpu.pool.unpool",
    roots: &[OpKind::MaxUnpool],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::STREAMING,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, MaxUnpool);
    if region.input(0).is_some_and(|t| t.data_type == DataType::String) {
        return Err(Refusal::new("strings are not for this kernel"));
    }
    Ok(Loaded::Kernel(Box::new(Unpool { op: op.clone() })))
}

struct Unpool {
    op: MaxUnpool,
}

impl Unpool {
    /// The sizes that follow from the window.
    fn natural(&self, x: &[usize]) -> Result<Sizes, KernelError> {
        let spatial = self.op.kernel.len();
        if x.len() != spatial + 2 {
            return Err(KernelError::Data(format!("windows of {spatial} axes over sizes {x:?}")));
        }
        let mut sizes = Sizes::from_slice(&x[..2]);
        for (i, &size) in x[2..].iter().enumerate() {
            let wide = |v: usize| v as i128;
            let grown = (wide(size) - 1) * wide(self.op.strides[i]) + wide(self.op.kernel[i]);
            let cut = grown - i128::from(self.op.begin[i]) - i128::from(self.op.end[i]);
            let size = usize::try_from(cut);
            sizes
                .push(size.map_err(|_| KernelError::Data(format!("sizes {x:?} unpool to an axis of {cut} elements")))?);
        }
        Ok(sizes)
    }
}

impl Kernel for Unpool {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, indices) = (launch.input(0)?, launch.input(1)?.elements::<i64>());
        let natural = self.natural(x.sizes())?;
        let sizes = match launch.optional(2) {
            None => natural.clone(),
            Some(asked) => {
                let asked = asked.elements::<i64>();
                let sizes: Option<Sizes> = asked.iter().map(|&v| usize::try_from(v).ok()).collect();
                sizes.ok_or_else(|| KernelError::Data(format!("a result of sizes {asked:?}")))?
            }
        };
        if sizes.len() != natural.len() || natural.iter().zip(&sizes).any(|(n, y)| n > y) {
            let message = format!("an output of {sizes:?} does not hold the unpooled sizes {natural:?}");
            return Err(KernelError::Data(message));
        }
        let mut y = placed(&mut launch.outputs[0], &sizes)?;
        let limit = element_count(&natural).unwrap_or(0);
        let width = element_bytes(x.data_type());
        let strides = strides(&sizes);
        let target = y.bytes();
        target.fill(0);
        for (&index, element) in indices.iter().zip(x.bytes().chunks_exact(width)) {
            let flat = usize::try_from(index).ok().filter(|&flat| flat < limit);
            let flat =
                flat.ok_or_else(|| KernelError::Data(format!("index {index} lies outside of {limit} elements")))?;
            let place = if natural == sizes { flat } else { ravel(&unravel(flat, &natural), &strides) };
            target[place * width..][..width].copy_from_slice(element);
        }
        Ok(())
    }
}
