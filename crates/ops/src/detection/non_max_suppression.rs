//! Boxes that stay when each removes the worse ones that overlap it too much.
//!
//! Inputs: boxes [N, B, 4]; scores [N, C, B]; most boxes per batch entry and class, one i64, optional: 0; largest
//! intersection over union that is kept, one f32, optional: 0; score that must be exceeded, one f32, optional. Within a
//! batch entry and class the boxes are visited by falling score, equal ones by rising index; a box stays unless one that
//! stays overlaps it by more than the limit. Result: [kept, 3] i64, rows of (batch entry, class, box). A box is two
//! opposite corners (y1, x1, y2, x2), or (x, y, width, height) around its centre. A box without area overlaps nothing.
//! Source: ONNX NonMaxSuppression-11.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct NonMaxSuppression {
    /// Boxes are given by centre and size.
    pub centered: bool,
}

/// A box by its smallest and largest coordinates.
struct Rectangle {
    low: [f64; 2],
    high: [f64; 2],
}

impl Rectangle {
    fn new(b: &[f64], centered: bool) -> Self {
        if centered {
            let (half_width, half_height) = (b[2] / 2.0, b[3] / 2.0);
            return Self {
                low: [b[0] - half_width, b[1] - half_height],
                high: [b[0] + half_width, b[1] + half_height],
            };
        }
        Self { low: [b[1].min(b[3]), b[0].min(b[2])], high: [b[1].max(b[3]), b[0].max(b[2])] }
    }

    fn area(&self) -> f64 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Is the intersection over union larger than the limit?
    fn overlaps(&self, other: &Self, limit: f64) -> bool {
        let extent = |axis: usize| self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis]);
        let (width, height) = (extent(0), extent(1));
        if width <= 0.0 || height <= 0.0 || self.area() <= 0.0 || other.area() <= 0.0 {
            return false;
        }
        let shared = width * height;
        // Rounded as f32 computes it: a quotient that equals the limit there does not exceed it.
        f64::from((shared / (self.area() + other.area() - shared)) as f32) > limit
    }
}

fn scalar(inputs: &Arguments<'_>, index: usize) -> Result<Option<f64>, EvalError> {
    match inputs.optional_tensor(index)?.map(Tensor::to_floats) {
        None => Ok(None),
        Some(values) if values.len() == 1 => Ok(Some(values[0])),
        Some(values) => invalid!(eval: "input {index} must have one element, found {}", values.len()),
    }
}

impl Operator for NonMaxSuppression {
    const NAME: &'static str = "NonMaxSuppression";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        for index in [0, 1, 3, 4] {
            if inputs.has(index) || index < 2 {
                inputs.data_type_where(index, "a float type", DataType::is_float)?;
            }
        }
        if inputs.has(2) {
            inputs.data_type_where(2, "i64", |t| t == DataType::I64)?;
        }
        if let (Ok(boxes), Ok(scores)) = (inputs.tensor(0)?.dims(), inputs.tensor(1)?.dims()) {
            if boxes.len() != 3 || scores.len() != 3 {
                invalid!("boxes and scores have {} and {} dimensions instead of 3", boxes.len(), scores.len());
            }
            cx.require_equal(&boxes[0], &scores[0], "batch of boxes and scores")?;
            cx.require_equal(&boxes[1], &scores[2], "number of boxes and scores")?;
            cx.require_equal(&boxes[2], &Dim::constant(4), "coordinates of a box")?;
        }
        Ok(vec![ValueType::tensor(DataType::I64, vec![cx.fresh("kept"), Dim::constant(3)])])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (boxes, scores) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let (&[batch, count, 4], &[score_batch, classes, score_count]) = (boxes.sizes(), scores.sizes()) else {
            invalid!(eval: "boxes of sizes {:?}, scores of sizes {:?}", boxes.sizes(), scores.sizes());
        };
        if (batch, count) != (score_batch, score_count) {
            invalid!(eval: "{batch} x {count} boxes, {score_batch} x {score_count} scores");
        }
        let most = scalar(inputs, 2)?.unwrap_or(0.0).max(0.0) as usize;
        let limit = scalar(inputs, 3)?.unwrap_or(0.0);
        let exceeded = scalar(inputs, 4)?.unwrap_or(f64::NEG_INFINITY);
        let (boxes, scores) = (boxes.to_floats(), scores.to_floats());
        let mut kept: Vec<i64> = Vec::new();
        for n in 0..batch {
            let rectangles: Vec<Rectangle> = boxes[n * count * 4..(n + 1) * count * 4]
                .chunks_exact(4)
                .map(|b| Rectangle::new(b, self.centered))
                .collect();
            for class in 0..classes {
                let own = &scores[(n * classes + class) * count..][..count];
                let mut order: Vec<usize> = (0..count).filter(|&i| own[i] > exceeded).collect();
                order.sort_by(|&a, &b| own[b].total_cmp(&own[a]));
                let mut chosen: Vec<usize> = Vec::new();
                for candidate in order {
                    if chosen.len() >= most {
                        break;
                    }
                    if !chosen.iter().any(|&c| rectangles[candidate].overlaps(&rectangles[c], limit)) {
                        chosen.push(candidate);
                    }
                }
                kept.extend(chosen.iter().flat_map(|&c| [n as i64, class as i64, c as i64]));
            }
        }
        Ok(vec![Tensor::from_vec(&[kept.len() / 3, 3], kept)?.into()])
    }

    /// Every pair of boxes of every class.
    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let scores = inputs.optional_value(1).map_or_else(|| Dim::constant(0), count_of);
        let boxes = inputs.dims(0).ok().and_then(|d| d.get(1).cloned()).unwrap_or_else(|| Dim::constant(1));
        Cost { operations: scores.mul(&boxes).mul(&Dim::constant(10)), ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let corners = NonMaxSuppression { centered: false };
        let centered = NonMaxSuppression { centered: true };
        let number = |v: f32| Tensor::from_vec(&[1], vec![v]).expect("one element");
        let uniform = |e: Example, sizes: &[usize]| e.uniform(DataType::F32, sizes, 0.0, 1.0);
        let problem = |name, op: &NonMaxSuppression, n, b, c| {
            uniform(uniform(Example::new(name, op.clone()), &[n, b, 4]), &[n, c, b])
        };
        vec![
            problem("corners", &corners, 2, 17, 3).ints(&[4]).tensor(number(0.5)).tensor(number(0.3)),
            problem("centres", &centered, 1, 23, 1).ints(&[100]).tensor(number(0.3)),
            problem("no limit on scores", &corners, 1, 9, 2).ints(&[3]).tensor(number(0.0)),
            problem("no number given", &corners, 1, 5, 1),
            problem("no boxes", &corners, 1, 0, 2).ints(&[3]).tensor(number(0.5)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn the_better_of_two_overlapping_boxes_stays() {
        // The first two overlap by 1/3, the last is elsewhere; corners of the last are swapped.
        let corners = vec![0f32, 0.0, 1.0, 1.0, 0.0, 0.5, 1.0, 1.5, 9.0, 9.0, 8.0, 8.0];
        let boxes = Tensor::from_vec(&[1, 3, 4], corners).unwrap();
        let scores = Tensor::from_vec(&[1, 1, 3], vec![0.5f32, 0.9, 0.7]).unwrap();
        let kept = |most: i64, limit: f32, score: f32| {
            let number = |v: f32| Tensor::from_vec(&[1], vec![v]).unwrap();
            let op = NonMaxSuppression { centered: false };
            let inputs = [&boxes, &scores, &Tensor::of_i64(&[most]), &number(limit), &number(score)];
            let rows = reference_of(&op, &inputs).unwrap()[0].to_i64();
            rows.chunks(3).map(|row| row[2]).collect::<Vec<_>>()
        };
        assert_eq!(kept(9, 0.3, 0.0), [1, 2]);
        assert_eq!(kept(9, 0.4, 0.0), [1, 2, 0]);
        assert_eq!(kept(1, 0.4, 0.0), [1]);
        assert_eq!(kept(9, 0.4, 0.7), [1]);
    }
}
