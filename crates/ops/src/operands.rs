//! The inputs of an operator: types for `infer`, values for `reference`. Inputs may be left out.

use sinter_base::{DataType, Dim, Tensor, TensorType, Value, ValueType};

use crate::error::{EvalError, InferError};

/// Input types.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    types: &'a [Option<&'a ValueType>],
}

impl<'a> Operands<'a> {
    /// Wraps a list of types; `None` for an input that is left out.
    pub fn new(types: &'a [Option<&'a ValueType>]) -> Self {
        Self { types }
    }

    /// Number of inputs, left-out ones included.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// No inputs at all.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// Is the input given?
    pub fn has(&self, index: usize) -> bool {
        self.optional_value(index).is_some()
    }

    /// Any input that may be left out.
    pub fn optional_value(&self, index: usize) -> Option<&'a ValueType> {
        self.types.get(index).copied().flatten()
    }

    /// Any input.
    ///
    /// # Errors
    /// When it is left out.
    pub fn value(&self, index: usize) -> Result<&'a ValueType, InferError> {
        self.optional_value(index).ok_or(InferError::MissingInput { index })
    }

    /// A tensor input.
    ///
    /// # Errors
    /// When it is left out or no tensor.
    pub fn tensor(&self, index: usize) -> Result<&'a TensorType, InferError> {
        match self.value(index)? {
            ValueType::Tensor(ty) => Ok(ty),
            other => Err(InferError::Kind { index, expected: "a tensor", found: other.to_string() }),
        }
    }

    /// A tensor input that may be left out.
    ///
    /// # Errors
    /// When it is given and no tensor.
    pub fn optional_tensor(&self, index: usize) -> Result<Option<&'a TensorType>, InferError> {
        if self.has(index) { self.tensor(index).map(Some) } else { Ok(None) }
    }

    /// Dimensions of a tensor input.
    ///
    /// # Errors
    /// When it is left out, no tensor, or of unknown rank.
    pub fn dims(&self, index: usize) -> Result<&'a [Dim], InferError> {
        Ok(self.tensor(index)?.dims()?)
    }

    /// Dimensions of a tensor input of exactly this rank.
    ///
    /// # Errors
    /// As [`Operands::dims`], or when the rank differs.
    pub fn dims_of_rank(&self, index: usize, rank: usize) -> Result<&'a [Dim], InferError> {
        let dims = self.dims(index)?;
        if dims.len() == rank {
            Ok(dims)
        } else {
            Err(InferError::Rank { index, expected: rank.to_string(), found: dims.len() })
        }
    }

    /// Element type of a tensor input.
    ///
    /// # Errors
    /// When it is left out or no tensor.
    pub fn data_type(&self, index: usize) -> Result<DataType, InferError> {
        Ok(self.tensor(index)?.data_type)
    }

    /// Checks the element type of a tensor input and returns it.
    ///
    /// # Errors
    /// When `accept` refuses it; `expected` says in words what it takes.
    pub fn data_type_where(
        &self,
        index: usize,
        expected: &str,
        accept: impl Fn(DataType) -> bool,
    ) -> Result<DataType, InferError> {
        let found = self.data_type(index)?;
        if accept(found) {
            Ok(found)
        } else {
            Err(InferError::DataType { index, expected: expected.to_owned(), found })
        }
    }

    /// Checks that all given tensor inputs from `first` on have the element type of input `first`.
    ///
    /// # Errors
    /// Names the first input that differs.
    pub fn same_data_type(&self, first: usize) -> Result<DataType, InferError> {
        let expected = self.data_type(first)?;
        for index in first + 1..self.len() {
            if let Some(ty) = self.optional_tensor(index)?
                && ty.data_type != expected
            {
                return Err(InferError::DataType { index, expected: expected.to_string(), found: ty.data_type });
            }
        }
        Ok(expected)
    }

    /// Known integer contents of an input, possibly symbolic; `None` when left out or unknown.
    pub fn ints(&self, index: usize) -> Option<&'a [Dim]> {
        self.optional_value(index)?.as_tensor()?.ints()
    }

    /// Known integer contents of an input without symbols.
    pub fn constant_ints(&self, index: usize) -> Option<Vec<i64>> {
        self.optional_value(index)?.as_tensor()?.constant_ints()
    }

    /// Known float contents of an input.
    pub fn floats(&self, index: usize) -> Option<&'a [f64]> {
        self.optional_value(index)?.as_tensor()?.floats()
    }
}

/// Input values.
#[derive(Clone, Copy, Debug)]
pub struct Arguments<'a> {
    values: &'a [Option<Value>],
}

impl<'a> Arguments<'a> {
    /// Wraps a list of values; `None` for an input that is left out.
    pub fn new(values: &'a [Option<Value>]) -> Self {
        Self { values }
    }

    /// Number of inputs, left-out ones included.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// No inputs at all.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Is the input given?
    pub fn has(&self, index: usize) -> bool {
        self.optional_value(index).is_some()
    }

    /// All inputs, as they are.
    pub fn all(&self) -> &'a [Option<Value>] {
        self.values
    }

    /// Any input that may be left out.
    pub fn optional_value(&self, index: usize) -> Option<&'a Value> {
        self.values.get(index).and_then(Option::as_ref)
    }

    /// Any input.
    ///
    /// # Errors
    /// When it is left out.
    pub fn value(&self, index: usize) -> Result<&'a Value, EvalError> {
        self.optional_value(index).ok_or(EvalError::Infer(InferError::MissingInput { index }))
    }

    /// A tensor input.
    ///
    /// # Errors
    /// When it is left out or no tensor.
    pub fn tensor(&self, index: usize) -> Result<&'a Tensor, EvalError> {
        match self.value(index)? {
            Value::Tensor(tensor) => Ok(tensor),
            other => {
                let found = other.value_type().to_string();
                Err(InferError::Kind { index, expected: "a tensor", found }.into())
            }
        }
    }

    /// A tensor input that may be left out.
    ///
    /// # Errors
    /// When it is given and no tensor.
    pub fn optional_tensor(&self, index: usize) -> Result<Option<&'a Tensor>, EvalError> {
        if self.has(index) { self.tensor(index).map(Some) } else { Ok(None) }
    }
}
