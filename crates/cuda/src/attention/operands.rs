//! Operands of attention at a launch: their sizes, checked against each other, and where their rows lie.

use sinter_backend::KernelError;
use sinter_base::shape::broadcast_strides;
use sinter_ops::attention::Attention;

use crate::kernel::{Launch, Tensor, recipe};

/// Positions of the operands behind q, k and v.
pub(crate) const MASK: usize = 3;
pub(crate) const PAST_KEY: usize = 4;
pub(crate) const PAST_VALUE: usize = 5;
pub(crate) const LENGTHS: usize = 6;
pub(crate) const SINKS: usize = 7;

/// An operand: batch, heads, length and size of a head, and the distances of the first three in elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    pub(crate) address: u64,
    pub(crate) sizes: [usize; 4],
    pub(crate) strides: [usize; 3],
}

impl Heads {
    /// A tensor of four dimensions, or of three with this number of heads side by side. Rows along the last axis may be
    /// strided.
    pub(crate) fn of(tensor: &Tensor<'_>, heads: Option<usize>) -> Option<Self> {
        let (sizes, mut strides) = match (tensor.sizes, heads) {
            (&[b, h, l, d], _) => ([b, h, l, d], [h * l * d, l * d, d]),
            (&[b, l, hidden], Some(h)) if h > 0 && hidden % h == 0 => {
                ([b, h, l, hidden / h], [l * hidden, hidden / h, hidden])
            }
            _ => return None,
        };
        if let Some(rows) = tensor.rows {
            if tensor.sizes.last() != Some(&rows.inner) || rows.inner == 0 {
                return None;
            }
            for stride in strides.iter_mut().filter(|stride| stride.is_multiple_of(rows.inner)) {
                *stride = *stride / rows.inner * rows.step;
            }
        }
        Some(Self { address: tensor.address, sizes, strides })
    }

    /// Address and distances.
    pub(crate) fn words(&self) -> [u64; 4] {
        let [batch, head, step] = self.strides.map(|stride| stride as u64);
        [self.address, batch, head, step]
    }
}

/// The mask of a launch: distances of its elements along the axes of the scores, and the keys that it covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mask {
    pub(crate) address: u64,
    pub(crate) strides: [usize; 4],
    /// Keys from here on take no part.
    pub(crate) covered: usize,
}

impl Mask {
    fn over(mask: Option<Tensor<'_>>, scores: [usize; 4]) -> Option<Self> {
        let Some(mask) = mask else { return Some(Self { covered: scores[3], ..Self::default() }) };
        let length = mask.sizes.last().copied().unwrap_or(1);
        let covered = if length == 1 { scores[3] } else { length };
        let reached = [scores[0], scores[1], scores[2], covered];
        let lead = reached.len().checked_sub(mask.sizes.len())?;
        let fits = mask.sizes.iter().zip(&reached[lead..]).all(|(own, size)| own == size || *own == 1);
        if !fits || covered > scores[3] {
            return None;
        }
        let mut strides = [0; 4];
        strides.copy_from_slice(&broadcast_strides(mask.sizes, &reached));
        Some(Self { address: mask.address, strides, covered })
    }

    pub(crate) fn words(&self) -> [u64; 6] {
        let [batch, head, query, key] = self.strides.map(|stride| stride as u64);
        [self.address, batch, head, query, key, self.covered as u64]
    }
}

/// The operands and sizes of a launch.
#[derive(Clone, Debug)]
pub(crate) struct Operands {
    pub(crate) q: Heads,
    pub(crate) k: Heads,
    pub(crate) v: Heads,
    pub(crate) y: Heads,
    /// Keys and values in front of the others.
    pub(crate) past: Option<[Heads; 2]>,
    pub(crate) mask: Mask,
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
    pub(crate) length: usize,
    /// Keys with the past ones.
    pub(crate) total: usize,
    /// Of a query and a key.
    pub(crate) size: usize,
    pub(crate) value_size: usize,
}

impl Operands {
    /// Reads a launch.
    ///
    /// # Errors
    /// When sizes do not agree.
    pub(crate) fn of(launch: &Launch<'_>, op: &Attention) -> Result<Self, KernelError> {
        let tensors = [launch.input(0)?, launch.input(1)?, launch.input(2)?, launch.output(0)?];
        let [q, k, v, _] = tensors;
        Self::checked(launch, op, tensors)
            .ok_or_else(|| recipe(format!("attention of {:?}, {:?} and {:?}", q.sizes, k.sizes, v.sizes)))
    }

    fn checked(launch: &Launch<'_>, op: &Attention, [q, k, v, y]: [Tensor<'_>; 4]) -> Option<Self> {
        let optional = |index: usize| launch.inputs.get(index).copied().flatten();
        let (q, k) = (Heads::of(&q, op.query_heads)?, Heads::of(&k, op.key_heads)?);
        let (v, y) = (Heads::of(&v, op.key_heads)?, Heads::of(&y, op.query_heads)?);
        let ([batch, heads, length, size], [k_batch, key_heads, new, k_size]) = (q.sizes, k.sizes);
        let value_size = v.sizes[3];
        let past = match [optional(PAST_KEY), optional(PAST_VALUE)] {
            [None, None] => None,
            [Some(keys), Some(values)] => Some([Heads::of(&keys, None)?, Heads::of(&values, None)?]),
            _ => return None,
        };
        let past_length = past.map_or(0, |[keys, _]| keys.sizes[2]);
        let total = past_length + new;
        let results =
            [[k_batch, key_heads, total, size], [k_batch, key_heads, total, value_size], [batch, heads, length, total]];
        let fits_past = past.is_none_or(|[keys, values]| {
            keys.sizes == [batch, key_heads, past_length, size]
                && values.sizes == [batch, key_heads, past_length, value_size]
        });
        let fits = [batch, size] == [k_batch, k_size]
            && v.sizes[..3] == [k_batch, key_heads, new]
            && y.sizes == [batch, heads, length, value_size]
            && fits_past
            && (heads == 0 || key_heads > 0 && heads % key_heads == 0)
            && optional(LENGTHS).is_none_or(|lengths| lengths.sizes == [batch])
            && optional(SINKS).is_none_or(|sinks| sinks.sizes == [heads])
            && launch.outputs[1..].iter().zip(&results).all(|(output, sizes)| output.sizes == sizes);
        let mask = Mask::over(optional(MASK), [batch, heads, length, total])?;
        let operands = Self { q, k, v, y, past, mask, batch, heads, key_heads, length, total, size, value_size };
        fits.then_some(operands)
    }

    /// The factor of the scores.
    pub(crate) fn scale(&self, op: &Attention) -> f64 {
        op.scale.unwrap_or_else(|| 1.0 / (self.size as f64).sqrt())
    }

    /// Keys in front of the new ones; the largest number where none are given.
    pub(crate) fn past_word(&self) -> u64 {
        self.past.map_or(u64::MAX, |[keys, _]| keys.sizes[2] as u64)
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::{DataType, Rows};

    use super::*;

    fn tensor(sizes: &[usize], rows: Option<Rows>) -> Tensor<'_> {
        Tensor { address: 64, data_type: DataType::F16, sizes, rows }
    }

    #[test]
    fn heads_lie_in_front_of_positions_or_inside_of_rows() {
        let of = |sizes: &[usize], heads, rows| Heads::of(&tensor(sizes, rows), heads).map(|h| (h.sizes, h.strides));
        assert_eq!(of(&[2, 3, 5, 8], None, None), Some(([2, 3, 5, 8], [120, 40, 8])));
        assert_eq!(of(&[2, 5, 24], Some(3), None), Some(([2, 3, 5, 8], [120, 8, 24])));
        // Queries beside keys and values in rows of 72 elements.
        let slice = Some(Rows { inner: 24, step: 72 });
        assert_eq!(of(&[2, 5, 24], Some(3), slice), Some(([2, 3, 5, 8], [360, 8, 72])));
        let inner = Some(Rows { inner: 8, step: 10 });
        assert_eq!(of(&[2, 3, 5, 8], None, inner), Some(([2, 3, 5, 8], [150, 50, 10])));
        assert_eq!(of(&[2, 3, 5, 8], None, slice), None, "rows of three positions");
        assert_eq!(of(&[2, 5, 24], Some(5), None), None);
    }

    #[test]
    fn masks_repeat_along_missing_axes() {
        let over = |sizes: &[usize]| Mask::over(Some(tensor(sizes, None)), [2, 3, 5, 7]);
        let mask = |strides, covered| Some(Mask { address: 64, strides, covered });
        assert_eq!(over(&[2, 1, 1, 7]), mask([7, 0, 0, 1], 7));
        assert_eq!(over(&[5, 4]), mask([0, 0, 4, 1], 4));
        assert_eq!(over(&[3, 5, 1]), mask([0, 5, 1, 0], 7));
        assert_eq!(over(&[]), mask([0; 4], 7));
        assert_eq!((over(&[5, 8]), over(&[4, 7])), (None, None));
        assert_eq!(Mask::over(None, [2, 3, 5, 7]), Some(Mask { covered: 7, ..Mask::default() }));
    }
}
