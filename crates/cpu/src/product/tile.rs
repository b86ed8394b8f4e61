//! Microkernels: a tile of C from rows of A, read where they lie, and panels of B.
//!
//! A tile has up to 8 rows and a few panels of 16 columns. Row r of A is given once per *tap* as a pointer to `inner`
//! consecutive elements: a matrix has one tap, a convolution one per kernel position, which makes windows of an image
//! rows of a matrix that is never written out. The sum over taps and elements stays in registers. Code is unrolled into
//! named accumulators: a rolled loop over an array of them spills every one in every step.
#![allow(unsafe_code, reason = "vector instructions on pointers whose ranges the safe wrapper checks")]
#![allow(clippy::erasing_op, clippy::identity_op, reason = "unrolled code multiplies by 0 and 1")]

use crate::product::panel::WIDTH;
use crate::tier::Tier;

/// Most rows of a tile.
pub const MAX_ROWS: usize = 8;
/// Most panels of a tile.
pub const MAX_PANELS: usize = 8;

/// One row of A per tile row, at one tap; rows that the tile does not have repeat the last one.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Tap<'a> {
    rows: [*const f32; MAX_ROWS],
    inner: usize,
    lifetime: std::marker::PhantomData<&'a [f32]>,
}

// SAFETY: a tap consists of shared slices, read only.
unsafe impl Send for Tap<'_> {}
// SAFETY: as above.
unsafe impl Sync for Tap<'_> {}

impl<'a> Tap<'a> {
    /// The rows at one tap: `row(r)` for each of `count` rows, all of `inner` elements.
    ///
    /// # Panics
    /// When a row is shorter than `inner`.
    #[inline]
    pub fn new(count: usize, inner: usize, row: impl Fn(usize) -> &'a [f32]) -> Self {
        let pointer = |r: usize| {
            let row = row(r.min(count - 1));
            assert!(row.len() >= inner, "a row of the left operand is too short");
            row.as_ptr()
        };
        Self { rows: std::array::from_fn(pointer), inner, lifetime: std::marker::PhantomData }
    }
}

/// Initial values of the sums.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Zero.
    Zero,
    /// One value per column, at least as many as the tile has.
    Columns(&'a [f32]),
    /// Zero; the microkernel adds the contents of C at the end: sums of sums lose less to rounding than one long sum.
    Earlier,
}

/// A tile's problem.
#[derive(Clone, Copy)]
pub struct Tile<'a> {
    /// The rows of A.
    pub taps: &'a [Tap<'a>],
    /// Panels of B from the first one of the tile on.
    pub b: &'a [f32],
    /// Distance between panels.
    pub panel_step: usize,
    /// Initial values of the sums.
    pub start: Start<'a>,
    /// Bounds that finished sums are clamped to; NaN stays.
    pub clamp: (f32, f32),
}

/// Everything a microkernel sees.
struct Problem {
    taps: *const [*const f32; MAX_ROWS],
    tap_stride: usize,
    tap_count: usize,
    inner: usize,
    b: *const f32,
    panel_step: usize,
    c: *mut f32,
    c_step: usize,
    columns: *const f32,
    earlier: bool,
    clamp: (f32, f32),
}

/// Rows and panels of the tiles that a tier has microkernels for, largest first.
pub const fn row_steps(tier: Tier) -> &'static [usize] {
    match tier {
        Tier::Avx512 => &[8, 4, 2, 1],
        Tier::Avx2 => &[6, 4, 2, 1],
        Tier::Scalar => &[4, 1],
    }
}

/// Number of panels that a tile of so many rows computes at once, when `left` remain.
pub const fn panels_for(tier: Tier, rows: usize, left: usize) -> usize {
    match tier {
        Tier::Avx512 => {
            let most = match rows {
                1 => 8,
                2 => 4,
                _ => 3,
            };
            // Four left over three are better done as two and two.
            if left >= most && !(most == 3 && left == 4) {
                most
            } else if left >= 4 && most == 8 {
                4
            } else if left >= 2 {
                2
            } else {
                1
            }
        }
        Tier::Avx2 => {
            let most = match rows {
                1 => 4,
                2 => 2,
                _ => 1,
            };
            if left >= most {
                most
            } else if left >= 2 && most > 1 {
                2
            } else {
                1
            }
        }
        Tier::Scalar => 1,
    }
}

impl Tile<'_> {
    /// Computes `rows` by `16 panels` sums into `c`, rows `c_step` apart.
    ///
    /// # Safety
    /// `c` must be valid for writes (and reads, when started from earlier contents) of `rows` rows of `16 panels`
    /// elements, and no other thread may use them meanwhile. `rows` and `panels` must be a pair of the tier.
    ///
    /// # Panics
    /// When B or the start are too short.
    pub unsafe fn compute(&self, tier: Tier, rows: usize, panels: usize, c: *mut f32, c_step: usize) {
        let Some(first) = self.taps.first() else { return };
        let inner = first.inner;
        let depth = self.taps.len() * inner * WIDTH;
        assert!(self.b.len() >= (panels - 1) * self.panel_step + depth, "the right operand is too short");
        assert!(self.taps.iter().all(|t| t.inner == inner), "taps of different lengths");
        let columns = match self.start {
            Start::Columns(columns) => {
                assert!(columns.len() >= panels * WIDTH, "the start is too short");
                columns.as_ptr()
            }
            Start::Zero | Start::Earlier => std::ptr::null(),
        };
        let problem = Problem {
            taps: std::ptr::from_ref(&first.rows),
            tap_stride: size_of::<Tap<'_>>(),
            tap_count: self.taps.len(),
            inner,
            b: self.b.as_ptr(),
            panel_step: self.panel_step,
            c,
            c_step,
            columns,
            earlier: matches!(self.start, Start::Earlier),
            clamp: self.clamp,
        };
        // SAFETY: the rows of A were checked when the taps were made, B and the start above; the caller guarantees C.
        // The tier in use is never above what the machine has.
        unsafe { problem.run(tier, rows, panels) }
    }
}

macro_rules! dispatch {
    ($problem:expr, $rows:expr, $panels:expr; $(($r:literal, $p:literal) => $f:ident),* $(,)?) => {
        match ($rows, $panels) {
            // SAFETY: the caller's.
            $(($r, $p) => unsafe { $f($problem) },)*
            other => unreachable!("no microkernel of {other:?} rows and panels"),
        }
    };
}

impl Problem {
    /// # Safety
    /// All pointers are valid for the tile's extents, and the machine has the tier.
    unsafe fn run(&self, tier: Tier, rows: usize, panels: usize) {
        match tier {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => dispatch!(self, rows, panels;
                (8, 3) => wide_8_3, (8, 2) => wide_8_2, (8, 1) => wide_8_1,
                (4, 3) => wide_4_3, (4, 2) => wide_4_2, (4, 1) => wide_4_1,
                (2, 4) => wide_2_4, (2, 2) => wide_2_2, (2, 1) => wide_2_1,
                (1, 8) => wide_1_8, (1, 4) => wide_1_4, (1, 2) => wide_1_2, (1, 1) => wide_1_1),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => dispatch!(self, rows, panels;
                (6, 1) => half_6_1, (4, 1) => half_4_1, (2, 2) => half_2_2, (2, 1) => half_2_1,
                (1, 4) => half_1_4, (1, 2) => half_1_2, (1, 1) => half_1_1),
            // SAFETY: the caller's.
            _ => unsafe { self.scalar(rows) },
        }
    }

    /// Rows of A at a tap.
    ///
    /// # Safety
    /// `tap` is below the number of taps.
    #[inline(always)]
    unsafe fn rows_at(&self, tap: usize) -> *const [*const f32; MAX_ROWS] {
        // SAFETY: taps are an array of structures that begin with their rows.
        unsafe { self.taps.byte_add(tap * self.tap_stride) }
    }

    /// One panel in plain code.
    ///
    /// # Safety
    /// As [`Problem::run`].
    unsafe fn scalar(&self, rows: usize) {
        for row in 0..rows {
            let mut sums = [0f32; WIDTH];
            // SAFETY: all positions are inside the extents that the caller guarantees.
            unsafe {
                let c = self.c.add(row * self.c_step);
                if !self.columns.is_null() {
                    for (j, sum) in sums.iter_mut().enumerate() {
                        *sum = *self.columns.add(j);
                    }
                }
                for tap in 0..self.tap_count {
                    let a = (*self.rows_at(tap))[row];
                    let b = self.b.add(tap * self.inner * WIDTH);
                    for k in 0..self.inner {
                        for (j, sum) in sums.iter_mut().enumerate() {
                            *sum += *a.add(k) * *b.add(k * WIDTH + j);
                        }
                    }
                }
                for (j, sum) in sums.iter_mut().enumerate() {
                    if self.earlier {
                        *sum += *c.add(j);
                    }
                    let low = if *sum < self.clamp.0 { self.clamp.0 } else { *sum };
                    *c.add(j) = if low > self.clamp.1 { self.clamp.1 } else { low };
                }
            }
        }
    }
}

/// AVX-512: one register per row and panel.
macro_rules! wide {
    ($name:ident, $rows:tt, $panels:tt) => {
        /// # Safety
        /// As [`Problem::run`]; AVX-512 F exists.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f")]
        unsafe fn $name(problem: &Problem) {
            use std::arch::x86_64::*;
            // SAFETY: all positions are inside the extents that the caller guarantees.
            unsafe {
                let (c, c_step) = (problem.c, problem.c_step);
                seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                    let mut sum~R~P = _mm512_setzero_ps();
                }); });
                if !problem.columns.is_null() {
                    seq_macro::seq!(P in 0..$panels {
                        let column~P = _mm512_loadu_ps(problem.columns.add(P * 16));
                    });
                    seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                        sum~R~P = column~P;
                    }); });
                }
                let (inner, step) = (problem.inner, problem.panel_step);
                let mut b = problem.b;
                for tap in 0..problem.tap_count {
                    let rows = &*problem.rows_at(tap);
                    seq_macro::seq!(R in 0..$rows { let a~R = rows[R]; });
                    for k in 0..inner {
                        seq_macro::seq!(P in 0..$panels { let b~P = _mm512_loadu_ps(b.add(P * step)); });
                        seq_macro::seq!(R in 0..$rows {
                            let value = _mm512_set1_ps(*a~R.add(k));
                            seq_macro::seq!(P in 0..$panels {
                                sum~R~P = _mm512_fmadd_ps(value, b~P, sum~R~P);
                            });
                        });
                        b = b.add(16);
                    }
                }
                if problem.earlier {
                    seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                        sum~R~P = _mm512_add_ps(sum~R~P, _mm512_loadu_ps(c.add(R * c_step + P * 16)));
                    }); });
                }
                // The operand order keeps NaN: these instructions return the second when either is NaN.
                let (low, high) = (_mm512_set1_ps(problem.clamp.0), _mm512_set1_ps(problem.clamp.1));
                seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                    let bounded = _mm512_min_ps(high, _mm512_max_ps(low, sum~R~P));
                    _mm512_storeu_ps(c.add(R * c_step + P * 16), bounded);
                }); });
            }
        }
    };
}

/// AVX2: two registers per row and panel.
macro_rules! half {
    ($name:ident, $rows:tt, $panels:tt) => {
        /// # Safety
        /// As [`Problem::run`]; AVX2 and FMA exist.
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn $name(problem: &Problem) {
            use std::arch::x86_64::*;
            // SAFETY: all positions are inside the extents that the caller guarantees.
            unsafe {
                let (c, c_step) = (problem.c, problem.c_step);
                seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                    let mut low~R~P = _mm256_setzero_ps();
                    let mut high~R~P = _mm256_setzero_ps();
                }); });
                if !problem.columns.is_null() {
                    seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                        low~R~P = _mm256_loadu_ps(problem.columns.add(P * 16));
                        high~R~P = _mm256_loadu_ps(problem.columns.add(P * 16 + 8));
                    }); });
                }
                let (inner, step) = (problem.inner, problem.panel_step);
                let mut b = problem.b;
                for tap in 0..problem.tap_count {
                    let rows = &*problem.rows_at(tap);
                    seq_macro::seq!(R in 0..$rows { let a~R = rows[R]; });
                    for k in 0..inner {
                        seq_macro::seq!(P in 0..$panels {
                            let b_low~P = _mm256_loadu_ps(b.add(P * step));
                            let b_high~P = _mm256_loadu_ps(b.add(P * step + 8));
                        });
                        seq_macro::seq!(R in 0..$rows {
                            let value = _mm256_broadcast_ss(&*a~R.add(k));
                            seq_macro::seq!(P in 0..$panels {
                                low~R~P = _mm256_fmadd_ps(value, b_low~P, low~R~P);
                                high~R~P = _mm256_fmadd_ps(value, b_high~P, high~R~P);
                            });
                        });
                        b = b.add(16);
                    }
                }
                if problem.earlier {
                    seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                        low~R~P = _mm256_add_ps(low~R~P, _mm256_loadu_ps(c.add(R * c_step + P * 16)));
                        high~R~P = _mm256_add_ps(high~R~P, _mm256_loadu_ps(c.add(R * c_step + P * 16 + 8)));
                    }); });
                }
                let (bottom, top) = (_mm256_set1_ps(problem.clamp.0), _mm256_set1_ps(problem.clamp.1));
                seq_macro::seq!(R in 0..$rows { seq_macro::seq!(P in 0..$panels {
                    let bounded = _mm256_min_ps(top, _mm256_max_ps(bottom, low~R~P));
                    _mm256_storeu_ps(c.add(R * c_step + P * 16), bounded);
                    let bounded = _mm256_min_ps(top, _mm256_max_ps(bottom, high~R~P));
                    _mm256_storeu_ps(c.add(R * c_step + P * 16 + 8), bounded);
                }); });
            }
        }
    };
}

wide!(wide_8_3, 8, 3);
wide!(wide_8_2, 8, 2);
wide!(wide_8_1, 8, 1);
wide!(wide_4_3, 4, 3);
wide!(wide_4_2, 4, 2);
wide!(wide_4_1, 4, 1);
wide!(wide_2_4, 2, 4);
wide!(wide_2_2, 2, 2);
wide!(wide_2_1, 2, 1);
wide!(wide_1_8, 1, 8);
wide!(wide_1_4, 1, 4);
wide!(wide_1_2, 1, 2);
wide!(wide_1_1, 1, 1);
half!(half_6_1, 6, 1);
half!(half_4_1, 4, 1);
half!(half_2_2, 2, 2);
half!(half_2_1, 2, 1);
half!(half_1_4, 1, 4);
half!(half_1_2, 1, 2);
half!(half_1_1, 1, 1);

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::machine_code::Work::MultiplyAdds;
    use crate::machine_code::{assert_in_registers, kernel};

    #[test]
    fn sums_stay_in_registers() {
        assert_in_registers(&[
            kernel!(wide_8_3, Zmm, MultiplyAdds(8 * 3)),
            kernel!(wide_8_2, Zmm, MultiplyAdds(8 * 2)),
            kernel!(wide_8_1, Zmm, MultiplyAdds(8 * 1)),
            kernel!(wide_4_3, Zmm, MultiplyAdds(4 * 3)),
            kernel!(wide_4_2, Zmm, MultiplyAdds(4 * 2)),
            kernel!(wide_4_1, Zmm, MultiplyAdds(4 * 1)),
            kernel!(wide_2_4, Zmm, MultiplyAdds(2 * 4)),
            kernel!(wide_2_2, Zmm, MultiplyAdds(2 * 2)),
            kernel!(wide_2_1, Zmm, MultiplyAdds(2 * 1)),
            kernel!(wide_1_8, Zmm, MultiplyAdds(1 * 8)),
            kernel!(wide_1_4, Zmm, MultiplyAdds(1 * 4)),
            kernel!(wide_1_2, Zmm, MultiplyAdds(1 * 2)),
            kernel!(wide_1_1, Zmm, MultiplyAdds(1 * 1)),
            kernel!(half_6_1, Ymm, MultiplyAdds(6 * 1 * 2)),
            kernel!(half_4_1, Ymm, MultiplyAdds(4 * 1 * 2)),
            kernel!(half_2_2, Ymm, MultiplyAdds(2 * 2 * 2)),
            kernel!(half_2_1, Ymm, MultiplyAdds(2 * 1 * 2)),
            kernel!(half_1_4, Ymm, MultiplyAdds(1 * 4 * 2)),
            kernel!(half_1_2, Ymm, MultiplyAdds(1 * 2 * 2)),
            kernel!(half_1_1, Ymm, MultiplyAdds(1 * 1 * 2)),
        ]);
    }
}
