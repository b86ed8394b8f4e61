//! Panels: the packed form of a product's right operand.
//!
//! B with K rows and N columns becomes `ceil(N / 16)` panels; a panel holds 16 neighbouring columns, row after row, and
//! missing columns are zero: element (k, n) lies at `(n / 16) 16 K + 16 k + n % 16`. The width is the same on every
//! instruction set, so that a packed weight in a plan works on all of them: one AVX-512 register, two of AVX2.

/// Columns of a panel.
pub const WIDTH: usize = 16;

/// Elements of a packed operand.
pub fn packed_len(inner: usize, columns: usize) -> usize {
    columns.next_multiple_of(WIDTH).saturating_mul(inner)
}

/// Packs B into `target`, which has exactly [`packed_len`] elements; `row(k)` is row k of B as a slice and the distance
/// of its columns.
pub fn pack<'a>(inner: usize, columns: usize, row: impl Fn(usize) -> (&'a [f32], usize), target: &mut [f32]) {
    pack_panels::<WIDTH, f32>(inner, columns, row, target);
}

/// As [`pack`], in panels of another width or of another type.
pub fn pack_panels<'a, const WIDTH: usize, T: Copy + Default + 'a>(
    inner: usize,
    columns: usize,
    row: impl Fn(usize) -> (&'a [T], usize),
    target: &mut [T],
) {
    for (panel, target) in target.chunks_exact_mut((inner * WIDTH).max(1)).enumerate() {
        let first = panel * WIDTH;
        let width = WIDTH.min(columns - first);
        for (k, lane) in target.chunks_exact_mut(WIDTH).enumerate() {
            let (source, step) = row(k);
            if step == 1 {
                lane[..width].copy_from_slice(&source[first..first + width]);
            } else {
                let source = source[first * step..].iter().step_by(step);
                lane[..width].iter_mut().zip(source).for_each(|(t, s)| *t = *s);
            }
            lane[width..].fill(T::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fall_into_panels() {
        let (inner, columns) = (3, 18);
        let b: Vec<f32> = (0..inner * columns).map(|i| i as f32 + 1.0).collect();
        let mut packed = vec![f32::NAN; packed_len(inner, columns)];
        pack(inner, columns, |k| (&b[k * columns..], 1), &mut packed);
        assert_eq!(packed[..16], b[..16]);
        assert_eq!(packed[16], b[18]);
        assert_eq!(packed[48..50], b[16..18]);
        assert!(packed[50..64].iter().all(|v| *v == 0.0));
        // The transposed matrix, read with a stride, packs to the same.
        let transposed: Vec<f32> =
            (0..columns).flat_map(|n| (0..inner).map(move |k| (k * columns + n) as f32 + 1.0)).collect();
        let mut again = vec![f32::NAN; packed.len()];
        pack(inner, columns, |k| (&transposed[k..], inner), &mut again);
        assert_eq!(packed, again);
    }
}
