//! The memory limit and the step limit of an evaluation.
//!
//! Declared sizes bound the memory of most networks beforehand. Values that a loop carries may grow with every
//! iteration, and sizes may be contents of other values: the evaluation checks such values before it allocates them.

use std::sync::atomic::{AtomicU64, Ordering};

use sinter_base::view::element_bytes;
use sinter_base::{Value, ValueType};

use crate::error::EvalError;

/// References compute in float64.
const WORKING_BYTES: u64 = 8;

/// The memory limit of an evaluation, and the bytes that its callers keep live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    live: u64,
    allowed: u64,
}

impl Memory {
    /// No bound.
    pub const UNBOUNDED: Self = Self { live: 0, allowed: u64::MAX };

    /// At most so many bytes.
    pub fn of(allowed: u64) -> Self {
        Self { live: 0, allowed }
    }

    /// Is there a bound at all?
    pub fn is_bounded(self) -> bool {
        self.allowed < u64::MAX
    }

    /// The same limit with so many more live bytes.
    #[must_use]
    pub fn holding(self, bytes: u64) -> Self {
        Self { live: self.live.saturating_add(bytes), ..self }
    }

    /// Checks that an allocation of so many bytes stays within the limit.
    ///
    /// # Errors
    /// The sum of live and new bytes, when it exceeds the limit.
    pub fn check(self, bytes: u64) -> Result<(), EvalError> {
        let needed = self.live.saturating_add(bytes);
        if needed <= self.allowed { Ok(()) } else { Err(EvalError::Memory { needed, allowed: self.allowed }) }
    }
}

/// The number of operators that an evaluation may run. Inside of loops, arithmetic operations count as well, at a fixed
/// number of operations per operator.
#[derive(Debug)]
pub struct Steps {
    left: AtomicU64,
    allowed: u64,
}

impl Steps {
    /// So many, those in bodies counted every time.
    pub fn of(allowed: u64) -> Self {
        Self { left: AtomicU64::new(allowed), allowed }
    }

    /// Takes so many.
    ///
    /// # Errors
    /// When fewer are left.
    pub(crate) fn take(&self, count: u64) -> Result<(), EvalError> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(count));
        taken.map(|_| ()).map_err(|_| EvalError::Steps { allowed: self.allowed })
    }
}

/// Bytes of a value; shared elements count every time.
pub fn bytes_of(value: &Value) -> u64 {
    match value {
        Value::Tensor(tensor) => bytes_of_elements(tensor.count(), element_bytes(tensor.data_type()) as u64),
        Value::Sequence { items, .. } => items.iter().map(bytes_of).fold(0, u64::saturating_add),
        Value::Optional { item, .. } => item.iter().map(|item| bytes_of(item)).fold(0, u64::saturating_add),
    }
}

fn bytes_of_elements(count: usize, width: u64) -> u64 {
    (count as u64).saturating_mul(width)
}

/// Bytes that computing results of these types takes; those whose sizes are not known count nothing.
pub(crate) fn working_bytes(types: &[ValueType]) -> u64 {
    let of = |ty: &ValueType| {
        let sizes = ty.as_tensor()?.shape.sizes()?;
        let count = sizes.iter().fold(1usize, |count, size| count.saturating_mul(*size));
        Some(bytes_of_elements(count, WORKING_BYTES))
    };
    types.iter().filter_map(of).fold(0, u64::saturating_add)
}
