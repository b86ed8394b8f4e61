//! The reference executor's values of the network that a plan is made of.
//!
//! The steps of a plan are its regions; applied to each other's values, their meanings must give the values of the
//! network: the same operators on the same numbers, so the same bits. Where the bits differ, a step reads a wrong value
//! or a region consists of other operators than it should, and no bound of a kernel hides it. The trace keeps a hash of
//! each value; a value with another hash is compared by the bound of floats, since sums may have another order.

use std::cell::Cell;

use blake3::Hash;
use sinter_base::Value;
use sinter_interp::{FastEvaluator, run_observed};
use sinter_ir::Network;
use sinter_ops::{EvalContext, Steps, ValueId};

use crate::verify::answers::Answers;
use crate::verify::discrete::is_discrete;
use crate::verify::reference::reference_context;
use crate::verify::rules::{Rule, agree};

/// Limit on the values that are computed once more for a comparison.
const MOST_COMPARED: usize = 8;
/// Where rounding may decide, one element in this many may differ.
const FEW: usize = 100;

/// See the module documentation.
pub(crate) struct Trace {
    /// By value of the body; `None` for inputs, and for values that the reference executor did not reach.
    hashes: Vec<Option<Hash>>,
    /// The results of the network, or why there are none.
    pub(crate) outputs: Result<Vec<Value>, String>,
    may_decide: bool,
    compared: Cell<usize>,
}

impl Trace {
    /// Runs the reference executor on a network that was derived from that of the results.
    pub(crate) fn of(network: &Network, answers: &Answers) -> Self {
        let mut hashes = vec![None; network.body.value_count()];
        let outputs = observed(network, answers, &mut |id, value| hashes[id.index()] = Some(hash_of(value)));
        Self { hashes, outputs, may_decide: is_discrete(&network.body), compared: Cell::new(0) }
    }

    /// Is this the reference executor's value of the network? Values without a hash pass; where rounding may decide, a
    /// few elements may differ.
    ///
    /// # Errors
    /// The difference.
    pub(crate) fn check(&self, network: &Network, answers: &Answers, id: ValueId, found: &Value) -> Result<(), String> {
        let known = self.hashes.get(id.index()).copied().flatten();
        if known.is_none_or(|known| known == hash_of(found)) || self.compared.get() >= MOST_COMPARED {
            return Ok(());
        }
        self.compared.set(self.compared.get() + 1);
        let mut expected = None;
        let _ = observed(network, answers, &mut |other, value| {
            if other == id {
                expected = Some(value.clone());
            }
        });
        expected.map_or(Ok(()), |expected| agree_but_for_few(found, &expected, self.may_decide))
    }
}

/// Do two values agree that the same operators computed from the same numbers, perhaps in another order?
///
/// # Errors
/// The difference.
pub(crate) fn agree_but_for_few(found: &Value, expected: &Value, may_decide: bool) -> Result<(), String> {
    let Err(reason) = agree(found, expected, Rule::Float, 0.0, 0.0) else { return Ok(()) };
    let few = may_decide && found.value_type() == expected.value_type() && {
        let elements = |value: &Value| value.as_tensor().map(|tensor| tensor.to_floats()).unwrap_or_default();
        let (found, expected) = (elements(found), elements(expected));
        let largest = expected.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
        let differs =
            |(a, b): &(&f64, &f64)| !((*a - *b).abs() <= 1e-3 * largest || a.is_nan() && b.is_nan() || a == b);
        found.iter().zip(&expected).filter(differs).count() * FEW <= expected.len()
    };
    if few { Ok(()) } else { Err(reason) }
}

/// Runs the reference executor on a network that was derived from that of the results, and shows the results of every node.
///
/// # Errors
/// Errors of the reference executor.
pub(crate) fn observed(
    network: &Network,
    answers: &Answers,
    see: &mut dyn FnMut(ValueId, &Value),
) -> Result<Vec<Value>, String> {
    let steps = Steps::of(answers.most_steps());
    let cx = EvalContext { steps: Some(&steps), ..reference_context(&FastEvaluator, answers.memory) };
    let nodes = network.body.nodes();
    let mut observe = |at: usize, results: &[Value]| {
        nodes[at].outputs.iter().zip(results).for_each(|(id, value)| see(*id, value));
    };
    run_observed(network, &answers.inputs, &cx, &mut observe).map_err(|e| e.to_string())
}

/// Equal values have equal hashes; NaN is one number.
pub(crate) fn hash_of(value: &Value) -> Hash {
    let mut hasher = blake3::Hasher::new();
    feed(&mut hasher, value);
    hasher.finalize()
}

fn feed(hasher: &mut blake3::Hasher, value: &Value) {
    match value {
        Value::Tensor(tensor) => {
            hasher.update(format!("{}{:?}", tensor.data_type(), tensor.sizes()).as_bytes());
            match tensor.strings() {
                Ok(strings) => strings.iter().for_each(|text| {
                    hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
                }),
                Err(_) => _ = hasher.update(tensor.bytes()),
            }
        }
        Value::Sequence { items, .. } => {
            hasher.update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| feed(hasher, item));
        }
        Value::Optional { item, .. } => {
            hasher.update(&[u8::from(item.is_some())]);
            item.iter().for_each(|item| feed(hasher, item));
        }
    }
}
