//! Values in ONNX's test-data layout: `input_K.pb` and `output_K.pb`, each a tensor, a sequence or an optional.

use bytes::Bytes;
use prost::Message;
use sinter_base::{DataType, Tensor, Value, ValueType};

use crate::external::ExternalData;
use crate::proto::{OptionalProto, SequenceProto, TensorProto};
use crate::tensor::to_tensor;

/// Decodes one file; the declared type tells which message it holds.
///
/// # Errors
/// The reason as text.
pub fn decode_value(bytes: Bytes, ty: &ValueType) -> Result<Value, String> {
    let message = |e: prost::DecodeError| e.to_string();
    match ty {
        ValueType::Tensor(_) => tensor(&TensorProto::decode(bytes).map_err(message)?),
        ValueType::Sequence(element) => sequence(&SequenceProto::decode(bytes).map_err(message)?, element),
        ValueType::Optional(element) => {
            // Older test data stores the value itself, without the optional around it.
            if let Ok(proto) = OptionalProto::decode(bytes.clone())
                && let Ok(value) = optional(&proto, element)
            {
                return Ok(value);
            }
            let item = decode_value(bytes, element)?;
            Ok(Value::Optional { element: (**element).clone(), item: Some(Box::new(item)) })
        }
    }
}

fn tensor(proto: &TensorProto) -> Result<Value, String> {
    to_tensor(proto, &mut ExternalData::default()).map(Value::Tensor)
}

fn sequence(proto: &SequenceProto, element: &ValueType) -> Result<Value, String> {
    let items: Result<Vec<Value>, String> = match element {
        ValueType::Tensor(_) => proto.tensor_values.iter().map(tensor).collect(),
        ValueType::Sequence(inner) => proto.sequence_values.iter().map(|s| sequence(s, inner)).collect(),
        ValueType::Optional(inner) => proto.optional_values.iter().map(|o| optional(o, inner)).collect(),
    };
    Ok(Value::Sequence { element: element.clone(), items: items? })
}

fn optional(proto: &OptionalProto, element: &ValueType) -> Result<Value, String> {
    let kind = proto.elem_type();
    let item = match element {
        ValueType::Tensor(_) if kind <= TENSOR => proto.tensor_value.as_ref().map(tensor),
        ValueType::Sequence(inner) if kind == 0 || kind == SEQUENCE => {
            proto.sequence_value.as_ref().map(|s| sequence(s, inner))
        }
        ValueType::Optional(inner) if kind == 0 || kind == OPTIONAL => {
            proto.optional_value.as_ref().map(|o| optional(o, inner))
        }
        _ => return Err("the optional holds another kind of value than declared".to_owned()),
    };
    let item = item.transpose()?.map(Box::new);
    if item.is_none() && kind > 0 {
        return Err("the optional names a kind of value and holds none".to_owned());
    }
    Ok(Value::Optional { element: element.clone(), item })
}

/// Encodes a value as one file of this layout.
pub fn encode_value(name: &str, value: &Value) -> Vec<u8> {
    match value {
        Value::Tensor(tensor) => tensor_proto(name, tensor).encode_to_vec(),
        Value::Sequence { items, .. } => sequence_proto(name, items).encode_to_vec(),
        Value::Optional { item, .. } => optional_proto(name, item.as_deref()).encode_to_vec(),
    }
}

fn tensor_proto(name: &str, tensor: &Tensor) -> TensorProto {
    let code = (0..=26).find(|&c| crate::types::data_type(c) == Ok(tensor.data_type())).unwrap_or(0);
    let mut proto = TensorProto {
        name: Some(name.to_owned()),
        dims: tensor.sizes().iter().map(|&s| i64::try_from(s).unwrap_or(i64::MAX)).collect(),
        data_type: Some(code),
        ..TensorProto::default()
    };
    if tensor.data_type() == DataType::String {
        let strings = tensor.strings().unwrap_or_default();
        proto.string_data = strings.iter().map(|s| Bytes::from(s.clone().into_bytes())).collect();
    } else {
        proto.raw_data = Some(tensor.shared_bytes());
    }
    proto
}

/// Kinds of values as `elem_type` numbers them.
const TENSOR: i32 = 1;
const SEQUENCE: i32 = 3;
const OPTIONAL: i32 = 5;

fn sequence_proto(name: &str, items: &[Value]) -> SequenceProto {
    let mut proto = SequenceProto { name: Some(name.to_owned()), ..SequenceProto::default() };
    for item in items {
        match item {
            Value::Tensor(tensor) => {
                proto.elem_type = Some(TENSOR);
                proto.tensor_values.push(tensor_proto("", tensor));
            }
            Value::Sequence { items, .. } => {
                proto.elem_type = Some(SEQUENCE);
                proto.sequence_values.push(sequence_proto("", items));
            }
            Value::Optional { item, .. } => {
                proto.elem_type = Some(OPTIONAL);
                proto.optional_values.push(optional_proto("", item.as_deref()));
            }
        }
    }
    proto
}

fn optional_proto(name: &str, item: Option<&Value>) -> OptionalProto {
    let mut proto = OptionalProto { name: Some(name.to_owned()), elem_type: Some(0), ..OptionalProto::default() };
    match item {
        None => {}
        Some(Value::Tensor(tensor)) => {
            proto.elem_type = Some(TENSOR);
            proto.tensor_value = Some(tensor_proto("", tensor));
        }
        Some(Value::Sequence { items, .. }) => {
            proto.elem_type = Some(SEQUENCE);
            proto.sequence_value = Some(sequence_proto("", items));
        }
        Some(Value::Optional { item, .. }) => {
            proto.elem_type = Some(OPTIONAL);
            proto.optional_value = Some(Box::new(optional_proto("", item.as_deref())));
        }
    }
    proto
}
