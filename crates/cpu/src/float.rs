//! Products and activations of f32 and f64, for kernels written once: f32 for f32 operands, f64 for all other float
//! types.

use sinter_backend::KernelError;
use sinter_base::{View, ViewMut};
use sinter_ops::recurrent::activation::Activation;

use crate::elements::{Elements, Numbers, load, store_real};
use crate::launch::{Scratch, Workers};
use crate::number::Number;
use crate::pointwise::functions;
use crate::product::blocks::Blocks;
use crate::product::epilogue::Epilogue;
use crate::product::panel;
use crate::product::rows::{Matrix, RowProduct};
use crate::product::wide::{self, Order};
use crate::recurrent::activation;
use crate::share::{Cost, share};
use crate::tier::Tier;

/// A type that kernels compute in.
pub trait Float: Number {
    /// The elements of a view.
    ///
    /// # Errors
    /// When they are no floats.
    fn read<'a>(view: View<'a>, scratch: &'a Scratch) -> Result<Elements<'a, Self>, KernelError>;
    /// Writes all elements of a view.
    fn write(values: &[Self], target: &mut ViewMut<'_>);
    /// `y[i] = bias + x[i] W` for `x` of rows of `inner` elements and W in the panels of [`Float::pack`]; one column
    /// per element of the bias.
    fn project(x: &[Self], w: &[Self], inner: usize, bias: &[Self], y: &mut [Self], workers: &dyn Workers);
    /// Elements of a packed matrix of `inner` rows.
    fn packed_len(inner: usize, columns: usize) -> usize;
    /// Packs the transpose of `matrix`, [columns, inner], for [`Float::project`].
    fn pack(matrix: &[Self], inner: usize, target: &mut [Self]);
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// `result = vector M` for M in wide panels; see [`wide`].
    fn times(matrix: &[Self], vector: &[Self], result: &mut [Self], order: Order);
    /// An activation of many values, each limited to `[-clip, clip]` before.
    fn activate(function: Activation, clip: Option<f64>, values: &mut [Self]);
}

impl Float for f32 {
    fn read<'a>(view: View<'a>, _: &'a Scratch) -> Result<Elements<'a, Self>, KernelError> {
        Ok(Elements::Borrowed(view.elements::<f32>()))
    }

    fn write(values: &[Self], target: &mut ViewMut<'_>) {
        target.elements::<f32>().copy_from_slice(values);
    }

    fn project(x: &[Self], w: &[Self], inner: usize, bias: &[Self], y: &mut [Self], workers: &dyn Workers) {
        let columns = bias.len();
        let a = Matrix { data: x, first: 0, rows: y.len() / columns.max(1), inner, step: inner };
        let epilogue = Epilogue { bias: Some(bias), ..Epilogue::NONE };
        let product =
            RowProduct { a: &a, b: w, columns, step: columns, epilogue: &epilogue, blocks: Blocks::default() };
        product.compute(Tier::in_use(), workers, y);
    }

    fn packed_len(inner: usize, columns: usize) -> usize {
        panel::packed_len(inner, columns)
    }

    fn pack(matrix: &[Self], inner: usize, target: &mut [Self]) {
        panel::pack(inner, matrix.len() / inner.max(1), |k| (&matrix[k..], inner), target);
    }

    #[inline(always)]
    fn tanh(self) -> Self {
        functions::tanh(self)
    }

    fn times(matrix: &[Self], vector: &[Self], result: &mut [Self], order: Order) {
        wide::times_on_tier(Tier::in_use(), matrix, vector, result, order);
    }

    fn activate(function: Activation, clip: Option<f64>, values: &mut [Self]) {
        activation::activate_on_tier(Tier::in_use(), function, clip, values);
    }
}

impl Float for f64 {
    fn read<'a>(view: View<'a>, scratch: &'a Scratch) -> Result<Elements<'a, Self>, KernelError> {
        match load(view, scratch) {
            Numbers::Floats(values) => Ok(Elements::Converted(values)),
            Numbers::Ints(_) => Err(KernelError::Data(format!("{} is no float type", view.data_type()))),
        }
    }

    fn write(values: &[Self], target: &mut ViewMut<'_>) {
        store_real(values, target);
    }

    fn project(x: &[Self], w: &[Self], inner: usize, bias: &[Self], y: &mut [Self], workers: &dyn Workers) {
        share(workers, y, bias.len(), Cost::PerElement(inner), |first, rows| {
            for (i, row) in rows.chunks_exact_mut(bias.len().max(1)).enumerate() {
                wide::times(w, &x[(first + i) * inner..][..inner], row, Order::Forward);
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
            }
        });
    }

    fn packed_len(inner: usize, columns: usize) -> usize {
        wide::packed_len(inner, columns)
    }

    fn pack(matrix: &[Self], inner: usize, target: &mut [Self]) {
        wide::pack(matrix, inner, target);
    }

    fn tanh(self) -> Self {
        f64::tanh(self)
    }

    fn times(matrix: &[Self], vector: &[Self], result: &mut [Self], order: Order) {
        wide::times(matrix, vector, result, order);
    }

    fn activate(function: Activation, clip: Option<f64>, values: &mut [Self]) {
        activation::activate(function, clip, values);
    }
}

/// The sum of the products, in eight running sums that fill a vector register.
pub fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a.remainder().iter().zip(b.remainder()).fold(T::default(), |sum, (x, y)| sum + *x * *y);
    for (x, y) in a.zip(b) {
        for (sum, (x, y)) in sums.iter_mut().zip(x.iter().zip(y)) {
            *sum += *x * *y;
        }
    }
    sums.into_iter().fold(rest, |total, sum| total + sum)
}
