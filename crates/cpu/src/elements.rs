//! Whole views as f64 or i64, for kernels of rare element types: plain loops, any type in and out.

use std::ops::Deref;

use bytemuck::Pod;
use half::{bf16, f16};
use sinter_base::halves::{bf16_of, f16_of};
use sinter_base::minifloat::Overflow;
use sinter_base::{DataType, View, ViewMut};

use crate::launch::{Scratch, ScratchBuffer};
use crate::pointwise::column::wrap;

/// The elements of a view in the widest type of their class.
pub enum Numbers<'r> {
    /// Of a float type.
    Floats(ScratchBuffer<'r, f64>),
    /// Of an integer type or bool; u64 as its bits.
    Ints(ScratchBuffer<'r, i64>),
}

impl<'r> Numbers<'r> {
    /// Zeros of the class of a data type.
    pub fn like(data_type: DataType, count: usize, scratch: &'r Scratch) -> Self {
        if data_type.is_float() {
            Self::Floats(scratch.filled(count, 0.0))
        } else {
            Self::Ints(scratch.filled(count, 0))
        }
    }
}

/// Elements of one type: as they lie in memory, or converted.
pub enum Elements<'a, T: Pod> {
    /// Of an operand.
    Borrowed(&'a [T]),
    /// In a scratch buffer.
    Converted(ScratchBuffer<'a, T>),
}

impl<T: Pod> Deref for Elements<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Elements::Borrowed(elements) => elements,
            Elements::Converted(elements) => elements,
        }
    }
}

/// Reads all elements.
pub fn load<'r>(view: View<'_>, scratch: &'r Scratch) -> Numbers<'r> {
    macro_rules! floats {
        ($t:ty, $v:ident => $e:expr) => {
            Numbers::Floats(scratch.list(view.elements::<$t>().iter().map(|&$v| $e)))
        };
    }
    macro_rules! ints {
        ($t:ty, $v:ident => $e:expr) => {
            Numbers::Ints(scratch.list(view.elements::<$t>().iter().map(|&$v| $e)))
        };
    }
    let data_type = view.data_type();
    match data_type {
        DataType::F64 => floats!(f64, v => v),
        DataType::F32 => floats!(f32, v => f64::from(v)),
        DataType::F16 => floats!(f16, v => v.to_f64()),
        DataType::Bf16 => floats!(bf16, v => v.to_f64()),
        DataType::I64 => ints!(i64, v => v),
        DataType::U64 => ints!(u64, v => v as i64),
        DataType::I32 => ints!(i32, v => i64::from(v)),
        DataType::U32 => ints!(u32, v => i64::from(v)),
        DataType::I16 => ints!(i16, v => i64::from(v)),
        DataType::U16 => ints!(u16, v => i64::from(v)),
        _ => match data_type.mini_float() {
            Some(format) => Numbers::Floats(scratch.list(view.bytes().iter().map(|&b| format.decode(b)))),
            None => Numbers::Ints(scratch.list(view.bytes().iter().map(|&b| wrap(data_type, i64::from(b))))),
        },
    }
}

/// Writes all elements: floats are rounded to nearest even, integers wrap.
///
/// # Panics
/// When the numbers are of the other class than the view: an error of the kernel, never of data.
pub fn store(numbers: &Numbers<'_>, target: &mut ViewMut<'_>) {
    let data_type = target.data_type();
    macro_rules! put {
        ($t:ty, $from:expr, $v:ident => $e:expr) => {
            target.elements::<$t>().iter_mut().zip($from).for_each(|(y, &$v)| *y = $e)
        };
    }
    match numbers {
        Numbers::Floats(values) => store_real(values, target),
        Numbers::Ints(values) => match data_type {
            DataType::I64 => put!(i64, &**values, v => v),
            DataType::U64 => put!(u64, &**values, v => v as u64),
            DataType::I32 => put!(i32, &**values, v => v as i32),
            DataType::U32 => put!(u32, &**values, v => v as u32),
            DataType::I16 => put!(i16, &**values, v => v as i16),
            DataType::U16 => put!(u16, &**values, v => v as u16),
            other => {
                assert!(!other.is_float(), "integers for a {other} result");
                target.bytes().iter_mut().zip(&**values).for_each(|(y, &v)| *y = wrap(other, v) as u8);
            }
        },
    }
}

/// Writes floats to a float result, rounded to nearest even.
///
/// # Panics
/// When the result is of no float type: an error of the kernel, never of data.
pub fn store_real(values: &[f64], target: &mut ViewMut<'_>) {
    macro_rules! put {
        ($t:ty, $v:ident => $e:expr) => {
            target.elements::<$t>().iter_mut().zip(values).for_each(|(y, &$v)| *y = $e)
        };
    }
    match target.data_type() {
        DataType::F64 => put!(f64, v => v),
        DataType::F32 => put!(f32, v => v as f32),
        DataType::F16 => put!(f16, v => f16_of(v)),
        DataType::Bf16 => put!(bf16, v => bf16_of(v)),
        other => match other.mini_float() {
            Some(format) => {
                let codes = values.iter().map(|&v| format.encode(v, Overflow::Saturate));
                target.bytes().iter_mut().zip(codes).for_each(|(y, code)| *y = code);
            }
            None => panic!("floats for a {other} result"),
        },
    }
}

/// Reads all elements of a numeric type or bool as floats; integers beyond 53 bits are rounded.
pub fn floats<'r>(view: View<'_>, scratch: &'r Scratch) -> ScratchBuffer<'r, f64> {
    match load(view, scratch) {
        Numbers::Floats(values) => values,
        Numbers::Ints(values) if view.data_type() == DataType::U64 => {
            scratch.list(values.iter().map(|&v| v as u64 as f64))
        }
        Numbers::Ints(values) => scratch.list(values.iter().map(|&v| v as f64)),
    }
}

/// Writes all elements, whatever the numeric type: floats are rounded to nearest even, integers truncate and saturate,
/// bool is `value != 0`.
pub fn store_floats(values: &[f64], target: &mut ViewMut<'_>) {
    let data_type = target.data_type();
    // The casts to native integers truncate and saturate by themselves, and make NaN 0.
    macro_rules! put {
        ($t:ty) => {
            target.elements::<$t>().iter_mut().zip(values).for_each(|(y, &v)| *y = v as $t)
        };
    }
    match data_type {
        DataType::I64 => put!(i64),
        DataType::U64 => put!(u64),
        DataType::I32 => put!(i32),
        DataType::U32 => put!(u32),
        DataType::I16 => put!(i16),
        DataType::U16 => put!(u16),
        DataType::I8 => put!(i8),
        DataType::U8 => put!(u8),
        DataType::Bool => target.bytes().iter_mut().zip(values).for_each(|(y, &v)| *y = u8::from(v != 0.0)),
        other => match other.integer_range() {
            Some((low, high)) => {
                let (low, high) = (low as f64, high as f64);
                let code = |v: f64| (v.clamp(low, high) as i64) as u8;
                target.bytes().iter_mut().zip(values).for_each(|(y, &v)| *y = code(v));
            }
            None => store_real(values, target),
        },
    }
}
