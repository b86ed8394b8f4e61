//! Execution of chains: reads operands in columns of f32, and writes the last column in the type of the result.
#![allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]

use sinter_backend::KernelError;
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Sizes, View};
use sinter_ops::pointwise::Scalar;
use sinter_ops::pointwise::program::Step;
use smallvec::SmallVec;

use crate::launch::{Scratch, Workers};
use crate::pointwise::column::{Column, Kind, LENGTH};
use crate::pointwise::operand::{Access, splat};
use crate::pointwise::program::apply;
use crate::quantize::chain::{Chain, MOST_SOURCES, Source, Work};
use crate::quantize::quantize::quantized;
use crate::share::{Cost, share};
use crate::tier::Tier;

/// Threads and scratch memory of a launch.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) tier: Tier,
    pub(super) workers: &'a dyn Workers,
    pub(super) scratch: &'a Scratch,
}

/// A chain with the operands of one launch.
struct Run<'a> {
    chain: &'a Chain,
    operands: &'a [(View<'a>, Access)],
    sizes: &'a [usize],
}

impl Chain {
    /// Computes the result, of these sizes, into consecutive elements; `operand` is the memory of a source by its
    /// index.
    ///
    /// # Errors
    /// When an operand does not follow the result.
    pub(super) fn run<'v>(
        &self,
        operand: impl Fn(usize) -> Result<View<'v>, KernelError>,
        sizes: &[usize],
        result: &mut [u8],
        Means { tier, workers, scratch }: Means<'_>,
    ) -> Result<(), KernelError> {
        let mut operands: SmallVec<[(View<'_>, Access); MOST_SOURCES]> = SmallVec::new();
        for (index, source) in self.sources.iter().enumerate() {
            let view = operand(index)?;
            operands.push((view, access(source, view.sizes(), sizes)?));
        }
        let width = element_bytes(self.data_type);
        let run = Run { chain: self, operands: &operands, sizes };
        scratch.reserve::<Column>(workers.count(), self.work.len());
        share(workers, result, width, Cost::PerElement(self.work.len()), |first, bytes| {
            let mut columns = scratch.allocate(self.work.len());
            run.on_tier(tier, first, bytes, &mut columns);
        });
        Ok(())
    }
}

/// How an operand of these sizes follows the result.
fn access(source: &Source, own: &[usize], result: &[usize]) -> Result<Access, KernelError> {
    let mut spread = Sizes::from_slice(own);
    if let (Some(axis), [count]) = (source.axis.filter(|axis| *axis < result.len()), own) {
        spread = (0..result.len()).map(|at| if at == axis { *count } else { 1 }).collect();
    }
    let follows = spread.iter().rev().zip(result.iter().rev()).all(|(own, size)| own == size || *own == 1);
    match follows && spread.len() <= result.len() {
        true => Ok(Access::of(&spread, result)),
        false => Err(KernelError::Data(format!("an operand of sizes {own:?} beside a result of sizes {result:?}"))),
    }
}

/// Operands of a quantization: values, scales, optional zero points, and the bounds of the result.
#[derive(Clone, Copy)]
struct Terms<'a> {
    x: &'a [f32; LENGTH],
    scale: &'a [f32; LENGTH],
    zero: Option<&'a [f32; LENGTH]>,
    low: f32,
    high: f32,
}

/// Quantizes a whole column, including elements beyond its used length: the compiler vectorizes a loop of fixed length.
#[inline(always)]
fn quotients(Terms { x, scale, zero, low, high }: Terms<'_>, y: &mut [f32; LENGTH]) {
    match zero {
        Some(zero) => (0..LENGTH).for_each(|i| y[i] = quantized(x[i], scale[i], zero[i], low, high)),
        None => (0..LENGTH).for_each(|i| y[i] = quantized(x[i], scale[i], 0.0, low, high)),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn quotients_avx512(terms: Terms<'_>, y: &mut [f32; LENGTH]) {
    quotients(terms, y);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn quotients_avx2(terms: Terms<'_>, y: &mut [f32; LENGTH]) {
    quotients(terms, y);
}

impl Run<'_> {
    /// Elements from index `first` on, with the vector width of the tier.
    fn on_tier(&self, tier: Tier, first: usize, bytes: &mut [u8], columns: &mut [Column]) {
        match tier {
            // SAFETY: the tier in use is never above what the machine was detected to have.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512 => unsafe { self.avx512(first, bytes, columns) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 => unsafe { self.avx2(first, bytes, columns) },
            _ => self.columns(first, bytes, columns, quotients),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
    fn avx512(&self, first: usize, bytes: &mut [u8], columns: &mut [Column]) {
        self.columns(first, bytes, columns, |terms, y| quotients_avx512(terms, y));
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(&self, first: usize, bytes: &mut [u8], columns: &mut [Column]) {
        self.columns(first, bytes, columns, |terms, y| quotients_avx2(terms, y));
    }

    #[inline(always)]
    fn columns(
        &self,
        first: usize,
        bytes: &mut [u8],
        columns: &mut [Column],
        quotients: impl Fn(Terms<'_>, &mut [f32; LENGTH]),
    ) {
        self.fill(columns);
        let width = element_bytes(self.chain.data_type);
        let mut at = first;
        for bytes in bytes.chunks_mut(LENGTH * width) {
            let length = bytes.len() / width;
            for position in 0..self.chain.work.len() {
                let (before, rest) = columns.split_at_mut(position);
                self.column(position, at, length, before, &mut rest[0], &quotients);
            }
            store(self.chain.data_type, &columns[self.chain.result].f32[..length], bytes);
            at += length;
        }
    }

    /// Fills the columns that are the same everywhere.
    #[inline(always)]
    fn fill(&self, columns: &mut [Column]) {
        for ((work, step), column) in self.chain.work.iter().zip(&self.chain.steps).zip(columns) {
            match (work, step) {
                (Work::Load(index), _) => {
                    let (view, access) = &self.operands[*index];
                    if matches!(access, Access::Splat) && view.count() > 0 {
                        load(*view, access, self.sizes, 0, 1, &mut column.f32);
                        let value = column.f32[0];
                        column.f32.fill(value);
                    }
                }
                (Work::Scalar, Step::Constant { value, data_type }) => {
                    if let Some(kind) = Kind::of(*data_type) {
                        let integer = match value {
                            Scalar::Int(v) => *v as i64,
                            Scalar::Float(v) => *v as i64,
                        };
                        splat(kind, value.float(), integer, column);
                    }
                }
                _ => {}
            }
        }
    }

    /// One column of elements from index `at` on.
    #[inline(always)]
    fn column(
        &self,
        position: usize,
        at: usize,
        length: usize,
        before: &[Column],
        column: &mut Column,
        quotients: &impl Fn(Terms<'_>, &mut [f32; LENGTH]),
    ) {
        match &self.chain.work[position] {
            Work::Load(index) => {
                let (view, access) = &self.operands[*index];
                if !matches!(access, Access::Splat) {
                    load(*view, access, self.sizes, at, length, &mut column.f32[..length]);
                }
            }
            Work::Scalar => {
                if let Step::Apply { op, compute, args } = &self.chain.steps[position] {
                    apply(*op, *compute, &self.chain.steps, args, before, column, length);
                }
            }
            Work::Quantize { x, scale, zero, low, high } => {
                let (x, scale) = (&before[*x].f32, &before[*scale].f32);
                let zero = zero.map(|zero| &before[zero].f32);
                quotients(Terms { x, scale, zero, low: *low, high: *high }, &mut column.f32);
            }
            Work::Dequantize { x, scale, zero } => {
                let (x, scale, y) = (&before[*x].f32, &before[*scale].f32, &mut column.f32);
                match zero.map(|zero| &before[zero].f32) {
                    Some(zero) => (0..LENGTH).for_each(|i| y[i] = (x[i] - zero[i]) * scale[i]),
                    None => (0..LENGTH).for_each(|i| y[i] = x[i] * scale[i]),
                }
            }
        }
    }
}

/// Reads elements from index `start` of the result on.
#[inline(always)]
fn load(view: View<'_>, access: &Access, sizes: &[usize], start: usize, length: usize, y: &mut [f32]) {
    macro_rules! read {
        ($elements:expr, $v:ident => $e:expr) => {{
            let elements = $elements;
            match access {
                Access::Same => {
                    for (y, &$v) in y[..length].iter_mut().zip(&elements[start..start + length]) {
                        *y = $e;
                    }
                }
                _ => access.positions(sizes, start, length, |i, at| {
                    let $v = elements[at];
                    y[i] = $e;
                }),
            }
        }};
    }
    match view.data_type() {
        DataType::I16 => read!(view.elements::<i16>(), v => f32::from(v)),
        DataType::U16 => read!(view.elements::<u16>(), v => f32::from(v)),
        DataType::I8 => read!(view.bytes(), v => f32::from(v as i8)),
        DataType::U8 => read!(view.bytes(), v => f32::from(v)),
        _ => read!(view.elements::<f32>(), v => v),
    }
}

/// Writes a column; integers are exact.
#[inline(always)]
fn store(data_type: DataType, column: &[f32], bytes: &mut [u8]) {
    macro_rules! write {
        ($t:ty, $v:ident => $e:expr) => {{
            let target: &mut [$t] = bytemuck::cast_slice_mut(bytes);
            for (y, &$v) in target.iter_mut().zip(column) {
                *y = $e;
            }
        }};
    }
    match data_type {
        DataType::I16 => write!(i16, v => v as i32 as i16),
        DataType::U16 => write!(u16, v => v as i32 as u16),
        DataType::I8 | DataType::U8 => write!(u8, v => v as i32 as u8),
        _ => write!(f32, v => v),
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::machine_code::{self, assert_in_registers, kernel};

    #[test]
    fn quotients_are_vectors() {
        let division = machine_code::Work::Vectorized(iced_x86::Mnemonic::Vdivps);
        assert_in_registers(&[kernel!(quotients_avx512, Zmm, division), kernel!(quotients_avx2, Ymm, division)]);
    }
}
