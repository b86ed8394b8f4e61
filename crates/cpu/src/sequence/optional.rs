//! `cpu.optional.*`: constructs, tests and opens optional values. No kernel copies an element.

use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{DataType, Tensor, Value, ValueType};
use sinter_ops::OpKind;

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{data, optional, value};

const fn row(name: &'static str, roots: &'static [OpKind], kernel: fn(&Region) -> Result<Loaded, Refusal>) -> Row {
    Row { name, roots, numerics: Numerics::Exact, in_place: &[], speed: Speed::STREAMING, kernel }
}

/// A value in an optional, or nothing in one.
pub const CONSTRUCT: Row = row("cpu.optional.construct", &[OpKind::OptionalConstruct], |region| {
    let element = only_operator!(region, OptionalConstruct).element.value_type();
    Ok(Loaded::Values(Box::new(Construct { element })))
});
/// Does the optional contain a value?
pub const HAS: Row = row("cpu.optional.has", &[OpKind::OptionalHasElement], |region| {
    only_operator!(region, OptionalHasElement);
    Ok(Loaded::Values(Box::new(Has)))
});
/// The contained value.
pub const GET: Row = row("cpu.optional.get", &[OpKind::OptionalGetElement], |region| {
    only_operator!(region, OptionalGetElement);
    Ok(Loaded::Values(Box::new(Get)))
});

fn contained(inputs: &[Option<Value>]) -> Result<Option<&Value>, KernelError> {
    match value(inputs, 0)? {
        Value::Optional { item, .. } => Ok(item.as_deref()),
        other => Err(data(format!("{} is no optional", other.value_type()))),
    }
}

struct Construct {
    element: ValueType,
}

impl ValueKernel for Construct {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let item = optional(inputs, 0).cloned().map(Box::new);
        Ok(vec![Value::Optional { element: self.element.clone(), item }])
    }
}

struct Has;

impl ValueKernel for Has {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let has = if contained(inputs)?.is_some() { 1.0 } else { 0.0 };
        Ok(vec![Tensor::scalar(DataType::Bool, has).into()])
    }
}

struct Get;

impl ValueKernel for Get {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        contained(inputs)?.cloned().map(|item| vec![item]).ok_or_else(|| data("the optional holds nothing"))
    }
}
