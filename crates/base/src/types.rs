//! Types of values at build time.

use std::fmt;
use std::sync::Arc;

use crate::data_type::DataType;
use crate::dim::Dim;
use crate::shape::{Shape, Unranked};
use crate::tensor::Tensor;

/// Tensors with more elements than this carry no known value; of symbolic ones each factor counts.
pub const MAX_KNOWN_ELEMENTS: usize = 4096;

/// The contents of a small tensor, known at build time: shape arithmetic runs on these.
#[derive(Clone, Debug, PartialEq)]
pub enum KnownValue {
    /// Elements of an integer type or bool, possibly symbolic, row-major.
    Ints(Vec<Dim>),
    /// Elements of a float type, row-major.
    Floats(Vec<f64>),
    /// Elements of a string tensor, row-major.
    Strings(Vec<String>),
}

/// Type of a tensor value.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorType {
    /// Element type.
    pub data_type: DataType,
    /// Symbolic shape.
    pub shape: Shape,
    /// Contents, when small and known.
    pub value: Option<Arc<KnownValue>>,
}

impl TensorType {
    /// A tensor of this element type and shape, contents unknown.
    pub fn new(data_type: DataType, shape: Shape) -> Self {
        Self { data_type, shape, value: None }
    }

    /// A tensor of this element type and these dimensions.
    pub fn ranked(data_type: DataType, dims: Vec<Dim>) -> Self {
        Self::new(data_type, Shape::Ranked(dims))
    }

    /// The same type with known contents, dropped when they are too many or too large.
    #[must_use]
    pub fn with_value(mut self, value: KnownValue) -> Self {
        let most = MAX_KNOWN_ELEMENTS;
        let is_small = match &value {
            KnownValue::Ints(v) => {
                let nodes = v.iter().map(Dim::nodes).fold(0, u64::saturating_add);
                !v.iter().any(Dim::is_too_large) && usize::try_from(nodes).is_ok_and(|nodes| nodes <= most)
            }
            KnownValue::Floats(v) => v.len() <= most,
            KnownValue::Strings(v) => v.len() <= most,
        };
        self.value = is_small.then(|| Arc::new(value));
        self
    }

    /// The type of a concrete tensor, with its contents when small.
    pub fn of(tensor: &Tensor) -> Self {
        let ty = Self::new(tensor.data_type(), Shape::from(tensor.sizes()));
        if tensor.count() > MAX_KNOWN_ELEMENTS {
            return ty;
        }
        ty.with_value(match tensor.data_type() {
            DataType::String => KnownValue::Strings(tensor.strings().unwrap_or_default().to_vec()),
            t if t.is_float() => KnownValue::Floats(tensor.to_floats()),
            // A `u64` beyond `i64` saturates here; such numbers are never sizes.
            _ => KnownValue::Ints(tensor.to_i64().into_iter().map(Dim::constant).collect()),
        })
    }

    /// The dimensions.
    ///
    /// # Errors
    /// [`Unranked`] when their number is unknown.
    pub fn dims(&self) -> Result<&[Dim], Unranked> {
        self.shape.dims()
    }

    /// Known integer contents, possibly symbolic.
    pub fn ints(&self) -> Option<&[Dim]> {
        match self.value.as_deref() {
            Some(KnownValue::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// Known integer contents without symbols.
    pub fn constant_ints(&self) -> Option<Vec<i64>> {
        self.ints()?.iter().map(Dim::as_constant).collect()
    }

    /// Known float contents.
    pub fn floats(&self) -> Option<&[f64]> {
        match self.value.as_deref() {
            Some(KnownValue::Floats(values)) => Some(values),
            _ => None,
        }
    }

    /// The whole tensor, when sizes and contents are known without symbols. `None` for unsigned 64-bit contents that
    /// may have been saturated.
    pub fn constant(&self) -> Option<Tensor> {
        let sizes = self.shape.sizes()?;
        match self.value.as_deref()? {
            KnownValue::Ints(values) => {
                let ints: Option<Vec<i128>> = values.iter().map(|d| d.as_constant().map(i128::from)).collect();
                let ints = ints?;
                if self.data_type == DataType::U64 && ints.contains(&i128::from(i64::MAX)) {
                    return None;
                }
                Tensor::from_ints(self.data_type, &sizes, &ints).ok()
            }
            KnownValue::Floats(values) => Tensor::from_floats(self.data_type, &sizes, values).ok(),
            KnownValue::Strings(values) => Tensor::from_strings(&sizes, values.clone()).ok(),
        }
    }

    /// Rewrites every dimension, in shape and known contents.
    #[must_use]
    pub fn map_dims(&self, map: &dyn Fn(&Dim) -> Dim) -> Self {
        let shape = match &self.shape {
            Shape::Unranked => Shape::Unranked,
            Shape::Ranked(dims) => Shape::Ranked(dims.iter().map(map).collect()),
        };
        let value = self.value.as_ref().map(|value| match &**value {
            KnownValue::Ints(values) => Arc::new(KnownValue::Ints(values.iter().map(map).collect())),
            _ => value.clone(),
        });
        Self { data_type: self.data_type, shape, value }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.data_type, self.shape)
    }
}

/// Type of any value.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueType {
    /// A tensor.
    Tensor(TensorType),
    /// A list of values of one type, length known only at run time.
    Sequence(Box<ValueType>),
    /// A value or nothing.
    Optional(Box<ValueType>),
}

impl ValueType {
    /// A tensor of this element type and these dimensions.
    pub fn tensor(data_type: DataType, dims: Vec<Dim>) -> Self {
        ValueType::Tensor(TensorType::ranked(data_type, dims))
    }

    /// A tensor of unknown rank.
    pub fn unranked(data_type: DataType) -> Self {
        ValueType::Tensor(TensorType::new(data_type, Shape::Unranked))
    }

    /// The tensor type, when this is one.
    pub fn as_tensor(&self) -> Option<&TensorType> {
        match self {
            ValueType::Tensor(ty) => Some(ty),
            _ => None,
        }
    }

    /// Element type of the innermost tensor.
    pub fn data_type(&self) -> DataType {
        match self {
            ValueType::Tensor(ty) => ty.data_type,
            ValueType::Sequence(inner) | ValueType::Optional(inner) => inner.data_type(),
        }
    }

    /// Rewrites every dimension.
    #[must_use]
    pub fn map_dims(&self, map: &dyn Fn(&Dim) -> Dim) -> Self {
        match self {
            ValueType::Tensor(ty) => ValueType::Tensor(ty.map_dims(map)),
            ValueType::Sequence(inner) => ValueType::Sequence(Box::new(inner.map_dims(map))),
            ValueType::Optional(inner) => ValueType::Optional(Box::new(inner.map_dims(map))),
        }
    }
}

impl From<TensorType> for ValueType {
    fn from(ty: TensorType) -> Self {
        ValueType::Tensor(ty)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueType::Tensor(ty) => ty.fmt(f),
            ValueType::Sequence(inner) => write!(f, "sequence<{inner}>"),
            ValueType::Optional(inner) => write!(f, "optional<{inner}>"),
        }
    }
}

/// Lets `?` turn an unknown rank into a broader error.
impl From<Unranked> for String {
    fn from(error: Unranked) -> Self {
        error.to_string()
    }
}
