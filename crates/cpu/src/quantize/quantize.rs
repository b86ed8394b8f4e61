//! Real values to stored ones.
//!
//! `cpu.quantize.to_integers.f32` takes f32 divided in f32 to integers of at most 16 bits. Rounding to even adds and
//! subtracts 1.5 * 2^23, which a vector unit does everywhere; the kernel first clamps the quotient to a range in which
//! that is exact, and beyond which every result saturates. `cpu.quantize.generic` takes every other type, one element
//! at a time in f64, rounded to the type of the division where the operator says so.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_base::minifloat::Overflow;
use sinter_ops::OpKind;
use sinter_ops::quantize::Quantize;

use crate::elements::{floats, store_floats};
use crate::launch::{Kernel, Launch, Loaded, Workers};
use crate::only_operator;
use crate::quantize::parameters::Parameters;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// f32 to integers.
pub const TO_INTEGERS: Row = Row {
    name: "cpu.quantize.to_integers.f32",
    roots: &[OpKind::Quantize],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel: to_integers,
};

/// Any types.
pub const GENERIC: Row = Row {
    name: "cpu.quantize.generic",
    roots: &[OpKind::Quantize],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel: generic,
};

fn to_integers(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Quantize);
    let types = [0, 1].map(|index| region.input(index).map(|t| t.data_type));
    if types != [Some(DataType::F32); 2] || op.precision != DataType::F32 {
        return Err(Refusal::new(format!("types {types:?} divided in {} instead of f32", op.precision)));
    }
    match op.data_type.integer_range() {
        Some(_) if op.data_type.bits() <= 16 => Ok(Loaded::Kernel(Box::new(ToIntegers { op: op.clone() }))),
        _ => Err(Refusal::new(format!("results of type {}", op.data_type))),
    }
}

fn generic(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Quantize);
    Ok(Loaded::Kernel(Box::new(Generic { op: op.clone() })))
}

/// Quotients beyond this saturate in every type of at most 16 bits, whatever the zero point.
const FARTHEST: f32 = 131_072.0;

/// Adding and subtracting it removes all digits after the point.
const ROUNDER: f32 = 12_582_912.0;

/// `saturate(round(v / scale) + zero)`, for ranges of at most 16 bits.
#[inline(always)]
pub(super) fn quantized(v: f32, scale: f32, zero: f32, low: f32, high: f32) -> f32 {
    let quotient = v / scale;
    let quotient = if quotient.is_nan() { 0.0 } else { quotient };
    let near = quotient.clamp(-FARTHEST, FARTHEST);
    let rounded = (near + ROUNDER) - ROUNDER;
    (rounded + zero).max(low).min(high)
}

struct ToIntegers {
    op: Quantize,
}

impl Kernel for ToIntegers {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?.elements::<f32>();
        let parameters = Parameters::<f32>::of(launch, self.op.granularity)?;
        let workers = launch.workers;
        let (low, high) = self.op.data_type.integer_range().unwrap_or((0, 0));
        let (low, high) = (low as f32, high as f32);
        let integer = |v: f32, scale: f32, zero: f32| quantized(v, scale, zero, low, high) as i32;
        let y = launch.output(0);
        match self.op.data_type {
            DataType::I16 => fill(x, &parameters, workers, y.elements(), |v, s, z| integer(v, s, z) as i16),
            DataType::U16 => fill(x, &parameters, workers, y.elements(), |v, s, z| integer(v, s, z) as u16),
            // A byte each, signed ones as two's complement.
            _ => fill(x, &parameters, workers, y.bytes(), |v, s, z| integer(v, s, z) as u8),
        }
        Ok(())
    }
}

/// All results, whatever integer they are stored in.
fn fill<I: Send>(
    x: &[f32],
    parameters: &Parameters<'_, f32>,
    workers: &dyn Workers,
    y: &mut [I],
    integer: impl Fn(f32, f32, f32) -> I + Sync,
) {
    share(workers, y, 1, Cost::PerElement(2), |first, y| parameters.apply(x, first, y, &integer));
}

struct Generic {
    op: Quantize,
}

impl Kernel for Generic {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (workers, scratch) = (launch.workers, launch.scratch);
        let x = floats(launch.input(0)?, scratch);
        let parameters = Parameters::<f64>::of(launch, self.op.granularity)?;
        let precision = self.op.precision;
        let y = launch.output(0);
        let mini = self.op.data_type.mini_float();
        // Quotient and zero point of every element, joined as its type asks for.
        let join = |quotient: f64, zero: f64| match mini {
            Some(_) => quotient + zero,
            None if quotient.is_nan() => zero,
            None => quotient.round_ties_even() + zero,
        };
        let mut values = scratch.allocate(y.count());
        share(workers, &mut values, 1, Cost::PerElement(8), |first, y| {
            parameters.apply(&x, first, y, |v, scale, zero| {
                join(precision.round(precision.round(v) / precision.round(scale)), zero)
            });
        });
        match mini {
            Some(format) => {
                let overflow = if self.op.saturate { Overflow::Saturate } else { Overflow::Special };
                share(workers, y.bytes(), 1, Cost::PerElement(8), |first, codes| {
                    codes.iter_mut().zip(&values[first..]).for_each(|(y, &v)| *y = format.encode(v, overflow));
                });
            }
            None => store_floats(&values, y),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_even_everywhere() {
        for tenths in -400..400 {
            let v = tenths as f32 / 10.0;
            let expected = f64::from(v).round_ties_even().clamp(-20.0, 30.0) as f32;
            assert_eq!(quantized(v, 1.0, 0.0, -20.0, 30.0), expected, "{v}");
        }
        assert_eq!(quantized(2.5, 1.0, 3.0, 0.0, 255.0), 5.0);
        assert_eq!(quantized(f32::NAN, 1.0, 7.0, 0.0, 255.0), 7.0);
        assert_eq!(quantized(f32::INFINITY, 1.0, -32768.0, -32768.0, 32767.0), 32767.0);
        assert_eq!(quantized(f32::NEG_INFINITY, 0.5, 65535.0, 0.0, 65535.0), 0.0);
    }
}
