//! Instruction set tiers.

use std::fmt;
use std::sync::OnceLock;

use sinter_backend::Target;
use sinter_base::DataType;

/// The environment variable that forces a tier.
const VARIABLE: &str = "SINTER_CPU";

/// `SINTER_CPU` names no tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownTier {
    /// The given name.
    pub name: String,
}

impl fmt::Display for UnknownTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<&str> = Tier::ALL.iter().map(|tier| tier.name()).collect();
        let (name, known) = (&self.name, known.join(", "));
        write!(f, "{VARIABLE} is '{name}', which is no tier of instructions; there are {known}")
    }
}

impl std::error::Error for UnknownTier {}

/// Instruction sets that the kernels may use; each tier includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// The x86-64 baseline (SSE2), and every other machine.
    Scalar,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
}

impl Tier {
    /// Every tier, lowest first.
    pub const ALL: &[Self] = &[Tier::Scalar, Tier::Avx2, Tier::Avx512];

    /// Name in kernel names, reports and `SINTER_CPU`.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
        }
    }

    /// The target of this tier: figures of a typical server core, the same on every machine, so that plans do not
    /// depend on the machine that built them.
    pub fn target(self, threads: usize) -> Target {
        let float = match self {
            Tier::Scalar => 4e9,
            Tier::Avx2 => 80e9,
            Tier::Avx512 => 160e9,
        };
        Target {
            back_end: "cpu".to_owned(),
            isa: self.name().to_owned(),
            units: threads,
            bytes_per_second: 12e9,
            operations_per_second: vec![(DataType::F32, float), (DataType::F64, float / 2.0)],
        }
    }

    /// The best tier of the machine.
    pub fn detected() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma");
            let avx512 = std::arch::is_x86_feature_detected!("avx512f")
                && std::arch::is_x86_feature_detected!("avx512bw")
                && std::arch::is_x86_feature_detected!("avx512dq")
                && std::arch::is_x86_feature_detected!("avx512vl");
            match (avx2, avx512) {
                (true, true) => return Tier::Avx512,
                (true, false) => return Tier::Avx2,
                _ => {}
            }
        }
        Tier::Scalar
    }

    /// The tier that the environment variable `SINTER_CPU` names, if it is set to anything.
    ///
    /// # Errors
    /// When it names no tier.
    pub fn requested() -> Result<Option<Self>, UnknownTier> {
        Self::named(&std::env::var_os(VARIABLE).unwrap_or_default().to_string_lossy())
    }

    fn named(name: &str) -> Result<Option<Self>, UnknownTier> {
        match Self::ALL.iter().find(|tier| tier.name() == name) {
            Some(tier) => Ok(Some(*tier)),
            None if name.is_empty() => Ok(None),
            None => Err(UnknownTier { name: name.to_owned() }),
        }
    }

    /// The tier in use: what the machine has, or the lower one that `SINTER_CPU` names. Programs call
    /// [`Tier::requested`] first and end when the name is unknown; this function ignores an unknown name, and a tier
    /// above the machine's.
    pub fn in_use() -> Self {
        static TIER: OnceLock<Tier> = OnceLock::new();
        *TIER.get_or_init(|| {
            let detected = Self::detected();
            Self::requested().ok().flatten().map_or(detected, |tier| tier.min(detected))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_or_an_error() {
        for tier in Tier::ALL {
            assert_eq!(Tier::named(tier.name()), Ok(Some(*tier)));
        }
        assert_eq!(Tier::named(""), Ok(None));
        let error = Tier::named("avx-512").unwrap_err().to_string();
        assert_eq!(error, "SINTER_CPU is 'avx-512', which is no tier of instructions; there are scalar, avx2, avx512");
    }
}
