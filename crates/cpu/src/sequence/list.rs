//! `cpu.sequence.*`: constructs and reads lists, and adds or removes an element. The lists share tensors, never copy
//! them.

use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{DataType, Shape, Tensor, TensorType, Value, ValueType};
use sinter_ops::OpKind;

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{data, optional_tensor, sequence, tensor};

const fn row(name: &'static str, roots: &'static [OpKind], kernel: fn(&Region) -> Result<Loaded, Refusal>) -> Row {
    Row { name, roots, numerics: Numerics::Exact, in_place: &[], speed: Speed::STREAMING, kernel }
}

/// A list of the operands.
pub const CONSTRUCT: Row = row("cpu.sequence.construct", &[OpKind::SequenceConstruct], |region| {
    let data_type = only_operator!(region, SequenceConstruct).data_type;
    Ok(Loaded::Values(Box::new(Construct { data_type })))
});
/// One more element.
pub const INSERT: Row = row("cpu.sequence.insert", &[OpKind::SequenceInsert], |region| {
    only_operator!(region, SequenceInsert);
    Ok(Loaded::Values(Box::new(Insert)))
});
/// One element less.
pub const ERASE: Row = row("cpu.sequence.erase", &[OpKind::SequenceErase], |region| {
    only_operator!(region, SequenceErase);
    Ok(Loaded::Values(Box::new(Erase)))
});
/// One element.
pub const AT: Row = row("cpu.sequence.at", &[OpKind::SequenceAt], |region| {
    only_operator!(region, SequenceAt);
    Ok(Loaded::Values(Box::new(At)))
});
/// The number of elements.
pub const LENGTH: Row = row("cpu.sequence.length", &[OpKind::SequenceLength], |region| {
    only_operator!(region, SequenceLength);
    Ok(Loaded::Values(Box::new(Length)))
});

/// A position counted from either end of a list of `length`, at most `last`; `None` stands for the last.
fn position(given: Option<&Tensor>, length: usize, last: usize) -> Result<usize, KernelError> {
    let Some(given) = given else { return Ok(last) };
    let given = given.to_i64();
    let [given] = given.as_slice() else { return Err(data(format!("a position of {} elements", given.len()))) };
    let counted = if *given < 0 { given.saturating_add(length as i64) } else { *given };
    let found = usize::try_from(counted).ok().filter(|at| *at <= last);
    found.ok_or_else(|| data(format!("position {given} in a sequence of {length}")))
}

struct Construct {
    data_type: DataType,
}

impl ValueKernel for Construct {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let tensors = (0..inputs.len()).map(|i| tensor(inputs, i).cloned()).collect::<Result<Vec<_>, _>>()?;
        Ok(vec![Value::sequence_of(self.data_type, tensors)])
    }
}

struct Insert;

impl ValueKernel for Insert {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (element, old) = sequence(inputs, 0)?;
        let inserted = tensor(inputs, 1)?;
        if inserted.data_type() != element.data_type() {
            return Err(data(format!("a {} tensor in a sequence of {element}", inserted.data_type())));
        }
        let at = position(optional_tensor(inputs, 2)?, old.len(), old.len())?;
        let mut items = Vec::with_capacity(old.len() + 1);
        items.extend_from_slice(&old[..at]);
        items.push(inserted.clone().into());
        items.extend_from_slice(&old[at..]);
        // The new element may have another shape than the others.
        let element = ValueType::Tensor(TensorType::new(element.data_type(), Shape::Unranked));
        Ok(vec![Value::Sequence { element, items }])
    }
}

struct Erase;

impl ValueKernel for Erase {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (element, items) = sequence(inputs, 0)?;
        let last = items.len().checked_sub(1).ok_or_else(|| data("nothing to erase from an empty sequence"))?;
        let at = position(optional_tensor(inputs, 1)?, items.len(), last)?;
        let kept = items.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, item)| item.clone()).collect();
        Ok(vec![Value::Sequence { element: element.clone(), items: kept }])
    }
}

struct At;

impl ValueKernel for At {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (_, items) = sequence(inputs, 0)?;
        let last = items.len().checked_sub(1).ok_or_else(|| data("an empty sequence has no elements"))?;
        Ok(vec![items[position(Some(tensor(inputs, 1)?), items.len(), last)?].clone()])
    }
}

struct Length;

impl ValueKernel for Length {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let length = sequence(inputs, 0)?.1.len() as i64;
        Ok(vec![Tensor::from_vec(&[], vec![length]).map_err(data)?.into()])
    }
}
