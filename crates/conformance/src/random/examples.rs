//! Nodes of the catalog: an example with its attributes, at any element type; operands that fit come from the network.

use sinter_base::shape::element_count;
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::catalog;

use crate::other_types::converted_values;
use crate::random::growth::Growth;

/// How often an example is tried with other operands.
const ATTEMPTS: usize = 4;

impl Growth {
    /// An example of any operator.
    pub(super) fn example(&mut self) -> Option<Vec<usize>> {
        let examples = catalog::ALL[self.random.below(catalog::ALL.len())].examples();
        if examples.is_empty() {
            return None;
        }
        let example = &examples[self.random.below(examples.len())];
        if example.op.effects().random {
            return None;
        }
        let mut values = example.values(self.random.bits());
        // Bodies name the sizes of what they take: other operands would have to agree with each other.
        if !example.op.bodies().is_empty() {
            let operands: Vec<Option<usize>> =
                values.into_iter().map(|value| value.map(|value| self.given([value.clone(), value]))).collect();
            return self.add(example.op.clone(), &operands);
        }
        if self.random.below(2) == 0 {
            let types: Vec<DataType> = values.iter().flatten().map(|v| v.value_type().data_type()).collect();
            let from = *types.get(self.random.below(types.len()))?;
            let to = self.data_type();
            values = converted_values(&values, from, to).unwrap_or(values);
        }
        (0..ATTEMPTS).find_map(|_| {
            let pool = self.pool.len();
            let mut operands = Vec::new();
            for (position, value) in values.iter().enumerate() {
                operands.push(value.as_ref().map(|value| self.operand(position, value)));
            }
            let added = self.add(example.op.clone(), &operands);
            if added.is_none() {
                self.pool.truncate(pool);
            }
            added
        })
    }

    /// A value of the network that looks like this one, or a new input or weight.
    fn operand(&mut self, position: usize, value: &Value) -> usize {
        let ty = value.value_type();
        let rank = value.as_tensor().map(Tensor::rank);
        if self.random.below(2) == 0 {
            let alike = self.pick(|known| {
                known.values[0].value_type().data_type() == ty.data_type()
                    && known.values[0].as_tensor().map(Tensor::rank) == rank
            });
            if let Some(alike) = alike {
                return alike;
            }
        }
        let Value::Tensor(tensor) = value else { return self.given([value.clone(), value.clone()]) };
        if position > 0 && self.random.below(3) > 0 {
            return self.weight(tensor.clone());
        }
        let sizes = if self.random.below(3) > 0 { self.second(tensor.sizes()) } else { tensor.sizes().to_vec() };
        let second = repeated(tensor, &sizes).unwrap_or_else(|| tensor.clone());
        self.given([value.clone(), second.into()])
    }
}

/// A tensor of other sizes with the elements of this one, again and again.
fn repeated(tensor: &Tensor, sizes: &[usize]) -> Option<Tensor> {
    let count = tensor.count();
    if count == 0 || element_count(sizes)? == count {
        return tensor.reshaped(sizes).ok();
    }
    // Not from the start, so that first elements differ.
    tensor.rearranged(sizes, |flat| Some((flat * 7 + 3) % count)).ok()
}
