//! `cpu.reduce.softmax.f32` and `cpu.reduce.softmax`: softmax and its logarithm along one axis.
//!
//! The f32 kernel works on the result in place, in three passes that stay in the cache: maximum, exponentials and their
//! sum, division. Lines along the last axis are rows; along another axis all lines of a strip of columns run together.
//! The generic kernel computes in f64.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::{DataType, Sizes};
use sinter_ops::OpKind;
use sinter_ops::reduce::Softmax;

use crate::arguments::{Lines, axis_in, result};
use crate::elements::{Numbers, load, store};
use crate::launch::{Kernel, Launch, Loaded, Operand};
use crate::movement::takes_views;
use crate::pointwise::functions::exp;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};
use crate::tier::Tier;
use crate::{only_operator, refuse_data};

/// f32 with vectorised exponentials.
pub const ROWS: Row = Row {
    name: "cpu.reduce.softmax.f32",
    roots: &[OpKind::Softmax],
    numerics: Numerics::Reassociated,
    in_place: &[(0, 0)],
    speed: Speed::VECTOR,
    kernel: rows,
};

/// Any float type.
pub const GENERIC: Row = Row {
    name: "cpu.reduce.softmax",
    roots: &[OpKind::Softmax],
    numerics: Numerics::Reassociated,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel: generic,
};

fn rows(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Softmax);
    takes_views(region)?;
    match region.input(0).map(|t| t.data_type) {
        Some(DataType::F32) => Ok(Loaded::Kernel(Box::new(Rows { op: op.clone(), tier: Tier::in_use() }))),
        other => Err(Refusal::new(format!("element type {other:?} instead of f32"))),
    }
}

fn generic(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Softmax);
    takes_views(region)?;
    Ok(Loaded::Kernel(Box::new(Generic { op: op.clone() })))
}

struct Rows {
    op: Softmax,
    tier: Tier,
}

/// Lanes of sums and maxima within a row: two vectors of the widest kind.
const LANES: usize = 32;
/// Columns of a strip along another axis than the last.
const STRIP: usize = 64;

/// Larger of two; a NaN is left to the sum.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// One line of consecutive elements.
#[inline(always)]
fn row(y: &mut [f32], log: bool) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in y.chunks(LANES) {
        lanes.iter_mut().zip(chunk).for_each(|(lane, &x)| *lane = larger(*lane, x));
    }
    let largest = lanes.into_iter().fold(f32::NEG_INFINITY, larger);
    let mut sums = [0.0f32; LANES];
    for chunk in y.chunks_mut(LANES) {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            let power = exp(*x - largest);
            *sum += power;
            *x = if log { *x - largest } else { power };
        }
    }
    let sum = sums.into_iter().map(f64::from).sum::<f64>();
    if log {
        let offset = sum.ln() as f32;
        y.iter_mut().for_each(|x| *x -= offset);
    } else {
        let scale = (1.0 / sum) as f32;
        y.iter_mut().for_each(|x| *x *= scale);
    }
}

/// Lines along the first axis of a matrix of `inner` columns.
#[inline(always)]
fn columns(y: &mut [f32], inner: usize, log: bool) {
    for left in (0..inner).step_by(STRIP) {
        let width = STRIP.min(inner - left);
        let (mut largest, mut sums) = ([f32::NEG_INFINITY; STRIP], [0.0f32; STRIP]);
        for line in y.chunks_exact(inner) {
            let strip = &line[left..left + width];
            largest.iter_mut().zip(strip).for_each(|(most, &x)| *most = larger(*most, x));
        }
        for line in y.chunks_exact_mut(inner) {
            let strip = &mut line[left..left + width];
            for ((x, sum), most) in strip.iter_mut().zip(&mut sums).zip(&largest) {
                let power = exp(*x - most);
                *sum += power;
                *x = if log { *x - most } else { power };
            }
        }
        sums.iter_mut().for_each(|sum| *sum = if log { sum.ln() } else { 1.0 / *sum });
        for line in y.chunks_exact_mut(inner) {
            let strip = &mut line[left..left + width];
            strip.iter_mut().zip(&sums).for_each(|(x, end)| *x = if log { *x - end } else { *x * end });
        }
    }
}

#[inline(always)]
fn blocks(y: &mut [f32], lines: Lines, log: bool) {
    for block in y.chunks_exact_mut(lines.block()) {
        match lines.inner {
            1 => row(block, log),
            inner => columns(block, inner, log),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn blocks_avx512(y: &mut [f32], lines: Lines, log: bool) {
    blocks(y, lines, log);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn blocks_avx2(y: &mut [f32], lines: Lines, log: bool) {
    blocks(y, lines, log);
}

/// All lines of whole blocks, with the vector width of the tier.
#[allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]
fn on_tier(tier: Tier, y: &mut [f32], lines: Lines, log: bool) {
    match tier {
        // SAFETY: the tier in use is never above what the machine was detected to have.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { blocks_avx512(y, lines, log) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { blocks_avx2(y, lines, log) },
        _ => blocks(y, lines, log),
    }
}

/// Softmax of each of the lines of `length` neighbouring elements, in place.
pub(crate) fn softmax_lines(tier: Tier, y: &mut [f32], length: usize) {
    on_tier(tier, y, Lines { outer: 1, length, inner: 1 }, false);
}

impl Kernel for Rows {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = match launch.inputs.first() {
            Some(Operand::InPlace(_)) => None,
            _ => Some(launch.input(0)?),
        };
        let sizes = Sizes::from_slice(x.map_or_else(|| launch.output(0).sizes(), |x| x.sizes()));
        let lines = Lines::along(&sizes, axis_in(self.op.axis, sizes.len())?);
        let workers = launch.workers;
        let mut y = result(&mut launch.outputs[0], &sizes)?;
        let x = x.map(|x| x.elements::<f32>());
        let y = y.elements::<f32>();
        // Exponentials are a handful of operations each.
        share(workers, y, lines.block(), Cost::PerElement(4), |from, chunk| {
            if let Some(x) = x {
                let start = from * lines.block();
                chunk.copy_from_slice(&x[start..start + chunk.len()]);
            }
            on_tier(self.tier, chunk, lines, self.op.log);
        });
        Ok(())
    }
}

struct Generic {
    op: Softmax,
}

impl Kernel for Generic {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let lines = Lines::along(x.sizes(), axis_in(self.op.axis, x.sizes().len())?);
        let Numbers::Floats(mut y) = load(x, launch.scratch) else { refuse_data!("a softmax of {}", x.data_type()) };
        let Lines { length, inner, .. } = lines;
        let log = self.op.log;
        share(launch.workers, &mut y, lines.block(), Cost::PerElement(8), |_, chunk| {
            for block in chunk.chunks_exact_mut(lines.block()) {
                for i in 0..inner {
                    let line = || (0..length).map(|k| k * inner + i);
                    let largest = line().map(|at| block[at]).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = line().map(|at| (block[at] - largest).exp()).sum();
                    for at in line() {
                        let shifted = block[at] - largest;
                        block[at] = if log { shifted - sum.ln() } else { shifted.exp() / sum };
                    }
                }
            }
        });
        let mut target = result(&mut launch.outputs[0], x.sizes())?;
        store(&Numbers::Floats(y), &mut target);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns_agree_with_float64() {
        for (length, inner) in [(1, 1), (100, 1), (33, 1), (7, 100), (5, 3)] {
            let x: Vec<f32> = (0..length * inner).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
            let mut y = x.clone();
            on_tier(Tier::in_use(), &mut y, Lines { outer: 1, length, inner }, false);
            for i in 0..inner {
                let sum: f64 = (0..length).map(|k| f64::from(x[k * inner + i]).exp()).sum();
                for k in 0..length {
                    let exact = f64::from(x[k * inner + i]).exp() / sum;
                    assert!((f64::from(y[k * inner + i]) - exact).abs() <= 2e-6 * exact, "{length} {inner} {k} {i}");
                }
            }
        }
    }

    #[test]
    fn nothing_finite_makes_nan() {
        let mut y = [f32::NEG_INFINITY, f32::NEG_INFINITY];
        row(&mut y, false);
        assert!(y.iter().all(|v| v.is_nan()));
        let mut y = [1.0, f32::NAN];
        row(&mut y, true);
        assert!(y.iter().all(|v| v.is_nan()));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn exponentials_are_vectors() {
        use crate::machine_code::{Work, assert_in_registers, kernel};
        assert_in_registers(&[
            kernel!(blocks_avx512, Zmm, Work::Vectorized(iced_x86::Mnemonic::Vrndscaleps)),
            kernel!(blocks_avx2, Ymm, Work::Vectorized(iced_x86::Mnemonic::Vroundps)),
        ]);
    }
}
