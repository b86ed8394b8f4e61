//! The text form of symbolic dimensions: `2*N + 1`, `floor_div(S + 1, 2)`, `'odd name'`.

use std::fmt;
use std::str::FromStr;

use crate::dim::{Dim, Factor, MAX_DEPTH};
use crate::one_line::steers;

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(sum) = self.sum() else { return write!(f, "{}", self.as_constant().unwrap_or_default()) };
        for (i, (product, coefficient)) in sum.terms.iter().enumerate() {
            let magnitude = coefficient.unsigned_abs();
            match (i, *coefficient < 0) {
                (0, false) => {}
                (0, true) => f.write_str("-")?,
                (_, false) => f.write_str(" + ")?,
                (_, true) => f.write_str(" - ")?,
            }
            if magnitude != 1 {
                write!(f, "{magnitude}*")?;
            }
            for (j, factor) in product.iter().enumerate() {
                if j > 0 {
                    f.write_str("*")?;
                }
                write!(f, "{factor}")?;
            }
        }
        match sum.constant {
            0 => Ok(()),
            c if c < 0 => write!(f, " - {}", c.unsigned_abs()),
            c => write!(f, " + {c}"),
        }
    }
}

impl fmt::Display for Factor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Factor::Symbol(name) if is_identifier(name) => f.write_str(name),
            Factor::Symbol(name) => write!(f, "'{}'", quoted(name)),
            Factor::FloorDiv(a, b) => write!(f, "floor_div({a}, {b})"),
            Factor::Modulo(a, b) => write!(f, "mod({a}, {b})"),
            Factor::Min(a, b) => write!(f, "min({a}, {b})"),
            Factor::Max(a, b) => write!(f, "max({a}, {b})"),
        }
    }
}

/// A name as it stands between quotes, in one line.
fn quoted(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        match c {
            '\\' | '\'' => text.extend(['\\', c]),
            c if steers(c) => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    text
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_' || c == '?')
        && chars.all(|c| c.is_alphanumeric() || c == '_' || c == '.')
}

/// Text that is no dimension.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a dimension: expected {expected} at '{near}'")]
pub struct DimError {
    expected: &'static str,
    near: String,
}

impl FromStr for Dim {
    type Err = DimError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parser = Parser { rest: text };
        let dim = parser.sum(0)?;
        parser.space();
        if parser.rest.is_empty() { Ok(dim) } else { Err(parser.error("the end")) }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn error(&self, expected: &'static str) -> DimError {
        DimError { expected, near: self.rest.chars().take(20).collect() }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn accept(&mut self, token: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sum(&mut self, depth: usize) -> Result<Dim, DimError> {
        if depth > MAX_DEPTH {
            return Err(self.error("less nesting"));
        }
        let mut total = self.product(depth)?;
        // A minus belongs to the product behind it.
        while self.accept('+') || self.rest.starts_with('-') {
            total = total.add(&self.product(depth)?);
        }
        Ok(total)
    }

    fn product(&mut self, depth: usize) -> Result<Dim, DimError> {
        let is_negative = self.accept('-');
        let mut total = match self.number()? {
            // The sign is part of the number: -2^63 has no positive counterpart.
            Some(number) => self.constant(if is_negative { -number } else { number })?,
            None if is_negative => self.atom(depth)?.neg(),
            None => self.atom(depth)?,
        };
        while self.accept('*') {
            total = total.mul(&self.atom(depth)?);
        }
        Ok(total)
    }

    /// The digits that come next, if any do.
    fn number(&mut self) -> Result<Option<i128>, DimError> {
        self.space();
        let (word, rest) = self.rest.split_at(self.word_end());
        if !word.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(None);
        }
        let number = word.parse().map_err(|_| self.error("an integer"))?;
        self.rest = rest;
        Ok(Some(number))
    }

    fn constant(&self, number: i128) -> Result<Dim, DimError> {
        i64::try_from(number).map(Dim::constant).map_err(|_| self.error("an integer of 64 bits before this"))
    }

    fn word_end(&self) -> usize {
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.' || c == '?';
        self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len())
    }

    fn atom(&mut self, depth: usize) -> Result<Dim, DimError> {
        if let Some(number) = self.number()? {
            return self.constant(number);
        }
        if self.accept('(') {
            let inner = self.sum(depth + 1)?;
            return if self.accept(')') { Ok(inner) } else { Err(self.error("')'")) };
        }
        if self.rest.starts_with('\'') {
            return self.quoted();
        }
        let (word, rest) = self.rest.split_at(self.word_end());
        if word.is_empty() {
            return Err(self.error("a size"));
        }
        self.rest = rest;
        if !matches!(word, "floor_div" | "mod" | "min" | "max") || !self.accept('(') {
            return Ok(Dim::symbol(word));
        }
        let a = self.sum(depth + 1)?;
        if !self.accept(',') {
            return Err(self.error("','"));
        }
        let b = self.sum(depth + 1)?;
        if !self.accept(')') {
            return Err(self.error("')'"));
        }
        Ok(match word {
            "floor_div" if b == Dim::constant(1) => a.opaque(),
            "floor_div" => a.floor_div(&b),
            "mod" => a.modulo(&b),
            "min" => a.minimum(&b),
            _ => a.maximum(&b),
        })
    }

    fn quoted(&mut self) -> Result<Dim, DimError> {
        let mut name = String::new();
        let mut chars = self.rest.chars();
        chars.next();
        loop {
            match chars.next() {
                None => return Err(self.error("a closing quote")),
                Some('\'') => break,
                Some('\\') => {
                    let (c, rest) = escaped(chars.as_str()).ok_or_else(|| self.error("a character"))?;
                    name.push(c);
                    chars = rest.chars();
                }
                Some(c) => name.push(c),
            }
        }
        self.rest = chars.as_str();
        Ok(Dim::symbol(&name))
    }
}

/// The character that stands behind a backslash, by its number (`u{1b}`) or as it is, and what follows.
fn escaped(text: &str) -> Option<(char, &str)> {
    let Some(number) = text.strip_prefix("u{") else {
        let mut chars = text.chars();
        return Some((chars.next()?, chars.as_str()));
    };
    let (digits, rest) = number.split_once('}')?;
    let code = u32::from_str_radix(digits, 16).ok().filter(|_| digits.chars().all(|c| c.is_ascii_hexdigit()))?;
    Some((char::from_u32(code)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_number_reads_back(a in any::<i64>(), b in any::<i64>()) {
            let n = Dim::symbol("N");
            for (a, b) in [(a, b), (i64::MIN, b), (a, i64::MIN), (i64::MIN, i64::MIN), (i64::MAX, i64::MAX)] {
                for dim in [Dim::constant(a), n.mul(&a.into()).add(&b.into()), n.minimum(&a.into())] {
                    prop_assert_eq!(dim.to_string().parse::<Dim>(), Ok(dim));
                }
            }
        }
    }

    #[test]
    fn prints_like_mathematics() {
        let n = Dim::symbol("N");
        let two = Dim::constant(2);
        assert_eq!(n.mul(&two).add(&Dim::constant(-1)).to_string(), "2*N - 1");
        assert_eq!(n.add(&Dim::constant(1)).floor_div(&two).to_string(), "floor_div(N + 1, 2)");
        assert_eq!(Dim::symbol("batch size").to_string(), "'batch size'");
    }

    #[test]
    fn odd_names_read_back_and_stay_in_their_line() {
        assert_eq!(Dim::symbol("N\nerror: \u{1b}'").to_string(), r"'N\u{a}error: \u{1b}\''");
        for name in ["N\nM", "\r", "a\\b", "\\u{a}", "u{a}", "\u{2028}x\u{9b}", "\\", "'", "ä\n\n", ""] {
            for dim in [Dim::symbol(name), Dim::symbol(name).add(&Dim::symbol("N"))] {
                assert_eq!(dim.to_string().parse::<Dim>(), Ok(dim.clone()), "{dim}");
                assert!(!dim.to_string().contains(steers), "{dim}");
            }
        }
    }

    #[test]
    fn damaged_text_is_an_error() {
        for text in [
            "",
            "N +",
            "max(1",
            "99999999999999999999",
            "9223372036854775808",
            "- -3",
            "'x",
            "N N",
            r"'\u{'",
            r"'\u{110000}'",
            r"'\u{+1}'",
            &"(".repeat(500),
        ] {
            assert!(text.parse::<Dim>().is_err(), "{text}");
        }
    }
}
