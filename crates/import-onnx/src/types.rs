//! Declared types of the wire layout.

use sinter_base::{DataType, Dim, Shape, TensorType, ValueType};

use crate::proto::tensor_shape_proto::dimension;
use crate::proto::{TensorShapeProto, TypeProto, type_proto};

/// Deeper nesting of sequences and optionals than this is refused.
const MAX_DEPTH: usize = 16;

/// The data type of a wire code.
///
/// # Errors
/// The reason as text, for complex and unknown types.
pub fn data_type(code: i32) -> Result<DataType, String> {
    use DataType as T;
    Ok(match code {
        1 => T::F32,
        2 => T::U8,
        3 => T::I8,
        4 => T::U16,
        5 => T::I16,
        6 => T::I32,
        7 => T::I64,
        8 => T::String,
        9 => T::Bool,
        10 => T::F16,
        11 => T::F64,
        12 => T::U32,
        13 => T::U64,
        16 => T::Bf16,
        17 => T::F8E4M3FN,
        18 => T::F8E4M3FNUZ,
        19 => T::F8E5M2,
        20 => T::F8E5M2FNUZ,
        21 => T::U4,
        22 => T::I4,
        23 => T::F4E2M1,
        24 => T::F8E8M0,
        25 => T::U2,
        26 => T::I2,
        0 => return Err("a tensor has no data type".to_owned()),
        14 | 15 => return Err("complex tensors are not supported".to_owned()),
        other => return Err(format!("data type {other} is unknown")),
    })
}

/// The value type of a declared type. `name_dim` turns a named or unknown size into a dimension.
///
/// # Errors
/// The reason as text.
pub fn value_type(proto: &TypeProto, name_dim: &mut dyn FnMut(Option<&str>) -> Dim) -> Result<ValueType, String> {
    nested(proto, name_dim, 0)
}

fn nested(proto: &TypeProto, name_dim: &mut dyn FnMut(Option<&str>) -> Dim, depth: usize) -> Result<ValueType, String> {
    if depth > MAX_DEPTH {
        return Err(format!("its type is nested deeper than {MAX_DEPTH}"));
    }
    let mut inner = |element: Option<&TypeProto>| {
        nested(element.ok_or("a sequence or optional has no element type")?, name_dim, depth + 1).map(Box::new)
    };
    match proto.value.as_ref() {
        Some(type_proto::Value::TensorType(tensor)) => {
            let shape = tensor.shape.as_ref().map_or(Shape::Unranked, |s| shape_of(s, name_dim));
            Ok(TensorType::new(data_type(tensor.elem_type())?, shape).into())
        }
        Some(type_proto::Value::SequenceType(s)) => Ok(ValueType::Sequence(inner(s.elem_type.as_deref())?)),
        Some(type_proto::Value::OptionalType(o)) => Ok(ValueType::Optional(inner(o.elem_type.as_deref())?)),
        Some(type_proto::Value::MapType(_)) => Err("maps are not supported".to_owned()),
        None => Err("it has no type".to_owned()),
    }
}

fn shape_of(shape: &TensorShapeProto, name_dim: &mut dyn FnMut(Option<&str>) -> Dim) -> Shape {
    let dim = |d: &crate::proto::tensor_shape_proto::Dimension| match &d.value {
        Some(dimension::Value::DimValue(v)) if *v >= 0 => Dim::constant(*v),
        Some(dimension::Value::DimParam(name)) if names_a_size(name) => name_dim(Some(name)),
        // Old exporters write -1 for an unknown size.
        _ => name_dim(None),
    };
    Shape::Ranked(shape.dim.iter().map(dim).collect())
}

/// Sizes of one name are equal. Exporters also write a name where they know none, the same for sizes that differ: a mark
/// without a letter or digit such as `?`, a negative number, or a word that says so.
fn names_a_size(name: &str) -> bool {
    let name = name.trim();
    let says_unknown = ["none", "unk", "unknown"].iter().any(|word| name.eq_ignore_ascii_case(word));
    name.contains(char::is_alphanumeric) && !name.parse::<i64>().is_ok_and(|number| number < 0) && !says_unknown
}
