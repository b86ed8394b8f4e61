//! Shapes: symbolic ([`Shape`]) at build time, concrete ([`Sizes`]) at run time, and the index arithmetic over them.

use std::fmt;

use smallvec::SmallVec;

use crate::dim::{Dim, Fold, Truth};

/// Concrete sizes of a tensor, outermost first; empty for a scalar.
pub type Sizes = SmallVec<[usize; 6]>;

/// A symbolic shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Not even the number of dimensions is known.
    Unranked,
    /// One expression per dimension.
    Ranked(Vec<Dim>),
}

/// The rank of a shape is needed and unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of dimensions is not known")]
pub struct Unranked;

impl Shape {
    /// A shape with these dimensions.
    pub fn of<D: Into<Dim>>(dims: impl IntoIterator<Item = D>) -> Self {
        Shape::Ranked(dims.into_iter().map(Into::into).collect())
    }

    /// The shape of a scalar.
    pub const fn scalar() -> Self {
        Shape::Ranked(Vec::new())
    }

    /// The dimensions.
    ///
    /// # Errors
    /// [`Unranked`] when even their number is unknown.
    pub fn dims(&self) -> Result<&[Dim], Unranked> {
        match self {
            Shape::Unranked => Err(Unranked),
            Shape::Ranked(dims) => Ok(dims),
        }
    }

    /// Number of dimensions, when known.
    pub fn rank(&self) -> Option<usize> {
        self.dims().ok().map(<[Dim]>::len)
    }

    /// The concrete sizes, when no dimension is symbolic and none is negative.
    pub fn sizes(&self) -> Option<Sizes> {
        self.dims().ok()?.iter().map(|d| d.as_constant().and_then(|v| usize::try_from(v).ok())).collect()
    }

    /// Number of elements as an expression.
    ///
    /// # Errors
    /// [`Unranked`] when the rank is unknown.
    pub fn count(&self) -> Result<Dim, Unranked> {
        Ok(product(self.dims()?))
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        Shape::of(sizes.iter().copied())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Unranked => f.write_str("[..]"),
            Shape::Ranked(dims) => {
                f.write_str("[")?;
                for (i, dim) in dims.iter().enumerate() {
                    write!(f, "{}{dim}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Product of dimensions; 1 for none.
pub fn product(dims: &[Dim]) -> Dim {
    dims.iter().fold(Dim::constant(1), |total, dim| total.mul(dim))
}

/// Two dimensions that cannot be broadcast together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sizes {left} and {right} cannot be broadcast together (axis {axis} counted from the last)")]
pub struct BroadcastError {
    /// Axis, counted from the last dimension.
    pub axis: usize,
    /// One size.
    pub left: Dim,
    /// The other size.
    pub right: Dim,
}

/// Multidirectional broadcast of symbolic shapes (ONNX "Broadcasting in ONNX", as in NumPy).
///
/// An unknown size against a size known to exceed 1 gives the latter; a size against itself cut at a bound stays whole,
/// since they fit only where nothing is cut; two other unknown sizes take their maximum, or 0 where one is 0. Each is
/// right wherever the broadcast is legal; of the model's own names, which have no elements in rare cases only, 0 against
/// 1 counts as illegal, for the sake of short expressions.
///
/// # Errors
/// When two sizes differ for all values and neither is 1.
pub fn broadcast_dims(shapes: &[&[Dim]]) -> Result<Vec<Dim>, BroadcastError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let one = Dim::constant(1);
    let mut result = vec![one.clone(); rank];
    for axis in 0..rank {
        for dim in shapes.iter().filter_map(|s| s.len().checked_sub(axis + 1).map(|i| &s[i])) {
            let current = &mut result[rank - 1 - axis];
            if *current == one {
                *current = dim.clone();
            } else if *dim == one || dim == current {
                continue;
            } else {
                let may_be_one = |d: &Dim| d.equals(&one) != Truth::No;
                *current = match (may_be_one(current), may_be_one(dim)) {
                    (false, false) if current.equals(dim) == Truth::No => {
                        return Err(BroadcastError { axis, left: current.clone(), right: dim.clone() });
                    }
                    (false, _) => current.clone(),
                    (true, false) => dim.clone(),
                    (true, true) if dim.is_cut_of(current) => current.clone(),
                    (true, true) if current.is_cut_of(dim) => dim.clone(),
                    (true, true) if is_largest_name(current) && is_largest_name(dim) => current.maximum(dim),
                    (true, true) => current.maximum(dim).mul(&current.minimum(dim).minimum(&one)),
                };
            }
        }
    }
    Ok(result)
}

/// Is it a size that the model names, or the largest of some? Names that inference made start with `?`.
fn is_largest_name(dim: &Dim) -> bool {
    dim.fold(&mut |part| match part {
        Fold::Symbol(name) => !name.starts_with('?'),
        Fold::Maximum(a, b) => a && b,
        _ => false,
    })
}

/// Multidirectional broadcast of concrete shapes; `None` when they do not fit.
pub fn broadcast_sizes(shapes: &[&[usize]]) -> Option<Sizes> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut result: Sizes = smallvec::smallvec![1; rank];
    for shape in shapes {
        for (target, &size) in result[rank - shape.len()..].iter_mut().zip(*shape) {
            if *target == 1 {
                *target = size;
            } else if size != 1 && size != *target {
                return None;
            }
        }
    }
    Some(result)
}

/// Number of elements; `None` on overflow.
pub fn element_count(sizes: &[usize]) -> Option<usize> {
    // A zero anywhere makes the count zero, whatever the other sizes multiply to.
    if sizes.contains(&0) {
        return Some(0);
    }
    sizes.iter().try_fold(1usize, |total, &size| total.checked_mul(size))
}

/// Row-major strides in elements.
pub fn strides(sizes: &[usize]) -> Sizes {
    let mut strides: Sizes = smallvec::smallvec![1; sizes.len()];
    for axis in (1..sizes.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(sizes[axis]);
    }
    strides
}

/// Strides of a tensor of `from` sizes read as if it had the broadcast sizes `to`: 0 along repeated axes.
///
/// # Panics
/// When `from` has more dimensions than `to`.
pub fn broadcast_strides(from: &[usize], to: &[usize]) -> Sizes {
    let lead = to.len() - from.len();
    let own = strides(from);
    (0..to.len()).map(|axis| if axis < lead || from[axis - lead] == 1 { 0 } else { own[axis - lead] }).collect()
}

/// Flat position of an index vector.
pub fn ravel(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}

/// Index vector of a flat position.
pub fn unravel(mut flat: usize, sizes: &[usize]) -> Sizes {
    let mut index: Sizes = smallvec::smallvec![0; sizes.len()];
    for axis in (0..sizes.len()).rev() {
        index[axis] = flat % sizes[axis].max(1);
        flat /= sizes[axis].max(1);
    }
    index
}

/// Visits every index vector of `sizes` in row-major order.
pub fn for_each_index(sizes: &[usize], mut visit: impl FnMut(&[usize])) {
    if sizes.contains(&0) {
        return;
    }
    let mut index: Sizes = smallvec::smallvec![0; sizes.len()];
    loop {
        visit(&index);
        let mut axis = sizes.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < sizes[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_broadcast_prefers_what_is_known() {
        let (n, three, one) = (Dim::symbol("N"), Dim::constant(3), Dim::constant(1));
        let a = [n.clone(), one.clone()];
        assert_eq!(broadcast_dims(&[&a, std::slice::from_ref(&three)]).unwrap(), [n.clone(), three.clone()]);
        assert_eq!(
            broadcast_dims(&[std::slice::from_ref(&n), std::slice::from_ref(&three)]).unwrap(),
            std::slice::from_ref(&three)
        );
        assert!(broadcast_dims(&[&[Dim::constant(2)], &[three]]).is_err());
    }

    #[test]
    fn symbolic_broadcast_is_right_for_all_sizes() {
        let (n, m) = (Dim::symbol("N"), Dim::symbol("M"));
        let cut = |dim: &Dim| dim.sub(&9i64.into()).maximum(&0i64.into());
        let told = Dim::symbol("?M");
        let pairs = [
            [n.clone(), m.clone()],
            [n.maximum(&m), n.clone()],
            [n.clone(), told],
            [cut(&n), m.clone()],
            [cut(&n), cut(&m)],
        ];
        for (number, [a, b]) in pairs.iter().enumerate() {
            let result = broadcast_dims(&[std::slice::from_ref(a), std::slice::from_ref(b)]).unwrap().swap_remove(0);
            for (n, m) in (0..16).flat_map(|n| (0..16).map(move |m| (n, m))) {
                let of = |dim: &Dim| dim.evaluate(&|name| Some(if name == "N" { n } else { m })).unwrap();
                let sizes = [of(a), of(b)].map(|size| usize::try_from(size).unwrap());
                let expected = broadcast_sizes(&[&sizes[..1], &sizes[1..]]).map(|sizes| sizes[0]);
                let is_rare = number < 2 && n.min(m) == 0;
                if let Some(expected) = expected.filter(|_| !is_rare) {
                    assert_eq!(usize::try_from(of(&result)), Ok(expected), "{a} with {b} at {n} and {m}");
                }
            }
        }
    }

    #[test]
    fn indices_run_in_row_major_order() {
        let mut seen = Vec::new();
        for_each_index(&[2, 3], |i| seen.push((i[0], i[1])));
        assert_eq!(seen, [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]);
        for_each_index(&[2, 0], |_| panic!("no element"));
        let mut scalars = 0;
        for_each_index(&[], |_| scalars += 1);
        assert_eq!(scalars, 1);
        assert_eq!(unravel(5, &[2, 3]).as_slice(), [1, 2]);
    }

    #[test]
    fn counts_do_not_overflow() {
        assert_eq!(element_count(&[usize::MAX, 2]), None);
        assert_eq!(element_count(&[usize::MAX, 2, 0]), Some(0));
    }
}
