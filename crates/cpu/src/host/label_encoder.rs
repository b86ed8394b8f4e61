//! `cpu.lookup.hash`: each element replaced by the value that belongs to it, by a hash table of the keys.

use std::collections::HashMap;
use std::hash::Hash;

use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::OpKind;

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{data, tensor};

/// See the module documentation.
pub const LOOKUP: Row = Row {
    name: "cpu.lookup.hash",
    roots: &[OpKind::LabelEncoder],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    only_operator!(region, LabelEncoder);
    Ok(Loaded::Values(Box::new(Lookup)))
}

struct Lookup;

/// Position of each element among the keys, the last where one comes twice; `missing` where it is none.
fn places<K: Hash + Eq>(x: impl Iterator<Item = K>, keys: impl Iterator<Item = K>, missing: usize) -> Vec<usize> {
    let known: HashMap<K, usize> = keys.enumerate().map(|(at, key)| (key, at)).collect();
    x.map(|element| known.get(&element).copied().unwrap_or(missing)).collect()
}

/// Bits that are equal for equal floats, and for any two NaN.
fn bits(value: f64) -> u64 {
    // Adding 0 turns the negative zero into the positive one.
    if value.is_nan() { f64::NAN.to_bits() } else { (value + 0.0).to_bits() }
}

impl ValueKernel for Lookup {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let (x, keys, values, default) =
            (tensor(inputs, 0)?, tensor(inputs, 1)?, tensor(inputs, 2)?, tensor(inputs, 3)?);
        let count = keys.count();
        if values.count() != count || default.count() != 1 {
            let reason = format!("{count} keys, {} values, {} defaults", values.count(), default.count());
            return Err(data(reason));
        }
        let found = match x.data_type() {
            DataType::String => places(x.strings().map_err(data)?.iter(), keys.strings().map_err(data)?.iter(), count),
            t if t.is_float() => {
                places(x.to_floats().into_iter().map(bits), keys.to_floats().into_iter().map(bits), count)
            }
            _ => places(x.to_ints().into_iter(), keys.to_ints().into_iter(), count),
        };
        // The default stands behind the last value.
        let table = Tensor::flat_concat(&[values, default]).map_err(data)?;
        Ok(vec![table.rearranged(x.sizes(), |i| found.get(i).copied()).map_err(data)?.into()])
    }
}
