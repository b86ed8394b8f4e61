//! Writing programs as mathematics: `x.clone() * x.sigmoid()`.

use std::ops::{Add, Div, Mul, Neg, Sub};
use std::rc::Rc;

use sinter_base::{AttributeError, DataType};

use crate::pointwise::operator::Pointwise;
use crate::pointwise::program::{Program, Step};
use crate::pointwise::scalar::{CastMode, Scalar, ScalarOp};

/// An expression over the operands of a pointwise operator. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Expr(Rc<Tree>);

#[derive(Debug)]
enum Tree {
    Leaf(Step),
    Apply { op: ScalarOp, compute: DataType, args: Vec<Expr> },
}

impl Expr {
    /// The operand with this index, of this element type.
    pub fn input(index: usize, data_type: DataType) -> Self {
        Expr(Rc::new(Tree::Leaf(Step::Input { index, data_type })))
    }

    /// A constant, rounded to the type.
    pub fn constant(data_type: DataType, value: f64) -> Self {
        let value = Scalar::Float(value).cast(data_type, CastMode::default());
        Expr(Rc::new(Tree::Leaf(Step::Constant { data_type, value })))
    }

    /// A constant of the type of this expression.
    #[must_use]
    pub fn same(&self, value: f64) -> Self {
        Self::constant(self.data_type(), value)
    }

    /// Type of the value.
    pub fn data_type(&self) -> DataType {
        match &*self.0 {
            Tree::Leaf(step) => step.data_type(),
            Tree::Apply { op, compute, .. } => op.result_type(*compute),
        }
    }

    /// An operation on one argument, in its type.
    #[must_use]
    pub fn unary(&self, op: ScalarOp) -> Self {
        Expr(Rc::new(Tree::Apply { op, compute: self.data_type(), args: vec![self.clone()] }))
    }

    /// An operation on two arguments, in the type of the first.
    #[must_use]
    pub fn binary(&self, op: ScalarOp, other: &Expr) -> Self {
        Expr(Rc::new(Tree::Apply { op, compute: self.data_type(), args: vec![self.clone(), other.clone()] }))
    }

    /// This condition chooses between two values.
    #[must_use]
    pub fn select(&self, then: &Expr, otherwise: &Expr) -> Self {
        let args = vec![self.clone(), then.clone(), otherwise.clone()];
        Expr(Rc::new(Tree::Apply { op: ScalarOp::Select, compute: then.data_type(), args }))
    }

    /// Conversion; nothing when the type is the same.
    #[must_use]
    pub fn cast(&self, to: DataType) -> Self {
        self.cast_with(to, CastMode::default())
    }

    /// Conversion with a mode; nothing when the type is the same.
    #[must_use]
    pub fn cast_with(&self, to: DataType, mode: CastMode) -> Self {
        if self.data_type() == to {
            return self.clone();
        }
        Expr(Rc::new(Tree::Apply { op: ScalarOp::Cast(mode), compute: to, args: vec![self.clone()] }))
    }

    /// The operator that computes these expressions.
    ///
    /// # Errors
    /// When an operation gets arguments of types that it does not take.
    pub fn into_pointwise(results: &[Expr]) -> Result<Pointwise, AttributeError> {
        let mut program = Program::default();
        let results = results.iter().map(|r| r.lower(&mut program)).collect::<Result<_, _>>()?;
        program.set_results(results)?;
        Ok(Pointwise { program })
    }

    fn lower(&self, program: &mut Program) -> Result<usize, AttributeError> {
        match &*self.0 {
            Tree::Leaf(step) => program.add(step.clone()),
            Tree::Apply { op, compute, args } => {
                let args = args.iter().map(|a| a.lower(program)).collect::<Result<_, _>>()?;
                program.add(Step::Apply { op: *op, compute: *compute, args })
            }
        }
    }
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident),*) => {$(
        impl $trait<&Expr> for &Expr {
            type Output = Expr;

            fn $method(self, other: &Expr) -> Expr {
                self.binary(ScalarOp::$trait, other)
            }
        }

        impl $trait<Expr> for Expr {
            type Output = Expr;

            fn $method(self, other: Expr) -> Expr {
                self.binary(ScalarOp::$trait, &other)
            }
        }

        impl $trait<f64> for &Expr {
            type Output = Expr;

            fn $method(self, other: f64) -> Expr {
                self.binary(ScalarOp::$trait, &self.same(other))
            }
        }

        impl $trait<f64> for Expr {
            type Output = Expr;

            fn $method(self, other: f64) -> Expr {
                (&self).$method(other)
            }
        }
    )*};
}

arithmetic!(Add add, Sub sub, Mul mul, Div div);

impl Neg for &Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        self.unary(ScalarOp::Neg)
    }
}
