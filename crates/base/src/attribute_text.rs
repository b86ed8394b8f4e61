//! The text form of attribute trees: `{strides=[1, 2], pads=same_upper, alpha=0.5, then=_}`.

use std::fmt::{self, Write as _};

use crate::attribute::{Attr, AttributeError};

/// Deeper nesting than this is refused, so that hostile text cannot exhaust the stack.
const MAX_DEPTH: usize = 64;

pub(crate) fn print(attr: &Attr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match attr {
        Attr::Absent => f.write_char('_'),
        Attr::Bool(value) => write!(f, "{value}"),
        Attr::Int(value) => write!(f, "{value}"),
        // `{:?}` prints the shortest text that parses back to the same bits and always marks a float.
        Attr::Float(value) => write!(f, "{value:?}"),
        Attr::Text(value) => write!(f, "{value:?}"),
        Attr::Name(name) => f.write_str(name),
        Attr::List(items) => {
            f.write_char('[')?;
            separated(f, items, |f, item| print(item, f))?;
            f.write_char(']')
        }
        Attr::Record { variant, fields } => {
            write!(f, "{variant}{{")?;
            separated(f, fields, |f, (name, value)| {
                write!(f, "{name}=")?;
                print(value, f)
            })?;
            f.write_char('}')
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    each: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        each(f, item)?;
    }
    Ok(())
}

pub(crate) fn parse(text: &str) -> Result<Attr, AttributeError> {
    let mut parser = Parser { rest: text };
    let attr = parser.value(0)?;
    parser.space();
    if parser.rest.is_empty() { Ok(attr) } else { Err(parser.error("the end")) }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn error(&self, expected: &str) -> AttributeError {
        let near: String = self.rest.chars().take(20).collect();
        AttributeError::new(format!("expected {expected} at '{near}'"))
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn accept(&mut self, token: char) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: char) -> Result<(), AttributeError> {
        if self.accept(token) { Ok(()) } else { Err(self.error(&format!("'{token}'"))) }
    }

    fn value(&mut self, depth: usize) -> Result<Attr, AttributeError> {
        if depth > MAX_DEPTH {
            return Err(AttributeError::new(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.space();
        match self.rest.chars().next() {
            None => Err(self.error("a value")),
            Some('[') => self.list(depth),
            Some('{') => self.record(String::new(), depth),
            Some('"') => self.text(),
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some(c) if c.is_alphabetic() || c == '_' => self.word(depth),
            Some(_) => Err(self.error("a value")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Attr, AttributeError> {
        self.expect('[')?;
        let mut items = Vec::new();
        if !self.accept(']') {
            loop {
                items.push(self.value(depth + 1)?);
                if !self.accept(',') {
                    break;
                }
            }
            self.expect(']')?;
        }
        Ok(Attr::List(items))
    }

    fn record(&mut self, variant: String, depth: usize) -> Result<Attr, AttributeError> {
        self.expect('{')?;
        let mut fields = Vec::new();
        if !self.accept('}') {
            loop {
                self.space();
                let name = self.identifier();
                if name.is_empty() {
                    return Err(self.error("a field name"));
                }
                self.expect('=')?;
                fields.push((name, self.value(depth + 1)?));
                if !self.accept(',') {
                    break;
                }
            }
            self.expect('}')?;
        }
        Ok(Attr::Record { variant, fields })
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !keep(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn identifier(&mut self) -> String {
        self.take_while(|c| c.is_alphanumeric() || c == '_')
    }

    fn number(&mut self) -> Result<Attr, AttributeError> {
        let start = self.rest;
        let word = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.'));
        if let Ok(value) = word.parse::<i64>() {
            return Ok(Attr::Int(value));
        }
        word.parse::<f64>().map(Attr::Float).map_err(|_| {
            self.rest = start;
            self.error("a number")
        })
    }

    fn word(&mut self, depth: usize) -> Result<Attr, AttributeError> {
        let word = self.identifier();
        if self.rest.starts_with('{') {
            return self.record(word, depth);
        }
        Ok(match word.as_str() {
            "_" => Attr::Absent,
            "true" => Attr::Bool(true),
            "false" => Attr::Bool(false),
            "inf" => Attr::Float(f64::INFINITY),
            "NaN" => Attr::Float(f64::NAN),
            _ => Attr::Name(word),
        })
    }

    /// Quoted text with the escapes that Rust's `{:?}` writes.
    fn text(&mut self) -> Result<Attr, AttributeError> {
        let mut chars = self.rest.char_indices().skip(1);
        let mut text = String::new();
        loop {
            let Some((at, c)) = chars.next() else { return Err(self.error("a closing quote")) };
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(Attr::Text(text));
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('0') => text.push('\0'),
                    Some(c @ ('\\' | '"' | '\'')) => text.push(c),
                    Some('u') => {
                        let code: String =
                            chars.by_ref().skip(1).map(|(_, c)| c).take_while(|&c| c != '}').take(8).collect();
                        let c = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
                        text.push(c.ok_or_else(|| self.error("an escape"))?);
                    }
                    _ => return Err(self.error("an escape")),
                },
                c => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn round_trip(attr: Attr) {
        let text = attr.to_string();
        assert_eq!(parse(&text).unwrap(), attr, "{text}");
    }

    #[test]
    fn trees_print_and_parse_back() {
        round_trip(Attr::List(vec![Attr::Int(-3), Attr::Float(0.1), Attr::Float(1e300), Attr::Float(f64::INFINITY)]));
        round_trip(Attr::Float(f64::NEG_INFINITY));
        round_trip(Attr::Text("a \"quoted\"\nline \u{1f600}\u{7}".to_owned()));
        round_trip(Attr::Record {
            variant: "block".to_owned(),
            fields: vec![("axis".to_owned(), Attr::Int(1)), ("mode".to_owned(), Attr::Name("cubic".to_owned()))],
        });
        round_trip(Attr::Record { variant: String::new(), fields: vec![("bias".to_owned(), Attr::Absent)] });
        round_trip(Attr::Bool(false));
    }

    #[test]
    fn damaged_text_is_an_error() {
        for text in ["", "[1", "{a}", "{a=1,}", "\"x", "[1] 2", "\"\\q\"", "{=1}", &"[".repeat(1000)] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
