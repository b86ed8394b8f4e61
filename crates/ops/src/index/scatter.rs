//! Common parts of scatter operators: the combination of an update with the present element.

use sinter_base::{Attributes, DataType, Tensor};

use crate::error::{EvalError, InferError};
use crate::invalid;

/// How an update is combined with the element that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Attributes)]
pub enum ScatterReduction {
    /// It replaces the element; of several updates the last one stays.
    #[default]
    None,
    /// It is added.
    Add,
    /// It is multiplied.
    Multiply,
    /// The larger stays.
    Max,
    /// The smaller stays.
    Min,
}

impl ScatterReduction {
    /// Checks that elements of this type can be combined so.
    ///
    /// # Errors
    /// When strings are to be computed with.
    pub fn check(self, data_type: DataType) -> Result<(), InferError> {
        if data_type == DataType::String && self != ScatterReduction::None {
            invalid!("strings can be scattered but not combined");
        }
        Ok(())
    }

    fn float(self, a: f64, b: f64) -> f64 {
        match self {
            ScatterReduction::None => b,
            ScatterReduction::Add => a + b,
            ScatterReduction::Multiply => a * b,
            _ if a.is_nan() || b.is_nan() => f64::NAN,
            ScatterReduction::Max => a.max(b),
            ScatterReduction::Min => a.min(b),
        }
    }

    fn int(self, a: i128, b: i128) -> i128 {
        match self {
            ScatterReduction::None => b,
            ScatterReduction::Add => a.wrapping_add(b),
            ScatterReduction::Multiply => a.wrapping_mul(b),
            ScatterReduction::Max => a.max(b),
            ScatterReduction::Min => a.min(b),
        }
    }

    /// The data with update `i` combined into the element at flat position `targets[i]`, in order.
    ///
    /// # Errors
    /// When element types differ or strings are to be computed with.
    pub fn apply(self, data: &Tensor, updates: &Tensor, targets: &[usize]) -> Result<Tensor, EvalError> {
        let data_type = data.data_type();
        self.check(data_type)?;
        if self == ScatterReduction::None {
            let both = Tensor::flat_concat(&[data, updates])?;
            let mut source: Vec<usize> = (0..data.count()).collect();
            for (update, &target) in targets.iter().enumerate() {
                source[target] = data.count() + update;
            }
            return Ok(both.rearranged(data.sizes(), |i| Some(source[i]))?);
        }
        if updates.data_type() != data_type {
            invalid!(eval: "updates of type {} for data of type {data_type}", updates.data_type());
        }
        if data_type.is_float() {
            let (mut values, updates) = (data.to_floats(), updates.to_floats());
            for (update, &target) in updates.iter().zip(targets) {
                values[target] = self.float(values[target], *update);
            }
            return Ok(Tensor::from_floats(data_type, data.sizes(), &values)?);
        }
        let (mut values, updates) = (data.to_ints(), updates.to_ints());
        for (update, &target) in updates.iter().zip(targets) {
            values[target] = data_type.wrap(self.int(values[target], *update));
        }
        Ok(Tensor::from_ints(data_type, data.sizes(), &values)?)
    }
}
