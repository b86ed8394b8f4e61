//! The header of one array, a Python literal: `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
//!
//! Only the few forms of a plain array are read, in one pass: parsers of all of Python take twice as long for every
//! bracket in a bracket.

use std::io::Read;

use npyz::TypeStr;

/// Longest header that is read; those that NumPy writes for plain arrays have about a hundred bytes.
const MAX_HEADER: usize = 1 << 16;

/// As many axes as NumPy has at most.
const MAX_AXES: usize = 64;

/// The type and layout of the bytes after the header.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) type_str: TypeStr,
    pub(crate) fortran: bool,
    pub(crate) sizes: Vec<usize>,
}

impl Header {
    /// Reads the start of an array; what follows are the elements.
    ///
    /// # Errors
    /// The reason as text, for everything but plain arrays.
    pub(crate) fn read(array: &mut impl Read) -> Result<Self, String> {
        let [m, a, g, i, c, s, major, _] = bytes::<8>(array)?;
        if [m, a, g, i, c, s] != *b"\x93NUMPY" {
            return Err("it does not start as an array of NumPy does".to_owned());
        }
        let length = match major {
            1 => usize::from(u16::from_le_bytes(bytes(array)?)),
            2 | 3 => usize::try_from(u32::from_le_bytes(bytes(array)?)).unwrap_or(usize::MAX),
            other => return Err(format!("version {other} of NumPy's format is not known")),
        };
        if length > MAX_HEADER {
            return Err(format!("its header has {length} bytes, more than {MAX_HEADER}"));
        }
        let mut text = vec![0; length];
        array.read_exact(&mut text).map_err(|e| e.to_string())?;
        Self::parse(std::str::from_utf8(&text).map_err(|_| "its header is not UTF-8".to_owned())?)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (mut type_str, mut fortran, mut sizes) = (None, None, None);
        let mut text = Literal(text);
        text.expect("{")?;
        while !text.takes("}") {
            let key = text.quoted()?;
            text.expect(":")?;
            match key {
                "descr" if text.takes("[") => return Err("structured arrays are not supported".to_owned()),
                "descr" => {
                    let name = text.quoted()?;
                    type_str = Some(name.parse::<TypeStr>().map_err(|e| format!("its type '{name}': {e}"))?);
                }
                "fortran_order" => fortran = Some(text.truth()?),
                "shape" => sizes = Some(text.sizes()?),
                other => return Err(format!("its header has an entry '{other}', which plain arrays have not")),
            }
            if !text.takes(",") {
                text.expect("}")?;
                break;
            }
        }
        text.expect_end()?;
        let missing = |key: &str| format!("its header has no '{key}'");
        Ok(Self {
            type_str: type_str.ok_or_else(|| missing("descr"))?,
            fortran: fortran.ok_or_else(|| missing("fortran_order"))?,
            sizes: sizes.ok_or_else(|| missing("shape"))?,
        })
    }
}

fn bytes<const N: usize>(array: &mut impl Read) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    array.read_exact(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// The rest of the text.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    /// Steps over a symbol, if it comes next.
    fn takes(&mut self, symbol: &str) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(symbol);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, symbol: &str) -> Result<(), String> {
        if self.takes(symbol) { Ok(()) } else { Err(self.unexpected(symbol)) }
    }

    fn expect_end(&self) -> Result<(), String> {
        if self.0.trim().is_empty() { Ok(()) } else { Err(self.unexpected("an end")) }
    }

    fn unexpected(&self, expected: &str) -> String {
        let found: String = self.0.chars().take(20).collect();
        format!("its header has {found:?} where there should be {expected}")
    }

    fn quoted(&mut self) -> Result<&'a str, String> {
        let quote =
            ["'", "\""].into_iter().find(|quote| self.takes(quote)).ok_or_else(|| self.unexpected("a quote"))?;
        let (text, rest) = self.0.split_once(quote).ok_or_else(|| self.unexpected("a text with its end"))?;
        self.0 = rest;
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool, String> {
        match (self.takes("True"), self.takes("False")) {
            (true, _) => Ok(true),
            (_, true) => Ok(false),
            _ => Err(self.unexpected("True or False")),
        }
    }

    fn sizes(&mut self) -> Result<Vec<usize>, String> {
        let mut sizes = Vec::new();
        self.expect("(")?;
        while !self.takes(")") {
            if sizes.len() == MAX_AXES {
                return Err(format!("it has more than {MAX_AXES} axes"));
            }
            let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (number, rest) = self.0.split_at(end);
            sizes.push(number.parse().map_err(|_| self.unexpected("a size of at most 64 bits"))?);
            self.0 = rest;
            if !self.takes(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_numpy_writes_is_read() {
        let header = Header::parse("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }      \n").unwrap();
        assert_eq!((header.type_str.to_string().as_str(), header.fortran, header.sizes), ("<f4", false, vec![3, 4]));
        let header = Header::parse("{\"shape\":(7,),\"fortran_order\":True,\"descr\":\"|u1\"}").unwrap();
        assert_eq!((header.fortran, header.sizes), (true, vec![7]));
        assert!(Header::parse("{'descr': '<f4', 'fortran_order': False, 'shape': ()}").unwrap().sizes.is_empty());
    }

    #[test]
    fn everything_else_says_what_is_wrong() {
        let plain = |code: &str, order: &str, sizes: &str| {
            format!("{{'descr': {code}, 'fortran_order': {order}, 'shape': {sizes}}}")
        };
        let many = format!("({})", "1,".repeat(65));
        for (text, named) in [
            (plain("[('a', '<f4')]", "True", "()"), "structured"),
            (plain("'<q7'", "True", "()"), "'<q7'"),
            (plain("'<f4'", "1", "()"), "\"1, 'shape': ()}\" where there should be True or False"),
            (plain("'<f4'", "True", "3"), "should be ("),
            (plain("'<f4'", "True", "(-3,)"), "\"-3,)}\""),
            (plain("'<f4'", "True", "(99999999999999999999,)"), "64 bits"),
            (plain("'<f4'", "True", "(3 4)"), "should be )"),
            (plain("'<f4'", "True", &many), "more than 64 axes"),
            (plain("'<f4'", "True", "()") + "x", "an end"),
            ("{'descr': '<f4', 'fortran_order': True}".to_owned(), "no 'shape'"),
            ("{'a': 1}".to_owned(), "'a'"),
            ("{'descr".to_owned(), "with its end"),
            (String::new(), "should be {"),
            ("{\"a\":".repeat(60), "'a'"),
            ("[".repeat(60), "should be {"),
        ] {
            let error = Header::parse(&text).unwrap_err();
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_header_is_no_longer_than_any_needs() {
        let start = [b"\x93NUMPY\x02\x00", &u32::MAX.to_le_bytes()[..]].concat();
        // Nothing is read for the length's sake.
        let error = Header::read(&mut start.chain(std::io::repeat(b' '))).unwrap_err();
        assert!(error.contains("4294967295 bytes, more than 65536"), "{error}");
        assert!(Header::read(&mut &b"\x93NUMPY\x09\x00"[..]).unwrap_err().contains("version 9"));
        assert!(Header::read(&mut &b"PK345678"[..]).unwrap_err().contains("does not start"));
        assert!(Header::read(&mut &b"\x93NUM"[..]).is_err());
    }
}
