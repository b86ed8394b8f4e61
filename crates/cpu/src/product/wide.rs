//! A vector times a matrix: the recurrent part of every step of a recurrent layer.
//!
//! A step reads each element of the matrix once, so the bandwidth of the cache limits its speed. It is packed in wide
//! panels, 64 columns each, row after row: one panel is one stream of memory, and its sums stay in registers. The next
//! step can begin with the panels that the last one ended with, which are then still in the nearest cache.
#![allow(clippy::erasing_op, clippy::identity_op, reason = "unrolled code multiplies by 0 and 1")]

use crate::float::Float;
use crate::product::panel::pack_panels;
use crate::tier::Tier;

/// Columns of a panel.
const WIDTH: usize = 64;

/// The order of the panels, which does not affect the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first ones.
    Forward,
    /// The last ones.
    Backward,
}

/// Elements of a packed matrix.
pub fn packed_len(inner: usize, columns: usize) -> usize {
    columns.next_multiple_of(WIDTH).saturating_mul(inner)
}

/// Packs the transpose of `matrix`, [columns, inner], into exactly [`packed_len`] elements.
pub fn pack<T: Float>(matrix: &[T], inner: usize, target: &mut [T]) {
    pack_panels::<WIDTH, T>(inner, matrix.len() / inner.max(1), |k| (&matrix[k..], inner), target);
}

/// Calls `each` for every panel with the results of its columns.
#[inline(always)]
fn for_each_panel<T: Float>(
    matrix: &[T],
    inner: usize,
    result: &mut [T],
    order: Order,
    each: impl Fn(&[T], &mut [T; WIDTH]),
) {
    assert_eq!(matrix.len(), packed_len(inner, result.len()), "a packed matrix of other sizes");
    let panels = matrix.chunks_exact((inner * WIDTH).max(1)).zip(result.chunks_mut(WIDTH));
    let one = |(panel, result): (&[T], &mut [T])| match <&mut [T; WIDTH]>::try_from(&mut *result) {
        Ok(result) => each(panel, result),
        // The last panel is wider than the result.
        Err(_) => {
            let mut apart = [T::default(); WIDTH];
            each(panel, &mut apart);
            result.copy_from_slice(&apart[..result.len()]);
        }
    };
    match order {
        Order::Forward => panels.for_each(one),
        Order::Backward => panels.rev().for_each(one),
    }
}

/// `result = vector M`, in any type. A vector without elements gives zeros.
///
/// # Panics
/// When the matrix has other sizes: an error of the caller, never of data.
pub fn times<T: Float>(matrix: &[T], vector: &[T], result: &mut [T], order: Order) {
    if vector.is_empty() {
        return result.fill(T::default());
    }
    for_each_panel(matrix, vector.len(), result, order, |panel, result| {
        result.fill(T::default());
        for (row, x) in panel.chunks_exact(WIDTH).zip(vector) {
            result.iter_mut().zip(row).for_each(|(sum, v)| *sum += *v * *x);
        }
    });
}

/// The same in f32 with the vector width of the tier.
#[allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]
pub fn times_on_tier(tier: Tier, matrix: &[f32], vector: &[f32], result: &mut [f32], order: Order) {
    if vector.is_empty() {
        return result.fill(0.0);
    }
    match tier {
        // SAFETY: the tier in use is never above what the machine was detected to have; a panel has as many rows as the
        // vector has elements.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => for_each_panel(matrix, vector.len(), result, order, |panel, result| unsafe {
            panel_avx512(panel, vector, result);
        }),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => for_each_panel(matrix, vector.len(), result, order, |panel, result| unsafe {
            panel_avx2(panel, vector, result);
        }),
        _ => times(matrix, vector, result, order),
    }
}

/// Two rows at a time, each with sums of its own: additions need not wait for each other.
///
/// # Safety
/// AVX-512 F exists; the panel has at least as many rows as the vector has elements.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads take pointers")]
#[target_feature(enable = "avx512f")]
unsafe fn panel_avx512(panel: &[f32], vector: &[f32], result: &mut [f32; WIDTH]) {
    use std::arch::x86_64::*;
    let (mut row, to) = (panel.as_ptr(), result.as_mut_ptr());
    let (pairs, rest) = vector.as_chunks::<2>();
    seq_macro::seq!(P in 0..4 { let (mut even~P, mut odd~P) = (_mm512_setzero_ps(), _mm512_setzero_ps()); });
    // SAFETY: every element of the vector has a row of 64 elements.
    unsafe {
        for pair in pairs {
            let (a, b) = (_mm512_set1_ps(pair[0]), _mm512_set1_ps(pair[1]));
            seq_macro::seq!(P in 0..4 { even~P = _mm512_fmadd_ps(a, _mm512_loadu_ps(row.add(P * 16)), even~P); });
            seq_macro::seq!(P in 0..4 { odd~P = _mm512_fmadd_ps(b, _mm512_loadu_ps(row.add(64 + P * 16)), odd~P); });
            row = row.add(2 * WIDTH);
        }
        for x in rest {
            let x = _mm512_set1_ps(*x);
            seq_macro::seq!(P in 0..4 { even~P = _mm512_fmadd_ps(x, _mm512_loadu_ps(row.add(P * 16)), even~P); });
        }
        seq_macro::seq!(P in 0..4 { _mm512_storeu_ps(to.add(P * 16), _mm512_add_ps(even~P, odd~P)); });
    }
}

/// # Safety
/// AVX2 and FMA exist; the panel has at least as many rows as the vector has elements.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads take pointers")]
#[target_feature(enable = "avx2,fma")]
unsafe fn panel_avx2(panel: &[f32], vector: &[f32], result: &mut [f32; WIDTH]) {
    use std::arch::x86_64::*;
    let (mut row, to) = (panel.as_ptr(), result.as_mut_ptr());
    seq_macro::seq!(P in 0..8 { let mut sum~P = _mm256_setzero_ps(); });
    // SAFETY: every element of the vector has a row of 64 elements.
    unsafe {
        for x in vector {
            let x = _mm256_set1_ps(*x);
            seq_macro::seq!(P in 0..8 { sum~P = _mm256_fmadd_ps(x, _mm256_loadu_ps(row.add(P * 8)), sum~P); });
            row = row.add(WIDTH);
        }
        seq_macro::seq!(P in 0..8 { _mm256_storeu_ps(to.add(P * 8), sum~P); });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_sums_in_double_precision() {
        let number = |i: usize| ((i * 7919) % 201) as f32 / 100.0 - 1.0;
        for (inner, columns) in [(0, 3), (1, 64), (7, 65), (100, 200), (257, 1)] {
            let matrix: Vec<f32> = (0..columns * inner).map(number).collect();
            let vector: Vec<f32> = (0..inner).map(|i| number(i + 13)).collect();
            let mut packed = vec![f32::NAN; packed_len(inner, columns)];
            pack(&matrix, inner, &mut packed);
            for tier in Tier::ALL.iter().copied().filter(|t| *t <= Tier::detected()) {
                let mut found = [vec![f32::NAN; columns], vec![f32::NAN; columns]];
                times_on_tier(tier, &packed, &vector, &mut found[0], Order::Forward);
                times_on_tier(tier, &packed, &vector, &mut found[1], Order::Backward);
                assert_eq!(found[0], found[1]);
                for (column, found) in found[0].iter().enumerate() {
                    let terms = (0..inner).map(|k| f64::from(matrix[column * inner + k]) * f64::from(vector[k]));
                    let exact: f64 = terms.sum();
                    assert!((exact - f64::from(*found)).abs() < 1e-4, "{tier:?} {inner}x{columns} column {column}");
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn sums_stay_in_registers() {
        use crate::machine_code::{Work, assert_in_registers, kernel};
        assert_in_registers(&[
            // Half a step for the last row of an odd number.
            kernel!(panel_avx512, Zmm, Work::MultiplyAdds(4)),
            kernel!(panel_avx2, Ymm, Work::MultiplyAdds(8)),
        ]);
    }
}
