//! The equation of an Einstein sum, read for operands of known ranks: a label for every axis.

use std::collections::BTreeMap;

use sinter_backend::KernelError;

use crate::refuse_data;

/// A name of an axis: a letter as its code, or an axis of the ellipsis, counted from its last, as [`ELLIPSIS`] and up.
pub type Label = usize;

/// The last axis of the ellipsis; larger than any letter.
const ELLIPSIS: Label = 1 << 16;

/// Labels of all axes.
#[derive(Debug, PartialEq)]
pub struct Equation {
    /// By operand.
    pub inputs: Vec<Vec<Label>>,
    /// Of the result.
    pub output: Vec<Label>,
}

/// The labels of one term whose ellipsis, if it has one, stands for `hidden` axes.
fn labels(term: &str, hidden: usize) -> Vec<Label> {
    let letters = |part: &str| part.chars().map(|c| c as Label).collect::<Vec<Label>>();
    match term.split_once("...") {
        None => letters(term),
        Some((before, after)) => {
            let ellipsis = (0..hidden).rev().map(|axis| ELLIPSIS + axis);
            letters(before).into_iter().chain(ellipsis).chain(letters(after)).collect()
        }
    }
}

impl Equation {
    /// Reads an equation.
    ///
    /// # Errors
    /// When it does not fit the ranks of the operands.
    pub fn of(text: &str, ranks: &[usize]) -> Result<Self, KernelError> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = text.split_once("->").map_or((text.as_str(), None), |(left, right)| (left, Some(right)));
        let terms: Vec<&str> = left.split(',').collect();
        if terms.len() != ranks.len() {
            refuse_data!("'{text}' has {} terms for {} operands", terms.len(), ranks.len());
        }
        let (mut inputs, mut widest) = (Vec::with_capacity(terms.len()), 0);
        for (term, &rank) in terms.iter().zip(ranks) {
            let named = labels(term, 0).len();
            let hidden = match rank.checked_sub(named) {
                Some(0) => 0,
                Some(hidden) if term.contains("...") => hidden,
                _ => refuse_data!("an operand of {rank} dimensions for '{term}' in '{text}'"),
            };
            widest = widest.max(hidden);
            inputs.push(labels(term, hidden));
        }
        let mut uses: BTreeMap<Label, usize> = BTreeMap::new();
        inputs.iter().flatten().for_each(|&label| *uses.entry(label).or_default() += 1);
        let output = match right {
            Some(right) => labels(right, widest),
            // The axes of the ellipsis, then the letters that occur once, in alphabetical order.
            None => {
                let once = uses.iter().filter(|(label, count)| **label < ELLIPSIS && **count == 1);
                (0..widest).rev().map(|axis| ELLIPSIS + axis).chain(once.map(|(&label, _)| label)).collect()
            }
        };
        for (position, label) in output.iter().enumerate() {
            if !uses.contains_key(label) || output[..position].contains(label) {
                refuse_data!("label {position} of the result of '{text}' is unknown or repeated");
            }
        }
        Ok(Self { inputs, output })
    }

    /// The size of every label; 1 gives way to others.
    ///
    /// # Errors
    /// When a label has two sizes.
    pub fn sizes(&self, operands: &[&[usize]]) -> Result<BTreeMap<Label, usize>, KernelError> {
        let mut sizes: BTreeMap<Label, usize> = BTreeMap::new();
        for (labels, operand) in self.inputs.iter().zip(operands) {
            for (&label, &size) in labels.iter().zip(*operand) {
                let known = sizes.entry(label).or_insert(size);
                if *known == 1 {
                    *known = size;
                } else if size != 1 && size != *known {
                    refuse_data!("sizes {known} and {size} of one label of an equation");
                }
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_and_results() {
        let label = |c: char| c as Label;
        let product = Equation::of(" ij, jk ", &[2, 2]).unwrap();
        assert_eq!(product.output, [label('i'), label('k')]);
        let batched = Equation::of("...ij,...jk->...ik", &[4, 3]).unwrap();
        assert_eq!(batched.output, [ELLIPSIS + 1, ELLIPSIS, label('i'), label('k')]);
        assert_eq!(batched.inputs[1][0], ELLIPSIS);
        assert!(Equation::of("ij->k", &[2]).is_err() && Equation::of("ij", &[3]).is_err());
        assert!(Equation::of("ij,j", &[2]).is_err());
    }
}
