//! Requests and answers as bytes. All numbers are little-endian `u64`, texts and byte strings stand behind their length.
//!
//! ```text
//! request  plan (bytes; empty: the plan of the request before), threads, number of inputs, (name, value) ...
//! answer   0, number of outputs, value ...      or      1, text of the error
//! value    0, data type (text), rank, sizes ..., elements (bytes; texts for strings)
//!          1, type, number of items, value ...
//!          2, type, number of items (0 or 1), value ...
//! type     0, data type, rank + 1 or 0, dimensions (texts) ...      or      1, type      or      2, type
//! ```

use std::io::{self, Read, Write};

use bytes::Bytes;
use sinter_base::{DataType, Dim, Shape, Tensor, TensorType, Value, ValueType};

/// Nested values deeper than this are refused.
const MAX_DEPTH: usize = 16;

/// No string of bytes may be longer.
const MAX_BYTES: u64 = 1 << 34;

/// Memory that is taken on the word of a length alone.
const FIRST_BYTES: usize = 1 << 20;

/// One inference.
pub struct Request {
    /// The plan's file; empty for that of the request before.
    pub plan: Bytes,
    /// Threads to run it with.
    pub threads: usize,
    /// Inputs by name.
    pub inputs: Vec<(String, Value)>,
}

/// Outputs in order, or why there are none.
pub type Answer = Result<Vec<Value>, String>;

fn wrong(reason: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

fn put(to: &mut impl Write, number: usize) -> io::Result<()> {
    to.write_all(&(number as u64).to_le_bytes())
}

fn put_bytes(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    put(to, bytes.len())?;
    to.write_all(bytes)
}

fn get(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn get_bytes(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = get(from)?;
    if length > MAX_BYTES {
        return Err(wrong(format!("{length} bytes in one piece")));
    }
    let mut bytes = Vec::with_capacity(FIRST_BYTES.min(length as usize));
    if from.take(length).read_to_end(&mut bytes)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn get_text(from: &mut impl Read) -> io::Result<String> {
    String::from_utf8(get_bytes(from)?).map_err(wrong)
}

fn put_type(to: &mut impl Write, ty: &ValueType) -> io::Result<()> {
    match ty {
        ValueType::Tensor(tensor) => {
            put(to, 0)?;
            put_bytes(to, tensor.data_type.to_string().as_bytes())?;
            let Ok(dims) = tensor.dims() else { return put(to, 0) };
            put(to, dims.len() + 1)?;
            dims.iter().try_for_each(|dim| put_bytes(to, dim.to_string().as_bytes()))
        }
        ValueType::Sequence(inner) => put(to, 1).and_then(|()| put_type(to, inner)),
        ValueType::Optional(inner) => put(to, 2).and_then(|()| put_type(to, inner)),
    }
}

fn get_type(from: &mut impl Read, depth: usize) -> io::Result<ValueType> {
    if depth > MAX_DEPTH {
        return Err(wrong("a type is nested too deeply"));
    }
    Ok(match get(from)? {
        0 => {
            let data_type: DataType = get_text(from)?.parse().map_err(wrong)?;
            let shape = match get(from)?.checked_sub(1) {
                None => Shape::Unranked,
                Some(rank) => Shape::Ranked(
                    (0..rank)
                        .map(|_| get_text(from)?.parse::<Dim>().map_err(wrong))
                        .collect::<io::Result<Vec<Dim>>>()?,
                ),
            };
            ValueType::Tensor(TensorType::new(data_type, shape))
        }
        1 => ValueType::Sequence(Box::new(get_type(from, depth + 1)?)),
        2 => ValueType::Optional(Box::new(get_type(from, depth + 1)?)),
        other => return Err(wrong(format!("a type of kind {other}"))),
    })
}

fn put_value(to: &mut impl Write, value: &Value) -> io::Result<()> {
    match value {
        Value::Tensor(tensor) => {
            put(to, 0)?;
            put_bytes(to, tensor.data_type().to_string().as_bytes())?;
            put(to, tensor.rank())?;
            tensor.sizes().iter().try_for_each(|size| put(to, *size))?;
            match tensor.strings() {
                Ok(strings) => strings.iter().try_for_each(|text| put_bytes(to, text.as_bytes())),
                Err(_) => put_bytes(to, tensor.bytes()),
            }
        }
        Value::Sequence { element, items } => {
            put(to, 1)?;
            put_type(to, element)?;
            put(to, items.len())?;
            items.iter().try_for_each(|item| put_value(to, item))
        }
        Value::Optional { element, item } => {
            put(to, 2)?;
            put_type(to, element)?;
            put(to, usize::from(item.is_some()))?;
            item.iter().try_for_each(|item| put_value(to, item))
        }
    }
}

fn get_value(from: &mut impl Read, depth: usize) -> io::Result<Value> {
    if depth > MAX_DEPTH {
        return Err(wrong("a value is nested too deeply"));
    }
    let kind = get(from)?;
    if kind == 0 {
        let data_type: DataType = get_text(from)?.parse().map_err(wrong)?;
        let rank = get(from)?;
        let sizes = (0..rank).map(|_| get(from).map(|size| size as usize)).collect::<io::Result<Vec<usize>>>()?;
        if data_type == DataType::String {
            let count = sinter_base::shape::element_count(&sizes).ok_or_else(|| wrong("sizes overflow"))?;
            let strings = (0..count).map(|_| get_text(from)).collect::<io::Result<Vec<String>>>()?;
            return Tensor::from_strings(&sizes, strings).map(Value::Tensor).map_err(wrong);
        }
        return Tensor::from_bytes(data_type, &sizes, get_bytes(from)?.into()).map(Value::Tensor).map_err(wrong);
    }
    let element = get_type(from, 0)?;
    let count = get(from)?;
    let mut items = (0..count).map(|_| get_value(from, depth + 1)).collect::<io::Result<Vec<Value>>>()?;
    match kind {
        1 => Ok(Value::Sequence { element, items }),
        2 if count < 2 => Ok(Value::Optional { element, item: items.pop().map(Box::new) }),
        other => Err(wrong(format!("a value of kind {other} with {count} items"))),
    }
}

/// Writes a request.
///
/// # Errors
/// As writing does.
pub fn write_request(to: &mut impl Write, request: &Request) -> io::Result<()> {
    put_bytes(to, &request.plan)?;
    put(to, request.threads)?;
    put(to, request.inputs.len())?;
    for (name, value) in &request.inputs {
        put_bytes(to, name.as_bytes())?;
        put_value(to, value)?;
    }
    to.flush()
}

/// Reads a request; `None` at the end.
///
/// # Errors
/// As reading does, and when the bytes are no request.
pub fn read_request(from: &mut impl Read) -> io::Result<Option<Request>> {
    let plan = match get_bytes(from) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let threads = get(from)? as usize;
    let count = get(from)?;
    let inputs = (0..count).map(|_| Ok((get_text(from)?, get_value(from, 0)?))).collect::<io::Result<Vec<_>>>()?;
    Ok(Some(Request { plan: plan.into(), threads, inputs }))
}

/// Writes an answer.
///
/// # Errors
/// As writing does.
pub fn write_answer(to: &mut impl Write, answer: &Answer) -> io::Result<()> {
    match answer {
        Ok(outputs) => {
            put(to, 0)?;
            put(to, outputs.len())?;
            outputs.iter().try_for_each(|value| put_value(to, value))?;
        }
        Err(reason) => {
            put(to, 1)?;
            put_bytes(to, reason.as_bytes())?;
        }
    }
    to.flush()
}

/// Reads an answer.
///
/// # Errors
/// As reading does, and when the bytes are no answer.
pub fn read_answer(from: &mut impl Read) -> io::Result<Answer> {
    Ok(match get(from)? {
        0 => {
            let count = get(from)?;
            Ok((0..count).map(|_| get_value(from, 0)).collect::<io::Result<Vec<Value>>>()?)
        }
        _ => Err(get_text(from)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_survives() {
        let floats = Value::from(Tensor::from_vec(&[2, 1], vec![1.5f32, -2.0]).unwrap());
        let texts = Value::from(Tensor::from_strings(&[2], vec!["a b".to_owned(), String::new()]).unwrap());
        let nibbles = Value::from(Tensor::from_ints(DataType::I4, &[3], &[-8, 7, 1]).unwrap());
        let ty = ValueType::tensor(DataType::F32, vec![Dim::symbol("N").add(&Dim::constant(1))]);
        let list = Value::Sequence { element: ty.clone(), items: vec![floats.clone(), floats.clone()] };
        let some = Value::Optional { element: ValueType::Sequence(Box::new(ty.clone())), item: Some(Box::new(list)) };
        let none = Value::Optional { element: ty, item: None };
        let inputs: Vec<_> = [floats, texts, nibbles, some, none].map(|v| ("x".to_owned(), v)).into();
        let mut bytes = Vec::new();
        write_request(&mut bytes, &Request { plan: Bytes::from_static(b"plan"), threads: 3, inputs: inputs.clone() })
            .unwrap();
        let read = read_request(&mut bytes.as_slice()).unwrap().unwrap();
        assert_eq!((&read.plan[..], read.threads, read.inputs), (&b"plan"[..], 3, inputs.clone()));
        assert!(read_request(&mut &bytes[..0]).unwrap().is_none());
        assert!(read_request(&mut &bytes[..bytes.len() - 1]).is_err());
        let answer: Answer = Ok(inputs.into_iter().map(|(_, value)| value).collect());
        let mut bytes = Vec::new();
        write_answer(&mut bytes, &answer).unwrap();
        assert_eq!(read_answer(&mut bytes.as_slice()).unwrap(), answer);
    }
}
