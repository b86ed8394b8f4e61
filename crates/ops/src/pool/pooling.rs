//! Largest element, average or norm of each window, or of all spatial elements of a channel.
//!
//! x: [N, C, spatial...]; y: [N, C, output...] (see [`crate::window`]), `output = 1` everywhere without a window.
//! * max: the largest element, NaN if there is one; padding never wins, a window in the padding alone gives the lowest
//!   value of the type;
//! * average: the sum divided by the number of elements, those of the padding counted as zeros if asked for. Positions
//!   beyond the padding, which rounding up may reach, are never counted;
//! * norm: `(sum of |x|^order)^(1 / order)`.
//!
//! Elements: any numeric type; averages of integers truncate. Source: ONNX MaxPool-22, AveragePool-22, LpPool-22,
//! GlobalMaxPool-22, GlobalAveragePool-22, GlobalLpPool-22.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};
use crate::pool::windows::PoolWindow;
use crate::window::Padding;

/// The reduction of the elements of a window.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub enum PoolMode {
    /// The largest.
    Max,
    /// Their mean.
    Average {
        /// Elements of the padding count as zeros.
        count_padding: bool,
    },
    /// Their norm.
    Norm {
        /// Exponent p, positive.
        order: f64,
    },
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Pool {
    /// The reduction of a window.
    pub mode: PoolMode,
    /// The windows; none for one window over all spatial elements.
    pub window: Option<PoolWindow>,
}

impl Pool {
    fn reduce(&self, elements: &[f64], padded: usize) -> f64 {
        match self.mode {
            PoolMode::Max => elements
                .iter()
                .fold(f64::NEG_INFINITY, |a, &b| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }),
            PoolMode::Average { count_padding } => {
                let count = if count_padding { padded } else { elements.len() };
                elements.iter().sum::<f64>() / count as f64
            }
            PoolMode::Norm { order } => elements.iter().map(|v| v.abs().powf(order)).sum::<f64>().powf(1.0 / order),
        }
    }
}

/// Checks the input of a pooling operator and returns its element type and dimensions.
pub(super) fn pooled<'a>(inputs: &Operands<'a>) -> Result<(DataType, &'a [Dim]), InferError> {
    let data_type = inputs.data_type_where(0, "a numeric type", |t| t.is_float() || t.is_integer())?;
    let x = inputs.dims(0)?;
    if x.len() < 2 {
        return Err(InferError::Rank { index: 0, expected: "at least 2".to_owned(), found: x.len() });
    }
    Ok((data_type, x))
}

impl Operator for Pool {
    const NAME: &'static str = "Pool";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        if let PoolMode::Norm { order } = self.mode
            && (order.is_nan() || order <= 0.0)
        {
            crate::invalid!("a norm of order {order} does not exist");
        }
        let (data_type, x) = pooled(inputs)?;
        let y = match &self.window {
            Some(window) => window.output_dims(x)?,
            None => x[..2].iter().cloned().chain(x[2..].iter().map(|_| Dim::constant(1))).collect(),
        };
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let xs = x.to_floats();
        let mut y = Vec::new();
        match &self.window {
            Some(window) => window.for_each_window(x.sizes(), &y_sizes, |positions, padded| {
                let elements: Vec<f64> = positions.iter().map(|&p| xs[p]).collect();
                y.push(self.reduce(&elements, padded));
            }),
            None => {
                let count = x.sizes()[2..].iter().product::<usize>();
                let channels = x.sizes()[0] * x.sizes()[1];
                y.extend((0..channels).map(|c| self.reduce(&xs[c * count..(c + 1) * count], count)));
            }
        }
        Ok(vec![Tensor::from_floats(x.data_type(), &y_sizes, &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let touched = match &self.window {
            Some(window) => window.kernel.iter().fold(count_of(&outputs[0]), |total, &k| total.mul(&k.into())),
            None => inputs.optional_value(0).map_or_else(|| Dim::constant(0), count_of),
        };
        Cost { operations: touched, ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let over = |mode: PoolMode, window: PoolWindow| Pool { mode, window: Some(window) };
        let global = |mode: PoolMode| Pool { mode, window: None };
        let square = PoolWindow::of(&[3, 3]);
        let padded = Padding::Explicit { begin: vec![1, 0], end: vec![2, 1] };
        let average = PoolMode::Average { count_padding: false };
        vec![
            Example::new(
                "max 3x3, stride 2",
                over(PoolMode::Max, PoolWindow { strides: vec![2, 2], ..square.clone() }),
            )
            .float(&[2, 3, 11, 7]),
            Example::new(
                "max, pads, dilations",
                over(PoolMode::Max, PoolWindow { dilations: vec![1, 2], padding: padded.clone(), ..square.clone() }),
            )
            .float(&[1, 2, 6, 5]),
            Example::new("max 1-D, rounded up", {
                over(PoolMode::Max, PoolWindow { strides: vec![2], ceil: true, ..PoolWindow::of(&[3]) })
            })
            .float(&[1, 3, 8]),
            Example::new("max of bytes", over(PoolMode::Max, PoolWindow::of(&[2, 2]))).uniform(
                DataType::U8,
                &[1, 2, 5, 4],
                0.0,
                255.0,
            ),
            Example::new("average without padding", {
                over(average.clone(), PoolWindow { padding: padded.clone(), ..square.clone() })
            })
            .float(&[1, 5, 7, 6]),
            Example::new("average with padding, rounded up", {
                let window = PoolWindow { padding: padded, ceil: true, strides: vec![2, 3], ..square.clone() };
                over(PoolMode::Average { count_padding: true }, window)
            })
            .float(&[1, 3, 8, 9]),
            Example::new("average 3-D, same", {
                over(average.clone(), PoolWindow { padding: Padding::SameUpper, ..PoolWindow::of(&[2, 3, 1]) })
            })
            .float(&[1, 2, 4, 5, 3]),
            Example::new("norm", over(PoolMode::Norm { order: 2.0 }, square.clone())).float(&[1, 2, 5, 5]),
            Example::new("global average", global(average)).float(&[2, 7, 5, 3]),
            Example::new("global max", global(PoolMode::Max)).float(&[3, 1, 13]),
            Example::new("global norm", global(PoolMode::Norm { order: 3.0 })).float(&[1, 4, 2, 3, 2]),
            Example::new("no batch", over(PoolMode::Max, square.clone())).float(&[0, 2, 4, 4]),
            Example::new("no window fits", over(PoolMode::Max, square.clone())).float(&[1, 2, 2, 5]),
            Example::new("a window larger than the input, rounded up", {
                over(PoolMode::Max, PoolWindow { strides: vec![2, 2], ceil: true, ..square })
            })
            .float(&[1, 2, 2, 5]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    fn run(mode: PoolMode, window: Option<PoolWindow>, x: &[f32]) -> Vec<f64> {
        let x = Tensor::from_vec(&[1, 1, x.len()], x.to_vec()).unwrap();
        reference_of(&Pool { mode, window }, &[&x]).unwrap()[0].to_floats()
    }

    #[test]
    fn windows_by_hand() {
        let window = PoolWindow { padding: Padding::Explicit { begin: vec![1], end: vec![0] }, ..PoolWindow::of(&[2]) };
        let x = [-3.0, 1.0, 2.0];
        assert_eq!(run(PoolMode::Max, Some(window.clone()), &x), [-3.0, 1.0, 2.0]);
        let average = |count_padding| run(PoolMode::Average { count_padding }, Some(window.clone()), &x);
        assert_eq!(average(false), [-3.0, -1.0, 1.5]);
        assert_eq!(average(true), [-1.5, -1.0, 1.5]);
    }

    #[test]
    fn elements_beyond_the_padding_never_count() {
        let window = PoolWindow { strides: vec![2], ceil: true, ..PoolWindow::of(&[2]) };
        assert_eq!(run(PoolMode::Average { count_padding: true }, Some(window), &[1.0, 2.0, 5.0]), [1.5, 5.0]);
    }

    #[test]
    fn global_windows_take_everything() {
        assert_eq!(run(PoolMode::Norm { order: 2.0 }, None, &[3.0, -4.0]), [5.0]);
        assert!(run(PoolMode::Max, None, &[3.0, f32::NAN])[0].is_nan());
    }

    #[test]
    fn symbolic_sizes_stay_symbolic() {
        let x =
            ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), 3usize.into(), Dim::symbol("W").mul(&2i64.into())]);
        let window = PoolWindow { strides: vec![2], ..PoolWindow::of(&[2]) };
        let y = infer_of(&Pool { mode: PoolMode::Max, window: Some(window) }, &[&x]).unwrap();
        assert_eq!(y[0].to_string(), "f32[N, 3, W]");
    }
}
