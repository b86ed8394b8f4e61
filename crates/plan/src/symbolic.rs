//! Runs a shape program on symbols: the dimension that each register computes for all sizes of the inputs.

use sinter_base::Dim;

use crate::shape_program::{Register, ShapeProgram};

/// Limit on the factors and constants of all registers together, and on their nesting. Real networks stay far below it.
/// Without a limit a short file could demand any amount: each square doubles them.
const MOST_NODES: u64 = 1 << 23;
const MOST_DEPTH: usize = 256;

impl ShapeProgram {
    /// The dimension that each register computes; `None` where there is none, as for a division by zero, or where it
    /// grows too large.
    pub fn dims(&self) -> Vec<Option<Dim>> {
        let constants = self.constants().iter().map(|value| Some(Dim::constant(*value)));
        let mut dims: Vec<Option<Dim>> =
            constants.chain(self.symbols().iter().map(|name| Some(Dim::symbol(name)))).collect();
        let mut nodes_left = MOST_NODES;
        for (operation, a, b) in self.instructions() {
            let read =
                |register: &Register| usize::try_from(register.0).ok().and_then(|at| dims.get(at)).cloned().flatten();
            let result = read(a).zip(read(b)).and_then(|(a, b)| operation.of_dims(&a, &b));
            let result = result.filter(|dim| dim.depth() <= MOST_DEPTH && dim.nodes() <= nodes_left);
            nodes_left -= result.as_ref().map_or(0, Dim::nodes);
            dims.push(result);
        }
        dims
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape_program::Operation;

    #[test]
    fn programs_of_any_length_have_bounded_dimensions() {
        // Register 0 is 2, register 1 is N; each instruction takes the one before, and itself, N or 2.
        let program = |other: fn(u32) -> u32, operation: Operation| {
            let instruction = |at: u32| (operation, Register(at + 1), Register(other(at + 1)));
            let instructions: Vec<_> = (0..20_000).map(instruction).collect();
            ShapeProgram::from_parts(vec![2], vec!["N".to_owned()], instructions).unwrap()
        };
        for (other, operation) in [
            ((|own| own) as fn(u32) -> u32, Operation::Multiply),
            (|_| 1, Operation::Multiply),
            (|_| 0, Operation::FloorDivide),
        ] {
            let dims = program(other, operation).dims();
            assert_eq!((dims.len(), dims[2].is_some(), dims[20_001].is_some()), (20_002, true, false), "{operation:?}");
        }
    }
}
