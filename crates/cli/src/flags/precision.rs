//! What a plan computes in: `--precision`, `--layer-precision`, `--strict-precision`.

use std::str::FromStr;

use clap::{Args, ValueEnum};
use sinter::internals::builder::{self, PrecisionOptions};

/// Storage of the values that a model stores in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// As the model says
    Fp32,
    /// f16: 11 binary digits, numbers up to 65504; what exceeds them on the verification inputs stays in f32
    Fp16,
    /// bf16: 8 binary digits, the range of f32
    Bf16,
}

impl From<Precision> for builder::Precision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Fp32 => Self::Fp32,
            Precision::Fp16 => Self::Fp16,
            Precision::Bf16 => Self::Bf16,
        }
    }
}

/// What a plan computes in.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Model")]
pub struct PrecisionFlags {
    /// The type in which values are stored, and kernels take them [default: fp32]
    ///
    /// For a model in f32. Products, convolutions, attention, normalizations, pooling and moved tensors take and give the
    /// type, and add up in f32; weights are converted when the plan is made. Inputs and outputs keep their types. What
    /// suffers from few digits stays in f32: sums, exponentials outside of a softmax, selections, positions, recurrent layers,
    /// bodies of control flow. The report says which nodes and why, and how far each output is from the one in f32: by at
    /// most 0.016 of its largest element in fp16, 0.125 in bf16, or as far as rounding alone explains it. With --no-verify the
    /// build knows the range of weights only, and values beyond 65504 become infinite in fp16.
    #[arg(long, value_enum, hide_default_value = true)]
    precision: Option<Precision>,

    /// Another precision for single nodes: NAME=fp32,OTHER=fp16
    ///
    /// A name of a node or of an output of the model; `*` stands for any text, and a later entry wins. A name that the model
    /// does not have is an error, and so is a node that cannot be computed in the precision.
    #[arg(long, value_name = "NAME=PRECISION,...", value_delimiter = ',')]
    layer_precision: Vec<Layer>,

    /// Fail where a value exceeds the range of the precision, or an output its bound
    ///
    /// Otherwise such nodes stay in f32, and the report names them.
    #[arg(long)]
    strict_precision: bool,
}

/// The precision of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Layer(String, builder::Precision);

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('=') {
            Some((name, precision)) if !name.is_empty() => Ok(Self(name.to_owned(), precision.parse()?)),
            _ => Err(format!("'{text}' names no node with its precision; write NAME=fp32")),
        }
    }
}

impl PrecisionFlags {
    /// For the builder.
    pub fn options(&self) -> PrecisionOptions {
        PrecisionOptions {
            network: self.precision.map(Into::into).unwrap_or_default(),
            layers: self.layer_precision.iter().map(|Layer(name, precision)| (name.clone(), *precision)).collect(),
            is_strict: self.strict_precision,
        }
    }

    /// The flags, and whether each is given.
    pub fn given(&self) -> [(&'static str, bool); 3] {
        [
            ("--precision", self.precision.is_some()),
            ("--layer-precision", !self.layer_precision.is_empty()),
            ("--strict-precision", self.strict_precision),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_ends_at_the_last_equals_sign() {
        assert_eq!("a=b=fp16".parse(), Ok(Layer("a=b".to_owned(), builder::Precision::Fp16)));
        for (wrong, hint) in
            [("conv1", "write NAME=fp32"), ("=fp32", "names no node"), ("a=int3", "known are fp32, fp16")]
        {
            let error = wrong.parse::<Layer>().unwrap_err();
            assert!(error.contains(hint), "{error}");
        }
    }
}
