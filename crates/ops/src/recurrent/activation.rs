//! The scalar functions that recurrent cells may use. Source: ONNX RNN-22, GRU-22, LSTM-22.

use sinter_base::Attributes;

/// A scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Attributes)]
pub enum Activation {
    /// max(0, x).
    Relu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// alpha x + beta.
    Affine {
        /// Slope.
        alpha: f64,
        /// Offset.
        beta: f64,
    },
    /// x, or alpha x below 0.
    LeakyRelu {
        /// Slope below 0.
        alpha: f64,
    },
    /// x from alpha on, 0 below.
    ThresholdedRelu {
        /// Threshold.
        alpha: f64,
    },
    /// alpha tanh(beta x).
    ScaledTanh {
        /// Outer factor.
        alpha: f64,
        /// Inner factor.
        beta: f64,
    },
    /// alpha x + beta, limited to [0, 1].
    HardSigmoid {
        /// Slope.
        alpha: f64,
        /// Offset.
        beta: f64,
    },
    /// x, or alpha (e^x - 1) below 0.
    Elu {
        /// Limit toward minus infinity, negated.
        alpha: f64,
    },
    /// x / (1 + |x|).
    Softsign,
    /// ln(1 + e^x).
    Softplus,
}

impl Activation {
    /// The value at `x`.
    pub fn evaluate(self, x: f64) -> f64 {
        match self {
            Activation::Relu => x.max(0.0),
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Affine { alpha, beta } => alpha * x + beta,
            Activation::LeakyRelu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x
                }
            }
            Activation::ThresholdedRelu { alpha } => {
                if x >= alpha {
                    x
                } else {
                    0.0
                }
            }
            Activation::ScaledTanh { alpha, beta } => alpha * (beta * x).tanh(),
            Activation::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Activation::Elu { alpha } => {
                if x >= 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Activation::Softsign => x / (1.0 + x.abs()),
            Activation::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_by_hand() {
        let at = |activation: Activation, x: f64| activation.evaluate(x);
        assert_eq!(at(Activation::Relu, -2.0), 0.0);
        assert_eq!(at(Activation::Sigmoid, 0.0), 0.5);
        assert_eq!(at(Activation::Affine { alpha: 2.0, beta: 1.0 }, 3.0), 7.0);
        assert_eq!(at(Activation::LeakyRelu { alpha: 0.5 }, -4.0), -2.0);
        assert_eq!(at(Activation::ThresholdedRelu { alpha: 1.0 }, 0.5), 0.0);
        assert_eq!(at(Activation::ThresholdedRelu { alpha: 1.0 }, 1.0), 1.0);
        assert_eq!(at(Activation::ScaledTanh { alpha: 3.0, beta: 0.0 }, 9.0), 0.0);
        assert_eq!(at(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }, 10.0), 1.0);
        assert!((at(Activation::Elu { alpha: 2.0 }, -40.0) + 2.0).abs() < 1e-9);
        assert_eq!(at(Activation::Softsign, -1.0), -0.5);
        assert_eq!(at(Activation::Softplus, 800.0), 800.0);
    }
}
