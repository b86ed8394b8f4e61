//! Known contents under data movement: the build-time twin of `Tensor::rearranged`.

use sinter_base::types::MAX_KNOWN_ELEMENTS;
use sinter_base::{Dim, KnownValue, Shape, TensorType};

/// The type of a result of these dimensions whose element `i` is the element of `data` at `source(i)`. Contents are
/// known where those of `data` are, the result is small, and its sizes have no symbols.
pub fn moved(
    data: &TensorType,
    dims: Vec<Dim>,
    mut source: impl FnMut(&[usize], usize) -> Option<usize>,
) -> TensorType {
    let ty = TensorType::ranked(data.data_type, dims);
    let (Some(value), Some(sizes)) = (data.value.as_deref(), ty.shape.sizes()) else { return ty };
    let count = sinter_base::shape::element_count(&sizes).unwrap_or(usize::MAX);
    if count > MAX_KNOWN_ELEMENTS {
        return ty;
    }
    let positions: Option<Vec<usize>> = (0..count).map(|i| source(&sizes, i)).collect();
    let Some(positions) = positions else { return ty };
    let picked = match value {
        KnownValue::Ints(values) => pick(values, &positions).map(KnownValue::Ints),
        KnownValue::Floats(values) => pick(values, &positions).map(KnownValue::Floats),
        KnownValue::Strings(values) => pick(values, &positions).map(KnownValue::Strings),
    };
    match picked {
        Some(picked) => ty.with_value(picked),
        None => ty,
    }
}

fn pick<T: Clone>(values: &[T], positions: &[usize]) -> Option<Vec<T>> {
    positions.iter().map(|&p| values.get(p).cloned()).collect()
}

/// Concrete sizes of a type whose contents are known.
pub fn sizes_of(data: &TensorType) -> Option<sinter_base::Sizes> {
    data.value.as_ref()?;
    match &data.shape {
        Shape::Ranked(_) => data.shape.sizes(),
        Shape::Unranked => None,
    }
}
