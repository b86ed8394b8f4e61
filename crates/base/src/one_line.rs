//! Escapes text from files before it is printed: names of tensors, nodes and sizes are untrusted.

use std::borrow::Cow;

/// The text in one line, with control characters, line separators and characters that change the writing direction
/// escaped. So no name can control a terminal or look like a separate message.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { escaped.extend(c.escape_default()) } else { escaped.push(c) }
    }
    Cow::Owned(escaped)
}

/// Is it a character that a terminal interprets instead of printing it?
pub fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_escaped_and_nothing_else() {
        assert!(matches!(one_line("conv/ä 'x'\\y"), Cow::Borrowed("conv/ä 'x'\\y")));
        assert_eq!(one_line("a\nerror: b\r\t\x1b[31m\u{9b}"), r"a\nerror: b\r\t\u{1b}[31m\u{9b}");
        assert_eq!(one_line("a\u{2028}\u{202e}b"), r"a\u{2028}\u{202e}b");
    }
}
