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

/// The dense tensor of a sparse one (coordinate list, linear or by axis).
///
/// # Errors
/// The reason as text; a dense size beyond `max_bytes` is refused before it is allocated.
pub fn sparse_to_tensor(
    proto: &SparseTensorProto,
    external: &mut ExternalData,
    max_bytes: usize,
) -> Result<Tensor, String> {
    let values = to_tensor(proto.values.as_ref().ok_or("a sparse tensor has no values")?, external)?;
    let indices = to_tensor(proto.indices.as_ref().ok_or("a sparse tensor has no indices")?, external)?;
    let sizes = sizes_of(&proto.dims)?;
    let count = element_count(&sizes)
        .filter(|&c| values.data_type().bytes_for(c).is_some_and(|b| b <= max_bytes))
        .ok_or_else(|| format!("a sparse tensor of sizes {sizes:?} is too large"))?;
    let entries = values.count();
    let flat: Vec<usize> = {
        let numbers = indices.to_i64();
        let per_entry = if indices.rank() == 2 { sizes.len() } else { 1 };
        if numbers.len() != entries.saturating_mul(per_entry) {
            return Err(format!("{} indices for {entries} values of a sparse tensor", numbers.len()));
        }
        let strides = sinter_base::shape::strides(&sizes);
        let position = |coordinate: &[i64]| -> Option<usize> {
            if per_entry == 1 && indices.rank() != 2 {
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
        checked.collect::<Result<_, _>>()?
    };
    let mut source: Vec<Option<usize>> = vec![None; count];
    for (entry, at) in flat.into_iter().enumerate() {
        if let Some(slot) = source.get_mut(at) {
            *slot = Some(entry);
        }
    }
    values.rearranged(&sizes, |i| source.get(i).copied().flatten()).map_err(|e| e.to_string())
}
