//! A matrix times a vector, row by row: the recurrent part of every step of a recurrent layer.
//!
//! Nothing of the matrix is used twice, so the work is bound by memory. Rows are taken several at a time, each with a
//! running sum in a register of its own, which keeps enough loads in flight and reads the vector once for all of them.

use crate::float::dot;
use crate::tier::Tier;

/// Rows taken together.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = 4;

/// Sums of as many rows as there are results; the matrix has no others.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector loads take pointers")]
#[target_feature(enable = "avx2,fma")]
fn rows_avx2(matrix: &[f32], vector: &[f32], result: &mut [f32]) {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps};
    let length = vector.len();
    let (eights, rest) = vector.as_chunks::<8>();
    for (rows, result) in matrix.chunks(ROWS * length).zip(result.chunks_mut(ROWS)) {
        // A last block of fewer rows takes its last one several times.
        let row = |i: usize| &rows[i.min(result.len() - 1) * length..][..length];
        let rows: [&[f32]; ROWS] = std::array::from_fn(row);
        let mut sums = [_mm256_setzero_ps(); ROWS];
        let chunks: [&[[f32; 8]]; ROWS] = std::array::from_fn(|i| rows[i].as_chunks::<8>().0);
        for (j, part) in eights.iter().enumerate() {
            // SAFETY: each load reads one whole array of eight.
            let part = unsafe { _mm256_loadu_ps(part.as_ptr()) };
            for (sum, chunk) in sums.iter_mut().zip(&chunks) {
                // SAFETY: as above.
                *sum = _mm256_fmadd_ps(unsafe { _mm256_loadu_ps(chunk[j].as_ptr()) }, part, *sum);
            }
        }
        for ((result, sum), row) in result.iter_mut().zip(sums).zip(rows) {
            let mut lanes = [0.0f32; 8];
            // SAFETY: the store writes the whole array.
            unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), sum) };
            *result = lanes.iter().sum::<f32>() + dot(&row[length - rest.len()..], rest);
        }
    }
}

/// `result[i]` = the sum over j of `matrix[i, j] vector[j]`; an empty vector gives zeros.
///
/// # Panics
/// When the matrix has not as many rows as there are results: an error of the caller, never of data.
#[allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]
pub fn row_sums(tier: Tier, matrix: &[f32], vector: &[f32], result: &mut [f32]) {
    assert_eq!(matrix.len(), vector.len() * result.len(), "a matrix of other sizes");
    if vector.is_empty() {
        return result.fill(0.0);
    }
    match tier {
        // SAFETY: the tier in use is never above what the machine was detected to have; AVX-512 includes AVX2.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 | Tier::Avx512 => unsafe { rows_avx2(matrix, vector, result) },
        _ => matrix.chunks_exact(vector.len()).zip(result).for_each(|(row, result)| *result = dot(row, vector)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_sums_in_double_precision() {
        for length in [0, 1, 7, 8, 9, 100, 257] {
            let number = |i: usize| ((i * 7919) % 201) as f32 / 100.0 - 1.0;
            let matrix: Vec<f32> = (0..7 * length).map(number).collect();
            let vector: Vec<f32> = (0..length).map(|i| number(i + 13)).collect();
            for tier in [Tier::Scalar, Tier::in_use()] {
                let mut result = [f32::NAN; 7];
                row_sums(tier, &matrix, &vector, &mut result);
                for (row, found) in result.iter().enumerate() {
                    let terms = (0..length).map(|j| f64::from(matrix[row * length + j]) * f64::from(vector[j]));
                    assert!((terms.sum::<f64>() - f64::from(*found)).abs() < 1e-4, "row {row} of length {length}");
                }
            }
        }
    }
}
