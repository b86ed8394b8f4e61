//! Copies between two strided views, whose elements may be of any type.

use sinter_backend::KernelError;
use sinter_base::view::element_bytes;
use smallvec::{SmallVec, smallvec};

use crate::kernel::{Contraction, Geometry, Launch, Source, Tensor};
use crate::space::{Axes, RANK, Space, words};
use crate::types::moved;

/// One copy: elements of a space at places of the source and of the target, which count as if both were contiguous.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Sizes of the axes.
    pub(crate) sizes: Axes,
    /// Elements from one position to the next, by axis of the source, and of the target.
    pub(crate) strides: [Axes; 2],
    /// Place of the first element in the source, and in the target.
    pub(crate) first: [i64; 2],
}

/// The functions of `copy.cu`.
pub(crate) const ENTRIES: &[&str] = &["vectors", "elements", "transposed", "large"];
const VECTORS: usize = 0;
const ELEMENTS: usize = 1;
const TRANSPOSED: usize = 2;
const LARGE: usize = 3;

/// Bytes of a vector.
const VECTOR_BYTES: usize = 16;
/// Elements of a tile along both axes.
const TILE: i64 = 32;
/// The shortest axis that is worth tiles.
const WORTH_TILES: i64 = 8;
/// Places that 32-bit indices represent, with room for the distance of a grid.
const SMALL: usize = 1 << 30;

/// The text for elements of this many bytes.
pub(crate) fn source(bytes: usize) -> Source {
    let generated =
        format!("typedef {} T;\n#define WIDTH {}\n", moved(bytes).unwrap_or("void"), VECTOR_BYTES / bytes.max(1));
    Source { generated, text: include_str!("copy.cu"), contraction: Contraction::Off }
}

/// Do both strided views take vectors of this many elements?
fn takes_vectors(space: &Space, first: [i64; 2], ends: [&Tensor<'_>; 2], width: i64) -> bool {
    let divides = |number: i64| number % width == 0;
    let fits = |(end, (strides, first)): (&Tensor<'_>, (&Axes, i64))| {
        let rows = |number: usize| i64::try_from(number).is_ok_and(divides);
        end.address.is_multiple_of(VECTOR_BYTES as u64)
            && end.rows.is_none_or(|r| rows(r.inner) && rows(r.step))
            && divides(first)
            && strides.last() == Some(&1)
            && strides.iter().rev().skip(1).all(|stride| divides(*stride))
    };
    divides(space.inner()) && ends.into_iter().zip(space.strides.iter().zip(first)).all(fits)
}

/// Puts the axis along which the source is consecutive before the innermost one, along which the target is; false where
/// there are no two such axes.
fn transpose(space: &mut Space) -> bool {
    let last = space.sizes.len() - 1;
    let is_long = |space: &Space, axis: usize| space.sizes[axis] >= WORTH_TILES;
    let find =
        |space: &Space, end: usize| (0..=last).find(|axis| space.strides[end][*axis] == 1 && is_long(space, *axis));
    let (Some(from), Some(to)) = (find(space, 0), find(space, 1)) else { return false };
    if from == to || last > RANK {
        return false;
    }
    let mut order: SmallVec<[usize; RANK]> = (0..=last).filter(|axis| *axis != from && *axis != to).collect();
    order.extend([from, to]);
    let pick = |axes: &Axes| order.iter().map(|axis| axes[*axis]).collect::<Axes>();
    *space = Space { sizes: pick(&space.sizes), strides: space.strides.iter().map(pick).collect() };
    true
}

/// Launches a copy.
///
/// # Errors
/// When it has too many axes, and errors of earlier work.
pub(crate) fn run(launch: &mut Launch<'_>, copy: Copy, from: &Tensor<'_>, to: &Tensor<'_>) -> Result<(), KernelError> {
    let count: i64 = copy.sizes.iter().product();
    if count == 0 {
        return Ok(());
    }
    let bytes = element_bytes(to.data_type);
    if element_bytes(from.data_type) != bytes {
        return Err(KernelError::Recipe(format!("{} is copied to {}", from.data_type, to.data_type)));
    }
    let sizes = copy.sizes.clone();
    let space = Space { sizes: copy.sizes, strides: smallvec![copy.strides[0].clone(), copy.strides[1].clone()] };
    let too_many = || KernelError::Recipe(format!("a copy of {sizes:?} has too many axes"));
    let mut space = space.merged().ok_or_else(too_many)?;
    let span = |end: &Tensor<'_>| end.rows.map_or(Some(end.count()), |rows| rows.span(end.count()));
    let is_small = [from, to].into_iter().all(|end| span(end).is_some_and(|span| span < SMALL));
    let width = (VECTOR_BYTES / bytes.max(1)) as i64;
    let work = |count: i64| usize::try_from(count).unwrap_or(usize::MAX);
    let mut geometry = launch.spread(work(count));
    let entry = if !is_small {
        LARGE
    } else if takes_vectors(&space, copy.first, [from, to], width) {
        geometry = launch.spread(work(count / width));
        VECTORS
    } else if space.strides[0].last() != Some(&1) && space.sizes.len() > 1 && transpose(&mut space) {
        let [.., a, b] = space.sizes[..] else { return Err(too_many()) };
        let tiles = count / a / b * ((a + TILE - 1) / TILE) * ((b + TILE - 1) / TILE);
        let blocks = work(tiles).min(launch.units.max(1) * 32);
        geometry = Geometry { grid: [u32::try_from(blocks).unwrap_or(u32::MAX), 1, 1], ..geometry };
        TRANSPOSED
    } else {
        ELEMENTS
    };
    let mut parameters: SmallVec<[u64; 40]> = smallvec![count.cast_unsigned(), space.sizes.len() as u64];
    parameters.extend(words(&space.sizes));
    for (end, (strides, first)) in [from, to].into_iter().zip(space.strides.iter().zip(copy.first)) {
        parameters.push(end.address);
        parameters.push(end.rows.map_or(0, |rows| rows.inner as u64));
        parameters.push(end.rows.map_or(0, |rows| rows.step as u64));
        parameters.push(first.cast_unsigned());
        parameters.extend(words(strides));
    }
    launch.sink.run(entry, geometry, &parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_along_both_consecutive_axes() {
        let axes = |list: &[i64]| Axes::from_slice(list);
        // [2, 30, 40] to [2, 40, 30], with the target's axes in order.
        let strides = smallvec![axes(&[1200, 1, 40]), axes(&[1200, 30, 1])];
        let mut space = Space { sizes: axes(&[2, 40, 30]), strides };
        assert!(transpose(&mut space));
        assert_eq!((space.sizes, space.strides[0].clone()), (axes(&[2, 40, 30]), axes(&[1200, 1, 40])));
        // The consecutive axis of the source is the outermost one.
        let strides = smallvec![axes(&[1, 80, 40]), axes(&[60, 30, 1])];
        let mut space = Space { sizes: axes(&[40, 2, 30]), strides };
        assert!(transpose(&mut space));
        assert_eq!((space.sizes, space.strides[1].clone()), (axes(&[2, 40, 30]), axes(&[30, 60, 1])));
        let strides = smallvec![axes(&[30, 2]), axes(&[30, 1])];
        assert!(!transpose(&mut Space { sizes: axes(&[40, 15]), strides }), "no axis is consecutive in the source");
    }
}
