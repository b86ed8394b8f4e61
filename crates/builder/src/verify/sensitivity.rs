//! The effect of rounding alone on results.
//!
//! Most networks damp an error of one layer in the next; some magnify it, and then two correct engines differ by more
//! than any fixed bound. So do sums whose terms cancel, steps such as a floor near their edge, and recurrences over
//! many steps. Where a result exceeds its bound, the reference executor runs a few times more with every float
//! perturbed at random by some units in the last place, once to each side, and with fewer digits ([`Noise`]). A
//! difference of twice that effect is no proof of an error.

use sinter_base::{DataType, Floats, Value};
use sinter_interp::FastEvaluator;
use sinter_ir::Network;
use sinter_ops::{Body, Memory, Op};

use crate::verify::answers::Answers;
use crate::verify::forced::Forced;
use crate::verify::noise::Noise;
use crate::verify::reference::reference_context;

/// Allowance for the chance that a few random runs miss the largest effect.
const ALLOWANCE: f64 = 2.0;
/// Rounds of noisy runs of a region at most.
const ROUNDS: u64 = 6;
/// After a round, one element in so many may be unexplained for a further one.
const FEW: usize = 16;
/// Relative part of the bound on elements that no run changes.
const RELATIVE: f64 = 2e-4;

/// The distances of two outputs of equal type and sizes, element by element; `None` for others. An overflowed element
/// is infinitely far from every number, whether it is an infinity or NaN.
fn distances(a: &Value, b: &Value) -> Option<Vec<f64>> {
    let (a, b) = (a.as_tensor()?, b.as_tensor()?);
    if a.sizes() != b.sizes() || a.data_type() != b.data_type() || a.data_type() == DataType::String {
        return None;
    }
    let (x, y) = (Floats::of(a), Floats::of(b));
    let one = |at: usize| {
        let (x, y) = (x.at(at), y.at(at));
        match (x.is_finite(), y.is_finite()) {
            (true, true) => (x - y).abs(),
            (false, false) => 0.0,
            _ => f64::INFINITY,
        }
    };
    Some((0..a.count()).map(one).collect())
}

/// Does rounding alone explain the distance of one output of a network from the reference executor's?
pub(crate) fn explains(imported: &Network, answers: &Answers, output: usize, found: &Value) -> bool {
    is_near(answers, output, found, answers.rounded(imported))
}

/// The same where discrete operators repeat their decisions.
pub(crate) fn explains_forced(
    imported: &Network,
    answers: &Answers,
    forced: &Forced,
    output: usize,
    found: &Value,
) -> bool {
    let run = |noise: Noise| answers.run(imported, &noise.on(forced.again())).ok();
    is_near(answers, output, found, &Noise::round(0).filter_map(run).collect::<Vec<_>>())
}

/// Is an output at most twice as far off as in any of these runs? An element is infinitely far off only where one of them is.
fn is_near(answers: &Answers, output: usize, found: &Value, runs: &[Vec<Value>]) -> bool {
    let Some(expected) = answers.outputs.get(output) else { return false };
    let Some(differences) = distances(found, expected) else { return false };
    let moved: Vec<_> = runs.iter().filter_map(|run| Some(distances(run.get(output)?, expected))).collect();
    let most = |moved: &Option<Vec<f64>>| {
        moved.as_ref().map_or(f64::INFINITY, |moved| moved.iter().copied().fold(0.0, f64::max))
    };
    let farthest = moved.iter().map(most).fold(0.0, f64::max);
    let is_lost = |at: usize| moved.iter().flatten().any(|moved| moved.get(at) == Some(&f64::INFINITY));
    let is_explained = |(at, difference): (usize, &f64)| match difference.is_finite() {
        true => *difference <= ALLOWANCE * farthest,
        false => is_lost(at),
    };
    differences.iter().enumerate().all(is_explained)
}

/// Do errors grow from step to step? Then an element that no run changes is luck.
fn is_recurrent(body: &Body) -> bool {
    body.nodes().iter().any(|node| matches!(node.op, Op::Rnn(_) | Op::Gru(_) | Op::Lstm(_)))
}

/// Does rounding alone explain the distance of a region's results from its meaning? Compares element by element, except
/// for recurrences.
pub(crate) fn excuses(
    body: &Body,
    operands: &[Option<Value>],
    found: &[Value],
    expected: &[Value],
    memory: Memory,
) -> bool {
    let compared = |at: usize| {
        let known = Floats::of(expected[at].as_tensor()?);
        let differences = distances(found.get(at)?, &expected[at])?;
        Some(Compared { farthest: vec![0.0; differences.len()], known, differences })
    };
    let Some(mut results) = (0..expected.len()).map(compared).collect::<Option<Vec<_>>>() else { return false };
    for round in 0..ROUNDS {
        for noise in Noise::round(round) {
            let given = noise.operands(operands).into_iter().filter(Option::is_some).collect();
            let run = body.evaluate(given, &reference_context(&noise.on(&FastEvaluator), memory));
            for (at, result) in results.iter_mut().enumerate() {
                let moved = run.as_ref().ok().and_then(|run| distances(run.get(at)?, &expected[at]));
                let Some(moved) = moved else { return false };
                result.add(moved, is_recurrent(body));
            }
        }
        let open: usize = results.iter().map(Compared::unexplained).sum();
        let count: usize = results.iter().map(|result| result.differences.len()).sum();
        // A few runs miss the largest effect on a few of many elements only.
        if open == 0 || open > (count / FEW).max(1) {
            return open == 0;
        }
    }
    false
}

/// A result whose elements differ.
struct Compared<'a> {
    known: Floats<'a>,
    differences: Vec<f64>,
    /// The largest effect of noise so far.
    farthest: Vec<f64>,
}

impl Compared<'_> {
    /// Takes the effects of one run; in a recurrence, every element may have the largest one.
    fn add(&mut self, mut moved: Vec<f64>, is_recurrent: bool) {
        if is_recurrent {
            // Elements behind an overflow may have any value.
            let overflows = (0..moved.len()).any(|element| !self.known.at(element).is_finite());
            let largest = moved.iter().copied().fold(if overflows { f64::INFINITY } else { 0.0 }, f64::max);
            moved.fill(largest);
        }
        self.farthest.iter_mut().zip(moved).for_each(|(farthest, moved)| *farthest = farthest.max(moved));
    }

    /// The median size of the finite elements other than 0.
    fn typical(&self) -> f64 {
        let known = (0..self.differences.len()).map(|element| self.known.at(element).abs());
        let mut sizes: Vec<f64> = known.filter(|size| size.is_finite() && *size > 0.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.get(sizes.len() / 2).copied().unwrap_or(f64::INFINITY)
    }

    /// How many elements differ by more than noise explains. An element that noise moves farther than most elements are
    /// large may be any number: next to a pole, the largest of a few effects says nothing about the next one.
    fn unexplained(&self) -> usize {
        let typical = self.typical();
        let is_explained = |element: usize| {
            let (difference, farthest) = (self.differences[element], self.farthest[element]);
            let known = self.known.at(element);
            let own = if known.is_finite() { RELATIVE * known.abs() } else { 0.0 };
            let explained = if farthest > typical { f64::INFINITY } else { own + ALLOWANCE * farthest };
            (difference.is_finite() || farthest.is_infinite()) && difference <= explained
        };
        (0..self.differences.len()).filter(|element| !is_explained(*element)).count()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use sinter_base::{Location, Tensor, ValueType};
    use sinter_ir::NetworkBuilder;
    use sinter_ops::pointwise::{Expr, ScalarOp};
    use sinter_ops::{InferContext, Memory};

    use super::*;
    use crate::verify::reference::evaluate;

    fn tensor(values: &[f32]) -> Value {
        Tensor::from_vec(&[values.len()], values.to_vec()).unwrap().into()
    }

    /// exp(1000 x) magnifies what is left of x + 1 - 1, exp(x) does not.
    #[test]
    fn only_networks_that_magnify_are_excused() {
        for (factor, excused) in [(1000.0, true), (1.0, false)] {
            let mut builder = NetworkBuilder::new();
            let mut value = builder.add_network_input("x", ValueType::tensor(DataType::F32, vec![3i64.into()]), None);
            let x = Expr::input(0, DataType::F32);
            for expression in [&x + 1.0, &(&x + -1.0) * factor, x.unary(ScalarOp::Exp)] {
                let op = Expr::into_pointwise(&[expression]).unwrap();
                value = builder.add(op, &[Some(value)], &Location::default()).unwrap()[0];
            }
            let network = builder.finish("n", &[("y".to_owned(), value)]);
            let inputs = HashMap::from([("x".to_owned(), tensor(&[0.01, 0.02, 0.03]))]);
            let answers = Answers::of(&network, inputs, Memory::UNBOUNDED).unwrap();
            let exact = answers.outputs[0].as_tensor().unwrap().to_floats();
            let off: Vec<f64> = exact.iter().map(|v| v * 1.0001).collect();
            let found = Tensor::from_floats(DataType::F32, &[3], &off).unwrap().into();
            assert_eq!(explains(&network, &answers, 0, &found), excused, "{factor}");
            assert!(!explains(&network, &answers, 0, &tensor(&[f32::NAN; 3])));
        }
    }

    /// The logarithm of what is left of a sum may be of a number below zero.
    #[test]
    fn elements_may_be_lost_only_where_rounding_loses_them() {
        for (shift, excused) in [(-1.01, true), (-1.0, false)] {
            let mut builder = NetworkBuilder::new();
            let mut value = builder.add_network_input("x", ValueType::tensor(DataType::F32, vec![2i64.into()]), None);
            let x = Expr::input(0, DataType::F32);
            for expression in [&x + 1.0, (&x + shift).unary(ScalarOp::Log)] {
                let op = Expr::into_pointwise(&[expression]).unwrap();
                value = builder.add(op, &[Some(value)], &Location::default()).unwrap()[0];
            }
            let network = builder.finish("n", &[("y".to_owned(), value)]);
            let inputs = HashMap::from([("x".to_owned(), tensor(&[0.010_000_1, 3.0]))]);
            let answers = Answers::of(&network, inputs, Memory::UNBOUNDED).unwrap();
            let exact = answers.outputs[0].as_tensor().unwrap().to_floats();
            let with = |first: f32, second: f32| explains(&network, &answers, 0, &tensor(&[first, second]));
            assert_eq!(with(f32::NAN, exact[1] as f32), excused, "{shift}");
            assert!(!with(exact[0] as f32, f32::NAN), "{shift}: the second");
        }
    }

    fn region(make: impl Fn(&Expr) -> Expr) -> Body {
        let mut body = Body::new();
        let x = body.add_input(ValueType::tensor(DataType::F32, vec![2i64.into()]));
        let op = Expr::into_pointwise(&[make(&Expr::input(0, DataType::F32))]).unwrap();
        let made = body.add(op.into(), &[Some(x)], &mut InferContext::default()).unwrap();
        body.set_outputs(made.to_vec());
        body
    }

    fn excused(body: &Body, x: &[f32], found: &[f32]) -> bool {
        let operands = [Some(tensor(x))];
        let expected = evaluate(body, &operands, Memory::UNBOUNDED).unwrap();
        excuses(body, &operands, &[tensor(found)], &expected, Memory::UNBOUNDED)
    }

    /// atanh magnifies the last bit of the sigmoid in front, which no noise on the operand changes.
    #[test]
    fn noise_reaches_into_programs() {
        let sigmoid = |x: &Expr| x.unary(ScalarOp::Sigmoid);
        let magnified = region(|x| sigmoid(x).unary(ScalarOp::Atanh));
        let one_unit_off = (1.0 - f32::EPSILON / 2.0).atanh();
        assert!(excused(&magnified, &[14.0, 0.5], &[one_unit_off, 0.729_01]));
        assert!(!excused(&magnified, &[14.0, 0.5], &[one_unit_off, 0.739_01]), "nothing magnifies the second");
        assert!(!excused(&region(sigmoid), &[14.0, 0.5], &[1.0, 0.63]));
    }

    /// A kernel's difference may be zero exactly where the reference executor's is not, and a kernel may lose a tiny
    /// number.
    #[test]
    fn zero_is_next_to_small_numbers() {
        let sign = region(|x| (&(x * (1.0 / 3.0)) - &(x * (1.0 / 3.0 + 1e-7))).unary(ScalarOp::Sign));
        assert!(excused(&sign, &[1.0, 3.0], &[0.0, 0.0]));
        let far = region(|x| (&(x * (1.0 / 3.0)) - &(x * (1.0 / 3.0 + 1e-4))).unary(ScalarOp::Sign));
        assert!(!excused(&far, &[1.0, 3.0], &[0.0, 0.0]));
        let floor = region(|x| x.unary(ScalarOp::Swish).unary(ScalarOp::Floor));
        assert!(excused(&floor, &[-95.0, 1.5], &[-0.0, 1.0]));
        assert!(!excused(&floor, &[-15.0, 1.5], &[-0.0, 1.0]), "this one is not tiny");
    }
}
