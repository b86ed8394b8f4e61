//! Words: refuses invented words that the project has replaced by the terms of the field.

use crate::tidy::{Finding, Source};

/// Refused words, each with the term to write. Every word is written in two parts, so that this file does not find itself.
const WORDS: &[(&str, &str)] = &[
    (concat!("any", "body"), "the name of the actor"),
    (concat!("contend", "er"), "candidate"),
    (concat!("contend", "ers"), "candidates"),
    (concat!("dra", "ft"), "lowered plan"),
    (concat!("dra", "fts"), "lowered plans"),
    (concat!("evid", "ence"), "tuning database"),
    (concat!("free", "dom"), "fallback"),
    (concat!("given", " up"), "disabled or dropped"),
    (concat!("given", "_up"), "disabled"),
    (concat!("kn", "ot"), "cycle"),
    (concat!("kn", "ots"), "cycles"),
    (concat!("lay", "_out"), "solve sizes and place buffers"),
    (concat!("made", " up"), "synthetic"),
    (concat!("made", "-up"), "synthetic"),
    (concat!("rac", "ing"), "timing"),
    (concat!("ro", "oms"), "scratch allocator"),
    (concat!("run", "ners"), "candidates or engines"),
    (concat!("sea", "led"), "self-test vectors"),
    (concat!("so", "-manieth"), "every n-th"),
    (concat!("some", "body"), "the name of the actor"),
    (concat!("step", "ped"), "strided"),
    (concat!("un", "served"), "unsupported"),
    (concat!("ver", "dict"), "verification result"),
    (concat!("ver", "dicts"), "verification results"),
];

/// The document that quotes refused words to explain the rule.
const QUOTING: &str = "STYLE.md";

/// Does the text contain the word, in any case and not inside of a longer word?
fn contains(text: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .any(|(at, _)| !inside(text[..at].chars().next_back()) && !inside(text[at + word.len()..].chars().next()))
}

/// Checks Rust sources and documents.
pub(crate) fn check<'a>(texts: impl IntoIterator<Item = &'a Source>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in texts.into_iter().filter(|source| source.path != QUOTING) {
        for (index, line) in source.text.lines().enumerate() {
            let line = line.to_lowercase();
            for (word, term) in WORDS.iter().filter(|(word, _)| contains(&line, word)) {
                let place = format!("{}:{}", source.path, index + 1);
                findings.push(Finding::new(place, format!("'{word}' is not a term of the field; write: {term}")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::source;

    #[test]
    fn refused_words_are_found_in_any_case_as_whole_words() {
        for (word, term) in WORDS {
            let text = format!("a line\nx{word} {word}_x\n(A {}.)", word.to_uppercase());
            let findings = check(&[source("docs/a.md", &text)]);
            let [finding] = findings.as_slice() else { panic!("{} findings for {word}", findings.len()) };
            assert_eq!(finding.place, "docs/a.md:3");
            assert!(finding.problem.contains(word) && finding.problem.ends_with(term), "{}", finding.problem);
        }
    }

    #[test]
    fn the_list_and_the_document_that_quotes_words_pass() {
        assert!(check(&[source("xtask/src/tidy/words.rs", include_str!("words.rs"))]).is_empty());
        assert!(check(&[source(QUOTING, WORDS[0].0)]).is_empty());
    }
}
