//! Formulas on floats, written once: in f32 on memory as it is, or in f64 on copies for every other numeric type.

use std::ops::{Add, AddAssign, Div, Mul, Sub};

use sinter_backend::KernelError;
use sinter_base::{DataType, Element, View, ViewMut};
use smallvec::SmallVec;

use crate::elements::{Elements, floats, store_floats};
use crate::launch::{Scratch, Workers};

/// f32 or f64.
pub trait Number:
    Element
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + AddAssign
{
    /// The nearest number.
    fn of(value: f64) -> Self;

    /// The same value as f64.
    fn wide(self) -> f64;

    /// The elements of a view.
    fn elements<'a>(view: View<'a>, scratch: &'a Scratch) -> Elements<'a, Self>;
}

impl Number for f32 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn elements<'a>(view: View<'a>, scratch: &'a Scratch) -> Elements<'a, f32> {
        match view.data_type() {
            DataType::F32 => Elements::Borrowed(view.elements()),
            _ => Elements::Converted(scratch.list(floats(view, scratch).iter().map(|&v| v as f32))),
        }
    }
}

impl Number for f64 {
    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn wide(self) -> f64 {
        self
    }

    fn elements<'a>(view: View<'a>, scratch: &'a Scratch) -> Elements<'a, f64> {
        match view.data_type() {
            DataType::F64 => Elements::Borrowed(view.elements()),
            _ => Elements::Converted(floats(view, scratch)),
        }
    }
}

/// The operands of a formula, all floats of one type.
pub struct Inputs<'a, T>(SmallVec<[Option<&'a [T]>; 6]>);

impl<'a, T> Inputs<'a, T> {
    /// An operand that cannot be left out; empty when it is.
    pub fn given(&self, index: usize) -> &'a [T] {
        self.optional(index).unwrap_or_default()
    }

    /// An operand.
    pub fn optional(&self, index: usize) -> Option<&'a [T]> {
        *self.0.get(index)?
    }
}

/// Resources of a formula.
#[derive(Clone, Copy)]
pub struct Means<'a> {
    /// Threads.
    pub workers: &'a dyn Workers,
    /// Memory.
    pub scratch: &'a Scratch,
}

/// A result computed from operands, all of them floats of one width.
pub trait Formula {
    /// Writes every element of `y`.
    ///
    /// # Errors
    /// When the operator does not take these values.
    fn compute<T: Number>(&self, inputs: &Inputs<'_, T>, y: &mut [T], means: Means<'_>) -> Result<(), KernelError>;
}

/// Computes a formula in f32 when all operands and the result have that type, else in f64. Results of an integer type
/// are truncated and saturate.
///
/// # Errors
/// Those of the formula.
pub fn evaluate(
    formula: &impl Formula,
    operands: &[Option<View<'_>>],
    target: &mut ViewMut<'_>,
    workers: &dyn Workers,
    scratch: &Scratch,
) -> Result<(), KernelError> {
    let means = Means { workers, scratch };
    let is_f32 = operands.iter().flatten().all(|v| v.data_type() == DataType::F32);
    if is_f32 && target.data_type() == DataType::F32 {
        let inputs = operands.iter().map(|view| view.map(|v| v.elements::<f32>()));
        return formula.compute(&Inputs(inputs.collect()), target.elements(), means);
    }
    let converted: SmallVec<[_; 6]> = operands.iter().map(|view| view.map(|v| f64::elements(v, scratch))).collect();
    let inputs = Inputs(converted.iter().map(Option::as_deref).collect());
    let mut y = scratch.filled(target.count(), 0.0f64);
    formula.compute(&inputs, &mut y, means)?;
    store_floats(&y, target);
    Ok(())
}

/// Elements that are summed in their own type before the sum moves to f64.
const BLOCK: usize = 1024;

/// Independent sums, so that additions need not wait for each other.
const LANES: usize = 16;

/// `sum of term(x)`: short sums in the type itself, their total in f64.
#[inline(always)]
pub fn sum_of<T: Number>(x: &[T], term: impl Fn(T) -> T) -> f64 {
    let mut total = 0.0;
    for block in x.chunks(BLOCK) {
        let mut lanes = [T::default(); LANES];
        let chunks = block.chunks_exact(LANES);
        let rest = chunks.remainder().iter().map(|&v| term(v).wide()).sum::<f64>();
        for chunk in chunks {
            lanes.iter_mut().zip(chunk).for_each(|(lane, &v)| *lane += term(v));
        }
        total += lanes.iter().map(|lane| lane.wide()).sum::<f64>() + rest;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_length() {
        for count in [0usize, 1, 15, 16, 1023, 1024, 5000] {
            let x: Vec<f32> = (0..count).map(|i| (i % 7) as f32).collect();
            let expected: f64 = x.iter().map(|&v| f64::from(v)).sum();
            assert_eq!(sum_of(&x, |v| v), expected);
            assert_eq!(sum_of(&x, |v| v + v), 2.0 * expected);
        }
    }
}
