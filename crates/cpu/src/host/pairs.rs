//! `cpu.text.concat` and `cpu.text.equal`: two tensors of strings, broadcast against each other.

use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::shape::{broadcast_sizes, broadcast_strides, for_each_index, ravel};
use sinter_base::{Sizes, Tensor, Value};
use sinter_ops::OpKind;

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{data, tensor};

const fn row(name: &'static str, roots: &'static [OpKind], kernel: fn(&Region) -> Result<Loaded, Refusal>) -> Row {
    Row { name, roots, numerics: Numerics::Exact, in_place: &[], speed: Speed::SCALAR, kernel }
}

/// One string after the other.
pub const CONCAT: Row = row("cpu.text.concat", &[OpKind::StringConcat], |region| {
    only_operator!(region, StringConcat);
    Ok(Loaded::Values(Box::new(Concat)))
});
/// Are they the same?
pub const EQUAL: Row = row("cpu.text.equal", &[OpKind::StringEqual], |region| {
    only_operator!(region, StringEqual);
    Ok(Loaded::Values(Box::new(Equal)))
});

/// Applies `each` to every pair, and returns the sizes of the result with the elements.
fn map_pairs<T>(inputs: &[Option<Value>], each: impl Fn(&str, &str) -> T) -> Result<(Sizes, Vec<T>), KernelError> {
    let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
    let sizes = broadcast_sizes(&[a.sizes(), b.sizes()]);
    let sizes = sizes.ok_or_else(|| data(format!("sizes {:?} and {:?} do not broadcast", a.sizes(), b.sizes())))?;
    let (a_steps, b_steps) = (broadcast_strides(a.sizes(), &sizes), broadcast_strides(b.sizes(), &sizes));
    let (a, b) = (a.strings().map_err(data)?, b.strings().map_err(data)?);
    let mut results = Vec::with_capacity(sizes.iter().product());
    for_each_index(&sizes, |at| results.push(each(&a[ravel(at, &a_steps)], &b[ravel(at, &b_steps)])));
    Ok((sizes, results))
}

struct Concat;

impl ValueKernel for Concat {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (sizes, joined) = map_pairs(inputs, |a, b| [a, b].concat())?;
        Ok(vec![Tensor::from_strings(&sizes, joined).map_err(data)?.into()])
    }
}

struct Equal;

impl ValueKernel for Equal {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (sizes, equal) = map_pairs(inputs, |a, b| u8::from(a == b))?;
        Ok(vec![Tensor::from_codes(sinter_base::DataType::Bool, &sizes, equal).map_err(data)?.into()])
    }
}
