//! Self-test vectors to and from their wire form.

use prost::Message;
use sinter_base::{DataType, Tensor};

use crate::error::PlanError;
use crate::self_test::{Bound, SelfTest, SelfTestInput, SelfTestOutput, SelfTestVector};
use crate::wire;
use crate::wire::self_test_input::{Contents, Texts, Uniform};
use crate::wire::self_test_output::{Bound as WireBound, Within};

fn wide(sizes: &[usize]) -> Vec<u64> {
    sizes.iter().map(|&size| u64::try_from(size).unwrap_or(u64::MAX)).collect()
}

fn narrow(sizes: &[u64]) -> Result<Vec<usize>, PlanError> {
    let size = |&size| usize::try_from(size).map_err(|_| PlanError::damaged(format!("a self-test size of {size}")));
    sizes.iter().map(size).collect()
}

fn data_type(name: &str) -> Result<DataType, PlanError> {
    name.parse().map_err(|e| PlanError::damaged(format!("a self-test vector: {e}")))
}

impl SelfTest {
    /// Encodes the vectors alone, for a cache beside the plan.
    pub fn to_bytes(&self) -> Vec<u8> {
        let self_test = self.vectors.iter().map(encode_vector).collect();
        wire::Metadata { self_test, ..wire::Metadata::default() }.encode_to_vec()
    }

    /// Decodes the bytes of [`SelfTest::to_bytes`].
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanError> {
        let metadata = wire::Metadata::decode(bytes).map_err(|e| PlanError::damaged(e.to_string()))?;
        let vectors = metadata.self_test.into_iter().map(decode_vector).collect::<Result<_, _>>()?;
        Ok(Self { vectors })
    }
}

pub(crate) fn encode_vector(vector: &SelfTestVector) -> wire::SelfTestVector {
    wire::SelfTestVector {
        inputs: vector.inputs.iter().map(encode_input).collect(),
        outputs: vector.outputs.iter().map(encode_output).collect(),
    }
}

fn encode_input(input: &SelfTestInput) -> wire::SelfTestInput {
    match input {
        SelfTestInput::Stored(tensor) => wire::SelfTestInput {
            data_type: tensor.data_type().to_string(),
            sizes: wide(tensor.sizes()),
            contents: Some(match tensor.strings() {
                Ok(strings) => Contents::Texts(Texts { values: strings.to_vec() }),
                Err(_) => Contents::Elements(tensor.bytes().to_vec()),
            }),
        },
        SelfTestInput::Uniform { data_type, sizes, seed, low, high } => wire::SelfTestInput {
            data_type: data_type.to_string(),
            sizes: wide(sizes),
            contents: Some(Contents::Uniform(Uniform { seed: *seed, low: *low, high: *high })),
        },
    }
}

fn encode_output(output: &SelfTestOutput) -> wire::SelfTestOutput {
    wire::SelfTestOutput {
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

pub(crate) fn decode_vector(vector: wire::SelfTestVector) -> Result<SelfTestVector, PlanError> {
    Ok(SelfTestVector {
        inputs: vector.inputs.into_iter().map(decode_input).collect::<Result<_, _>>()?,
        outputs: vector.outputs.into_iter().map(decode_output).collect::<Result<_, _>>()?,
    })
}

fn decode_input(input: wire::SelfTestInput) -> Result<SelfTestInput, PlanError> {
    let (data_type, sizes) = (data_type(&input.data_type)?, narrow(&input.sizes)?);
    let wrong = |e: &dyn std::fmt::Display| PlanError::damaged(format!("a self-test input: {e}"));
    match input.contents {
        Some(Contents::Uniform(Uniform { seed, low, high })) => {
            if !(low.is_finite() && high.is_finite()) {
                return Err(wrong(&"its range is not finite"));
            }
            Ok(SelfTestInput::Uniform { data_type, sizes, seed, low, high })
        }
        Some(Contents::Texts(texts)) => {
            Tensor::from_strings(&sizes, texts.values).map(SelfTestInput::Stored).map_err(|e| wrong(&e))
        }
        Some(Contents::Elements(bytes)) => {
            Tensor::from_bytes(data_type, &sizes, bytes.into()).map(SelfTestInput::Stored).map_err(|e| wrong(&e))
        }
        None => Err(wrong(&"it has no contents")),
    }
}

fn decode_output(output: wire::SelfTestOutput) -> Result<SelfTestOutput, PlanError> {
    let (data_type, sizes) = (data_type(&output.data_type)?, narrow(&output.sizes)?);
    let wrong = |e: &dyn std::fmt::Display| PlanError::damaged(format!("a self-test output: {e}"));
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
    Ok(SelfTestOutput { sizes, kept: kept.map_err(|e| wrong(&e))?, stride, bound })
}
