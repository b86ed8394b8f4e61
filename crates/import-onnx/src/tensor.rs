//! Tensors of the wire layout to host tensors, without copying where the layout allows it.

use bytes::Bytes;
use sinter_base::shape::element_count;
use sinter_base::{DataType, Tensor};

use crate::external::ExternalData;
use crate::proto::tensor_proto::DataLocation;
use crate::proto::{SparseTensorProto, TensorProto};
use crate::types::data_type;

/// The host tensor of a wire tensor.
///
/// # Errors
/// The reason as text: a type that is not carried, sizes that overflow, data that does not match.
pub fn to_tensor(proto: &TensorProto, external: &mut ExternalData) -> Result<Tensor, String> {
    let data_type = data_type(proto.data_type())?;
    let sizes = sizes_of(&proto.dims)?;
    let count = element_count(&sizes).ok_or_else(|| format!("sizes {sizes:?} have too many elements"))?;
    if data_type == DataType::String {
        // The count is the message's own, so that a size field alone allocates nothing.
        let strings: Result<Vec<String>, String> = proto
            .string_data
            .iter()
            .map(|s| String::from_utf8(s.to_vec()).map_err(|_| "a string element is not UTF-8".to_owned()))
            .collect();
        return Tensor::from_strings(&sizes, strings?).map_err(|e| e.to_string());
    }
    let expected = data_type.bytes_for(count).ok_or_else(|| format!("sizes {sizes:?} have too many elements"))?;
    let bytes = if proto.data_location() == DataLocation::External {
        external.bytes_of(proto, expected)?
    } else if let Some(raw) = &proto.raw_data {
        raw.clone()
    } else {
        typed_bytes(proto, data_type)?
    };
    if cfg!(target_endian = "big") {
        return Err("tensors are little-endian, this machine is not".to_owned());
    }
    Tensor::from_bytes(data_type, &sizes, bytes).map_err(|e| e.to_string())
}

/// Elements in the typed fields; which field holds which type is fixed by the wire layout.
fn typed_bytes(proto: &TensorProto, data_type: DataType) -> Result<Bytes, String> {
    use DataType as T;
    let narrow = |width: usize| -> Bytes {
        proto.int32_data.iter().flat_map(|v| v.to_le_bytes().into_iter().take(width)).collect()
    };
    Ok(match data_type {
        T::F32 => proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        T::F64 => proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        T::I64 => proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        T::U64 => proto.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        T::U32 => {
            let narrow = |v: &u64| u32::try_from(*v).map_err(|_| format!("element {v} is no u32"));
            let words: Result<Vec<u32>, String> = proto.uint64_data.iter().map(narrow).collect();
            words?.iter().flat_map(|v| v.to_le_bytes()).collect()
        }
        T::I32 => narrow(4),
        T::I16 | T::U16 | T::F16 | T::Bf16 => narrow(2),
        T::String => Bytes::new(),
        // Packed types hold one byte, several elements, per entry.
        _ => narrow(1),
    })
}

fn sizes_of(dims: &[i64]) -> Result<Vec<usize>, String> {
    dims.iter().map(|&d| usize::try_from(d).map_err(|_| format!("a tensor has the size {d}"))).collect()
}

/// The dense tensor of a sparse one (coordinate list, linear or by axis), taken from `left`: the bytes that such tensors
/// may still take together. A few bytes of a file describe a tensor of any size.
///
/// # Errors
/// The reason as text; a dense size beyond `left` is refused before it is allocated.
pub fn sparse_to_tensor(
    proto: &SparseTensorProto,
    external: &mut ExternalData,
    left: &mut usize,
) -> Result<Tensor, String> {
    let values = to_tensor(proto.values.as_ref().ok_or("a sparse tensor has no values")?, external)?;
    let indices = to_tensor(proto.indices.as_ref().ok_or("a sparse tensor has no indices")?, external)?;
    let sizes = sizes_of(&proto.dims)?;
    let data_type = values.data_type();
    if data_type == DataType::String {
        return Err("a sparse tensor of strings is not supported".to_owned());
    }
    let (count, bytes) = element_count(&sizes)
        .and_then(|count| Some((count, data_type.bytes_for(count)?)))
        .ok_or_else(|| format!("a sparse tensor of sizes {sizes:?} has too many elements"))?;
    let after = left.checked_sub(bytes).ok_or_else(|| {
        format!("a sparse tensor of sizes {sizes:?} takes {bytes} bytes when it is dense, {left} may be taken")
    })?;
    let places = places(&indices, values.count(), &sizes, count)?;
    let mut dense: Vec<u8> = Vec::new();
    dense
        .try_reserve_exact(bytes)
        .map_err(|_| format!("there is no memory for the {bytes} bytes of a sparse tensor of sizes {sizes:?}"))?;
    *left = after;
    dense.resize(bytes, 0);
    // Elements below eight bits share bytes, the first in the lowest bits.
    let (width, shared) = (data_type.bits().div_ceil(8), 8 / data_type.bits().min(8));
    let single = if data_type.is_packed() { values.codes() } else { values.bytes().into() };
    for (element, place) in single.chunks(width).zip(places) {
        let Some(slot) = dense.get_mut((place / shared).saturating_mul(width)..).and_then(|d| d.get_mut(..width))
        else {
            continue;
        };
        match (slot, element) {
            ([byte], [code]) if shared > 1 => {
                let shift = place % shared * data_type.bits();
                let own = u8::MAX >> (8 - data_type.bits()) << shift;
                *byte = *byte & !own | code << shift;
            }
            (slot, element) => slot.copy_from_slice(element),
        }
    }
    Tensor::from_bytes(data_type, &sizes, dense.into()).map_err(|e| e.to_string())
}

/// The flat positions of a sparse tensor's entries.
fn places(indices: &Tensor, entries: usize, sizes: &[usize], count: usize) -> Result<Vec<usize>, String> {
    let numbers = indices.to_i64();
    let by_axis = indices.rank() == 2;
    let per_entry = if by_axis { sizes.len() } else { 1 };
    if numbers.len() != entries.saturating_mul(per_entry) {
        return Err(format!("{} indices for {entries} values of a sparse tensor", numbers.len()));
    }
    let strides = sinter_base::shape::strides(sizes);
    let position = |coordinate: &[i64]| -> Option<usize> {
        if !by_axis {
            return coordinate.first().and_then(|&v| usize::try_from(v).ok());
        }
        coordinate.iter().zip(sizes.iter().zip(&strides)).try_fold(0usize, |at, (&i, (&size, &stride))| {
            let i = usize::try_from(i).ok().filter(|&i| i < size)?;
            at.checked_add(i.checked_mul(stride)?)
        })
    };
    let checked = numbers
        .chunks(per_entry.max(1))
        .map(|c| position(c).filter(|&p| p < count).ok_or_else(|| format!("index {c:?} lies outside {sizes:?}")));
    checked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sparse tensor of these sizes, type and entries.
    fn sparse(dims: &[i64], data_type: DataType, entries: &[(i64, f64)]) -> SparseTensorProto {
        let values: Vec<f64> = entries.iter().map(|entry| entry.1).collect();
        let values = Tensor::from_floats(data_type, &[values.len()], &values).unwrap();
        let code = match data_type {
            DataType::F32 => 1,
            DataType::U8 => 2,
            DataType::U4 => 21,
            other => panic!("{other}"),
        };
        let tensor = |code: i32, raw: Bytes| TensorProto {
            dims: vec![i64::try_from(entries.len()).unwrap()],
            data_type: Some(code),
            raw_data: Some(raw),
            ..TensorProto::default()
        };
        let indices: Bytes = entries.iter().flat_map(|entry| entry.0.to_le_bytes()).collect();
        SparseTensorProto {
            values: Some(tensor(code, values.shared_bytes())),
            indices: Some(tensor(7, indices)),
            dims: dims.to_vec(),
        }
    }

    fn dense(proto: &SparseTensorProto, left: &mut usize) -> Result<Tensor, String> {
        sparse_to_tensor(proto, &mut ExternalData::beneath(None), left)
    }

    #[test]
    fn entries_go_to_their_places_and_the_rest_is_zero() {
        let entries = [(1, 3.0), (4, 5.0), (5, 7.0)];
        for (data_type, bytes) in [(DataType::F32, 24), (DataType::U8, 6), (DataType::U4, 3)] {
            let mut left = 100;
            let tensor = dense(&sparse(&[2, 3], data_type, &entries), &mut left).unwrap();
            assert_eq!((tensor.data_type(), tensor.sizes()), (data_type, &[2, 3][..]));
            assert_eq!(tensor.to_floats(), [0.0, 3.0, 0.0, 0.0, 5.0, 7.0]);
            assert_eq!(left, 100 - bytes);
        }
        assert!(dense(&sparse(&[2, 3], DataType::F32, &[(6, 1.0)]), &mut 100).is_err());
    }

    #[test]
    fn memory_is_counted_before_it_is_taken() {
        let bytes = sparse(&[4_000_000_000], DataType::U8, &[(0, 1.0)]);
        let text = dense(&bytes, &mut 3_999_999_999).unwrap_err();
        assert!(text.contains("takes 4000000000 bytes") && text.contains("3999999999 may be taken"), "{text}");
        // More than any machine has: the system refuses, the program goes on.
        let most = sparse(&[1 << 62], DataType::U8, &[(0, 1.0)]);
        let mut left = usize::MAX;
        assert!(dense(&most, &mut left).unwrap_err().contains("there is no memory"));
        // All of them together are bounded.
        let (mut left, small) = (100, sparse(&[60], DataType::U8, &[(0, 1.0)]));
        assert!(dense(&small, &mut left).is_ok() && dense(&small, &mut left).is_err());
    }
}
