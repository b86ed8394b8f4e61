//! Sums of products written as an equation.
//!
//! `"bij,bjk->bik"`: each input's axes carry labels (letters);
//! `y[out] = sum over all other labels of the product of the inputs`. A label twice on one input takes its diagonal.
//! `...` stands for any number of axes, which broadcast as in NumPy, aligned at the right. Without `->` the output has
//! the axes of `...`, then the labels that occur once, in alphabetical order. A size of 1 broadcasts against other
//! sizes of its label. Spaces are ignored. Elements: one float or integer type, integers wrap. Source: ONNX Einsum-12
//! (numpy.einsum).

use std::collections::BTreeMap;

use sinter_base::shape::{for_each_index, product, strides};
use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::axes::numeric;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Einsum {
    /// The equation.
    pub equation: String,
}

/// A name of an axis: a letter, or an axis of the ellipsis counted from its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// An axis of the ellipsis, counted from its last.
    Ellipsis(usize),
    /// A letter.
    Letter(char),
}

/// The labels of every axis.
#[derive(Debug)]
pub struct Plan {
    /// By input.
    pub inputs: Vec<Vec<Label>>,
    /// Of the result.
    pub output: Vec<Label>,
}

/// One side's term: the letters before and after its ellipsis, which may be missing.
#[derive(Debug)]
struct Term {
    before: Vec<char>,
    after: Option<Vec<char>>,
}

impl Term {
    fn parse(text: &str) -> Result<Self, InferError> {
        let letters = |part: &str| -> Result<Vec<char>, InferError> {
            match part.chars().find(|c| !c.is_ascii_alphabetic()) {
                Some(c) => invalid!("'{c}' is no label of an axis in '{text}'"),
                None => Ok(part.chars().collect()),
            }
        };
        match text.split_once("...") {
            None => Ok(Term { before: letters(text)?, after: None }),
            Some((before, after)) => Ok(Term { before: letters(before)?, after: Some(letters(after)?) }),
        }
    }

    fn letters(&self) -> impl Iterator<Item = char> + '_ {
        self.before.iter().chain(self.after.iter().flatten()).copied()
    }

    /// The labels with an ellipsis of this many axes.
    fn labels(&self, ellipsis: usize) -> Vec<Label> {
        let mut labels: Vec<Label> = self.before.iter().map(|&c| Label::Letter(c)).collect();
        if let Some(after) = &self.after {
            labels.extend((0..ellipsis).rev().map(Label::Ellipsis));
            labels.extend(after.iter().map(|&c| Label::Letter(c)));
        }
        labels
    }
}

impl Einsum {
    /// The labels of the axes of inputs of these ranks, and of the result.
    ///
    /// # Errors
    /// When the equation is none, or does not fit the ranks.
    pub fn plan(&self, ranks: &[usize]) -> Result<Plan, InferError> {
        let text: String = self.equation.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms = left.split(',').map(Term::parse).collect::<Result<Vec<Term>, _>>()?;
        if terms.len() != ranks.len() {
            invalid!("'{}' has {} terms for {} inputs", self.equation, terms.len(), ranks.len());
        }
        let (mut inputs, mut widest) = (Vec::with_capacity(terms.len()), 0);
        for (index, (term, &rank)) in terms.iter().zip(ranks).enumerate() {
            let named = term.letters().count();
            let ellipsis = match rank.checked_sub(named) {
                Some(0) => 0,
                Some(rest) if term.after.is_some() => rest,
                _ => invalid!("input {index} of {rank} dimensions does not fit its term in '{}'", self.equation),
            };
            widest = widest.max(ellipsis);
            inputs.push(term.labels(ellipsis));
        }
        let mut uses: BTreeMap<char, usize> = BTreeMap::new();
        for letter in terms.iter().flat_map(Term::letters) {
            *uses.entry(letter).or_default() += 1;
        }
        let output = match right {
            Some(right) => {
                let term = Term::parse(right)?;
                let mut seen = Vec::new();
                for letter in term.letters() {
                    if !uses.contains_key(&letter) || seen.contains(&letter) {
                        invalid!("label {letter} of the output is unknown or repeated in '{}'", self.equation);
                    }
                    seen.push(letter);
                }
                term.labels(widest)
            }
            None => {
                let once = uses.iter().filter(|(_, count)| **count == 1).map(|(&letter, _)| Label::Letter(letter));
                (0..widest).rev().map(Label::Ellipsis).chain(once).collect()
            }
        };
        Ok(Plan { inputs, output })
    }

    fn check_type(&self, inputs: &Operands<'_>) -> Result<DataType, InferError> {
        inputs.data_type_where(0, "a number", |t| t != DataType::String && t != DataType::Bool)?;
        inputs.same_data_type(0)
    }

    /// Size of every label.
    fn label_dims(
        &self,
        plan: &Plan,
        inputs: &Operands<'_>,
        cx: &mut InferContext,
    ) -> Result<BTreeMap<Label, Dim>, InferError> {
        let mut sizes: BTreeMap<Label, Vec<Dim>> = BTreeMap::new();
        for (index, labels) in plan.inputs.iter().enumerate() {
            for (&label, size) in labels.iter().zip(inputs.dims(index)?) {
                sizes.entry(label).or_default().push(size.clone());
            }
        }
        let joined = |(label, sizes): (Label, Vec<Dim>)| {
            let shapes: Vec<&[Dim]> = sizes.iter().map(std::slice::from_ref).collect();
            Ok((label, cx.broadcast(&shapes)?.swap_remove(0)))
        };
        sizes.into_iter().map(joined).collect()
    }
}

fn ranks_of(inputs: &Operands<'_>) -> Result<Vec<usize>, InferError> {
    (0..inputs.len()).map(|i| Ok(inputs.dims(i)?.len())).collect()
}

/// Distance in each input between neighbours along every label: the sum of its axes' strides, 0 where it has size 1.
fn label_strides(labels: &[Label], sizes: &[usize], order: &[Label]) -> Vec<usize> {
    let own = strides(sizes);
    let along = |label: &Label| {
        (0..labels.len()).filter(|&axis| labels[axis] == *label && sizes[axis] != 1).map(|axis| own[axis]).sum()
    };
    order.iter().map(along).collect()
}

impl Operator for Einsum {
    const NAME: &'static str = "Einsum";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = self.check_type(inputs)?;
        let plan = self.plan(&ranks_of(inputs)?)?;
        let dims = self.label_dims(&plan, inputs, cx)?;
        // An ellipsis that no input fills has no axes, so every label of the output is known.
        let result = plan.output.iter().filter_map(|label| dims.get(label).cloned()).collect();
        Ok(vec![ValueType::tensor(data_type, result)])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(self.check_type(inputs)?)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let tensors = (0..inputs.len()).map(|i| numeric(inputs.tensor(i)?)).collect::<Result<Vec<&Tensor>, _>>()?;
        let Some(first) = tensors.first() else { invalid!(eval: "an equation without inputs") };
        let plan = self.plan(&tensors.iter().map(|t| t.rank()).collect::<Vec<_>>())?;
        let mut sizes: BTreeMap<Label, usize> = BTreeMap::new();
        for (tensor, labels) in tensors.iter().zip(&plan.inputs) {
            for (&label, &size) in labels.iter().zip(tensor.sizes()) {
                let known = sizes.entry(label).or_insert(size);
                if *known == 1 {
                    *known = size;
                } else if size != 1 && size != *known {
                    invalid!(eval: "sizes {known} and {size} of one label in '{}'", self.equation);
                }
            }
        }
        let summed: Vec<Label> = sizes.keys().filter(|label| !plan.output.contains(label)).copied().collect();
        let order: Vec<Label> = plan.output.iter().chain(&summed).copied().collect();
        let all: Vec<usize> = order.iter().map(|label| sizes[label]).collect();
        let (outer, inner) = all.split_at(plan.output.len());
        let steps: Vec<Vec<usize>> = tensors
            .iter()
            .zip(&plan.inputs)
            .map(|(tensor, labels)| label_strides(labels, tensor.sizes(), &order))
            .collect();
        let at = |index: &[usize], which: usize, from: usize| -> usize {
            index.iter().zip(&steps[which][from..]).map(|(i, s)| i * s).sum()
        };
        let data_type = first.data_type();
        let result = if data_type.is_float() {
            let elements: Vec<Vec<f64>> = tensors.iter().map(|t| t.to_floats()).collect();
            let mut y = Vec::new();
            for_each_index(outer, |o| {
                let mut sum = 0.0;
                for_each_index(inner, |i| {
                    sum += (0..tensors.len()).map(|t| elements[t][at(o, t, 0) + at(i, t, o.len())]).product::<f64>();
                });
                y.push(sum);
            });
            Tensor::from_floats(data_type, outer, &y)?
        } else {
            let elements: Vec<Vec<i128>> = tensors.iter().map(|t| t.to_ints()).collect();
            let mut y = Vec::new();
            for_each_index(outer, |o| {
                let mut sum = 0i128;
                for_each_index(inner, |i| {
                    let factors = (0..tensors.len()).map(|t| elements[t][at(o, t, 0) + at(i, t, o.len())]);
                    sum = sum.wrapping_add(factors.fold(1i128, |p, v| data_type.wrap(p.wrapping_mul(v))));
                });
                y.push(data_type.wrap(sum));
            });
            Tensor::from_ints(data_type, outer, &y)?
        };
        Ok(vec![result.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let dims = ranks_of(inputs).and_then(|ranks| self.plan(&ranks)).and_then(|plan| {
            let dims = self.label_dims(&plan, inputs, &mut InferContext::default())?;
            Ok(dims.into_values().collect::<Vec<Dim>>())
        });
        let operations = dims.map_or_else(|_| Dim::constant(0), |dims| product(&dims));
        Cost { operations: operations.mul(&Dim::from(inputs.len())), ..Cost::elementwise(inputs, outputs, 0) }
    }

    fn examples() -> Vec<Example> {
        let of = |equation: &str| Einsum { equation: equation.to_owned() };
        vec![
            Example::new("matrix product", of("ij,jk->ik")).float(&[7, 5]).float(&[5, 3]),
            Example::new("attention scores", of("bhid,bhjd->bhij")).float(&[2, 3, 5, 4]).float(&[2, 3, 7, 4]),
            Example::new("implicit output", of("ij, jk")).float(&[2, 3]).float(&[3, 4]),
            Example::new("transpose", of("ij->ji")).float(&[3, 5]),
            Example::new("diagonal", of("...ii->...i")).float(&[2, 5, 5]),
            Example::new("broadcast", of("...ij,...jk->...ik")).float(&[3, 1, 2, 4]).float(&[5, 4, 3]),
            Example::new("three inputs", of("a,ab,b->")).float(&[3]).float(&[3, 5]).float(&[5]),
            Example::new("outer product", of("i,j->ij")).float(&[3]).float(&[7]),
            Example::new("nothing to sum", of("ij,jk->ik")).float(&[2, 0]).float(&[0, 3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};

    fn run(equation: &str, inputs: &[&Tensor]) -> Result<Tensor, EvalError> {
        Ok(reference_of(&Einsum { equation: equation.to_owned() }, inputs)?.swap_remove(0))
    }

    #[test]
    fn equations_by_hand() {
        let m = Tensor::from_vec(&[2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        let v = Tensor::from_vec(&[2], vec![5f32, 6.0]).unwrap();
        assert_eq!(run("ij,j->i", &[&m, &v]).unwrap().to_floats(), [17.0, 39.0]);
        assert_eq!(run("ii", &[&m]).unwrap().to_floats(), [5.0]);
        assert_eq!(run("ii->i", &[&m]).unwrap().to_floats(), [1.0, 4.0]);
        assert_eq!(run("ba", &[&m]).unwrap().to_floats(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(run("...->", &[&m]).unwrap().to_floats(), [10.0]);
        assert_eq!(run("...i,...i", &[&m, &v]).unwrap().to_floats(), [17.0, 39.0]);
    }

    #[test]
    fn bad_equations_are_errors() {
        let m = Tensor::from_vec(&[2, 2], vec![0f32; 4]).unwrap();
        for equation in ["i", "ijk", "ij,jk", "ij->k", "ij->ii", "i*->i", "....ij", ""] {
            assert!(run(equation, &[&m]).is_err(), "{equation}");
        }
    }

    #[test]
    fn symbolic_sizes() {
        let a = ValueType::tensor(DataType::F32, vec![Dim::symbol("N"), Dim::symbol("S")]);
        let b = ValueType::tensor(DataType::F32, vec![Dim::symbol("S"), Dim::constant(3)]);
        let op = Einsum { equation: "ns,sd->nd".to_owned() };
        assert_eq!(infer_of(&op, &[&a, &b]).unwrap()[0].to_string(), "f32[N, 3]");
        // Any size of a label may turn out to be 1.
        let b = ValueType::tensor(DataType::F32, vec![Dim::constant(5), Dim::constant(3)]);
        let mut cx = InferContext::default();
        let types = op.infer(&Operands::new(&[Some(&a), Some(&b)]), &mut cx).unwrap();
        assert_eq!(types[0].to_string(), "f32[N, 3]");
        let legal = |size: i64| {
            let of = |dim: &Dim| dim.evaluate(&|_| Some(size)).unwrap();
            cx.guards.iter().all(|guard| of(&guard.left) == of(&guard.right))
        };
        assert_eq!([0, 1, 2, 5, 6].map(legal), [false, true, false, true, false]);
    }
}
