//! Arguments of kernels: axes and indices that they read before they compute, and the memory of results.

use sinter_backend::KernelError;
use sinter_base::{DataType, Sizes, View, ViewMut};

use crate::elements::{Elements, Numbers, load};
use crate::launch::{Output, Scratch};

/// Converts any error to an error about data.
pub fn data_error(reason: impl std::fmt::Display) -> KernelError {
    KernelError::Data(reason.to_string())
}

/// Returns an error about the data from a kernel.
#[macro_export]
macro_rules! refuse_data {
    ($($reason:tt)*) => {
        return Err(sinter_backend::KernelError::Data(format!($($reason)*)))
    };
}

/// The elements of axes, sizes, indices or positions; unsigned 64-bit numbers beyond i64 saturate.
///
/// # Errors
/// When they are no integers.
pub fn integers<'a>(view: View<'a>, scratch: &'a Scratch) -> Result<Elements<'a, i64>, KernelError> {
    match view.data_type() {
        DataType::I64 => Ok(Elements::Borrowed(view.elements())),
        DataType::U64 => {
            let saturated = view.elements::<u64>().iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX));
            Ok(Elements::Converted(scratch.list(saturated)))
        }
        other => match load(view, scratch) {
            Numbers::Ints(values) => Ok(Elements::Converted(values)),
            Numbers::Floats(_) => refuse_data!("axes, sizes and indices must be integers, found {other}"),
        },
    }
}

/// The only element of an operand.
///
/// # Errors
/// When it has another number of elements or no integer type.
pub fn single_integer(view: View<'_>, scratch: &Scratch) -> Result<i64, KernelError> {
    match integers(view, scratch)?[..] {
        [value] => Ok(value),
        _ => refuse_data!("one number is needed, found sizes {:?}", view.sizes()),
    }
}

/// An axis, negative from the end, as a position in `0..rank`.
///
/// # Errors
/// When there is no such axis.
pub fn axis_in(axis: i64, rank: usize) -> Result<usize, KernelError> {
    sinter_ops::axes::axis_of(axis, rank).map_err(data_error)
}

/// Axes, negative from the end, as different positions in `0..rank`.
///
/// # Errors
/// When one does not exist or comes twice.
pub fn axes_in(axes: &[i64], rank: usize) -> Result<Sizes, KernelError> {
    sinter_ops::axes::distinct_axes(axes, rank).map_err(data_error)
}

/// Memory for a result of these sizes, which may be static or dynamic.
///
/// # Errors
/// When the sizes are too large, or other than the ones known before.
pub fn result<'t>(target: &'t mut Output<'_>, sizes: &[usize]) -> Result<ViewMut<'t>, KernelError> {
    match target {
        Output::Dynamic(target) => target.allocate(sizes),
        Output::View(view) => {
            if view.sizes() != sizes {
                refuse_data!("a result of sizes {:?} turned out to have sizes {sizes:?}", view.sizes());
            }
            Ok(view.reborrow())
        }
    }
}

/// A tensor seen along one axis: `[outer, length, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Elements before the axis.
    pub outer: usize,
    /// Size of the axis.
    pub length: usize,
    /// Elements behind the axis.
    pub inner: usize,
}

impl Lines {
    /// The lines along `axis`.
    ///
    /// # Panics
    /// When there is no such axis: an error of the kernel, never of data.
    pub fn along(sizes: &[usize], axis: usize) -> Self {
        // Only a tensor without elements can have sizes whose product saturates.
        let count = |sizes: &[usize]| sizes.iter().fold(1usize, |all, &size| all.saturating_mul(size));
        Self { outer: count(&sizes[..axis]), length: sizes[axis], inner: count(&sizes[axis + 1..]) }
    }

    /// Elements of one outer position.
    pub fn block(&self) -> usize {
        self.length.saturating_mul(self.inner)
    }
}
