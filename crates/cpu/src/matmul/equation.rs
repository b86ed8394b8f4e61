//! The equation of an Einstein sum, read for operands of known ranks: a label for every axis.

use sinter_backend::KernelError;
use smallvec::SmallVec;

use crate::refuse_data;

/// A name of an axis: a letter as its code, or an axis of the ellipsis, counted from its last, as [`ELLIPSIS`] and up.
pub type Label = usize;

/// The last axis of the ellipsis; larger than any letter.
const ELLIPSIS: Label = 1 << 16;

/// The labels of one operand; few enough to need no memory of their own.
pub type Labels = SmallVec<[Label; 8]>;

/// A number for every label, in order of the labels.
#[derive(Debug, Default)]
pub struct ByLabel(SmallVec<[(Label, usize); 16]>);

impl ByLabel {
    /// The number of a label.
    pub fn get(&self, label: Label) -> Option<usize> {
        self.0.binary_search_by_key(&label, |entry| entry.0).ok().map(|at| self.0[at].1)
    }

    /// All labels.
    pub fn labels(&self) -> impl Iterator<Item = Label> {
        self.0.iter().map(|entry| entry.0)
    }

    /// A mutable reference to the number of a label, `first` when the label is new.
    fn entry(&mut self, label: Label, first: usize) -> &mut usize {
        let at = self.0.binary_search_by_key(&label, |entry| entry.0).unwrap_or_else(|at| {
            self.0.insert(at, (label, first));
            at
        });
        &mut self.0[at].1
    }
}

/// Labels of all axes.
#[derive(Debug, PartialEq)]
pub struct Equation {
    /// By operand.
    pub inputs: SmallVec<[Labels; 4]>,
    /// Of the result.
    pub output: Labels,
}

/// The labels of one term whose ellipsis, if it has one, stands for `hidden` axes.
fn labels(term: &str, hidden: usize) -> Labels {
    let (before, after) = term.split_once("...").unwrap_or((term, ""));
    let letters = |part: &'_ str| part.chars().filter(|c| !c.is_whitespace()).map(|c| c as Label).collect::<Labels>();
    let mut all = letters(before);
    if term.len() > before.len() {
        all.extend((0..hidden).rev().map(|axis| ELLIPSIS + axis));
    }
    all.extend(letters(after));
    all
}

impl Equation {
    /// Reads an equation.
    ///
    /// # Errors
    /// When it does not fit the ranks of the operands.
    pub fn of(text: &str, ranks: &[usize]) -> Result<Self, KernelError> {
        let (left, right) = text.split_once("->").map_or((text, None), |(left, right)| (left, Some(right)));
        let terms: SmallVec<[&str; 4]> = left.split(',').collect();
        if terms.len() != ranks.len() {
            refuse_data!("'{text}' has {} terms for {} operands", terms.len(), ranks.len());
        }
        let (mut inputs, mut widest) = (SmallVec::new(), 0);
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
        let mut uses = ByLabel::default();
        inputs.iter().flatten().for_each(|&label| *uses.entry(label, 0) += 1);
        let output = match right {
            Some(right) => labels(right, widest),
            // The axes of the ellipsis, then the letters that occur once, in alphabetical order.
            None => {
                let once = uses.0.iter().filter(|(label, count)| *label < ELLIPSIS && *count == 1);
                (0..widest).rev().map(|axis| ELLIPSIS + axis).chain(once.map(|(label, _)| *label)).collect()
            }
        };
        for (position, label) in output.iter().enumerate() {
            if uses.get(*label).is_none() || output[..position].contains(label) {
                refuse_data!("label {position} of the result of '{text}' is unknown or repeated");
            }
        }
        Ok(Self { inputs, output })
    }

    /// The size of every label; other sizes replace 1.
    ///
    /// # Errors
    /// When a label has two sizes.
    pub fn sizes(&self, operands: &[&[usize]]) -> Result<ByLabel, KernelError> {
        let mut sizes = ByLabel::default();
        for (labels, operand) in self.inputs.iter().zip(operands) {
            for (&label, &size) in labels.iter().zip(*operand) {
                let known = sizes.entry(label, size);
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
        assert_eq!(product.output[..], [label('i'), label('k')]);
        let batched = Equation::of("...ij,...jk->...ik", &[4, 3]).unwrap();
        assert_eq!(batched.output[..], [ELLIPSIS + 1, ELLIPSIS, label('i'), label('k')]);
        assert_eq!(batched.inputs[1][0], ELLIPSIS);
        assert!(Equation::of("ij->k", &[2]).is_err() && Equation::of("ij", &[3]).is_err());
        assert!(Equation::of("ij,j", &[2]).is_err());
    }
}
