//! Sealed vectors to and from their wire form.

use prost::Message;
use sinter_base::{DataType, Tensor};

use crate::error::PlanError;
use crate::sealed::{Bound, Sealed, SealedInput, SealedOutput, SealedVector};
use crate::wire;
use crate::wire::sealed_input::{Contents, Texts, Uniform};
use crate::wire::sealed_output::{Bound as WireBound, Within};

fn wide(sizes: &[usize]) -> Vec<u64> {
    sizes.iter().map(|&size| u64::try_from(size).unwrap_or(u64::MAX)).collect()
}

fn narrow(sizes: &[u64]) -> Result<Vec<usize>, PlanError> {
    let size = |&size| usize::try_from(size).map_err(|_| PlanError::damaged(format!("a sealed size of {size}")));
    sizes.iter().map(size).collect()
}

fn data_type(name: &str) -> Result<DataType, PlanError> {
    name.parse().map_err(|e| PlanError::damaged(format!("a sealed vector: {e}")))
}

impl Sealed {
    /// The answers alone, for what keeps them beside a plan.
    pub fn to_bytes(&self) -> Vec<u8> {
        let sealed = self.vectors.iter().map(encode_vector).collect();
        wire::Metadata { sealed, ..wire::Metadata::default() }.encode_to_vec()
    }

    /// What [`Sealed::to_bytes`] made.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanError> {
        let metadata = wire::Metadata::decode(bytes).map_err(|e| PlanError::damaged(e.to_string()))?;
        let vectors = metadata.sealed.into_iter().map(decode_vector).collect::<Result<_, _>>()?;
        Ok(Self { vectors })
    }
}

pub(crate) fn encode_vector(vector: &SealedVector) -> wire::SealedVector {
    wire::SealedVector {
        inputs: vector.inputs.iter().map(encode_input).collect(),
        outputs: vector.outputs.iter().map(encode_output).collect(),
    }
}

fn encode_input(input: &SealedInput) -> wire::SealedInput {
    match input {
        SealedInput::Stored(tensor) => wire::SealedInput {
            data_type: tensor.data_type().to_string(),
            sizes: wide(tensor.sizes()),
            contents: Some(match tensor.strings() {
                Ok(strings) => Contents::Texts(Texts { values: strings.to_vec() }),
                Err(_) => Contents::Elements(tensor.bytes().to_vec()),
            }),
        },
        SealedInput::Uniform { data_type, sizes, seed, low, high } => wire::SealedInput {
            data_type: data_type.to_string(),
            sizes: wide(sizes),
            contents: Some(Contents::Uniform(Uniform { seed: *seed, low: *low, high: *high })),
        },
    }
}

fn encode_output(output: &SealedOutput) -> wire::SealedOutput {
    wire::SealedOutput {
        data_type: output.kept.data_type().to_string(),
        sizes: wide(&output.sizes),
        stride: u64::try_from(output.stride).unwrap_or(u64::MAX),
        elements: output.kept.bytes().to_vec(),
        bound: Some(match output.bound {
            Bound::Exact => WireBound::Exact(true),
            Bound::Within { absolute, relative } => WireBound::Within(Within { absolute, relative }),
            Bound::Cosine(least) => WireBound::Cosine(least),
        }),
    }
}

pub(crate) fn decode_vector(vector: wire::SealedVector) -> Result<SealedVector, PlanError> {
    Ok(SealedVector {
        inputs: vector.inputs.into_iter().map(decode_input).collect::<Result<_, _>>()?,
        outputs: vector.outputs.into_iter().map(decode_output).collect::<Result<_, _>>()?,
    })
}

fn decode_input(input: wire::SealedInput) -> Result<SealedInput, PlanError> {
    let (data_type, sizes) = (data_type(&input.data_type)?, narrow(&input.sizes)?);
    let wrong = |e: &dyn std::fmt::Display| PlanError::damaged(format!("a sealed input: {e}"));
    match input.contents {
        Some(Contents::Uniform(Uniform { seed, low, high })) => {
            if !(low.is_finite() && high.is_finite()) {
                return Err(wrong(&"its range is not finite"));
            }
            Ok(SealedInput::Uniform { data_type, sizes, seed, low, high })
        }
        Some(Contents::Texts(texts)) => {
            Tensor::from_strings(&sizes, texts.values).map(SealedInput::Stored).map_err(|e| wrong(&e))
        }
        Some(Contents::Elements(bytes)) => {
            Tensor::from_bytes(data_type, &sizes, bytes.into()).map(SealedInput::Stored).map_err(|e| wrong(&e))
        }
        None => Err(wrong(&"it has no contents")),
    }
}

fn decode_output(output: wire::SealedOutput) -> Result<SealedOutput, PlanError> {
    let (data_type, sizes) = (data_type(&output.data_type)?, narrow(&output.sizes)?);
    let wrong = |e: &dyn std::fmt::Display| PlanError::damaged(format!("a sealed output: {e}"));
    let stride = usize::try_from(output.stride).ok().filter(|stride| *stride > 0);
    let stride = stride.ok_or_else(|| wrong(&"its stride is 0"))?;
    let count = sinter_base::shape::element_count(&sizes).ok_or_else(|| wrong(&"its sizes overflow"))?;
    let kept = Tensor::from_bytes(data_type, &[count.div_ceil(stride)], output.elements.into());
    let bound = match output.bound {
        Some(WireBound::Exact(_)) => Bound::Exact,
        Some(WireBound::Within(Within { absolute, relative })) => Bound::Within { absolute, relative },
        Some(WireBound::Cosine(least)) => Bound::Cosine(least),
        None => return Err(wrong(&"it has no bound")),
    };
    Ok(SealedOutput { sizes, kept: kept.map_err(|e| wrong(&e))?, stride, bound })
}
