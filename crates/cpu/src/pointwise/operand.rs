//! Reading operands into columns and writing results back, with broadcasting.

use half::{bf16, f16};
use sinter_base::minifloat::Overflow;
use sinter_base::shape::{broadcast_strides, unravel};
use sinter_base::view::element_bytes;
use sinter_base::{DataType, Element, Rows, Sizes, View};

use crate::pointwise::column::{Column, Kind, LENGTH, code_of, wrap};

/// How an operand's elements follow each other in the result's order.
pub enum Access {
    /// The same sizes as the result.
    Same,
    /// One element for all.
    Splat,
    /// Strides by axis of the result, 0 where repeated.
    Strided(Sizes),
}

impl Access {
    /// The access of an operand of these sizes.
    pub fn of(operand: &[usize], result: &[usize]) -> Self {
        let lead = result.len().saturating_sub(operand.len());
        if operand.iter().all(|&s| s == 1) {
            Access::Splat
        } else if result[lead..] == *operand && result[..lead].iter().all(|&s| s == 1) {
            Access::Same
        } else {
            Access::Strided(broadcast_strides(operand, result))
        }
    }

    /// Calls `put(i, position)` for elements `start..start + length` of the result.
    #[inline(always)]
    pub(crate) fn positions(&self, sizes: &[usize], start: usize, length: usize, mut put: impl FnMut(usize, usize)) {
        match self {
            Access::Same => (0..length).for_each(|i| put(i, start + i)),
            Access::Splat => (0..length).for_each(|i| put(i, 0)),
            Access::Strided(strides) => {
                let mut index = unravel(start, sizes);
                let mut position: usize = index.iter().zip(strides).map(|(i, s)| i * s).sum();
                for i in 0..length {
                    put(i, position);
                    for axis in (0..sizes.len()).rev() {
                        index[axis] += 1;
                        position += strides[axis];
                        if index[axis] < sizes[axis] {
                            break;
                        }
                        position -= strides[axis] * sizes[axis];
                        index[axis] = 0;
                    }
                }
            }
        }
    }
}

/// Position of element `at` of an alias in its span.
pub fn position_in(rows: Rows, at: usize) -> usize {
    at / rows.inner * rows.step + at % rows.inner
}

/// Reads elements `start..start + length` of the result's order into a column.
pub fn read(view: View<'_>, access: &Access, sizes: &[usize], start: usize, length: usize, column: &mut Column) {
    let Column { f32: reals, f64: doubles, i64: integers } = column;
    // A column never reaches beyond a row of a strided view.
    let start = match (access, view.rows()) {
        (Access::Same, Some(rows)) => position_in(rows, start),
        _ => start,
    };
    macro_rules! load {
        ($t:ty, $into:ident, $v:ident => $e:expr) => {{
            let elements = view.span::<$t>();
            let target = &mut $into[..length];
            match access {
                Access::Same => {
                    target.iter_mut().zip(&elements[start..]).for_each(|(y, &$v)| *y = $e);
                }
                Access::Splat => {
                    let $v = elements[0];
                    target.fill($e);
                }
                Access::Strided(_) => access.positions(sizes, start, length, |i, at| {
                    let $v = elements[at];
                    target[i] = $e;
                }),
            }
        }};
    }
    let data_type = view.data_type();
    match data_type {
        DataType::F64 => load!(f64, doubles, v => v),
        DataType::F32 => load!(f32, reals, v => v),
        DataType::F16 => load!(f16, reals, v => v.to_f32()),
        DataType::Bf16 => load!(bf16, reals, v => v.to_f32()),
        DataType::I64 => load!(i64, integers, v => v),
        DataType::U64 => load!(u64, integers, v => v as i64),
        DataType::I32 => load!(i32, integers, v => i64::from(v)),
        DataType::U32 => load!(u32, integers, v => i64::from(v)),
        DataType::I16 => load!(i16, integers, v => i64::from(v)),
        DataType::U16 => load!(u16, integers, v => i64::from(v)),
        _ => {
            let bytes = view.span_bytes();
            match data_type.mini_float() {
                Some(format) => {
                    access.positions(sizes, start, length, |i, at| reals[i] = format.decode(bytes[at]) as f32);
                }
                None => access.positions(sizes, start, length, |i, at| {
                    integers[i] = wrap(data_type, i64::from(bytes[at]));
                }),
            }
        }
    }
}

/// Writes a column into consecutive elements; `bytes` is exactly their memory.
pub fn write(data_type: DataType, column: &Column, bytes: &mut [u8]) {
    let length = bytes.len() / element_bytes(data_type).max(1);
    debug_assert!(length <= LENGTH);
    macro_rules! store {
        ($t:ty, $from:expr, $v:ident => $e:expr) => {{
            let target: &mut [$t] = bytemuck::cast_slice_mut(bytes);
            target.iter_mut().zip(&$from[..length]).for_each(|(y, &$v)| *y = $e);
        }};
    }
    fn is<T: Element>(data_type: DataType) -> bool {
        T::DATA_TYPE == data_type
    }
    match data_type {
        DataType::F64 => store!(f64, column.f64, v => v),
        DataType::F32 => store!(f32, column.f32, v => v),
        DataType::F16 => store!(f16, column.f32, v => f16::from_f32(v)),
        DataType::Bf16 => store!(bf16, column.f32, v => bf16::from_f32(v)),
        t if is::<i64>(t) => store!(i64, column.i64, v => v),
        t if is::<u64>(t) => store!(u64, column.i64, v => v as u64),
        t if is::<i32>(t) => store!(i32, column.i64, v => v as i32),
        t if is::<u32>(t) => store!(u32, column.i64, v => v as u32),
        t if is::<i16>(t) => store!(i16, column.i64, v => v as i16),
        t if is::<u16>(t) => store!(u16, column.i64, v => v as u16),
        other => match other.mini_float() {
            // Values are on the format's grid already; infinities and NaN must not saturate a second time.
            Some(format) => {
                store!(u8, column.f32, v => format.encode(f64::from(v), Overflow::Special));
            }
            None => store!(u8, column.i64, v => code_of(other, v)),
        },
    }
}

/// Fills a column with a constant of its kind.
pub fn splat(kind: Kind, real: f64, integer: i64, column: &mut Column) {
    match kind {
        Kind::F32 => column.f32.fill(real as f32),
        Kind::F64 => column.f64.fill(real),
        Kind::I64 => column.i64.fill(integer),
    }
}
