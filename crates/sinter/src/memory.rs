//! The bound on memory: what a network or an engine needs is known from its declared sizes before anything is allocated.

use std::collections::BTreeMap;

use sinter_base::view::element_bytes;
use sinter_plan::{Home, Plan};

pub use sinter_builder::bound::{MemoryError, check};

/// Bytes of memory for values between steps of a plan, at the largest sizes that it takes; `None` when it takes inputs of
/// any size.
pub fn arena_bytes(plan: &Plan) -> Option<u64> {
    let ranges = plan.ranges();
    let largest = |name: &str| ranges.iter().find(|r| r.symbol == name && r.high < i64::MAX).map(|r| r.high);
    let mut buffers: BTreeMap<usize, u64> = BTreeMap::new();
    for value in &plan.graph.values {
        if let Home::Arena(buffer) = value.home {
            let width = u64::try_from(element_bytes(value.ty.data_type())).ok()?;
            let bytes = value
                .ty
                .as_tensor()?
                .dims()
                .ok()?
                .iter()
                .try_fold(width, |bytes, dim| bytes.checked_mul(u64::try_from(dim.evaluate(&largest)?).ok()?))?;
            let room = buffers.entry(buffer.index()).or_default();
            *room = bytes.max(*room);
        }
    }
    buffers.values().try_fold(0u64, |sum, bytes| sum.checked_add(*bytes))
}
