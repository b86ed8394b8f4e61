//! `cpu.text.*`: strings changed, cut and matched one by one.

use std::collections::HashSet;

use regex::Regex;
use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::OpKind;
use sinter_ops::host::{CaseChange, StringNormalizer, StringSplit};

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{data, tensor};

const fn row(name: &'static str, roots: &'static [OpKind], kernel: fn(&Region) -> Result<Loaded, Refusal>) -> Row {
    Row { name, roots, numerics: Numerics::Exact, in_place: &[], speed: Speed::SCALAR, kernel }
}

/// Stop words removed, case changed.
pub const NORMALIZE: Row = row("cpu.text.normalize", &[OpKind::StringNormalizer], |region| {
    let op = only_operator!(region, StringNormalizer).clone();
    let stop_words = op.stop_words.iter().map(|word| folded(&op, word)).collect();
    Ok(Loaded::Values(Box::new(Normalize { op, stop_words })))
});
/// Strings cut into substrings.
pub const SPLIT: Row = row("cpu.text.split", &[OpKind::StringSplit], |region| {
    let op = only_operator!(region, StringSplit).clone();
    Ok(Loaded::Values(Box::new(Split { op })))
});
/// A regular expression, compiled once.
pub const REGEX: Row = row("cpu.text.regex", &[OpKind::RegexFullMatch], |region| {
    let pattern = &only_operator!(region, RegexFullMatch).pattern;
    match Regex::new(&format!(r"\A(?:{pattern})\z")) {
        Ok(expression) => Ok(Loaded::Values(Box::new(Match { expression }))),
        Err(error) => Err(Refusal::new(format!("'{pattern}' is no regular expression: {error}"))),
    }
});

/// The form in which words are compared.
fn folded(op: &StringNormalizer, word: &str) -> String {
    if op.case_sensitive { word.to_owned() } else { word.to_lowercase() }
}

struct Normalize {
    op: StringNormalizer,
    stop_words: HashSet<String>,
}

impl ValueKernel for Normalize {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let x = tensor(inputs, 0)?;
        if !matches!(x.sizes(), [_] | [1, _]) {
            return Err(data(format!("strings of sizes {:?} are neither a list nor one row", x.sizes())));
        }
        let mut kept = Vec::new();
        for word in x.strings().map_err(data)? {
            if self.stop_words.contains(&folded(&self.op, word)) {
                continue;
            }
            kept.push(match self.op.case_change {
                CaseChange::Keep => word.clone(),
                CaseChange::Lower => word.to_lowercase(),
                CaseChange::Upper => word.to_uppercase(),
            });
        }
        if kept.is_empty() {
            kept.push(String::new());
        }
        let mut sizes = x.sizes().to_vec();
        sizes[x.rank() - 1] = kept.len();
        Ok(vec![Tensor::from_strings(&sizes, kept).map_err(data)?.into()])
    }
}

struct Split {
    op: StringSplit,
}

impl Split {
    fn substrings<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let most = self.op.most_splits.unwrap_or(usize::MAX);
        if !self.op.delimiter.is_empty() {
            return text.splitn(most.saturating_add(1), self.op.delimiter.as_str()).collect();
        }
        let mut substrings = Vec::new();
        let mut rest = text.trim_start();
        while let Some(end) = rest.find(char::is_whitespace).filter(|_| substrings.len() < most) {
            substrings.push(&rest[..end]);
            rest = rest[end..].trim_start();
        }
        // The rest holds no white space, or the limit of substrings is reached.
        substrings.extend(Some(rest).filter(|rest| !rest.is_empty()));
        substrings
    }
}

impl ValueKernel for Split {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let x = tensor(inputs, 0)?;
        let lists: Vec<Vec<&str>> = x.strings().map_err(data)?.iter().map(|text| self.substrings(text)).collect();
        let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
        let mut all = Vec::with_capacity(lists.len() * longest);
        for list in &lists {
            all.extend(list.iter().map(|substring| (*substring).to_owned()));
            all.extend(std::iter::repeat_n(String::new(), longest - list.len()));
        }
        let counts = lists.iter().map(|list| list.len() as i64).collect();
        let sizes = [x.sizes(), &[longest]].concat();
        let substrings = Tensor::from_strings(&sizes, all).map_err(data)?;
        Ok(vec![substrings.into(), Tensor::from_vec(x.sizes(), counts).map_err(data)?.into()])
    }
}

struct Match {
    expression: Regex,
}

impl ValueKernel for Match {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let x = tensor(inputs, 0)?;
        let texts = x.strings().map_err(data)?;
        let matches = texts.iter().map(|text| u8::from(self.expression.is_match(text))).collect();
        Ok(vec![Tensor::from_codes(DataType::Bool, x.sizes(), matches).map_err(data)?.into()])
    }
}
