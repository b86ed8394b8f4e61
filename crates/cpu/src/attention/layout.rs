//! Layout of the operands of attention: heads before positions, or inside of them.

use sinter_backend::KernelError;
use sinter_base::Sizes;
use sinter_base::shape::{broadcast_sizes, broadcast_strides};

/// Positions of the rows of an operand of three or four dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) length: usize,
    pub(crate) size: usize,
    /// [batch, length, heads, size] instead of [batch, heads, length, size].
    pub(crate) inside: bool,
}

impl Layout {
    pub(crate) fn of(sizes: &[usize], heads: Option<usize>) -> Result<Self, KernelError> {
        match (sizes, heads) {
            (&[batch, heads, length, size], _) => Ok(Self { batch, heads, length, size, inside: false }),
            (&[batch, length, hidden], Some(heads)) if heads > 0 => {
                Ok(Self { batch, heads, length, size: hidden / heads, inside: true })
            }
            _ => Err(KernelError::Data(format!("an operand of sizes {sizes:?} with {heads:?} heads"))),
        }
    }

    pub(crate) fn start(&self, b: usize, h: usize, l: usize) -> usize {
        let row =
            if self.inside { (b * self.length + l) * self.heads + h } else { (b * self.heads + h) * self.length + l };
        row * self.size
    }

    pub(crate) fn row<'t, T>(&self, values: &'t [T], b: usize, h: usize, l: usize) -> &'t [T] {
        let start = self.start(b, h, l);
        &values[start..start + self.size]
    }

    /// Distance between neighbouring rows of one head.
    pub(crate) fn step(&self) -> usize {
        if self.inside { self.heads * self.size } else { self.size }
    }
}

/// Broadcast of a mask of these sizes to scores [batch, heads, queries, keys]: its strides, and the number of keys that
/// it covers; later keys are masked.
///
/// # Errors
/// When it does not broadcast to the scores.
pub(crate) fn mask_over(
    mask: &[usize],
    [batch, heads, length, total]: [usize; 4],
) -> Result<(Sizes, usize), KernelError> {
    let own = mask.last().copied().unwrap_or(1);
    let covered = if own == 1 { total } else { own };
    let reached = [batch, heads, length, covered];
    let fits = covered <= total && mask.len() <= 4;
    if !fits || broadcast_sizes(&[mask, &reached]).as_deref() != Some(&reached) {
        let reason = format!("a mask of sizes {mask:?} for {length} queries and {total} keys");
        return Err(KernelError::Data(reason));
    }
    Ok((broadcast_strides(mask, &reached), covered))
}
