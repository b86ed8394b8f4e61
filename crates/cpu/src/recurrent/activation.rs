//! The scalar functions of recurrent cells, with their argument clipped.

use sinter_ops::recurrent::activation::Activation;

use crate::float::Float;

fn sigmoid<T: Float>(x: T) -> T {
    // Half a hyperbolic tangent: neither end overflows.
    let half = T::of(0.5);
    half + half * (half * x).tanh()
}

/// The two that nearly all cells use are computed in the type at hand, the others in double precision.
fn value<T: Float>(function: Activation, of: T) -> T {
    let x = of.wide();
    let wide = match function {
        Activation::Tanh => return of.tanh(),
        Activation::Sigmoid => return sigmoid(of),
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
    };
    T::of(wide)
}

/// The function at `x`, limited to `[-clip, clip]` before.
pub fn activate<T: Float>(function: Activation, clip: Option<f64>, x: T) -> T {
    value(function, clip.map_or(x, |clip| T::of(x.wide().clamp(-clip, clip))))
}
