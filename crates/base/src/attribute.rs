//! Attributes as a small tree: one implementation of printing, parsing, encoding and hashing for all operators.
//!
//! `#[derive(Attributes)]` maps a struct or enum to and from [`Attr`]; everything else works on the tree.

use std::fmt;

/// An attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// `None`, printed `_`.
    Absent,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A float, printed so that it parses back to the same bits.
    Float(f64),
    /// Quoted text.
    Text(String),
    /// A bare word: a variant without fields, a data type.
    Name(String),
    /// An ordered list.
    List(Vec<Attr>),
    /// Named fields, with the variant's name when it belongs to an enum.
    Record {
        /// Variant name; empty for a plain struct.
        variant: String,
        /// Field names and values in declaration order.
        fields: Vec<(String, Attr)>,
    },
}

/// A tree that does not fit the type asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AttributeError {
    message: String,
}

impl AttributeError {
    /// An error with this text.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }

    /// "expected WHAT, found TREE".
    pub fn expected(what: &str, found: &Attr) -> Self {
        Self::new(format!("expected {what}, found {found}"))
    }

    /// The same error, inside the named field.
    #[must_use]
    pub fn in_field(self, field: &str) -> Self {
        Self::new(format!("{field}: {}", self.message))
    }
}

/// A type with a tree form.
pub trait Attribute: Sized {
    /// The tree of this value.
    fn to_attr(&self) -> Attr;

    /// The value of a tree.
    ///
    /// # Errors
    /// When the tree has another form; the message names the field.
    fn from_attr(attr: &Attr) -> Result<Self, AttributeError>;

    /// The type in words, for documentation tables.
    fn schema() -> String;
}

impl Attribute for bool {
    fn to_attr(&self) -> Attr {
        Attr::Bool(*self)
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::Bool(value) => Ok(*value),
            other => Err(AttributeError::expected("true or false", other)),
        }
    }

    fn schema() -> String {
        "bool".to_owned()
    }
}

macro_rules! integer_attribute {
    ($($t:ty),*) => {$(
        impl Attribute for $t {
            fn to_attr(&self) -> Attr {
                Attr::Int(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
                match attr {
                    Attr::Int(value) => <$t>::try_from(*value)
                        .map_err(|_| AttributeError::expected(concat!("an integer of type ", stringify!($t)), attr)),
                    other => Err(AttributeError::expected("an integer", other)),
                }
            }

            fn schema() -> String {
                "integer".to_owned()
            }
        }
    )*};
}

integer_attribute!(i64, usize, u32, u64);

impl Attribute for f64 {
    fn to_attr(&self) -> Attr {
        Attr::Float(*self)
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::Float(value) => Ok(*value),
            Attr::Int(value) => Ok(*value as f64),
            other => Err(AttributeError::expected("a number", other)),
        }
    }

    fn schema() -> String {
        "float".to_owned()
    }
}

impl Attribute for String {
    fn to_attr(&self) -> Attr {
        Attr::Text(self.clone())
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::Text(value) => Ok(value.clone()),
            other => Err(AttributeError::expected("quoted text", other)),
        }
    }

    fn schema() -> String {
        "text".to_owned()
    }
}

impl<T: Attribute> Attribute for Option<T> {
    fn to_attr(&self) -> Attr {
        self.as_ref().map_or(Attr::Absent, Attribute::to_attr)
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::Absent => Ok(None),
            present => T::from_attr(present).map(Some),
        }
    }

    fn schema() -> String {
        format!("optional {}", T::schema())
    }
}

impl<T: Attribute> Attribute for Vec<T> {
    fn to_attr(&self) -> Attr {
        Attr::List(self.iter().map(Attribute::to_attr).collect())
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::List(items) => items.iter().map(T::from_attr).collect(),
            other => Err(AttributeError::expected("a list", other)),
        }
    }

    fn schema() -> String {
        format!("list of {}", T::schema())
    }
}

impl<A: Attribute, B: Attribute> Attribute for (A, B) {
    fn to_attr(&self) -> Attr {
        Attr::List(vec![self.0.to_attr(), self.1.to_attr()])
    }

    fn from_attr(attr: &Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::List(items) if items.len() == 2 => Ok((A::from_attr(&items[0])?, B::from_attr(&items[1])?)),
            other => Err(AttributeError::expected("a pair", other)),
        }
    }

    fn schema() -> String {
        format!("pair of {} and {}", A::schema(), B::schema())
    }
}

/// Reads the fields of a record by name; used by the derive.
#[derive(Debug)]
pub struct FieldReader<'a> {
    fields: &'a [(String, Attr)],
}

impl<'a> FieldReader<'a> {
    /// A reader of a struct's tree, or of the tree of the named variant.
    ///
    /// # Errors
    /// When the tree is no record.
    pub fn new(attr: &'a Attr) -> Result<Self, AttributeError> {
        match attr {
            Attr::Record { fields, .. } => Ok(Self { fields }),
            other => Err(AttributeError::expected("named fields", other)),
        }
    }

    /// The field of this name.
    ///
    /// # Errors
    /// When it is missing or has another form.
    pub fn field<T: Attribute>(&self, name: &str) -> Result<T, AttributeError> {
        let (_, value) = self
            .fields
            .iter()
            .find(|(field, _)| field == name)
            .ok_or_else(|| AttributeError::new(format!("field {name} is missing")))?;
        T::from_attr(value).map_err(|e| e.in_field(name))
    }

    /// The field of this name, or its default where it is missing.
    ///
    /// # Errors
    /// When it has another form.
    pub fn field_or_default<T: Attribute + Default>(&self, name: &str) -> Result<T, AttributeError> {
        if self.fields.iter().any(|(field, _)| field == name) { self.field(name) } else { Ok(T::default()) }
    }

    /// Fails on a field that is not among `known`, so that a misspelt name is not ignored.
    ///
    /// # Errors
    /// Names the unknown field.
    pub fn finish(&self, known: &[&str]) -> Result<(), AttributeError> {
        match self.fields.iter().find(|(field, _)| !known.contains(&field.as_str())) {
            Some((field, _)) => {
                Err(AttributeError::new(format!("unknown field {field}; known are {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::attribute_text::print(self, f)
    }
}

impl std::str::FromStr for Attr {
    type Err = AttributeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        crate::attribute_text::parse(text)
    }
}
