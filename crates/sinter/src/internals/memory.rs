//! The bound on memory: computes the memory that a network or an engine needs from declared sizes, before any allocation.

use sinter_plan::Plan;
use sinter_runtime::layout::Layout;

pub use sinter_builder::memory_budget::{MemoryError, check};

/// Bytes of memory for values between steps of a plan, at the largest sizes that it takes; `None` when it takes inputs of
/// any size.
pub fn arena_bytes(plan: &Plan) -> Option<u64> {
    let ranges = plan.ranges();
    let mut registers = vec![0; plan.shapes.register_count()];
    for name in plan.shapes.symbols() {
        let largest = ranges.iter().find(|range| range.symbol == *name && range.high < i64::MAX)?.high;
        let register = usize::try_from(plan.shapes.symbol(name)?.0).ok()?;
        *registers.get_mut(register)? = largest;
    }
    plan.shapes.run(&mut registers).ok()?;
    u64::try_from(Layout::of(&plan.graph).arena_bytes(&registers)?).ok()
}
