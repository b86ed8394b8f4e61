//! The scalar functions of recurrent cells, with their argument clipped.

use sinter_ops::recurrent::activation::Activation;

use crate::float::Float;

fn sigmoid(x: f64) -> f64 {
    // Half a hyperbolic tangent: neither end overflows.
    0.5 + 0.5 * (0.5 * x).tanh()
}

fn value(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => sigmoid(x),
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

/// The function at `x`, limited to `[-clip, clip]` before.
pub fn activate<T: Float>(function: Activation, clip: Option<f64>, x: T) -> T {
    let x = x.wide();
    T::of(value(function, clip.map_or(x, |clip| x.clamp(-clip, clip))))
}
