//! One value from all elements along some axes.
//!
//! Inputs: data of any numeric type (bool for `Max` and `Min` only); axes: [k] i64, left out or empty for all axes,
//! unless `noop_with_empty_axes`, which then leaves the reduction out and applies the rest of the formula to every
//! element. Formulas: sum; mean = sum / count; product; max; min; L1 = sum |x|; L2 = sqrt(sum x^2); log sum = ln(sum);
//! log sum exp = ln(sum e^x), shifted by the maximum so that nothing overflows; sum of squares. NaN makes max and min
//! NaN. Nothing to reduce gives 0 for sums, 1 for the product, -inf or the smallest integer for max, +inf or the
//! largest for min, NaN for the mean, -inf for the logarithms. Integers: sums wrap, the mean truncates toward zero,
//! roots and logarithms are computed as floats and truncated. Source: ONNX ReduceSum-13, ReduceMax-20, the others of
//! version 18.

use sinter_base::shape::{ravel, strides, unravel};
use sinter_base::{Attributes, DataType, Dim, KnownValue, Sizes, Tensor, TensorType, Value, ValueType};

use crate::axes::{distinct_axes, int_values, list_length, numeric};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// The reduction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Attributes)]
pub enum ReduceKind {
    /// Sum.
    Sum,
    /// Arithmetic mean.
    Mean,
    /// Product.
    Product,
    /// Largest element.
    Max,
    /// Smallest element.
    Min,
    /// Sum of absolute values.
    L1,
    /// Euclidean length.
    L2,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of exponentials.
    LogSumExp,
    /// Sum of squares.
    SumSquare,
}

impl ReduceKind {
    fn takes(self, data_type: DataType) -> bool {
        match data_type {
            DataType::String => false,
            DataType::Bool => matches!(self, ReduceKind::Max | ReduceKind::Min),
            _ => true,
        }
    }

    fn floats(self, values: &[f64]) -> f64 {
        let sum = |f: &dyn Fn(f64) -> f64| values.iter().map(|&v| f(v)).sum::<f64>();
        // `Iterator::sum` starts at -0; an empty sum is +0.
        let total = |f: &dyn Fn(f64) -> f64| sum(f) + 0.0;
        let extreme = |start: f64, better: fn(f64, f64) -> f64| {
            values.iter().fold(start, |best, &v| if best.is_nan() || v.is_nan() { f64::NAN } else { better(best, v) })
        };
        match self {
            ReduceKind::Sum => total(&|v| v),
            ReduceKind::Mean => total(&|v| v) / values.len() as f64,
            ReduceKind::Product => values.iter().product(),
            ReduceKind::Max => extreme(f64::NEG_INFINITY, f64::max),
            ReduceKind::Min => extreme(f64::INFINITY, f64::min),
            ReduceKind::L1 => total(&f64::abs),
            ReduceKind::L2 => total(&|v| v * v).sqrt(),
            ReduceKind::LogSum => total(&|v| v).ln(),
            ReduceKind::LogSumExp => {
                let largest = extreme(f64::NEG_INFINITY, f64::max);
                if largest.is_finite() { largest + sum(&|v| (v - largest).exp()).ln() } else { largest }
            }
            ReduceKind::SumSquare => total(&|v| v * v),
        }
    }

    fn ints(self, values: &[i128], data_type: DataType) -> i128 {
        let (low, high) = data_type.integer_range().unwrap_or((0, 0));
        let sum = |f: &dyn Fn(i128) -> i128| values.iter().fold(0i128, |sum, &v| sum.wrapping_add(f(v)));
        let through_floats = || {
            let floats: Vec<f64> = values.iter().map(|&v| v as f64).collect();
            self.floats(&floats) as i128
        };
        match self {
            ReduceKind::Sum => sum(&|v| v),
            ReduceKind::Mean => sum(&|v| v).checked_div(values.len() as i128).unwrap_or(0),
            ReduceKind::Product => values.iter().fold(1, |p: i128, &v| data_type.wrap(p.wrapping_mul(v))),
            ReduceKind::Max => values.iter().copied().max().unwrap_or(low),
            ReduceKind::Min => values.iter().copied().min().unwrap_or(high),
            ReduceKind::L1 => sum(&i128::abs),
            ReduceKind::SumSquare => sum(&|v| v.wrapping_mul(v)),
            ReduceKind::L2 | ReduceKind::LogSum | ReduceKind::LogSumExp => through_floats().clamp(low, high),
        }
    }

    /// The same on sizes, where that is an expression of sizes.
    fn dims(self, values: &[Dim]) -> Option<Dim> {
        let fold = |start: Dim, f: fn(&Dim, &Dim) -> Dim| {
            // An intermediate result that is too large ends the tracking, and so does a number that may have left its range:
            // the arithmetic of sizes saturates where that of integers wraps.
            let is_in_range = |all: &Dim| !matches!(all.as_constant(), Some(i64::MIN | i64::MAX));
            let all = |all: Dim, value| Some(f(&all, value)).filter(|all| !all.is_too_large() && is_in_range(all));
            values.iter().try_fold(start, all)
        };
        let first = || values.first().cloned();
        match self {
            ReduceKind::Sum => fold(Dim::constant(0), Dim::add),
            ReduceKind::Product => fold(Dim::constant(1), Dim::mul),
            ReduceKind::Max => fold(first()?, Dim::maximum),
            ReduceKind::Min => fold(first()?, Dim::minimum),
            _ => None,
        }
    }
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Reduce {
    /// The reduction.
    pub kind: ReduceKind,
    /// Reduced axes stay with size 1.
    pub keep_dims: bool,
    /// No axes means that nothing is reduced, instead of everything.
    pub noop_with_empty_axes: bool,
}

impl Reduce {
    /// A reduction that keeps its axes with size 1 when `keep_dims`.
    pub fn new(kind: ReduceKind, keep_dims: bool) -> Self {
        Self { kind, keep_dims, noop_with_empty_axes: false }
    }

    /// Which axes are reduced.
    fn axes(&self, given: Option<&[i64]>, rank: usize) -> Result<Sizes, InferError> {
        match given {
            None | Some([]) if self.noop_with_empty_axes => Ok(Sizes::new()),
            None | Some([]) => Ok((0..rank).collect()),
            Some(axes) => distinct_axes(axes, rank),
        }
    }

    fn result<T: Clone>(&self, sizes: &[T], axes: &[usize], one: &T) -> Vec<T> {
        let kept = sizes.iter().enumerate().filter(|(axis, _)| self.keep_dims || !axes.contains(axis));
        kept.map(|(axis, size)| if axes.contains(&axis) { one.clone() } else { size.clone() }).collect()
    }

    /// Dimensions when the axes come at run time.
    fn open_dims(&self, dims: &[Dim], count: &Dim, cx: &mut InferContext) -> Option<Vec<Dim>> {
        if self.keep_dims {
            return Some(dims.iter().map(|_| cx.fresh("reduce")).collect());
        }
        let removed = match count.as_constant().and_then(|c| usize::try_from(c).ok())? {
            0 if self.noop_with_empty_axes => 0,
            0 => dims.len(),
            count => count,
        };
        let rank = dims.len().checked_sub(removed)?;
        Some((0..rank).map(|_| cx.fresh("reduce")).collect())
    }

    fn check_type(&self, inputs: &Operands<'_>) -> Result<DataType, InferError> {
        inputs.data_type_where(0, "a number (bool for max and min only)", |t| self.kind.takes(t))
    }
}

impl Operator for Reduce {
    const NAME: &'static str = "Reduce";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = self.check_type(inputs)?;
        let data = inputs.tensor(0)?;
        let dims = data.dims()?;
        let given = inputs.constant_ints(1);
        if inputs.has(1) {
            let count = list_length(inputs, 1)?;
            if given.is_none() && count != Dim::constant(0) {
                return match self.open_dims(dims, &count, cx) {
                    Some(dims) => Ok(vec![ValueType::tensor(data_type, dims)]),
                    None => self.unranked(inputs),
                };
            }
        }
        let axes = self.axes(given.as_deref(), dims.len())?;
        let ty = TensorType::ranked(data_type, self.result(dims, &axes, &Dim::constant(1)));
        // A list of sizes reduced to one number.
        let known = if dims.len() == 1 && axes.len() == 1 { data.ints() } else { None };
        let fits = |value: &Dim| value.as_constant().is_none_or(|v| data_type.wrap(v.into()) == i128::from(v));
        let known = known.and_then(|values| self.kind.dims(values)).filter(fits);
        Ok(vec![match known {
            Some(value) => ty.with_value(KnownValue::Ints(vec![value])).into(),
            None => ty.into(),
        }])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        let data_type = self.check_type(inputs)?;
        // Everything is reduced to a scalar, whatever the rank.
        let all = !inputs.has(1) && !self.noop_with_empty_axes && !self.keep_dims;
        Ok(vec![if all { ValueType::tensor(data_type, Vec::new()) } else { ValueType::unranked(data_type) }])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[1]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = numeric(inputs.tensor(0)?)?;
        let given = inputs.optional_tensor(1)?.map(int_values).transpose()?;
        let axes = self.axes(given.as_deref(), x.rank())?;
        let sizes: Sizes = self.result(x.sizes(), &axes, &1).into_iter().collect();
        let groups = Groups::new(x.sizes(), &axes);
        let data_type = x.data_type();
        let y = if data_type.is_float() {
            let elements = x.to_floats();
            let values: Vec<f64> = groups.map(&elements, |group| self.kind.floats(group));
            Tensor::from_floats(data_type, &sizes, &values)?
        } else {
            let elements = x.to_ints();
            let values: Vec<i128> = groups.map(&elements, |group| self.kind.ints(group, data_type));
            Tensor::from_ints(data_type, &sizes, &values)?
        };
        Ok(vec![y.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let operations = inputs.optional_value(0).map_or_else(|| Dim::constant(0), count_of);
        Cost { operations, ..Cost::elementwise(inputs, outputs, 0) }
    }

    fn examples() -> Vec<Example> {
        let kinds = [
            ("sum", ReduceKind::Sum),
            ("mean", ReduceKind::Mean),
            ("product", ReduceKind::Product),
            ("max", ReduceKind::Max),
            ("min", ReduceKind::Min),
            ("l1", ReduceKind::L1),
            ("l2", ReduceKind::L2),
            ("log sum exp", ReduceKind::LogSumExp),
            ("sum of squares", ReduceKind::SumSquare),
        ];
        let mut examples: Vec<Example> = kinds
            .iter()
            .map(|&(name, kind)| Example::new(name, Reduce::new(kind, true)).float(&[3, 5, 7]).ints(&[1, -1]))
            .collect();
        let sum = |keep_dims| Reduce::new(ReduceKind::Sum, keep_dims);
        let noop = Reduce { noop_with_empty_axes: true, ..Reduce::new(ReduceKind::SumSquare, true) };
        examples.extend([
            Example::new("log sum", Reduce::new(ReduceKind::LogSum, false))
                .uniform(DataType::F32, &[13, 3], 0.1, 2.0)
                .ints(&[0]),
            Example::new("everything", sum(false)).float(&[3, 5, 7]),
            Example::new("no axes", noop).float(&[3, 5]).ints(&[]),
            Example::new("integers", sum(false)).uniform(DataType::I32, &[3, 17], -9.0, 9.0).ints(&[1]),
            Example::new("nothing to sum", sum(true)).float(&[2, 0, 3]).ints(&[1]),
            Example::new("no results", sum(false)).float(&[2, 0, 3]).ints(&[0]),
        ]);
        examples
    }
}

/// The elements that go into each result, results in row-major order.
struct Groups {
    /// Flat position of the first element of each group.
    starts: Vec<usize>,
    /// Where the elements of a group lie behind its first.
    within: Vec<usize>,
}

impl Groups {
    fn new(sizes: &[usize], axes: &[usize]) -> Self {
        let own = strides(sizes);
        let positions = |is_reduced: bool| -> Vec<usize> {
            let part: Sizes = (0..sizes.len()).filter(|a| axes.contains(a) == is_reduced).collect();
            let pick = |of: &[usize]| -> Sizes { part.iter().map(|&a| of[a]).collect() };
            let (sizes, strides) = (pick(sizes), pick(&own));
            (0..sizes.iter().product()).map(|i| ravel(&unravel(i, &sizes), &strides)).collect()
        };
        Self { starts: positions(false), within: positions(true) }
    }

    /// One value for each group.
    fn map<T: Copy, R>(&self, elements: &[T], value: impl Fn(&[T]) -> R) -> Vec<R> {
        let mut group = Vec::with_capacity(self.within.len());
        let one = |start: &usize| {
            group.clear();
            group.extend(self.within.iter().map(|offset| elements[start + offset]));
            value(&group)
        };
        self.starts.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    fn reduce(kind: ReduceKind, axes: &[i64]) -> Vec<f64> {
        let x = Tensor::from_vec(&[2, 3], vec![1f32, 2.0, -3.0, 4.0, 5.0, 6.0]).unwrap();
        reference_of(&Reduce::new(kind, false), &[&x, &Tensor::of_i64(axes)]).unwrap()[0].to_floats()
    }

    #[test]
    fn formulas_by_hand() {
        assert_eq!(reduce(ReduceKind::Sum, &[1]), [0.0, 15.0]);
        assert_eq!(reduce(ReduceKind::Sum, &[0]), [5.0, 7.0, 3.0]);
        assert_eq!(reduce(ReduceKind::Mean, &[-1]), [0.0, 5.0]);
        assert_eq!(reduce(ReduceKind::L1, &[]), [21.0]);
        assert_eq!(reduce(ReduceKind::Max, &[0, 1]), [6.0]);
        assert_eq!(reduce(ReduceKind::SumSquare, &[1]), [14.0, 77.0]);
        assert_eq!(reduce(ReduceKind::Product, &[1]), [-6.0, 120.0]);
    }

    #[test]
    fn nothing_to_reduce() {
        let empty = Tensor::from_vec::<f32>(&[0], Vec::new()).unwrap();
        let of = |kind| reference_of(&Reduce::new(kind, false), &[&empty]).unwrap()[0].to_floats()[0];
        assert_eq!(of(ReduceKind::Sum).to_bits(), 0f64.to_bits());
        assert_eq!((of(ReduceKind::Product), of(ReduceKind::Max)), (1.0, f64::NEG_INFINITY));
        assert_eq!((of(ReduceKind::LogSumExp), of(ReduceKind::Min)), (f64::NEG_INFINITY, f64::INFINITY));
        assert!(of(ReduceKind::Mean).is_nan());
    }

    #[test]
    fn large_exponents_do_not_overflow() {
        let x = Tensor::from_vec(&[2], vec![1000f32, 1000.0]).unwrap();
        let y = reference_of(&Reduce::new(ReduceKind::LogSumExp, false), &[&x]).unwrap()[0].to_floats()[0];
        assert!((y - 1000.0 - std::f64::consts::LN_2).abs() < 1e-4);
    }

    #[test]
    fn the_product_of_sizes_stays_symbolic() {
        let sizes = TensorType::ranked(DataType::I64, vec![Dim::constant(2)])
            .with_value(KnownValue::Ints(vec![Dim::symbol("N"), Dim::constant(4)]));
        let y = infer_of(&Reduce::new(ReduceKind::Product, false), &[&sizes.into()]).unwrap();
        assert_eq!(y[0].as_tensor().unwrap().ints().unwrap(), [Dim::symbol("N").mul(&4i64.into())]);
    }

    #[test]
    fn numbers_that_wrap_are_no_known_contents() {
        let known = |data_type, values: [i64; 2]| {
            let values = values.map(Dim::constant).to_vec();
            let list = TensorType::ranked(data_type, vec![2i64.into()]).with_value(KnownValue::Ints(values));
            let y = infer_of(&Reduce::new(ReduceKind::Sum, false), &[&list.into()]).unwrap();
            y[0].as_tensor().unwrap().constant_ints()
        };
        assert_eq!(known(DataType::I64, [3, 4]), Some(vec![7]));
        assert_eq!(known(DataType::I64, [3, i64::MAX]), None);
        assert_eq!(known(DataType::I32, [3, i64::from(i32::MAX)]), None);
    }

    #[test]
    fn axes_known_only_at_run_time() {
        let x = ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), Dim::constant(4)]);
        let axes = ValueType::tensor(DataType::I64, vec![Dim::constant(1)]);
        let dropped = infer_of(&Reduce::new(ReduceKind::Sum, false), &[&x, &axes]).unwrap();
        assert_eq!(dropped[0].to_string(), "f32[?reduce1]");
        assert!(infer_of(&Reduce::new(ReduceKind::Sum, false), &[&ValueType::tensor(DataType::Bool, vec![])]).is_err());
    }
}
