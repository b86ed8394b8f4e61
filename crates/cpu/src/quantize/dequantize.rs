//! Stored values to real ones.
//!
//! `cpu.dequantize.to_f32` takes types of at most 16 bits with f32 scales: differences of such integers are exact in
//! f32, so that only the product rounds. Codes of small floats go through a table of 256 values.
//! `cpu.dequantize.generic` takes every other combination in f64, rounded once.

use sinter_backend::{KernelError, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::OpKind;
use sinter_ops::quantize::Dequantize;

use crate::elements::{floats, store_floats};
use crate::launch::{Kernel, Launch, Loaded, Workers};
use crate::only_operator;
use crate::quantize::parameters::Parameters;
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// Narrow types to f32.
pub const TO_F32: Row = Row {
    name: "cpu.dequantize.to_f32",
    roots: &[OpKind::Dequantize],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel: to_f32,
};

/// Any types.
pub const GENERIC: Row = Row {
    name: "cpu.dequantize.generic",
    roots: &[OpKind::Dequantize],
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel: generic,
};

fn to_f32(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Dequantize);
    let types = [0, 1].map(|index| region.input(index).map(|t| t.data_type));
    match types {
        [Some(x), Some(DataType::F32)] if op.data_type == DataType::F32 && x.bits() <= 16 => {
            Ok(Loaded::Kernel(Box::new(ToF32 { op: op.clone() })))
        }
        _ => Err(Refusal::new(format!("types {types:?} to {}", op.data_type))),
    }
}

fn generic(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Dequantize);
    Ok(Loaded::Kernel(Box::new(Generic { op: op.clone() })))
}

struct ToF32 {
    op: Dequantize,
}

impl Kernel for ToF32 {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let x = launch.input(0)?;
        let parameters = Parameters::<f32>::of(launch, self.op.granularity)?;
        let workers = launch.workers;
        let y = launch.output(0).elements::<f32>();
        match x.data_type() {
            DataType::I16 => fill(x.elements::<i16>(), &parameters, workers, y, f32::from),
            DataType::U16 => fill(x.elements::<u16>(), &parameters, workers, y, f32::from),
            // A byte each, signed ones in two's complement.
            other => match other.mini_float() {
                Some(format) => {
                    let table: [f32; 256] = std::array::from_fn(|code| format.decode(code as u8) as f32);
                    fill(x.bytes(), &parameters, workers, y, |code| table[usize::from(code)]);
                }
                None if other.is_signed_integer() => {
                    fill(x.bytes(), &parameters, workers, y, |code| f32::from(code as i8));
                }
                None => fill(x.bytes(), &parameters, workers, y, f32::from),
            },
        }
        Ok(())
    }
}

/// All results from codes that become numbers by `widen`.
fn fill<I: Copy + Sync>(
    x: &[I],
    parameters: &Parameters<'_, f32>,
    workers: &dyn Workers,
    y: &mut [f32],
    widen: impl Fn(I) -> f32 + Sync,
) {
    share(workers, y, 1, Cost::PerElement(1), |first, y| parameters.apply(x, first, y, |v, s, z| (widen(v) - z) * s));
}

struct Generic {
    op: Dequantize,
}

impl Kernel for Generic {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (workers, scratch) = (launch.workers, launch.scratch);
        let x = floats(launch.input(0)?, scratch);
        let parameters = Parameters::<f64>::of(launch, self.op.granularity)?;
        let mut values = scratch.allocate(x.len());
        share(workers, &mut values, 1, Cost::PerElement(4), |first, y| {
            parameters.apply(&x, first, y, |v, s, z| (v - z) * s);
        });
        store_floats(&values, launch.output(0));
        Ok(())
    }
}
