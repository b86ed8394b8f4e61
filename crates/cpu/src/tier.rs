//! Instruction set tiers.

use std::sync::OnceLock;

/// What the kernels may use, each tier including those before it.
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
    /// Name in kernel names, reports and `SINTER_CPU`.
    pub const fn name(self) -> &'static str {
        match self {
            Tier::Scalar => "scalar",
            Tier::Avx2 => "avx2",
            Tier::Avx512 => "avx512",
        }
    }

    /// What the machine has.
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

    /// The tier in use: what the machine has, or the lower one that `SINTER_CPU` names. A name that is unknown or asks
    /// for more than the machine has is ignored here and reported by `sinter doctor`.
    pub fn in_use() -> Self {
        static TIER: OnceLock<Tier> = OnceLock::new();
        *TIER.get_or_init(|| {
            let detected = Self::detected();
            let wanted = std::env::var("SINTER_CPU").ok();
            let forced =
                [Tier::Scalar, Tier::Avx2, Tier::Avx512].into_iter().find(|t| Some(t.name()) == wanted.as_deref());
            forced.map_or(detected, |tier| tier.min(detected))
        })
    }
}
