//! Divides elements by a measure of the elements they are grouped with.
//!
//! Elements that differ only in the normalized axes form a group of n. Per group:
//! * deviation: `y = (x - mean) / sqrt(variance + epsilon)`, `variance = sum (x - mean)^2 / n`;
//! * root mean square: `y = x / sqrt(sum x^2 / n + epsilon)`;
//! * norm: `y = x / (sum |x|^order)^(1 / order)`, and 0 where the norm is 0; epsilon plays no part.
//!
//! With `groups` axis 1, which is then no normalized axis, is split into that many equal parts of neighbours, whose
//! elements belong together too. Results: y of x's type and shape. If `statistics` names a type, then in that type,
//! with size 1 on the normalized axes (and `groups` on axis 1): mean and variance, or the mean square, or the norm.
//! Elements: any float type; everything is computed in at least float32 and y rounded once.
//!
//! Layer, instance, group and batch normalization are this operator followed by elementwise scale and bias.
//! Source: ONNX LayerNormalization-17, RMSNormalization-23, GroupNormalization-21, InstanceNormalization-22,
//! BatchNormalization-15, LpNormalization-22.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// The measure that divides the elements.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub enum Measure {
    /// The standard deviation, after the mean is subtracted.
    Deviation,
    /// The root of the mean of squares.
    RootMeanSquare,
    /// The norm.
    Norm {
        /// Exponent, positive.
        order: f64,
    },
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Normalize {
    /// The measure that divides the elements.
    pub measure: Measure,
    /// The normalized axes; negative ones count from the last.
    pub axes: Vec<i64>,
    /// Parts that axis 1 is split into.
    pub groups: Option<usize>,
    /// Added below the root.
    pub epsilon: f64,
    /// Type of the statistics; none if they are no results.
    pub statistics: Option<DataType>,
}

impl Normalize {
    /// Normalization by the deviation over these axes, without statistics as results.
    pub fn deviation(axes: Vec<i64>, epsilon: f64) -> Self {
        Self { measure: Measure::Deviation, axes, groups: None, epsilon, statistics: None }
    }

    fn statistic_count(&self) -> usize {
        if self.measure == Measure::Deviation { 2 } else { 1 }
    }

    /// Which axes are normalized.
    fn normalized(&self, rank: usize) -> Result<Vec<bool>, InferError> {
        let mut normalized = vec![false; rank];
        for &axis in &self.axes {
            let position = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
            match usize::try_from(position).ok().and_then(|p| normalized.get_mut(p)) {
                Some(entry) if !*entry => *entry = true,
                Some(_) => invalid!("axis {axis} is listed twice in {:?}", self.axes),
                None => invalid!("axis {axis} does not exist in a tensor of {rank} dimensions"),
            }
        }
        if self.groups.is_some() && normalized.get(1) != Some(&false) {
            invalid!("groups need an axis 1 that is not normalized; {rank} dimensions, axes {:?}", self.axes);
        }
        Ok(normalized)
    }

    /// The statistics of one group: what to subtract, what to divide by, and what to report.
    fn measured(&self, elements: &[f64]) -> (f64, f64, [f64; 2]) {
        let count = elements.len() as f64;
        match self.measure {
            Measure::Deviation => {
                let mean = elements.iter().sum::<f64>() / count;
                let variance = elements.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
                (mean, (variance + self.epsilon).sqrt(), [mean, variance])
            }
            Measure::RootMeanSquare => {
                let mean_square = elements.iter().map(|v| v * v).sum::<f64>() / count;
                (0.0, (mean_square + self.epsilon).sqrt(), [mean_square, 0.0])
            }
            Measure::Norm { order } => {
                let norm = elements.iter().map(|v| v.abs().powf(order)).sum::<f64>().powf(1.0 / order);
                // 0 / infinity is the 0 that a group of zeros must give.
                (0.0, if norm == 0.0 { f64::INFINITY } else { norm }, [norm, 0.0])
            }
        }
    }
}

impl Operator for Normalize {
    const NAME: &'static str = "Normalize";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let x = inputs.dims(0)?;
        if let Some(other) = self.statistics.filter(|t| !t.is_float()) {
            invalid!("statistics have a float type, not {other}");
        }
        if let Measure::Norm { order } = self.measure
            && (order.is_nan() || order <= 0.0)
        {
            invalid!("a norm of order {order} does not exist");
        }
        let normalized = self.normalized(x.len())?;
        let mut kept: Vec<Dim> =
            x.iter().zip(&normalized).map(|(d, &n)| if n { Dim::constant(1) } else { d.clone() }).collect();
        if let Some(groups) = self.groups {
            if groups == 0 {
                invalid!("axis 1 cannot be split into 0 groups");
            }
            let rest = x[1].modulo(&groups.into());
            cx.require_equal(&rest, &Dim::constant(0), "channels must be a multiple of the groups")?;
            kept[1] = groups.into();
        }
        let mut results = vec![ValueType::tensor(data_type, x.to_vec())];
        if let Some(statistics) = self.statistics {
            results.extend((0..self.statistic_count()).map(|_| ValueType::tensor(statistics, kept.clone())));
        }
        Ok(results)
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let mut results = vec![ValueType::unranked(data_type)];
        if let Some(statistics) = self.statistics {
            results.extend((0..self.statistic_count()).map(|_| ValueType::unranked(statistics)));
        }
        Ok(results)
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        crate::infer::result_sizes(self, inputs)?;
        let normalized = self.normalized(x.rank())?;
        let mut kept: Vec<usize> = x.sizes().iter().zip(&normalized).map(|(&s, &n)| if n { 1 } else { s }).collect();
        let mut per_group = 1;
        if let Some(groups) = self.groups {
            per_group = (kept[1] / groups).max(1);
            kept[1] = groups;
        }
        let kept_strides = shape::strides(&kept);
        let mut members: Vec<usize> = Vec::with_capacity(x.count());
        for_each_index(x.sizes(), |at| {
            let place = |(axis, &i): (usize, &usize)| match (normalized[axis], axis) {
                (true, _) => 0,
                (false, 1) => i / per_group * kept_strides[1],
                (false, _) => i * kept_strides[axis],
            };
            members.push(at.iter().enumerate().map(place).sum());
        });
        let values = x.to_floats();
        let mut groups: Vec<Vec<f64>> = vec![Vec::new(); shape::element_count(&kept).unwrap_or(0)];
        for (&group, &value) in members.iter().zip(&values) {
            groups[group].push(value);
        }
        let measured: Vec<(f64, f64, [f64; 2])> = groups.iter().map(|elements| self.measured(elements)).collect();
        let y: Vec<f64> =
            values.iter().zip(&members).map(|(v, &group)| (v - measured[group].0) / measured[group].1).collect();
        let mut results = vec![Tensor::from_floats(x.data_type(), x.sizes(), &y)?.into()];
        if let Some(statistics) = self.statistics {
            for which in 0..self.statistic_count() {
                let values: Vec<f64> = measured.iter().map(|m| m.2[which]).collect();
                results.push(Tensor::from_floats(statistics, &kept, &values)?.into());
            }
        }
        Ok(results)
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, &outputs[..1], 8)
    }

    fn examples() -> Vec<Example> {
        let of = |axes: &[i64]| Normalize::deviation(axes.to_vec(), 1e-5);
        let measure = |measure: Measure, axes: &[i64]| Normalize { measure, ..of(axes) };
        vec![
            Example::new("last axis", of(&[-1])).float(&[2, 5, 17]),
            Example::new("two last axes, statistics", Normalize { statistics: Some(DataType::F32), ..of(&[-2, -1]) })
                .float(&[3, 4, 5]),
            Example::new("instances", of(&[2, 3])).float(&[2, 3, 4, 5]),
            Example::new("batch, statistics", Normalize { statistics: Some(DataType::F32), ..of(&[0, 2]) })
                .float(&[4, 3, 7]),
            Example::new("groups", Normalize { groups: Some(2), ..of(&[2, 3]) }).float(&[2, 6, 3, 5]),
            Example::new("half precision", of(&[-1])).uniform(DataType::F16, &[3, 64], -4.0, 4.0),
            Example::new("root mean square", measure(Measure::RootMeanSquare, &[-1])).float(&[2, 3, 13]),
            Example::new(
                "root mean square, statistics",
                Normalize { statistics: Some(DataType::F32), ..measure(Measure::RootMeanSquare, &[1]) },
            )
            .float(&[2, 9]),
            Example::new("norm 1", measure(Measure::Norm { order: 1.0 }, &[0])).float(&[5, 3]),
            Example::new("norm 2", measure(Measure::Norm { order: 2.0 }, &[-1])).float(&[2, 1, 7]),
            Example::new("one element per group", of(&[1])).float(&[3, 1]),
            Example::new("nothing", of(&[-1])).float(&[0, 4]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    fn run(op: &Normalize, sizes: &[usize], x: &[f32]) -> Vec<Vec<f64>> {
        let x = Tensor::from_vec(sizes, x.to_vec()).unwrap();
        reference_of(op, &[&x]).unwrap().iter().map(Tensor::to_floats).collect()
    }

    #[test]
    fn groups_of_a_last_axis() {
        let op = Normalize { statistics: Some(DataType::F32), ..Normalize::deviation(vec![-1], 0.0) };
        let found = run(&op, &[2, 2], &[1.0, 3.0, 10.0, 30.0]);
        assert_eq!(found, [vec![-1.0, 1.0, -1.0, 1.0], vec![2.0, 20.0], vec![1.0, 100.0]]);
    }

    #[test]
    fn neighbouring_channels_share_a_group() {
        let op = Normalize { groups: Some(2), ..Normalize::deviation(vec![2], 0.0) };
        let found = run(&op, &[1, 4, 1], &[1.0, 3.0, 50.0, 70.0]);
        assert_eq!(found, [vec![-1.0, 1.0, -1.0, 1.0]]);
    }

    #[test]
    fn other_measures() {
        let of = |measure| Normalize { measure, ..Normalize::deviation(vec![0], 3.0) };
        assert_eq!(run(&of(Measure::RootMeanSquare), &[2], &[1.0, -1.0])[0], [0.5, -0.5]);
        assert_eq!(run(&of(Measure::Norm { order: 1.0 }), &[2], &[1.0, -3.0])[0], [0.25, -0.75]);
        assert_eq!(run(&of(Measure::Norm { order: 2.0 }), &[2], &[0.0, 0.0])[0], [0.0, 0.0]);
    }

    #[test]
    fn shapes_stay_symbolic() {
        let x = ValueType::tensor(DataType::F16, vec![Dim::symbol("N"), Dim::symbol("C"), Dim::symbol("W")]);
        let op = Normalize { groups: Some(4), statistics: Some(DataType::F32), ..Normalize::deviation(vec![2], 1e-5) };
        let types: Vec<String> = infer_of(&op, &[&x]).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(types, ["f16[N, C, W]", "f32[N, 4, 1]", "f32[N, 4, 1]"]);
        assert!(infer_of(&Normalize::deviation(vec![3], 0.0), &[&x]).is_err());
    }
}
