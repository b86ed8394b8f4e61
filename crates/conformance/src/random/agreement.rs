//! Bounds of the effect of rounding on the results of a whole network.
//!
//! The reference executor runs a few more times, and perturbs every float that it computes at random by some units in
//! the last place of its type, to either side, or rounds it to fewer digits. A result may differ from the reference by twice the largest difference
//! of these runs, plus a fixed tolerance for networks that do not magnify errors:
//! `1e-7 + 3e-5 max(abs(b)) + 2e-4 abs(b)`, one unit in the last place of a narrow type. (A sigmoid by way of tanh has
//! an absolute error of one unit of 1, as in most libraries.) Integers and truth values must be equal where no such run
//! changes them. If a run changes the number of elements, the results are not compared.

use std::collections::{HashMap, HashSet};

use sinter_base::shape::strides;
use sinter_base::{DataType, Tensor, Value};
use sinter_interp::stepwise::{compared_inputs, compared_steps};
use sinter_interp::{Coarse, FastEvaluator, evaluate_by_steps, inner_errors, run_with};
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, Op};
use sinter_testkit::Random;

use crate::random::Problem;

/// Runs with noise.
const RUNS: u64 = 20;
/// From this run on about every other number stays unchanged, because a decision on several numbers may depend on a
/// perturbation of some of them.
const HALVES: u64 = 4;
/// Perturbation in units in the last place of f32: more than the error of sums of some dozens of products.
const UNITS: f64 = 8.0;
/// Factor between the largest effect and that of a few runs.
const ALLOWANCE: f64 = 2.0;
/// The tolerance of elements that no run changes: absolute, relative to the largest element, and relative.
const ABSOLUTE: f64 = 1e-7;
const OF_LARGEST: f64 = 3e-5;
const OF_ELEMENT: f64 = 2e-4;

/// One unit in the last place, as a part of the number.
fn unit(data_type: DataType) -> f64 {
    match data_type {
        DataType::F64 | DataType::F32 => 2f64.powi(-23),
        DataType::F16 => 2f64.powi(-10),
        DataType::Bf16 => 2f64.powi(-7),
        DataType::F8E4M3FN | DataType::F8E4M3FNUZ => 0.125,
        DataType::F8E5M2 | DataType::F8E5M2FNUZ => 0.25,
        DataType::F4E2M1 => 0.5,
        DataType::F8E8M0 => 1.0,
        _ => 0.0,
    }
}

/// The reference executor with noise.
enum Noisy {
    /// At random, by the number of the run.
    Random(u64),
    /// To fewer digits: random numbers are never equal, and never zero.
    Coarse(Coarse),
    /// To fewer digits where a program compares numbers, and nowhere else: there, numbers are equal whose errors grew on the way.
    Compared(Coarse),
}

impl Noisy {
    fn perturbed(&self, value: Value, stream: u64) -> Value {
        let Some(tensor) = value.as_tensor().filter(|tensor| tensor.data_type().is_float()) else { return value };
        let noise = Self::units(tensor.data_type()) * unit(tensor.data_type());
        let perturbed: Vec<f64> = match self {
            Self::Coarse(coarse) => tensor.to_floats().into_iter().map(|v| coarse.of(v, 2.0 * noise)).collect(),
            Self::Compared(coarse) => {
                tensor.to_floats().into_iter().map(|v| coarse.of(v, Coarse::WIDE * noise)).collect()
            }
            Self::Random(run) => {
                // Runs come in pairs: the same noise to either side, since an edge lies on one of them.
                let mut random = Random::of("noise", (run / 2) << 32 | stream << 24 | tensor.count() as u64);
                let side = if run.is_multiple_of(2) { 1.0 } else { -1.0 };
                // Numbers that stay are those of some places along a few axes, all numbers behind each: the results of
                // a reduction change independently of each other where all numbers of some stay.
                let of_axes = random.bits();
                let strides = strides(tensor.sizes());
                let place = |index: usize| {
                    let axes = tensor.sizes().iter().zip(&strides).enumerate();
                    let chosen = axes.filter(|(axis, _)| of_axes >> (axis % 64) & 1 == 1);
                    chosen.map(|(_, (size, stride))| index / stride % size * stride).sum::<usize>()
                };
                let stays = |index: usize| Random::of("stays", of_axes ^ place(index) as u64).below(2) == 0;
                let perturb_one = |(index, v): (usize, f64)| {
                    let part = 2.0 * (random.bits() >> 11) as f64 / (1u64 << 53) as f64 - 1.0;
                    let stays = !v.is_finite() || *run >= HALVES && stays(index);
                    if stays { v } else { v * (1.0 + side * noise * part) }
                };
                tensor.to_floats().into_iter().enumerate().map(perturb_one).collect()
            }
        };
        Tensor::from_floats(tensor.data_type(), tensor.sizes(), &perturbed).map_or(value, Value::Tensor)
    }

    /// The operands; those of products perturbed where they are narrow, since a build may round a weight once more, times a
    /// constant.
    fn operands(&self, op: &Op, inputs: &Arguments<'_>) -> Vec<Option<Value>> {
        let is_product = matches!(op, Op::MatMul(_) | Op::Convolution(_) | Op::Deconvolution(_));
        let is_narrow = |value: &Value| !matches!(value.value_type().data_type(), DataType::F32 | DataType::F64);
        let compared = match (self, op) {
            (Self::Compared(_), Op::Pointwise(op)) => compared_inputs(op),
            _ => HashSet::new(),
        };
        let moved = |(index, value): (usize, &Option<Value>)| match value {
            Some(value) if compared.contains(&index) || is_product && is_narrow(value) => {
                Some(self.perturbed(value.clone(), 32 + index as u64))
            }
            other => other.clone(),
        };
        inputs.all().iter().enumerate().map(moved).collect()
    }

    /// A result with the rounding of terms of these sizes, by element.
    fn inside(&self, value: &Value, sizes: &[f64]) -> Option<Value> {
        let Self::Random(run) = self else { return None };
        let tensor = value.as_tensor()?;
        let mut random = Random::of("terms", *run);
        let mut one = |(v, size): (f64, &f64)| {
            let part = 2.0 * (random.bits() >> 11) as f64 / (1u64 << 53) as f64 - 1.0;
            v + UNITS * unit(DataType::F32) * size * part
        };
        let moved: Vec<f64> = tensor.to_floats().into_iter().zip(sizes).map(&mut one).collect();
        Tensor::from_floats(tensor.data_type(), tensor.sizes(), &moved).ok().map(Value::Tensor)
    }

    /// Narrow types round one step further at most.
    fn units(data_type: DataType) -> f64 {
        match data_type {
            DataType::F32 | DataType::F64 => UNITS,
            _ => 1.0,
        }
    }
}

impl Evaluator for Noisy {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let moved = self.operands(op, inputs);
        let inputs = &Arguments::new(&moved);
        let mut results = FastEvaluator.evaluate(op, inputs, cx)?;
        if let Some(sizes) = inner_errors(op, inputs, &results, &FastEvaluator, cx)? {
            results[0] = self.inside(&results[0], &sizes).unwrap_or_else(|| results[0].clone());
        }
        // A program also rounds intermediate values, which are no results of the node.
        if let Op::Pointwise(op) = op {
            let compared = compared_steps(op);
            let step = |position: usize, result: Value| match self {
                Self::Compared(_) if !compared.contains(&position) => result,
                _ => self.perturbed(result, 64 + position as u64),
            };
            let inside = evaluate_by_steps(op, inputs, &FastEvaluator, cx, &step)?;
            for (value, inside) in results.iter_mut().zip(inside) {
                if sizes(value) == sizes(&inside) {
                    *value = inside;
                }
            }
        }
        if matches!(self, Self::Compared(_)) {
            return Ok(results);
        }
        Ok((0u64..).zip(results).map(|(stream, value)| self.perturbed(value, stream)).collect())
    }
}

/// The reference results of one run of a problem, and the effect of rounding on them.
pub(super) struct Answers {
    pub(super) outputs: Vec<Value>,
    /// The runs with noise, computed on demand.
    perturbed: Option<Vec<Vec<Value>>>,
}

impl Answers {
    pub(super) fn new(outputs: Vec<Value>) -> Self {
        Self { outputs, perturbed: None }
    }

    /// Holds outputs against the answers.
    ///
    /// # Errors
    /// The first output whose difference rounding does not explain.
    pub(super) fn compare(
        &mut self,
        problem: &Problem,
        set: &HashMap<String, Value>,
        found: &[Value],
    ) -> Result<(), String> {
        if found.len() != self.outputs.len() {
            return Err(format!("{} outputs, {} expected", found.len(), self.outputs.len()));
        }
        for index in 0..found.len() {
            if differs(&found[index], &self.outputs[index], &[]).is_none() {
                continue;
            }
            let run = |noisy: Noisy| run_with(&problem.network, set, &noisy).ok();
            let coarse = Coarse::RUNS.map(Noisy::Coarse).into_iter().chain(Coarse::RUNS.map(Noisy::Compared));
            let runs = || (0..RUNS).map(Noisy::Random).chain(coarse);
            let perturbed = self.perturbed.get_or_insert_with(|| runs().filter_map(run).collect());
            let others: Vec<&Value> = perturbed.iter().filter_map(|outputs| outputs.get(index)).collect();
            if let Some(reason) = differs(&found[index], &self.outputs[index], &others) {
                return Err(format!("output {}: {reason}", problem.network.outputs[index].name));
            }
        }
        Ok(())
    }
}

/// The first difference that the perturbed results do not explain.
fn differs(found: &Value, expected: &Value, perturbed: &[&Value]) -> Option<String> {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => {
            let perturbed: Option<Vec<&Tensor>> = perturbed.iter().map(|value| value.as_tensor()).collect();
            tensors_differ(found, expected, &perturbed?)
        }
        (Value::Sequence { items: a, .. }, Value::Sequence { items: b, .. }) => {
            if perturbed.iter().any(|other| items(other).len() != b.len()) {
                return None;
            }
            if a.len() != b.len() {
                return Some(format!("{} items, {} expected", a.len(), b.len()));
            }
            let at = |index: usize| -> Vec<&Value> { perturbed.iter().map(|other| &items(other)[index]).collect() };
            (0..a.len()).find_map(|index| differs(&a[index], &b[index], &at(index)))
        }
        (Value::Optional { item: a, .. }, Value::Optional { item: b, .. }) => match (a, b) {
            (None, None) => None,
            (Some(a), Some(b)) => {
                let items = perturbed.iter().filter_map(|value| match value {
                    Value::Optional { item, .. } => item.as_deref(),
                    _ => None,
                });
                differs(a, b, &items.collect::<Vec<_>>())
            }
            _ => Some("an optional is empty on one side only".to_owned()),
        },
        _ => Some(format!("{}, expected {}", found.value_type(), expected.value_type())),
    }
}

fn sizes(value: &Value) -> Option<&[usize]> {
    value.as_tensor().map(Tensor::sizes)
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Sequence { items, .. } => items,
        _ => &[],
    }
}

fn tensors_differ(found: &Tensor, expected: &Tensor, perturbed: &[&Tensor]) -> Option<String> {
    if found.data_type() == expected.data_type() && perturbed.iter().any(|other| other.sizes() != expected.sizes()) {
        return None;
    }
    if found.data_type() != expected.data_type() || found.sizes() != expected.sizes() {
        let text = |t: &Tensor| format!("{}{:?}", t.data_type(), t.sizes());
        return Some(format!("{}, expected {}", text(found), text(expected)));
    }
    if let (Ok(a), Ok(b)) = (found.strings(), expected.strings()) {
        // Rounding may change the text of numbers.
        let is_free = |at: usize| perturbed.iter().any(|other| other.strings().is_ok_and(|texts| texts[at] != b[at]));
        let first = (0..b.len()).find(|&at| a[at] != b[at] && !is_free(at))?;
        return Some(format!("element {first} is {:?}, expected {:?}", a[first], b[first]));
    }
    let (a, b) = (found.to_floats(), expected.to_floats());
    let others: Vec<Vec<f64>> = perturbed.iter().map(|tensor| tensor.to_floats()).collect();
    let largest = b.iter().filter(|v| v.is_finite()).fold(0f64, |most, v| most.max(v.abs()));
    let distance = |x: f64, y: f64| if x == y || x.is_nan() && y.is_nan() { 0.0 } else { (x - y).abs() };
    let own = |v: f64| match expected.data_type() {
        t if t.is_float() => OF_LARGEST * largest + (OF_ELEMENT + narrow_unit(t)) * v.abs() + ABSOLUTE,
        _ => 0.0,
    };
    let wrong = |&at: &usize| {
        let moved = || others.iter().map(|other| distance(other[at], b[at]));
        let farthest = moved().fold(0.0, f64::max);
        // Elements that are infinite or no number, or other truth values or positions, in a run with noise are not
        // compared.
        let is_free = moved().any(|distance| !distance.is_finite());
        let is_decided = !expected.data_type().is_float() && farthest > 0.0;
        let apart = distance(a[at], b[at]);
        let near = apart == 0.0 || apart <= own(b[at]) + ALLOWANCE * farthest;
        !(near || is_free || is_decided)
    };
    let first = (0..b.len()).find(wrong)?;
    let count = (0..b.len()).filter(wrong).count();
    Some(format!("{count} of {} elements differ; element {first} is {}, expected {}", b.len(), a[first], b[first]))
}

/// One unit of a type that is narrower than f32.
fn narrow_unit(data_type: DataType) -> f64 {
    if matches!(data_type, DataType::F32 | DataType::F64) { 0.0 } else { unit(data_type) }
}
