//! Operators on strings and images, and lookups by them. They run on the host, for every device.

pub mod image_decoder;
pub mod label_encoder;
pub mod regex_full_match;
pub mod string_cast;
pub mod string_concat;
pub mod string_equal;
pub mod string_normalizer;
pub mod string_split;
pub mod tf_idf_vectorizer;

pub use image_decoder::{ImageDecoder, PixelFormat};
pub use label_encoder::LabelEncoder;
pub use regex_full_match::RegexFullMatch;
pub use string_cast::StringCast;
pub use string_concat::StringConcat;
pub use string_equal::StringEqual;
pub use string_normalizer::{CaseChange, StringNormalizer};
pub use string_split::StringSplit;
pub use tf_idf_vectorizer::{TfIdfVectorizer, Weighting};

use sinter_base::shape::{broadcast_sizes, broadcast_strides, for_each_index, ravel};
use sinter_base::{DataType, Sizes, Tensor};

use crate::error::{EvalError, InferError};
use crate::invalid;
use crate::operands::{Arguments, Operands};

/// Checks that an input holds strings.
fn strings_at(inputs: &Operands<'_>, index: usize) -> Result<(), InferError> {
    inputs.data_type_where(index, "string", |t| t == DataType::String)?;
    Ok(())
}

/// Two strings at the same place.
type Pair<'a> = (&'a str, &'a str);

/// The sizes and pairs of elements of two string tensors broadcast against each other.
fn broadcast_pairs<'a>(inputs: &Arguments<'a>) -> Result<(Sizes, Vec<Pair<'a>>), EvalError> {
    let (a, b): (&'a Tensor, &'a Tensor) = (inputs.tensor(0)?, inputs.tensor(1)?);
    let Some(sizes) = broadcast_sizes(&[a.sizes(), b.sizes()]) else {
        invalid!(eval: "shapes {:?} and {:?} do not broadcast", a.sizes(), b.sizes());
    };
    let (a_strides, b_strides) = (broadcast_strides(a.sizes(), &sizes), broadcast_strides(b.sizes(), &sizes));
    let (a, b) = (a.strings()?, b.strings()?);
    let mut pairs = Vec::new();
    for_each_index(&sizes, |at| pairs.push((a[ravel(at, &a_strides)].as_str(), b[ravel(at, &b_strides)].as_str())));
    Ok((sizes, pairs))
}
