//! Synthetic inputs when the user gives none: sizes are tried until the network accepts them.

use std::collections::{BTreeMap, HashMap, HashSet};

use sinter_base::{Tensor, Value};
use sinter_interp::inputs::{FreeNames, FreeSizes, check, generate_at, sizes_of};
use sinter_interp::roles::{Role, roles};
use sinter_ir::Network;

use crate::sizes::SizeHints;
use crate::verify::required_sizes::RequiredSizes;

const fn equal(batch: i64, other: i64) -> FreeSizes {
    FreeSizes { batch, other, apart: 0 }
}

const fn apart(batch: i64, other: i64, apart: i64) -> FreeSizes {
    FreeSizes { batch, other, apart }
}

/// Sizes for verification: 3 shows errors that a batch of one hides, and different sizes show where one is used in
/// place of another. Some networks require two equal sizes.
const TO_VERIFY: &[FreeSizes] = &[
    apart(3, 5, 2),
    equal(3, 3),
    equal(1, 1),
    apart(3, 8, 8),
    equal(3, 8),
    equal(8, 8),
    apart(3, 16, 16),
    equal(3, 16),
    equal(16, 16),
    apart(2, 64, 64),
    equal(2, 64),
    equal(64, 64),
    apart(1, 128, 128),
    equal(1, 128),
    equal(128, 128),
    equal(1, 256),
    equal(1, 512),
    equal(1, 1024),
    equal(1024, 1024),
    equal(1, 16_000),
];
/// Smaller sizes, or else larger ones, for a second run.
const AGAIN: &[FreeSizes] =
    &[apart(2, 3, 1), equal(2, 2), apart(4, 9, 3), apart(2, 24, 8), equal(1, 96), equal(1, 192)];
/// Sizes beside a batch of one: some networks require a certain length, or a multiple of one.
const LENGTHS: &[i64] = &[8, 16, 64, 128, 256, 512, 1024, 16_000];
/// Inputs of at least this many elements are large.
const LARGE: usize = 1 << 16;

/// Batches of one, with increasing lengths.
fn alone() -> impl Iterator<Item = FreeSizes> {
    LENGTHS.iter().map(|length| equal(1, *length))
}

/// Why inputs were refused.
pub(crate) enum Refused {
    /// Other inputs may be accepted.
    Here(String),
    /// Larger inputs will be refused too: they need no less memory and no fewer steps.
    TooLarge(String),
}

impl Refused {
    pub(crate) fn reason(self) -> String {
        match self {
            Refused::Here(reason) | Refused::TooLarge(reason) => reason,
        }
    }
}

/// Generates inputs.
struct Maker<'a> {
    network: &'a Network,
    hints: &'a SizeHints,
    required: RequiredSizes,
    names: FreeNames,
}

impl<'a> Maker<'a> {
    fn new(network: &'a Network, hints: &'a SizeHints) -> Self {
        Self { network, hints, required: RequiredSizes::of(network, hints), names: FreeNames::of(network) }
    }

    /// Inputs of these sizes, or of the nearest sizes that meet the network's conditions.
    fn inputs(&self, free: FreeSizes) -> Result<HashMap<String, Value>, String> {
        let near = |name: &str| self.hints.near(name, free.of(name, &self.names));
        let sizes = self.required.all_near(&self.names.all().collect::<Vec<_>>(), &near);
        let inputs = generate_at(self.network, &|name| sizes.get(name).copied().unwrap_or_else(|| near(name)))?;
        check(self.network, &inputs)?;
        Ok(inputs)
    }

    /// The first inputs that pass, or why the last ones do not.
    fn first<T>(
        &self,
        sizes: impl IntoIterator<Item = FreeSizes>,
        mut passes: impl FnMut(HashMap<String, Value>) -> Result<T, Refused>,
    ) -> Result<T, String> {
        let (mut last, mut too_large) = (String::new(), Vec::new());
        let mut tried = HashSet::new();
        for free in sizes {
            let inputs = match self.inputs(free) {
                Ok(inputs) => inputs,
                Err(reason) => {
                    last = reason;
                    continue;
                }
            };
            let sizes = sizes_of(self.network, &inputs);
            let is_larger =
                |than: &BTreeMap<String, i64>| than.iter().all(|(name, size)| sizes.get(name) >= Some(size));
            if too_large.iter().any(is_larger) || !tried.insert(sizes.clone()) {
                continue;
            }
            match passes(inputs) {
                Ok(found) => return Ok(found),
                Err(Refused::Here(reason)) => last = reason,
                Err(Refused::TooLarge(reason)) => {
                    too_large.push(sizes);
                    last = reason;
                }
            }
        }
        Err(last)
    }
}

/// The result of `run` for the first inputs that the network accepts.
///
/// # Errors
/// Why it accepts none: the reason for the last ones.
pub(crate) fn verified<T>(
    network: &Network,
    hints: &SizeHints,
    run: impl FnMut(HashMap<String, Value>) -> Result<T, Refused>,
) -> Result<T, String> {
    let maker = Maker::new(network, hints);
    let count = |value: &Value| value.as_tensor().map_or(0, Tensor::count);
    let is_large = |inputs: HashMap<String, Value>| inputs.values().any(|value| count(value) >= LARGE);
    if maker.inputs(FreeSizes::all(1)).is_ok_and(is_large) {
        // No larger batches of these inputs: kernel tests cover other batches.
        return maker.first([1, 2, 3].map(FreeSizes::all).into_iter().chain(alone()), run);
    }
    maker.first(TO_VERIFY.iter().copied(), run)
}

/// The result of `run` for other inputs: of other sizes, with all counts such as iterations increased by one, or with
/// the smallest numbers, for loops that run until a number is reached. `None` where there are none, or the network
/// accepts none.
pub(crate) fn verified_again<T>(
    network: &Network,
    hints: &SizeHints,
    known: &HashMap<String, Value>,
    mut run: impl FnMut(HashMap<String, Value>) -> Result<T, Refused>,
) -> Option<T> {
    let mut other = |inputs: HashMap<String, Value>| match &inputs == known {
        true => Err(Refused::Here("they are the same".to_owned())),
        false => run(inputs),
    };
    let any = |inputs: HashMap<String, Value>| {
        let more = with_numbers(network, &inputs, &|role, number| if role == Role::Size { number + 1 } else { number });
        let ones = with_numbers(network, &inputs, &|role, number| if role == Role::Number { 1 } else { number });
        other(more).or_else(|_| other(ones)).or_else(|_| other(inputs))
    };
    Maker::new(network, hints).first(AGAIN.iter().copied(), any).ok()
}

/// The inputs with other integers, by their role.
fn with_numbers(
    network: &Network,
    inputs: &HashMap<String, Value>,
    change: &dyn Fn(Role, i128) -> i128,
) -> HashMap<String, Value> {
    let sizes = sizes_of(network, inputs);
    let roles = roles(network, &|name| sizes.get(name).copied().unwrap_or(1));
    let changed = |(name, value): (&String, &Value)| {
        let input = network.inputs.iter().find(|input| input.name == *name);
        let role = input.and_then(|input| roles.get(&input.value)).copied().unwrap_or(Role::Number);
        let tensor = value.as_tensor().filter(|tensor| tensor.data_type().is_integer());
        let other = tensor.and_then(|tensor| {
            let numbers: Vec<i128> = tensor.to_ints().into_iter().map(|number| change(role, number)).collect();
            Tensor::from_ints(tensor.data_type(), tensor.sizes(), &numbers).ok()
        });
        (name.clone(), other.map_or_else(|| value.clone(), Value::Tensor))
    };
    inputs.iter().map(changed).collect()
}

/// Inputs for measuring a network: batches of one, and the smallest other sizes that the network accepts, by shape
/// inference.
///
/// # Errors
/// Why there are none: an input that cannot be generated, or the refusal of the last sizes.
pub fn to_measure(network: &Network) -> Result<HashMap<String, Value>, String> {
    let sizes = [1].map(FreeSizes::all).into_iter().chain(alone()).chain([8, 64].map(FreeSizes::all));
    Maker::new(network, &SizeHints::default()).first(sizes, Ok)
}

#[cfg(test)]
mod tests {
    use sinter_base::{DataType, Dim, Location, ValueType};
    use sinter_ir::NetworkBuilder;
    use sinter_ops::pointwise::{Expr, ScalarOp};

    use super::*;

    /// -x for x of these sizes.
    fn negated(dims: Vec<Dim>) -> Network {
        let mut builder = NetworkBuilder::new();
        let x = builder.add_network_input("x", ValueType::tensor(DataType::F32, dims), None);
        let op = Expr::into_pointwise(&[Expr::input(0, DataType::F32).unary(ScalarOp::Neg)]).unwrap();
        let y = builder.add(op, &[Some(x)], &Location::default()).unwrap()[0];
        builder.finish("negated", &[("y".to_owned(), y)])
    }

    /// The sizes that are tried if inputs of more than `allowed` elements are too large.
    fn tried(network: &Network, allowed: usize) -> Vec<Vec<usize>> {
        let mut tried = Vec::new();
        let _ = verified(network, &SizeHints::default(), |inputs| {
            let x = inputs["x"].as_tensor().unwrap();
            tried.push(x.sizes().to_vec());
            if x.count() > allowed { Err(Refused::TooLarge(String::new())) } else { Ok(()) }
        });
        tried
    }

    #[test]
    fn where_some_are_too_large_smaller_ones_are_tried() {
        let open = negated(vec![Dim::symbol("N"), 5i64.into()]);
        assert_eq!(tried(&open, 15), [[3, 5]]);
        assert_eq!(tried(&open, 5), [[3, 5], [1, 5]]);
        assert_eq!(tried(&open, 4), [[3, 5], [1, 5]], "nothing is smaller");
        assert_eq!(tried(&negated(vec![5i64.into()]), 4), [[5]], "no size is dynamic");
    }

    /// The sizes that are tried if the network accepts only those for which `takes` is true.
    fn shown(network: &Network, takes: impl Fn(&[usize]) -> bool) -> Vec<Vec<usize>> {
        let mut shown = Vec::new();
        let _ = verified(network, &SizeHints::default(), |inputs| {
            let sizes = inputs["x"].as_tensor().unwrap().sizes().to_vec();
            shown.push(sizes.clone());
            if takes(&sizes) { Ok(()) } else { Err(Refused::Here(String::new())) }
        });
        shown
    }

    #[test]
    fn sizes_differ_unless_a_network_wants_equal_ones() {
        let picture = negated(["N", "H", "W"].map(Dim::symbol).to_vec());
        assert_eq!(shown(&picture, |_| true), [[3, 5, 7]]);
        assert_eq!(shown(&picture, |sizes| sizes[1] == sizes[2])[1], [3, 3, 3]);
        let large = shown(&picture, |sizes| sizes[1..].iter().all(|size| size.is_multiple_of(32)));
        assert_eq!(large.last().unwrap(), &[2, 64, 128]);
        // The first attempt meets a condition, and leaves other sizes unchanged.
        let mut wanting = picture.clone();
        let [left, right] = ["H", "N"].map(Dim::symbol);
        wanting.guards.push(sinter_ops::Guard { left, right, reason: String::new() });
        assert_eq!(shown(&wanting, |_| true), [[3, 3, 7]]);
    }

    #[test]
    fn a_second_run_has_other_sizes() {
        let picture = negated(["N", "H", "W"].map(Dim::symbol).to_vec());
        let sizes = |inputs: &HashMap<String, Value>| inputs["x"].as_tensor().unwrap().sizes().to_vec();
        let first = verified(&picture, &SizeHints::default(), Ok).unwrap();
        let again = verified_again(&picture, &SizeHints::default(), &first, |inputs| Ok(sizes(&inputs)));
        assert_eq!((sizes(&first), again), (vec![3, 5, 7], Some(vec![2, 3, 4])));
        let fixed = negated(vec![5i64.into()]);
        let first = verified(&fixed, &SizeHints::default(), Ok).unwrap();
        assert_eq!(verified_again(&fixed, &SizeHints::default(), &first, |inputs| Ok(sizes(&inputs))), None);
    }

    #[test]
    fn a_second_run_has_other_numbers() {
        let mut builder = NetworkBuilder::new();
        let x = builder.add_network_input("x", ValueType::tensor(DataType::I64, vec![2i64.into()]), None);
        let network = builder.finish("numbers", &[("y".to_owned(), x)]);
        let first = verified(&network, &SizeHints::default(), Ok).unwrap();
        let again = verified_again(&network, &SizeHints::default(), &first, Ok).unwrap();
        assert_eq!(again["x"].as_tensor().unwrap().to_i64(), [1, 1]);
    }
}
