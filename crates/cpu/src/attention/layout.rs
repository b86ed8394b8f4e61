//! Layout of the operands of attention: heads before positions, or inside of them.

use sinter_backend::{End, KernelError, StrideSupport};
use sinter_base::shape::{broadcast_sizes, broadcast_strides};
use sinter_base::{Sizes, View};

/// Positions of the rows of an operand of three or four dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) length: usize,
    pub(crate) size: usize,
    /// [batch, length, heads, size] instead of [batch, heads, length, size].
    pub(crate) inside: bool,
    /// Elements from one row of the last axis to the next: a position of one head, or of all where they lie inside.
    step: usize,
}

/// Queries, keys and values may be columns of a larger matrix: the rows of a joint projection.
pub(crate) fn stride_support(end: End) -> StrideSupport {
    match end {
        End::Operand(0..=2) => StrideSupport::LastAxis,
        End::Operand(_) | End::Result(_) => StrideSupport::Contiguous,
    }
}

impl Layout {
    /// The layout of an operand, whose rows may be strided.
    ///
    /// # Errors
    /// When it has other sizes, or its rows are not those of its last axis.
    pub(crate) fn of(view: &View<'_>, heads: Option<usize>) -> Result<Self, KernelError> {
        let layout = Self::contiguous(view.sizes(), heads)?;
        let no_rows = || KernelError::Recipe("a buffer alias whose rows are no rows of positions".to_owned());
        Ok(Self { step: view.step_of(layout.step).ok_or_else(no_rows)?, ..layout })
    }

    /// The layout of an operand or result whose rows lie one after the other.
    ///
    /// # Errors
    /// When it has other sizes.
    pub(crate) fn contiguous(sizes: &[usize], heads: Option<usize>) -> Result<Self, KernelError> {
        match (sizes, heads) {
            (&[batch, heads, length, size], _) => Ok(Self { batch, heads, length, size, inside: false, step: size }),
            (&[batch, length, hidden], Some(heads)) if heads > 0 => {
                Ok(Self { batch, heads, length, size: hidden / heads, inside: true, step: hidden })
            }
            _ => Err(KernelError::Data(format!("an operand of sizes {sizes:?} with {heads:?} heads"))),
        }
    }

    pub(crate) fn start(&self, b: usize, h: usize, l: usize) -> usize {
        match self.inside {
            true => (b * self.length + l) * self.step + h * self.size,
            false => ((b * self.heads + h) * self.length + l) * self.step,
        }
    }

    pub(crate) fn row<'t, T>(&self, values: &'t [T], b: usize, h: usize, l: usize) -> &'t [T] {
        let start = self.start(b, h, l);
        &values[start..start + self.size]
    }

    /// Distance between neighbouring rows of one head.
    pub(crate) fn step(&self) -> usize {
        self.step
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

#[cfg(test)]
mod tests {
    use sinter_backend::Region;
    use sinter_base::view::element_bytes;
    use sinter_base::{DataType, Dim, Rows, Tensor, ValueType, ViewMut};
    use sinter_ops::attention::Attention;

    use super::*;
    use crate::attention::{scaled_dot_product, tiles};
    use crate::launch::{Kernel, Launch, Loaded, Operand, Output, Scratch};
    use crate::single_thread::SingleThread;

    #[test]
    fn rows_by_hand() {
        let numbers = [0f32; 400];
        let of = |sizes: &[usize], heads, rows: Rows| {
            let span = rows.span(sizes.iter().product()).expect("whole rows");
            let view = View::strided(DataType::F32, sizes, bytemuck::cast_slice(&numbers[..span]), rows);
            let layout = Layout::of(&view.expect("a view"), heads).ok()?;
            Some((layout.start(1, 2, 3), layout.step()))
        };
        // [2, 3, 5, 4]: position 3 of head 2 of batch 1 is row 28 of four elements.
        assert_eq!(of(&[2, 3, 5, 4], None, Rows { inner: 4, step: 4 }), Some((112, 4)));
        assert_eq!(of(&[2, 3, 5, 4], None, Rows { inner: 4, step: 7 }), Some((196, 7)));
        // [2, 5, 12]: head 2 begins at element 8 of row 8 of twelve.
        assert_eq!(of(&[2, 5, 12], Some(3), Rows { inner: 12, step: 12 }), Some((104, 12)));
        assert_eq!(of(&[2, 5, 12], Some(3), Rows { inner: 12, step: 36 }), Some((296, 36)));
        assert_eq!(of(&[2, 5, 12], Some(3), Rows { inner: 6, step: 8 }), None, "parts of positions");
        assert_eq!(of(&[2, 5, 12], None, Rows { inner: 12, step: 12 }), None, "no number of heads");
    }

    /// Sizes of queries, keys and values and of the result, and the heads of queries and of keys inside of rows.
    type Case = ([&'static [usize]; 4], [Option<usize>; 2]);

    const CASES: &[Case] = &[
        ([&[2, 67, 15], &[2, 67, 15], &[2, 67, 15], &[2, 67, 15]], [Some(3), Some(3)]),
        ([&[1, 5, 24], &[1, 9, 12], &[1, 9, 6], &[1, 5, 12]], [Some(4), Some(2)]),
        ([&[2, 3, 5, 8], &[2, 3, 7, 8], &[2, 3, 7, 1], &[2, 3, 5, 1]], [None, None]),
        ([&[2, 4, 6, 8], &[2, 7, 16], &[2, 7, 10], &[2, 4, 6, 5]], [None, Some(2)]),
        ([&[3, 1, 8], &[3, 1, 8], &[3, 1, 8], &[3, 1, 8]], [Some(1), Some(1)]),
    ];

    /// Operands as columns of joint projections give the same bits as operands of their own, whatever lies between.
    #[test]
    fn rows_of_joint_projections_are_read() {
        for (data_type, rows) in [
            (DataType::F32, &[tiles::TILES, scaled_dot_product::ROWS][..]),
            (DataType::Bf16, &[scaled_dot_product::ROWS]),
            (DataType::F64, &[scaled_dot_product::ROWS]),
        ] {
            for (sizes, [query_heads, key_heads]) in CASES {
                let typed =
                    |sizes: &[usize]| ValueType::tensor(data_type, sizes.iter().map(|size| Dim::from(*size)).collect());
                let op = Attention { query_heads: *query_heads, key_heads: *key_heads, ..Attention::default() };
                let [q, k, v, y] = sizes.map(typed);
                let region = Region::single(op.into(), &[Some(q), Some(k), Some(v)], vec![y]);
                for row in rows {
                    let Ok(Loaded::Kernel(kernel)) = (row.kernel)(&region) else { panic!("{} refuses", row.name) };
                    let expected = run(&*kernel, data_type, sizes, 0, 0);
                    for (spacing, poison) in [(1, 0xFF), (24, 0x7F)] {
                        let found = run(&*kernel, data_type, sizes, spacing, poison);
                        assert_eq!(found, expected, "{} {data_type} {sizes:?}", row.name);
                    }
                }
            }
        }
    }

    /// The result of operands whose rows have this many elements of poison between them.
    fn run(kernel: &dyn Kernel, ty: DataType, sizes: &[&'static [usize]; 4], spacing: usize, poison: u8) -> Vec<u64> {
        let width = element_bytes(ty);
        let count = |sizes: &[usize]| sizes.iter().product::<usize>();
        let mut images = Vec::new();
        for (operand, sizes) in sizes.iter().take(3).enumerate() {
            let number = |at: usize| ((at * 7919 + operand * 104_729) % 2003) as f64 / 1000.0 - 1.0;
            let numbers: Vec<f64> = (0..count(sizes)).map(number).collect();
            let tensor = Tensor::from_floats(ty, sizes, &numbers).expect("as many numbers");
            let inner = sizes[sizes.len() - 1];
            let rows = Rows { inner, step: inner + spacing };
            let bytes = rows.span(numbers.len()).expect("whole rows") * width;
            let mut memory = vec![u64::from_ne_bytes([poison; 8]); bytes.div_ceil(8)];
            let lines = bytemuck::cast_slice_mut::<u64, u8>(&mut memory).chunks_mut(rows.step * width);
            for (to, from) in lines.zip(tensor.bytes().chunks(inner * width)) {
                to[..from.len()].copy_from_slice(from);
            }
            images.push((memory, rows, bytes));
        }
        let mut inputs = Vec::new();
        for ((memory, rows, bytes), sizes) in images.iter().zip(sizes.iter().copied()) {
            let view = View::strided(ty, sizes, &bytemuck::cast_slice(memory)[..*bytes], *rows);
            inputs.push(Operand::View(view.expect("a view")));
        }
        let bytes = count(sizes[3]) * width;
        let mut memory = vec![u64::MAX; bytes.div_ceil(8)];
        let y = &mut bytemuck::cast_slice_mut::<u64, u8>(&mut memory)[..bytes];
        let launched = kernel.launch(&mut Launch {
            workers: &SingleThread,
            inputs: &inputs,
            outputs: &mut [Output::View(ViewMut::new(ty, sizes[3], y).expect("a view"))],
            workspace: &mut [],
            scratch: &Scratch::default(),
            seed: (0, 0),
        });
        launched.expect("a launch");
        memory
    }
}
