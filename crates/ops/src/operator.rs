//! The contract of an operator.

use std::fmt::Debug;
use std::sync::Arc;

use sinter_base::{Attribute, Value, ValueType};

use crate::body::Body;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};

/// Work of one execution, for estimates and roofline reports. Symbolic sizes make it an expression of sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Arithmetic operations; a multiply-add counts as two.
    pub operations: sinter_base::Dim,
    /// Bytes read and written at least once.
    pub bytes: sinter_base::Dim,
}

impl Cost {
    /// The cost of touching every operand and result once, with `per_element` operations for each result element.
    pub fn elementwise(inputs: &Operands<'_>, outputs: &[ValueType], per_element: i64) -> Self {
        let given = (0..inputs.len()).filter_map(|i| inputs.optional_value(i));
        let bytes = given.chain(outputs).fold(sinter_base::Dim::constant(0), |total, ty| total.add(&bytes_of(ty)));
        let elements = outputs.iter().fold(sinter_base::Dim::constant(0), |total, ty| total.add(&count_of(ty)));
        Self { operations: elements.mul(&per_element.into()), bytes }
    }
}

/// Elements of a tensor type; 0 where unknown.
pub fn count_of(ty: &ValueType) -> sinter_base::Dim {
    ty.as_tensor().and_then(|t| t.shape.count().ok()).unwrap_or_else(|| 0i64.into())
}

fn bytes_of(ty: &ValueType) -> sinter_base::Dim {
    let bits = i64::try_from(ty.data_type().bits()).unwrap_or(0);
    count_of(ty).mul(&bits.into()).ceil_div(&8i64.into())
}

/// The side effects of an operator. Passes may neither drop, repeat nor reorder operators with effects
/// that forbid it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Draws random numbers: equal nodes are not merged, and nothing is folded at build time.
    pub random: bool,
    /// Fails on purpose on values that `infer` cannot see: kept even when unused. An index beyond an axis is no such
    /// purpose: shape arithmetic consists of indexing, and passes may remove unread results.
    pub asserts: bool,
}

impl Effects {
    /// A pure function of its inputs.
    pub const NONE: Self = Self { random: false, asserts: false };
    /// Draws random numbers.
    pub const RANDOM: Self = Self { random: true, asserts: false };
}

/// One operator: attributes plus meaning.
pub trait Operator: Attribute + Clone + Debug + PartialEq + Send + Sync + 'static {
    /// Name in text forms, the same on every floor.
    const NAME: &'static str;

    /// Types of the results.
    ///
    /// # Errors
    /// When the operator does not take these inputs. [`InferError::Unranked`] makes the caller use
    /// [`Operator::unranked`].
    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError>;

    /// Types of the results when a rank that `infer` needs is unknown: correct element types and count, unranked
    /// shapes.
    ///
    /// # Errors
    /// When the operator does not take these inputs whatever their rank.
    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(inputs.data_type(0)?)])
    }

    /// The results: plain, slow, obviously right. Floats are computed in float64 and rounded once at the end.
    ///
    /// # Errors
    /// When the operator does not take these values.
    fn reference(&self, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError>;

    /// Work of one execution.
    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 1)
    }

    /// Effects beside the results.
    fn effects(&self) -> Effects {
        Effects::NONE
    }

    /// Inputs whose contents determine sizes of the results: the shape of a reshape, the number of a top-k.
    fn size_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Bodies that this operator owns, in a fixed order.
    fn bodies(&self) -> Vec<&Arc<Body>> {
        Vec::new()
    }

    /// The same operator with other bodies, as many as [`Operator::bodies`] lists.
    #[must_use]
    fn with_bodies(&self, _bodies: Vec<Arc<Body>>) -> Self {
        self.clone()
    }

    /// Problems that test this operator on every back end: each attribute, odd sizes, edges.
    fn examples() -> Vec<Example>;
}
