//! Amounts of memory: `2G`, `512MiB`, `1000000`.

use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// Units by their letter; an `iB` or `B` after it changes nothing: all are powers of 1024.
const UNITS: &[(char, u32)] = &[('K', 10), ('M', 20), ('G', 30), ('T', 40)];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("'{text}' is no amount of memory; write 2G, 512MiB or a number of bytes");
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| refuse())?;
        let letters = unit.strip_suffix("iB").or(unit.strip_suffix('B')).unwrap_or(unit).to_uppercase();
        let shift = match letters.as_str() {
            "" => 0,
            letter => UNITS.iter().find(|(c, _)| letter == c.to_string()).ok_or_else(refuse)?.1,
        };
        number.checked_mul(1 << shift).map(Self).ok_or_else(refuse)
    }
}

/// Bytes with a unit that a reader can compare.
pub fn show_bytes(bytes: u64) -> String {
    match UNITS.iter().rev().find(|(_, shift)| bytes >> shift > 0) {
        None => format!("{bytes} B"),
        Some((letter, shift)) => format!("{:.1} {letter}iB", bytes as f64 / (1u64 << shift) as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_shown() {
        let read = |text: &str| text.parse::<ByteSize>().map(|b| b.0);
        assert_eq!(read("17"), Ok(17));
        assert_eq!(read("2G"), Ok(2 << 30));
        assert_eq!(read("3MiB"), Ok(3 << 20));
        assert_eq!(read("4kB"), Ok(4096));
        for wrong in ["", "G", "-1", "1.5G", "1X", "99999999999T"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_bytes(1023), "1023 B");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(2 << 30), "2.0 GiB");
    }
}
