//! The scalar functions of recurrent cells on many values, with their argument clipped.

use sinter_ops::recurrent::activation::Activation;

use crate::float::Float;
use crate::tier::Tier;

/// A function that most cells do not use, in double precision.
fn rare(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Tanh => x.tanh(),
        // Half a hyperbolic tangent: neither end overflows.
        Activation::Sigmoid => 0.5 + 0.5 * (0.5 * x).tanh(),
        Activation::Relu => x.max(0.0),
        Activation::Affine { alpha, beta } => x * alpha + beta,
        Activation::LeakyRelu { alpha } if x < 0.0 => x * alpha,
        Activation::LeakyRelu { .. } => x,
        Activation::ThresholdedRelu { alpha } if x < alpha => 0.0,
        Activation::ThresholdedRelu { .. } => x,
        Activation::ScaledTanh { alpha, beta } => (x * beta).tanh() * alpha,
        Activation::HardSigmoid { alpha, beta } => (x * alpha + beta).clamp(0.0, 1.0),
        Activation::Elu { alpha } if x < 0.0 => x.exp_m1() * alpha,
        Activation::Elu { .. } => x,
        Activation::Softsign => x / (x.abs() + 1.0),
        // ln(1 + e^x) without overflow for large x.
        Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

/// The function at every value, limited to `[-clip, clip]` before.
#[inline(always)]
pub fn activate<T: Float>(function: Activation, clip: Option<f64>, values: &mut [T]) {
    if let Some(clip) = clip {
        values.iter_mut().for_each(|x| *x = T::of(x.wide().clamp(-clip, clip)));
    }
    let half = T::of(0.5);
    match function {
        Activation::Tanh => values.iter_mut().for_each(|x| *x = x.tanh()),
        Activation::Sigmoid => values.iter_mut().for_each(|x| *x = half + half * (half * *x).tanh()),
        other => values.iter_mut().for_each(|x| *x = T::of(rare(other, x.wide()))),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,fma")]
fn activate_avx512(function: Activation, clip: Option<f64>, values: &mut [f32]) {
    activate(function, clip, values);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn activate_avx2(function: Activation, clip: Option<f64>, values: &mut [f32]) {
    activate(function, clip, values);
}

/// The same in f32 with the vector width of the tier.
#[allow(unsafe_code, reason = "functions compiled for an instruction set may be called only where it exists")]
pub fn activate_on_tier(tier: Tier, function: Activation, clip: Option<f64>, values: &mut [f32]) {
    match tier {
        // SAFETY: the tier in use is never above what the machine was detected to have.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512 => unsafe { activate_avx512(function, clip, values) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 => unsafe { activate_avx2(function, clip, values) },
        _ => activate(function, clip, values),
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::machine_code::{Work, assert_in_registers, kernel};

    #[test]
    fn functions_work_on_whole_vectors() {
        // Every tanh has one division.
        let division = Work::Vectorized(iced_x86::Mnemonic::Vdivps);
        assert_in_registers(&[kernel!(activate_avx512, Zmm, division), kernel!(activate_avx2, Ymm, division)]);
    }
}
