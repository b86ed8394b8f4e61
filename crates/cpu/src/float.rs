//! f32 and f64 under one name, for kernels written once: f32 for f32 operands, f64 for all other float types.

use std::borrow::Cow;
use std::ops::{Add, Mul, Sub};

use sinter_backend::{KernelError, Workers};
use sinter_base::{View, ViewMut};

use crate::elements::{Numbers, load, store};
use crate::matmul::gemm::{Product, Strided};
use crate::pointwise::functions;
use crate::row_sums::row_sums;
use crate::tier::Tier;

/// A type that kernels compute in.
pub trait Float:
    Copy + Default + PartialOrd + Send + Sync + Add<Output = Self> + Mul<Output = Self> + Sub<Output = Self>
{
    /// The nearest number of this type.
    fn of(value: f64) -> Self;
    /// The same number.
    fn wide(self) -> f64;
    /// The elements of a view.
    ///
    /// # Errors
    /// When they are no floats.
    fn read(view: View<'_>) -> Result<Cow<'_, [Self]>, KernelError>;
    /// Writes all elements of a view.
    fn write(values: &[Self], target: &mut ViewMut<'_>);
    /// `a b^T` for a [rows, inner] and b [columns, inner].
    fn product(a: &[Self], b: &[Self], inner: usize, workers: &dyn Workers) -> Vec<Self>;
    /// `result[i]` = the sum over j of `matrix[i, j] vector[j]`.
    fn row_sums(matrix: &[Self], vector: &[Self], result: &mut [Self]);
    /// The hyperbolic tangent, to the precision of the type.
    fn tanh(self) -> Self;
}

impl Float for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }

    fn wide(self) -> f64 {
        f64::from(self)
    }

    fn read(view: View<'_>) -> Result<Cow<'_, [Self]>, KernelError> {
        Ok(Cow::Borrowed(view.elements::<f32>()))
    }

    fn write(values: &[Self], target: &mut ViewMut<'_>) {
        target.elements::<f32>().copy_from_slice(values);
    }

    fn product(a: &[Self], b: &[Self], inner: usize, workers: &dyn Workers) -> Vec<Self> {
        let (rows, columns) = (a.len() / inner.max(1), b.len() / inner.max(1));
        let mut c = vec![0.0; rows * columns];
        let (a, b) = (&Strided { data: a, lane: inner, inner: 1 }, &Strided { data: b, lane: inner, inner: 1 });
        Product { rows, columns, inner, a, b, row_bias: None }.compute(Tier::in_use(), workers, &mut c);
        c
    }

    fn row_sums(matrix: &[Self], vector: &[Self], result: &mut [Self]) {
        row_sums(Tier::in_use(), matrix, vector, result);
    }

    fn tanh(self) -> Self {
        functions::tanh(self)
    }
}

impl Float for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn wide(self) -> f64 {
        self
    }

    fn read(view: View<'_>) -> Result<Cow<'_, [Self]>, KernelError> {
        match load(view) {
            Numbers::Floats(values) => Ok(Cow::Owned(values)),
            Numbers::Ints(_) => Err(KernelError::Data(format!("{} is no float type", view.data_type()))),
        }
    }

    fn write(values: &[Self], target: &mut ViewMut<'_>) {
        store(&Numbers::Floats(values.to_vec()), target);
    }

    fn product(a: &[Self], b: &[Self], inner: usize, _workers: &dyn Workers) -> Vec<Self> {
        let inner = inner.max(1);
        a.chunks_exact(inner).flat_map(|row| b.chunks_exact(inner).map(move |column| dot(row, column))).collect()
    }

    fn row_sums(matrix: &[Self], vector: &[Self], result: &mut [Self]) {
        for (row, result) in matrix.chunks_exact(vector.len().max(1)).zip(result) {
            *result = dot(row, vector);
        }
    }

    fn tanh(self) -> Self {
        f64::tanh(self)
    }
}

/// The sum of the products, in eight running sums that fill a vector register.
pub fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a.remainder().iter().zip(b.remainder()).fold(T::default(), |sum, (x, y)| sum + *x * *y);
    for (x, y) in a.zip(b) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum = *sum + *x * *y;
        }
    }
    sums.into_iter().fold(rest, |total, sum| total + sum)
}
