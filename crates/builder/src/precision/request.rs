//! The precision that a build asks for.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sinter_base::DataType;

/// The type in which a plan stores values that the model stores in f32, and in which its kernels take them.
///
/// Products, normalizations and reductions compute in f32 at least whatever the storage, and round their results once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Precision {
    /// As the model says: f32 in f32.
    #[default]
    Fp32,
    /// f16: 11 binary digits, numbers up to 65504.
    Fp16,
    /// bf16: 8 binary digits, the range of f32.
    Bf16,
}

impl Precision {
    /// Every precision, the widest first.
    pub const ALL: &'static [Self] = &[Self::Fp32, Self::Fp16, Self::Bf16];

    /// The element type of stored values.
    pub fn storage(self) -> DataType {
        match self {
            Self::Fp32 => DataType::F32,
            Self::Fp16 => DataType::F16,
            Self::Bf16 => DataType::Bf16,
        }
    }

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        }
    }

    /// The bound on the error of an output, relative to its largest element: 16 units in the last place of the type. `None`
    /// for f32, whose outputs have the bounds of verification.
    pub fn limit(self) -> Option<f64> {
        match self {
            Self::Fp32 => None,
            Self::Fp16 => Some(16.0 * 2f64.powi(-10)),
            Self::Bf16 => Some(16.0 * 2f64.powi(-7)),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|precision| precision.name()).collect::<Vec<_>>().join(", ");
        let found = Self::ALL.iter().find(|precision| precision.name() == text);
        found.copied().ok_or_else(|| format!("'{text}' is no precision; known are {}", known()))
    }
}

/// What a build is asked to compute in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrecisionOptions {
    /// The precision of all nodes that `layers` does not name.
    pub network: Precision,
    /// The precision of single nodes: the name of a node or of an output of the model, where `*` stands for any text. A later
    /// entry wins.
    pub layers: Vec<(String, Precision)>,
    /// Is it an error if a value exceeds the range of the precision, or an output its bound? Otherwise such nodes stay in
    /// f32, and the report names them.
    pub is_strict: bool,
}

impl PrecisionOptions {
    /// Does the network stay as the model says?
    pub(crate) fn is_plain(&self) -> bool {
        self.network == Precision::Fp32 && self.layers.is_empty()
    }

    /// The coarsest precision that is asked for.
    pub(crate) fn coarsest(&self) -> Precision {
        let all = || self.layers.iter().map(|(_, precision)| *precision).chain([self.network]);
        let digits = |precision: &Precision| precision.limit().map_or(0, |limit| (limit * 1e6) as u64);
        all().max_by_key(digits).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_there_and_back() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(*precision));
        }
        assert_eq!("int3".parse::<Precision>(), Err("'int3' is no precision; known are fp32, fp16, bf16".to_owned()));
    }

    #[test]
    fn the_coarsest_precision_bounds_the_error() {
        let layers = vec![("a".to_owned(), Precision::Bf16), ("b".to_owned(), Precision::Fp32)];
        let options = PrecisionOptions { network: Precision::Fp16, layers, is_strict: false };
        assert_eq!(options.coarsest(), Precision::Bf16);
        assert!(PrecisionOptions::default().is_plain() && !options.is_plain());
    }
}
