//! The innermost tile of the f32 product, one per instruction set tier.
//!
//! A tile is `rows` by `columns` of C, held in registers over the whole inner dimension. A comes packed in strips of
//! `rows` (element i of step p at `p rows + i`), B in strips of `columns`. The code is unrolled into named accumulators: a
//! rolled loop over an array of them spills every one in every step.
#![allow(unsafe_code, reason = "vector instructions on pointers whose ranges the caller guarantees")]
#![allow(clippy::identity_op, clippy::erasing_op, reason = "unrolled rows 0 and 1 multiply by 0 and 1")]

use crate::tier::Tier;

/// Size of a tier's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// Rows of C.
    pub rows: usize,
    /// Columns of C.
    pub columns: usize,
}

/// Largest tile of any tier, in elements.
pub const MAX_TILE: usize = 14 * 32;

impl Tile {
    /// The tile of a tier. Two accumulators per row keep the multipliers busy; what registers are left hold B.
    pub const fn of(tier: Tier) -> Self {
        match tier {
            Tier::Avx512 => Tile { rows: 14, columns: 32 },
            Tier::Avx2 => Tile { rows: 6, columns: 16 },
            Tier::Scalar => Tile { rows: 4, columns: 8 },
        }
    }
}

/// `c = a b` for one tile, `c` row-major with exactly the tile's columns.
///
/// # Panics
/// When a strip is shorter than the inner dimension or `c` than the tile.
pub fn tile_product(tier: Tier, inner: usize, a: &[f32], b: &[f32], c: &mut [f32; MAX_TILE]) {
    let Tile { rows, columns } = Tile::of(tier);
    assert!(a.len() >= inner * rows && b.len() >= inner * columns, "a strip is too short");
    match tier {
        // SAFETY: the tier in use is never above what the machine has; the strips were checked, c has the largest
        // tile's size.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { avx512(inner, a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { avx2(inner, a.as_ptr(), b.as_ptr(), c.as_mut_ptr()) },
        _ => scalar(inner, a, b, c),
    }
}

fn scalar(inner: usize, a: &[f32], b: &[f32], c: &mut [f32; MAX_TILE]) {
    let mut sums = [[0f32; 8]; 4];
    for (a, b) in a.chunks_exact(4).zip(b.chunks_exact(8)).take(inner) {
        for (row, &a) in sums.iter_mut().zip(a) {
            for (sum, &b) in row.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (row, sums) in c.chunks_exact_mut(8).zip(&sums) {
        row.copy_from_slice(sums);
    }
}

/// 14 rows by 32 columns: 28 accumulators, 2 registers of B, 1 broadcast of A.
///
/// # Safety
/// AVX-512 F exists; `a` has `14 inner` elements, `b` has `32 inner`, `c` has `14 * 32`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(inner: usize, mut a: *const f32, mut b: *const f32, c: *mut f32) {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps};
    seq_macro::seq!(I in 0..14 {
        let mut low~I = _mm512_setzero_ps();
        let mut high~I = _mm512_setzero_ps();
    });
    for _ in 0..inner {
        // SAFETY: the loop reads exactly the elements that the caller guarantees.
        unsafe {
            let b_low = _mm512_loadu_ps(b);
            let b_high = _mm512_loadu_ps(b.add(16));
            seq_macro::seq!(I in 0..14 {
                let a_row = _mm512_set1_ps(*a.add(I));
                low~I = _mm512_fmadd_ps(a_row, b_low, low~I);
                high~I = _mm512_fmadd_ps(a_row, b_high, high~I);
            });
            a = a.add(14);
            b = b.add(32);
        }
    }
    // SAFETY: c has 14 rows of 32.
    unsafe {
        seq_macro::seq!(I in 0..14 {
            _mm512_storeu_ps(c.add(I * 32), low~I);
            _mm512_storeu_ps(c.add(I * 32 + 16), high~I);
        });
    }
}

/// 6 rows by 16 columns: 12 accumulators, 2 registers of B, 1 broadcast of A.
///
/// # Safety
/// AVX2 and FMA exist; `a` has `6 inner` elements, `b` has `16 inner`, `c` has `6 * 16`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(inner: usize, mut a: *const f32, mut b: *const f32, c: *mut f32) {
    use std::arch::x86_64::{
        _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
    };
    seq_macro::seq!(I in 0..6 {
        let mut low~I = _mm256_setzero_ps();
        let mut high~I = _mm256_setzero_ps();
    });
    for _ in 0..inner {
        // SAFETY: the loop reads exactly the elements that the caller guarantees.
        unsafe {
            let b_low = _mm256_loadu_ps(b);
            let b_high = _mm256_loadu_ps(b.add(8));
            seq_macro::seq!(I in 0..6 {
                let a_row = _mm256_broadcast_ss(&*a.add(I));
                low~I = _mm256_fmadd_ps(a_row, b_low, low~I);
                high~I = _mm256_fmadd_ps(a_row, b_high, high~I);
            });
            a = a.add(6);
            b = b.add(16);
        }
    }
    // SAFETY: c has 6 rows of 16.
    unsafe {
        seq_macro::seq!(I in 0..6 {
            _mm256_storeu_ps(c.add(I * 16), low~I);
            _mm256_storeu_ps(c.add(I * 16 + 8), high~I);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_of_this_machine_multiplies() {
        for tier in Tier::ALL.iter().copied().filter(|t| *t <= Tier::detected()) {
            let Tile { rows, columns } = Tile::of(tier);
            for inner in [0, 1, 2, 37] {
                let a: Vec<f32> = (0..inner * rows).map(|i| (i % 7) as f32 - 3.0).collect();
                let b: Vec<f32> = (0..inner * columns).map(|i| (i % 5) as f32 - 2.0).collect();
                let mut c = [f32::NAN; MAX_TILE];
                tile_product(tier, inner, &a, &b, &mut c);
                for i in 0..rows {
                    for j in 0..columns {
                        let exact: f32 = (0..inner).map(|p| a[p * rows + i] * b[p * columns + j]).sum();
                        assert_eq!(c[i * columns + j], exact, "{tier:?} {inner} ({i}, {j})");
                    }
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn sums_stay_in_registers() {
        use crate::machine_code::{Work, assert_in_registers, kernel};
        assert_in_registers(&[
            kernel!(avx512, Zmm, Work::MultiplyAdds(14 * 2)),
            kernel!(avx2, Ymm, Work::MultiplyAdds(6 * 2)),
        ]);
    }
}
