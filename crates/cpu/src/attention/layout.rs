//! Where the operands of attention lie: heads before positions, or inside of them.

use sinter_backend::KernelError;

/// Where the rows of an operand of three or four dimensions lie.
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
