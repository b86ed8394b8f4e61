//! Stored values to real ones.
//!
//! `cpu.dequantize.to_f32` takes types of at most 16 bits with f32 scales: differences of such integers are exact in
//! f32, so that only the product rounds. Codes of small floats go through a table of 256 values.
//! `cpu.dequantize.generic` takes every other combination in f64, rounded once.

use sinter_backend::{Kernel, KernelError, Launch, Loaded, Numerics, Refusal, Region};
use sinter_base::DataType;
use sinter_ops::quantize::Dequantize;

use crate::elements::{floats, store_floats};
use crate::only_operator;
use crate::quantize::spans::{Span, Spans, zero_points};
use crate::share::{Cost, share};
use crate::tactic::{Row, Speed};

/// Narrow types to f32.
pub const TO_F32: Row = Row {
    name: "cpu.dequantize.to_f32",
    numerics: Numerics::Ordered,
    in_place: &[],
    speed: Speed::VECTOR,
    kernel: to_f32,
};

/// Any types.
pub const GENERIC: Row = Row {
    name: "cpu.dequantize.generic",
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
            Ok(Loaded::Views(Box::new(ToF32 { op: op.clone() })))
        }
        _ => Err(Refusal::new(format!("types {types:?} to {}", op.data_type))),
    }
}

fn generic(region: &Region) -> Result<Loaded, Refusal> {
    let op = only_operator!(region, Dequantize);
    Ok(Loaded::Views(Box::new(Generic { op: op.clone() })))
}

struct ToF32 {
    op: Dequantize,
}

struct Problem<'a> {
    scales: &'a [f32],
    zeros: &'a [f32],
    spans: Spans,
}

impl Problem<'_> {
    /// Elements `first..` of the result.
    fn fill<I: Copy>(&self, x: &[I], first: usize, y: &mut [f32], widen: impl Fn(I) -> f32) {
        self.spans.for_each(first..first + y.len(), |Span { elements, scale, moving }| {
            let target = &mut y[elements.start - first..elements.end - first];
            let source = &x[elements];
            if moving {
                let parameters = self.scales[scale..].iter().zip(&self.zeros[scale..]);
                for ((y, &v), (&s, &z)) in target.iter_mut().zip(source).zip(parameters) {
                    *y = (widen(v) - z) * s;
                }
            } else {
                let (s, z) = (self.scales[scale], self.zeros[scale]);
                target.iter_mut().zip(source).for_each(|(y, &v)| *y = (widen(v) - z) * s);
            }
        });
    }
}

impl Kernel for ToF32 {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, scales) = (launch.input(0)?, launch.input(1)?);
        let (workers, rooms) = (launch.workers, launch.rooms);
        let zeros = zero_points(launch.optional(2), scales.count(), rooms)?;
        let zeros = rooms.list(zeros.iter().map(|&z| z as f32));
        let spans = Spans::new(self.op.granularity, x.sizes(), scales.count())?;
        let problem = Problem { scales: scales.elements(), zeros: &zeros, spans };
        let y = launch.output(0).elements::<f32>();
        match x.data_type() {
            DataType::I16 => {
                let x = x.elements::<i16>();
                share(workers, y, 1, Cost::PerElement(1), |first, y| problem.fill(x, first, y, f32::from));
            }
            DataType::U16 => {
                let x = x.elements::<u16>();
                share(workers, y, 1, Cost::PerElement(1), |first, y| problem.fill(x, first, y, f32::from));
            }
            // A byte each, signed ones in two's complement.
            other => {
                let x = x.bytes();
                if let Some(format) = other.mini_float() {
                    let table: [f32; 256] = std::array::from_fn(|code| format.decode(code as u8) as f32);
                    share(workers, y, 1, Cost::PerElement(1), |first, y| {
                        problem.fill(x, first, y, |code| table[usize::from(code)])
                    });
                } else if other.is_signed_integer() {
                    share(workers, y, 1, Cost::PerElement(1), |first, y| {
                        problem.fill(x, first, y, |code| f32::from(code as i8))
                    });
                } else {
                    share(workers, y, 1, Cost::PerElement(1), |first, y| problem.fill(x, first, y, f32::from));
                }
            }
        }
        Ok(())
    }
}

struct Generic {
    op: Dequantize,
}

impl Kernel for Generic {
    fn launch(&self, launch: &mut Launch<'_, '_>) -> Result<(), KernelError> {
        let (x, scales) = (launch.input(0)?, launch.input(1)?);
        let spans = Spans::new(self.op.granularity, x.sizes(), scales.count())?;
        let (workers, rooms) = (launch.workers, launch.rooms);
        let (x, scales) = (floats(x, rooms), floats(scales, rooms));
        let zeros = zero_points(launch.optional(2), scales.len(), rooms)?;
        let mut values = rooms.take(x.len());
        share(workers, &mut values, 1, Cost::PerElement(4), |first, y| {
            spans.for_each(first..first + y.len(), |Span { elements, scale, moving }| {
                for (i, element) in elements.enumerate() {
                    let parameter = scale + if moving { i } else { 0 };
                    y[element - first] = (x[element] - zeros[parameter]) * scales[parameter];
                }
            });
        });
        store_floats(&values, launch.output(0));
        Ok(())
    }
}
