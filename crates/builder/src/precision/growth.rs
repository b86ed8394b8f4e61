//! Results of pointwise programs that may be much larger than their operands: exponentials outside of a softmax, squares and
//! higher powers. They stay in f32, and so do the sums that read them: a variance or norm written out, a softmax written out.

use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Program, ScalarOp};

/// Which steps of a program grow.
fn growing(program: &Program) -> Vec<bool> {
    let mut grows: Vec<bool> = Vec::with_capacity(program.steps().len());
    for step in program.steps() {
        let of = |at: usize| grows.get(at).copied().unwrap_or_default();
        grows.push(match step {
            Step::Input { .. } | Step::Constant { .. } => false,
            Step::Apply { op, args, .. } => match op {
                ScalarOp::Exp | ScalarOp::Pow | ScalarOp::Sinh | ScalarOp::Cosh => true,
                ScalarOp::Mul if args.first() == args.get(1) => true,
                // Bounded results, and functions that undo powers.
                ScalarOp::Sigmoid
                | ScalarOp::Tanh
                | ScalarOp::Erf
                | ScalarOp::Sign
                | ScalarOp::Sin
                | ScalarOp::Cos
                | ScalarOp::Atan
                | ScalarOp::HardSigmoid
                | ScalarOp::Sqrt
                | ScalarOp::Log
                | ScalarOp::Softplus
                | ScalarOp::Asinh
                | ScalarOp::Acosh => false,
                // A quotient is as large as its dividend; a large divisor makes it smaller.
                ScalarOp::Div => args.first().is_some_and(|at| of(*at)),
                ScalarOp::Reciprocal => false,
                ScalarOp::Select => args.iter().skip(1).any(|at| of(*at)),
                _ => args.iter().any(|at| of(*at)),
            },
        });
    }
    grows
}

/// Which results of a program may be much larger than its operands.
pub(super) fn growing_results(program: &Program) -> Vec<bool> {
    let grows = growing(program);
    program.results().iter().map(|result| grows.get(*result).copied().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use sinter_base::DataType;
    use sinter_ops::pointwise::Expr;

    use super::*;

    #[test]
    fn powers_grow_until_a_function_bounds_them() {
        let x = Expr::input(0, DataType::F32);
        let y = Expr::input(1, DataType::F32);
        let exp = x.unary(ScalarOp::Exp);
        let cube = &(&x * &x) * &x;
        let gelu = &x * &(&x + &cube).unary(ScalarOp::Tanh);
        for (expression, grows) in [
            (&exp + 1.0, true),
            (&x * &x, true),
            (&exp / &(&exp + 1.0), true),
            (cube, true),
            (&x * &y, false),
            (gelu, false),
            (&y / &exp, false),
            ((&x * &x).unary(ScalarOp::Sqrt), false),
        ] {
            let op = Expr::into_pointwise(&[expression]).unwrap();
            assert_eq!(growing_results(&op.program), [grows], "{:?}", op.program);
        }
    }
}
